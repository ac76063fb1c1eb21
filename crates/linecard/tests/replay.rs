//! `linecard replay` end to end: captures in, captures out, every byte compared.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Output};

use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, Ipv6, PacketBuilder, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::vlan::{Tag, Tci};
use serde_json::Value;
use tempfile::TempDir;

const CONFIGURATION: &str = r#"
[[port]]
name = "lan"
kind = "pcap"
input = "lan.pcap"
output = "lan-out.pcap"
mac_address = "02:00:5e:10:00:01"
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]
vlans = [{ id = 100, protocol = "802.1ad", inner_id = 20, addresses = ["198.51.100.1/25"] }]

[[port]]
name = "wan"
kind = "pcap"
input = "wan.pcap"
output = "wan-out.pcap"
mac_address = "02:00:5e:10:00:02"
addresses = ["203.0.113.1/24", "2001:db8:2::1/64"]

[[neighbour]]
address = "203.0.113.2"
mac_address = "02:00:5e:10:00:99"
[[neighbour]]
address = "fe80::99"
mac_address = "02:00:5e:10:00:99"
port = "wan"
[[neighbour]]
address = "198.51.100.2"
mac_address = "02:00:5e:10:00:97"

[[route]]
prefix = "0.0.0.0/0"
via = "203.0.113.2"
[[route]]
prefix = "2001:db8:f::/48"
via = "fe80::99"
port = "wan"
[[route]]
prefix = "192.168.0.0/16"
kind = "blackhole"
[[route]]
prefix = "172.16.0.0/12"
kind = "prohibit"
"#;

const HOST: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 7]);
const LAN: MacAddress = MacAddress::new([2, 0, 0x5e, 0x10, 0, 1]);
const WAN: MacAddress = MacAddress::new([2, 0, 0x5e, 0x10, 0, 2]);
const GATEWAY: MacAddress = MacAddress::new([2, 0, 0x5e, 0x10, 0, 0x99]);
const SERVER: MacAddress = MacAddress::new([2, 0, 0x5e, 0x10, 0, 0x97]);

/// A capture as Linecard writes it: nanoseconds, little-endian, Ethernet.
fn capture(packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    for (nanoseconds, packet) in packets {
        let length = packet.len() as u32;
        let seconds = (nanoseconds / 1_000_000_000) as u32;
        for field in [seconds, (nanoseconds % 1_000_000_000) as u32, length, length] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(packet);
    }
    bytes
}

fn udp4(to: MacAddress, from: MacAddress, destination: &str, ttl: u8) -> Vec<u8> {
    let source: Ipv4Addr = [192, 0, 2, 7].into();
    let destination: Ipv4Addr = destination.parse().expect("an address");
    PacketBuilder::new()
        .ethernet(to, from)
        .ipv4(Ipv4 { ttl, ..Ipv4::new(source, destination) })
        .udp(Udp::new(4000, 53))
        .payload(b"a question")
        .build()
}

fn udp6(to: MacAddress, from: MacAddress, hop_limit: u8) -> Vec<u8> {
    let source: Ipv6Addr = "2001:db8:1::7".parse().expect("an address");
    let destination: Ipv6Addr = "2001:db8:f::53".parse().expect("an address");
    PacketBuilder::new()
        .ethernet(to, from)
        .ipv6(Ipv6 { hop_limit, ..Ipv6::new(source, destination) })
        .udp(Udp::new(4000, 53))
        .payload(b"a question")
        .build()
}

/// To the server behind the two tags of the LAN port.
fn tagged(to: MacAddress, from: MacAddress, tags: bool, ttl: u8) -> Vec<u8> {
    let tag = |tpid, id| Tag { tpid, tci: Tci::new(0, false, id) };
    let mut builder = PacketBuilder::new().ethernet(to, from);
    if tags {
        builder = builder.vlan(tag(EtherType::SERVICE_VLAN, 100)).vlan(tag(EtherType::VLAN, 20));
    }
    builder
        .ipv4(Ipv4 { ttl, ..Ipv4::new([203, 0, 113, 9].into(), [198, 51, 100, 2].into()) })
        .udp(Udp::new(53, 4000))
        .payload(b"an answer")
        .build()
}

fn replay(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_linecard"))
        .current_dir(directory)
        .arg("replay")
        .args(arguments)
        .output()
        .expect("the binary was built")
}

fn write(directory: &TempDir, name: &str, bytes: &[u8]) {
    std::fs::write(directory.path().join(name), bytes).expect("written");
}

fn read(directory: &TempDir, name: &str) -> Vec<u8> {
    std::fs::read(directory.path().join(name)).expect(name)
}

#[test]
fn a_configuration_turns_captures_into_captures() {
    let directory = tempfile::tempdir().expect("a directory of our own");
    write(&directory, "replay.toml", CONFIGURATION.as_bytes());
    let mut corrupt = udp4(LAN, HOST, "8.8.8.8", 64);
    corrupt[24] ^= 0xff;
    let lan = [
        (1_000, udp4(LAN, HOST, "8.8.8.8", 64)),
        (3_000, udp6(LAN, HOST, 64)),
        (5_000, udp4(LAN, HOST, "192.168.1.1", 64)),
        (6_000, udp4(LAN, HOST, "172.16.1.1", 64)),
        (7_000, udp4(LAN, HOST, "8.8.8.8", 1)),
        (8_000, corrupt),
        (9_000, udp4(HOST, HOST, "8.8.8.8", 64)),
        (10_000, udp4(LAN, HOST, "192.0.2.1", 64)),
        (4_000_000_000, udp4(LAN, HOST, "8.8.4.4", 2)),
    ];
    write(&directory, "lan.pcap", &capture(&lan));
    write(&directory, "wan.pcap", &capture(&[(2_000, tagged(WAN, GATEWAY, false, 10))]));

    let output = replay(directory.path(), &["--config", "replay.toml", "--json"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let wan = [
        (1_000, udp4(GATEWAY, WAN, "8.8.8.8", 63)),
        (3_000, udp6(GATEWAY, WAN, 63)),
        (4_000_000_000, udp4(GATEWAY, WAN, "8.8.4.4", 1)),
    ];
    assert_eq!(read(&directory, "wan-out.pcap"), capture(&wan));
    let lan = [(2_000, tagged(SERVER, LAN, true, 9))];
    assert_eq!(read(&directory, "lan-out.pcap"), capture(&lan));

    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let total = &report["total"];
    assert_eq!((&total["received_packets"], &total["sent_packets"]), (&10.into(), &4.into()));
    let happened = |kind: &str| -> Vec<(String, u64)> {
        let lines = report["reasons"][kind].as_array().expect("a list");
        let line = |line: &Value| {
            let packets = line["packets"].as_u64().expect("a number");
            (packets > 0).then(|| (line["reason"].as_str().expect("a label").to_owned(), packets))
        };
        lines.iter().filter_map(line).collect()
    };
    let named = |reasons: &[&str]| -> Vec<(String, u64)> {
        reasons.iter().map(|reason| ((*reason).to_owned(), 1)).collect()
    };
    assert_eq!(happened("drops"), named(&["other_host", "ipv4_checksum_wrong", "blackhole"]));
    assert_eq!(happened("punts"), named(&["local", "ttl_expired", "route_rejects"]));
}

#[test]
fn a_single_capture_goes_one_way() {
    let directory = tempfile::tempdir().expect("a directory of our own");
    let input = [(1, udp4(LAN, HOST, "8.8.8.8", 64)), (2, udp6(LAN, HOST, 64))];
    write(&directory, "in.pcap", &capture(&input));
    let output = replay(directory.path(), &["in.pcap", "--out", "out.pcap"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    let router = MacAddress::new([2, 0, 0x5e, 0x10, 0, 1]);
    let gateway = MacAddress::new([2, 0, 0x5e, 0x10, 0, 2]);
    let expected = [(1, udp4(gateway, router, "8.8.8.8", 63)), (2, udp6(gateway, router, 63))];
    assert_eq!(read(&directory, "out.pcap"), capture(&expected));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("no packet was dropped"), "{text}");
}

#[test]
fn the_punt_limit_goes_by_the_time_of_the_capture() {
    let directory = tempfile::tempdir().expect("a directory of our own");
    let limit = "[punt]\nrate_packets_per_second = 10\nburst_packets = 1\n";
    write(&directory, "replay.toml", format!("{limit}{CONFIGURATION}").as_bytes());
    // One in 50 ms: every second one finds a token.
    let local = |n: u64| (n * 50_000_000, udp4(LAN, HOST, "192.0.2.1", 64));
    write(&directory, "lan.pcap", &capture(&(1..=20).map(local).collect::<Vec<_>>()));
    write(&directory, "wan.pcap", &capture(&[]));
    let output = replay(directory.path(), &["--config", "replay.toml", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["total"]["punted_packets"]["local"], 10);
    assert_eq!(report["total"]["dropped_packets"]["punt_rate_limited"], 10);
}

#[test]
fn no_output_overwrites_an_input() {
    let directory = tempfile::tempdir().expect("a directory of our own");
    let input = capture(&[(1, udp4(LAN, HOST, "8.8.8.8", 64))]);
    write(&directory, "in.pcap", &input);
    let path = |name: &str| directory.path().join(name);
    std::fs::hard_link(path("in.pcap"), path("hard.pcap")).expect("linked");
    std::os::unix::fs::symlink("in.pcap", path("soft.pcap")).expect("linked");
    let refused = |arguments: &[&str]| {
        let output = replay(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(errors.contains(".pcap is an input of this replay"), "{arguments:?}: {errors}");
        assert_eq!(read(&directory, "in.pcap"), input, "{arguments:?}");
    };
    for name in ["in.pcap", "./in.pcap", "hard.pcap", "soft.pcap"] {
        refused(&["in.pcap", "--output", name]);
    }
    // The output of one port and the input of another one, which is opened later.
    let crossed = CONFIGURATION
        .replace("\"lan-out.pcap\"", "\"in.pcap\"")
        .replace("\"wan.pcap\"", "\"soft.pcap\"");
    write(&directory, "replay.toml", crossed.as_bytes());
    write(&directory, "lan.pcap", &capture(&[]));
    refused(&["--config", "replay.toml"]);
}

#[test]
fn what_is_wrong_with_a_capture_is_named() {
    let directory = tempfile::tempdir().expect("a directory of our own");
    let output = replay(directory.path(), &["no.pcap"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = "error: no.pcap: cannot read: No such file or directory (os error 2)\n";
    assert_eq!(errors, expected);

    // Cut in the second packet: the first is replayed all the same.
    let whole = capture(&[(1, udp4(LAN, HOST, "8.8.8.8", 64)), (2, udp6(LAN, HOST, 64))]);
    write(&directory, "cut.pcap", &whole[..whole.len() - 5]);
    let output = replay(directory.path(), &["cut.pcap", "--output", "out.pcap", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("port in: "), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["total"]["sent_packets"], 1);
}
