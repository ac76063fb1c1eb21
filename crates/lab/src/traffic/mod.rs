//! Traffic: probes, loads, sinks and single frames, in place of `ping`, `traceroute`, `iperf3` and
//! `tcpdump`. Whatever runs in the background stops when its handle is dropped.

pub(crate) mod count_sink;
pub(crate) mod flood;
pub(crate) mod frames;
mod gaps;
pub(crate) mod path_mtu;
pub(crate) mod ping;
pub(crate) mod probe;
pub(crate) mod sink;
pub(crate) mod tcp;
pub(crate) mod traceroute;
pub(crate) mod udp;

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits until a socket can be read (true) or the deadline has passed (false).
pub(crate) fn readable_before(socket: &impl AsFd, deadline: Instant) -> io::Result<bool> {
    let left = deadline.saturating_duration_since(Instant::now());
    // poll(2) counts whole milliseconds; rounding up keeps it from spinning before the deadline.
    let milliseconds = left.as_micros().div_ceil(1000).try_into().unwrap_or(i32::MAX);
    let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
    let mut entry = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match poll(&mut entry, timeout) {
        Ok(count) => Ok(count > 0),
        Err(nix::errno::Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Wall-clock time in nanoseconds, as generators stamp it and sinks compare it on the same machine.
pub(crate) fn now_nanoseconds() -> u64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_epoch.unwrap_or_default().as_nanos().try_into().unwrap_or(u64::MAX)
}

/// Events in a second, 0 when no time passed.
pub(crate) fn per_second(count: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}
