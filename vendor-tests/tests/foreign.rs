//! What `catch` does with messages that are no events.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd as _, RawFd};

use netfilter_conntrack::{EventType, Groups, Handle};
use vendor_tests::netns;

/// Sends a netlink message from `fd` to the port `to` (0 is the kernel).
fn send(fd: RawFd, to: u32, message_type: u16, sequence: u32) {
    let mut message = 20u32.to_ne_bytes().to_vec();
    message.extend(message_type.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 8]);
    // SAFETY: all zero is a valid sockaddr_nl.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_pid = to;
    // SAFETY: open descriptor; message and address are alive and of the lengths given.
    let sent = unsafe {
        libc::sendto(
            fd,
            message.as_ptr().cast(),
            message.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_nl>() as libc::socklen_t,
        )
    };
    assert_eq!(sent, 20, "{}", io::Error::last_os_error());
}

fn port(fd: RawFd) -> u32 {
    // SAFETY: all zero is a valid sockaddr_nl.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: open descriptor; the address has the length given.
    let result = unsafe { libc::getsockname(fd, (&raw mut address).cast(), &mut length) };
    assert_eq!(result, 0);
    address.nl_pid
}

fn never(_: EventType, _: &netfilter_conntrack::Conntrack) -> ControlFlow<()> {
    panic!("no event");
}

/// The statements in the documentation of `catch`.
#[test]
fn what_is_no_event_is_an_error_and_gone() {
    /// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN`: answered by one message of
    /// a subsystem the handle does not know.
    const GET_GENERATION: u16 = 10 << 8 | 16;
    /// A subsystem that does not exist.
    const NOWHERE: u16 = 0x7f << 8;

    netns::run("what_is_no_event_is_an_error_and_gone", || {
        let mut events = Handle::open(Groups::ALL).unwrap();
        let fd = events.as_raw_fd();
        // SAFETY: open descriptor; F_SETFL takes an integer.
        let result = unsafe { libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK) };
        assert_eq!(result, 0);
        let mut errno = || events.catch(never).unwrap_err().raw_os_error().unwrap();

        send(fd, 0, GET_GENERATION, 0);
        assert_eq!((errno(), errno()), (libc::ENOENT, libc::EAGAIN));
        send(fd, 0, GET_GENERATION, 77);
        assert_eq!((errno(), errno()), (libc::EILSEQ, libc::EAGAIN));
        send(fd, 0, NOWHERE, 0);
        assert_eq!((errno(), errno()), (libc::EINVAL, libc::EAGAIN));

        let other = Handle::open(Groups::NONE).unwrap();
        send(other.as_raw_fd(), port(fd), 1 << 8, 0);
        assert_eq!((errno(), errno()), (libc::ENOMSG, libc::EAGAIN));
    });
}
