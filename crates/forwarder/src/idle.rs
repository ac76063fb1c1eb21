//! The loop around the rounds: busy while there is work, asleep while there is none.
//!
//! After some rounds without a packet the worker waits in poll(2) for a port to become readable or
//! for its wake descriptor. Asleep it holds no copy of the tables, so that the control side need not
//! wait for it. It wakes by itself after a while all the same, to publish what the kernel counted.
//!
//! poll and not epoll: an AF_XDP socket in need-wakeup mode tells its driver to go on receiving when it
//! is polled (`xsk_poll`), and epoll asks a socket only when it has been ready before.
//!
//! A socket whose interface goes down reports an error to poll until somebody fetches it, so the worker
//! does: else it would never sleep again.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use linecard_io::PortQueue;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::egress::PortState;
use crate::worker::Worker;

/// When the first worker began, or somebody asked. All count from there, since they share connections, which have times.
static CLOCK_START: OnceLock<Instant> = OnceLock::new();

/// Descriptors that a worker can wait for, its wake descriptor included.
const DESCRIPTORS_MAX: usize = 64;
/// How long a stopping worker's receive queues must have been empty, in nanoseconds: a poll of the
/// driver that had taken packets for the worker when it stood down may hand them over a little later.
const DRAIN_QUIET_NANOSECONDS: u64 = 1_000_000;
/// How long a stopping worker gives to its receive queues, and then to its transmit queues, in
/// nanoseconds.
const DRAIN_NANOSECONDS_MAX: u64 = 20_000_000;

/// The time on the clock of [`Worker::run`], in nanoseconds.
#[must_use]
pub fn clock_nanoseconds() -> u64 {
    CLOCK_START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// When a worker without packets goes to sleep, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdlePolicy {
    /// Rounds without a packet before it sleeps. More means less latency and more of the core.
    pub busy_rounds: u32,
    /// Longest sleep; the kernel's counters are read that much later at the worst.
    pub sleep_nanoseconds_max: u64,
    /// Longest sleep while a transmit queue holds frames, or while a port has no descriptor to
    /// wait for and may have packets at any time.
    pub sleep_nanoseconds_with_work: u64,
}

impl Default for IdlePolicy {
    /// 64 rounds, then 10 ms at a time, or 0.2 ms while something is left to do.
    fn default() -> Self {
        Self {
            busy_rounds: 64,
            sleep_nanoseconds_max: 10_000_000,
            sleep_nanoseconds_with_work: 200_000,
        }
    }
}

/// Knows when it is time to sleep.
pub(crate) struct Idle {
    policy: IdlePolicy,
    empty_rounds: u32,
}

impl Idle {
    /// Refuses more ports than one worker can wait for.
    pub(crate) fn new(policy: IdlePolicy, ports: &[PortState]) -> io::Result<Self> {
        let descriptors = readable(ports).count() + 1;
        if descriptors > DESCRIPTORS_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "a worker waits for {} queues at the most, not {}: use more workers",
                    DESCRIPTORS_MAX - 1,
                    descriptors - 1
                ),
            ));
        }
        Ok(Self { policy, empty_rounds: 0 })
    }

    /// Notes how a round went; true when it is time to sleep.
    fn is_time(&mut self, received: usize) -> bool {
        self.empty_rounds = if received > 0 { 0 } else { self.empty_rounds.saturating_add(1) };
        self.empty_rounds > self.policy.busy_rounds
    }
}

/// The queues that have a descriptor, with it.
fn readable(ports: &[PortState]) -> impl Iterator<Item = (&dyn PortQueue, BorrowedFd<'_>)> {
    let queues = ports.iter().flat_map(|port| &port.queues);
    queues.filter_map(|queue| Some((queue.as_ref(), queue.readable()?)))
}

/// Waits for a packet, the wake descriptor, or the time to be up. An interrupted wait is a short one.
fn sleep(ports: &[PortState], wake: BorrowedFd<'_>, nanoseconds: u64) -> io::Result<()> {
    let timeout = Timespec {
        tv_sec: (nanoseconds / 1_000_000_000) as i64,
        tv_nsec: (nanoseconds % 1_000_000_000) as i64,
    };
    let mut queues = readable(ports);
    let mut used = 1;
    // Places without a queue hold the wake descriptor and are not passed to the kernel.
    let mut set = std::array::from_fn::<_, DESCRIPTORS_MAX, _>(|place| {
        let queue = if place == 0 { None } else { queues.next() };
        used += usize::from(queue.is_some());
        PollFd::from_borrowed_fd(queue.map_or(wake, |(_, fd)| fd), PollFlags::IN)
    });
    match poll(&mut set[..used], Some(&timeout)) {
        Ok(_) => {
            for ((queue, _), polled) in readable(ports).zip(&set[1..used]) {
                if polled.revents().contains(PollFlags::ERR) {
                    queue.clear_error();
                }
            }
            Ok(())
        }
        Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Worker {
    /// Runs rounds until `stop` is set or all ports have finished, then drains and counts what is
    /// left.
    ///
    /// `wake` is a descriptor (an eventfd) that becomes readable when `stop` was set, so that a
    /// sleeping worker sees it at once; it is not read. The clock is read once a round.
    ///
    /// # Errors
    /// The kernel's error when the worker cannot sleep. Its packets are accounted for all the same.
    pub fn run(&mut self, stop: &AtomicBool, wake: impl AsFd) -> io::Result<()> {
        let now = clock_nanoseconds;
        let mut outcome = Ok(());
        while outcome.is_ok() && !stop.load(Ordering::Acquire) && !self.finished() {
            let received = self.run_once(now());
            if self.idle.is_time(received) {
                self.release();
                outcome = sleep(&self.ports, wake.as_fd(), self.sleep_nanoseconds());
            }
        }
        self.drain(now);
        outcome
    }

    fn sleep_nanoseconds(&self) -> u64 {
        let policy = &self.idle.policy;
        let mut queues = self.ports.iter().flat_map(|port| &port.queues);
        let restless = |queue: &dyn PortQueue| {
            queue.queued() > 0 || (queue.readable().is_none() && !queue.finished())
        };
        match queues.any(|queue| restless(queue.as_ref())) {
            true => policy.sleep_nanoseconds_with_work,
            false => policy.sleep_nanoseconds_max,
        }
    }

    /// Forwards what was received already, waits a little for the transmit queues, and counts what
    /// they still hold as dropped.
    fn drain(&mut self, now: impl Fn() -> u64) {
        let start = now();
        let (mut last_packet, mut at) = (start, start);
        while at < last_packet + DRAIN_QUIET_NANOSECONDS && at < start + DRAIN_NANOSECONDS_MAX {
            if self.run_once(at) > 0 {
                last_packet = at;
            }
            at = now();
        }
        let deadline = now() + DRAIN_NANOSECONDS_MAX;
        while self.queued() > 0 && now() < deadline {
            self.reclaim();
            std::thread::yield_now();
        }
        self.count_kernel_drops();
        for port in &self.ports {
            self.counters.port(port.id).abandoned(port.queued() as u64);
        }
        self.counters.commit();
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use linecard_io::{Frame, PacketMemory};
    use linecard_packet::PortId;

    use super::*;
    use crate::punt::{PortPuntLimits, PuntLimit};
    use crate::worker::WorkerPort;

    /// A queue on a socket that can have an error, and nothing else.
    struct Socket(UdpSocket);

    impl PortQueue for Socket {
        fn receive(&mut self, _: &mut PacketMemory, _: &mut Vec<Frame>, _: usize) -> usize {
            0
        }
        fn transmit(&mut self, _: &mut PacketMemory, _: &mut Vec<Frame>) -> usize {
            0
        }
        fn flush(&mut self, _: &mut PacketMemory) {}
        fn queued(&self) -> usize {
            0
        }
        fn sent(&self) -> u64 {
            0
        }
        fn readable(&self) -> Option<BorrowedFd<'_>> {
            Some(self.0.as_fd())
        }
        fn clear_error(&self) {
            self.0.take_error().expect("SO_ERROR");
        }
    }

    #[test]
    fn an_error_on_a_socket_wakes_the_worker_once() {
        let closed = UdpSocket::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        socket.connect(closed).expect("connected");
        // Loopback answers within the call: port unreachable, so ECONNREFUSED.
        socket.send(&[0]).expect("sent");
        let events = |ports: &[PortState]| {
            let (_, fd) = readable(ports).next().expect("a queue");
            let mut set = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            poll(&mut set, Some(&Timespec::default())).expect("poll");
            set[0].revents()
        };
        let queues: Vec<Box<dyn PortQueue>> = vec![Box::new(Socket(socket))];
        let limits = PortPuntLimits::new(PuntLimit::default());
        let ports = [PortState::new(WorkerPort { id: PortId(0), queues }, limits)];
        assert!(events(&ports).contains(PollFlags::ERR), "the error waits");
        let wake = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        sleep(&ports, wake.as_fd(), 10_000_000_000).expect("poll");
        assert_eq!(events(&ports), PollFlags::empty());
    }
}
