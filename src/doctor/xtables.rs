//! The tables of iptables-legacy: the rules in them that have connections tracked.

use std::fs;
use std::io;
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::need::{Need, Needs, event_mask, is_notrack, is_of_xtables};
use crate::netlink::uapi::{IPT_SO_GET_ENTRIES, IPT_SO_GET_INFO};
use crate::os::socket::read_option;

/// `XT_TABLE_MAXNAMELEN`.
const NAME_LEN: usize = 32;
/// `struct ipt_getinfo`: the name, valid_hooks, 5 hook entries, 5 underflows, number and size of entries.
const INFO_LEN: usize = NAME_LEN + 13 * 4;
/// Rulesets above this are not read.
const SIZE_MAX: usize = 64 << 20;
/// `struct xt_counters` holds two u64, so that the header before it is padded to their alignment.
const fn with_counters(len: usize) -> usize {
    len.next_multiple_of(align_of::<u64>()) + 16
}

/// IPv4 or IPv6, which differ in the layout of a rule.
#[derive(Clone, Copy, Debug)]
struct Family {
    /// As in the table's place.
    program: &'static str,
    tables: &'static str,
    /// The modules of its tables, and of its table raw.
    module: &'static str,
    raw: &'static str,
    address_family: AddressFamily,
    level: libc::c_int,
    /// Offset of `target_offset` and, behind it, `next_offset`.
    offsets: usize,
    /// Bytes before the first match.
    header: usize,
}

/// `struct ipt_entry`: `struct ipt_ip`, nfcache, the offsets, comefrom, counters.
const IPV4: Family = Family {
    program: "iptables",
    tables: "/proc/thread-self/net/ip_tables_names",
    module: "ip_tables",
    raw: "iptable_raw",
    address_family: AddressFamily::INET,
    level: libc::IPPROTO_IP,
    offsets: 84 + 4,
    header: with_counters(84 + 4 + 4 + 4),
};
/// `struct ip6t_entry`.
const IPV6: Family = Family {
    program: "ip6tables",
    tables: "/proc/thread-self/net/ip6_tables_names",
    module: "ip6_tables",
    raw: "ip6table_raw",
    address_family: AddressFamily::INET6,
    level: libc::IPPROTO_IPV6,
    offsets: 136 + 4,
    header: with_counters(136 + 4 + 4 + 4),
};
/// Names of built-in chains by hook (`enum nf_inet_hooks`).
const CHAINS: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// Reads all tables that are in use. Asking for another one would have it made.
///
/// Errors: `EACCES` or `EPERM` without privileges.
pub fn look() -> io::Result<Needs> {
    let mut needs = Needs::default();
    for family in [IPV4, IPV6] {
        let names = match fs::read_to_string(family.tables) {
            Ok(names) => names,
            // Not in this kernel, or not loaded: if other files of the network are there.
            Err(error) if error.kind() == io::ErrorKind::NotFound && has_proc_net() => continue,
            Err(error) => return Err(error),
        };
        for name in names.lines() {
            let (entries, hooks) = read(family, name)?;
            find(family, name, &entries, hooks, &mut needs);
        }
    }
    Ok(needs)
}

/// Whether the files of this network namespace are to be seen. Without procfs, a file that is missing says nothing.
fn has_proc_net() -> bool {
    Path::new("/proc/thread-self/net/dev").exists()
}

/// Whether the table raw of iptables-legacy may be loaded, as far as can be known without reading its rules.
///
/// A table that is a module is in /proc/modules once it is loaded; one that is built in is not, and then neither is
/// the module that it rests on, while the file of that one's tables is there.
pub fn may_have_raw() -> bool {
    // A kernel without modules does not have this file.
    let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
    let may_have =
        |family: Family| family.may_have_raw(&modules, Path::new(family.tables).exists());
    !has_proc_net() || [IPV4, IPV6].into_iter().any(may_have)
}

impl Family {
    /// The same of one family, by what /proc/modules has and by whether the file of its tables is there.
    fn may_have_raw(&self, modules: &str, has_tables: bool) -> bool {
        let is_loaded = |name: &str| {
            let mut names = modules.lines().filter_map(|line| line.split(' ').next());
            names.any(|loaded| loaded == name)
        };
        is_loaded(self.raw) || (has_tables && !is_loaded(self.module))
    }
}

/// The rules of a table, and where its built-in chains begin.
fn read(family: Family, table: &str) -> io::Result<(Vec<u8>, [Option<u32>; 5])> {
    let socket = socket_with(
        family.address_family,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let name = table.as_bytes();
    if name.len() >= NAME_LEN {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut info = vec![0; INFO_LEN];
    info[..name.len()].copy_from_slice(name);
    read_option(&socket, family.level, IPT_SO_GET_INFO, &mut info)?;
    let word = |index: usize| {
        let bytes = info[NAME_LEN + index * 4..].first_chunk();
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    };
    let valid = word(0);
    let hooks = std::array::from_fn(|hook| (valid & 1 << hook != 0).then(|| word(1 + hook)));
    let size = word(12);
    if size as usize > SIZE_MAX {
        return Err(io::Error::other("too many rules"));
    }
    // `struct ipt_get_entries`: name, size, entries, which are aligned as u64.
    let head = (NAME_LEN + 4).next_multiple_of(align_of::<u64>());
    let mut entries = vec![0; head + size as usize];
    entries[..name.len()].copy_from_slice(name);
    entries[NAME_LEN..NAME_LEN + 4].copy_from_slice(&size.to_ne_bytes());
    read_option(&socket, family.level, IPT_SO_GET_ENTRIES, &mut entries)?;
    Ok((entries.split_off(head), hooks))
}

fn find(family: Family, table: &str, entries: &[u8], hooks: [Option<u32>; 5], needs: &mut Needs) {
    let half = |at: usize| {
        let bytes = entries.get(at..)?.first_chunk()?;
        Some(usize::from(u16::from_ne_bytes(*bytes)))
    };
    let mut chain = String::new();
    let mut start = 0;
    while let (Some(target), Some(next)) = (
        half(start + family.offsets),
        half(start + family.offsets + 2),
    ) {
        if next < family.header {
            break;
        }
        let entry = start;
        if let Some(hook) = hooks.iter().position(|&at| at == u32::try_from(entry).ok()) {
            chain = CHAINS[hook].to_owned();
        }
        start += next;
        let extensions = extensions(entries, entry + family.header, entry + target, start);
        // `XT_ERROR_TARGET`: the head of a chain of the user's, whose name is its data.
        if let Some(Extension {
            option: "-j",
            name,
            data,
        }) = extensions.last()
        {
            if name == "ERROR" {
                chain = text(data);
                continue;
            }
        }
        let mask = extensions
            .last()
            .and_then(|target| event_mask(&target.name, target.data));
        if mask.is_some() {
            let program = family.program;
            needs.add_mask(
                format!("{program} table {table}, chain {chain}: -j CT --ctevents"),
                mask,
            );
        }
        let exempts = |target: &Extension<'_>| {
            is_notrack(&target.name, target.data) || target.name == "NOTRACK"
        };
        if extensions.last().is_some_and(exempts) {
            let program = family.program;
            needs.add_exempt(format!(
                "{program} table {table}, chain {chain}: -j CT --notrack"
            ));
        }
        let need = extensions
            .iter()
            .find(|it| is_of_xtables(&it.name) && !is_notrack(&it.name, it.data));
        if let Some(Extension { option, name, .. }) = need {
            needs.add(Need {
                place: format!("{} table {table}, chain {chain}", family.program),
                what: format!("{option} {name}"),
                ipv4: family.level == IPV4.level,
                ipv6: family.level == IPV6.level,
            });
        }
    }
}

/// A match or a target.
struct Extension<'a> {
    option: &'static str,
    name: String,
    data: &'a [u8],
}

/// The matches from `first` on, and the target at `target`. Each has its length in two bytes and its name
/// in 29 (`struct xt_entry_match`), then a revision and data.
fn extensions(entries: &[u8], first: usize, target: usize, end: usize) -> Vec<Extension<'_>> {
    const HEAD: usize = 2 + 29 + 1;
    let mut found = Vec::new();
    let mut at = first;
    while at < end {
        let Some((head, rest)) = entries
            .get(at..end)
            .and_then(|bytes| bytes.split_first_chunk::<HEAD>())
        else {
            break;
        };
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let Some(data) = len.checked_sub(HEAD).and_then(|len| rest.get(..len)) else {
            break;
        };
        found.push(Extension {
            option: if at < target { "-m" } else { "-j" },
            name: text(&head[2..31]),
            data,
        });
        if at >= target {
            break;
        }
        at += len;
    }
    found
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extension(name: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = ((32 + data.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(name.as_bytes());
        bytes.resize(32, 0);
        bytes.extend(data);
        bytes
    }

    fn entry(family: Family, matches: &[Vec<u8>], target: &[u8]) -> Vec<u8> {
        let matches = matches.concat();
        let mut bytes = vec![0; family.header];
        let target_offset = family.header + matches.len();
        let next = target_offset + target.len();
        bytes[family.offsets..][..2].copy_from_slice(&(target_offset as u16).to_ne_bytes());
        bytes[family.offsets + 2..][..2].copy_from_slice(&(next as u16).to_ne_bytes());
        [&bytes, matches.as_slice(), target].concat()
    }

    #[test]
    fn rules_are_found_in_built_in_chains_and_in_those_of_the_user() {
        for family in [IPV4, IPV6] {
            let plain = entry(family, &[], &extension("", &[0; 8]));
            let notrack = entry(
                family,
                &[],
                &extension("CT", &[1_u16.to_ne_bytes(), [0; 2]].concat()),
            );
            let state = entry(
                family,
                &[extension("comment", &[0; 16]), extension("state", &[0; 8])],
                &extension("", &[0; 8]),
            );
            let head = entry(family, &[], &extension("ERROR", b"mine\0\0\0\0"));
            let nat = entry(family, &[], &extension("DNAT", &[0; 8]));
            let forward = (plain.len() + notrack.len()) as u32;
            let entries = [plain, notrack, state, head, nat].concat();
            let hooks = [None, Some(0), Some(forward), None, None];
            let mut needs = Needs::default();
            find(family, "filter", &entries, hooks, &mut needs);
            let named: Vec<String> = needs.named.iter().map(Need::to_string).collect();
            let program = family.program;
            assert_eq!(
                named,
                [
                    format!("{program} table filter, chain FORWARD: -m state"),
                    format!("{program} table filter, chain mine: -j DNAT"),
                ]
            );
            assert_eq!(
                needs.exempt,
                [format!(
                    "{program} table filter, chain INPUT: -j CT --notrack"
                )]
            );
            for cut in 0..entries.len() {
                find(
                    family,
                    "filter",
                    &entries[..cut],
                    hooks,
                    &mut Needs::default(),
                );
            }
        }
    }

    #[test]
    fn a_table_raw_that_may_be_built_in_is_not_ruled_out() {
        let module =
            "ip_tables 32768 1 iptable_filter, Live 0x0\niptable_filter 16384 0 - Live 0x0\n";
        let raw = "iptable_raw 16384 0 - Live 0x0\nip_tables 32768 1 iptable_raw, Live 0x0\n";
        assert!(IPV4.may_have_raw(raw, true));
        assert!(IPV4.may_have_raw("", true));
        // A table can't be built in if what it rests on is a module.
        assert!(!IPV4.may_have_raw(module, true));
        assert!(!IPV4.may_have_raw("", false));
        assert!(!IPV6.may_have_raw(raw, false));
    }

    #[test]
    fn zeros_come_to_an_end() {
        find(
            IPV4,
            "filter",
            &[0; 4096],
            [Some(0); 5],
            &mut Needs::default(),
        );
    }
}
