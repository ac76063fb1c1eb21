//! A second opinion on frames: what `tshark` holds to be malformed, or of a wrong checksum.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Fields of checksum states; 0 is "bad" (`PROTO_CHECKSUM_E_BAD`).
const CHECKSUMS: [&str; 6] = [
    "ip.checksum.status",
    "udp.checksum.status",
    "tcp.checksum.status",
    "icmp.checksum.status",
    "icmpv6.checksum.status",
    "sctp.checksum.status",
];
const MALFORMED: &str = "_ws.malformed";

/// What is wrong with each frame, by name of the field that says so.
pub(crate) fn complaints(frames: &[&[u8]]) -> Vec<BTreeSet<&'static str>> {
    let directory = TempDir::new().expect("a directory of our own");
    let path = directory.path().join("frames.pcap");
    write_pcap(&path, frames);
    let mut command = Command::new("tshark");
    command.args(["-n", "-T", "fields", "-E", "separator=;", "-E", "occurrence=a"]);
    for protocol in ["ip", "udp", "tcp"] {
        command.arg("-o").arg(format!("{protocol}.check_checksum:TRUE"));
    }
    for field in CHECKSUMS.iter().chain([&MALFORMED]) {
        command.args(["-e", field]);
    }
    let output =
        command.arg("-r").arg(&path).output().unwrap_or_else(|error| {
            panic!("{error}: this test needs tshark, see `cargo xtask test`")
        });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark: {stderr}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<_> = text.lines().map(complaints_of).collect();
    assert_eq!(lines.len(), frames.len(), "tshark has a line for each frame");
    lines
}

fn complaints_of(line: &str) -> BTreeSet<&'static str> {
    let mut fields = line.split(';');
    let mut found = BTreeSet::new();
    for name in CHECKSUMS {
        let states = fields.next().expect("a column for each field");
        if states.split(',').any(|state| matches!(state, "0" | "Bad")) {
            found.insert(name);
        }
    }
    if fields.next().is_some_and(|text| !text.is_empty()) {
        found.insert(MALFORMED);
    }
    found
}

/// A capture file of Ethernet frames (draft-ietf-opsawg-pcap), without times.
fn write_pcap(path: &Path, frames: &[&[u8]]) {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for frame in frames {
        let length = u32::try_from(frame.len()).expect("a frame");
        for word in [0, 0, length, length] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(*frame);
    }
    std::fs::write(path, bytes).expect("written");
}
