# What the checks share. A check is a shell function of its name; `check NAME` runs it with errors fatal and says
# on the serial line what came of it, which kernels.py reads:
#   @@ ok NAME
#   @@ skip NAME: why
#   @@ FAIL NAME, and before it what it printed, behind "| "
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive HOME=/root
K=/opt/k
T=/tmp/k
mkdir -p $T

say() { echo "[$(cut -d. -f1 /proc/uptime) s] $*"; }

check() {
	local name=$1 status
	case " ${CHECKS:-$name} " in *" $name "*) ;; *) return ;; esac
	say "$name"
	# A process group of its own, so that nothing it starts is left to the next one.
	set -m
	(set +m -Eeu; trap 'echo "in line $LINENO: $BASH_COMMAND" >&2' ERR; "$name") >$T/out 2>&1 </dev/null &
	local group=$! waited=0
	set +m
	while kill -0 $group 2>/dev/null && [ $waited -lt ${LIMIT:-900} ]; do sleep 1; waited=$((waited + 1)); done
	if kill -0 $group 2>/dev/null; then echo "took longer than ${LIMIT:-900} s" >>$T/out; fi
	kill -KILL -- -$group 2>/dev/null || true
	wait $group && status=0 || status=$?
	case $status in
	0) echo "@@ ok $name" ;;
	77) echo "@@ skip $name: $(tail -n 1 $T/out)" ;;
	*) tail -n 25 $T/out | tr '\r' '\n' | cut -c 1-300 | sed 's/^/| /'; echo "@@ FAIL $name" ;;
	esac
}
skip() { echo "$*"; exit 77; }
fail() { echo "$*"; exit 1; }

until_true() { # SECONDS COMMAND
	local left=$1; shift
	until eval "$*" >/dev/null 2>&1; do
		left=$((left - 1)); [ $left -gt 0 ] || fail "never came: $*"
		sleep 1
	done
}

# A client's network, a server's, and this host between them.
lab() {
	if ip netns list | grep -q '^client'; then return; fi
	sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	local number=1 name
	for name in client server; do
		ip netns add $name
		ip link add v$name type veth peer name eth0 netns $name
		ip link set v$name up; ip -n $name link set eth0 up; ip -n $name link set lo up
		ip addr add 10.$number.0.1/24 dev v$name; ip -6 addr add fd0$number::1/64 dev v$name nodad
		ip -n $name addr add 10.$number.0.10/24 dev eth0; ip -n $name -6 addr add fd0$number::10/64 dev eth0 nodad
		ip -n $name route add default via 10.$number.0.1; ip -n $name -6 route add default via fd0$number::1
		number=2
	done
	setsid -f ip netns exec server python3 $K/peer.py serve >/dev/null 2>&1 </dev/null
	until_true 60 "ip netns exec client python3 $K/peer.py connect 10.2.0.10 80"
	until_true 60 "ip netns exec client python3 $K/peer.py connect fd02::10 443"
}
talk() {
	ip netns exec client python3 $K/peer.py talk
	ip netns exec client ping -q -c 1 -W 5 10.2.0.10
	ip netns exec client ping -6 -q -c 1 -W 5 fd02::10
}
# Neighbours' and routers' messages come when they want.
without_neighbours() { sed -E '/(fe80|ff02)::/d; s/\[ +[0-9]+\]/[]/' "$1" | sort; }
same_flows() { diff <(without_neighbours "$1") <(without_neighbours "$2"); }

# capture LIST OPTIONS: runs while the traffic passes; its messages are in LIST.err, its exit status in $status.
capture() {
	local list=$1 pid; shift
	conntrack -F >/dev/null 2>&1 || true
	conntracker "$@" -v >$list 2>$list.err &
	pid=$!
	until_true 60 "grep -q 'receive buffer' $list.err"
	sleep 3
	${TRAFFIC:-talk} >/dev/null
	sleep 1
	kill -INT $pid
	wait $pid && status=0 || status=$?
	cat $list.err
}
# Has the service write its list, and waits until it has.
list_of_service() {
	touch $T/asked
	systemctl reload conntracker
	until_true 60 "[ /var/lib/conntracker/flows.txt -nt $T/asked ]"
}
tracked() { nft -f - <<<'table inet k { chain f { type filter hook forward priority 0; ct state invalid drop; }
	chain i { type filter hook input priority 0; ct state invalid drop; }
	chain o { type filter hook output priority 0; ct state invalid drop; }; }'; }
untracked() { nft delete table inet k; }
as_user() { setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps=-all "$@"; }
with_capabilities() { local caps=$1; shift; setpriv --inh-caps=-all --bounding-set=-all,$caps "$@"; }
unload() {
	ip netns del client 2>/dev/null || true; ip netns del server 2>/dev/null || true
	nft flush ruleset; conntrack -F >/dev/null 2>&1 || true
	sleep 1
	local round module
	for round in 1 2 3 4; do for module in nft_flow_offload nf_flow_table_inet nf_flow_table nf_conntrack_netlink \
		nft_ct nft_masq nft_chain_nat nft_compat nft_log nf_tables xt_conntrack nf_nat nfnetlink_log nf_conntrack \
		nfnetlink; do rmmod $module 2>/dev/null || true; done; done
	! grep -q '^nf_conntrack' /proc/modules || fail "modules are still in use: $(grep ^nf_conntrack /proc/modules)"
}
