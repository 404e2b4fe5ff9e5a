//! What the administrator has to know before anything else.

use super::direction::Chain;
use super::plan::{Plan, Policy};
use super::seen::Reason;
use super::text::{numbers, plain};
use crate::model::capture::Capture;
use crate::model::record::{Identity, Service};
use crate::model::units::{agree, counted};

/// So much of the reasons why a capture is incomplete.
const REASONS_MAX: usize = 400;

/// So many connections of unclear direction are named.
const UNCLEAR_SHOWN: usize = 10;
/// With fewer unanswered TCP flows nothing is said of the directions that a gateway sees.
const ONE_DIRECTION_MIN: u64 = 10;
/// So many services to groups.
const SERVICES_SHOWN: usize = 6;
/// The port of SSH.
const SSH: u16 = 22;

impl Plan {
    /// A warning of connections that were open before they were tracked, and could not be placed.
    fn warn_of_unclear(&self) -> Option<String> {
        if self.unclear.is_empty() {
            return None;
        }
        let ports = |identity: &Identity| match identity.service {
            Service::Port(port) => [identity.source_port.number(), Some(port)],
            _ => [None; 2],
        };
        let mut shown: Vec<&Identity> = self.unclear.iter().collect();
        // The way back in first.
        shown.sort_by_key(|identity| !ports(identity).contains(&Some(SSH)));
        let mut words: Vec<String> = { shown.iter().take(UNCLEAR_SHOWN) }
            .map(|identity| {
                let [source, destination] = ports(identity)
                    .map(|port| port.map_or(String::new(), |port| format!(" port {port}")));
                format!(
                    "{} {}{source} and {}{destination}",
                    identity.protocol, identity.source, identity.destination
                )
            })
            .collect();
        if shown.len() > UNCLEAR_SHOWN {
            words.push(format!("and {} more", shown.len() - UNCLEAR_SHOWN));
        }
        let number = shown.len() as u64;
        Some(format!(
            "{} {} open before {} tracked, and which side opened {} is not known, so that {} no rule: {}. What is open now \
             goes on, but can't be opened anew",
            counted(number, "connection"),
            agree(number, "was", "were"),
            agree(number, "it was", "they were"),
            agree(number, "it", "them"),
            agree(number, "it has", "they have"),
            words.join("; ")
        ))
    }

    /// A warning where most TCP flows were not answered and as many packets belonged to no connection: a gateway that sees
    /// one direction of a connection only takes what follows the first packet for invalid (`tcp_conntracks`,
    /// net/netfilter/nf_conntrack_proto_tcp.c: an acknowledgement in the state SYN_SENT).
    fn warn_of_one_direction(&self) -> Option<String> {
        let invalid: u64 = { self.captures.iter() }
            .filter_map(|capture| capture.invalid_packets)
            .sum();
        let (unanswered, all) = (self.tcp.unanswered, self.tcp.all);
        let is_likely = unanswered >= ONE_DIRECTION_MIN && unanswered * 2 >= all;
        (is_likely && invalid >= unanswered).then(|| {
            format!(
                "{unanswered} of {all} TCP flows {} never answered here, and {} belonged to no connection: \
                 perhaps this gateway sees one direction only, and the answers take another way. Such connections work \
                 today and will not with these rules: they have none, and \"ct state invalid drop\" stops what follows \
                 their first packet",
                agree(unanswered, "was", "were"),
                counted(invalid, "packet")
            )
        })
    }

    /// A warning of requests to groups that generalized rules leave out, which nobody would look for in a report.
    fn warn_of_groups(&self) -> Option<String> {
        self.general.as_ref()?;
        let to_groups = || {
            let reasons = [Reason::Group, Reason::GroupUnknown];
            let left_out = self.left_out.iter();
            left_out.filter(move |left| reasons.contains(&left.reason))
        };
        let names = &self.options.services;
        let mut words: Vec<String> = to_groups()
            .map(|left| numbers(left.class.protocol, &left.services, names, SERVICES_SHOWN))
            .collect();
        words.sort_unstable();
        words.dedup();
        let more = words.len().saturating_sub(SERVICES_SHOWN);
        words.truncate(SERVICES_SHOWN);
        if more > 0 {
            words.push(format!("and {more} more"));
        }
        (!words.is_empty()).then(|| {
            format!(
                "requests to multicast and broadcast addresses are left out where the gateway was not seen to answer or to \
                 do the same ({}): --include-multicast accepts them",
                words.join("; ")
            )
        })
    }

    /// Warnings, the gravest first.
    pub(super) fn warn(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.is_incomplete() {
            let mut reasons: Vec<String> =
                self.captures.iter().flat_map(Capture::reasons).collect();
            reasons.sort_unstable();
            reasons.dedup();
            // What others wrote; the first of them is enough to know where to look.
            let reasons = plain(&reasons.join("; "), REASONS_MAX);
            let why = if reasons.is_empty() {
                String::new()
            } else {
                format!(" ({reasons})")
            };
            warnings.push(format!(
                "the capture is incomplete{why}: flows that it missed have no rule. Capture again before \
                 you rely on these rules"
            ));
        }
        if self
            .captures
            .iter()
            .any(|capture| !capture.tells_translation())
        {
            warnings.push(
                "the capture says nothing about address translation, as classic lists do not: flows to published addresses \
                 get rules for these, not for the servers behind them, and will be dropped where the host translates \
                 them. Capture with --format json"
                    .to_owned(),
            );
        }
        let without = |option: &str| {
            let mut live = self.captures.iter().filter(|capture| capture.is_live());
            live.any(|capture| !capture.options.iter().any(|set| set == option))
        };
        if without("--existing") {
            warnings.push(
                "connections that were open at the start and stayed silent since (VPN tunnels, NTP, databases) are not in \
                 the capture and get no rule. Capture with --existing"
                    .to_owned(),
            );
        }
        let mut spots: Vec<&String> = { self.captures.iter() }
            .flat_map(|capture| &capture.blind_spots)
            .collect();
        spots.sort_unstable();
        spots.dedup();
        for spot in spots {
            warnings.push(format!(
                "the capture could not see {}; flows that it missed have no rule",
                plain(spot, REASONS_MAX)
            ));
        }
        if let Some(general) = &self.general {
            warnings.extend(general.links.warnings.iter().cloned());
            if general.aim.sensitive.is_empty() {
                warnings.push(
                    "no service counts as sensitive, since the table of --sensitive is empty: remote shells and databases \
                     are opened as far as any other service"
                        .to_owned(),
                );
            }
        }
        warnings.extend(self.warn_of_unclear());
        warnings.extend(self.warn_of_one_direction());
        warnings.extend(self.warn_of_groups());
        let most = self
            .general
            .as_ref()
            .and_then(|general| general.aim.most_rules);
        if let Some(most) = most.filter(|most| self.count() > *most) {
            warnings.push(format!(
                "the services that were seen can't be said in {}: there are {}",
                counted(most as u64, "rule"),
                self.count()
            ));
        }
        let unassigned = self.related.unassigned();
        if !unassigned.is_empty() {
            warnings.push(format!(
                "{} passed because a helper expected them ({}), and the capture does not tell how that helper was \
                 assigned: they pass with these rules only where the host assigns it",
                counted(self.related.flows(), "flow"),
                unassigned.join("; ")
            ));
        }
        let gaps = self
            .captures
            .iter()
            .filter(|capture| !capture.is_incomplete());
        for gaps in gaps.filter_map(Capture::gaps_in_words) {
            warnings.push(format!("{gaps}: what passed only then has no rule"));
        }
        if self
            .captures
            .iter()
            .any(|capture| !capture.filters.is_empty())
        {
            warnings.push(
                "the capture was filtered: what the filters kept out has no rule and will be dropped"
                    .to_owned(),
            );
        }
        let partial = |capture: &Capture| {
            capture.is_ours()
                && !capture
                    .options
                    .iter()
                    .any(|option| option == "--all-protocols")
        };
        if self.captures.iter().any(partial) {
            warnings.push(
                "the capture holds TCP, UDP and ICMP only: other protocols, such as those of tunnels, have \
                 no rule. Capture with --all-protocols"
                    .to_owned(),
            );
        }
        let mut hosts: Vec<&String> = self
            .captures
            .iter()
            .filter_map(|capture| capture.host.as_ref())
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.len() > 1 {
            warnings.push(format!(
                "the captures are from {} hosts: the addresses of all of them count as the gateway's own",
                hosts.len()
            ));
        }
        let dropped =
            |chain| self.options.policies.of(chain) == Policy::Drop && !self.accepts_in(chain);
        if !self.host().is_known() {
            warnings.push(
                "the gateway's own addresses are not known: every flow is taken as forwarded, and what goes to \
                 or comes from the gateway itself is not filtered. Give each address with --local"
                    .to_owned(),
            );
        } else if dropped(Chain::Input) {
            warnings.push(
                "no flow to the gateway itself was seen: with these rules nobody can open a new \
                 connection to it, not even to administer it"
                    .to_owned(),
            );
        }
        if self.host().is_known() && dropped(Chain::Output) {
            warnings.push(
                "no flow from the gateway itself was seen: with these rules it can open no connection"
                    .to_owned(),
            );
        }
        let guessed: u64 = self.rules.iter().map(|rule| rule.tally.guessed).sum();
        if guessed > 0 {
            warnings.push(format!(
                "{guessed} ICMP flows come from a list that does not tell the type: taken for echo requests"
            ));
        }
        warnings
    }
}
