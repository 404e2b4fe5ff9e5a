//! Why the kernel refuses the BPF program, in words that say what to do about it.

use std::error::Error;
use std::io;

use aya::programs::ProgramError;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use crate::os::release::release;
use crate::os::user_namespace;

/// Lines with which the verifier ends every log, whatever came of the program.
const FIGURES: [&str; 4] = ["verification time", "stack depth", "processed", "insns"];

/// What aya met, as one line.
pub fn explain(error: impl Error + 'static) -> String {
    let mut text = error.to_string();
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(ProgramError::LoadError {
            io_error,
            verifier_log,
        }) = error.downcast_ref()
        {
            if let Some(said) = last_words(&verifier_log.to_string()) {
                return format!("the kernel's verifier refuses its program ({io_error}): {said}");
            }
        }
        let errno = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        match errno {
            Some(libc::EPERM | libc::EACCES) => return Denied::now().reason(),
            Some(libc::ENOSYS) => {
                return "bpf(2) is not to be had: this kernel lacks CONFIG_BPF_SYSCALL, or a filter of system calls \
                        hides it"
                    .into();
            }
            _ => {}
        }
        // The first error alone says nothing, the last is the kernel's.
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text.lines().next().unwrap_or_default().to_owned()
}

/// The first release that counts maps against a control group and not against the limit of locked memory
/// (`bpf_map_charge_init`, kernel/bpf/syscall.c, was there before).
const CHARGES_CGROUPS: (u32, u32) = (5, 11);

/// What there is to know about a process to which bpf(2) is denied: by EPERM, or by EACCES as security modules do.
struct Denied {
    /// Whether it has what loading takes (`bpf_capable`, include/linux/capability.h).
    may_load: bool,
    in_user_namespace: bool,
    /// Its limit of locked memory, where the kernel counts maps against it.
    locked_bytes: Option<u64>,
}

impl Denied {
    fn now() -> Self {
        let may_load = capabilities(None).is_ok_and(|sets| {
            sets.effective
                .intersects(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN)
        });
        let limit = getrlimit(Resource::Memlock).current;
        Self {
            may_load,
            in_user_namespace: user_namespace::is_initial() == Some(false),
            locked_bytes: limit
                .filter(|_| release().is_none_or(|release| release < CHARGES_CGROUPS)),
        }
    }

    /// Why, and what to do about it. How to run it comes last, behind a colon.
    fn reason(&self) -> String {
        match self.locked_bytes {
            _ if !self.may_load => {
                "it needs CAP_BPF beside CAP_NET_ADMIN, in the initial user namespace: run with sudo".into()
            }
            _ if self.in_user_namespace => {
                "it can't be loaded from a user namespace: run with sudo outside of it".into()
            }
            // Only CAP_SYS_RESOURCE raises the limit, which a service does not have.
            Some(bytes) => format!(
                "its tables do not fit into the limit of locked memory, {} kB, against which Linux before 5.11 counts \
                 them: LimitMEMLOCK=infinity for a service, or run with sudo",
                bytes / 1024
            ),
            None => "bpf(2) is not permitted although CAP_BPF is there: a filter of system calls, as containers have \
                     one, or a security module denies it"
                .into(),
        }
    }
}

/// The last two lines in which the verifier says what it does not like.
fn last_words(log: &str) -> Option<String> {
    let mut lines: Vec<&str> = log
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !FIGURES.iter().any(|word| line.starts_with(word)))
        .collect();
    let last = lines.split_off(lines.len().saturating_sub(2));
    (!last.is_empty()).then(|| last.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_the_verifiers() {
        let log = "0: R1=ctx() R10=fp0\nThe sequence of 8193 jumps is too complex.\n\
                   verification time 375181 usec\nstack depth 280\nprocessed 30451 insns (limit 1000000)\n";
        assert_eq!(
            last_words(log).as_deref(),
            Some("0: R1=ctx() R10=fp0; The sequence of 8193 jumps is too complex.")
        );
        assert_eq!(last_words("processed 0 insns\n\n"), None);
    }

    #[test]
    fn what_is_denied_names_what_to_change() {
        let reason = |may_load, in_user_namespace, locked_bytes| {
            Denied {
                may_load,
                in_user_namespace,
                locked_bytes,
            }
            .reason()
        };
        assert!(reason(false, false, Some(65536)).contains("CAP_BPF"));
        assert!(reason(true, true, Some(65536)).contains("user namespace"));
        let full = reason(true, false, Some(65536));
        assert!(full.contains("64 kB") && full.contains("LimitMEMLOCK"));
        assert!(reason(true, false, None).contains("filter of system calls"));
    }
}
