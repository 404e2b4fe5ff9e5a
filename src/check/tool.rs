//! The programs that load and list rulesets, run in the namespace.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::check::confine::confine;
use crate::check::namespace::Namespace;
use crate::model::error::Error;
use crate::os::socket::bound;

/// How long a program may take. Rulesets of some hundred thousand rules take seconds.
const PATIENCE: Duration = Duration::from_secs(120);
/// How much memory it may take: a ruleset may include /dev/zero.
const MEMORY_BYTES: u64 = 8 << 30;
/// How much of what it says is read.
const SAID_MAX: u64 = 1 << 30;

/// A program, and the package that has it.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// Its names, the best first.
    names: &'static [&'static str],
    /// Package of Debian, which other distributions name alike.
    package: &'static str,
}

/// nft(8).
pub const NFT: Tool = Tool {
    names: &["nft"],
    package: "nftables",
};
/// ip(8).
pub const IP: Tool = Tool {
    names: &["ip"],
    package: "iproute2",
};
/// ipset(8).
pub const IPSET: Tool = Tool {
    names: &["ipset"],
    package: "ipset",
};
/// iptables-restore(8). The names with `-nft` are the ones that make nftables rules, whose verdicts the
/// kernel can trace, whatever the plain names stand for on this system (update-alternatives(1)).
pub const IPTABLES_RESTORE: Tool = Tool {
    names: &["iptables-nft-restore", "iptables-restore"],
    package: "iptables",
};
/// ip6tables-restore(8).
pub const IP6TABLES_RESTORE: Tool = Tool {
    names: &["ip6tables-nft-restore", "ip6tables-restore"],
    package: "iptables",
};
/// iptables-save(8).
pub const IPTABLES_SAVE: Tool = Tool {
    names: &["iptables-nft-save", "iptables-save"],
    package: "iptables",
};
/// ip6tables-save(8).
pub const IP6TABLES_SAVE: Tool = Tool {
    names: &["ip6tables-nft-save", "ip6tables-save"],
    package: "iptables",
};

/// Where administrators' programs are, which is not in everybody's PATH.
const ADMINISTRATION: &str = "/usr/local/sbin:/usr/sbin:/sbin";

impl Tool {
    /// Its path, and the name it was found by.
    fn find(self) -> Result<(PathBuf, &'static str), Error> {
        let own = env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = env::split_paths(&own)
            .chain(env::split_paths(ADMINISTRATION))
            .collect();
        for name in self.names {
            let found = folders.iter().map(|folder| folder.join(name));
            if let Some(path) = found.into_iter().find(|path| path.is_file()) {
                return Ok((path, name));
            }
        }
        let (name, package) = (self.names[self.names.len() - 1], self.package);
        Err(Error::new(format!(
            "{name} is not installed, which loads the ruleset: install the package {package} \
             (apt install {package})"
        )))
    }

    /// Runs it to its end.
    ///
    /// Errors: a program that is missing or can't be started. That it fails is for the caller to see.
    pub fn run<S: AsRef<OsStr> + Sync>(
        self,
        namespace: &Namespace,
        args: &[S],
        input: &[u8],
    ) -> Result<Output, Error> {
        let (path, name) = self.find()?;
        let failed =
            |error: io::Error| Error::new(format!("{}: can't be run: {error}", path.display()));
        if self.package == "iptables" && !name.contains("-nft") {
            require_nft_backend(&path)?;
        }
        namespace.run(|| start(&path, args, input))?.map_err(failed)
    }

    /// Runs it to its end and returns its standard output.
    ///
    /// Errors: as [`run`](Self::run), and what the program says if it fails.
    pub fn output<S: AsRef<OsStr> + Sync>(
        self,
        namespace: &Namespace,
        args: &[S],
        input: &[u8],
    ) -> Result<String, Error> {
        let output = self.run(namespace, args, input)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let name = self.names[self.names.len() - 1];
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::new(format!("{name} fails: {}", said.trim())))
    }
}

/// In the calling thread, which is the namespace's and ends with this: what it gives up is gone for good.
fn start<S: AsRef<OsStr>>(path: &Path, args: &[S], input: &[u8]) -> io::Result<Output> {
    confine()?;
    // A file, and not a pipe that both ends could wait at. Made by whom the program runs as, so that it may open it
    // again by the name /dev/stdin.
    let mut file = File::from(memfd_create("ruleset", MemfdFlags::CLOEXEC)?);
    file.write_all(input)?;
    file.rewind()?;
    let mut command = Command::new(path);
    command
        .args(args)
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .env("PATH", ADMINISTRATION)
        .stdin(Stdio::from(file))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    bound(&mut command, MEMORY_BYTES);
    let mut child = command.spawn()?;
    let output = collect(&mut child, PATIENCE);
    if output.is_err() {
        // It is waited for, whether it had ended or not.
        let _ = child.kill();
        let _ = child.wait();
    }
    output
}

/// Reads what a program says, up to its end.
fn collect(child: &mut Child, patience: Duration) -> io::Result<Output> {
    let until = Instant::now() + patience;
    let (sender, receiver) = mpsc::channel();
    let stdout = child
        .stdout
        .take()
        .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    let stderr = child
        .stderr
        .take()
        .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    let pipes = [stdout, stderr].into_iter().flatten().enumerate();
    for (which, pipe) in pipes {
        let sender = sender.clone();
        // Not joined: one that still reads when patience ends has its pipe closed by the end of the program.
        thread::Builder::new().spawn(move || {
            let mut said = Vec::new();
            let read = pipe.take(SAID_MAX).read_to_end(&mut said);
            let _ = sender.send((which, read.map(|_| said)));
        })?;
    }
    let late = || {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("it did not end within {} s", patience.as_secs()),
        )
    };
    let mut said = [Vec::new(), Vec::new()];
    for _ in 0..said.len() {
        let left = until.saturating_duration_since(Instant::now());
        let (which, read) = receiver.recv_timeout(left).map_err(|_| late())?;
        said[which] = read?;
    }
    let [stdout, stderr] = said;
    // It has closed both, which programs do by ending.
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Output {
                status,
                stdout,
                stderr,
            });
        }
        if Instant::now() >= until {
            return Err(late());
        }
        thread::sleep(Duration::from_micros(200));
    }
}

/// Rules of the legacy backend can't be traced by netlink.
fn require_nft_backend(path: &Path) -> Result<(), Error> {
    let output = Command::new(path).arg("--version").output();
    if output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("nf_tables")) {
        return Ok(());
    }
    Err(Error::new(format!(
        "{} is of the legacy backend, whose verdicts the kernel does not tell: install an iptables that \
         has iptables-nft-restore (Debian: iptables 1.8.2 or later)",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(script: &str, patience: Duration) -> io::Result<Output> {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = collect(&mut child, patience);
        let _ = child.kill();
        let _ = child.wait();
        output
    }

    #[test]
    fn what_is_said_is_read_up_to_the_end_and_no_longer_than_patience() {
        let long = Duration::from_secs(60);
        let output = said("echo out; echo err >&2; exit 3", long).unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(
            (&*output.stdout, &*output.stderr),
            (&b"out\n"[..], &b"err\n"[..])
        );
        let short = Duration::from_millis(10);
        for hanging in ["exec sleep 60", "exec >/dev/null 2>&1; exec sleep 60"] {
            let error = said(hanging, short).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{hanging}");
        }
    }
}
