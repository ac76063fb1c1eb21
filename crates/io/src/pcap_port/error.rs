//! What can be wrong with a capture file.

use std::io;
use std::path::PathBuf;

/// Why a capture file cannot be read or written (further).
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened for reading, or reading it failed.
    #[error("{}: cannot read: {source}", file.display())]
    Read {
        /// The capture file.
        file: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The file begins like neither format.
    #[error("{}: neither pcap nor pcapng (is it compressed? decompress it first)", file.display())]
    NotACapture {
        /// The capture file.
        file: PathBuf,
    },
    /// Frames of another kind of link. Only `LINKTYPE_ETHERNET` (1) is forwarded.
    #[error("{}: link type {link_type}; only Ethernet (link type 1) can be read", file.display())]
    LinkType {
        /// The capture file.
        file: PathBuf,
        /// Number from the registry of link types that the file names.
        link_type: u16,
    },
    /// The file breaks its format, or ends inside a packet.
    #[error("{}: after {packets} packets, at byte {offset}: {problem}", file.display())]
    Malformed {
        /// The capture file.
        file: PathBuf,
        /// Packets that were read before.
        packets: u64,
        /// Where the record or block begins, or the file ends, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        problem: &'static str,
    },
    /// The output names no known format.
    #[error("{}: cannot tell the format to write; end the name in .pcap or .pcapng", file.display())]
    Extension {
        /// The capture file.
        file: PathBuf,
    },
    /// The output is the input, which it would overwrite.
    #[error("{}: input and output are the same file", file.display())]
    SameFile {
        /// The capture file.
        file: PathBuf,
    },
    /// The file cannot be created or written, such as for a full disk.
    #[error("{}: cannot write: {source}", file.display())]
    Write {
        /// The capture file.
        file: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}
