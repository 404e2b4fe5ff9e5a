//! The `kernel` source: whether its BPF programs can be loaded, and run as fast as they should.

use std::fs;

use netfilter_conntrack::Handle;

use super::finding::Finding;

/// What there is to know about BPF here.
#[derive(Clone, Debug)]
pub struct Program {
    /// Whether it could be loaded; `None` without a socket to attach it to.
    pub loaded: Option<Result<(), String>>,
    /// net.core.bpf_jit_enable: 0 has BPF programs interpreted.
    pub jit: Option<u64>,
    /// kernel.unprivileged_bpf_disabled: other than 0, BPF takes CAP_BPF.
    pub unprivileged_disabled: Option<u64>,
    /// The mode in /sys/kernel/security/lockdown.
    pub lockdown: Option<String>,
}

impl Program {
    /// Looks, and tries on that socket.
    pub fn look(socket: Option<&Handle>) -> Self {
        let number = |path| fs::read_to_string(path).ok()?.trim().parse().ok();
        let modes = fs::read_to_string("/sys/kernel/security/lockdown").ok();
        Self {
            loaded: socket.map(load),
            jit: number("/proc/sys/net/core/bpf_jit_enable"),
            unprivileged_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
            lockdown: modes.and_then(|modes| chosen(&modes)),
        }
    }
}

/// `none [integrity] confidentiality`: the one in brackets.
fn chosen(modes: &str) -> Option<String> {
    let (_, rest) = modes.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(feature = "ebpf")]
fn load(socket: &Handle) -> Result<(), String> {
    use std::os::unix::net::UnixDatagram;

    use crate::sources::kernel::{Kernel, Sizes, records};

    // As small as can be: they are gone again at once. Both on one socket would be more than a filter may take there
    // (net.core.optmem_max, 20 kB up to Linux 6.6).
    Kernel::attach(socket, Sizes::new(0, 0))?;
    let other = UnixDatagram::unbound().map_err(|error| error.to_string())?;
    records::Records::attach(other, records::Sizes::new(0), records::Wants::default()).map(drop)
}

#[cfg(not(feature = "ebpf"))]
fn load(_: &Handle) -> Result<(), String> {
    Err("this program was built without it (cargo feature ebpf)".into())
}

/// The finding on the source `kernel`: whether its program can be loaded here.
pub fn judge_source(program: &Program) -> Finding {
    const NAME: &str = "kernel-source";
    let finding = match &program.loaded {
        Some(Ok(())) => Finding::ok(
            NAME,
            "its BPF program can be loaded: events that tell nothing new cost next to nothing",
        ),
        Some(Err(reason)) => {
            // What follows is how to go on where it was asked for by name.
            let reason = reason.split(": run with").next().unwrap_or(reason);
            Finding::note(
                NAME,
                format!(
                    "its BPF program can't be loaded ({reason}): a capture uses the source \
                     batch, which takes more of the processor"
                ),
            )
            .next("nothing, if there is time to spare; else see privileges")
        }
        None => Finding::note(NAME, "not tried, for want of a socket"),
    };
    finding
        .value("loads", program.loaded.as_ref().map(Result::is_ok))
        .value("unprivileged_bpf_disabled", program.unprivileged_disabled)
        .value("lockdown", program.lockdown.clone())
}

/// Judges the compiler of BPF programs.
pub fn judge_jit(program: &Program) -> Finding {
    const NAME: &str = "bpf-jit";
    let finding = match program.jit {
        Some(0) => Finding::note(
            NAME,
            "net.core.bpf_jit_enable is 0: filters are interpreted, and each event takes longer",
        )
        .next("sysctl -w net.core.bpf_jit_enable=1"),
        Some(setting) => Finding::ok(
            NAME,
            format!("net.core.bpf_jit_enable is {setting}: filters run as machine code"),
        ),
        // `bpf_jit_enable` can't be read in other network namespaces than the initial one, and only by root.
        None => Finding::ok(
            NAME,
            "net.core.bpf_jit_enable is not to be read here; it is 1 by default",
        ),
    };
    finding.value("bpf_jit_enable", program.jit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    fn program(loaded: Option<Result<(), String>>, jit: Option<u64>) -> Program {
        Program {
            loaded,
            jit,
            unprivileged_disabled: Some(2),
            lockdown: Some("confidentiality".into()),
        }
    }

    #[test]
    fn why_it_cannot_be_loaded_is_told() {
        let failed = judge_source(&program(Some(Err("needs CAP_BPF".into())), None));
        assert_eq!(
            (failed.state, failed.prevents_capture),
            (State::Note, false)
        );
        assert!(failed.what.contains("(needs CAP_BPF)"));
        assert_eq!(judge_source(&program(Some(Ok(())), None)).state, State::Ok);
        assert_eq!(judge_source(&program(None, None)).state, State::Note);
    }

    #[test]
    fn an_interpreter_is_slow() {
        assert_eq!(judge_jit(&program(None, Some(0))).state, State::Note);
        assert_eq!(judge_jit(&program(None, Some(1))).state, State::Ok);
        assert_eq!(judge_jit(&program(None, None)).state, State::Ok);
    }

    #[test]
    fn the_mode_of_lockdown_is_in_brackets() {
        assert_eq!(
            chosen("none [integrity] confidentiality\n").as_deref(),
            Some("integrity")
        );
        assert_eq!(chosen("?"), None);
    }
}
