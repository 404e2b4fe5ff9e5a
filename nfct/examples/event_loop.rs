//! Waits for connections and for something else at once, with poll(2): until Enter is pressed, a line for each new
//! connection, and one every five seconds without any.

use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;

use netfilter_conntrack::{Direction, Groups, Handle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

fn main() -> ExitCode {
    match watch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("event_loop: {error}");
            ExitCode::FAILURE
        }
    }
}

fn watch() -> io::Result<()> {
    let mut handle = Handle::open(Groups::NEW)?;
    // So that `catch` returns when the queue is empty.
    rustix::io::ioctl_fionbio(&handle, true)?;
    let keyboard = io::stdin();
    let quiet = Timespec {
        tv_sec: 5,
        tv_nsec: 0,
    };
    loop {
        let mut fds = [
            PollFd::new(&handle, PollFlags::IN),
            PollFd::new(&keyboard, PollFlags::IN),
        ];
        if poll(&mut fds, Some(&quiet))? == 0 {
            println!("no new connection for five seconds");
            continue;
        }
        // Pressed, or closed.
        if !fds[1].revents().is_empty() {
            return Ok(());
        }
        let caught = handle.catch(|_, ct| {
            if let (Some(src), Some(dst)) =
                (ct.src(Direction::Original), ct.dst(Direction::Original))
            {
                println!("{src} -> {dst}");
            }
            ControlFlow::Continue(())
        });
        match caught {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                eprintln!("event_loop: the receive buffer overran, events were lost");
            }
            caught => return caught,
        }
    }
}
