//! The rules of our own that stand around those under test.

use std::fmt::Write as _;

/// Name of the table. Traces of it are not the ruleset's.
pub const TABLE: &str = "conntracker-check";
/// Mark of packets that our raw sockets send. It is taken off before any other rule sees it.
pub const MARK: u32 = 0x636f_6e6e;
/// Group of the netfilter log.
pub const GROUP: u16 = 65_001;
/// What the log says before each packet.
pub const PREFIX: &str = "conntracker-check";
/// Packets with this bit in their number are traced.
pub const TRACED: u16 = 0x8000;

/// The table, for nft(8).
///
/// - What this host sends by itself, like resets and ICMP errors, goes nowhere: nobody has sent it in the
///   capture. A raw socket's packets are known by their mark.
/// - Packets whose number has the bit [`TRACED`] are traced from the first hook on.
/// - `ingress` are the devices of which rules see packets even before that; there is a table for those
///   only if the ruleset has one, since the kernel then takes another way.
/// - `again` has every hook begin with that: rules of the ruleset may switch it off.
/// - Connections are tracked, by a rule without a verdict: nat chains see no packet otherwise, and that a rule under
///   test needs tracking may be what is in doubt of it (`nf_ct_netns_get`, net/netfilter/nf_conntrack_proto.c).
/// - Behind all rules of the input hook, and before conntrack confirms the connection (at 2147483647,
///   `NF_IP_PRI_CONNTRACK_CONFIRM`), packets are logged.
pub fn table(ingress: &[&str], again: bool) -> String {
    let mut text = String::new();
    let trace = format!(
        "ip id & {TRACED:#x} != 0 meta nftrace set 1\n\
         meta nfproto ipv6 @nh,16,16 & {TRACED:#x} != 0 meta nftrace set 1"
    );
    let _ = write!(
        text,
        "table inet {TABLE} {{
            chain prerouting {{ type filter hook prerouting priority -2147483648
                {trace}
            }}
            chain output {{ type filter hook output priority -2147483648
                meta mark != {MARK:#x} drop
                meta mark set 0
                {trace}
            }}
            chain input {{ type filter hook input priority 2147483646
                ct state new
                log prefix \"{PREFIX}\" group {GROUP} queue-threshold 1
            }}
        }}\n"
    );
    if again {
        let _ = writeln!(text, "table inet {TABLE} {{");
        for hook in ["forward", "input", "postrouting"] {
            let _ = writeln!(
                text,
                "chain {hook}-first {{ type filter hook {hook} priority -2147483648\n{trace}\n}}"
            );
        }
        text.push_str("}\n");
    }
    if !ingress.is_empty() {
        let devices = ingress.join("\", \"");
        // nft(8) refuses nfproto in this family.
        let trace = trace.replace("meta nfproto ipv6", "meta protocol ip6");
        let _ = write!(
            text,
            "table netdev {TABLE} {{
                chain ingress {{
                    type filter hook ingress devices = {{ \"{devices}\" }} priority -2147483648
                    {trace}
                }}
            }}\n"
        );
    }
    text
}

/// Rules by which what is for many says so, as it would with an Ethernet header, which injected packets do not have. Each
/// packet costs the kernel a look at its routes then.
pub fn for_many() -> String {
    format!(
        "table inet {TABLE} {{
            chain to-all {{
                meta pkttype set broadcast
            }}
            chain to-many {{
                meta pkttype set multicast
            }}
            chain prerouting {{
                fib daddr type vmap {{ broadcast : jump to-all, multicast : jump to-many }}
            }}
        }}\n"
    )
}

/// The table that puts packets into a conntrack zone, before conntrack sees them.
pub fn zone(zone: u16) -> String {
    let name = format!("inet {TABLE}-zone");
    let mut text = format!("table {name}\ndelete table {name}\n");
    if zone != 0 {
        let _ = writeln!(text, "table {name} {{");
        for hook in ["prerouting", "output"] {
            let _ = writeln!(
                text,
                "chain {hook} {{ type filter hook {hook} priority -2147483647\nct zone set {zone}\n}}"
            );
        }
        text.push_str("}\n");
    }
    text
}
