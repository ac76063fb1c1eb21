//! Reads packets out of a capture file, whichever format it has.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::CaptureError;
use super::pcap::Pcap;
use super::pcapng::Pcapng;
use super::source::Source;

/// Most bytes that a packet can claim to be: libpcap's own bound (`MAXIMUM_SNAPLEN`). More is a
/// broken length field.
pub(super) const PACKET_BYTES_MAX: u32 = 262_144;

/// `LINKTYPE_ETHERNET` of the registry of link types.
pub(super) const LINK_TYPE_ETHERNET: u16 = 1;

/// A packet that lies in the source's window, at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// When the packet was captured, in nanoseconds since 1970.
    pub(super) timestamp_nanoseconds: u64,
    /// Where the packet's bytes begin, from the start of the record or block.
    pub(super) data_offset: usize,
    /// Bytes of the packet that were captured.
    pub(super) captured: usize,
    /// Bytes of the packet on the wire.
    pub(super) original: usize,
    /// Bytes of the whole record or block.
    pub(super) total: usize,
}

/// Why no further record can be read.
#[derive(Debug)]
pub(super) enum Failure {
    Io(io::Error),
    LinkType(u16),
    Malformed(&'static str),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The byte order of a file or section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// The number at `offset` of `bytes`, which the caller knows to be long enough.
    pub(super) fn u16(self, bytes: &[u8], offset: usize) -> u16 {
        let field = [bytes[offset], bytes[offset + 1]];
        match self {
            Self::Little => u16::from_le_bytes(field),
            Self::Big => u16::from_be_bytes(field),
        }
    }

    /// The number at `offset` of `bytes`, which the caller knows to be long enough.
    pub(super) fn u32(self, bytes: &[u8], offset: usize) -> u32 {
        let (first, second) = (self.u16(bytes, offset), self.u16(bytes, offset + 2));
        let (high, low) = match self {
            Self::Little => (second, first),
            Self::Big => (first, second),
        };
        u32::from(high) << 16 | u32::from(low)
    }

    /// The number at `offset` of `bytes`, which the caller knows to be long enough.
    pub(super) fn u64(self, bytes: &[u8], offset: usize) -> u64 {
        let (first, second) = (self.u32(bytes, offset), self.u32(bytes, offset + 4));
        let (high, low) = match self {
            Self::Little => (second, first),
            Self::Big => (first, second),
        };
        u64::from(high) << 32 | u64::from(low)
    }
}

#[derive(Debug)]
enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
}

/// A capture file, one packet ahead.
pub(super) struct Reader {
    file: PathBuf,
    source: Source,
    format: Format,
    next: Option<Record>,
    packets: u64,
}

impl Reader {
    /// Opens `file` and reads up to its first packet.
    pub(super) fn open(file: &Path) -> Result<Self, CaptureError> {
        let reader = File::open(file)
            .map_err(|source| CaptureError::Read { file: file.to_owned(), source })?;
        Self::new(file, Box::new(reader))
    }

    pub(super) fn new(file: &Path, reader: Box<dyn Read + Send>) -> Result<Self, CaptureError> {
        let mut source = Source::new(reader);
        let format = match Self::format(&mut source) {
            Ok(Some(format)) => format,
            Ok(None) => return Err(CaptureError::NotACapture { file: file.to_owned() }),
            Err(failure) => return Err(failed(file, 0, source.offset(), failure)),
        };
        let mut this = Self { file: file.to_owned(), source, format, next: None, packets: 0 };
        this.read_next()?;
        Ok(this)
    }

    /// Recognises the format by its first four bytes; `None` when it is neither.
    fn format(source: &mut Source) -> Result<Option<Format>, Failure> {
        if source.peek(4)? == super::pcapng::SECTION_HEADER.to_be_bytes() {
            return Ok(Some(Format::Pcapng(Pcapng::default())));
        }
        Ok(Pcap::open(source)?.map(Format::Pcap))
    }

    /// The packet that is next; `None` at the end.
    pub(super) fn next(&self) -> Option<Record> {
        self.next
    }

    /// The captured bytes of [`Self::next`].
    pub(super) fn bytes(&self) -> &[u8] {
        self.next.map_or(&[], |next| self.source.peeked(next.data_offset, next.captured))
    }

    /// Passes over the packet that is next. After an error there is no further packet.
    pub(super) fn advance(&mut self) -> Result<(), CaptureError> {
        let Some(record) = self.next.take() else { return Ok(()) };
        self.packets += 1;
        match self.source.skip(record.total) {
            Ok(_) => self.read_next(),
            Err(error) => Err(self.failed(error.into())),
        }
    }

    fn read_next(&mut self) -> Result<(), CaptureError> {
        let next = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.source),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.source),
        };
        self.next = next.map_err(|failure| self.failed(failure))?;
        Ok(())
    }

    fn failed(&self, failure: Failure) -> CaptureError {
        failed(&self.file, self.packets, self.source.offset(), failure)
    }
}

/// Says which file failed, and where.
fn failed(file: &Path, packets: u64, offset: u64, failure: Failure) -> CaptureError {
    let file = file.to_owned();
    match failure {
        Failure::Io(source) => CaptureError::Read { file, source },
        Failure::LinkType(link_type) => CaptureError::LinkType { file, link_type },
        Failure::Malformed(problem) => CaptureError::Malformed { file, packets, offset, problem },
    }
}
