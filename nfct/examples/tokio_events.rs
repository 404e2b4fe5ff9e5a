//! The same in a program that runs on tokio: [`AsyncFd`] waits for the socket, [`Handle::catch`] empties it.

use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use netfilter_conntrack::{Direction, Groups, Handle};
use tokio::io::unix::AsyncFd;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let minute = tokio::time::timeout(Duration::from_secs(60), watch());
    match minute.await {
        Err(_) | Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("tokio_events: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn watch() -> io::Result<()> {
    let handle = Handle::open(Groups::NEW)?;
    // As AsyncFd demands of all descriptors.
    rustix::io::ioctl_fionbio(&handle, true)?;
    // SAFETY: a handle has one and the same descriptor for as long as it lives, and closes it only when it is dropped.
    let mut socket = unsafe { AsyncFd::register(handle) }?;
    loop {
        let mut ready = socket.readable_mut().await?;
        let caught = ready.get_inner_mut().catch(|_, ct| {
            if let (Some(src), Some(dst)) =
                (ct.src(Direction::Original), ct.dst(Direction::Original))
            {
                println!("{src} -> {dst}");
            }
            ControlFlow::Continue(())
        });
        match caught {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                eprintln!("tokio_events: the receive buffer overran, events were lost");
            }
            caught => return caught,
        }
    }
}
