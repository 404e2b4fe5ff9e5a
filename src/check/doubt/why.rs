//! Why it is not known whether a rule matches.

pub const MARK: &str = "a rule asks for a mark that nothing in the ruleset sets: programs, sockets and other tables do";
pub const OWN_MARK: &str =
    "a rule asks a packet of this host for a mark that the ruleset gives to packets";
pub const SOURCE_PORT: &str = "a rule asks for some of the ports from 1024 on, and which of them the flow came from is not known";
pub const PROGRAM: &str = "a rule hands packets to a program, which may drop them";
pub const PRIORITY: &str = "a rule asks for a priority, which programs and traffic control set";
pub const CHANCE: &str = "a rule chooses by chance";
pub const PROCESSOR: &str = "a rule asks for the processor that handles the packet";
pub const OWNER: &str = "a rule asks for the user, group or cgroup of the local process";
pub const GROUP: &str =
    "a rule asks for the group of an interface, which the capture does not tell";
pub const KIND: &str = "a rule asks for the kind of an interface: all are of kind tun here";
pub const PORT: &str = "a rule asks for the port of a bridge: a bridge has none here";
pub const LINK: &str =
    "a rule asks for what an Ethernet header tells, and injected packets have none";
pub const LABEL: &str = "a rule asks for a label that nothing in the ruleset sets";
pub const ROUTE: &str = "a rule asks for what the host's routes say beyond the capture";
pub const VOLUME: &str = "a rule asks how much has passed before";
pub const EXPIRY: &str = "a rule asks when conntrack will forget the connection";
pub const TIME: &str = "a rule asks for the time of day or the date";
pub const PROXY: &str = "a rule asks for a local socket, and nothing listens here";
pub const IPSEC: &str =
    "a rule asks whether IPsec protects the packet, which the capture does not tell";
pub const CONTENT: &str =
    "a rule asks for what is in the packet or how long it is, and the injected one is made up";
pub const HEADER: &str = "a rule asks for TTL, DSCP or ECN, which captures do not tell";
pub const FILLED: &str =
    "a rule looks into a set whose contents are not in the ruleset: packets or programs fill it";
pub const IPSET: &str = "a rule looks into an ipset whose contents are not given: add them with --also and a file of ipset save";
pub const SEEN: &str = "a rule asks for packets of the same address before (recent)";
