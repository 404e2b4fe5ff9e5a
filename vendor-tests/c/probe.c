/* What the C compiler makes of the headers, for tests/abi.rs to compare. */
#include <stddef.h>
#include <string.h>
#include <linux/netlink.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>

struct probe_entry {
	const char *name;
	long long value;
};

static const struct probe_entry constants[] = {
#define X(name) { #name, (long long)(name) },
#include "constants.inc"
#undef X
};

static const struct probe_entry layouts[] = {
#define SIZE(type) { "size " #type, sizeof(type) }, { "align " #type, _Alignof(type) }
#define FIELD(type, field) { "offset " #type "." #field, offsetof(type, field) }
	SIZE(struct nfct_filter_proto),
	FIELD(struct nfct_filter_proto, proto),
	FIELD(struct nfct_filter_proto, state),
	SIZE(struct nfct_filter_ipv4),
	FIELD(struct nfct_filter_ipv4, addr),
	FIELD(struct nfct_filter_ipv4, mask),
	SIZE(struct nfct_filter_ipv6),
	FIELD(struct nfct_filter_ipv6, addr),
	FIELD(struct nfct_filter_ipv6, mask),
	SIZE(struct nlmsghdr),
	FIELD(struct nlmsghdr, nlmsg_len),
	FIELD(struct nlmsghdr, nlmsg_type),
	FIELD(struct nlmsghdr, nlmsg_flags),
	FIELD(struct nlmsghdr, nlmsg_seq),
	FIELD(struct nlmsghdr, nlmsg_pid),
	SIZE(struct nfgenmsg),
	SIZE(enum nf_conntrack_attr),
	SIZE(enum nf_conntrack_msg_type),
	SIZE(enum nf_conntrack_query),
	SIZE(enum nfct_filter_attr),
	SIZE(enum nfct_filter_logic),
};

static const struct probe_entry *find(const struct probe_entry *list, size_t n, const char *name)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strcmp(list[i].name, name) == 0)
			return &list[i];
	return NULL;
}

/* 1 and the value, or 0 if the probe does not have the name. */
int probe_constant(const char *name, long long *value)
{
	const struct probe_entry *e = find(constants, sizeof(constants) / sizeof(constants[0]), name);

	if (e)
		*value = e->value;
	return e != NULL;
}

int probe_layout(const char *name, long long *value)
{
	const struct probe_entry *e = find(layouts, sizeof(layouts) / sizeof(layouts[0]), name);

	if (e)
		*value = e->value;
	return e != NULL;
}

unsigned int probe_layouts(void)
{
	return sizeof(layouts) / sizeof(layouts[0]);
}
