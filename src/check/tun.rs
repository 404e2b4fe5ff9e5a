//! TUN devices: what is written to one comes in by it, what the kernel sends out of it can be read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::model::error::Error;
use crate::os::socket::make_tun;

/// Longest packet that is read. Those of ours are far shorter.
const PACKET_MAX: usize = 2048;
const CLONE: &str = "/dev/net/tun";

/// A device, there until this is dropped.
#[derive(Debug)]
pub struct Tun {
    file: OwnedFd,
}

impl Tun {
    /// Makes one in the calling thread's namespace.
    ///
    /// Errors: no privilege, no TUN driver, or a name that no device can have.
    pub fn new(name: &str) -> Result<Self, Error> {
        // `%d` would be replaced by a number (`dev_alloc_name`, net/core/dev.c).
        let makes = |file: OwnedFd| {
            if name.contains('%') {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            make_tun(&file, name).map(|()| file)
        };
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = open(CLONE, flags, Mode::empty()).map_err(|errno| {
            let advice = match errno {
                Errno::ACCESS | Errno::PERM => {
                    "run with sudo, or let everybody open it, which is safe and usual: chmod 666 /dev/net/tun"
                }
                Errno::MFILE => "allow this process more open files: ulimit -n 1024",
                _ => "load the driver with: modprobe tun",
            };
            Error::new(format!("{CLONE} can't be opened ({errno}): {advice}"))
        })?;
        makes(file).map(|file| Self { file }).map_err(|error| {
            Error::caused(format!("device \"{name}\" can't be made: {error}"), error)
        })
    }

    /// Has a packet come in by the device. When this returns, the rules have seen it: the kernel takes it
    /// in on the caller's time (`tun_get_user` to `netif_receive_skb`, drivers/net/tun.c, Linux 6.18).
    ///
    /// Errors: those of write(2).
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        rustix::io::write(&self.file, packet)?;
        Ok(())
    }

    /// Takes a packet that was sent out of the device, if there is one.
    ///
    /// Errors: those of read(2).
    pub fn read<'a>(&self, buffer: &'a mut Vec<u8>) -> io::Result<Option<&'a [u8]>> {
        buffer.resize(PACKET_MAX, 0);
        match rustix::io::read(&self.file, &mut buffer[..]) {
            Ok(len) => Ok(Some(&buffer[..len])),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
