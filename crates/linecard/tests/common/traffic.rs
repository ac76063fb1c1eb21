//! Loads of the system tests, and captures of what became of them.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use linecard_lab::{
    CapturedFrame, PingOptions, ProbeOutcome, RouterTopology, UdpLoad, UdpSendReport, UdpSink,
    UdpSinkReport, ping,
};

use super::{DEADLINE, Daemon};

/// Where the loads go.
pub const PORT: u16 = 5001;
/// Slow enough for a busy machine: the rings hold the packets of a third of a second.
pub const PACKETS_PER_SECOND: u64 = 5_000;

/// A load from the client to the service address, with fixed source ports.
pub fn load(topology: &RouterTopology, ipv6: bool, flows: u16, packets: u64) -> UdpLoad {
    UdpLoad {
        source: Some(topology.client_address(ipv6)),
        source_port: Some(20_000),
        flows,
        packets_per_second: Some(PACKETS_PER_SECOND),
        packets_max: packets,
        duration_max: 2 * DEADLINE,
        ..UdpLoad::to(SocketAddr::new(topology.server_address(ipv6), PORT))
    }
}

/// A sink for [`load`].
pub fn sink(topology: &RouterTopology, ipv6: bool) -> UdpSink {
    let address = SocketAddr::new(topology.server_address(ipv6), PORT);
    UdpSink::start(&topology.server, &[address]).expect("a sink")
}

/// Sends a whole load and returns what was sent and what came.
pub fn send(topology: &RouterTopology, load: &UdpLoad) -> (UdpSendReport, UdpSinkReport) {
    send_and_wait(topology, load, DEADLINE)
}

/// Sends a few packets in as many flows to see which way they go; some may be lost.
pub fn send_probes(topology: &RouterTopology, ipv6: bool, flows: u16) {
    let load = load(topology, ipv6, flows, flows.into());
    send_and_wait(topology, &load, Duration::from_millis(500));
}

fn send_and_wait(
    topology: &RouterTopology,
    load: &UdpLoad,
    timeout: Duration,
) -> (UdpSendReport, UdpSinkReport) {
    let sink = sink(topology, load.destinations[0].is_ipv6());
    let sent = load.start(&topology.client).expect("a load").join();
    sink.wait_packets(sent.packets, timeout);
    (sent, sink.stop())
}

/// Sends `packets` in `flows` flows, all of which must come, each once.
pub fn send_all(topology: &RouterTopology, ipv6: bool, flows: u16, packets: u64) -> UdpSinkReport {
    let (sent, came) = send(topology, &load(topology, ipv6, flows, packets));
    assert_eq!((sent.packets, sent.failures), (packets, 0), "{sent:?}");
    assert_eq!((came.packets, came.duplicates, came.foreign), (packets, 0, 0), "{came:?}");
    came
}

/// One echo request and what became of it.
pub fn probe(topology: &RouterTopology, destination: IpAddr, timeout: Duration) -> ProbeOutcome {
    let options = PingOptions { count: 1, timeout, ..PingOptions::default() };
    let report = ping(&topology.client, destination, &options).expect("an ICMP socket");
    report.probes[0]
}

/// Waits until packets to the service go through the router: until a probe is answered.
pub fn wait_reachable(topology: &RouterTopology, daemon: &Daemon, ipv6: bool) {
    let address = topology.server_address(ipv6);
    daemon.wait_for(&format!("{address} answer"), |_| {
        probe(topology, address, Duration::from_millis(500)).is_reply()
    });
}

/// A capture as Linecard writes it and `tshark` reads it: nanoseconds, Ethernet; one second apart.
pub fn pcap<'a>(frames: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    for (frame, seconds) in frames.into_iter().zip(1_u32..) {
        let length = u32::try_from(frame.len()).expect("a frame is short");
        for field in [seconds, 0, length, length] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(frame);
    }
    bytes
}

/// Writes captured frames to a file.
pub fn write_pcap(path: &Path, frames: &[CapturedFrame]) {
    let bytes = pcap(frames.iter().map(|frame| frame.bytes.as_slice()));
    std::fs::write(path, bytes).expect("written");
}
