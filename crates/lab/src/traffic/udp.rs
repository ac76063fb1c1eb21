//! A UDP load: many flows, paced or flat out, each datagram numbered and stamped for a [`UdpSink`].
//!
//! A datagram's payload begins with its flow (2 bytes), its sequence number over all flows (8) and the
//! time it was sent (8, nanoseconds), big-endian: 18 bytes, so that IPv4 frames of 60 bytes are possible.
//!
//! [`UdpSink`]: crate::UdpSink

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};

use super::{now_nanoseconds, per_second};
use crate::error::{LabError, Result};
use crate::namespace::Namespace;

/// The smallest payload: the header of the load.
pub const UDP_PAYLOAD_BYTES_MIN: usize = 18;
/// The most datagrams of one load; it bounds the memory of the sink (one bit a datagram).
pub const UDP_PACKETS_MAX: u64 = 1 << 30;
/// Datagrams in one system call when the load runs flat out.
const BURST: usize = 32;
/// The longest nap while pacing, so that a request to stop is soon heard.
const NAP_MAX: Duration = Duration::from_millis(20);

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpLoad {
    /// Where to; flow `i` goes to destination `i` modulo their number.
    pub destinations: Vec<SocketAddr>,
    /// Source address; chosen by the route when not given.
    pub source: Option<IpAddr>,
    /// Source port of flow 0, the next ones for the others; chosen by the kernel when not given.
    pub source_port: Option<u16>,
    /// How many flows (5-tuples), 1–65,535; each takes a socket.
    pub flows: u16,
    /// Bytes behind the UDP header, 18–65,507.
    pub payload_bytes: usize,
    /// Datagrams a second over all flows; flat out when not given.
    pub packets_per_second: Option<u64>,
    /// The load ends after so many datagrams …
    pub packets_max: u64,
    /// … or after so long, whichever comes first.
    pub duration_max: Duration,
}

impl UdpLoad {
    /// One flow of 64-byte payloads at 1,000 datagrams a second, for up to ten seconds.
    pub fn to(destination: SocketAddr) -> Self {
        Self {
            destinations: vec![destination],
            source: None,
            source_port: None,
            flows: 1,
            payload_bytes: 64,
            packets_per_second: Some(1_000),
            packets_max: UDP_PACKETS_MAX,
            duration_max: Duration::from_secs(10),
        }
    }

    /// Starts to send from `namespace` in a thread of its own.
    ///
    /// # Errors
    /// When the load cannot be meant (no flow, no destination, a payload below 18 bytes), a
    /// destination is out of reach, or sockets run out.
    pub fn start(&self, namespace: &Namespace) -> Result<UdpGenerator> {
        let action = || format!("start a UDP load in {namespace}");
        self.check().map_err(|detail| LabError::invalid(action(), detail))?;
        let sockets =
            namespace.run(|| self.open()).map_err(|error| LabError::new(action(), error))?;
        let shared = Arc::new(Shared::default());
        let (load, thread_shared) = (self.clone(), Arc::clone(&shared));
        let thread = thread::Builder::new()
            .name("udp-generator".to_owned())
            .spawn(move || load.send(&sockets, &thread_shared))
            .map_err(|error| LabError::new(action(), error))?;
        Ok(UdpGenerator { shared, thread: Some(thread) })
    }

    fn check(&self) -> std::result::Result<(), &'static str> {
        if self.destinations.is_empty() || self.flows == 0 {
            return Err("it needs a flow and a destination");
        }
        if !(UDP_PAYLOAD_BYTES_MIN..=65_507).contains(&self.payload_bytes) {
            return Err("payloads are 18–65,507 bytes");
        }
        if self.packets_per_second == Some(0) || self.packets_max > UDP_PACKETS_MAX {
            return Err("the rate is at least 1, the number of datagrams at most 2^30");
        }
        Ok(())
    }

    fn open(&self) -> io::Result<Vec<UdpSocket>> {
        allow_open_files(u64::from(self.flows))?;
        (0..self.flows)
            .map(|flow| {
                let destination = self.destinations[usize::from(flow) % self.destinations.len()];
                let any: IpAddr = match destination {
                    SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
                };
                let port = self.source_port.map_or(0, |first| first.wrapping_add(flow));
                let socket = UdpSocket::bind((self.source.unwrap_or(any), port))?;
                socket.connect(destination)?;
                Ok(socket)
            })
            .collect()
    }

    fn send(&self, sockets: &[UdpSocket], shared: &Shared) -> UdpSendReport {
        let start = Instant::now();
        let mut burst = Burst::new(self);
        let mut report = UdpSendReport::default();
        let mut flow = 0;
        while report.packets < self.packets_max && !shared.stop.load(Ordering::Relaxed) {
            let elapsed = start.elapsed();
            if elapsed >= self.duration_max {
                break;
            }
            let size = match self.packets_per_second {
                Some(rate) => {
                    let attempts = report.packets + report.failures;
                    let due = nanoseconds_until(attempts, rate);
                    if due > elapsed {
                        thread::sleep((due - elapsed).min(NAP_MAX));
                        continue;
                    }
                    1
                }
                None => BURST.min((self.packets_max - report.packets) as usize),
            };
            match burst.send(&sockets[flow], flow as u16, report.packets, size) {
                Ok(sent) => report.packets += sent as u64,
                Err(error) => {
                    report.failures += 1;
                    report.last_errno = error.raw_os_error();
                }
            }
            shared.sent.store(report.packets, Ordering::Relaxed);
            flow = (flow + 1) % sockets.len();
        }
        report.elapsed = start.elapsed();
        report
    }
}

/// Raises the soft limit of open files, as far as the hard one goes, where `more` would not fit.
fn allow_open_files(more: u64) -> io::Result<()> {
    /// What the rest of the process may have open.
    const OTHERS: u64 = 512;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = more + OTHERS;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)?;
    }
    Ok(())
}

/// When the `attempts`-th datagram (from 0) is due, from the start.
fn nanoseconds_until(attempts: u64, rate: u64) -> Duration {
    let nanoseconds = u128::from(attempts) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(nanoseconds.try_into().unwrap_or(u64::MAX))
}

/// Buffers for datagrams that leave together.
struct Burst {
    payloads: Vec<Vec<u8>>,
    headers: MultiHeaders<SockaddrStorage>,
    addresses: [Option<SockaddrStorage>; BURST],
}

impl Burst {
    fn new(load: &UdpLoad) -> Self {
        Self {
            payloads: vec![vec![0; load.payload_bytes]; BURST],
            headers: MultiHeaders::preallocate(BURST, None),
            addresses: [None; BURST],
        }
    }

    fn send(
        &mut self,
        socket: &UdpSocket,
        flow: u16,
        sequence: u64,
        size: usize,
    ) -> io::Result<usize> {
        let now = now_nanoseconds();
        for (payload, sequence) in self.payloads[..size].iter_mut().zip(sequence..) {
            payload[..2].copy_from_slice(&flow.to_be_bytes());
            payload[2..10].copy_from_slice(&sequence.to_be_bytes());
            payload[10..18].copy_from_slice(&now.to_be_bytes());
        }
        if size == 1 {
            return socket.send(&self.payloads[0]).map(|_| 1);
        }
        let slices: Vec<_> = self.payloads[..size].iter().map(|it| [IoSlice::new(it)]).collect();
        let sent = sendmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            &slices,
            &self.addresses[..size],
            [],
            MsgFlags::empty(),
        )?;
        Ok(sent.count())
    }
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
}

/// What a load sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UdpSendReport {
    /// Datagrams that the kernel took.
    pub packets: u64,
    /// Datagrams that it refused; their numbers were given to later ones.
    pub failures: u64,
    /// Why, the last time.
    pub last_errno: Option<i32>,
    /// From start to end.
    pub elapsed: Duration,
}

impl UdpSendReport {
    /// The mean rate.
    pub fn packets_per_second(&self) -> f64 {
        per_second(self.packets, self.elapsed)
    }
}

/// A running load; dropping it stops it.
#[derive(Debug)]
pub struct UdpGenerator {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<UdpSendReport>>,
}

impl UdpGenerator {
    /// Datagrams sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Whether the load has come to its end.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(self) -> UdpSendReport {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    /// Waits until the load has come to its end by itself.
    ///
    /// # Panics
    /// When its thread panicked.
    pub fn join(mut self) -> UdpSendReport {
        let thread = self.thread.take().expect("only join and drop take the thread");
        thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
    }
}

impl Drop for UdpGenerator {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
