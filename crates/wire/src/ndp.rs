//! Neighbour discovery (RFC 4861): solicitations, advertisements and their options.
//!
//! The views take a whole ICMPv6 message. That the hop limit is 255 and the checksum right, the
//! caller checks where it has the packet (§7.1).

use core::net::Ipv6Addr;

use crate::field::Fields;
use crate::icmpv6::MessageType;
use crate::{MacAddress, Malformed};

/// Hop limit of every message of neighbour discovery.
pub const HOP_LIMIT: u8 = 255;

/// Option type: link-layer address of the sender.
pub const OPTION_SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
/// Option type: link-layer address of the target.
pub const OPTION_TARGET_LINK_LAYER_ADDRESS: u8 = 2;
/// Option type: prefix information.
pub const OPTION_PREFIX_INFORMATION: u8 = 3;
/// Option type: MTU.
pub const OPTION_MTU: u8 = 5;

const NEIGHBOR_LENGTH: usize = 24;
const ROUTER_ADVERTISEMENT_LENGTH: usize = 16;

/// Checks type, code and fixed length, then every option's length (§6.1, §7.1).
fn check<const N: usize>(
    bytes: &[u8],
    expected: MessageType,
) -> Result<(Fields<'_, N>, &[u8]), Malformed> {
    let (fields, options) = Fields::<N>::split(bytes)?;
    if fields.array::<0, 2>() != [expected.0, 0] {
        return Err(Malformed::BadType);
    }
    let mut rest = Options { rest: options };
    rest.find_map(Result::err).map_or(Ok((fields, options)), Err)
}

/// "Who has this address?"
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborSolicitation<'a> {
    fields: Fields<'a, NEIGHBOR_LENGTH>,
    options: &'a [u8],
}

impl<'a> NeighborSolicitation<'a> {
    /// Over an ICMPv6 message.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadType`], [`Malformed::BadOption`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (fields, options) = check(bytes, MessageType::NEIGHBOR_SOLICITATION)?;
        Ok(Self { fields, options })
    }

    /// The address in question.
    pub const fn target_address(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from_be_bytes(self.fields.array::<8, 16>()))
    }

    /// Its options.
    pub const fn options(&self) -> Options<'a> {
        Options { rest: self.options }
    }

    /// The asker's MAC address; absent in duplicate address detection.
    pub fn source_link_layer_address(&self) -> Option<MacAddress> {
        self.options().link_layer_address(OPTION_SOURCE_LINK_LAYER_ADDRESS)
    }
}

/// "I have this address."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborAdvertisement<'a> {
    fields: Fields<'a, NEIGHBOR_LENGTH>,
    options: &'a [u8],
}

impl<'a> NeighborAdvertisement<'a> {
    /// Over an ICMPv6 message.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadType`], [`Malformed::BadOption`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (fields, options) = check(bytes, MessageType::NEIGHBOR_ADVERTISEMENT)?;
        Ok(Self { fields, options })
    }

    /// The R flag: the sender is a router.
    pub const fn router(&self) -> bool {
        self.fields.u8::<4>() & 0x80 != 0
    }

    /// The S flag: an answer to a solicitation.
    pub const fn solicited(&self) -> bool {
        self.fields.u8::<4>() & 0x40 != 0
    }

    /// The O flag: replace what was known.
    pub const fn override_flag(&self) -> bool {
        self.fields.u8::<4>() & 0x20 != 0
    }

    /// The address that the sender has.
    pub const fn target_address(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from_be_bytes(self.fields.array::<8, 16>()))
    }

    /// Its options.
    pub const fn options(&self) -> Options<'a> {
        Options { rest: self.options }
    }

    /// The MAC address that goes with the target address.
    pub fn target_link_layer_address(&self) -> Option<MacAddress> {
        self.options().link_layer_address(OPTION_TARGET_LINK_LAYER_ADDRESS)
    }
}

/// What a router tells the hosts of its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement<'a> {
    fields: Fields<'a, ROUTER_ADVERTISEMENT_LENGTH>,
    options: &'a [u8],
}

impl<'a> RouterAdvertisement<'a> {
    /// Over an ICMPv6 message.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadType`], [`Malformed::BadOption`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (fields, options) = check(bytes, MessageType::ROUTER_ADVERTISEMENT)?;
        Ok(Self { fields, options })
    }

    /// Hop limit for the hosts' packets; 0 leaves it open.
    pub const fn current_hop_limit(&self) -> u8 {
        self.fields.u8::<4>()
    }

    /// How long the sender is a default router, in seconds; 0 means it is none.
    pub const fn router_lifetime_seconds(&self) -> u16 {
        self.fields.u16::<6>()
    }

    /// Its options.
    pub const fn options(&self) -> Options<'a> {
        Options { rest: self.options }
    }

    /// The router's MAC address.
    pub fn source_link_layer_address(&self) -> Option<MacAddress> {
        self.options().link_layer_address(OPTION_SOURCE_LINK_LAYER_ADDRESS)
    }
}

/// One option (§4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NdpOption<'a> {
    /// The option type.
    pub kind: u8,
    /// What follows type and length, padding included.
    pub data: &'a [u8],
}

/// The options of a message.
///
/// A length of zero or beyond the message yields one [`Malformed::BadOption`] and ends the
/// iteration; a view that was made has none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl Options<'_> {
    /// The first 6-byte link-layer address among the options of type `kind`.
    pub fn link_layer_address(self, kind: u8) -> Option<MacAddress> {
        let mut options = self.map_while(Result::ok);
        let data = options.find(|option| option.kind == kind)?.data;
        data.first_chunk().copied().map(MacAddress::new)
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<NdpOption<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let area = core::mem::take(&mut self.rest);
        let (kind, option) = match *area {
            [] => return None,
            [kind, units, ..] => (kind, area.split_at_checked(usize::from(units) * 8)),
            [_] => return Some(Err(Malformed::BadOption)),
        };
        match option {
            Some(([_, _, data @ ..], rest)) => {
                self.rest = rest;
                Some(Ok(NdpOption { kind, data }))
            }
            _ => Some(Err(Malformed::BadOption)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advertisement(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
        bytes.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        bytes.extend(options);
        bytes
    }

    #[test]
    fn an_advertisement_gives_target_flags_and_mac() {
        let bytes = advertisement(&[14, 1, 0, 0, 0, 0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 9]);
        let view = NeighborAdvertisement::new(&bytes).unwrap();
        assert_eq!(view.target_address().to_string(), "2001:db8::1");
        assert_eq!((view.router(), view.solicited(), view.override_flag()), (false, true, true));
        let mac = view.target_link_layer_address().unwrap();
        assert_eq!(mac.to_string(), "02:00:00:00:00:09");
        assert_eq!(view.options().count(), 2);
    }

    #[test]
    fn bad_options_and_other_types_are_refused() {
        let zero_length = advertisement(&[2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(NeighborAdvertisement::new(&zero_length), Err(Malformed::BadOption));
        let cut = advertisement(&[2, 1, 2, 0, 0, 0, 0]);
        assert_eq!(NeighborAdvertisement::new(&cut), Err(Malformed::BadOption));
        let fine = advertisement(&[]);
        assert_eq!(NeighborSolicitation::new(&fine), Err(Malformed::BadType));
        assert_eq!(NeighborAdvertisement::new(&fine[..23]), Err(Malformed::Truncated));
    }

    #[test]
    fn a_solicitation_may_lack_the_source_address() {
        let mut bytes = advertisement(&[]);
        bytes[0] = 135;
        let view = NeighborSolicitation::new(&bytes).unwrap();
        assert_eq!(view.target_address().to_string(), "2001:db8::1");
        assert_eq!(view.source_link_layer_address(), None);
    }

    #[test]
    fn a_router_advertisement_gives_its_lifetime() {
        let bytes = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        let view = RouterAdvertisement::new(&bytes).unwrap();
        assert_eq!((view.current_hop_limit(), view.router_lifetime_seconds()), (64, 1800));
        assert_eq!(view.source_link_layer_address(), None);
    }
}
