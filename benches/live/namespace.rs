//! A network namespace for one trial.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use conntracker_flood::namespace;

use crate::Failure;

/// A network namespace of `ip netns`, removed with this value.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one.
    pub fn new() -> Result<Self, Failure> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("conntracker-live-{}-{number}", std::process::id());
        ip(&["netns", "add", &name])?;
        Ok(Self { name })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does something in it, on a thread of its own: a namespace belongs to a thread, and what that
    /// starts inherits it.
    pub fn inside<T: Send>(
        &self,
        body: impl FnOnce() -> Result<T, Failure> + Send,
    ) -> Result<T, Failure> {
        let inside = || {
            namespace::enter(&self.name)?;
            namespace::refuse_host()?;
            body()
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Keeps entries made in it from having events at all, whoever listens
    /// (`nf_conntrack_ecache.c`, `nf_ct_ecache_ext_add`, Linux 6.18).
    pub fn without_events(&self) -> Result<(), Failure> {
        self.inside(|| {
            Ok(fs::write(
                "/proc/sys/net/netfilter/nf_conntrack_events",
                "0",
            )?)
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "del", &self.name]) {
            eprintln!("{} is left behind: {error}", self.name);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), Failure> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| format!("ip (of iproute2) can't be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", arguments.join(" "), said.trim()).into())
}
