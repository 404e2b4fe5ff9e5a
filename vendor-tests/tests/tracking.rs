//! What `conntracker doctor` says about rules that have connections tracked, held against the kernel: a packet
//! leaves an entry where they do.

use std::fs;
use std::process::Command;

use conntracker::testing::doctor::Tracking;
use vendor_tests::lab::Namespace;
use vendor_tests::netns::{self, sh};
use vendor_tests::skipped;
use vendor_tests::temp::Folder;

/// Contents of tables. No packet of the test gets as far as what comes behind the mark: it is there that counts.
const NFTABLES: [&str; 26] = [
    "inet: chain c { meta mark 99 ct state new; }",
    "inet: chain c { type filter hook input priority 0; meta mark 99 ct state new; }",
    "ip: chain c { type filter hook input priority 0; meta mark 99 ct state new; }",
    "ip6: chain c { type filter hook input priority 0; meta mark 99 ct state new; }",
    "ip: chain c { type filter hook input priority 0; meta mark 99 ct mark set 1; }",
    "ip: chain c { type filter hook input priority 0; meta mark 99 ct count 5; }",
    "ip: chain c { type filter hook input priority 0; meta mark 99 synproxy mss 1460; }",
    "inet: chain c { type filter hook input priority 0; meta mark 99 ct bytes > 5; }",
    "inet: chain c { type filter hook prerouting priority -300; meta mark 99 ct zone set 1; }",
    "inet: chain c { type filter hook prerouting priority -300; meta mark 99 notrack; }",
    "inet: chain c { type filter hook input priority 0; tcp dport 22 counter accept; }",
    "inet: chain c { type nat hook postrouting priority 100; }",
    "inet: chain c { type nat hook postrouting priority 100; meta mark 99 masquerade; }",
    "ip: chain c { type nat hook postrouting priority 100; meta mark 99 masquerade; }",
    "ip6: chain c { type nat hook postrouting priority 100; meta mark 99 masquerade; }",
    "ip: chain c { type nat hook postrouting priority 100; meta mark 99 snat to 10.0.0.1; }",
    "ip: chain c { type nat hook prerouting priority -100; meta mark 99 dnat to 10.0.0.1; }",
    "ip: chain c { type nat hook prerouting priority -100; meta mark 99 redirect; }",
    "ip: ct helper h { type \"ftp\" protocol tcp; }",
    "ip: ct helper h { type \"ftp\" protocol tcp; }; chain c { meta mark 99 ct helper set \"h\"; }",
    "ip: ct timeout h { protocol tcp; policy = { established: 120 }; }",
    "ip: ct expectation h { protocol udp; dport 9876; timeout 2m; size 12; l3proto ip; }",
    "ip: synproxy h { mss 1460; wscale 7; }",
    "ip: counter h { }",
    "ip: set s { type ipv4_addr; flags dynamic; size 100; }; chain c { meta mark 99 add @s { ip saddr ct count over 3 }; }",
    "ip: set s { type ipv4_addr; flags dynamic; size 100; }; chain c { meta mark 99 add @s { ip saddr }; }",
];

/// Tables and chains, and rules for them.
const XTABLES: [(&str, &str); 25] = [
    ("-A INPUT", "-m conntrack --ctstate NEW"),
    ("-A INPUT", "-m state --state NEW"),
    (
        "-A INPUT",
        "-m connbytes --connbytes 1 --connbytes-dir both --connbytes-mode packets",
    ),
    ("-A INPUT", "-m connlabel --label 1"),
    ("-A INPUT", "-m connlimit --connlimit-above 2"),
    ("-A INPUT", "-m connmark --mark 1"),
    ("-A INPUT", "-m helper --helper ftp"),
    (
        "-A INPUT",
        "-m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 1",
    ),
    ("-A INPUT", "-p tcp -j SYNPROXY --mss 1460"),
    ("-t mangle -A PREROUTING", "-j CONNMARK --save-mark"),
    ("-t mangle -A PREROUTING", "-j CONNSECMARK --save"),
    ("-t raw -A PREROUTING", "-j CT --notrack"),
    ("-t raw -A PREROUTING", "-j CT --zone 1"),
    ("-t nat -A POSTROUTING", "-j MASQUERADE"),
    ("-t nat -A POSTROUTING", "-j SNAT --to ADDRESS"),
    ("-t nat -A PREROUTING", "-j DNAT --to ADDRESS"),
    ("-t nat -A PREROUTING", "-j REDIRECT"),
    ("-t nat -A PREROUTING", "-j NETMAP --to NETWORK"),
    ("-t mangle -A PREROUTING", "-m socket"),
    (
        "-t mangle -A PREROUTING",
        "-j HMARK --hmark-tuple src --hmark-mod 2 --hmark-rnd 1",
    ),
    ("-A OUTPUT", "-m owner --uid-owner 0"),
    ("-A INPUT", "-m comment --comment x"),
    ("-A INPUT", "-m recent --set"),
    (
        "-A INPUT",
        "-m hashlimit --hashlimit-name x --hashlimit-above 1/s",
    ),
    ("-A INPUT", "-j ACCEPT"),
];

/// Entries in the calling thread's namespace.
fn entries() -> u32 {
    let path = "/proc/thread-self/net/stat/nf_conntrack";
    let text = fs::read_to_string(path).expect("connection tracking is there");
    let first = text.lines().nth(1).and_then(|line| line.split(' ').next());
    u32::from_str_radix(first.expect("a processor"), 16).expect("a number")
}

/// Whether a packet to an address of this host is tracked.
fn tracks(address: &str) -> bool {
    let before = entries();
    sh(&format!("ping -n -q -c 1 -W 5 {address}"));
    entries() > before
}

/// Has a rule made in a namespace of its own; whether it is said to need tracking, if it can be made.
fn compare(command: String) -> Option<bool> {
    Namespace::new().run(move || {
        let made = Command::new("sh")
            .args(["-c", &command])
            .output()
            .expect("a shell");
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            skipped!("{command}: {}", said.lines().next().unwrap_or_default());
            return None;
        }
        let tracking = Tracking::look();
        let needs = tracking.nftables.expect("the right to read").needs;
        let needs = needs.and(&tracking.legacy.expect("the right to read"));
        let tracked = (tracks("127.0.0.1"), tracks("::1"));
        assert_eq!((needs.ipv4, needs.ipv6), tracked, "{command}: {needs:?}");
        Some(needs.count > 0)
    })
}

/// Compares all, among which there are rules of both kinds.
fn compare_all(commands: impl Iterator<Item = String>) {
    let said: Vec<bool> = commands.filter_map(compare).collect();
    assert!(said.contains(&true) && said.contains(&false), "{said:?}");
}

#[test]
fn nftables_is_judged_as_the_kernel_does() {
    netns::run("nftables_is_judged_as_the_kernel_does", || {
        compare_all(NFTABLES.into_iter().map(|table| {
            let (family, content) = table.split_once(": ").expect("a family");
            format!("nft 'table {family} t {{ {content}; }}'")
        }));
    });
}

#[test]
fn iptables_is_judged_as_the_kernel_does() {
    netns::run("iptables_is_judged_as_the_kernel_does", || {
        let families = [
            ("", "10.0.0.1", "10.0.0.0/8"),
            ("6", "fd01::1", "fd01::/64"),
        ];
        for kind in ["nft", "legacy"] {
            if Command::new(format!("iptables-{kind}"))
                .arg("-V")
                .output()
                .is_err()
            {
                skipped!("iptables-{kind} is not installed");
                continue;
            }
            // The usual one is root's.
            let folder = Folder::new();
            let lock = format!("XTABLES_LOCKFILE={}", folder.join("lock").display());
            for (version, address, network) in families {
                compare_all(XTABLES.into_iter().map(|(chain, rule)| {
                    let rule = rule.replace("ADDRESS", address).replace("NETWORK", network);
                    format!("{lock} ip{version}tables-{kind} {chain} -m mark --mark 99 {rule}")
                }));
            }
        }
    });
}
