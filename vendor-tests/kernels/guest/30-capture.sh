# Captures of the same traffic in every way that there is.
source_kernel() {
	lab; capture $T/kernel --track --source kernel; [ $status = 0 ]; same_flows $T/kernel $K/talk.list
	# Records are another program's.
	capture $T/records --track --source kernel --format json; [ $status = 0 ]
	conntracker show $T/records --format classic >$T/classic; same_flows $T/classic $K/talk.list
	grep -q '"source":"kernel"' $T/records
}
source_batch() { lab; capture $T/batch --track --source batch; [ $status = 0 ]; same_flows $T/batch $K/talk.list; }
source_callback() { lab; capture $T/callback --track --source callback; [ $status = 0 ]; same_flows $T/callback $K/talk.list; }
daemon() {
	lab; conntrack -F >/dev/null 2>&1 || true
	conntracker -d --track --source kernel -o $T/daemon
	talk >/dev/null
	kill -USR1 "$(cat /run/conntracker.pid)"
	until_true 30 "[ -e $T/daemon ]"; sleep 1
	same_flows $T/daemon $K/talk.list
	kill "$(cat /run/conntracker.pid)"
	until_true 20 "[ ! -e /run/conntracker.pid ]"
	! nft list tables | grep conntracker- || fail "its table is left"
}
track_is_killed_and_gone() {
	conntracker --track --duration 60s &
	until_true 30 "nft list tables | grep -q conntracker-"
	kill -KILL $!; wait $! || true
	conntracker --track --duration 1s
	! nft list tables | grep conntracker- || fail "a table is left"
}
reliable() { lab; capture $T/reliable --track --reliable; [ $status = 0 ]; same_flows $T/reliable $K/talk.list; }
existing() {
	lab; tracked; conntrack -F >/dev/null 2>&1
	ip netns exec client python3 $K/peer.py bulk 120 & local bulk=$!
	until_true 60 "conntrack -L 2>/dev/null | grep -q ' dport=80 .*ASSURED'"
	conntracker --existing --duration 2s >$T/existing
	cat $T/existing
	grep -q '10.1.0.10 (port=1024) to dst = 10.2.0.10 (port=80) (confirmed)' $T/existing
	kill $bulk; wait $bulk || true; untracked
}
by_a_rule() { lab; tracked; capture $T/rule; untracked; [ $status = 0 ]; same_flows $T/rule $K/talk.list; }
recording() {
	lab; capture $T/json --track --format json --all-protocols -w $T/events.pcap
	[ $status = 0 ]
	conntracker show $T/json --format classic >$T/classic; same_flows $T/classic $K/talk.list
	conntracker -r $T/events.pcap >$T/classic; same_flows $T/classic $K/talk.list
}
# The monitor sees each event once for each listener, and the requests of conntrack: neither may count.
of_a_netlink_monitor() {
	lab; modprobe nlmon 2>/dev/null || skip "this kernel has no nlmon"
	ip link add monitor type nlmon; ip link set monitor up
	tcpdump -U -i monitor -w $T/monitor.pcap 2>$T/tcpdump.err & local dump=$!
	until_true 60 "grep -q 'listening on' $T/tcpdump.err"
	conntrack -E >/dev/null 2>&1 & local other=$!
	capture $T/json --track --format json --all-protocols
	[ $status = 0 ]
	conntrack -L >/dev/null 2>&1
	sleep 2; kill -INT $dump; wait $dump || true; kill $other
	ip link del monitor
	conntracker -r $T/monitor.pcap >$T/classic; same_flows $T/classic $K/talk.list
	flows_of() { conntracker show --format csv $1 | cut -d, -f 2,4,7-10,12,13 | grep -v 'fe80:\|ff02:' | sort; }
	diff <(flows_of $T/json) <(flows_of $T/monitor.pcap)
}
all_netns() {
	local name
	for name in n1 n2; do
		ip netns add $name; ip -n $name link set lo up
		ip netns exec $name nft 'table inet t { chain o { type filter hook output priority 0; ct state new; }; }'
	done
	conntracker --all-netns --format table -v >$T/all 2>$T/all.err & local all=$!
	conntracker --netns n1 -v >$T/one 2>$T/one.err & local one=$!
	until_true 60 "grep -q 'receive buffer' $T/all.err && grep -q 'receive buffer' $T/one.err"; sleep 3
	for name in n1 n2; do ip netns exec $name ping -q -c 1 127.0.0.1 >/dev/null; done
	sleep 1
	kill -INT $all $one
	wait $all; wait $one
	cat $T/all $T/all.err $T/one $T/one.err
	ip netns del n1; ip netns del n2
	grep -q n1 $T/all; grep -q n2 $T/all
	[ "$(grep -c confirmed $T/one)" = 1 ]
}
flood() {
	local source=$1
	ip netns add flood; ip -n flood link set lo up
	# As conntrack_max of old kernels is small: what does not fit can't be listed.
	sysctl -qw net.netfilter.nf_conntrack_max=300000
	ip netns exec flood conntracker --source $source -v -o $T/flood >$T/flood.out 2>$T/flood.err &
	local pid=$!
	until_true 60 "grep -q 'receive buffer' $T/flood.err"; sleep 4
	ip netns exec flood $K/conntracker-flood --entries 100000 --family mixed --replied 40 --list $T/flood.tsv
	sleep 2
	kill -INT $pid; wait $pid || true
	cat $T/flood.err
	ip netns del flood
	python3 - $T/flood.tsv $T/flood <<-'P'
		import re, sys
		made = set()
		for line in open(sys.argv[1]):
		    kind, src, sport, dst, dport, confirmed = line.rstrip("\n").split("\t")
		    icmp = "icmp" in kind.lower()
		    made.add((kind.lower().replace("v", ""), src, "" if icmp else sport, dst, "" if icmp else dport, confirmed == "confirmed"))
		listed = set()
		for line in open(sys.argv[2]):
		    found = re.match(r"\s*(\w+) \[.*\] src = (\S+)(?: \(port=(\d+)\))? to dst = (\S+)(?: \(port=(\d+)\))?(?: \(type=.*?\))?( \(confirmed\))?", line)
		    kind, src, sport, dst, dport, confirmed = found.groups()
		    listed.add((kind.lower().replace("v", ""), src, sport or "", dst, dport or "", bool(confirmed)))
		print(f"{len(made)} made, {len(listed)} listed, {len(made - listed)} missing, {len(listed - made)} more", list(made - listed)[:2], list(listed - made)[:2])
		sys.exit(made != listed or len(made) < 50000)
	P
}
flood_kernel() { flood kernel; }
flood_batch() { flood batch; }
flood_callback() { flood callback; }
full_table() {
	lab; tracked
	local max; max=$(sysctl -n net.netfilter.nf_conntrack_max)
	sysctl -qw net.netfilter.nf_conntrack_max=4
	(capture $T/full; [ $status = 3 ] && grep -q 'connection table was full' $T/full.err) && status=0 || status=$?
	sysctl -qw net.netfilter.nf_conntrack_max=$max
	untracked
	cat $T/full $T/full.err
	[ $status = 0 ]
}
check source_kernel
check source_batch
check source_callback
check daemon
check track_is_killed_and_gone
check reliable
check existing
check by_a_rule
check recording
check of_a_netlink_monitor
check all_netns
LIMIT=1800
check flood_kernel
check flood_batch
check flood_callback
unset LIMIT
check full_table
