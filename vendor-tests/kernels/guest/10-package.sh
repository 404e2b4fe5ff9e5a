# A host on which nothing of netfilter is loaded yet, and the package on it.
fresh_install() {
	! grep -q '^nf_conntrack' /proc/modules || fail "not a fresh host"
	dpkg -i $K/previous.deb
	[ "$(systemctl is-enabled conntracker)" = disabled ]
	[ "$(systemctl is-active conntracker)" = inactive ]
}
fresh_doctor() {
	local before status; before=$(grep -c . /proc/modules)
	conntracker doctor >$T/doctor && status=0 || status=$?
	cat $T/doctor
	grep -q nf_conntrack_netlink $T/doctor
	[ "$(grep -c . /proc/modules)" = "$before" ] || fail "doctor has had modules loaded"
}
fresh_first_flows() {
	local round address
	for round in 1 2 3 4 5; do
		unload
		tracked; rmmod nf_conntrack_netlink 2>/dev/null || true
		rm -f $T/first
		conntracker -d --source batch -o $T/first
		for address in 1 2 3 4 5 6 7 8; do ping -q -c 1 -W 2 127.0.0.$address >/dev/null; done
		kill "$(cat /run/conntracker.pid)"
		until_true 20 "[ ! -e /run/conntracker.pid ]"
		[ "$(grep -c confirmed $T/first)" = 8 ] || { cat $T/first; fail "round $round: not all 8 flows"; }
	done
	untracked
}
fresh_track() {
	unload
	rm -f $T/first
	conntracker -d --track -o $T/first
	ping -q -c 1 -W 2 127.0.0.1 >/dev/null
	kill "$(cat /run/conntracker.pid)"
	until_true 20 "[ ! -e /run/conntracker.pid ]"
	grep -c confirmed $T/first
	! nft list tables | grep conntracker || fail "a table is left"
}
check fresh_install
check fresh_doctor
check fresh_first_flows
check fresh_track
