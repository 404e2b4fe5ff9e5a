//! Whether the kernel's connection table has room.

use std::{fmt, fs, io};

/// Chains longer than this make the kernel refuse an entry with ENOSPC: `MIN_CHAINLEN` in
/// net/netfilter/nf_conntrack_core.c (the limit is drawn from 50 to 80 for every insertion).
const CHAIN_MAX: u64 = 50;

/// What the kernel's table is like, seen from the network namespace of the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of this namespace.
    pub count: u64,
    /// Entries a namespace may have; one number for the whole machine.
    pub max: u64,
    /// Buckets of the one table of the machine.
    pub buckets: u64,
}

/// Why a flood does not fit.
#[derive(Debug)]
pub enum LimitError {
    /// The limits cannot be read.
    Unreadable(&'static str, io::Error),
    /// Too many entries.
    Full {
        /// What is needed.
        needed: u64,
        /// What there is.
        limits: Limits,
    },
    /// Too few buckets.
    Chains {
        /// What is needed.
        needed: u64,
        /// What there is.
        limits: Limits,
    },
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(name, error) => {
                write!(
                    f,
                    "cannot read /proc/sys/net/netfilter/{name}: {error}; is nf_conntrack loaded? modprobe nf_conntrack_netlink"
                )
            }
            Self::Full {
                needed,
                limits: Limits { count, max, .. },
            } => write!(
                f,
                "{needed} entries on top of {count} do not fit into a connection table of {max}: \
                 on the host (not inside a namespace) run sysctl -w net.netfilter.nf_conntrack_max={}",
                needed + count
            ),
            Self::Chains {
                needed,
                limits: Limits { buckets, .. },
            } => write!(
                f,
                "{needed} entries make too long chains in {buckets} buckets, and the kernel would refuse some: \
                 on the host (not inside a namespace) run sysctl -w net.netfilter.nf_conntrack_buckets={}",
                needed / 4
            ),
        }
    }
}

impl std::error::Error for LimitError {}

impl Limits {
    /// The present limits.
    ///
    /// Errors: if one of them cannot be read: most likely, the connection tracker is not loaded.
    pub fn read() -> Result<Self, LimitError> {
        Ok(Self {
            count: value("nf_conntrack_count")?,
            max: value("nf_conntrack_max")?,
            buckets: value("nf_conntrack_buckets")?,
        })
    }

    /// Makes sure that `needed` more entries fit.
    ///
    /// The check comes first because a full table does not simply refuse: `early_drop` (nf_conntrack_core.c)
    /// throws out entries that are not assured, which all of a flood are, and no request fails.
    ///
    /// Errors: if they do not fit.
    pub fn admit(self, needed: u64) -> Result<(), LimitError> {
        // 0 is no limit.
        if self.max > 0 && self.count + needed > self.max {
            return Err(LimitError::Full {
                needed,
                limits: self,
            });
        }
        // Each entry is in two chains. Their lengths scatter (Poisson), so the mean has to stay well below.
        if self.buckets > 0 && needed * 2 / self.buckets > CHAIN_MAX / 3 {
            return Err(LimitError::Chains {
                needed,
                limits: self,
            });
        }
        Ok(())
    }
}

fn value(name: &'static str) -> Result<u64, LimitError> {
    // /proc/sys/net is that of the namespace of the task that looks.
    let text = fs::read_to_string(format!("/proc/sys/net/netfilter/{name}"));
    text.and_then(|text| {
        text.trim()
            .parse()
            .map_err(|_| io::ErrorKind::InvalidData.into())
    })
    .map_err(|error| LimitError::Unreadable(name, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_admitted() {
        let limits = Limits {
            count: 10,
            max: 1000,
            buckets: 16,
        };
        assert!(limits.admit(100).is_ok());
        assert!(matches!(limits.admit(200), Err(LimitError::Chains { .. })));
        let message = limits.admit(991).unwrap_err().to_string();
        assert!(
            message.contains("sysctl -w net.netfilter.nf_conntrack_max=1001"),
            "{message}"
        );
        assert!(
            Limits {
                max: 0,
                buckets: 1 << 20,
                ..limits
            }
            .admit(5000)
            .is_ok()
        );
    }
}
