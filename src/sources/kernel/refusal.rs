//! Why the kernel refuses the BPF program, in words that say what to do about it.

use std::error::Error;
use std::io;

use aya::programs::ProgramError;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// Lines with which the verifier ends every log, whatever came of the program.
const FIGURES: [&str; 4] = ["verification time", "stack depth", "processed", "insns"];

/// What aya met, as one line.
pub fn explain(error: impl Error + 'static) -> String {
    let mut text = error.to_string();
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        let errno = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        if errno == Some(libc::EPERM) {
            return denied(may_load(), getrlimit(Resource::Memlock).current);
        }
        if let Some(ProgramError::LoadError {
            io_error,
            verifier_log,
        }) = error.downcast_ref()
        {
            if let Some(said) = last_words(&verifier_log.to_string()) {
                return format!("the kernel's verifier refuses its program ({io_error}): {said}");
            }
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

/// Whether this process has what loading takes (`bpf_capable`, include/linux/capability.h).
fn may_load() -> bool {
    capabilities(None).is_ok_and(|sets| {
        sets.effective
            .intersects(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN)
    })
}

/// What EPERM means to a process that may load programs, or may not, and has that limit of locked memory.
fn denied(may_load: bool, locked_bytes: Option<u64>) -> String {
    match locked_bytes {
        // Before Linux 5.11 maps count against the limit (`bpf_map_charge_init`, kernel/bpf/syscall.c), and only
        // CAP_SYS_RESOURCE raises it, which a service does not have.
        Some(bytes) if may_load => format!(
            "its tables do not fit into the limit of locked memory, {} kB, against which Linux before 5.11 counts \
             them: LimitMEMLOCK=infinity for a service, or run with sudo",
            bytes / 1024
        ),
        _ => "it needs CAP_BPF beside CAP_NET_ADMIN, in the initial user namespace: run with sudo, or leave \
              out --source"
            .into(),
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
        assert!(denied(false, Some(65536)).contains("CAP_BPF"));
        assert!(denied(true, None).contains("CAP_BPF"));
        let full = denied(true, Some(65536));
        assert!(full.contains("64 kB") && full.contains("LimitMEMLOCK"));
    }
}
