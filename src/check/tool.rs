//! The programs that load and list rulesets, run in the namespace.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::check::namespace::Namespace;
use crate::error::Error;

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
    /// # Errors
    ///
    /// A program that is missing or can't be started. That it fails is for the caller to see.
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
    /// # Errors
    ///
    /// As [`run`](Self::run), and what the program says if it fails.
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

fn start<S: AsRef<OsStr>>(path: &Path, args: &[S], input: &[u8]) -> io::Result<Output> {
    // A file, and not a pipe that both ends could wait at.
    let mut file = tempfile::tempfile()?;
    file.write_all(input)?;
    file.rewind()?;
    Command::new(path)
        .args(args)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::from(file))
        .output()
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
