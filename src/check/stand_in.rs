//! What rules of iptables name and do not hold, and do not load without: ipsets and the counters of nfacct(8). Empty ones
//! stand in for them.

use std::collections::BTreeSet;
use std::io;

use crate::check::form::Form;
use crate::check::ruleset::Ruleset;
use crate::netlink::build::netfilter_message;
use crate::netlink::request::{Family, open, transact};
use crate::netlink::uapi::{
    IPSET_ATTR_DATA, IPSET_ATTR_FAMILY, IPSET_ATTR_PROTOCOL, IPSET_ATTR_REVISION,
    IPSET_ATTR_SETNAME, IPSET_ATTR_TYPENAME, IPSET_CMD_CREATE, NFACCT_NAME, NFNL_MSG_ACCT_NEW,
    NFNL_SUBSYS_ACCT, NFNL_SUBSYS_IPSET, NFPROTO_IPV4, NFPROTO_IPV6, NLM_F_ACK, NLM_F_CREATE,
    NLM_F_REQUEST,
};

/// Options that a name of a set stands behind.
const SETS: [&str; 4] = ["--match-set", "--add-set", "--del-set", "--map-set"];
// include/uapi/linux/netfilter/nfnetlink.h and ipset/ip_set.h
const PROTOCOL_VERSION: u8 = 6;

/// Makes what the ruleset names, in the calling thread's namespace.
///
/// Errors: what the kernel lacks; that something is there already is no error.
pub fn make(ruleset: &Ruleset) -> io::Result<()> {
    let sets = names(&ruleset.text, &SETS);
    let counters = names(&ruleset.text, &["--nfacct-name"]);
    if !counters.is_empty() {
        make_counters(&counters)?;
    }
    if !sets.is_empty() {
        make_sets(ruleset, &sets)?;
    }
    Ok(())
}

/// Names of the sets that a file of ipset save makes.
pub fn created(text: &str) -> impl Iterator<Item = &str> {
    let rest = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("create "));
    rest.filter_map(|rest| rest.split_whitespace().next())
}

/// A counter without a quota, which every packet matches (`nfacct_mt`, net/netfilter/xt_nfacct.c).
fn make_counters(names: &BTreeSet<&str>) -> io::Result<()> {
    let socket = open(Family::Netfilter, 0)?;
    for name in names {
        let mut bytes = Vec::new();
        let kind = NFNL_SUBSYS_ACCT << 8 | NFNL_MSG_ACCT_NEW;
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
        netfilter_message(&mut bytes, kind, flags, 0, 0, |body| {
            body.text(NFACCT_NAME, name);
        });
        match transact(&socket, &bytes, 1) {
            Err(error) if !is_there(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn is_there(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AlreadyExists | io::ErrorKind::ResourceBusy
    )
}

/// Of one type for all: no packet is in an empty set of whatever type.
fn make_sets(ruleset: &Ruleset, names: &BTreeSet<&str>) -> io::Result<()> {
    let family = match ruleset.form {
        Form::Ip6tables => NFPROTO_IPV6,
        _ => NFPROTO_IPV4,
    };
    let socket = open(Family::Netfilter, 0)?;
    for name in names {
        let mut bytes = Vec::new();
        let kind = NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_CREATE;
        let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
        netfilter_message(&mut bytes, kind, flags, family, 0, |body| {
            body.attribute(IPSET_ATTR_PROTOCOL, &[PROTOCOL_VERSION]);
            body.text(IPSET_ATTR_SETNAME, name);
            body.text(IPSET_ATTR_TYPENAME, "hash:net");
            body.attribute(IPSET_ATTR_REVISION, &[0]);
            body.attribute(IPSET_ATTR_FAMILY, &[family]);
            body.nest(IPSET_ATTR_DATA, |_| {});
        });
        match transact(&socket, &bytes, 1) {
            Err(error) if !is_there(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The words behind these options.
fn names<'a>(text: &'a str, options: &[&str]) -> BTreeSet<&'a str> {
    let lines = text.lines().filter(|line| line.starts_with('-'));
    lines
        .flat_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let pairs = words.windows(2).filter(|pair| options.contains(&pair[0]));
            pairs.map(|pair| pair[1]).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sets_are_found() {
        let text = "*filter\n-A INPUT -m set --match-set bad src -j DROP\n\
                    -A INPUT -m set ! --match-set good src,dst -j SET --add-set seen src\nCOMMIT\n";
        assert_eq!(names(text, &SETS), BTreeSet::from(["bad", "good", "seen"]));
        let saved = "create bad hash:ip family inet\nadd bad 203.0.113.66\ncreate good hash:net\n";
        assert!(created(saved).eq(["bad", "good"]));
    }
}
