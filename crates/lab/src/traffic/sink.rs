//! The other end of a UDP load: counts every datagram, and finds what is missing, doubled or late.
//!
//! The sequence numbers of a load run over all its flows, so one bit a datagram tells exactly what came;
//! order is judged within a flow, since flows may take different paths. A sink serves one load.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};

use super::gaps::Gaps;
use super::udp::{UDP_PACKETS_MAX, UDP_PAYLOAD_BYTES_MIN};
use super::{now_nanoseconds, per_second};
use crate::error::{LabError, Result};
use crate::namespace::Namespace;
use crate::wait::wait_until;

/// Datagrams in one system call.
const BATCH: usize = 64;
/// Enough of a datagram to read the load's header; the length comes from the kernel.
const BUFFER_BYTES: usize = UDP_PAYLOAD_BYTES_MIN;
/// Room for bursts in each socket, so that the sink itself loses nothing while it is not scheduled.
const SOCKET_BUFFER_BYTES: usize = 32 << 20;
/// How soon a request to stop is heard.
const POLL_MILLISECONDS: u16 = 20;

/// What came of one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowReport {
    /// Datagrams, without doubles.
    pub packets: u64,
    /// Datagrams that came after a later one of the flow.
    pub reordered: u64,
    sequence_last: u64,
}

/// What came of a load.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UdpSinkReport {
    /// Datagrams of the load, without doubles.
    pub packets: u64,
    /// Their payload, in bytes.
    pub payload_bytes: u64,
    /// Numbers below the highest seen that never came. What is lost at the very end the sink cannot
    /// know: compare `packets` with what was sent.
    pub missing: u64,
    /// The longest run of such numbers, in datagrams.
    pub missing_run_longest: u64,
    /// Datagrams that came once more.
    pub duplicates: u64,
    /// Datagrams that came after a later one of their flow.
    pub reordered: u64,
    /// Datagrams that are not a load's (too short, or a number out of range).
    pub foreign: u64,
    /// Datagrams that reached this namespace and found the socket full: the sink's fault, not the path's.
    pub overflowed: u64,
    /// The longest time in which every datagram sent was lost, by the sender's clock: from the
    /// last one that came to the first that came again.
    pub outage_longest: Duration,
    /// The longest time without an arrival between the first and the last, by the sink's clock.
    pub silence_longest: Duration,
    /// Mean time from sender to sink.
    pub delay_mean: Duration,
    /// Shortest and longest time from sender to sink.
    pub delay_range: (Duration, Duration),
    /// From the first arrival to the last.
    pub elapsed: Duration,
    /// What came of each flow, by its number.
    pub flows: Vec<FlowReport>,
}

impl UdpSinkReport {
    /// The mean rate from the first arrival to the last.
    pub fn packets_per_second(&self) -> f64 {
        per_second(self.packets.saturating_sub(1), self.elapsed)
    }
}

/// What the sink knows; the report is made from it.
#[derive(Debug, Default)]
struct State {
    report: UdpSinkReport,
    /// Bit n of word n / 64: datagram n came.
    seen: Vec<u64>,
    highest: Option<u64>,
    gaps: Gaps,
    /// When the datagram with the highest number was sent.
    highest_sent_nanoseconds: u64,
    first_nanoseconds: u64,
    last_nanoseconds: u64,
    delay_sum_nanoseconds: u128,
    delay_nanoseconds: Option<(u64, u64)>,
}

impl State {
    fn record(&mut self, head: &[u8], length: usize, now: u64) {
        let Some((flow, sequence, sent)) = parse(head, length) else {
            self.report.foreign += 1;
            return;
        };
        if !self.mark(sequence) {
            self.report.duplicates += 1;
            return;
        }
        self.report.packets += 1;
        self.report.payload_bytes += length as u64;
        self.record_order(flow, sequence, sent);
        self.record_time(sent, now);
    }

    /// Notes that a datagram came; false when it had come before.
    fn mark(&mut self, sequence: u64) -> bool {
        let (word, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        let is_new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        is_new
    }

    fn record_order(&mut self, flow: u16, sequence: u64, sent: u64) {
        let flow = usize::from(flow);
        if flow >= self.report.flows.len() {
            self.report.flows.resize(flow + 1, FlowReport::default());
        }
        let entry = &mut self.report.flows[flow];
        if entry.packets > 0 && sequence < entry.sequence_last {
            entry.reordered += 1;
            self.report.reordered += 1;
        }
        entry.packets += 1;
        entry.sequence_last = entry.sequence_last.max(sequence);
        match self.highest {
            Some(highest) if sequence <= highest => return self.gaps.close(sequence, sent),
            Some(highest) => {
                let between = (self.highest_sent_nanoseconds, sent);
                self.gaps.open(highest + 1, sequence - 1, between);
            }
            None => {}
        }
        self.highest = Some(sequence);
        self.highest_sent_nanoseconds = sent;
    }

    fn record_time(&mut self, sent: u64, now: u64) {
        if self.report.packets == 1 {
            self.first_nanoseconds = now;
        } else {
            let silence = Duration::from_nanos(now.saturating_sub(self.last_nanoseconds));
            self.report.silence_longest = self.report.silence_longest.max(silence);
        }
        self.last_nanoseconds = now;
        let delay = now.saturating_sub(sent);
        self.delay_sum_nanoseconds += u128::from(delay);
        let (low, high) = self.delay_nanoseconds.unwrap_or((delay, delay));
        self.delay_nanoseconds = Some((low.min(delay), high.max(delay)));
    }

    fn report(&self, overflowed: u64) -> UdpSinkReport {
        let mut report = self.report.clone();
        report.overflowed = overflowed;
        report.outage_longest = self.gaps.longest();
        (report.missing, report.missing_run_longest) = self.missing();
        let nanoseconds = self.last_nanoseconds.saturating_sub(self.first_nanoseconds);
        report.elapsed = Duration::from_nanos(nanoseconds);
        if let (Some((low, high)), true) = (self.delay_nanoseconds, report.packets > 0) {
            let mean = self.delay_sum_nanoseconds / u128::from(report.packets);
            report.delay_mean = Duration::from_nanos(mean.try_into().unwrap_or(u64::MAX));
            report.delay_range = (Duration::from_nanos(low), Duration::from_nanos(high));
        }
        report
    }

    /// How many numbers below the highest never came, and the longest run of them.
    fn missing(&self) -> (u64, u64) {
        let Some(highest) = self.highest else { return (0, 0) };
        let (mut total, mut run, mut longest) = (0, 0, 0);
        for sequence in 0..=highest {
            if self.seen[(sequence / 64) as usize] & (1 << (sequence % 64)) == 0 {
                run += 1;
                total += 1;
                longest = longest.max(run);
            } else {
                run = 0;
            }
        }
        (total, longest)
    }
}

/// Flow, sequence number and time of sending, if it is a load's datagram.
fn parse(head: &[u8], length: usize) -> Option<(u16, u64, u64)> {
    if length < UDP_PAYLOAD_BYTES_MIN {
        return None;
    }
    let flow = u16::from_be_bytes(head.get(..2)?.try_into().ok()?);
    let sequence = u64::from_be_bytes(head.get(2..10)?.try_into().ok()?);
    let sent = u64::from_be_bytes(head.get(10..18)?.try_into().ok()?);
    (sequence < UDP_PACKETS_MAX).then_some((flow, sequence, sent))
}

/// A running sink; dropping it stops it.
#[derive(Debug)]
pub struct UdpSink {
    namespace: Namespace,
    addresses: Vec<SocketAddr>,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    overflowed_before: u64,
    thread: Option<JoinHandle<()>>,
}

impl UdpSink {
    /// Listens on `addresses` in `namespace`; port 0 lets the kernel choose.
    ///
    /// # Errors
    /// When an address is taken or is not the namespace's.
    pub fn start(namespace: &Namespace, addresses: &[SocketAddr]) -> Result<Self> {
        let action = || format!("listen for UDP on {addresses:?} in {namespace}");
        let failed = |error: io::Error| LabError::new(action(), error);
        let bind = |address: &SocketAddr| {
            let socket = UdpSocket::bind(address)?;
            rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER_BYTES)?;
            Ok(socket)
        };
        let sockets = namespace
            .run(|| addresses.iter().map(bind).collect::<io::Result<Vec<_>>>())
            .map_err(failed)?;
        let addresses =
            sockets.iter().map(UdpSocket::local_addr).collect::<io::Result<_>>().map_err(failed)?;
        let (state, stop) = (Arc::new(Mutex::new(State::default())), Arc::default());
        let (thread_state, thread_stop) = (Arc::clone(&state), Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("udp-sink".to_owned())
            .spawn(move || receive(&sockets, &thread_state, &thread_stop))
            .map_err(failed)?;
        let mut sink = Self {
            namespace: namespace.clone(),
            addresses,
            state,
            stop,
            overflowed_before: 0,
            thread: Some(thread),
        };
        sink.overflowed_before = sink.receive_buffer_errors();
        Ok(sink)
    }

    /// The addresses it listens on, with the ports that the kernel chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Datagrams of the load so far, without doubles; cheap.
    pub fn packets(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).report.packets
    }

    /// What came so far; costs a walk over one bit a datagram.
    pub fn report(&self) -> UdpSinkReport {
        let overflowed = self.receive_buffer_errors().saturating_sub(self.overflowed_before);
        self.state.lock().unwrap_or_else(PoisonError::into_inner).report(overflowed)
    }

    /// Waits until `packets` datagrams have come (true) or `timeout` has passed (false).
    pub fn wait_packets(&self, packets: u64, timeout: Duration) -> bool {
        wait_until(timeout, || Ok(self.packets() >= packets)).unwrap_or(false)
    }

    /// Stops and reports.
    pub fn stop(mut self) -> UdpSinkReport {
        self.end();
        self.report()
    }

    /// The namespace's count of datagrams that found their socket full, of both families.
    fn receive_buffer_errors(&self) -> u64 {
        let (v4, v6) = self.namespace.run(|| {
            let read = |path| std::fs::read_to_string(path).unwrap_or_default();
            (read("/proc/thread-self/net/snmp"), read("/proc/thread-self/net/snmp6"))
        });
        let mut udp = v4.lines().filter(|line| line.starts_with("Udp: "));
        let column = udp
            .next()
            .and_then(|names| names.split_whitespace().position(|name| name == "RcvbufErrors"));
        let v4_count = column.and_then(|it| udp.next()?.split_whitespace().nth(it)?.parse().ok());
        let v6_count =
            v6.lines().find_map(|line| line.strip_prefix("Udp6RcvbufErrors")?.trim().parse().ok());
        v4_count.unwrap_or(0u64) + v6_count.unwrap_or(0)
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for UdpSink {
    fn drop(&mut self) {
        self.end();
    }
}

fn receive(sockets: &[UdpSocket], state: &Mutex<State>, stop: &AtomicBool) {
    let mut buffers = vec![0; BATCH * BUFFER_BYTES];
    loop {
        let mut entries: Vec<_> =
            sockets.iter().map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)).collect();
        let ready = poll(&mut entries, PollTimeout::from(POLL_MILLISECONDS)).unwrap_or(0);
        // What has arrived is counted first; then a request to stop is heard.
        if ready == 0 && stop.load(Ordering::Relaxed) {
            return;
        }
        for (socket, entry) in sockets.iter().zip(&entries) {
            if entry.any().unwrap_or(false) {
                receive_batch(socket, &mut buffers, state);
            }
        }
    }
}

/// Takes up to [`BATCH`] datagrams off one socket.
fn receive_batch(socket: &UdpSocket, buffers: &mut [u8], state: &Mutex<State>) {
    let mut slices: Vec<_> =
        buffers.chunks_exact_mut(BUFFER_BYTES).map(|it| [IoSliceMut::new(it)]).collect();
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
    let lengths: Vec<usize> =
        match recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, flags, None) {
            Ok(messages) => messages.map(|message| message.bytes).collect(),
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            // A pending ICMP error was taken off; datagrams come with the next call.
            Err(_) => return,
        };
    let now = now_nanoseconds();
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    for (head, length) in buffers.chunks_exact(BUFFER_BYTES).zip(lengths) {
        state.record(head, length, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_after(arrivals: &[(u16, u64, u64)]) -> State {
        let mut state = State::default();
        for (flow, sequence, sent) in arrivals {
            let mut head = [0; UDP_PAYLOAD_BYTES_MIN];
            head[..2].copy_from_slice(&flow.to_be_bytes());
            head[2..10].copy_from_slice(&sequence.to_be_bytes());
            head[10..].copy_from_slice(&sent.to_be_bytes());
            state.record(&head, head.len(), sent + 5);
        }
        state
    }

    #[test]
    fn loss_doubles_and_order_are_told_apart() {
        let report =
            state_after(&[(0, 0, 0), (1, 1, 10), (0, 4, 40), (0, 2, 20), (0, 2, 20), (1, 7, 70)])
                .report(0);
        assert_eq!((report.packets, report.duplicates), (5, 1));
        assert_eq!((report.missing, report.missing_run_longest), (3, 2), "3, 5 and 6 are missing");
        assert_eq!(report.reordered, 1, "2 came after 4 in flow 0");
        assert_eq!(report.flows.iter().map(|flow| flow.packets).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(report.outage_longest, Duration::from_nanos(30));
        assert_eq!(report.delay_mean, Duration::from_nanos(5));
    }

    #[test]
    fn what_is_not_a_loads_is_foreign() {
        let mut state = State::default();
        state.record(&[0; 18], 17, 0);
        state.record(&[0xff; 18], 18, 0);
        assert_eq!((state.report.foreign, state.report.packets), (2, 0));
    }

    #[test]
    fn an_empty_sink_reports_nothing() {
        assert_eq!(State::default().report(0), UdpSinkReport::default());
    }
}
