//! Packets in a line of words: `PORT SOURCE DESTINATION [PROTOCOL …] [KEY=VALUE …]`. See `fixtures/README.md`.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::net::IpAddr;

use linecard_wire::MacAddress;
use linecard_wire::builder::{Extension, Icmpv4, Icmpv6, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::ip::Protocol;
use linecard_wire::tcp::Flags;
use linecard_wire::vlan::{Tag, Tci};

/// The router's address on every port.
pub(crate) const STATION: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const SENDER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);

/// Bytes of the link-layer header of a packet without a tag.
pub(crate) const LINK_BYTES: u64 = 14;

/// The neighbour behind a port of the stories.
fn neighbour(port: usize) -> MacAddress {
    MacAddress::new([2, 0, 0, 0, 1, port as u8])
}

/// One packet.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    source: IpAddr,
    destination: IpAddr,
    upper: Upper,
    ttl: u8,
    dscp: u8,
    flow_label: u32,
    vlan: Option<u16>,
    payload: Vec<u8>,
    /// Of IPv4.
    options: Vec<u8>,
    extensions: Vec<Extension>,
    /// Offset in bytes, and whether more follow.
    fragment: Option<(u16, bool)>,
}

/// What is behind the network-layer header.
#[derive(Debug, Clone)]
enum Upper {
    Tcp(u16, u16, Flags),
    Udp(u16, u16),
    Icmp(u8, u8),
    Other(u8),
}

fn number<T: std::str::FromStr>(text: Option<&str>) -> Result<T, String> {
    let text = text.ok_or("a number is missing")?;
    text.parse().map_err(|_| format!("`{text}` is no number that fits"))
}

impl Packet {
    /// Reads a line; returns the packet and the port that it comes in by.
    pub(crate) fn parse(line: &str) -> Result<(Self, &str), String> {
        let mut words = line.split_whitespace().filter(|word| !word.contains('='));
        let port = words.next().ok_or("no port")?;
        let mut address = || {
            let word = words.next().ok_or("an address is missing")?;
            word.parse::<IpAddr>().map_err(|_| format!("`{word}` is no address"))
        };
        let (source, destination) = (address()?, address()?);
        let protocol = words.next().ok_or("no protocol")?;
        let upper = match protocol {
            "tcp" => Upper::Tcp(number(words.next())?, number(words.next())?, Flags(0)),
            "udp" => Upper::Udp(number(words.next())?, number(words.next())?),
            "icmp" => Upper::Icmp(number(words.next())?, number(words.next())?),
            other => Upper::Other(number(Some(other))?),
        };
        if let Some(word) = words.next() {
            return Err(format!("`{word}` is one word too many"));
        }
        let mut packet = Self {
            source,
            destination,
            upper,
            ttl: 64,
            dscp: 0,
            flow_label: 0,
            vlan: None,
            payload: Vec::new(),
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
        };
        line.split_whitespace()
            .filter(|word| word.contains('='))
            .try_for_each(|it| packet.set(it))?;
        Ok((packet, port))
    }

    /// Takes one `KEY=VALUE`.
    pub(crate) fn set(&mut self, word: &str) -> Result<(), String> {
        let (key, value) = word.split_once('=').ok_or("no `=`")?;
        match key {
            "ttl" => self.ttl = number(Some(value))?,
            "dscp" => self.dscp = number(Some(value))?,
            "flow-label" => self.flow_label = number(Some(value))?,
            "vlan" => self.vlan = Some(number(Some(value))?),
            "payload" => self.payload = value.as_bytes().to_vec(),
            "zeros" => self.payload = vec![0; number(Some(value))?],
            "flags" => self.set_flags(value)?,
            "about" => self.payload = self.quoted(value)?,
            "option" => self.options.extend(match value {
                "nop" => [1; 4],
                "router-alert" => [148, 4, 0, 0],
                _ => return Err(format!("`{value}` is no option here")),
            }),
            "fragment" => {
                let (offset, more) =
                    value.strip_suffix('+').map_or((value, false), |it| (it, true));
                self.fragment = Some((number(Some(offset))?, more));
            }
            "extension" => self.extensions.push(match value {
                "hop-by-hop" => Extension::hop_by_hop(&[1, 4, 0, 0, 0, 0]),
                "destination-options" => Extension::destination_options(&[1, 4, 0, 0, 0, 0]),
                "authentication" => Extension::authentication(1, 1),
                _ => return Err(format!("`{value}` is no extension header here")),
            }),
            _ => return Err(format!("`{key}` is no key of a packet")),
        }
        Ok(())
    }

    /// The packet that an ICMP error is about: UDP between these ports, from whom the error goes to, to whom it
    /// comes from.
    fn quoted(&self, ports: &str) -> Result<Vec<u8>, String> {
        let (from, to) = ports.split_once('/').ok_or("about=SOURCE-PORT/DESTINATION-PORT")?;
        let udp = Udp::new(number(Some(from))?, number(Some(to))?);
        let packet = PacketBuilder::new();
        let packet = match (self.destination, self.source) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                packet.ipv4(Ipv4::new(source, destination))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                packet.ipv6(Ipv6::new(source, destination))
            }
            _ => return Err("addresses of two families".to_owned()),
        };
        Ok(packet.udp(udp).build())
    }

    fn set_flags(&mut self, names: &str) -> Result<(), String> {
        let Upper::Tcp(_, _, flags) = &mut self.upper else {
            return Err("flags of TCP".to_owned());
        };
        for name in names.split('+') {
            flags.0 |= match name {
                "fin" => Flags::FIN.0,
                "syn" => Flags::SYN.0,
                "rst" => Flags::RST.0,
                "ack" => Flags::ACK.0,
                _ => return Err(format!("`{name}` is no flag here")),
            };
        }
        Ok(())
    }

    /// Its bytes.
    pub(crate) fn build(&self) -> Vec<u8> {
        self.between(STATION, SENDER)
    }

    /// The same, one hop further: as it leaves by a port of the stories.
    pub(crate) fn forwarded(&self, port: usize) -> Vec<u8> {
        let ttl = self.ttl.saturating_sub(1);
        Self { ttl, ..self.clone() }.between(neighbour(port), STATION)
    }

    fn between(&self, receiver: MacAddress, sender: MacAddress) -> Vec<u8> {
        let link = PacketBuilder::new().ethernet(receiver, sender);
        let link = match self.vlan {
            Some(id) => link.vlan(Tag { tpid: EtherType::VLAN, tci: Tci(id) }),
            None => link,
        };
        let network = self.network(link);
        // A later fragment begins somewhere in the payload.
        let is_later = self.fragment.is_some_and(|(offset, _)| offset > 0);
        let upper = if is_later { network } else { self.upper_layer(network) };
        upper.payload(&self.payload).build()
    }

    fn network(&self, link: PacketBuilder) -> PacketBuilder {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (fragment_offset, more_fragments) = self.fragment.unwrap_or_default();
                let protocol = Some(Protocol(self.protocol(Protocol::ICMPV4)));
                let (ttl, dscp) = (self.ttl, self.dscp);
                let header = Ipv4 {
                    ttl,
                    dscp,
                    fragment_offset,
                    more_fragments,
                    options: self.options.clone(),
                    ..Ipv4::new(source, destination)
                };
                link.ipv4(Ipv4 { protocol, ..header })
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (hop_limit, dscp, flow_label) = (self.ttl, self.dscp, self.flow_label);
                let header = Ipv6 { hop_limit, dscp, flow_label, ..Ipv6::new(source, destination) };
                let mut extensions = self.extensions.clone();
                if let Some((offset, more)) = self.fragment {
                    extensions.push(Extension::fragment(offset, more, 9));
                }
                let protocol = Some(Protocol(self.protocol(Protocol::ICMPV6)));
                let Some(last) = extensions.last_mut() else {
                    return link.ipv6(Ipv6 { next_header: protocol, ..header });
                };
                last.next_header = protocol;
                extensions.into_iter().fold(link.ipv6(header), PacketBuilder::extension)
            }
            _ => panic!("addresses of two families: {self:?}"),
        }
    }

    fn protocol(&self, icmp: Protocol) -> u8 {
        match self.upper {
            Upper::Tcp(..) => Protocol::TCP.0,
            Upper::Udp(..) => Protocol::UDP.0,
            Upper::Icmp(..) => icmp.0,
            Upper::Other(number) => number,
        }
    }

    fn upper_layer(&self, network: PacketBuilder) -> PacketBuilder {
        match self.upper {
            Upper::Tcp(from, to, flags) => network.tcp(Tcp { flags, ..Tcp::new(from, to) }),
            Upper::Udp(from, to) => network.udp(Udp::new(from, to)),
            Upper::Icmp(kind, code) if self.source.is_ipv4() => {
                network.icmpv4(Icmpv4::new(kind, code))
            }
            Upper::Icmp(kind, code) => network.icmpv6(Icmpv6::new(kind, code)),
            Upper::Other(_) => network,
        }
    }
}

/// The destination of a packet whose network-layer header begins at `offset`.
pub(crate) fn destination(packet: &[u8], offset: usize) -> IpAddr {
    let header = &packet[offset..];
    let octets = |from: usize| header.get(from..).and_then(|rest| rest.first_chunk::<4>());
    if header[0] >> 4 == 4 {
        return IpAddr::from(*octets(16).expect("a header of IPv4"));
    }
    let octets: [u8; 16] = *header[24..].first_chunk().expect("a header of IPv6");
    IpAddr::from(octets)
}
