//! The pcap file format: a header, then records (draft-ietf-opsawg-pcap).

use super::reader::{ByteOrder, Failure, LINK_TYPE_ETHERNET, PACKET_BYTES_MAX, Record};
use super::source::Source;

const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;

/// What the file header says of the records.
#[derive(Debug)]
pub(super) struct Pcap {
    order: ByteOrder,
    /// Nanoseconds of one unit of a timestamp's fraction.
    unit_nanoseconds: u64,
}

impl Pcap {
    /// Reads the file header; `None` when it is no pcap file's.
    pub(super) fn open(source: &mut Source) -> Result<Option<Self>, Failure> {
        let header = source.peek(FILE_HEADER_BYTES)?;
        if header.len() < 4 {
            return Ok(None);
        }
        let read = |order: ByteOrder| match order.u32(header, 0) {
            MAGIC_MICROSECONDS => Some(Self { order, unit_nanoseconds: 1000 }),
            MAGIC_NANOSECONDS => Some(Self { order, unit_nanoseconds: 1 }),
            _ => None,
        };
        let Some(pcap) = read(ByteOrder::Little).or_else(|| read(ByteOrder::Big)) else {
            return Ok(None);
        };
        if header.len() < FILE_HEADER_BYTES {
            return Err(Failure::Malformed("the file ends inside its header"));
        }
        if pcap.order.u16(header, 4) != 2 {
            return Err(Failure::Malformed("the major version is not 2"));
        }
        // The upper half of the field tells of frame check sequences, not of the link.
        let link_type = pcap.order.u32(header, 20) as u16;
        if link_type != LINK_TYPE_ETHERNET {
            return Err(Failure::LinkType(link_type));
        }
        source.skip(FILE_HEADER_BYTES)?;
        Ok(Some(pcap))
    }

    /// Brings the next record into the window; `None` at the end of the file.
    pub(super) fn next(&self, source: &mut Source) -> Result<Option<Record>, Failure> {
        let header = source.peek(RECORD_HEADER_BYTES)?;
        if header.is_empty() {
            return Ok(None);
        }
        if header.len() < RECORD_HEADER_BYTES {
            return Err(Failure::Malformed("the file ends inside a packet's header"));
        }
        let field = |index: usize| self.order.u32(header, 4 * index);
        let (seconds, fraction) = (u64::from(field(0)), u64::from(field(1)));
        let (captured, original) = (field(2), field(3));
        if captured > PACKET_BYTES_MAX {
            return Err(Failure::Malformed("a packet's length is over 262144 bytes"));
        }
        let total = RECORD_HEADER_BYTES + captured as usize;
        if source.peek(total)?.len() < total {
            return Err(Failure::Malformed("the file ends inside a packet"));
        }
        Ok(Some(Record {
            timestamp_nanoseconds: seconds * 1_000_000_000 + fraction * self.unit_nanoseconds,
            data_offset: RECORD_HEADER_BYTES,
            captured: captured as usize,
            original: original as usize,
            total,
        }))
    }
}

/// Appends the file header: little-endian, nanoseconds, Ethernet.
pub(super) fn write_header(buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(&MAGIC_NANOSECONDS.to_le_bytes());
    buffer.extend_from_slice(&2u16.to_le_bytes());
    buffer.extend_from_slice(&4u16.to_le_bytes());
    buffer.extend_from_slice(&[0; 8]);
    buffer.extend_from_slice(&PACKET_BYTES_MAX.to_le_bytes());
    buffer.extend_from_slice(&u32::from(LINK_TYPE_ETHERNET).to_le_bytes());
}

/// Appends a packet. Timestamps end in the year 2106, with the format.
pub(super) fn write_packet(buffer: &mut Vec<u8>, timestamp_nanoseconds: u64, packet: &[u8]) {
    let seconds = u32::try_from(timestamp_nanoseconds / 1_000_000_000).unwrap_or(u32::MAX);
    let nanoseconds = (timestamp_nanoseconds % 1_000_000_000) as u32;
    let length = packet.len() as u32;
    for field in [seconds, nanoseconds, length, length] {
        buffer.extend_from_slice(&field.to_le_bytes());
    }
    buffer.extend_from_slice(packet);
}
