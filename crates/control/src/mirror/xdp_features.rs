//! Which interfaces take frames that an XDP program redirects to them.
//!
//! Asked by a dump of the generic-netlink family `netdev` (Documentation/netlink/specs/netdev.yaml,
//! Linux 6.3). A driver says by the feature `ndo-xmit` that it sends such frames now: it depends on
//! settings, on a veth on its peer's.

use std::collections::HashSet;
use std::io;

use netlink_packet_core::NlasIterator;
use netlink_sys::protocols::NETLINK_GENERIC;

use super::socket::{Message, NetlinkSocket};

/// The controller family, which tells the numbers of the others (uapi/linux/genetlink.h).
const CONTROLLER: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
// uapi/linux/netdev.h.
const FAMILY: &[u8] = b"netdev\0";
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_NDO_XMIT`.
const NDO_XMIT: u64 = 1 << 2;
/// `struct genlmsghdr`: command, version, two reserved bytes.
const HEADER_BYTES: usize = 4;
const VERSION: u8 = 1;

/// Asks for the interfaces of the network namespace in which it was opened.
#[derive(Debug)]
pub struct XdpFeatures {
    socket: NetlinkSocket,
    family: u16,
}

impl XdpFeatures {
    /// Finds the family.
    ///
    /// # Errors
    /// `Unsupported` when the kernel does not have it.
    pub fn open() -> io::Result<Self> {
        let mut socket = NetlinkSocket::requester(NETLINK_GENERIC)?;
        let mut family = None;
        dump(&mut socket, CONTROLLER, CTRL_CMD_GETFAMILY, |message| {
            family = family.or_else(|| family_number(message));
        })?;
        match family {
            Some(family) => Ok(Self { socket, family }),
            None => {
                let text = "the kernel does not tell the XDP features of interfaces (Linux 6.3)";
                Err(io::Error::new(io::ErrorKind::Unsupported, text))
            }
        }
    }

    /// The interfaces that take redirected frames, by index.
    ///
    /// # Errors
    /// The kernel's.
    pub fn targets(&mut self) -> io::Result<HashSet<u32>> {
        let mut targets = HashSet::new();
        dump(&mut self.socket, self.family, NETDEV_CMD_DEV_GET, |message| {
            targets.extend(target(message));
        })?;
        Ok(targets)
    }
}

fn dump(
    socket: &mut NetlinkSocket,
    family: u16,
    command: u8,
    mut take: impl FnMut(&Message<'_>),
) -> io::Result<()> {
    let sequence = socket.request_dump(family, &[command, VERSION, 0, 0])?;
    // A dump during a change may miss an interface, which the next one shows.
    let mut interrupted = false;
    while !socket.read_dump(sequence, &mut interrupted, &mut take)? {}
    Ok(())
}

fn family_number(message: &Message<'_>) -> Option<u16> {
    let (mut number, mut is_it) = (None, false);
    for attribute in NlasIterator::new(message.payload.get(HEADER_BYTES..)?) {
        let attribute = attribute.ok()?;
        match attribute.kind() {
            CTRL_ATTR_FAMILY_ID => number = attribute.value().first_chunk().copied(),
            CTRL_ATTR_FAMILY_NAME => is_it = attribute.value() == FAMILY,
            _ => {}
        }
    }
    number.filter(|_| is_it).map(u16::from_ne_bytes)
}

/// The index of the interface that a message tells of, if it takes redirected frames.
fn target(message: &Message<'_>) -> Option<u32> {
    let (mut index, mut features) = (None, 0);
    for attribute in NlasIterator::new(message.payload.get(HEADER_BYTES..)?) {
        let attribute = attribute.ok()?;
        match attribute.kind() {
            NETDEV_A_DEV_IFINDEX => index = attribute.value().first_chunk().copied(),
            NETDEV_A_DEV_XDP_FEATURES => {
                features = u64::from_ne_bytes(*attribute.value().first_chunk()?);
            }
            _ => {}
        }
    }
    index.filter(|_| features & NDO_XMIT != 0).map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        for (kind, value) in attributes {
            let length = 4 + value.len();
            bytes.extend((length as u16).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn read<T>(payload: &[u8], reader: fn(&Message<'_>) -> Option<T>) -> Option<T> {
        reader(&Message { message_type: 0, flags: 0, sequence: 0, payload })
    }

    #[test]
    fn a_target_is_told_from_others() {
        let device = |features: u64| {
            let (index, features) = (7_u32.to_ne_bytes(), features.to_ne_bytes());
            let attributes: [(u16, &[u8]); 2] =
                [(NETDEV_A_DEV_IFINDEX, &index), (NETDEV_A_DEV_XDP_FEATURES, &features)];
            read(&message(&attributes), target)
        };
        assert_eq!(device(0b0111), Some(7));
        assert_eq!(device(0b0011), None);
    }

    #[test]
    fn what_is_cut_short_is_no_answer() {
        let (number, name) = (35_u16.to_ne_bytes(), *b"netdev\0");
        let whole = message(&[(CTRL_ATTR_FAMILY_ID, &number), (CTRL_ATTR_FAMILY_NAME, &name)]);
        assert_eq!(read(&whole, family_number), Some(35));
        for length in 0..whole.len() - 1 {
            assert_eq!(read(&whole[..length], family_number), None, "{length} bytes");
        }
    }
}
