//! Errors as the administrator reads them: what failed, why, and what to do next.

use std::error;
use std::fmt;
use std::io;
use std::path::Path;

/// A failure that ends the program.
#[derive(Debug)]
pub struct Error {
    /// The whole message, that of the cause in it.
    message: String,
    cause: Option<Box<dyn error::Error + Send + Sync>>,
    /// Whether arguments ask for what can't be.
    is_of_arguments: bool,
}

impl Error {
    /// An error with its whole message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            cause: None,
            is_of_arguments: false,
        }
    }

    /// Arguments that ask for what can't be, as files or the kernel turned out.
    pub fn arguments(message: impl Into<String>) -> Self {
        Self {
            is_of_arguments: true,
            ..Self::new(message)
        }
    }

    /// The exit status that it ends the program with.
    pub const fn exit_status(&self) -> u8 {
        if self.is_of_arguments { 2 } else { 1 }
    }

    /// An error with its whole message, and what caused it.
    pub fn caused(
        message: impl Into<String>,
        cause: impl Into<Box<dyn error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            message: message.into(),
            cause: Some(cause.into()),
            is_of_arguments: false,
        }
    }

    /// A failure about a file.
    pub fn file(path: &Path, cause: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        let cause = cause.into();
        Self::caused(format!("{}: {cause}", path.display()), cause)
    }

    /// A file that is to be written and can't be.
    pub fn unwritable(path: &Path, cause: io::Error) -> Self {
        let message = format!("{}: can't be written: {cause}", path.display());
        Self::caused(message, cause)
    }

    /// Why conntrack events can't be listened to.
    pub fn listen(error: io::Error) -> Self {
        let message = match error.raw_os_error() {
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
        };
        Self::caused(message, error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn an_error_says_its_cause_and_keeps_it() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        for error in [
            Error::file(Path::new("list"), denied()),
            Error::unwritable(Path::new("list"), denied()),
            Error::listen(io::Error::from_raw_os_error(libc::EPERM)),
        ] {
            let cause = error
                .source()
                .and_then(|cause| cause.downcast_ref::<io::Error>());
            let kind = cause.map(io::Error::kind);
            assert_eq!(kind, Some(io::ErrorKind::PermissionDenied), "{error}");
        }
        let error = Error::unwritable(Path::new("list"), denied());
        assert_eq!(
            error.to_string(),
            "list: can't be written: permission denied"
        );
        assert!(Error::new("no cause").source().is_none());
    }
}
