//! The host that a capture is taken on: its name, its boot, its addresses and routes.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::ops::ControlFlow;

use ipnet::IpNet;

use super::policy;
use crate::model::capture::{Capture, Interface, Route, RoutingTable};
use crate::netlink::build::message;
use crate::netlink::framing::attributes;
use crate::netlink::request::{self, Family};
use crate::netlink::uapi::{
    IFA_ADDRESS, IFA_LOCAL, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO,
    IFLA_MASTER, IFLA_VRF_TABLE, NLM_F_DUMP, NLM_F_REQUEST, RT_TABLE_DEFAULT, RT_TABLE_MAIN,
    RTA_DST, RTA_GATEWAY, RTA_OIF, RTA_TABLE, RTM_GETADDR, RTM_GETLINK, RTM_GETROUTE, RTN_UNICAST,
};

/// A router with more routes than this does not tell networks apart by them, and a description should not be
/// larger than the flows: then none are kept.
const ROUTES_MAX: usize = 4096;
/// So many tables besides the main one are kept.
const TABLES_MAX: usize = 64;

/// What is known of this host, and what could not be found out although it matters, in words. That is left out then.
pub fn describe() -> (Capture, Vec<String>) {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| Some(text.to_string_lossy().into_owned());
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let mut unknown = Vec::new();
    let mut note = |what: &str, error: io::Error| unknown.push(format!("{what}: {error}"));
    let interfaces = request::again(|| twice(interfaces)).unwrap_or_else(|error| {
        note("the host's own addresses can't be read", error);
        BTreeMap::new()
    });
    let mut routes_of = |table: u32| {
        request::again(|| routes(&interfaces, table)).unwrap_or_else(|error| {
            note("the host's routes can't be read", error);
            Vec::new()
        })
    };
    let routes = routes_of(RT_TABLE_MAIN);
    // Where there is no policy routing there is nothing to know; a kernel without it answers so.
    let policy_rules = request::again(policy::rules).unwrap_or_default();
    let routers = interfaces.values().filter_map(|interface| interface.table);
    let tables = policy::tables(&policy_rules, routers);
    let tables = { tables.into_iter().take(TABLES_MAX) }.map(|table| RoutingTable {
        table,
        routes: routes_of(table),
    });
    // That of defaults is empty as a rule.
    let tables = tables.filter(|table| table.table != RT_TABLE_DEFAULT || !table.routes.is_empty());
    let tables = tables.collect();
    let capture = Capture {
        host: text(uname.nodename()),
        kernel: text(uname.release()),
        boot_id: boot_id.map(|id| id.trim().to_owned()),
        interfaces: interfaces.into_values().collect(),
        routes,
        policy_rules,
        tables,
        ..Capture::default()
    };
    (capture, unknown)
}

/// What is the same when it is read twice. The kernel says that an answer was interrupted by the number of changes that
/// it has counted, and counts one only after it has been made: an address that goes in that moment has it skip another one
/// without a word (`inet_dump_ifaddr` and `__inet_del_ifa`, net/ipv4/devinet.c, Linux 6.9 and later, where no lock keeps
/// them apart).
///
/// Errors: those of `read`, and `Interrupted` if the two differ.
fn twice<T: PartialEq>(read: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let first = read()?;
    if read()? == first {
        Ok(first)
    } else {
        let why = "they were changing while they were read";
        Err(io::Error::new(io::ErrorKind::Interrupted, why))
    }
}

/// The addresses of the namespace that the calling thread is in, as far as they can be read.
pub fn addresses() -> Vec<IpAddr> {
    let interfaces = request::again(interfaces).unwrap_or_default();
    let interfaces = interfaces.values();
    interfaces
        .flat_map(|interface| interface.addresses.iter().map(IpNet::addr))
        .collect()
}

/// Interfaces by index, with their addresses.
fn interfaces() -> io::Result<BTreeMap<u32, Interface>> {
    let mut interfaces: BTreeMap<u32, Interface> = BTreeMap::new();
    let mut masters = Vec::new();
    dump(RTM_GETLINK, |payload| {
        // struct ifinfomsg: family, type, index, flags, change.
        let (head, rest) = payload.split_first_chunk::<16>()?;
        let [_, _, _, _, i0, i1, i2, i3, ..] = *head;
        let name = attributes(rest).find(|(kind, _)| *kind == IFLA_IFNAME)?.1;
        let name = name.strip_suffix(&[0]).unwrap_or(name);
        let info = find(rest, IFLA_LINKINFO).unwrap_or_default();
        let kind = find(info, IFLA_INFO_KIND).map(|kind| kind.strip_suffix(&[0]).unwrap_or(kind));
        let data = find(info, IFLA_INFO_DATA).filter(|_| kind == Some(b"vrf"));
        let table = data
            .and_then(|data| find(data, IFLA_VRF_TABLE))
            .and_then(number);
        interfaces.insert(
            u32::from_ne_bytes([i0, i1, i2, i3]),
            Interface {
                name: String::from_utf8_lossy(name).into_owned(),
                kind: kind.map(|kind| String::from_utf8_lossy(kind).into_owned()),
                table,
                ..Interface::default()
            },
        );
        let master = find(rest, IFLA_MASTER).and_then(number);
        masters.extend(master.map(|master| (u32::from_ne_bytes([i0, i1, i2, i3]), master)));
        Some(())
    })?;
    for (index, master) in masters {
        let master = interfaces.get(&master).map(|master| master.name.clone());
        if let Some(interface) = interfaces.get_mut(&index) {
            interface.master = master;
        }
    }
    dump(RTM_GETADDR, |payload| {
        // struct ifaddrmsg: family, prefix length, flags, scope, index.
        let (&[_, prefix_len, _, _, i0, i1, i2, i3], rest) = payload.split_first_chunk::<8>()?;
        let interface = interfaces.get_mut(&u32::from_ne_bytes([i0, i1, i2, i3]))?;
        let find = |wanted| attributes(rest).find(|(kind, _)| *kind == wanted);
        // On a point-to-point link ADDRESS is the other end's.
        let address = address(find(IFA_LOCAL).or_else(|| find(IFA_ADDRESS))?.1)?;
        interface
            .addresses
            .push(IpNet::new(address, prefix_len).ok()?);
        Some(())
    })?;
    for interface in interfaces.values_mut() {
        interface.addresses.sort_unstable();
    }
    Ok(interfaces)
}

fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// The unicast routes of a table.
fn routes(interfaces: &BTreeMap<u32, Interface>, of: u32) -> io::Result<Vec<Route>> {
    let mut routes = Vec::new();
    dump(RTM_GETROUTE, |payload| {
        // struct rtmsg: family, lengths of destination and source, TOS, table, protocol, scope, type, flags.
        let (&[family, len, _, _, table, _, _, kind, ..], rest) =
            payload.split_first_chunk::<12>()?;
        let table = find(rest, RTA_TABLE)
            .and_then(number)
            .unwrap_or(table.into());
        if table != of || kind != RTN_UNICAST || routes.len() > ROUTES_MAX {
            return None;
        }
        let find = |wanted| attributes(rest).find(|(kind, _)| *kind == wanted);
        let any: IpAddr = match i32::from(family) {
            libc::AF_INET => [0; 4].into(),
            libc::AF_INET6 => [0; 16].into(),
            _ => return None,
        };
        let destination = match find(RTA_DST) {
            Some((_, bytes)) => address(bytes)?,
            None => any,
        };
        // Without one it has several next hops.
        let index = u32::from_ne_bytes(find(RTA_OIF)?.1.try_into().ok()?);
        routes.push(Route {
            destination: IpNet::new(destination, len).ok()?,
            gateway: find(RTA_GATEWAY).and_then(|(_, bytes)| address(bytes)),
            interface: interfaces.get(&index)?.name.clone(),
        });
        Some(())
    })?;
    if routes.len() > ROUTES_MAX {
        routes.clear();
    }
    routes.sort_unstable();
    routes.dedup();
    Ok(routes)
}

pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

/// Has rtnetlink(7) list objects of all families, and hands over each one's message. One that lacks something
/// needed is passed over.
pub(super) fn dump(kind: u16, mut take: impl FnMut(&[u8]) -> Option<()>) -> io::Result<()> {
    let socket = request::open(Family::Route, 0)?;
    let mut bytes = Vec::new();
    // The largest of the family headers, zeroed: everything, of AF_UNSPEC. The shorter ones may be longer.
    message(
        &mut bytes,
        kind,
        NLM_F_REQUEST | NLM_F_DUMP,
        &[0; 16],
        |_| {},
    );
    request::query(&socket, &bytes, None, |payload| {
        take(payload);
        ControlFlow::Continue(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_has_a_name_and_a_loopback_interface() {
        let (host, unknown) = describe();
        assert_eq!(unknown, [""; 0]);
        assert!(host.host.is_some() && host.kernel.is_some() && host.boot_id.is_some());
        assert!(
            host.interfaces
                .iter()
                .any(|interface| interface.name == "lo")
        );
    }
}
