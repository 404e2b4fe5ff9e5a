//! Whether this kernel has connection tracking and its events.

use std::fs;
use std::path::Path;

use super::finding::Finding;
use super::module::Presence;
use super::query;
use crate::netlink::uapi::{IPCTNL_MSG_CT_GET_STATS, NFNL_SUBSYS_CTNETLINK, message_type};

const NAME: &str = "kernel";
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET_STATS`: the cheapest thing that it can be asked.
const GET_STATS: u16 = message_type(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET_STATS);

/// What there is to know about it.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The release of the running kernel (`uname -r`).
    pub release: String,
    /// Whether its sysctls are there, which come with nf_conntrack; `None` where none can be seen.
    pub conntrack: Option<bool>,
    /// The module that reports events.
    pub ctnetlink: Presence,
    /// Whether that answers; `None` if it can't be asked.
    pub answers: Option<bool>,
    /// kernel.modules_disabled: nothing can be loaded any more.
    pub locked: bool,
}

impl Kernel {
    /// Looks at the running kernel, without having it load a module.
    pub fn look() -> Self {
        let ctnetlink = Presence::of("nf_conntrack_netlink");
        let answers = ctnetlink
            .can_be_asked()
            .then(|| query::ask(GET_STATS))
            .and_then(
                |answer| match answer.map_err(|error| error.raw_os_error()) {
                    Ok(()) => Some(true),
                    Err(Some(libc::EINVAL | libc::EPROTONOSUPPORT | libc::EOPNOTSUPP)) => {
                        Some(false)
                    }
                    Err(_) => None,
                },
            );
        Self {
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            conntrack: sysctls(answers),
            ctnetlink,
            answers,
            locked: fs::read_to_string("/proc/sys/kernel/modules_disabled")
                .is_ok_and(|setting| setting.trim() == "1"),
        }
    }

    /// Whether a socket can be opened without having a module loaded.
    pub fn can_be_asked(&self) -> bool {
        self.ctnetlink.can_be_asked() && self.answers != Some(false)
    }
}

/// Whether the sysctls of nf_conntrack are there. If it answers and they are not, they are hidden.
fn sysctls(answers: Option<bool>) -> Option<bool> {
    if Path::new("/proc/sys/net/netfilter/nf_conntrack_max").exists() {
        return Some(true);
    }
    let shows_others = Path::new("/proc/sys/net").exists();
    (shows_others && answers != Some(true)).then_some(false)
}

/// The finding on the kernel.
pub fn judge(kernel: &Kernel) -> Finding {
    let Kernel { release, .. } = kernel;
    let finding = match (kernel.ctnetlink, kernel.answers, kernel.conntrack) {
        (_, Some(false), _) => Finding::obstacle(
            NAME,
            format!("Linux {release} does not report conntrack events"),
        )
        .next("use a kernel with CONFIG_NF_CT_NETLINK"),
        (Presence::Static, None, Some(false)) => {
            Finding::obstacle(NAME, format!("Linux {release} has no connection tracking"))
                .next("use a kernel with CONFIG_NF_CONNTRACK and CONFIG_NF_CT_NETLINK")
        }
        (Presence::Here | Presence::Static, Some(true), _) => Finding::ok(
            NAME,
            format!("Linux {release} has connection tracking and reports its events"),
        ),
        (Presence::Static, None, None) => Finding::note(
            NAME,
            format!("not known whether Linux {release} has connection tracking: /proc/sys can't be seen here"),
        )
        .next("look where /proc is mounted as a whole, without subset=pid"),
        (Presence::Here | Presence::Static, None, _) => {
            Finding::ok(NAME, format!("Linux {release} has connection tracking"))
        }
        (Presence::Loadable, ..) if kernel.locked => Finding::obstacle(
            NAME,
            "the module nf_conntrack_netlink is not loaded, and kernel.modules_disabled is 1",
        )
        .next("have it loaded when the system starts (modules-load.d(5)), and reboot"),
        (Presence::Loadable, ..) => Finding::note(
            NAME,
            "the module nf_conntrack_netlink is not loaded, so that some checks are left out",
        )
        .next("nothing: a capture has it loaded; for the checks: modprobe nf_conntrack_netlink"),
        (Presence::Missing, ..) => Finding::obstacle(
            NAME,
            format!("no module nf_conntrack_netlink is installed for Linux {release}"),
        )
        .next("install the kernel's modules; after an update of the kernel, reboot"),
        (Presence::Unknown, ..) => Finding::note(
            NAME,
            "the module nf_conntrack_netlink is not loaded, so that some checks are left out",
        )
        .next("load it on the host: modprobe nf_conntrack_netlink"),
    };
    finding.value("release", release.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn a_kernel_without_events_is_told_from_a_module_not_loaded() {
        let judge_locked = |ctnetlink, answers, conntrack, locked| {
            let finding = judge(&Kernel {
                release: "6.1.0".into(),
                conntrack,
                ctnetlink,
                answers,
                locked,
            });
            (finding.state, finding.prevents_capture)
        };
        let judge =
            |ctnetlink, answers, conntrack| judge_locked(ctnetlink, answers, conntrack, false);
        use Presence::{Here, Loadable, Missing, Static, Unknown};
        assert_eq!(judge(Here, Some(true), Some(true)), (State::Ok, false));
        assert_eq!(judge(Static, None, Some(true)), (State::Ok, false));
        assert_eq!(judge(Static, None, Some(false)), (State::Problem, true));
        assert_eq!(judge(Static, Some(true), Some(false)), (State::Ok, false));
        assert_eq!(judge(Static, None, None), (State::Note, false));
        assert_eq!(
            judge(Static, Some(false), Some(true)),
            (State::Problem, true)
        );
        assert_eq!(judge(Loadable, None, Some(true)), (State::Note, false));
        assert_eq!(
            judge_locked(Loadable, None, Some(true), true),
            (State::Problem, true)
        );
        assert_eq!(judge(Missing, None, Some(true)), (State::Problem, true));
        assert_eq!(judge(Unknown, None, Some(true)), (State::Note, false));
    }
}
