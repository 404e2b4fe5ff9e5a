//! What this process may do.

use rustix::thread::{CapabilitySet, capabilities};

use super::finding::Finding;
use crate::os::user_namespace;

const NAME: &str = "privileges";

const CAP_NET_ADMIN: u64 = CapabilitySet::NET_ADMIN.bits();
const CAP_SYS_ADMIN: u64 = CapabilitySet::SYS_ADMIN.bits();
const CAP_NET_RAW: u64 = CapabilitySet::NET_RAW.bits();
const CAP_BPF: u64 = CapabilitySet::BPF.bits();

const SETCAP: &str =
    "run with sudo, or: setcap cap_net_admin,cap_bpf+ep \"$(command -v conntracker)\"";

/// Capabilities, and what they are good for.
#[derive(Clone, Copy, Debug)]
pub struct Rights {
    /// The effective capabilities, as bits.
    pub capabilities: u64,
    /// Whether they are those of the machine, and not of a user namespace, as far as that can be known.
    pub initial: bool,
}

impl Rights {
    /// Reads the capabilities of the process, and whether it is in the initial user namespace.
    pub fn look() -> Self {
        Self {
            capabilities: capabilities(None).map_or(0, |sets| sets.effective.bits()),
            initial: user_namespace::is_initial().unwrap_or(true),
        }
    }
}

/// Judges them; `denied` is whether listening was refused for want of a privilege.
pub fn judge(rights: &Rights, denied: bool) -> Finding {
    let has = |capability| rights.capabilities & capability != 0;
    let (net_admin, sys_admin) = (has(CAP_NET_ADMIN), has(CAP_SYS_ADMIN));
    // What CAP_BPF is for was CAP_SYS_ADMIN's before Linux 5.8, and still is (`bpf_capable`).
    let bpf = has(CAP_BPF) || sys_admin;
    let finding = if !net_admin {
        Finding::obstacle(
            NAME,
            "CAP_NET_ADMIN is missing, which listening to events takes",
        )
        .next(SETCAP)
    } else if denied {
        Finding::obstacle(
            NAME,
            "CAP_NET_ADMIN is that of a user namespace to which this network namespace does not belong",
        )
        .next("run with sudo outside of it, or make both: unshare -Urn")
    } else if !rights.initial {
        Finding::note(
            NAME,
            "CAP_NET_ADMIN of a user namespace: enough to listen, but not for a larger buffer or the \
             kernel source",
        )
        .next("if that is needed, run with sudo outside of the user namespace")
    } else if !bpf {
        Finding::note(
            NAME,
            "CAP_NET_ADMIN is there to listen; CAP_BPF is missing, which the kernel source takes",
        )
        .next(SETCAP)
    } else {
        Finding::ok(
            NAME,
            "CAP_NET_ADMIN is there to listen, CAP_BPF for the kernel source",
        )
    };
    finding
        .value("cap_net_admin", net_admin)
        .value("cap_bpf", has(CAP_BPF))
        .value("cap_sys_admin", sys_admin)
        .value("initial_user_namespace", rights.initial)
}

/// Whether names can be learnt (`packet_create`, net/packet/af_packet.c, Linux 6.18, asks for the capability).
pub fn judge_names(rights: &Rights) -> Finding {
    let may = rights.capabilities & CAP_NET_RAW != 0;
    let what = if may {
        "CAP_NET_RAW is there: --learn-names can list the names that clients ask for"
    } else {
        "CAP_NET_RAW is missing, which --learn-names takes; nothing else needs it"
    };
    Finding::ok("names", what).value("cap_net_raw", may)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn what_is_missing_is_named_with_a_way_to_get_it() {
        let judge = |capabilities, initial, denied| {
            judge(
                &Rights {
                    capabilities,
                    initial,
                },
                denied,
            )
        };
        let none = judge(0, true, true);
        assert!(none.prevents_capture && none.what.contains("CAP_NET_ADMIN"));
        assert!(none.next.unwrap().contains("sudo"));
        assert!(judge(CAP_NET_ADMIN, false, true).prevents_capture);
        let some = judge(CAP_NET_ADMIN, true, false);
        assert_eq!((some.state, some.prevents_capture), (State::Note, false));
        assert!(
            some.next
                .unwrap()
                .contains("setcap cap_net_admin,cap_bpf+ep")
        );
        assert_eq!(judge(u64::MAX, false, false).state, State::Note);
        assert_eq!(judge(CAP_NET_ADMIN | CAP_BPF, true, false).state, State::Ok);
        assert_eq!(
            judge(CAP_NET_ADMIN | CAP_SYS_ADMIN, true, false).state,
            State::Ok
        );
    }
}
