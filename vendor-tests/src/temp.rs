//! Folders of a test's own, removed with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A fresh folder below the system's one for temporary files.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one, which every user may enter.
    ///
    /// Panics: if it can't be made.
    pub fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("conntracker-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of something in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test may have removed it itself.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A folder that is a file system of its own, in memory.
#[derive(Debug)]
pub struct Disk(Folder);

impl Disk {
    /// Mounts one of at most `size`, as tmpfs(5) takes it, in the calling thread's mount namespace.
    ///
    /// Panics: if the privilege is missing.
    pub fn new(size: &str) -> Self {
        let folder = Folder::new();
        let path = folder.path().display();
        crate::netns::sh(&format!("mount -t tmpfs -o size={size} none {path}"));
        Self(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of something in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also if something has files open there, which ends with the test.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
