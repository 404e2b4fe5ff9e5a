//! How many packets of each flow netfilter has dropped: counted in the kernel, by a BPF program at the tracepoint of packets that
//! are thrown away. The gate alone tells that a flow was stopped, once.

use std::collections::HashMap;
use std::io;

use crate::model::path::Path;
use crate::model::record::Service;
use crate::model::tuple::Tuple;

/// Counts by flow, as the packets were when they were dropped, without source ports.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    by_flow: HashMap<Tuple, u64>,
    /// Packets that are in no count.
    pub uncounted: u64,
}

impl Counts {
    /// The packets of a flow that were dropped: as it came, and as its destination was translated.
    pub fn of(&self, flow: &Tuple, path: &Path) -> u64 {
        let count = |flow: &Tuple| self.by_flow.get(flow).copied().unwrap_or(0);
        let translated = path.dnat.map(|dnat| Tuple {
            destination: dnat.address,
            service: dnat.port.map_or(flow.service, Service::Port),
            ..*flow
        });
        let translated = translated.filter(|translated| translated != flow);
        count(flow) + translated.as_ref().map_or(0, count)
    }
}

#[cfg(feature = "ebpf")]
pub use counter::Drops;

#[cfg(feature = "ebpf")]
mod counter {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    use aya::maps::{Array, Map, MapData};
    use aya::programs::BtfTracePoint;
    use aya::{Btf, Ebpf, EbpfLoader, VerifierLogLevel};

    use super::{Counts, Service, Tuple, io};
    use crate::model::record::{Protocol, SourcePort};
    use crate::os::bpf;

    const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/drops.bpf.o"));
    /// `struct key` of the program: both addresses, service, protocol, family, and what fills it up.
    type Key = [u8; 40];
    /// Memory for counts is allocated at once, some 120 bytes each.
    const FLOWS_MAX: u32 = 1 << 17;

    /// Counts what is dropped in this network namespace, until it is dropped itself.
    pub struct Drops {
        /// Holds the program.
        _ebpf: Ebpf,
        counts: bpf::HashMap<Key, [u64; 1]>,
        settings: Array<MapData, [u64; 2]>,
    }

    impl std::fmt::Debug for Drops {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Drops").finish_non_exhaustive()
        }
    }

    impl Drops {
        /// Begins to count the packets of at most `flows` flows.
        ///
        /// Errors: a kernel without a description of its types (CONFIG_DEBUG_INFO_BTF) or one before 5.18, no CAP_BPF with
        /// CAP_PERFMON.
        pub fn start(flows: u32) -> io::Result<Self> {
            start(flows).map_err(|error| {
                io::Error::other(format!(
                    "--count-drops: the kernel refuses the program that counts ({error}): it takes Linux 5.18 with \
                     CONFIG_DEBUG_INFO_BTF, CAP_BPF and CAP_PERFMON"
                ))
            })
        }

        /// What was counted so far.
        ///
        /// Errors: those of bpf(2).
        pub fn counts(&self) -> io::Result<Counts> {
            let mut counts = Counts::default();
            self.counts.each(false, |key, [packets]| {
                if let Some(flow) = flow(key) {
                    *counts.by_flow.entry(flow).or_default() += packets;
                }
            })?;
            let [_, uncounted] = self.settings.get(&0, 0).map_err(io::Error::other)?;
            counts.uncounted = uncounted;
            Ok(counts)
        }
    }

    fn start(flows: u32) -> Result<Drops, Box<dyn std::error::Error>> {
        let types = Btf::from_sys_fs()?;
        let mut ebpf = EbpfLoader::new()
            .btf(Some(&types))
            .verifier_log_level(VerifierLogLevel::STATS)
            .set_max_entries("drops", flows.min(FLOWS_MAX))
            .load(OBJECT)?;
        let take = |ebpf: &mut Ebpf, name| ebpf.take_map(name).ok_or("a map is missing");
        let Map::HashMap(counts) = take(&mut ebpf, "drops")? else {
            return Err("a map is of another type".into());
        };
        let counts = bpf::HashMap::new(counts.fd().as_fd().try_clone_to_owned()?)?;
        let mut settings: Array<MapData, [u64; 2]> = Array::try_from(take(&mut ebpf, "settings")?)?;
        let namespace = std::fs::metadata("/proc/thread-self/ns/net")?.ino();
        settings.set(0, [namespace, 0], 0)?;
        let program: &mut BtfTracePoint = ebpf
            .program_mut("count")
            .ok_or("the program is missing")?
            .try_into()?;
        program.load("kfree_skb", &types)?;
        program.attach()?;
        Ok(Drops {
            _ebpf: ebpf,
            counts,
            settings,
        })
    }

    /// The flow of a key.
    fn flow(key: &Key) -> Option<Tuple> {
        let address = |at: usize| -> Option<IpAddr> {
            let bytes: [u8; 16] = *key.get(at..)?.first_chunk()?;
            let [a, b, c, d, ..] = bytes;
            match i32::from(key[35]) {
                libc::AF_INET => Some(Ipv4Addr::new(a, b, c, d).into()),
                libc::AF_INET6 => Some(Ipv6Addr::from(bytes).into()),
                _ => None,
            }
        };
        let (source, destination) = (address(0)?, address(16)?);
        let protocol = Protocol(key[34]);
        let service = if protocol.has_ports() {
            Service::Port(u16::from_be_bytes([key[32], key[33]]))
        } else if protocol.is_icmp_of(source) {
            Service::Icmp(key[32], key[33])
        } else {
            Service::None
        };
        Some(Tuple {
            source,
            destination,
            protocol,
            service,
            source_port: SourcePort::None,
            zone: 0,
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn keys_are_flows() {
            let mut key = [0; 40];
            key[..4].copy_from_slice(&[10, 0, 0, 1]);
            key[16..20].copy_from_slice(&[10, 0, 0, 2]);
            key[32..36].copy_from_slice(&[1, 0xbb, 6, 2]);
            let expected = Tuple {
                source_port: SourcePort::None,
                ..Tuple::tcp("10.0.0.1", "10.0.0.2", 443)
            };
            assert_eq!(flow(&key), Some(expected));
            key[35] = 7;
            assert_eq!(flow(&key), None);
        }
    }
}

/// A build without BPF counts nothing.
#[cfg(not(feature = "ebpf"))]
#[derive(Debug)]
pub enum Drops {}

#[cfg(not(feature = "ebpf"))]
impl Drops {
    /// Refuses.
    ///
    /// Errors: always.
    pub fn start(_flows: u32) -> io::Result<Self> {
        Err(io::Error::other(
            "--count-drops: this build has no BPF (it was built without the feature ebpf)",
        ))
    }

    /// Nothing.
    ///
    /// Errors: never.
    pub fn counts(&self) -> io::Result<Counts> {
        match *self {}
    }
}
