# After a reboot.
L=/var/lib/conntracker/flows.txt
service_after_reboot() {
	until_true 60 "[ \"\$(systemctl is-active conntracker)\" = active ]"
	journalctl -b -u conntracker --no-pager -o short-monotonic
	list_of_service
	same_flows $L $K/talk.list
}
package_is_removed() {
	apt-get remove -y conntracker >$T/removed 2>&1; cat $T/removed
	! grep -i 'dpkg: warning' $T/removed || fail "dpkg warns"
	! pgrep -x conntracker || fail "it runs on"
	[ -e /etc/conntracker/conntracker.toml ]; [ -e /var/lib/private/conntracker/flows.txt ]
}
package_is_purged() {
	apt-get purge -y conntracker >$T/purged 2>&1; cat $T/purged
	! grep -i 'dpkg: warning' $T/purged || fail "dpkg warns"
	find /etc /usr /var /run -xdev -iname '*conntracker*' -not -path '/var/lib/dpkg/*' >$T/left
	cat $T/left; [ ! -s $T/left ]
	# And once more while it runs.
	apt-get install -y --no-install-recommends $K/conntracker.deb
	systemctl start conntracker
	apt-get purge -y conntracker >$T/purged 2>&1; cat $T/purged
	! grep -i 'dpkg: warning' $T/purged || fail "dpkg warns"
	! pgrep -x conntracker || fail "it runs on"
	find /etc /usr /var /run -xdev -iname '*conntracker*' -not -path '/var/lib/dpkg/*' >$T/left
	cat $T/left; [ ! -s $T/left ]
	apt-get install -y --no-install-recommends $K/conntracker.deb
}
lockdown() {
	[ -e /sys/kernel/security/lockdown ] || skip "this kernel has no lockdown"
	echo confidentiality >/sys/kernel/security/lockdown
	lab; capture $T/locked --track --source kernel; [ $status = 0 ]; same_flows $T/locked $K/talk.list
}
no_module() {
	unload
	nft 'table inet k { chain o { type filter hook output priority 0; ct state new; }; }'
	rmmod nf_conntrack_netlink 2>/dev/null || true
	sysctl -w kernel.modules_disabled=1
	! conntracker --duration 2s 2>$T/said || { cat $T/said; fail "not refused"; }
	cat $T/said; grep -q 'modprobe nf_conntrack_netlink' $T/said
	! conntracker doctor || fail "doctor sees no obstacle"
}
check service_after_reboot
check package_is_removed
check package_is_purged
check lockdown
check no_module
