//! Which nftables chains of this network namespace expect to see packets in transit.
//!
//! Asked once, by a dump of nfnetlink (`include/uapi/linux/netfilter/nf_tables.h`). What cannot be
//! understood is passed over: the answer is advice to the operator, no table depends on it.

use std::fmt;
use std::io;

use netlink_packet_core::NlasIterator;
use netlink_sys::protocols::NETLINK_NETFILTER;

use super::socket::{Message, NetlinkSocket};

/// `NFNL_SUBSYS_NFTABLES` in the high byte; `NFT_MSG_NEWCHAIN` and `NFT_MSG_GETCHAIN` in the low.
const NEW_CHAIN: u16 = 0x0a03;
const GET_CHAIN: u16 = 0x0a04;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_HOOK_HOOKNUM: u16 = 1;
/// `struct nfgenmsg`: family, version, resource. All zero asks for all families.
const HEADER_BYTES: usize = 4;
/// `NF_INET_PRE_ROUTING`, `NF_INET_FORWARD`, `NF_INET_POST_ROUTING`: the way of a packet in transit.
const HOOKS_OF_TRANSIT: [u32; 3] = [0, 2, 4];

/// A base chain of nftables. It displays as `inet filter forward`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// `ip`, `ip6` or `inet`.
    pub family: &'static str,
    /// The table's name.
    pub table: String,
    /// The chain's name.
    pub name: String,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

/// The base chains at the hooks prerouting, forward and postrouting of the families ip, ip6 and
/// inet in the calling thread's network namespace. Costs one dump of all chains.
///
/// # Errors
/// The kernel's: it knows no nftables, or the caller lacks `CAP_NET_ADMIN`.
pub fn chains_of_transit() -> io::Result<Vec<Chain>> {
    let mut socket = NetlinkSocket::requester(NETLINK_NETFILTER)?;
    let sequence = socket.request_dump(GET_CHAIN, &[0; HEADER_BYTES])?;
    let mut chains = Vec::new();
    // A dump during a change may miss a chain, which advice can bear.
    let mut interrupted = false;
    while !socket.read_dump(sequence, &mut interrupted, |message| chains.extend(chain(message)))? {}
    Ok(chains)
}

/// The chain of a message, if transit passes its hook.
fn chain(message: &Message<'_>) -> Option<Chain> {
    if message.message_type != NEW_CHAIN {
        return None;
    }
    // `NFPROTO_*`.
    let family = match message.payload.first()? {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    let (mut table, mut name, mut hook) = (String::new(), String::new(), None);
    for attribute in NlasIterator::new(message.payload.get(HEADER_BYTES..)?) {
        let attribute = attribute.ok()?;
        match attribute.kind() {
            NFTA_CHAIN_TABLE => table = text(attribute.value()),
            NFTA_CHAIN_NAME => name = text(attribute.value()),
            NFTA_CHAIN_HOOK => hook = hook_number(attribute.value()),
            _ => {}
        }
    }
    HOOKS_OF_TRANSIT.contains(&hook?).then_some(Chain { family, table, name })
}

fn hook_number(nested: &[u8]) -> Option<u32> {
    let mut attributes = NlasIterator::new(nested).map_while(Result::ok);
    let number = attributes.find(|attribute| attribute.kind() == NFTA_HOOK_HOOKNUM)?;
    Some(u32::from_be_bytes(*number.value().first_chunk()?))
}

/// A string as the kernel writes it, with a zero at its end.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = 4 + value.len();
        let mut bytes = (length as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(length.next_multiple_of(4), 0);
        bytes
    }

    fn payload(family: u8, hook: Option<u32>) -> Vec<u8> {
        let mut bytes = vec![family, 0, 0, 0];
        bytes.extend(attribute(NFTA_CHAIN_TABLE, b"fw\0"));
        bytes.extend(attribute(NFTA_CHAIN_NAME, b"chain\0"));
        if let Some(hook) = hook {
            let number = attribute(NFTA_HOOK_HOOKNUM, &hook.to_be_bytes());
            // `NLA_F_NESTED`.
            bytes.extend(attribute(NFTA_CHAIN_HOOK | 0x8000, &number));
        }
        bytes
    }

    fn shown(payload: &[u8]) -> Option<String> {
        let message = Message { message_type: NEW_CHAIN, flags: 0, sequence: 1, payload };
        chain(&message).map(|chain| chain.to_string())
    }

    #[test]
    fn chains_that_see_transit_are_told_from_others() {
        assert_eq!(shown(&payload(1, Some(2))).as_deref(), Some("inet fw chain"), "forward");
        assert_eq!(shown(&payload(2, Some(0))).as_deref(), Some("ip fw chain"), "prerouting");
        assert_eq!(shown(&payload(10, Some(4))).as_deref(), Some("ip6 fw chain"), "postrouting");
        assert_eq!(shown(&payload(1, Some(1))), None, "input");
        assert_eq!(shown(&payload(1, None)), None, "no base chain");
        assert_eq!(shown(&payload(7, Some(2))), None, "bridge");
    }

    #[test]
    fn a_message_cut_short_is_no_chain() {
        let whole = payload(1, Some(2));
        for length in 0..whole.len() {
            assert_eq!(shown(&whole[..length]), None, "{length} bytes");
        }
    }
}
