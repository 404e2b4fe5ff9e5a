//! Errors as the administrator reads them: what failed, why, and what to do next.

use std::fmt;
use std::io;
use std::path::Path;

/// A failure that ends the program with exit status 1.
#[derive(Debug)]
pub struct Error(String);

impl Error {
    /// An error with its whole message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// A failure about a file.
    pub fn file(path: &Path, cause: impl fmt::Display) -> Self {
        Self(format!("{}: {cause}", path.display()))
    }

    /// Why conntrack events can't be listened to.
    pub fn listen(error: &io::Error) -> Self {
        Self(match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                "listening to conntrack events needs CAP_NET_ADMIN: run with sudo, or give the \
                 program the capability with: setcap cap_net_admin,cap_bpf+ep \"$(command -v conntracker)\""
                    .into()
            }
            Some(libc::EPROTONOSUPPORT | libc::ENOENT | libc::EINVAL) => format!(
                "this kernel has no conntrack events ({error}): load the module with \
                 modprobe nf_conntrack_netlink, or use a kernel that has CONFIG_NF_CT_NETLINK"
            ),
            _ => format!("can't listen to conntrack events: {error}"),
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
