//! A flood: UDP, TCP connection requests, pings or ARP, as fast as the kernel can make them, each with fresh addresses, enough to
//! overload whoever forwards them.
//!
//! The frames are made inside the kernel by `BPF_PROG_TEST_RUN` with live frames, whose XDP program
//! redirects them into the interface as if the host had sent them. The kernel recycles the pages as
//! they are, with what the receiver wrote into them, so the program writes the headers anew for each
//! frame. It cannot pace.
//!
//! On a veth the receiving end's NAPI runs on the flood's core, between its batches. It needs an XDP
//! program on the receiving end or `rx-gro`, else veth drops the frames (`veth_xdp_xmit`).

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use linecard_io::bpf::assembler::{Alu, Assembler, If, Register, Register::*, Width};
use linecard_io::bpf::uapi::{MAP_LOOKUP, REDIRECT, XDP_DATA, XDP_DATA_END, XDP_DROP};
use linecard_io::bpf::{PerCpuCounters, Program};
use linecard_wire::MacAddress;
use linecard_wire::builder::{Arp, Icmpv4, Ipv4, PacketBuilder, Tcp, Udp};
use linecard_wire::tcp::Flags;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::per_second;
use crate::error::{LabError, Result};
use crate::link::MacAddress as Octets;
use crate::namespace::Namespace;

/// Frames made in one system call, 0.3 to 1 s of them; so long does a request to stop wait.
const FRAMES_A_CALL: u32 = 1 << 20;
/// Threads on the core: a call takes some 25 ms to set up and to take down, in which it sleeps, and
/// another one makes frames meanwhile.
const THREADS: usize = 2;
/// The largest frame that the kernel makes on a 4 KiB page, with room to spare.
const FRAME_BYTES_MAX: usize = 3_000;
/// Ethernet, IPv4, and UDP or the like.
const HEADERS_BYTES: usize = 14 + 20 + 8;
/// Ethernet, IPv4, and TCP.
const TCP_HEADERS_BYTES: usize = 14 + 20 + 20;

/// The discard service (RFC 863), to which the frames go.
const DISCARD: u16 = 9;

// Places in the frame.
const CHECKSUM: i16 = 24;
const SOURCE: i16 = 26;
const DESTINATION: i16 = 30;
const SOURCE_PORT: i16 = 34;
const TCP_CHECKSUM: i16 = 50;
/// Of ARP, which has no more that changes.
const ARP_SENDER: i16 = 28;

/// What the frames of a flood are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FloodKind {
    /// UDP to the discard service, from any port.
    #[default]
    Udp,
    /// TCP that asks for a connection to this port, from any port.
    Syn(u16),
    /// Echo requests.
    Ping,
    /// ARP requests for the first destination, from all sources.
    Arp,
}

impl FloodKind {
    fn headers_bytes(self) -> usize {
        match self {
            Self::Udp | Self::Ping | Self::Arp => HEADERS_BYTES,
            Self::Syn(_) => TCP_HEADERS_BYTES,
        }
    }
}

/// What a flood is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloodLoad {
    /// The next station's Ethernet address.
    pub destination_mac: Octets,
    /// The source Ethernet address.
    pub source_mac: Octets,
    /// Each frame has another source within this prefix, and another UDP source port …
    pub sources: Ipv4Net,
    /// … and another destination within this one, evenly spread.
    pub destinations: Ipv4Net,
    /// Bytes of a frame without the check sequence, 42–3,000.
    pub frame_bytes: usize,
    /// The core that makes the frames; left to the scheduler when not given.
    pub core: Option<usize>,
}

impl FloodLoad {
    /// Starts to flood `interface` of `namespace`, until it is stopped.
    ///
    /// # Errors
    /// When the load cannot be meant, there is no such interface, or without `CAP_BPF` and
    /// `CAP_NET_ADMIN`.
    pub fn start(&self, namespace: &Namespace, interface: &str) -> Result<Flood> {
        self.start_as(FloodKind::Udp, namespace, interface)
    }

    /// The same of other frames than UDP.
    ///
    /// # Errors
    /// Those of [`Self::start`].
    pub fn start_as(
        &self,
        kind: FloodKind,
        namespace: &Namespace,
        interface: &str,
    ) -> Result<Flood> {
        let action = || format!("flood {interface} in {namespace}");
        let least = kind.headers_bytes();
        if !(least..=FRAME_BYTES_MAX).contains(&self.frame_bytes) {
            let text = format!("such frames are of {least}–{FRAME_BYTES_MAX} bytes");
            return Err(LabError::invalid(action(), text));
        }
        let index = namespace.interface(interface)?.index;
        let failed = |error| LabError::new(action(), error);
        let made = PerCpuCounters::new("lab_flood", 1).map_err(failed)?;
        let frame = self.template(kind);
        let program = assemble(self, kind, &frame, &made, index);
        let program = Program::load_xdp("lab_flood", &program);
        let program = Arc::new(program.map_err(failed)?);
        let mut flood = Flood {
            made,
            stop: Arc::new(AtomicBool::new(false)),
            threads: Vec::with_capacity(THREADS),
            start: Instant::now(),
        };
        for _ in 0..THREADS {
            let (program, stop) = (Arc::clone(&program), Arc::clone(&flood.stop));
            let (frame, core) = (frame.clone(), self.core);
            let body = move || make(&program, &frame, core, &stop);
            flood.threads.push(namespace.spawn_thread("flood", body)?);
        }
        Ok(flood)
    }

    /// A frame with all that does not change; addresses, source port and checksums are zero.
    fn template(&self, kind: FloodKind) -> Vec<u8> {
        let payload = vec![0; self.frame_bytes - kind.headers_bytes()];
        let (zero, source) = (Ipv4Addr::UNSPECIFIED, MacAddress::new(self.source_mac));
        let link = PacketBuilder::new().ethernet(MacAddress::new(self.destination_mac), source);
        let ipv4 = Ipv4 { checksum: Some(0), ..Ipv4::new(zero, zero) };
        let packet = match kind {
            FloodKind::Udp => {
                link.ipv4(ipv4).udp(Udp { checksum: Some(0), ..Udp::new(0, DISCARD) })
            }
            FloodKind::Syn(port) => {
                let flags = Flags::SYN;
                link.ipv4(ipv4).tcp(Tcp { flags, checksum: Some(0), ..Tcp::new(0, port) })
            }
            FloodKind::Ping => link.ipv4(ipv4).icmpv4(Icmpv4::echo_request(1, 1)),
            FloodKind::Arp => link.arp(Arp::request(source, zero, self.destinations.network())),
        };
        packet.payload(&payload).build()
    }
}

/// Runs the program again and again.
fn make(program: &Program, frame: &[u8], core: Option<usize>, stop: &AtomicBool) -> io::Result<()> {
    if let Some(core) = core {
        let mut cores = CpuSet::new();
        cores.set(core)?;
        sched_setaffinity(Pid::from_raw(0), &cores)?;
    }
    while !stop.load(Ordering::Relaxed) {
        match program.run_live(frame, FRAMES_A_CALL) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

// Helper numbers: enum bpf_func_id, linux/bpf.h.
const GET_SMP_PROCESSOR_ID: i32 = 8;

/// Multipliers of the MurmurHash3 finalizer (public domain), which makes a counter look random.
const MIX: [u64; 2] = [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53];

/// Register use: R7 frame, R8 its end, R9 what is random of this frame, R1 its destination and R3
/// its source, in network order.
fn assemble(
    load: &FloodLoad,
    kind: FloodKind,
    frame: &[u8],
    made: &PerCpuCounters,
    index: u32,
) -> Vec<u64> {
    let frame = &frame[..kind.headers_bytes()];
    let mut asm = Assembler::default();
    let drop = asm.label();
    asm.load(Width::U32, R7, R1, XDP_DATA);
    asm.load(Width::U32, R8, R1, XDP_DATA_END);
    asm.alu(Alu::Move, R0, R7);
    asm.alu_immediate(Alu::Add, R0, frame.len() as i32);
    asm.jump_if(R0, If::Greater, R8, drop);
    asm.store_immediate(R10, -4, 0);
    asm.alu(Alu::Move, R2, R10);
    asm.alu_immediate(Alu::Add, R2, -4);
    asm.load_map(R1, made.map());
    asm.call(MAP_LOOKUP);
    asm.jump_if_immediate(R0, If::Equal, 0, drop);
    asm.load(Width::U64, R9, R0, 0);
    asm.alu_immediate(Alu::Add, R9, 1);
    asm.store(Width::U64, R0, 0, R9);
    // Each core counts for itself, and must not make the same frames.
    asm.call(GET_SMP_PROCESSOR_ID);
    asm.alu_immediate(Alu::ShiftLeft, R0, 48);
    asm.alu(Alu::Xor, R9, R0);
    mix(&mut asm);
    asm.alu(Alu::Move, R1, R9);
    within(&mut asm, load.destinations);
    asm.alu(Alu::Move, R3, R1);
    asm.alu(Alu::Move, R1, R9);
    asm.alu_immediate(Alu::ShiftRight, R1, 32);
    within(&mut asm, load.sources);
    write_headers(&mut asm, kind, frame);
    asm.load_immediate(R1, u64::from(index));
    asm.alu_immediate(Alu::Move, R2, 0);
    asm.call(REDIRECT);
    asm.exit();
    asm.place(drop);
    asm.alu_immediate(Alu::Move, R0, XDP_DROP);
    asm.exit();
    asm.finish()
}

/// Spreads R9 over all its bits. Changes R1.
fn mix(asm: &mut Assembler) {
    for multiplier in MIX {
        asm.load_immediate(R1, multiplier);
        asm.alu(Alu::Multiply, R9, R1);
        asm.alu(Alu::Move, R1, R9);
        asm.alu_immediate(Alu::ShiftRight, R1, 33);
        asm.alu(Alu::Xor, R9, R1);
    }
}

/// Makes of the random R1 an address within `prefix`, in network order. Changes R2.
fn within(asm: &mut Assembler, prefix: Ipv4Net) {
    let memory = |address: Ipv4Addr| u64::from(u32::from_ne_bytes(address.octets()));
    asm.load_immediate(R2, memory(prefix.hostmask()));
    asm.alu(Alu::And, R1, R2);
    asm.load_immediate(R2, memory(prefix.network()));
    asm.alu(Alu::Or, R1, R2);
}

/// Writes all headers at R7: source R1, destination R3, port and more from R9. Changes R2, R4 and R5.
fn write_headers(asm: &mut Assembler, kind: FloodKind, frame: &[u8]) {
    let (long, short) = frame.split_at(CHECKSUM as usize);
    for (place, chunk) in (0..).step_by(8).zip(long.chunks_exact(8)) {
        asm.load_immediate(R2, u64::from_ne_bytes(chunk.try_into().expect("eight bytes")));
        asm.store(Width::U64, R7, place, R2);
    }
    for (place, chunk) in (CHECKSUM..).step_by(2).zip(short.chunks_exact(2)) {
        asm.alu_immediate(Alu::Move, R2, i32::from(u16::from_ne_bytes([chunk[0], chunk[1]])));
        asm.store(Width::U16, R7, place, R2);
    }
    if kind == FloodKind::Arp {
        // Not aligned to four bytes on the wire, which matters to nobody here.
        asm.store(Width::U32, R7, ARP_SENDER, R1);
        return;
    }
    asm.store(Width::U32, R7, SOURCE, R1);
    asm.store(Width::U32, R7, DESTINATION, R3);
    sum(asm, sum_of_words(&frame[14..34]), &[R1, R3]);
    asm.store(Width::U16, R7, CHECKSUM, R4);
    if kind == FloodKind::Ping {
        return;
    }
    asm.alu(Alu::Move, R2, R9);
    asm.alu_immediate(Alu::ShiftRight, R2, 24);
    asm.alu_immediate(Alu::And, R2, 0xffff);
    asm.store(Width::U16, R7, SOURCE_PORT, R2);
    if let FloodKind::Syn(_) = kind {
        // RFC 9293 3.1: the addresses, the protocol, the length of header and payload; the latter is zeros.
        let length = u16::from_be_bytes([frame[16], frame[17]]) - 20;
        let pseudo = [6, length].iter().map(|word: &u16| u32::from(word.to_be())).sum::<u32>();
        sum(asm, pseudo + sum_of_words(&frame[34..]), &[R1, R3, R2]);
        asm.store(Width::U16, R7, TCP_CHECKSUM, R4);
    }
}

/// The sum of the 16-bit words, in memory order.
fn sum_of_words(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|it| u32::from(u16::from_ne_bytes([it[0], it[1]]))).sum()
}

/// `R4 =` the checksum (RFC 1071) of `constant` and registers, in memory order. Changes R5.
fn sum(asm: &mut Assembler, constant: u32, registers: &[Register]) {
    asm.load_immediate(R4, u64::from(constant));
    for &register in registers {
        asm.alu(Alu::Add, R4, register);
    }
    // 32-bit halves were added as such; 2^16 is 1 modulo 2^16 - 1, so folding is all it takes.
    for _ in 0..3 {
        asm.alu(Alu::Move, R5, R4);
        asm.alu_immediate(Alu::ShiftRight, R5, 16);
        asm.alu_immediate(Alu::And, R4, 0xffff);
        asm.alu(Alu::Add, R4, R5);
    }
    asm.alu_immediate(Alu::Xor, R4, 0xffff);
}

/// A running flood; dropping it stops it, which takes up to a second.
#[derive(Debug)]
pub struct Flood {
    made: PerCpuCounters,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    start: Instant,
}

/// What a flood made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FloodReport {
    /// Frames that were made; the receiver's queue may not have had room for all.
    pub frames: u64,
    /// From start to end.
    pub elapsed: Duration,
}

impl FloodReport {
    /// The mean rate.
    pub fn frames_per_second(&self) -> f64 {
        per_second(self.frames, self.elapsed)
    }
}

impl Flood {
    /// Frames made so far.
    ///
    /// # Errors
    /// The kernel's.
    pub fn frames(&self) -> Result<u64> {
        let totals = self.made.totals();
        Ok(totals.map_err(|error| LabError::new("count the frames of a flood", error))?[0])
    }

    /// Asks it to stop, waits until it has, and says what it made.
    ///
    /// # Errors
    /// What ended it early.
    pub fn stop(mut self) -> Result<FloodReport> {
        for outcome in self.end() {
            outcome.map_err(|error| LabError::new("flood an interface", error))?;
        }
        Ok(FloodReport { frames: self.frames()?, elapsed: self.start.elapsed() })
    }

    fn end(&mut self) -> Vec<io::Result<()>> {
        self.stop.store(true, Ordering::Relaxed);
        let join = |thread: JoinHandle<_>| match thread.join() {
            Ok(outcome) => outcome,
            Err(payload) if !thread::panicking() => std::panic::resume_unwind(payload),
            Err(_) => Ok(()),
        };
        self.threads.drain(..).map(join).collect()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.end();
    }
}
