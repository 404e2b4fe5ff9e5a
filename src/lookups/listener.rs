//! Listens to DNS that passes this host, in the network namespace of whoever begins.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

use crate::model::timestamp::Timestamp;
use crate::os::classic_bpf::Step::{At, Do, If};
use crate::os::classic_bpf::{
    AND, Instruction, JEQ, JSET, LD_BYTE, LD_HALF, LD_HALF_X, LDX_HEADER, PACKET_KIND,
    PACKET_OTHERHOST, RET, RSH, assemble,
};
use crate::os::socket::{Batch, attach_filter, memory, time_packets};

use super::book::Book;
use super::packet::DOMAIN;

/// Receive buffer, in bytes: of some 20,000 packets.
const BUFFER: usize = 16 << 20;
const UDP: u32 = 17;

/// Learns names for as long as it runs.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    batch: Batch,
    book: Book,
}

/// A filter that lets pass UDP from or to port 53, but no fragments and nothing that goes from one other host to another and
/// was only seen on its way. On a socket without the header of the link, packets begin with that of IP (`packet_rcv`,
/// net/packet/af_packet.c, Linux 6.18).
fn filter() -> Vec<Instruction> {
    let domain = u32::from(DOMAIN);
    assemble(&[
        Do(LD_BYTE, PACKET_KIND),
        If(JEQ, PACKET_OTHERHOST, "drop", ""),
        Do(LD_BYTE, 0),
        Do(RSH, 4),
        If(JEQ, 4, "", "six"),
        Do(LD_BYTE, 9),
        If(JEQ, UDP, "", "drop"),
        // More fragments, or an offset of one (RFC 791, 3.1).
        Do(LD_HALF, 6),
        If(JSET, 0x3fff, "drop", ""),
        Do(LDX_HEADER, 0),
        Do(LD_HALF_X, 0),
        If(JEQ, domain, "take", ""),
        Do(LD_HALF_X, 2),
        If(JEQ, domain, "take", "drop"),
        At("six"),
        Do(AND, 0xf),
        If(JEQ, 6, "", "drop"),
        Do(LD_BYTE, 6),
        If(JEQ, UDP, "", "drop"),
        Do(LD_HALF, 40),
        If(JEQ, domain, "take", ""),
        Do(LD_HALF, 42),
        If(JEQ, domain, "take", "drop"),
        At("take"),
        Do(RET, u32::MAX),
        At("drop"),
        Do(RET, 0),
    ])
}

impl Listener {
    /// Begins to listen on all interfaces. Both directions are seen, since answers of a name server on this host only go out.
    ///
    /// Errors: those of socket(2): `EPERM` without CAP_NET_RAW; `EAFNOSUPPORT` in a kernel without packet sockets.
    pub fn new() -> io::Result<Self> {
        let everything = NonZeroU32::new(u32::from((libc::ETH_P_ALL as u16).to_be()));
        let socket = socket_with(
            AddressFamily::PACKET,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            everything.map(Protocol::from_raw),
        )?;
        // What came before the filter was there is read as all else, and is nothing unless it is DNS.
        attach_filter(&socket, &filter())?;
        time_packets(&socket)?;
        if set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
            // Less room means that fewer packets may come at a time.
            let _ = set_socket_recv_buffer_size(&socket, BUFFER);
        }
        Ok(Self {
            socket,
            batch: Batch::with_controls(),
            book: Book::default(),
        })
    }

    /// Takes in what comes until `wake` can be read or `time` is over.
    ///
    /// Errors: those of poll(2) and recvmmsg(2).
    pub fn listen(&mut self, wake: BorrowedFd<'_>, time: Duration) -> io::Result<()> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            let socket = self.socket.as_fd();
            let mut sources = [
                PollFd::new(&socket, PollFlags::IN),
                PollFd::new(&wake, PollFlags::IN),
            ];
            match poll(&mut sources, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let woken = !sources[1].revents().is_empty();
            self.receive(deadline)?;
            if woken || left.is_zero() {
                return Ok(());
            }
        }
    }

    fn receive(&mut self, deadline: Instant) -> io::Result<()> {
        loop {
            let received = match self.batch.receive(&self.socket) {
                Ok(0) => return Ok(()),
                Ok(received) => received,
                Err(error) => return Err(error),
            };
            for datagram in self.batch.datagrams(received) {
                if datagram.truncated {
                    self.book.too_long();
                    continue;
                }
                let time = { datagram.time }.map_or_else(SystemTime::now, |time| UNIX_EPOCH + time);
                self.book.packet(datagram.bytes, Timestamp::from(time));
            }
            // A flood is not to hold up whoever makes a list.
            if Instant::now() > deadline {
                return Ok(());
            }
        }
    }

    /// What was learnt so far.
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Packets that found no room in the receive buffer.
    ///
    /// Errors: those of getsockopt(2).
    pub fn dropped(&self) -> io::Result<u32> {
        memory(&self.socket).map(|memory| memory.drops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_lets_pass_what_it_says() {
        use super::super::packet::tests::ipv4;
        // Load offsets beyond the packet end a program with 0, as the kernel has it.
        let run = |packet: &[u8], kind: u32| -> bool {
            let byte = |at: u32| packet.get(at as usize).map(|byte| u32::from(*byte));
            let half = |at: u32| Some(byte(at)? << 8 | byte(at + 1)?);
            let (program, mut at) = (filter(), 0);
            let (mut a, mut x) = (0, 0);
            loop {
                let step = &program[at];
                at += 1;
                let k = step.operand;
                let loaded = match step.code {
                    LD_BYTE if k == PACKET_KIND => Some(kind),
                    LD_BYTE => byte(k),
                    LD_HALF => half(k),
                    LD_HALF_X => half(x + k),
                    LDX_HEADER => {
                        x = (byte(k).unwrap() & 0xf) * 4;
                        Some(a)
                    }
                    RSH => Some(a >> k),
                    AND => Some(a & k),
                    JEQ | JSET => {
                        let holds = if step.code == JEQ { a == k } else { a & k != 0 };
                        at += usize::from(if holds {
                            step.jump_true
                        } else {
                            step.jump_false
                        });
                        Some(a)
                    }
                    RET => return k != 0,
                    other => panic!("{other:#x}"),
                };
                match loaded {
                    Some(value) => a = value,
                    None => return false,
                }
            }
        };
        let (client, server, web) = (("10.0.0.7", 4000), ("192.0.2.53", 53), ("192.0.2.1", 443));
        assert!(run(&ipv4(client, server, b""), 0));
        assert!(run(&ipv4(server, client, b""), 4));
        assert!(!run(&ipv4(client, web, b""), 0));
        assert!(!run(&ipv4(server, client, b""), PACKET_OTHERHOST));
        for (place, value) in [(6, 0x20), (7, 9), (9, 6), (0, 0x15)] {
            let mut other = ipv4(server, client, b"");
            other[place] = value;
            assert!(!run(&other, 0), "{place}");
        }
        let mut options = ipv4(server, client, b"");
        options[0] = 0x46;
        options.splice(20..20, [1, 1, 1, 0]);
        assert!(run(&options, 0));
        let mut six = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
        six.extend([0xfd; 32]);
        six.extend([0, 53, 0x9c, 0x40, 0, 8, 0, 0]);
        assert!(run(&six, 0) && !run(&six[..41], 0));
        six[41] = 54;
        assert!(!run(&six, 0));
        six[43] = 53;
        six[42] = 0;
        assert!(run(&six, 0));
    }
}
