//! A TCP transfer between two namespaces: how fast, how evenly, and whether every byte is right.
//!
//! The stream repeats a pattern with a period that no segment size divides, so a byte that is lost,
//! doubled or spoilt shows at once.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{per_second, readable_before};
use crate::error::{LabError, Result};
use crate::namespace::Namespace;

/// A prime, so that the pattern drifts against every segment and buffer size.
const PATTERN_PERIOD: usize = 65_521;
const BUFFER_BYTES: usize = 128 * 1024;
/// How long one read or write may take before the request to stop is looked at.
const IO_TIMEOUT: Duration = Duration::from_millis(100);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TcpDirection {
    /// The client sends to the server.
    #[default]
    Upload,
    /// The server sends to the client.
    Download,
}

/// What to transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpTransfer {
    /// The server's address; port 0 lets the kernel choose.
    pub server: SocketAddr,
    /// Who sends.
    pub direction: TcpDirection,
    /// The sender closes after so many bytes …
    pub bytes_max: u64,
    /// … or after so long, whichever comes first.
    pub duration_max: Duration,
    /// The receiver gives up after so long without a byte.
    pub stall_max: Duration,
}

impl TcpTransfer {
    /// An upload to `server` of up to a terabyte in ten seconds.
    pub fn to(server: SocketAddr) -> Self {
        Self {
            server,
            direction: TcpDirection::Upload,
            bytes_max: 1 << 40,
            duration_max: Duration::from_secs(10),
            stall_max: Duration::from_secs(10),
        }
    }

    /// Connects and starts to transfer, with a thread at each end.
    ///
    /// # Errors
    /// When the address is taken, or the server cannot be reached within ten seconds.
    pub fn start(
        &self,
        client_namespace: &Namespace,
        server_namespace: &Namespace,
    ) -> Result<TcpRun> {
        let action =
            || format!("transfer from {client_namespace} to {} in {server_namespace}", self.server);
        let failed = |error| LabError::new(action(), error);
        let (client, server) = self.connect(client_namespace, server_namespace).map_err(failed)?;
        let (sender, receiver) = match self.direction {
            TcpDirection::Upload => (client, server),
            TcpDirection::Download => (server, client),
        };
        let shared = Arc::new(Shared::default());
        let (plan, sending) = (self.clone(), Arc::clone(&shared));
        let sender = thread::Builder::new()
            .name("tcp-sender".to_owned())
            .spawn(move || plan.send(sender, &sending))
            .map_err(failed)?;
        let (plan, receiving) = (self.clone(), Arc::clone(&shared));
        let receiver = thread::Builder::new()
            .name("tcp-receiver".to_owned())
            .spawn(move || plan.receive(receiver, &receiving))
            .map_err(failed)?;
        let threads = Some((sender, receiver));
        Ok(TcpRun { shared, threads, action: action() })
    }

    fn connect(&self, from: &Namespace, to: &Namespace) -> io::Result<(TcpStream, TcpStream)> {
        let listener = to.run(|| TcpListener::bind(self.server))?;
        let address = listener.local_addr()?;
        let client = from.run(|| TcpStream::connect_timeout(&address, CONNECT_TIMEOUT))?;
        if !readable_before(&listener, Instant::now() + CONNECT_TIMEOUT)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let (server, _) = listener.accept()?;
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(IO_TIMEOUT))?;
            stream.set_write_timeout(Some(IO_TIMEOUT))?;
        }
        Ok((client, server))
    }

    fn send(&self, mut stream: TcpStream, shared: &Shared) -> io::Result<u64> {
        let pattern = pattern();
        let start = Instant::now();
        let mut sent = 0u64;
        while sent < self.bytes_max
            && start.elapsed() < self.duration_max
            && !shared.stop.load(Ordering::Relaxed)
        {
            let from = (sent % PATTERN_PERIOD as u64) as usize;
            let left = usize::try_from(self.bytes_max - sent).unwrap_or(usize::MAX);
            match stream.write(&pattern[from..from + BUFFER_BYTES.min(left)]) {
                Ok(length) => sent += length as u64,
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(error),
            }
        }
        stream.shutdown(Shutdown::Write)?;
        Ok(sent)
    }

    fn receive(&self, mut stream: TcpStream, shared: &Shared) -> io::Result<TcpReport> {
        let pattern = pattern();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut report = TcpReport::default();
        let start = Instant::now();
        let mut last = start;
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    let now = Instant::now();
                    report.stall_longest = report.stall_longest.max(now - last);
                    last = now;
                    let from = (report.bytes % PATTERN_PERIOD as u64) as usize;
                    if buffer[..length] != pattern[from..from + length] {
                        report.chunks_spoilt += 1;
                    }
                    report.bytes += length as u64;
                    shared.received.store(report.bytes, Ordering::Relaxed);
                }
                Err(error) if is_pause(&error) => {
                    if last.elapsed() >= self.stall_max || shared.abandon.load(Ordering::Relaxed) {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        report.elapsed = start.elapsed();
        Ok(report)
    }
}

fn is_pause(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// The pattern, long enough that a buffer can be cut out of it at any offset below its period.
fn pattern() -> Vec<u8> {
    // A linear congruential generator (Knuth's MMIX): no part of the period looks like another.
    let mut state = 1u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let period: Vec<u8> = (0..PATTERN_PERIOD).map(|_| next()).collect();
    period.iter().copied().cycle().take(PATTERN_PERIOD + BUFFER_BYTES).collect()
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Nobody waits any more.
    abandon: AtomicBool,
    received: AtomicU64,
}

/// What arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpReport {
    /// Bytes that arrived: all that were sent, for the stream was closed in good order.
    pub bytes: u64,
    /// Reads whose bytes were not those sent; above 0 a checksum let something through.
    pub chunks_spoilt: u64,
    /// The longest time without a byte.
    pub stall_longest: Duration,
    /// From the start to the end of the stream.
    pub elapsed: Duration,
}

impl TcpReport {
    /// The mean goodput.
    pub fn bits_per_second(&self) -> f64 {
        per_second(self.bytes.saturating_mul(8), self.elapsed)
    }
}

type Threads = (JoinHandle<io::Result<u64>>, JoinHandle<io::Result<TcpReport>>);

/// A running transfer; dropping it breaks it off.
#[derive(Debug)]
pub struct TcpRun {
    shared: Arc<Shared>,
    threads: Option<Threads>,
    action: String,
}

impl TcpRun {
    /// Bytes that arrived so far.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Asks the sender to close, and waits until all that it sent has arrived.
    ///
    /// # Errors
    /// When the connection broke, or stalled for longer than allowed.
    pub fn stop(self) -> Result<TcpReport> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    /// Waits until the transfer has come to its end by itself.
    ///
    /// # Errors
    /// When the connection broke, or stalled for longer than allowed.
    pub fn join(mut self) -> Result<TcpReport> {
        let (sender, receiver) = self.threads.take().expect("only join and drop take the threads");
        let report = receiver.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
        // A receiver that gave up leaves a sender behind that nobody reads from.
        self.shared.stop.store(true, Ordering::Relaxed);
        let sent = sender.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
        let failed = |error| LabError::new(self.action.clone(), error);
        let (report, sent) = (report.map_err(failed)?, sent.map_err(failed)?);
        if report.bytes != sent {
            let detail = format!("{sent} bytes were sent, {} arrived", report.bytes);
            return Err(LabError::new(self.action.clone(), io::Error::other(detail)));
        }
        Ok(report)
    }
}

impl Drop for TcpRun {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.abandon.store(true, Ordering::Relaxed);
        if let Some((sender, receiver)) = self.threads.take() {
            let _ = sender.join();
            let _ = receiver.join();
        }
    }
}
