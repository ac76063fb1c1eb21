//! ^C and its relatives: what runs ends between two steps, and all is put away on the way out.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Knows whether a signal asked to stop.
pub(crate) struct Interrupt {
    /// The signal, 0 before.
    signal: Arc<AtomicUsize>,
}

/// The signal that ended what ran.
#[derive(Debug)]
pub(crate) struct Interrupted(pub(crate) u8);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted by signal {}", self.0)
    }
}

impl std::error::Error for Interrupted {}

impl Interrupt {
    /// Takes SIGINT, SIGTERM and SIGHUP. The second one ends the process at once, and the kernel puts
    /// away what is left.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn new() -> io::Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        let again = Arc::new(AtomicBool::new(false));
        for number in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal finds `again` still false.
            flag::register_conditional_default(number, Arc::clone(&again))?;
            flag::register(number, Arc::clone(&again))?;
            flag::register_usize(number, Arc::clone(&signal), number.unsigned_abs() as usize)?;
        }
        Ok(Self { signal })
    }

    /// As if this signal had come; takes none.
    #[cfg(test)]
    pub(crate) fn with_signal(signal: u8) -> Self {
        Self { signal: Arc::new(AtomicUsize::new(signal.into())) }
    }

    /// An error once a signal has come.
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        match self.signal.load(Ordering::Relaxed) {
            0 => Ok(()),
            signal => Err(Interrupted(u8::try_from(signal).unwrap_or(u8::MAX))),
        }
    }
}
