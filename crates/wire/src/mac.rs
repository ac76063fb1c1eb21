//! MAC addresses (IEEE 802, EUI-48).

use core::fmt;
use core::str::FromStr;

/// An EUI-48 address. Written `aa:bb:cc:dd:ee:ff`; read with `:` or `-` between the octets.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// `00:00:00:00:00:00`, which no station has.
    pub const ZERO: Self = Self([0; 6]);

    /// The address with these octets, in the order of transmission.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The octets in the order of transmission.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Whether the I/G bit is set: a group address, which includes broadcast.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 0x01 != 0
    }

    /// Whether it is the broadcast address.
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// Whether one station can have it: neither a group address nor all zeroes.
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::ZERO
    }

    /// Whether the U/L bit is set: assigned by an administrator, not by a vendor.
    pub const fn is_locally_administered(self) -> bool {
        self.0[0] & 0x02 != 0
    }
}

impl From<[u8; 6]> for MacAddress {
    fn from(octets: [u8; 6]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseMacError {
    /// This many octets were found instead of six.
    OctetCount(usize),
    /// The octet with this number, counted from 1, is not two hexadecimal digits.
    Octet(usize),
}

impl fmt::Display for ParseMacError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OctetCount(count) => write!(f, "a MAC address has 6 octets, found {count}")?,
            Self::Octet(number) => {
                write!(f, "octet {number} of the MAC address is not two hexadecimal digits")?;
            }
        }
        f.write_str("; write it like 02:00:5e:10:00:01")
    }
}

impl core::error::Error for ParseMacError {}

impl FromStr for MacAddress {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let count = text.split([':', '-']).count();
        if count != 6 {
            return Err(ParseMacError::OctetCount(count));
        }
        let mut octets = [0; 6];
        for (index, part) in text.split([':', '-']).enumerate() {
            // `from_str_radix` alone would take "+1" for an octet.
            let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            let octet = digits.then(|| u8::from_str_radix(part, 16).ok()).flatten();
            octets[index] = octet.ok_or(ParseMacError::Octet(index + 1))?;
        }
        Ok(Self(octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_both_ways() {
        let address = MacAddress::new([0x02, 0, 0x5e, 0x10, 0xab, 1]);
        assert_eq!(address.to_string(), "02:00:5e:10:ab:01");
        assert_eq!("02:00:5e:10:ab:01".parse(), Ok(address));
        assert_eq!("02-00-5E-10-AB-01".parse(), Ok(address));
    }

    #[test]
    fn a_bad_text_is_refused_with_the_place() {
        let parse = |text: &str| text.parse::<MacAddress>();
        assert_eq!(parse(""), Err(ParseMacError::OctetCount(1)));
        assert_eq!(parse("02:00:5e:10:ab"), Err(ParseMacError::OctetCount(5)));
        assert_eq!(parse("02:00:5e:10:ab:01:02"), Err(ParseMacError::OctetCount(7)));
        assert_eq!(parse("02:00:5g:10:ab:01"), Err(ParseMacError::Octet(3)));
        assert_eq!(parse("+2:00:5e:10:ab:01"), Err(ParseMacError::Octet(1)));
        assert_eq!(parse("02:00:5e:10:ab:1"), Err(ParseMacError::Octet(6)));
        let message = parse("02:00:5g:10:ab:01").unwrap_err().to_string();
        assert!(message.starts_with("octet 3"), "{message}");
    }

    #[test]
    fn kinds_of_addresses() {
        assert!(MacAddress::BROADCAST.is_multicast() && MacAddress::BROADCAST.is_broadcast());
        assert!(MacAddress::new([1, 0, 0x5e, 0, 0, 1]).is_multicast());
        assert!(!MacAddress::ZERO.is_unicast());
        let local = MacAddress::new([2, 0, 0, 0, 0, 1]);
        assert!(local.is_unicast() && local.is_locally_administered());
    }
}
