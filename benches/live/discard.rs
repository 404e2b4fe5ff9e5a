//! The floor: a receiver on the same socket that looks at nothing it receives.
//!
//! It waits as the `batch` source does, since how often a receiver is woken is most of what receiving
//! costs at a low rate.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, thread};

use conntracker::testing::os::Share;
use conntracker::testing::os::{BATCH_LEN, Batch};
use conntracker::testing::sources::{Settings, open};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The longest nap of the `batch` source.
const NAP: Duration = Duration::from_millis(4);

/// Receives until SIGINT and prints how many datagrams there were.
pub fn main(buffer_bytes: u32) -> ExitCode {
    match receive(buffer_bytes) {
        Ok(received) => {
            println!("{received}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("can't receive: {error}");
            ExitCode::FAILURE
        }
    }
}

fn receive(buffer_bytes: u32) -> io::Result<u64> {
    let stop = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&stop))?;
    let settings = Settings {
        all_namespaces: false,
        buffer_bytes,
        buffer_max_bytes: buffer_bytes,
        prefilter: true,
        reliable: false,
    };
    let (handle, _) = open(&settings, Share { index: 0, of: 1 })?;
    let mut batch = Batch::new();
    let mut total = 0;
    loop {
        let mut drained = 0;
        loop {
            let received = batch.receive(&handle)?;
            drained += received;
            if received < BATCH_LEN {
                break;
            }
        }
        total += drained as u64;
        if stop.load(Ordering::Relaxed) {
            return Ok(total);
        }
        if drained == 0 {
            let timeout = Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            // A signal that comes just before is seen a second later.
            let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout));
        }
        thread::sleep(NAP);
    }
}
