//! Who else listens to conntrack events in this network namespace.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::finding::Finding;
use crate::model::units::{agree, counted, show_count};

const NAME: &str = "listeners";
/// `NETLINK_NETFILTER` as /proc/net/netlink shows it.
const NETFILTER: &str = "12";
/// `NFNLGRP_CONNTRACK_NEW`, `_UPDATE` and `_DESTROY` are groups 1 to 3, the lowest bits.
const GROUPS: [&str; 3] = ["new", "update", "destroy"];
/// Listeners named in the text; all are in the JSON form.
const NAMED: usize = 5;
/// How long processes are looked through.
const PATIENCE: Duration = Duration::from_millis(300);

/// A socket that is subscribed to events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its address, often its process's number.
    pub port_id: u32,
    /// Bits of the groups.
    pub groups: u32,
    /// Messages that it has lost.
    pub drops: u64,
    /// Its number as a file.
    pub inode: u64,
    /// The process that holds it, by number and name.
    pub holder: Option<(u32, String)>,
}

/// Looks; `None` if the kernel does not show sockets.
pub fn look() -> Option<Vec<Listener>> {
    let text = fs::read_to_string("/proc/thread-self/net/netlink").ok()?;
    let mut listeners: Vec<Listener> = text.lines().filter_map(read).collect();
    if !listeners.is_empty() {
        let mut holders = holders();
        for listener in &mut listeners {
            listener.holder = holders.remove(&listener.inode);
        }
    }
    Some(listeners)
}

/// One line of /proc/net/netlink (`netlink_native_seq_show`, net/netlink/af_netlink.c).
fn read(line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let &[_, protocol, port_id, groups, _, _, _, _, drops, inode] = fields.as_slice() else {
        return None;
    };
    // Only the first 32 groups are shown, which is enough.
    let groups = u32::from_str_radix(groups, 16).ok()? & 0b111;
    (protocol == NETFILTER && groups != 0).then_some(Listener {
        port_id: port_id.parse().ok()?,
        groups,
        drops: drops.parse().ok()?,
        inode: inode.parse().ok()?,
        holder: None,
    })
}

/// Processes by the numbers of the sockets they hold, as far as they are to be seen.
fn holders() -> HashMap<u64, (u32, String)> {
    let deadline = Instant::now() + PATIENCE;
    let mut holders = HashMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if Instant::now() > deadline {
            break;
        }
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        for file in fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let link = fs::read_link(file.path()).unwrap_or_default();
            let inode = link.to_str().and_then(|link| {
                link.strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .parse()
                    .ok()
            });
            if let Some(inode) = inode {
                holders.entry(inode).or_insert_with(|| {
                    let comm = fs::read_to_string(process.path().join("comm"));
                    (pid, comm.unwrap_or_default().trim_end().to_owned())
                });
            }
        }
    }
    holders
}

impl Listener {
    fn groups(&self) -> Vec<&'static str> {
        let groups = GROUPS.into_iter().enumerate();
        groups
            .filter(|(bit, _)| self.groups & 1 << bit != 0)
            .map(|(_, name)| name)
            .collect()
    }

    fn describe(&self) -> String {
        let who = match &self.holder {
            Some((pid, name)) => format!("{name} (process {pid})"),
            None => format!("an unknown process (netlink port {})", self.port_id),
        };
        let lost = match self.drops {
            0 => String::new(),
            drops => format!(", {} lost", show_count(drops)),
        };
        format!("{who} to {}{lost}", self.groups().join("/"))
    }

    fn json(&self) -> Value {
        json!({
            "pid": self.holder.as_ref().map(|(pid, _)| pid),
            "name": self.holder.as_ref().map(|(_, name)| name),
            "port_id": self.port_id,
            "groups": self.groups(),
            "drops": self.drops,
        })
    }
}

/// The finding on other programs that listen to the same events.
pub fn judge(listeners: Option<&[Listener]>) -> Finding {
    let Some(listeners) = listeners else {
        return Finding::note(NAME, "/proc/net/netlink is not to be read");
    };
    let values: Vec<Value> = listeners.iter().map(Listener::json).collect();
    if listeners.is_empty() {
        return Finding::ok(
            NAME,
            "nobody else listens to events in this network namespace",
        )
        .value("listeners", values);
    }
    let mut named: Vec<String> = listeners
        .iter()
        .take(NAMED)
        .map(Listener::describe)
        .collect();
    if listeners.len() > NAMED {
        named.push(format!("{} more", listeners.len() - NAMED));
    }
    let number = listeners.len() as u64;
    // Whether anybody listens is one variable for all namespaces (`nf_ctnetlink_has_listener`,
    // net/netfilter/core.c, Linux 6.3).
    let finding = Finding::note(
        NAME,
        format!(
            "{} {} listening too: {}",
            counted(number, "socket"),
            agree(number, "is", "are"),
            named.join("; ")
        ),
    );
    let next = if listeners.iter().any(|listener| listener.holder.is_none()) {
        "to see which processes they belong to, run as root, outside of containers"
    } else {
        "nothing, if they are wanted: each takes no event from the others, but costs time for every one"
    };
    finding.next(next).value("listeners", values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    const TEXT: &str = "\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
00000000c85b4726 12  0          00000000 0        0        0     2        0        1501
0000000082a62203 4   77         00000001 0        0        0     2        0        1500
00000000e5b9d8a1 12  4242       00000005 0        0        0     2        17       9999
";

    #[test]
    fn sockets_that_listen_are_told_from_others() {
        let mut found: Vec<Listener> = TEXT.lines().filter_map(read).collect();
        assert_eq!(found.len(), 1);
        let unknown = judge(Some(&found));
        assert_eq!(unknown.state, State::Note);
        assert!(
            unknown
                .what
                .contains("an unknown process (netlink port 4242) to new/destroy, 17 lost")
        );
        assert!(unknown.next.unwrap().contains("root"));
        found[0].holder = Some((4242, "conntrackd".into()));
        let known = judge(Some(&found));
        assert!(known.what.contains("conntrackd (process 4242)"));
        assert_eq!(known.values["listeners"][0]["drops"], 17);
        assert_eq!(judge(Some(&[])).state, State::Ok);
        assert_eq!(judge(None).state, State::Note);
    }
}
