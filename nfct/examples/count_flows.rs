//! Counts the entries of the connection-tracking table by class: family,
//! protocol, and whether an answer has been seen.

use std::collections::BTreeMap;
use std::process::ExitCode;

use netfilter_conntrack::{Direction, Family, Groups, Handle};

fn main() -> ExitCode {
    match count_flows() {
        Ok(classes) => {
            for ((family, protocol, answer), count) in classes {
                println!("{count:>9} {family} protocol {protocol}, {answer}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("count_flows: {error}");
            if error.kind() == std::io::ErrorKind::PermissionDenied {
                eprintln!(
                    "dumping needs CAP_NET_ADMIN: run it with sudo, or in a namespace made by `unshare -Urn`"
                );
            }
            ExitCode::FAILURE
        }
    }
}

type Class = (&'static str, u8, &'static str);

fn count_flows() -> std::io::Result<BTreeMap<Class, u64>> {
    let mut classes = BTreeMap::new();
    Handle::open(Groups::NONE)?.dump(Family::Any, |ct| {
        let family = match ct.src(Direction::Original) {
            Some(address) if address.is_ipv4() => "IPv4",
            Some(_) => "IPv6",
            None => return,
        };
        let Some(protocol) = ct.l4_protocol(Direction::Original) else {
            return;
        };
        let answer = if ct.is_replied() == Some(true) {
            "answered"
        } else {
            "unanswered"
        };
        *classes.entry((family, protocol, answer)).or_default() += 1;
    })?;
    Ok(classes)
}
