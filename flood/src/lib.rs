//! Synthetic conntrack entries, for tests and benches.
//!
//! A flood is a deterministic stream of events ([`plan`]) made from a few numbers ([`settings`]); every flow is a
//! function of its index ([`flow`]), so nothing is kept in memory however long the stream is. The stream goes
//! either to the kernel, which then emits the events ([`sender`], [`run`]), or into a capture file ([`pcap`]), and
//! its outcome can be written down ([`model`]) as something to compare a listener's output with.
//!
//! # Which requests make the kernel emit an event
//!
//! All in `net/netfilter/nf_conntrack_netlink.c`, observed on Linux 6.18:
//!
//! - `IPCTNL_MSG_CT_NEW` with `NLM_F_CREATE` for a tuple that is not in the table: NEW
//!   (`ctnetlink_new_conntrack`, `IPCT_NEW`).
//! - The same without `NLM_F_EXCL`, or without `NLM_F_CREATE`, for a tuple that is there: UPDATE, whenever
//!   `ctnetlink_change_conntrack` succeeds, whether it changed anything or not. With `NLM_F_EXCL`: EEXIST, no event.
//! - `IPCTNL_MSG_CT_DELETE`: DESTROY.
//!
//! An UPDATE needs nothing but the tuple; setting the present status again is as good as any change. EBUSY, and no
//! event, is the answer to a status without `IPS_CONFIRMED`, or without `IPS_SEEN_REPLY` once that is set
//! (`ctnetlink_change_status`).
//!
//! Connection tracking need not be active in the namespace: no rule, no hook and no packet is needed for an
//! entry made this way. What is needed is a listener *before* the entry: with `nf_conntrack_events=2` (the default)
//! an entry made while nobody listens gets no event extension (`nf_ct_ecache_ext_add` in
//! `net/netfilter/nf_conntrack_ecache.c`), and neither updating nor removing it emits anything, ever. Nobody means
//! nobody on the machine: `nf_ctnetlink_has_listener` (`include/linux/netfilter.h`) is one for all namespaces, as
//! sockets with `NETLINK_LISTEN_ALL_NSID` hear them all. So a listener in any namespace makes an entry cost its event
//! in every namespace; to measure without that, set `nf_conntrack_events=0` in the namespace of the flood.
//!
//! The events of such entries carry `CTA_SYNPROXY` and `CTA_MARK` besides what the events of packets carry, so they
//! are 36 octets longer.

pub mod flow;
pub mod limits;
pub mod message;
pub mod model;
pub mod namespace;
pub mod pace;
pub mod pcap;
pub mod plan;
pub mod random;
pub mod run;
pub mod sender;
pub mod settings;
