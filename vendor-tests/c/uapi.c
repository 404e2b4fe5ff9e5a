/* What the C compiler makes of the kernel's headers, for tests/abi.rs to compare with src/netlink/uapi.rs. */
#include <string.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/ipv6_route.h>
#include <linux/net_namespace.h>
#include <linux/netfilter.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_sctp.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netfilter/nfnetlink_acct.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>

static const struct {
	const char *name;
	long long value;
} constants[] = {
#define X(name) { #name, (long long)(name) },
#include "uapi.inc"
#undef X
};

/* 1 and the value, or 0 if the probe does not have the name. */
int probe_uapi(const char *name, long long *value)
{
	size_t i;

	for (i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
		if (strcmp(constants[i].name, name) == 0) {
			*value = constants[i].value;
			return 1;
		}
	return 0;
}
