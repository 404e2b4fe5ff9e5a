//! Which matches of iptables-extensions(8) tell what stands outside the ruleset, and the words that belong to each.

use super::why;

/// What a match is to a flow that is judged as the only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// It is not known.
    Doubtful(&'static str),
    /// A mark, which the ruleset may set itself.
    Mark,
    /// A limit, which the words tell the way of.
    Limit,
    /// Packets of the same address before.
    Recent,
}

/// A match, and its options with the number of words that follow each.
#[derive(Debug)]
pub struct Match {
    pub name: &'static str,
    pub nature: Nature,
    pub options: &'static [(&'static str, usize)],
}

const fn doubtful(
    name: &'static str,
    why: &'static str,
    options: &'static [(&'static str, usize)],
) -> Match {
    Match {
        name,
        nature: Nature::Doubtful(why),
        options,
    }
}

/// All of them.
pub const MATCHES: [Match; 35] = [
    doubtful(
        "conntrack",
        why::EXPIRY,
        &[
            ("--ctstate", 1),
            ("--ctproto", 1),
            ("--ctorigsrc", 1),
            ("--ctorigdst", 1),
            ("--ctreplsrc", 1),
            ("--ctrepldst", 1),
            ("--ctorigsrcport", 1),
            ("--ctorigdstport", 1),
            ("--ctreplsrcport", 1),
            ("--ctrepldstport", 1),
            ("--ctstatus", 1),
            ("--ctexpire", 1),
            ("--ctdir", 1),
        ],
    ),
    doubtful("esp", why::CONTENT, &[("--espspi", 1)]),
    doubtful("ah", why::CONTENT, &[("--ahspi", 1)]),
    Match {
        name: "mark",
        nature: Nature::Mark,
        options: &[("--mark", 1)],
    },
    Match {
        name: "connmark",
        nature: Nature::Mark,
        options: &[("--mark", 1)],
    },
    Match {
        name: "limit",
        nature: Nature::Limit,
        options: &[("--limit", 1), ("--limit-burst", 1)],
    },
    Match {
        name: "hashlimit",
        nature: Nature::Limit,
        options: &[
            ("--hashlimit", 1),
            ("--hashlimit-upto", 1),
            ("--hashlimit-above", 1),
            ("--hashlimit-burst", 1),
            ("--hashlimit-mode", 1),
            ("--hashlimit-srcmask", 1),
            ("--hashlimit-dstmask", 1),
            ("--hashlimit-name", 1),
            ("--hashlimit-htable-size", 1),
            ("--hashlimit-htable-max", 1),
            ("--hashlimit-htable-expire", 1),
            ("--hashlimit-htable-gcinterval", 1),
            ("--hashlimit-rate-match", 0),
            ("--hashlimit-rate-interval", 1),
        ],
    },
    Match {
        name: "connlimit",
        nature: Nature::Limit,
        options: &[
            ("--connlimit-upto", 1),
            ("--connlimit-above", 1),
            ("--connlimit-mask", 1),
            ("--connlimit-saddr", 0),
            ("--connlimit-daddr", 0),
        ],
    },
    Match {
        name: "recent",
        nature: Nature::Recent,
        options: &[
            ("--name", 1),
            ("--set", 0),
            ("--rcheck", 0),
            ("--update", 0),
            ("--remove", 0),
            ("--seconds", 1),
            ("--reap", 0),
            ("--hitcount", 1),
            ("--rttl", 0),
            ("--rsource", 0),
            ("--rdest", 0),
            ("--mask", 1),
        ],
    },
    doubtful(
        "owner",
        why::OWNER,
        &[
            ("--uid-owner", 1),
            ("--gid-owner", 1),
            ("--pid-owner", 1),
            ("--sid-owner", 1),
            ("--suppl-groups", 0),
            ("--socket-exists", 0),
        ],
    ),
    doubtful("cgroup", why::OWNER, &[("--cgroup", 1), ("--path", 1)]),
    doubtful(
        "statistic",
        why::CHANCE,
        &[
            ("--mode", 1),
            ("--probability", 1),
            ("--every", 1),
            ("--packet", 1),
        ],
    ),
    doubtful("cpu", why::PROCESSOR, &[("--cpu", 1)]),
    doubtful(
        "cluster",
        why::PROCESSOR,
        &[
            ("--cluster-total-nodes", 1),
            ("--cluster-local-node", 1),
            ("--cluster-local-nodemask", 1),
            ("--cluster-hash-seed", 1),
        ],
    ),
    doubtful(
        "devgroup",
        why::GROUP,
        &[("--src-group", 1), ("--dst-group", 1)],
    ),
    doubtful(
        "physdev",
        why::PORT,
        &[
            ("--physdev-in", 1),
            ("--physdev-out", 1),
            ("--physdev-is-in", 0),
            ("--physdev-is-out", 0),
            ("--physdev-is-bridged", 0),
        ],
    ),
    doubtful("mac", why::LINK, &[("--mac-source", 1)]),
    doubtful("eui64", why::LINK, &[]),
    doubtful(
        "time",
        why::TIME,
        &[
            ("--datestart", 1),
            ("--datestop", 1),
            ("--timestart", 1),
            ("--timestop", 1),
            ("--monthdays", 1),
            ("--weekdays", 1),
            ("--contiguous", 0),
            ("--kerneltz", 0),
            ("--utc", 0),
            ("--localtz", 0),
        ],
    ),
    doubtful(
        "policy",
        why::IPSEC,
        &[
            ("--dir", 1),
            ("--pol", 1),
            ("--strict", 0),
            ("--reqid", 1),
            ("--spi", 1),
            ("--proto", 1),
            ("--mode", 1),
            ("--tunnel-src", 1),
            ("--tunnel-dst", 1),
            ("--next", 0),
        ],
    ),
    doubtful("realm", why::ROUTE, &[("--realm", 1)]),
    doubtful("connlabel", why::LABEL, &[("--label", 1), ("--set", 0)]),
    doubtful("quota", why::VOLUME, &[("--quota", 1)]),
    doubtful(
        "rateest",
        why::VOLUME,
        &[
            ("--rateest-delta", 0),
            ("--rateest-lt", 0),
            ("--rateest-gt", 0),
            ("--rateest-eq", 0),
            ("--rateest-bps", 1),
            ("--rateest-pps", 1),
            ("--rateest1", 1),
            ("--rateest2", 1),
            ("--rateest", 1),
            ("--rateest-bps1", 1),
            ("--rateest-bps2", 1),
            ("--rateest-pps1", 1),
            ("--rateest-pps2", 1),
        ],
    ),
    doubtful(
        "string",
        why::CONTENT,
        &[
            ("--algo", 1),
            ("--from", 1),
            ("--to", 1),
            ("--string", 1),
            ("--hex-string", 1),
            ("--icase", 0),
        ],
    ),
    doubtful("length", why::CONTENT, &[("--length", 1)]),
    doubtful("u32", why::CONTENT, &[("--u32", 1)]),
    doubtful(
        "bpf",
        why::CONTENT,
        &[("--bytecode", 1), ("--object-pinned", 1)],
    ),
    doubtful(
        "osf",
        why::CONTENT,
        &[("--genre", 1), ("--ttl", 1), ("--log", 1)],
    ),
    doubtful("tcpmss", why::CONTENT, &[("--mss", 1)]),
    doubtful(
        "ttl",
        why::HEADER,
        &[
            ("--ttl", 1),
            ("--ttl-eq", 1),
            ("--ttl-lt", 1),
            ("--ttl-gt", 1),
        ],
    ),
    doubtful("dscp", why::HEADER, &[("--dscp", 1), ("--dscp-class", 1)]),
    doubtful("tos", why::HEADER, &[("--tos", 1)]),
    doubtful(
        "ecn",
        why::HEADER,
        &[
            ("--ecn-tcp-cwr", 0),
            ("--ecn-tcp-ece", 0),
            ("--ecn-ip-ect", 1),
        ],
    ),
    doubtful(
        "socket",
        why::PROXY,
        &[
            ("--transparent", 0),
            ("--nowildcard", 0),
            ("--restore-skmark", 0),
        ],
    ),
];

/// Those whose name depends on what the ruleset holds: ipsets may be given.
pub const IPSET: Match = doubtful(
    "set",
    why::IPSET,
    &[
        ("--match-set", 2),
        ("--return-nomatch", 0),
        ("--update-counters", 0),
        ("--update-subcounters", 0),
        ("--packets-eq", 1),
        ("--packets-lt", 1),
        ("--packets-gt", 1),
        ("--bytes-eq", 1),
        ("--bytes-lt", 1),
        ("--bytes-gt", 1),
    ],
);

/// The hop limit of IPv6. What asks for 255 is asked of neighbour discovery (RFC 4861, 7.1), which is injected with it.
pub const HOP_LIMIT: Match = doubtful(
    "hl",
    why::HEADER,
    &[("--hl-eq", 1), ("--hl-lt", 1), ("--hl-gt", 1)],
);
