//! Where netfilter logs packets to that no rule of logging names: `/proc/sys/net/netfilter/nf_log` of this network namespace.
//!
//! The kernel's `iptables-legacy` traces go there (`trace_packet` of net/ipv4/netfilter/ip_tables.c, `nf_log_trace` of
//! net/netfilter/nf_log.c, Linux 6.18), and so do complaints about packets that connection tracking calls invalid
//! (`nf_conntrack_log_invalid`). Rules of logging (LOG, NFLOG) name a logger and are not affected.
//!
//! What was there before is put back when this is dropped. A program that is killed can't do that, so it is also kept in a file
//! below /run, locked for as long as the program runs, and put back by the next start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The settings, a file for each protocol family.
const SETTINGS: &str = "/proc/sys/net/netfilter/nf_log";
/// IPv4 and IPv6 (`NFPROTO_IPV4`, `NFPROTO_IPV6`).
const FAMILIES: [u8; 2] = [2, 10];
/// The logger that hands packets to programs (nfnetlink_log).
const WANTED: &str = "nfnetlink_log";
/// What a file of notes has at most: two short lines.
const NOTE_MAX: u64 = 4096;

/// Has packets logged to programs, in this network namespace, until it is dropped.
#[derive(Debug)]
pub struct Logger {
    /// What there was before, by family.
    before: Vec<(u8, String)>,
    /// The file that has the same, and its name. None where /run can't be written.
    note: Option<(File, PathBuf)>,
}

impl Logger {
    /// Sets it.
    ///
    /// Errors: no privilege, a kernel without the logger, or another run of this program that has it set.
    pub fn start() -> io::Result<Self> {
        let note = note_file()?;
        if let Some((mut file, path)) = note {
            let left = noted(&mut file)?;
            let now = current()?;
            // The number of a namespace that is gone is given to another one, where nothing of this was set.
            if now.iter().all(|(_, logger)| logger == WANTED) {
                put_back(&left);
            }
            let before = current()?;
            file.set_len(0)?;
            file.rewind()?;
            for (family, logger) in &before {
                writeln!(file, "{family} {logger}")?;
            }
            let logger = Self {
                before,
                note: Some((file, path)),
            };
            return logger.set();
        }
        Self {
            before: current()?,
            note: None,
        }
        .set()
    }

    fn set(self) -> io::Result<Self> {
        for (family, before) in &self.before {
            if before != WANTED {
                fs::write(setting(*family), WANTED)?;
            }
        }
        Ok(self)
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        put_back(&self.before);
        if let Some((_locked, path)) = &self.note {
            let _ = fs::remove_file(path);
        }
    }
}

fn setting(family: u8) -> PathBuf {
    Path::new(SETTINGS).join(family.to_string())
}

/// What is set now.
fn current() -> io::Result<Vec<(u8, String)>> {
    { FAMILIES.into_iter() }
        .map(|family| {
            let logger = fs::read_to_string(setting(family))?;
            Ok((family, logger.trim().to_owned()))
        })
        .collect()
}

/// Sets what there was before, except what somebody else has set meanwhile.
fn put_back(before: &[(u8, String)]) {
    for (family, logger) in before {
        let now = fs::read_to_string(setting(*family)).unwrap_or_default();
        if logger != WANTED && now.trim() == WANTED {
            // Where it fails, no privilege is left to do anything about it.
            let _ = fs::write(setting(*family), logger);
        }
    }
}

/// The file of this network namespace, locked; none where there can be no such file.
fn note_file() -> io::Result<Option<(File, PathBuf)>> {
    let namespace = fs::metadata("/proc/thread-self/ns/net")?.ino();
    let path = PathBuf::from(format!("/run/conntracker-nf-log-{namespace}"));
    for _ in 0..100 {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&path);
        let Ok(file) = opened else {
            return Ok(None);
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(io::ErrorKind::ResourceBusy.into()),
            Err(error) => return Err(error.into()),
        }
        // Whoever had it before may have removed it between the two calls.
        let held = file.metadata()?;
        if fs::metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (held.dev(), held.ino())) {
            return Ok(Some((file, path)));
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// What a killed program has noted.
fn noted(file: &mut File) -> io::Result<Vec<(u8, String)>> {
    let mut text = String::new();
    file.take(NOTE_MAX).read_to_string(&mut text)?;
    let line = |line: &str| {
        let (family, logger) = line.split_once(' ')?;
        let family = family.parse().ok()?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        (FAMILIES.contains(&family) && logger.bytes().all(plain))
            .then(|| (family, logger.to_owned()))
    };
    Ok(text.lines().filter_map(line).collect())
}
