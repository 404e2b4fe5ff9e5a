//! Prints the connection-tracking table.

use std::io::Write as _;
use std::process::ExitCode;

use netfilter_conntrack::{Conntrack, Direction, Family, Groups, Handle};

fn main() -> ExitCode {
    match dump_table() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dump_table: {error}");
            if error.kind() == std::io::ErrorKind::PermissionDenied {
                eprintln!(
                    "dumping needs CAP_NET_ADMIN: run it with sudo, or in a namespace made by `unshare -Urn`"
                );
            }
            ExitCode::FAILURE
        }
    }
}

fn dump_table() -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut written = Ok(());
    Handle::open(Groups::NONE)?.dump(Family::Any, |ct| {
        if written.is_ok() {
            written = writeln!(
                out,
                "{} | {} | {} s",
                tuple(ct, Direction::Original),
                tuple(ct, Direction::Reply),
                ct.timeout_s().unwrap_or_default()
            );
        }
    })?;
    written.and_then(|()| out.flush())
}

fn tuple(ct: &Conntrack, direction: Direction) -> String {
    let show = |address: Option<std::net::IpAddr>, port: Option<u16>| match (address, port) {
        (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
        (Some(address), None) => address.to_string(),
        (None, _) => "?".into(),
    };
    let protocol = ct
        .l4_protocol(direction)
        .map_or("?".into(), |protocol| protocol.to_string());
    let src = show(ct.src(direction), ct.src_port(direction));
    let dst = show(ct.dst(direction), ct.dst_port(direction));
    format!("{protocol} {src} -> {dst}")
}
