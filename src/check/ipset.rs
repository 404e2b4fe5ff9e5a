//! The ipsets that iptables rules look into. A ruleset names them and does not hold them, and does not load
//! without them: empty ones stand in for them.

use std::collections::BTreeSet;
use std::io;

use crate::check::ruleset::{Form, Ruleset};
use crate::netlink::build::netfilter_message;
use crate::netlink::request::{Family, open, transact};
use crate::netlink::uapi::{
    IPSET_ATTR_DATA, IPSET_ATTR_FAMILY, IPSET_ATTR_PROTOCOL, IPSET_ATTR_REVISION,
    IPSET_ATTR_SETNAME, IPSET_ATTR_TYPENAME, IPSET_CMD_CREATE, NFNL_SUBSYS_IPSET, NFPROTO_IPV4,
    NFPROTO_IPV6, NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST,
};

// include/uapi/linux/netfilter/nfnetlink.h and ipset/ip_set.h
const PROTOCOL_VERSION: u8 = 6;

/// Makes an empty set for each name in the ruleset, in the calling thread's namespace. Of one type for
/// all: no packet is in an empty set of whatever type.
///
/// Errors: a kernel without ipset; a set that is there already is no error.
pub fn stand_in(ruleset: &Ruleset) -> io::Result<()> {
    let names = names(&ruleset.text);
    if names.is_empty() {
        return Ok(());
    }
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
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn names(text: &str) -> BTreeSet<&str> {
    let options = ["--match-set", "--add-set", "--del-set", "--map-set"];
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
        assert_eq!(names(text), BTreeSet::from(["bad", "good", "seen"]));
    }
}
