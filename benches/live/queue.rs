//! The receive queue of a listener, seen from outside.

use std::fs;

use conntracker::testing::os::memory;
use rustix::net::sockopt;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use crate::Failure;
use crate::process::Process;

/// `NETLINK_NETFILTER` of `include/uapi/linux/netlink.h`.
const NETLINK_NETFILTER: &str = "12";

/// All sockets of a namespace that listen to netfilter events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Bytes charged for what waits.
    pub queued_bytes: u64,
    /// Messages dropped since the sockets were opened.
    pub drops: u64,
    inodes: Vec<u64>,
}

impl Queue {
    /// Reads it in the namespace of a process that runs; none if nothing listens.
    pub fn read(process: &Process) -> Result<Option<Self>, Failure> {
        let table = fs::read_to_string(process.proc("net/netlink"))?;
        let mut queue = Self::default();
        for line in table.lines().skip(1) {
            // netlink_native_seq_show (net/netlink/af_netlink.c, Linux 6.18): sk, protocol, port,
            // groups, rmem, wmem, dump, references, drops, inode.
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [
                _,
                NETLINK_NETFILTER,
                _,
                groups,
                queued,
                _,
                _,
                _,
                drops,
                inode,
            ] = fields[..]
            else {
                continue;
            };
            if u32::from_str_radix(groups, 16)? == 0 {
                continue;
            }
            queue.queued_bytes += queued.parse::<u64>()?;
            queue.drops += drops.parse::<u64>()?;
            queue.inodes.push(inode.parse()?);
        }
        Ok((!queue.inodes.is_empty()).then_some(queue))
    }

    /// Gives the sockets a buffer of that size from outside, for a program that has no option for it.
    pub fn enlarge(&self, process: &Process, bytes: usize) -> Result<(), Failure> {
        for entry in fs::read_dir(process.proc("fd"))? {
            let entry = entry?;
            let target = fs::read_link(entry.path())?;
            let target = target.to_string_lossy();
            if !self
                .inodes
                .iter()
                .any(|inode| target == format!("socket:[{inode}]"))
            {
                continue;
            }
            let number = entry.file_name().to_string_lossy().parse()?;
            let socket = pidfd_getfd(process.pidfd(), number, PidfdGetfdFlags::empty())?;
            // The kernel doubles what it is asked for.
            sockopt::set_socket_recv_buffer_size_force(&socket, bytes / 2)?;
            let limit = memory(&socket)?.limit_bytes as usize;
            if limit < bytes / 2 * 2 {
                return Err(format!("a buffer of {limit} bytes instead of {bytes}").into());
            }
        }
        Ok(())
    }
}
