//! What the kernel could tell of connections beyond what a list needs.

use super::finding::Finding;

/// What net.netfilter.nf_conntrack_acct means for captures.
pub fn judge_accounting(setting: Option<u64>) -> Finding {
    let what = match setting {
        Some(0) => {
            "off (nf_conntrack_acct is 0): packets and bytes are not counted; with 1 and --reliable, lists other than \
             the classic one have those of ended connections"
        }
        Some(_) => {
            "on (nf_conntrack_acct): with --reliable, lists other than the classic one have packets and bytes of ended \
             connections"
        }
        None => "nf_conntrack_acct is not to be read; no list needs it",
    };
    Finding::ok("accounting", what).value("nf_conntrack_acct", setting)
}

/// What net.netfilter.nf_conntrack_timestamp means for captures.
pub fn judge_timestamps(setting: Option<u64>) -> Finding {
    // CTA_TIMESTAMP_EVENT, include/uapi/linux/netfilter/nfnetlink_conntrack.h, Linux 6.14.
    let what = match setting {
        Some(0) => {
            "off (nf_conntrack_timestamp is 0): flows have the time when their events were read; \
             with 1 and Linux 6.14 they have the kernel's, and the duration of ended connections is known where their \
             bytes are"
        }
        Some(_) => "on (nf_conntrack_timestamp): from Linux 6.14 on, flows have the kernel's times",
        None => "nf_conntrack_timestamp is not to be read; no list needs it",
    };
    Finding::ok("timestamps", what).value("nf_conntrack_timestamp", setting)
}
