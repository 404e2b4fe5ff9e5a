//! The multicast groups that the host belongs to: the kernel drops packets to others before any rule but
//! those of prerouting sees them, and a captured flow to a group got further.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;

use rustix::net::sockopt::{set_ip_add_membership_with_ifindex, set_ipv6_add_membership};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::check::namespace::Namespace;
use crate::check::network::Network;
use crate::check::wire::Wire;
use crate::model::error::Error;
use crate::model::record::Record;

/// Groups, each with the index of the device it was joined on.
#[derive(Debug, Default)]
pub struct Groups(HashMap<(IpAddr, u32), Option<OwnedFd>>);

impl Groups {
    /// Joins those that flows from elsewhere go to.
    ///
    /// Errors: the namespace can't be entered. A group that can't be joined shows in the verdicts.
    pub fn join(
        &mut self,
        records: &[Record],
        namespace: &Namespace,
        network: &Network,
        wire: &Wire,
    ) -> Result<(), Error> {
        let mut wanted = HashSet::new();
        for identity in records.iter().map(|record| &record.identity) {
            if identity.destination.is_multicast() && !network.is_local(identity.source) {
                let index = wire.index(network.towards(identity.source));
                wanted.extend(index.map(|index| (identity.destination, index)));
            }
        }
        wanted.retain(|group| !self.0.contains_key(group));
        if wanted.is_empty() {
            return Ok(());
        }
        let joined = namespace.run(|| {
            let join = |(group, index)| ((group, index), member(group, index).ok());
            wanted.into_iter().map(join).collect::<Vec<_>>()
        })?;
        self.0.extend(joined);
        Ok(())
    }
}

/// A socket that is a member of a group, and makes this host one. One for each: the memberships of a
/// socket are limited (`optmem_max`, socket(7)).
fn member(group: IpAddr, index: u32) -> io::Result<OwnedFd> {
    let family = if group.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    match group {
        IpAddr::V4(group) => {
            set_ip_add_membership_with_ifindex(&socket, &group, &Ipv4Addr::UNSPECIFIED, index)?;
        }
        IpAddr::V6(group) => set_ipv6_add_membership(&socket, &group, index)?,
    }
    Ok(socket)
}
