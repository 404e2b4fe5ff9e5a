//! Rulesets that the dice write, for the gateway of [`crate::lab::Lab`]: of chains, sets, translation and verdicts, with
//! conditions that a flow tells, and, where that is wanted, with ones that stand outside of it.

use std::fmt::Write as _;

use crate::probes::{MARK, PORTS};
use crate::world::Dice;

/// A ruleset.
#[derive(Clone, Debug)]
pub struct Generated {
    /// For nft(8), or for iptables-restore(8).
    pub text: String,
    /// Whether it is for iptables.
    pub iptables: bool,
    /// What fills its sets, for nft(8), once it is loaded.
    pub fill: String,
}

/// Makes a ruleset; with `doubtful` conditions too if wanted.
pub fn ruleset(dice: &mut Dice, doubtful: bool) -> Generated {
    if dice.once_in(3) {
        iptables(dice, doubtful)
    } else {
        nft(dice, doubtful)
    }
}

fn network(dice: &mut Dice) -> &'static str {
    dice.pick(&[
        "10.1.0.0/24",
        "10.1.0.2",
        "10.2.0.2",
        "10.2.0.0/16",
        "10.1.0.1",
        "10.0.0.0/8",
        "10.2.0.3-10.2.0.200",
    ])
}

fn network6(dice: &mut Dice) -> &'static str {
    dice.pick(&[
        "fd01::/64",
        "fd01::2",
        "fd02::2",
        "fd02::/16",
        "fd00::/8",
        "fd02::3",
    ])
}

fn ports(dice: &mut Dice) -> String {
    match dice.below(4) {
        0 => format!("{}-{}", dice.below(60), 60 + dice.below(1000)),
        1 => format!(
            "{{ {}, {} }}",
            dice.pick(&PORTS),
            20_000 + dice.below(20_000)
        ),
        _ => dice.pick(&PORTS).to_string(),
    }
}

/// A condition that a flow tells of.
fn certain(dice: &mut Dice) -> String {
    let not = if dice.once_in(5) { "!= " } else { "" };
    match dice.below(12) {
        0 => format!("ip saddr {not}{}", network(dice)),
        1 => format!("ip daddr {not}{}", network(dice)),
        2 => format!("ip6 saddr {not}{}", network6(dice)),
        3 => format!("ip6 daddr {not}{}", network6(dice)),
        4 | 5 => format!("{} dport {not}{}", dice.pick(&["tcp", "udp"]), ports(dice)),
        6 => format!("meta l4proto {not}{}", dice.pick(&["tcp", "udp"])),
        7 => format!("meta nfproto {not}{}", dice.pick(&["ipv4", "ipv6"])),
        8 => format!("ip saddr {not}@known"),
        9 => format!(
            "ct state {}",
            dice.pick(&["new", "established", "established,related", "invalid"])
        ),
        10 => format!("fib daddr type {not}{}", dice.pick(&["local", "unicast"])),
        _ => format!("th dport {not}{}", ports(dice)),
    }
}

/// A condition that something else tells.
fn doubt(dice: &mut Dice) -> String {
    let not = if dice.once_in(4) { "!= " } else { "" };
    match dice.below(22) {
        0 | 1 => format!("meta mark {not}{MARK}"),
        // Of bits of a mark that the ruleset gives, programs keep away; the one that they give has none of these.
        2 => format!(
            "meta mark and 0x2 {}0x2",
            if dice.once_in(2) { "!= " } else { "== " }
        ),
        3 => format!("ct mark {not}{MARK}"),
        4 => "numgen random mod 2 0".to_owned(),
        5 => "meta random < 2147483648".to_owned(),
        6 => format!("meta cpu {not}0"),
        7 => format!("meta skuid {not}{}", dice.pick(&[0, 65_534])),
        8 => format!("ip saddr {not}@filled"),
        9 => format!("ip daddr {not}@filled"),
        10 => format!("ip ttl {}", dice.pick(&["< 64", "64", "63"])),
        11 => format!("meta length {}", dice.pick(&["< 40", "> 50", "60"])),
        12 => format!("iifgroup {not}7"),
        13 => format!("meta priority {not}0:0"),
        14 => format!("rt mtu {}", dice.pick(&["> 1000", "< 1000"])),
        15 => format!(
            "meta hour {}",
            dice.pick(&["\"00:00\"-\"12:00\"", "\"12:00\"-\"23:59\""])
        ),
        16 => "symhash mod 2 0".to_owned(),
        17 => format!("meta iifkind {not}\"veth\""),
        18 => format!("ct expiration {}", dice.pick(&["> 10s", "< 10s"])),
        19 => format!("udp length {}", dice.pick(&["12", "> 12"])),
        20 => format!("ip dscp {not}cs0"),
        _ => format!("update @seen {{ ip saddr timeout 1m }} ip daddr {not}@seen"),
    }
}

/// A limit that nothing here reaches.
fn generous(dice: &mut Dice) -> &'static str {
    dice.pick(&[
        "limit rate 10000/second burst 10000 packets",
        "ct count 30000",
    ])
}

fn verdict(dice: &mut Dice, chains: &[&str]) -> String {
    match dice.below(9) {
        0..=3 => "accept".to_owned(),
        4 | 5 => "drop".to_owned(),
        6 => "reject".to_owned(),
        7 if !chains.is_empty() => {
            format!("{} {}", dice.pick(&["jump", "goto"]), dice.pick(chains))
        }
        _ => "counter".to_owned(),
    }
}

/// Adds a condition, unless nft(8) takes it for the opposite of another one: of one family and one protocol each.
fn add(conditions: &mut Vec<String>, more: String) {
    let kind = |text: &str| {
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        [
            has(&[
                "ip saddr", "ip daddr", "ip ttl", "ip dscp", "ip6 ", "nfproto",
            ]),
            has(&["tcp ", "udp ", "l4proto", "th dport"]),
        ]
    };
    let new = kind(&more);
    let taken = |at: usize| new[at] && conditions.iter().any(|old| kind(old)[at]);
    if !taken(0) && !taken(1) {
        conditions.push(more);
    }
}

fn nft(dice: &mut Dice, doubtful: bool) -> Generated {
    let mut text = String::from(
        "table inet fw {\n\tset known { type ipv4_addr; flags interval; elements = { 10.1.0.0/30, 10.2.0.7 }; }\n\
         \tset filled { type ipv4_addr; }\n\tset seen { type ipv4_addr; flags dynamic,timeout; timeout 1m; }\n",
    );
    let rule =
        |dice: &mut Dice, text: &mut String, chains: &[&str], early: bool, may_reject: bool| {
            let mut conditions: Vec<String> = Vec::new();
            for _ in 0..=dice.below(2) {
                let more = certain(dice);
                add(&mut conditions, more);
            }
            let devices = ["side1", "side2"];
            if dice.once_in(4) {
                let which = if early {
                    "iifname"
                } else {
                    dice.pick(&["iifname", "oifname"])
                };
                conditions.push(format!("{which} {}", dice.pick(&devices)));
            }
            if doubtful && dice.once_in(3) {
                // Before the route is known nothing of it can be asked.
                let more = doubt(dice);
                if !(early && more.starts_with("rt ")) {
                    add(&mut conditions, more);
                }
            }
            if dice.once_in(6) {
                conditions.push(generous(dice).to_owned());
            }
            if doubtful && dice.once_in(10) {
                let _ = writeln!(
                    text,
                    "\t\t{} meta mark set 0x{:x}",
                    certain(dice),
                    dice.below(8)
                );
            }
            let then = match verdict(dice, chains) {
                // Only where packets can still be answered.
                reject if reject == "reject" && !may_reject => "drop".to_owned(),
                other => other,
            };
            let _ = writeln!(text, "\t\t{} {then}", conditions.join(" "));
        };
    for (chain, below) in [("inner", &[][..]), ("outer", &["inner"][..])] {
        let _ = writeln!(text, "\tchain {chain} {{");
        for _ in 0..dice.below(4) {
            rule(dice, &mut text, below, true, false);
        }
        text.push_str("\t}\n");
    }
    let chains = [
        ("early", "filter hook prerouting priority raw", 4),
        ("late", "filter hook prerouting priority filter", 4),
        ("in", "filter hook input priority filter", 1),
        ("through", "filter hook forward priority filter", 1),
        ("out", "filter hook output priority filter", 2),
        ("after", "filter hook postrouting priority mangle", 5),
    ];
    for (chain, hook, rare) in chains {
        if !dice.once_in(rare) {
            continue;
        }
        let policy = dice.pick(&["accept", "drop", "drop"]);
        let policy = if rare == 1 { policy } else { "accept" };
        let _ = writeln!(
            text,
            "\tchain {chain} {{\n\t\ttype {hook}; policy {policy};"
        );
        if dice.below(4) > 0 {
            text.push_str("\t\tct state established,related accept\n");
        }
        let early = matches!(chain, "early" | "late");
        for _ in 0..1 + dice.below(7) {
            let below: &[&str] = if early || chain == "after" {
                &[]
            } else {
                &["inner", "outer"]
            };
            // Conditions on the way out, and answers, are for the chains that have them.
            let may_reject = matches!(chain, "in" | "through" | "out");
            rule(dice, &mut text, below, early || chain == "in", may_reject);
        }
        text.push_str("\t}\n");
    }
    if dice.once_in(2) {
        text.push_str("\tchain dnats {\n\t\ttype nat hook prerouting priority dstnat;\n");
        for _ in 0..1 + dice.below(2) {
            let to = dice.pick(&["10.2.0.2", "10.1.0.2", "10.2.0.1"]);
            let (from, into) = (dice.pick(&PORTS), dice.pick(&PORTS));
            let protocol = dice.pick(&["tcp", "udp"]);
            let _ = writeln!(
                text,
                "\t\tip daddr {} {protocol} dport {from} dnat ip to {to}:{into}",
                dice.pick(&["10.1.0.1", "10.2.0.2", "10.2.0.99"]),
            );
        }
        text.push_str("\t}\n");
    }
    if dice.once_in(3) {
        text.push_str("\tchain snats {\n\t\ttype nat hook postrouting priority srcnat;\n");
        let _ = writeln!(
            text,
            "\t\toifname side2 {}masquerade",
            dice.pick(&["", "meta l4proto udp "])
        );
        text.push_str("\t}\n");
    }
    text.push_str("}\n");
    Generated {
        text,
        iptables: false,
        fill: format!(
            "add element inet fw filled {{ {} }}\n",
            dice.pick(&["10.1.0.2", "10.2.0.2", "10.1.0.1"])
        ),
    }
}

fn iptables(dice: &mut Dice, doubtful: bool) -> Generated {
    let mut text = String::from("*filter\n");
    for chain in ["INPUT", "FORWARD", "OUTPUT"] {
        let policy = if chain == "OUTPUT" {
            "ACCEPT"
        } else {
            dice.pick(&["ACCEPT", "DROP"])
        };
        let _ = writeln!(text, ":{chain} {policy} [0:0]");
    }
    text.push_str(":inner - [0:0]\n");
    for chain in ["inner", "INPUT", "FORWARD", "OUTPUT"] {
        if chain != "inner" && dice.below(4) > 0 {
            let _ = writeln!(
                text,
                "-A {chain} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
            );
        }
        for _ in 0..dice.below(7) {
            let mut rule = format!("-A {chain}");
            let not = |dice: &mut Dice| if dice.once_in(5) { "! " } else { "" };
            let net = ["10.1.0.0/24", "10.1.0.2", "10.2.0.2", "10.0.0.0/8"];
            if dice.once_in(3) {
                let _ = write!(rule, " {}-s {}", not(dice), dice.pick(&net));
            }
            if dice.once_in(3) {
                let _ = write!(rule, " {}-d {}", not(dice), dice.pick(&net));
            }
            if dice.once_in(4) && chain != "inner" {
                let option = match chain {
                    "INPUT" => "-i",
                    "OUTPUT" => "-o",
                    _ => dice.pick(&["-i", "-o"]),
                };
                let _ = write!(
                    rule,
                    " {}{option} {}",
                    not(dice),
                    dice.pick(&["side1", "side2", "side+"])
                );
            }
            if doubtful && dice.once_in(4) {
                rule.push_str(&doubt_of_iptables(dice, chain));
            }
            if dice.once_in(2) {
                let protocol = dice.pick(&["tcp", "udp"]);
                let _ = write!(rule, " -p {protocol}");
                match dice.below(3) {
                    0 => {
                        let _ = write!(
                            rule,
                            " -m {protocol} {}--dport {}",
                            not(dice),
                            dice.pick(&PORTS)
                        );
                    }
                    1 => {
                        let _ = write!(
                            rule,
                            " -m multiport --dports {},1000:1010",
                            dice.pick(&PORTS)
                        );
                    }
                    _ => {}
                }
            }
            if dice.once_in(6) {
                rule.push_str(dice.pick(&[
                    " -m limit --limit 10000/sec --limit-burst 10000",
                    " -m connlimit --connlimit-upto 30000 --connlimit-mask 32",
                    " -m hashlimit --hashlimit-upto 10000/sec --hashlimit-burst 10000 --hashlimit-mode srcip --hashlimit-name h",
                ]));
            }
            let target = match dice.below(8) {
                0..=3 => "ACCEPT",
                4 | 5 => "DROP",
                6 => "REJECT",
                _ if chain == "inner" => "RETURN",
                _ => "inner",
            };
            let _ = writeln!(text, "{rule} -j {target}");
        }
    }
    text.push_str("COMMIT\n");
    Generated {
        text,
        iptables: true,
        fill: String::new(),
    }
}

fn doubt_of_iptables(dice: &mut Dice, chain: &str) -> String {
    let not = if dice.once_in(4) { "! " } else { "" };
    match dice.below(10) {
        0 | 1 => format!(" -m mark {not}--mark {MARK}"),
        2 => format!(" -m connmark {not}--mark {MARK}"),
        3 => " -m statistic --mode random --probability 0.5".to_owned(),
        4 if chain == "OUTPUT" => format!(" -m owner {not}--uid-owner 0"),
        5 => format!(" -m ttl --ttl-{}", dice.pick(&["lt 64", "eq 64"])),
        6 => format!(" -m length {not}--length 0:50"),
        7 if chain != "OUTPUT" => format!(" -m devgroup {not}--src-group 7"),
        8 => " -m recent --rcheck --name r --rsource".to_owned(),
        9 => format!(" -m dscp {not}--dscp 0"),
        _ => format!(" -m cpu {not}--cpu 0"),
    }
}
