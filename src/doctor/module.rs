//! Whether a part of the kernel is there, found out without having it loaded.
//!
//! A message to a netfilter subsystem that is not there has the kernel load its module
//! (`nfnetlink_rcv_msg`, `nfnetlink_bind`, net/netfilter/nfnetlink.c). Looking must not change the
//! system, so nothing is asked before its module is known to be there.

use std::fs;
use std::path::Path;

/// Where a module of the kernel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// In the running kernel.
    Here,
    /// This kernel has no modules: the part is built in, or there is none. Asking loads nothing.
    Static,
    /// Not loaded, but it can be.
    Loadable,
    /// Not loaded, and not among the modules that are installed.
    Missing,
    /// Not loaded; no modules are to be seen here, as in a container.
    Unknown,
}

impl Presence {
    /// Looks for a module by its name.
    pub fn of(name: &str) -> Self {
        if Path::new("/sys/module").join(name).exists() {
            return Self::Here;
        }
        let Ok(loaded) = fs::read_to_string("/proc/modules") else {
            return Self::Static;
        };
        let release = rustix::system::uname();
        let folder = Path::new("/lib/modules").join(release.release().to_string_lossy().as_ref());
        let installed = |list| fs::read_to_string(folder.join(list)).ok();
        judge(
            name,
            &loaded,
            installed("modules.builtin").as_deref(),
            installed("modules.dep").as_deref(),
        )
    }

    /// Whether a message to it has no module loaded.
    pub const fn can_be_asked(self) -> bool {
        matches!(self, Self::Here | Self::Static)
    }
}

fn judge(name: &str, loaded: &str, builtin: Option<&str>, installed: Option<&str>) -> Presence {
    let lists = |list: &str| {
        list.lines().any(|line| {
            let path = line.split(':').next().unwrap_or_default();
            let file = path.rsplit('/').next().unwrap_or_default();
            // Installed modules may be compressed: nf_tables.ko.xz
            file.split_once(".ko").is_some_and(|(stem, _)| stem == name)
        })
    };
    if loaded
        .lines()
        .any(|line| line.split(' ').next() == Some(name))
        || builtin.is_some_and(lists)
    {
        return Presence::Here;
    }
    match installed {
        Some(installed) if lists(installed) => Presence::Loadable,
        Some(_) => Presence::Missing,
        None => Presence::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_looked_for_where_it_can_be() {
        let loaded = "nf_conntrack 200704 1 nf_tables, Live 0x0\nnf_tables 372736 0 - Live 0x0\n";
        let builtin = Some("kernel/net/netfilter/nfnetlink.ko\n");
        let installed = Some("kernel/net/netfilter/nf_conntrack_netlink.ko.xz: kernel/x.ko.xz\n");
        let judge = |name| judge(name, loaded, builtin, installed);
        assert_eq!(judge("nf_tables"), Presence::Here);
        assert_eq!(judge("nfnetlink"), Presence::Here);
        assert_eq!(judge("nf_conntrack_netlink"), Presence::Loadable);
        assert_eq!(judge("x"), Presence::Missing);
        assert_eq!(super::judge("x", "", None, None), Presence::Unknown);
    }
}
