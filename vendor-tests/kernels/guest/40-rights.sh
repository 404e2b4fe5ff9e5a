# What a process may do, and what it says where it may not.
two_capabilities() {
	# As the service has them.
	ulimit -l unlimited
	with_capabilities +net_admin,+bpf conntracker --source kernel --track --duration 1s -v
	with_capabilities +net_admin,+bpf conntracker --source kernel --track --duration 1s -v --format json
	with_capabilities +net_admin,+bpf conntracker doctor >$T/doctor || true
	cat $T/doctor
	grep -q 'BPF program can be loaded' $T/doctor
}
locked_memory() {
	# As a service without LimitMEMLOCK has it; from Linux 5.11 on it does not matter.
	(ulimit -l 64; with_capabilities +net_admin,+bpf conntracker --track --duration 1s -v) 2>$T/locked
	cat $T/locked
	grep -qE 'source kernel:|LimitMEMLOCK' $T/locked
}
without_cap_bpf() {
	lab
	TRAFFIC=true capture $T/none --track; [ $status = 0 ]
	with_capabilities +net_admin conntracker --track --duration 1s 2>$T/said
	cat $T/said
	grep -q 'source batch.*CAP_BPF' $T/said
	! with_capabilities +net_admin conntracker --source kernel --track --duration 1s || fail "not refused"
	with_capabilities +net_admin conntracker doctor >$T/doctor || true
	grep -q 'CAP_BPF' $T/doctor
}
without_cap_net_admin() {
	! as_user conntracker --duration 1s 2>$T/said || fail "not refused"
	grep -q 'needs CAP_NET_ADMIN' $T/said
	! as_user conntracker doctor || fail "doctor sees no obstacle"
}
rootless() {
	[ "$(cat /proc/sys/kernel/unprivileged_userns_clone 2>/dev/null || echo 1)" = 1 ] || skip "user namespaces are off"
	as_user unshare -Urn sh -c 'ip link set lo up; conntracker --track -v 2>/tmp/rootless.err &
		until grep -q "receive buffer" /tmp/rootless.err; do kill -0 $! || exit 1; sleep 1; done; sleep 1
		{ ping -q -c 1 127.0.0.1; ping -6 -q -c 1 ::1; } >/dev/null
		sleep 1; kill -INT $!; wait $!' >$T/rootless || { cat /tmp/rootless.err; fail "no list"; }
	cat $T/rootless
	[ "$(grep -c confirmed $T/rootless)" = 2 ]
}
no_jit() {
	sysctl -qw net.core.bpf_jit_enable=0 || skip "the JIT can't be switched off here"
	conntracker --source kernel --track --duration 1s; sysctl -qw net.core.bpf_jit_enable=1
}
check two_capabilities
check locked_memory
check without_cap_bpf
check without_cap_net_admin
check rootless
check no_jit
