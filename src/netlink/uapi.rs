//! Constants of the kernel's interface, each of them once, in the type that messages have it in.
//!
//! What libc has is taken from there. The rest is typed from the headers in `include/uapi/linux` (Linux 6.18), and a test
//! compares all of it with what the C compiler makes of the installed headers (`vendor-tests/tests/abi.rs`).

// What is of one type here is of another in other releases of libc.
#![allow(clippy::unnecessary_cast)]

/// Defines constants, and lists them by name for that test.
macro_rules! constants {
    ($($name:ident: $type:ty = $value:expr;)+) => {
        $(pub const $name: $type = $value;)+

        /// Names, values and widths in bits of all constants here.
        pub const ALL: &[(&str, i64, u32)] = &[$((stringify!($name), $name as i64, <$type>::BITS)),+];
    };
}

constants! {
    // Attributes, flags and messages of netlink: `include/uapi/linux/netlink.h`.
    NLA_F_NESTED: u16 = libc::NLA_F_NESTED as u16;
    NLA_TYPE_MASK: u16 = libc::NLA_TYPE_MASK as u16;
    NLMSG_NOOP: u16 = libc::NLMSG_NOOP as u16;
    NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
    NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;
    NLM_F_REQUEST: u16 = libc::NLM_F_REQUEST as u16;
    NLM_F_ACK: u16 = libc::NLM_F_ACK as u16;
    NLM_F_EXCL: u16 = libc::NLM_F_EXCL as u16;
    NLM_F_DUMP: u16 = libc::NLM_F_DUMP as u16;
    NLM_F_CREATE: u16 = libc::NLM_F_CREATE as u16;
    NLM_F_APPEND: u16 = libc::NLM_F_APPEND as u16;
    NLM_F_DUMP_INTR: u16 = libc::NLM_F_DUMP_INTR as u16;
    // Netfilter's families, subsystems, groups and verdicts: `include/uapi/linux/netfilter.h`, `netfilter/nfnetlink.h`.
    NFNL_MSG_BATCH_BEGIN: u16 = libc::NFNL_MSG_BATCH_BEGIN as u16;
    NFNL_MSG_BATCH_END: u16 = libc::NFNL_MSG_BATCH_END as u16;
    NFNL_SUBSYS_CTNETLINK: u16 = libc::NFNL_SUBSYS_CTNETLINK as u16;
    NFNL_SUBSYS_CTNETLINK_EXP: u16 = libc::NFNL_SUBSYS_CTNETLINK_EXP as u16;
    NFNL_SUBSYS_ULOG: u16 = libc::NFNL_SUBSYS_ULOG as u16;
    NFNL_SUBSYS_IPSET: u16 = libc::NFNL_SUBSYS_IPSET as u16;
    NFNL_SUBSYS_NFTABLES: u16 = libc::NFNL_SUBSYS_NFTABLES as u16;
    NF_DROP: u32 = libc::NF_DROP as u32;
    NF_STOLEN: u32 = libc::NF_STOLEN as u32;
    NF_QUEUE: u32 = libc::NF_QUEUE as u32;
    NFNLGRP_NFTABLES: u32 = libc::NFNLGRP_NFTABLES as u32;
    NFNLGRP_NFTRACE: u32 = libc::NFNLGRP_NFTRACE as u32;
    NFNLGRP_CONNTRACK_DESTROY: u32 = libc::NFNLGRP_CONNTRACK_DESTROY as u32;
    NF_INET_LOCAL_OUT: u32 = libc::NF_INET_LOCAL_OUT as u32;
    NF_INET_PRE_ROUTING: u32 = libc::NF_INET_PRE_ROUTING as u32;
    NF_VERDICT_MASK: u32 = libc::NF_VERDICT_MASK as u32;
    NFPROTO_INET: u8 = libc::NFPROTO_INET as u8;
    NFPROTO_IPV4: u8 = libc::NFPROTO_IPV4 as u8;
    NFPROTO_IPV6: u8 = libc::NFPROTO_IPV6 as u8;
    // Connection tracking: `netfilter/nfnetlink_conntrack.h`, `netfilter/nf_conntrack_common.h`.
    CTA_STATUS: u16 = 3;
    CTA_PROTOINFO: u16 = 4;
    CTA_HELP: u16 = 5;
    CTA_COUNTERS_ORIG: u16 = 9;
    CTA_COUNTERS_REPLY: u16 = 10;
    CTA_COUNTERS_PACKETS: u16 = 1;
    CTA_COUNTERS_BYTES: u16 = 2;
    CTA_TIMESTAMP: u16 = 20;
    CTA_TIMESTAMP_START: u16 = 1;
    CTA_TIMESTAMP_STOP: u16 = 2;
    CTA_TUPLE_MASTER: u16 = 14;
    CTA_EXPECT_MASTER: u16 = 1;
    CTA_EXPECT_TUPLE: u16 = 2;
    CTA_EXPECT_MASK: u16 = 3;
    CTA_EXPECT_TIMEOUT: u16 = 4;
    CTA_EXPECT_ZONE: u16 = 7;
    CTA_PROTOINFO_TCP: u16 = 1;
    CTA_PROTOINFO_DCCP: u16 = 2;
    CTA_PROTOINFO_SCTP: u16 = 3;
    CTA_PROTOINFO_TCP_STATE: u16 = 1;
    CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: u16 = 4;
    CTA_PROTOINFO_TCP_FLAGS_REPLY: u16 = 5;
    CTA_HELP_NAME: u16 = 1;
    CTA_ID: u16 = 12;
    CTA_ZONE: u16 = 18;
    CTA_IP_V4_SRC: u16 = 1;
    CTA_IP_V4_DST: u16 = 2;
    CTA_IP_V6_SRC: u16 = 3;
    CTA_IP_V6_DST: u16 = 4;
    CTA_PROTO_NUM: u16 = 1;
    CTA_PROTO_DST_PORT: u16 = 3;
    CTA_PROTO_ICMP_TYPE: u16 = 5;
    CTA_PROTO_ICMP_CODE: u16 = 6;
    CTA_PROTO_ICMPV6_TYPE: u16 = 8;
    CTA_PROTO_ICMPV6_CODE: u16 = 9;
    CTA_PROTO_SRC_PORT: u16 = 2;
    CTA_STATS_INVALID: u16 = 4;
    CTA_STATS_DROP: u16 = 10;
    CTA_STATS_CHAIN_TOOLONG: u16 = 15;
    CTA_STATS_EARLY_DROP: u16 = 11;
    CTA_STATS_INSERT_FAILED: u16 = 9;
    CTA_TIMESTAMP_EVENT: u16 = 27;
    CTA_TUPLE_ORIG: u16 = 1;
    CTA_TUPLE_IP: u16 = 1;
    CTA_TUPLE_PROTO: u16 = 2;
    CTA_TUPLE_REPLY: u16 = 2;
    CTA_TUPLE_ZONE: u16 = 3;
    IPCTNL_MSG_CT_NEW: u16 = 0;
    IPCTNL_MSG_CT_GET: u16 = 1;
    IPCTNL_MSG_CT_DELETE: u16 = 2;
    IPCTNL_MSG_CT_GET_STATS: u16 = 5;
    IPCTNL_MSG_EXP_NEW: u16 = 0;
    IPCTNL_MSG_EXP_DELETE: u16 = 2;
    IPCTNL_MSG_CT_GET_DYING: u16 = 6;
    IPCTNL_MSG_CT_GET_STATS_CPU: u16 = 4;
    IPS_EXPECTED: u32 = 1 << 0;
    IPS_SEEN_REPLY: u32 = 1 << 1;
    IPS_OFFLOAD: u32 = 1 << 14;
    // States of the protocols' trackers: `netfilter/nf_conntrack_tcp.h`, `netfilter/nf_conntrack_sctp.h`.
    TCP_CONNTRACK_SYN_SENT: u8 = 1;
    TCP_CONNTRACK_SYN_RECV: u8 = 2;
    TCP_CONNTRACK_SYN_SENT2: u8 = 9;
    IP_CT_TCP_FLAG_WINDOW_SCALE: u8 = 0x01;
    IP_CT_TCP_FLAG_BE_LIBERAL: u8 = 0x08;
    SCTP_CONNTRACK_COOKIE_WAIT: u8 = 2;
    // nf_tables: `netfilter/nf_tables.h`, `netfilter/nf_tables_compat.h`.
    NFTA_CT_KEY: u16 = 2;
    NFTA_CT_SREG: u16 = 4;
    NFTA_COUNTER_PACKETS: u16 = 2;
    NFTA_DATA_VALUE: u16 = 1;
    NFTA_DYNSET_EXPR: u16 = 7;
    NFTA_DYNSET_EXPRESSIONS: u16 = 10;
    NFTA_EXPR_NAME: u16 = 1;
    NFTA_EXPR_DATA: u16 = 2;
    NFTA_FLOWTABLE_TABLE: u16 = 1;
    NFTA_FLOWTABLE_NAME: u16 = 2;
    NFTA_FLOWTABLE_FLAGS: u16 = 7;
    NFTA_GEN_ID: u16 = 1;
    NFTA_IMMEDIATE_DREG: u16 = 1;
    NFTA_IMMEDIATE_DATA: u16 = 2;
    NFTA_MATCH_NAME: u16 = 1;
    NFTA_META_SREG: u16 = 3;
    NFTA_NAT_TYPE: u16 = 1;
    NFTA_OBJ_TABLE: u16 = 1;
    NFTA_OBJ_NAME: u16 = 2;
    NFTA_OBJ_TYPE: u16 = 3;
    NFTA_RULE_TABLE: u16 = 1;
    NFTA_RULE_CHAIN: u16 = 2;
    NFTA_RULE_EXPRESSIONS: u16 = 4;
    NFTA_TABLE_NAME: u16 = 1;
    NFTA_TABLE_FLAGS: u16 = 2;
    NFTA_TARGET_INFO: u16 = 3;
    NFTA_TRACE_TABLE: u16 = 1;
    NFTA_TRACE_CHAIN: u16 = 2;
    NFTA_TRACE_TYPE: u16 = 4;
    NFTA_TRACE_ID: u16 = 6;
    NFTA_TRACE_NETWORK_HEADER: u16 = 8;
    NFTA_TRACE_TRANSPORT_HEADER: u16 = 9;
    NFTA_TRACE_NFPROTO: u16 = 15;
    NFTA_TRACE_VERDICT: u16 = 5;
    NFTA_TRACE_POLICY: u16 = 16;
    NFTA_TRACE_RULE_HANDLE: u16 = 3;
    NFTA_VERDICT_CODE: u16 = 1;
    NFT_MSG_NEWTABLE: u16 = libc::NFT_MSG_NEWTABLE as u16;
    NFT_MSG_GETTABLE: u16 = libc::NFT_MSG_GETTABLE as u16;
    NFT_MSG_DELTABLE: u16 = libc::NFT_MSG_DELTABLE as u16;
    NFT_MSG_NEWCHAIN: u16 = libc::NFT_MSG_NEWCHAIN as u16;
    NFT_MSG_NEWSET: u16 = libc::NFT_MSG_NEWSET as u16;
    NFT_MSG_DELSETELEM: u16 = libc::NFT_MSG_DELSETELEM as u16;
    NFT_MSG_NEWGEN: u16 = libc::NFT_MSG_NEWGEN as u16;
    NFT_MSG_NEWRULE: u16 = libc::NFT_MSG_NEWRULE as u16;
    NFT_MSG_GETRULE: u16 = libc::NFT_MSG_GETRULE as u16;
    NFT_MSG_GETGEN: u16 = libc::NFT_MSG_GETGEN as u16;
    NFT_MSG_TRACE: u16 = libc::NFT_MSG_TRACE as u16;
    NFT_MSG_GETOBJ: u16 = libc::NFT_MSG_GETOBJ as u16;
    NFT_MSG_GETFLOWTABLE: u16 = 23;
    NFT_CMP_EQ: u32 = libc::NFT_CMP_EQ as u32;
    NFT_CMP_NEQ: u32 = libc::NFT_CMP_NEQ as u32;
    NFT_RANGE_NEQ: u32 = libc::NFT_RANGE_NEQ as u32;
    NFT_DYNSET_OP_ADD: u32 = libc::NFT_DYNSET_OP_ADD as u32;
    NFT_LOOKUP_F_INV: u32 = libc::NFT_LOOKUP_F_INV as u32;
    NFT_META_L4PROTO: u32 = libc::NFT_META_L4PROTO as u32;
    NFT_META_NFPROTO: u32 = libc::NFT_META_NFPROTO as u32;
    NFT_META_NFTRACE: u32 = libc::NFT_META_NFTRACE as u32;
    NFT_PAYLOAD_NETWORK_HEADER: u32 = libc::NFT_PAYLOAD_NETWORK_HEADER as u32;
    NFT_PAYLOAD_TRANSPORT_HEADER: u32 = libc::NFT_PAYLOAD_TRANSPORT_HEADER as u32;
    NFT_REG32_00: u32 = libc::NFT_REG32_00 as u32;
    NFT_SET_EVAL: u32 = libc::NFT_SET_EVAL as u32;
    NFT_CT_STATE: u32 = libc::NFT_CT_STATE as u32;
    NFT_CT_EVENTMASK: u32 = libc::NFT_CT_EVENTMASK as u32;
    NFT_FLOWTABLE_HW_OFFLOAD: u32 = 1;
    NFT_RETURN: u32 = libc::NFT_RETURN as u32;
    NFT_REG_1: u32 = libc::NFT_REG_1 as u32;
    NFT_TABLE_F_OWNER: u32 = 2;
    NFT_TRACETYPE_POLICY: u32 = libc::NFT_TRACETYPE_POLICY as u32;
    NFT_TRACETYPE_RULE: u32 = libc::NFT_TRACETYPE_RULE as u32;
    // Logged packets: `netfilter/nfnetlink_log.h`.
    NFULA_PAYLOAD: u16 = libc::NFULA_PAYLOAD as u16;
    NFULA_PREFIX: u16 = libc::NFULA_PREFIX as u16;
    NFULA_CFG_QTHRESH: u16 = libc::NFULA_CFG_QTHRESH as u16;
    NFULA_CFG_CMD: u16 = libc::NFULA_CFG_CMD as u16;
    NFULA_CFG_MODE: u16 = libc::NFULA_CFG_MODE as u16;
    NFULA_CFG_NLBUFSIZ: u16 = libc::NFULA_CFG_NLBUFSIZ as u16;
    NFULNL_MSG_PACKET: u16 = libc::NFULNL_MSG_PACKET as u16;
    NFULNL_MSG_CONFIG: u16 = libc::NFULNL_MSG_CONFIG as u16;
    NFULNL_CFG_CMD_BIND: u8 = libc::NFULNL_CFG_CMD_BIND as u8;
    NFULNL_COPY_PACKET: u8 = libc::NFULNL_COPY_PACKET as u8;
    // Counters of nfacct(8): `netfilter/nfnetlink_acct.h`.
    NFNL_SUBSYS_ACCT: u16 = libc::NFNL_SUBSYS_ACCT as u16;
    NFNL_MSG_ACCT_NEW: u16 = 0;
    NFACCT_NAME: u16 = 1;
    // Sets of ipset(8): `netfilter/ipset/ip_set.h`.
    IPSET_ATTR_PROTOCOL: u16 = 1;
    IPSET_ATTR_SETNAME: u16 = 2;
    IPSET_ATTR_TYPENAME: u16 = 3;
    IPSET_ATTR_REVISION: u16 = 4;
    IPSET_ATTR_FAMILY: u16 = 5;
    IPSET_ATTR_DATA: u16 = 7;
    IPSET_CMD_CREATE: u16 = 2;
    // Tables of iptables: `netfilter_ipv4/ip_tables.h`; those of IPv6 have the same numbers.
    IPT_SO_GET_INFO: libc::c_int = 64;
    IPT_SO_GET_ENTRIES: libc::c_int = 65;
    // Links, addresses, routes, their rules, namespaces: `rtnetlink.h`, `if_link.h`, `if_addr.h`, `ipv6_route.h`,
    // `fib_rules.h`, `net_namespace.h`.
    FIB_RULE_INVERT: u32 = 2;
    FRA_DST: u16 = 1;
    FRA_SRC: u16 = 2;
    FRA_IIFNAME: u16 = 3;
    FRA_PRIORITY: u16 = 6;
    FRA_FWMARK: u16 = 10;
    FRA_TABLE: u16 = 15;
    FRA_FWMASK: u16 = 16;
    FRA_OIFNAME: u16 = 17;
    FRA_L3MDEV: u16 = 19;
    IFA_ADDRESS: u16 = libc::IFA_ADDRESS as u16;
    IFA_LOCAL: u16 = libc::IFA_LOCAL as u16;
    IFLA_IFNAME: u16 = 3;
    IFLA_MASTER: u16 = 10;
    IFLA_LINKINFO: u16 = 18;
    IFLA_INFO_KIND: u16 = 1;
    IFLA_INFO_DATA: u16 = 2;
    IFLA_VRF_TABLE: u16 = 1;
    NETNSA_NSID: u16 = 1;
    NETNSA_FD: u16 = 3;
    RTA_DST: u16 = libc::RTA_DST as u16;
    RTA_OIF: u16 = libc::RTA_OIF as u16;
    RTA_GATEWAY: u16 = libc::RTA_GATEWAY as u16;
    RTA_TABLE: u16 = 15;
    RTM_GETLINK: u16 = libc::RTM_GETLINK as u16;
    RTM_GETADDR: u16 = libc::RTM_GETADDR as u16;
    RTM_GETROUTE: u16 = libc::RTM_GETROUTE as u16;
    RTM_GETRULE: u16 = libc::RTM_GETRULE as u16;
    RTM_NEWNSID: u16 = libc::RTM_NEWNSID as u16;
    RTM_DELNSID: u16 = libc::RTM_DELNSID as u16;
    RTM_GETNSID: u16 = libc::RTM_GETNSID as u16;
    RTF_LOCAL: u32 = libc::RTF_LOCAL as u32;
    RTNLGRP_NSID: u32 = libc::RTNLGRP_NSID as u32;
    RTN_UNICAST: u8 = libc::RTN_UNICAST as u8;
    RT_TABLE_MAIN: u32 = libc::RT_TABLE_MAIN as u32;
    RT_TABLE_DEFAULT: u32 = 253;
    // Sockets that are told: `sock_diag.h`.
    SOCK_DIAG_BY_FAMILY: u16 = 20;
    // Protocols and families: `in.h`, `in6.h`, `if_arp.h`, `if_packet.h`, as they stand in messages.
    ARPHRD_NETLINK: u16 = 824;
    NETLINK_NETFILTER: u16 = libc::NETLINK_NETFILTER as u16;
    PACKET_OUTGOING: u16 = libc::PACKET_OUTGOING as u16;
    AF_INET: u8 = libc::AF_INET as u8;
    AF_INET6: u8 = libc::AF_INET6 as u8;
    IPPROTO_ICMP: u8 = libc::IPPROTO_ICMP as u8;
    IPPROTO_TCP: u8 = libc::IPPROTO_TCP as u8;
    IPPROTO_UDP: u8 = libc::IPPROTO_UDP as u8;
    IPPROTO_ICMPV6: u8 = libc::IPPROTO_ICMPV6 as u8;
}

/// The type of a message of a netfilter subsystem.
pub const fn message_type(subsystem: u16, message: u16) -> u16 {
    subsystem << 8 | message
}
