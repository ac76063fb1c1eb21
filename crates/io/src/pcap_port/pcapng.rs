//! The pcapng file format: blocks in sections (draft-ietf-opsawg-pcapng).
//!
//! A section header block tells the byte order of its section; interface description blocks tell
//! link type and timestamp resolution, per interface; packet blocks name their interface. Blocks
//! of other kinds are passed over.

use super::reader::{ByteOrder, Failure, LINK_TYPE_ETHERNET, PACKET_BYTES_MAX, Record};
use super::source::Source;

/// Reads the same in either byte order.
pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
/// Obsolete, and still found in old files.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_INTERFACE_NAME: u16 = 2;
const OPTION_TIMESTAMP_RESOLUTION: u16 = 9;
const OPTION_TIMESTAMP_OFFSET: u16 = 14;

/// Blocks that are read whole may not be longer: the longest packet and as much of options.
const BLOCK_BYTES_MAX: usize = 2 * PACKET_BYTES_MAX as usize;
/// Type, length, and the length again at the end.
const BLOCK_BYTES_MIN: usize = 12;

const ENDS_INSIDE: Failure = Failure::Malformed("the file ends inside a block");

/// An interface of the section.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link_type: u16,
    /// Bytes kept of each packet; 0 for all.
    snap_bytes: u32,
    /// Units of a timestamp in a second.
    units_per_second: u64,
    /// What to add to each timestamp.
    offset_seconds: i64,
}

/// The section that is being read.
#[derive(Debug, Default)]
pub(super) struct Pcapng {
    order: Option<ByteOrder>,
    interfaces: Vec<Interface>,
    /// Timestamp of the last packet, for simple packets, which have none.
    last_nanoseconds: u64,
}

impl Pcapng {
    /// Brings the next packet block into the window; `None` at the end of the file.
    pub(super) fn next(&mut self, source: &mut Source) -> Result<Option<Record>, Failure> {
        loop {
            let header = source.peek(BLOCK_BYTES_MIN)?;
            if header.is_empty() {
                return Ok(None);
            }
            if header.len() < BLOCK_BYTES_MIN {
                return Err(ENDS_INSIDE);
            }
            if header[..4] == SECTION_HEADER.to_be_bytes() {
                self.order = Some(section_order(header)?);
                self.interfaces.clear();
            }
            let order =
                self.order.ok_or(Failure::Malformed("a block stands before any section"))?;
            let (kind, total) = (order.u32(header, 0), order.u32(header, 4) as usize);
            if total < BLOCK_BYTES_MIN || !total.is_multiple_of(4) {
                return Err(Failure::Malformed("a block's length is not possible"));
            }
            if !matches!(kind, INTERFACE_DESCRIPTION | PACKET | SIMPLE_PACKET | ENHANCED_PACKET) {
                if !source.skip(total)? {
                    return Err(ENDS_INSIDE);
                }
                continue;
            }
            if total > BLOCK_BYTES_MAX {
                return Err(Failure::Malformed("a block is over 524288 bytes long"));
            }
            let block = source.peek(total)?;
            if block.len() < total {
                return Err(ENDS_INSIDE);
            }
            if order.u32(block, total - 4) as usize != total {
                return Err(Failure::Malformed("a block's two lengths differ"));
            }
            if kind != INTERFACE_DESCRIPTION {
                return self.packet(order, kind, block).map(Some);
            }
            self.interfaces.push(interface(order, &block[8..total - 4])?);
            source.skip(total)?;
        }
    }

    /// Reads a packet block of one of the three kinds.
    fn packet(&mut self, order: ByteOrder, kind: u32, block: &[u8]) -> Result<Record, Failure> {
        let total = block.len();
        let data_offset = if kind == SIMPLE_PACKET { 12 } else { 28 };
        if total < data_offset + 4 {
            return Err(Failure::Malformed("a packet block is too short"));
        }
        let room = total - data_offset - 4;
        let index = match kind {
            ENHANCED_PACKET => order.u32(block, 8) as usize,
            PACKET => usize::from(order.u16(block, 8)),
            _ => 0,
        };
        let interface = self.interfaces.get(index);
        let interface =
            interface.ok_or(Failure::Malformed("a packet names an interface that is missing"))?;
        if interface.link_type != LINK_TYPE_ETHERNET {
            return Err(Failure::LinkType(interface.link_type));
        }
        let (captured, original) = if kind == SIMPLE_PACKET {
            let original = order.u32(block, 8);
            let snap_bytes =
                if interface.snap_bytes == 0 { u32::MAX } else { interface.snap_bytes };
            (original.min(snap_bytes), original)
        } else {
            let units = u64::from(order.u32(block, 12)) << 32 | u64::from(order.u32(block, 16));
            self.last_nanoseconds = interface.nanoseconds(units);
            (order.u32(block, 20), order.u32(block, 24))
        };
        if captured as usize > room || captured > PACKET_BYTES_MAX {
            return Err(Failure::Malformed("a packet is longer than its block"));
        }
        Ok(Record {
            timestamp_nanoseconds: self.last_nanoseconds,
            data_offset,
            captured: captured as usize,
            original: original as usize,
            total,
        })
    }
}

impl Interface {
    /// Nanoseconds since 1970, within the range that 64 bits have.
    fn nanoseconds(&self, units: u64) -> u64 {
        let since = u128::from(units) * 1_000_000_000 / u128::from(self.units_per_second);
        let offset = i128::from(self.offset_seconds) * 1_000_000_000;
        u64::try_from((since as i128 + offset).max(0)).unwrap_or(u64::MAX)
    }
}

/// The byte order that a section header declares.
fn section_order(header: &[u8]) -> Result<ByteOrder, Failure> {
    [ByteOrder::Little, ByteOrder::Big]
        .into_iter()
        .find(|order| order.u32(header, 8) == BYTE_ORDER_MAGIC)
        .ok_or(Failure::Malformed("a section's byte-order magic is wrong"))
}

/// Reads the body of an interface description block.
fn interface(order: ByteOrder, body: &[u8]) -> Result<Interface, Failure> {
    if body.len() < 8 {
        return Err(Failure::Malformed("an interface description is too short"));
    }
    let mut interface = Interface {
        link_type: order.u16(body, 0),
        snap_bytes: order.u32(body, 4),
        units_per_second: 1_000_000,
        offset_seconds: 0,
    };
    let mut options = &body[8..];
    while options.len() >= 4 {
        let (code, length) = (order.u16(options, 0), usize::from(order.u16(options, 2)));
        let padded = 4 + length.next_multiple_of(4);
        if code == 0 {
            break;
        }
        if padded > options.len() {
            return Err(Failure::Malformed("an interface's option is longer than its block"));
        }
        let value = &options[4..4 + length];
        match (code, length) {
            (OPTION_TIMESTAMP_RESOLUTION, 1) => {
                interface.units_per_second = units_per_second(value[0])?;
            }
            (OPTION_TIMESTAMP_OFFSET, 8) => {
                interface.offset_seconds = order.u64(value, 0).cast_signed();
            }
            _ => {}
        }
        options = &options[padded..];
    }
    Ok(interface)
}

/// The `if_tsresol` option: a negative power of 2 when its highest bit is set, else of 10.
fn units_per_second(resolution: u8) -> Result<u64, Failure> {
    let base: u64 = if resolution & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(u32::from(resolution & 0x7f))
        .ok_or(Failure::Malformed("an interface's timestamp resolution is too fine"))
}

/// Appends a section header, and the description of one Ethernet interface that counts nanoseconds.
pub(super) fn write_header(buffer: &mut Vec<u8>) {
    write_section(buffer);
    write_interface(buffer, None, 0);
}

/// Appends a section header.
pub(super) fn write_section(buffer: &mut Vec<u8>) {
    let start = begin_block(buffer, SECTION_HEADER);
    buffer.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
    buffer.extend_from_slice(&1u16.to_le_bytes());
    buffer.extend_from_slice(&0u16.to_le_bytes());
    // The section's length is not known in advance: -1.
    buffer.extend_from_slice(&[0xff; 8]);
    end_block(buffer, start);
}

/// Appends the description of an Ethernet interface that counts nanoseconds.
pub(super) fn write_interface(buffer: &mut Vec<u8>, name: Option<&str>, snap_bytes: u32) {
    let start = begin_block(buffer, INTERFACE_DESCRIPTION);
    buffer.extend_from_slice(&LINK_TYPE_ETHERNET.to_le_bytes());
    buffer.extend_from_slice(&[0; 2]);
    buffer.extend_from_slice(&snap_bytes.to_le_bytes());
    if let Some(name) = name {
        write_option(buffer, OPTION_INTERFACE_NAME, name.as_bytes());
    }
    write_option(buffer, OPTION_TIMESTAMP_RESOLUTION, &[9]);
    write_option(buffer, OPTION_END, &[]);
    end_block(buffer, start);
}

/// Appends a packet as an enhanced packet block.
pub(super) fn write_packet(buffer: &mut Vec<u8>, timestamp_nanoseconds: u64, packet: &[u8]) {
    let packet = (packet, packet.len() as u32);
    let start = begin_packet(buffer, (0, timestamp_nanoseconds), packet);
    end_block(buffer, start);
}

/// Appends a packet with a comment.
pub(super) fn write_annotated_packet(
    buffer: &mut Vec<u8>,
    at: (u32, u64),
    packet: (&[u8], u32),
    comment: &str,
) {
    let start = begin_packet(buffer, at, packet);
    write_option(buffer, OPTION_COMMENT, comment.as_bytes());
    write_option(buffer, OPTION_END, &[]);
    end_block(buffer, start);
}

/// The part of an enhanced packet block that has no options.
fn begin_packet(
    buffer: &mut Vec<u8>,
    (interface, timestamp_nanoseconds): (u32, u64),
    (packet, original): (&[u8], u32),
) -> usize {
    let start = begin_block(buffer, ENHANCED_PACKET);
    let (high, low) = ((timestamp_nanoseconds >> 32) as u32, timestamp_nanoseconds as u32);
    for field in [interface, high, low, packet.len() as u32, original] {
        buffer.extend_from_slice(&field.to_le_bytes());
    }
    write_padded(buffer, packet);
    start
}

/// An option; what is longer than options can be is cut.
fn write_option(buffer: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    buffer.extend_from_slice(&code.to_le_bytes());
    buffer.extend_from_slice(&(value.len() as u16).to_le_bytes());
    write_padded(buffer, value);
}

fn write_padded(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.extend_from_slice(bytes);
    buffer.resize(buffer.len() + bytes.len().next_multiple_of(4) - bytes.len(), 0);
}

fn begin_block(buffer: &mut Vec<u8>, kind: u32) -> usize {
    let start = buffer.len();
    buffer.extend_from_slice(&kind.to_le_bytes());
    buffer.extend_from_slice(&[0; 4]);
    start
}

fn end_block(buffer: &mut Vec<u8>, start: usize) {
    let length = ((buffer.len() - start + 4) as u32).to_le_bytes();
    buffer[start + 4..start + 8].copy_from_slice(&length);
    buffer.extend_from_slice(&length);
}
