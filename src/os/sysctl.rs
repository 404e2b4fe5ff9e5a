//! Settings and figures of connection tracking that the kernel shows below /proc/sys.

/// A number below /proc/sys/net/netfilter (nf_conntrack-sysctl in the kernel's documentation).
pub fn sysctl(name: &str) -> Option<u64> {
    std::fs::read_to_string(format!("/proc/sys/net/netfilter/{name}"))
        .ok()?
        .trim()
        .parse()
        .ok()
}
