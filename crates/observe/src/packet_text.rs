//! A packet in one line, for traces and logs.

use std::fmt::Write;
use std::net::IpAddr;

use linecard_wire::ethernet::EtherType;
use linecard_wire::ip::Protocol;
use linecard_wire::vlan::Tags;
use linecard_wire::{ipv6, ipv6_extension};

/// What a frame is: `192.0.2.1:40000 → 198.51.100.9:443 tcp syn, ttl 64, 60 bytes`. The frame may be cut short
/// anywhere, or be no such thing at all.
#[must_use]
pub fn packet_text(frame: &[u8]) -> String {
    let Ok(tags) = Tags::new(frame) else { return "a frame without a whole header".to_owned() };
    let mut text = match tags.ethertype() {
        EtherType::IPV4 => ipv4_text(tags.payload()),
        EtherType::IPV6 => ipv6_text(tags.payload()),
        EtherType::ARP => Some("ARP".to_owned()),
        other => Some(format!("EtherType {:#06x}", other.0)),
    }
    .unwrap_or_else(|| format!("malformed packet of EtherType {:#06x}", tags.ethertype().0));
    for tag in [tags.outer(), tags.inner()].into_iter().flatten() {
        let _ = write!(text, ", vlan {}", tag.tci.0 & 0x0fff);
    }
    text
}

fn ipv4_text(bytes: &[u8]) -> Option<String> {
    // A packet that was cut is whole as far as its header goes.
    let header = bytes.first_chunk::<20>()?;
    let length = usize::from(header[0] & 15) * 4;
    if header[0] >> 4 != 4 || length < 20 {
        return None;
    }
    let total = u16::from_be_bytes([header[2], header[3]]);
    let address =
        |at: usize| IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let upper = bytes.get(length..).unwrap_or_default();
    let upper = if fragment & 0x1fff == 0 { upper } else { &[] };
    let ends = (address(12), address(16));
    let mut text = ends_text(ends, Protocol(header[9]), upper, header[1] >> 2, ("ttl", header[8]));
    if fragment & 0x3fff != 0 {
        let _ = write!(text, ", fragment at {}", u32::from(fragment & 0x1fff) * 8);
    }
    let _ = write!(text, ", {total} bytes");
    Some(text)
}

fn ipv6_text(bytes: &[u8]) -> Option<String> {
    let header = bytes.first_chunk::<40>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let address = |at: usize| {
        let octets: [u8; 16] = std::array::from_fn(|i| header[at + i]);
        IpAddr::from(octets)
    };
    let total = u32::from(u16::from_be_bytes([header[4], header[5]])) + 40;
    let dscp = header[0] << 2 & 0x3c | header[1] >> 6;
    let whole = ipv6::Packet::new(bytes).ok();
    let upper = whole.and_then(|packet| packet.upper_layer(ipv6_extension::HEADERS_MAX).ok());
    let (protocol, payload) = match upper {
        Some(upper) if upper.has_header() => (upper.protocol, upper.payload),
        Some(upper) => (upper.protocol, &[][..]),
        None => (Protocol(header[6]), &bytes[40..]),
    };
    let ends = (address(8), address(24));
    let text = ends_text(ends, protocol, payload, dscp, ("hop limit", header[7]));
    Some(format!("{text}, {total} bytes"))
}

/// From where, to where, and what the upper layer is.
fn ends_text(
    (source, destination): (IpAddr, IpAddr),
    protocol: Protocol,
    upper: &[u8],
    dscp: u8,
    (hops_name, hops): (&str, u8),
) -> String {
    let ports = upper
        .first_chunk::<4>()
        .filter(|_| matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::SCTP));
    let end = |address: IpAddr, port: Option<u16>| match (address, port) {
        (IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
        (address, Some(port)) => format!("{address}:{port}"),
        (address, None) => address.to_string(),
    };
    let port = |at: usize| ports.map(|it| u16::from_be_bytes([it[at], it[at + 1]]));
    let mut text = format!("{} → {} ", end(source, port(0)), end(destination, port(2)));
    text += &match protocol {
        Protocol::TCP => format!("tcp{}", flags(upper)),
        Protocol::UDP => "udp".to_owned(),
        Protocol::SCTP => "sctp".to_owned(),
        Protocol::ICMPV4 | Protocol::ICMPV6 => {
            let name = if protocol == Protocol::ICMPV4 { "icmp" } else { "icmpv6" };
            match upper {
                [kind, code, ..] => format!("{name} type {kind} code {code}"),
                _ => name.to_owned(),
            }
        }
        Protocol(number) => format!("protocol {number}"),
    };
    if dscp > 0 {
        let _ = write!(text, ", dscp {dscp}");
    }
    let _ = write!(text, ", {hops_name} {hops}");
    text
}

fn flags(segment: &[u8]) -> String {
    let Some(bits) = segment.get(13) else { return String::new() };
    let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
    let set = names.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
    let set: Vec<&str> = set.map(|(_, name)| *name).collect();
    if set.is_empty() { " no flags".to_owned() } else { format!(" {}", set.join("+")) }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use linecard_wire::MacAddress;
    use linecard_wire::builder::{Icmpv6, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
    use linecard_wire::vlan::{Tag, Tci};

    use super::*;

    fn frame() -> PacketBuilder {
        PacketBuilder::new().ethernet(MacAddress::new([2; 6]), MacAddress::new([4; 6]))
    }

    #[test]
    fn a_packet_in_one_line() {
        let four = || Ipv4::new(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 9));
        let six = Ipv6::new(Ipv6Addr::LOCALHOST, "2001:db8::9".parse().expect("an address"));
        let tag = Tag { tpid: EtherType(0x8100), tci: Tci::new(0, false, 7) };
        let lines = [
            (
                frame().ipv4(four()).tcp(Tcp::new(40_000, 443)),
                "192.0.2.1:40000 → 198.51.100.9:443 tcp ack, ttl 64, 40 bytes",
            ),
            (
                frame().vlan(tag).ipv4(Ipv4 { dscp: 46, ..four() }).udp(Udp::new(1, 2)),
                "192.0.2.1:1 → 198.51.100.9:2 udp, dscp 46, ttl 64, 28 bytes, vlan 7",
            ),
            (
                frame().ipv4(Ipv4 { fragment_offset: 1480, ..four() }).udp(Udp::new(1, 2)),
                "192.0.2.1 → 198.51.100.9 udp, ttl 64, fragment at 1480, 28 bytes",
            ),
            (
                frame().ipv6(six).icmpv6(Icmpv6::new(128, 0)),
                "::1 → 2001:db8::9 icmpv6 type 128 code 0, hop limit 64, 48 bytes",
            ),
        ];
        for (packet, line) in lines {
            let bytes = packet.build();
            assert_eq!(packet_text(&bytes), line);
            for length in 0..bytes.len() {
                assert!(!packet_text(&bytes[..length]).is_empty());
            }
        }
    }
}
