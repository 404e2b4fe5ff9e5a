# Rules from real traffic, judged by this kernel and then loaded; flowtables.
rules_and_check() {
	lab; capture $T/day.json --track --format json --all-protocols
	conntracker rules $T/day.json -o $T/fw.nft
	conntracker check $T/fw.nft $T/day.json
	sed 's/\<443\>/444/' $T/fw.nft >$T/other.nft
	! conntracker check $T/other.nft $T/day.json || fail "a ruleset without port 443 passes"
	conntracker rules --for iptables $T/day.json -o $T/fw.v4
	conntracker check $T/fw.v4 $T/day.json
}
rules_hold() {
	lab; nft -f $T/fw.nft
	# What was never answered has no rule.
	grep confirmed $K/talk.list >$T/answered
	capture $T/under; same_flows $T/under $T/answered
	ip netns exec client python3 $K/peer.py connect 10.2.0.10 443
	! ip netns exec client timeout 3 python3 $K/peer.py connect 10.2.0.10 8081 || fail "more passes than was seen"
	nft flush ruleset
}
check_as_user() {
	[ "$(cat /proc/sys/kernel/unprivileged_userns_clone 2>/dev/null || echo 1)" = 1 ] || skip "user namespaces are off"
	cp $T/day.json $T/fw.nft /tmp; chmod 644 /tmp/day.json /tmp/fw.nft
	as_user conntracker check /tmp/fw.nft /tmp/day.json
}
flowtable() {
	lab
	nft -f - <<<'table inet ft { flowtable f { hook ingress priority 0; devices = { vclient, vserver }; }
		chain c { type filter hook forward priority 0; policy accept; ip protocol tcp ct state established flow add @f; }; }'
	conntracker doctor >$T/doctor || true; grep -q 'flowtable f' $T/doctor
	local source
	for source in kernel batch; do
		TRAFFIC=offloaded capture $T/ft --source $source
		cat $T/ft
		same_flows $T/ft $K/talk.list
	done
	nft list table inet ft >$T/ft.nft
	conntracker check $T/ft.nft $T/day.json >$T/checked || true
	cat $T/checked
	! grep -q 'add @set' $T/checked || fail "a flowtable counts as a set"
	nft delete table inet ft
}
offloaded() {
	talk
	ip netns exec client python3 $K/peer.py bulk 120 & local bulk=$!
	until_true 60 "conntrack -L 2>/dev/null >$T/offloaded; grep -q OFFLOAD $T/offloaded"
	kill $bulk; wait $bulk || true
}
check rules_and_check
check rules_hold
check check_as_user
check flowtable
