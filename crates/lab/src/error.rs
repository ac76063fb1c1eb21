//! The one error of the crate: what was asked, what the kernel said, and what would help.

use std::fmt;
use std::io;

/// A request that the kernel refused, or that did not come true in time.
///
/// Its `Debug` is its `Display`, so that a test which unwraps it shows the sentence and the remedy.
pub struct LabError {
    action: String,
    source: io::Error,
    detail: Option<String>,
}

/// What most tasks of the lab return.
pub type Result<T> = std::result::Result<T, LabError>;

impl LabError {
    /// Says that `action` (an infinitive without "to", such as `create veth a–b`) failed with `source`.
    pub fn new(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { action: action.into(), source: source.into(), detail: None }
    }

    /// Says that `action` did not finish before its deadline; `detail` tells how far it came.
    pub fn timed_out(action: impl Into<String>, detail: impl Into<String>) -> Self {
        let source = io::Error::new(io::ErrorKind::TimedOut, "the deadline has passed");
        Self { action: action.into(), source, detail: Some(detail.into()) }
    }

    /// Says that the arguments of `action` cannot be meant, for the reason in `detail`.
    pub fn invalid(action: impl Into<String>, detail: impl Into<String>) -> Self {
        let source = io::Error::from(io::ErrorKind::InvalidInput);
        Self { action: action.into(), source, detail: Some(detail.into()) }
    }

    /// Adds the kernel's own words (netlink's extended acknowledgement).
    #[must_use]
    pub(crate) fn with_detail(mut self, detail: Option<String>) -> Self {
        self.detail = detail.or(self.detail);
        self
    }

    /// The kind of the error below, to tell `TimedOut` or `AlreadyExists` from the rest.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// The errno of the kernel, where it was the kernel that refused.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    fn remedy(&self) -> Option<&'static str> {
        Some(match self.source.raw_os_error()? {
            libc::EPERM | libc::EACCES => {
                "run as root, or with CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW"
            }
            libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT => {
                "this kernel was built without it"
            }
            libc::EEXIST => "choose another name, or delete the one that is there first",
            libc::ENODEV => "no such interface in this namespace; check the name",
            libc::ENETUNREACH | libc::EHOSTUNREACH => {
                "no route leads there; check addresses, routes and that the interface is up"
            }
            libc::EMFILE | libc::ENFILE => "raise the limit of open files (ulimit -n)",
            _ => return None,
        })
    }
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.action, self.source)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        if let Some(remedy) = self.remedy() {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for LabError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_request_and_the_remedy() {
        let error = LabError::new("create namespace r", io::Error::from_raw_os_error(libc::EPERM));
        let text = error.to_string();
        assert!(text.starts_with("cannot create namespace r: "), "{text}");
        assert!(
            text.ends_with("run as root, or with CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW")
        );
    }

    #[test]
    fn a_timeout_says_how_far_it_came() {
        let error = LabError::timed_out("receive 10 packets", "3 came");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("(3 came)"), "{error}");
    }
}
