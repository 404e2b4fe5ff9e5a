//! Prints connection-tracking events as they come, until interrupted.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::process::ExitCode;

use netfilter_conntrack::{Direction, EventType, Groups, Handle};

fn main() -> ExitCode {
    match print_events() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("print_events: {error}");
            if error.kind() == std::io::ErrorKind::PermissionDenied {
                eprintln!(
                    "listening needs CAP_NET_ADMIN: run it with sudo, or in a namespace made by `unshare -Urn`"
                );
            }
            ExitCode::FAILURE
        }
    }
}

fn print_events() -> std::io::Result<()> {
    let mut handle = Handle::open(Groups::ALL)?;
    let mut out = std::io::stdout().lock();
    loop {
        let mut written = Ok(());
        let caught = handle.catch(|kind, ct| {
            let sign = match kind {
                EventType::New => '+',
                EventType::Update => '~',
                EventType::Destroy => '-',
                _ => '?',
            };
            let (src, dst) = (ct.src(Direction::Original), ct.dst(Direction::Original));
            let (Some(protocol), Some(src), Some(dst)) =
                (ct.l4_protocol(Direction::Original), src, dst)
            else {
                return ControlFlow::Continue(());
            };
            let port = ct
                .dst_port(Direction::Original)
                .map_or(String::new(), |port| format!(" port {port}"));
            written = writeln!(out, "{sign} protocol {protocol} {src} -> {dst}{port}");
            if written.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        written?;
        match caught {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                eprintln!("print_events: the receive buffer overran, events were lost");
            }
            caught => return caught,
        }
    }
}
