//! The least that a forwarder on AF_XDP does: receive, change the MAC addresses, send. Its queues and its
//! XDP program are Linecard's, so what Linecard is slower by is the pipeline's. It sends by its socket, or
//! by live frames (`linecard_io::xdp::live_transmitter`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::Context;
use linecard_io::xdp::{LiveTransmitter, QueueOptions, SharedUmem, XdpQueue, ZeroCopy};
use linecard_io::{
    AttachMode, DeadManSwitch, Interface, LocalAddresses, MemoryConfig, PacketMemory, PortQueue,
    XdpPort,
};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::bed::{ANCHOR, Bed};

const RING_ENTRIES: u32 = 2048;
const FRAMES: u32 = 16_384;
const CHUNK_BYTES: u32 = 2048;

/// How it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transmit {
    Socket,
    LiveFrames,
}

/// A thread that forwards between two ports; dropping it stops it.
pub(crate) struct Forwarder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Forwarder {
    pub(crate) fn start(
        bed: &Bed,
        batch: usize,
        mode: AttachMode,
        transmit: Transmit,
    ) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::channel();
        let interfaces = bed.interfaces();
        let path = &bed.topology.path_a;
        let addresses = [path.far.mac, path.near.mac].concat();
        let (core, stopped) = (bed.cores.worker, Arc::clone(&stop));
        let body = move || {
            let ports = open(interfaces, core, mode, transmit);
            let (mut ports, opened) = match ports {
                Ok(ports) => (Some(ports), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // Nobody waits any more only when the bench has ended.
            let _ = ready.send(opened);
            if let Some(ports) = &mut ports {
                ports.forward(batch, &addresses, &stopped);
            }
        };
        let thread = Some(bed.topology.router.spawn_thread("bare-forwarder", body)?);
        let forwarder = Self { stop, thread };
        is_ready.recv().context("the bare forwarder has ended")??;
        Ok(forwarder)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the bare forwarder panicked");
        }
    }
}

struct Ports {
    memory: PacketMemory,
    queues: [XdpQueue; 2],
    live: Option<Arc<LiveTransmitter>>,
    _ports: [XdpPort; 2],
    _armed: linecard_io::xdp::Armed,
}

/// Opens both ports in the calling thread's namespace; the first receives, the second sends.
fn open(
    interfaces: [&str; 2],
    core: usize,
    mode: AttachMode,
    transmit: Transmit,
) -> anyhow::Result<Ports> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores)?;
    let mut memory = PacketMemory::new(MemoryConfig { frames: FRAMES, chunk_bytes: CHUNK_BYTES })?;
    let (local, switch) = (LocalAddresses::new()?, DeadManSwitch::new(1)?);
    let mut umem = SharedUmem::default();
    let mut open = |name| {
        let interface = Interface::by_name(name)?;
        let bytes = memory.packet_bytes_max();
        let mut port =
            XdpPort::new(interface.index, interface.mac_address, 1, bytes, &local, &switch)?;
        let options = QueueOptions {
            interface_index: interface.index,
            queue: 0,
            transmit_queues: 1,
            ring_entries: RING_ENTRIES,
            zero_copy: ZeroCopy::Off,
        };
        let queue = XdpQueue::open(&mut memory, &mut umem, options)?;
        port.register(0, &queue)?;
        port.attach(mode)?;
        anyhow::Ok((port, queue))
    };
    let (first, second) = (open(interfaces[0])?, open(interfaces[1])?);
    let index = |name| Interface::by_name(name).map(|it| it.index);
    let live = match transmit {
        Transmit::Socket => None,
        Transmit::LiveFrames => {
            let live = LiveTransmitter::new(index(ANCHOR)?)?;
            live.set_port(0, index(interfaces[1])?)?;
            Some(live)
        }
    };
    let _armed = switch.arm(0)?;
    Ok(Ports { memory, queues: [first.1, second.1], live, _ports: [first.0, second.0], _armed })
}

impl Ports {
    /// Carries batches from the first port to the second, with `addresses` in front.
    fn forward(&mut self, batch: usize, addresses: &[u8], stop: &AtomicBool) {
        let mut frames = Vec::with_capacity(batch);
        let [from, to] = &mut self.queues;
        while !stop.load(Ordering::Relaxed) {
            from.receive(&mut self.memory, &mut frames, batch);
            for frame in &mut frames {
                let packet = self.memory.packet_mut(frame);
                packet[..addresses.len()].copy_from_slice(addresses);
            }
            if let Some(live) = &self.live {
                let pushed = frames.iter().filter(|it| live.push(&self.memory, it, 0)).count();
                debug_assert_eq!(pushed, frames.len(), "a batch fits");
                live.flush();
            } else if !frames.is_empty() {
                to.transmit(&mut self.memory, &mut frames);
            }
            to.flush(&mut self.memory);
            for frame in frames.drain(..) {
                self.memory.free(frame);
            }
        }
    }
}
