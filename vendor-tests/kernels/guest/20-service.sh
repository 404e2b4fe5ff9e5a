# The service under a running systemd.
set_options() { sed -i "s/^CONNTRACKER_OPTIONS=.*/CONNTRACKER_OPTIONS=\"$*\"/" /etc/default/conntracker; }
active() { [ "$(systemctl is-active conntracker)" = active ]; }
main_pid() { systemctl show -p MainPID --value conntracker; }
L=/var/lib/conntracker/flows.txt

# By the program in the kernel, which keeps the classic list alone, with what the unit may do.
service_by_kernel() {
	lab; conntrack -F >/dev/null 2>&1 || true
	set_options -v --track --source kernel
	systemctl start conntracker; active
	journalctl -u conntracker --no-pager -o cat
	journalctl -u conntracker --no-pager -o cat | grep -q 'source kernel' || fail "not by the kernel source"
	sleep 2; talk
	list_of_service
	same_flows $L $K/talk.list
	systemctl stop conntracker
	rm -r /var/lib/private/conntracker
}
service_starts() {
	lab; conntrack -F >/dev/null 2>&1 || true
	set_options -v --track
	local began ended
	began=$(date +%s%N); systemctl enable --now conntracker; ended=$(date +%s%N)
	active
	journalctl -u conntracker --no-pager -o cat
	echo "start: $(((ended - began) / 1000000)) ms"
	echo "@@ figure service_start_ms $(((ended - began) / 1000000))" >/dev/ttyS0
	# It keeps records, for rules, and has the kernel add them up.
	journalctl -u conntracker --no-pager -o cat | grep -q 'source kernel: records are kept there'
}
service_lists() {
	conntrack -F >/dev/null 2>&1
	sleep 2; talk
	list_of_service
	same_flows $L $K/talk.list
	systemctl kill -s USR1 conntracker; sleep 2; active
}
service_upgrades() {
	local before; before=$(main_pid)
	apt-get install -y --no-install-recommends $K/conntracker.deb
	[ -e /usr/lib/systemd/system/conntracker.service ] || fail "the unit is gone"
	active; [ "$(main_pid)" = "$before" ] || fail "an upgrade has restarted it"
	systemctl restart conntracker; active
	list_of_service
	same_flows $L $K/talk.list
}
service_stops() {
	rm $L
	systemctl stop conntracker
	journalctl -u conntracker --no-pager -o cat -n 8
	[ "$(systemctl is-active conntracker)" = inactive ]
	same_flows $L $K/talk.list
	! nft list tables | grep conntracker- || fail "its table is left"
	systemctl start conntracker; active
}
service_crashes_and_comes_back() {
	local before; before=$(main_pid)
	systemctl kill -s KILL conntracker
	until_true 30 "[ \"\$(systemctl show -p NRestarts --value conntracker)\" -ge 1 ] && active"
	[ "$(main_pid)" != "$before" ]
	[ "$(nft list tables | grep -c conntracker-)" = 1 ] || { nft list tables; fail "not one table of --track"; }
	list_of_service
	same_flows $L $K/talk.list
}
service_is_watched() {
	local restarts; restarts=$(systemctl show -p NRestarts --value conntracker)
	systemctl kill -s STOP conntracker
	until_true 120 "[ \"\$(systemctl show -p NRestarts --value conntracker)\" -gt $restarts ] && active"
}
service_refuses_bad_options() {
	cp /etc/conntracker/conntracker.toml $T/toml
	echo 'bogus = 1' >>/etc/conntracker/conntracker.toml
	! systemctl restart conntracker || fail "it starts"
	sleep 2
	[ "$(systemctl is-active conntracker)" = failed ]
	cp $T/toml /etc/conntracker/conntracker.toml
	systemctl restart conntracker; active
}
check service_by_kernel
check service_starts
check service_lists
check service_upgrades
check service_stops
check service_crashes_and_comes_back
check service_is_watched
check service_refuses_bad_options
systemctl stop conntracker
