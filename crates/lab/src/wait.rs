//! Waiting for a condition with a deadline, in place of sleeping and hoping.

use std::thread;
use std::time::{Duration, Instant};

use crate::error::{LabError, Result};

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Looks at `condition` until it holds (true) or `timeout` has passed (false); an error ends the wait.
///
/// # Errors
/// Those of `condition`.
pub fn wait_until(timeout: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<bool> {
    let deadline = Instant::now() + timeout;
    loop {
        if condition()? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Like [`wait_until`], but a deadline that passes is an error which names `what` was waited for.
///
/// # Errors
/// `TimedOut`, or those of `condition`.
pub fn wait_for(
    what: &str,
    timeout: Duration,
    condition: impl FnMut() -> Result<bool>,
) -> Result<()> {
    if wait_until(timeout, condition)? {
        return Ok(());
    }
    Err(LabError::timed_out(format!("see {what}"), format!("not within {timeout:?}")))
}
