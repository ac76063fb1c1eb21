//! `192.0.2.1 → 198.51.100.9 tcp/443 in eth1`: a packet in words, and the frame that it stands for.

use std::net::IpAddr;

use anyhow::{Context, bail, ensure};
use linecard_control::filter::{Names, Sets, parse_match};
use linecard_services::filter::Match;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Icmpv4, Icmpv6, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::ip::Protocol;
use linecard_wire::tcp::Flags;
use linecard_wire::vlan::{Tag, Tci};

/// Who sends it on the link; nobody looks at that address.
const SENDER: MacAddress = MacAddress::new([0x02, 0, 0x5e, 0, 0, 1]);
/// Where packets that have ports come from, unless it is said.
const SOURCE_PORT: u16 = 40_000;

/// A packet that somebody imagines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Imagined {
    /// The port it comes in by, if it was said.
    pub(super) port: Option<String>,
    source: IpAddr,
    destination: IpAddr,
    upper: Upper,
    source_port: u16,
    ttl: u8,
    dscp: u8,
    vlan: Option<u16>,
    length: Option<u16>,
    flags: Flags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upper {
    Tcp(u16),
    Udp(u16),
    Icmp(u8, u8),
    Other(u8),
}

impl Imagined {
    /// Reads the words.
    ///
    /// # Errors
    /// What is not understood.
    pub(super) fn of(words: &[String]) -> anyhow::Result<Self> {
        let text = words.join(" ").replace("->", " ").replace('→', " ");
        let mut words = text.split_whitespace().filter(|word| *word != "to").peekable();
        let mut address = |what: &str| {
            let word = words.next().with_context(|| format!("the packet's {what} is missing"))?;
            let help = match word {
                "-" => "a shell takes -> for a redirection: quote it, or write `to`",
                _ => "write it as `192.0.2.1 → 198.51.100.9 tcp/443 in eth1`",
            };
            word.parse::<IpAddr>().with_context(|| format!("{what} `{word}` is no address: {help}"))
        };
        let (source, destination) = (address("source")?, address("destination")?);
        ensure!(
            source.is_ipv4() == destination.is_ipv4(),
            "{source} and {destination} are of different families"
        );
        let mut packet = Self {
            port: None,
            source,
            destination,
            upper: Upper::Udp(9),
            source_port: SOURCE_PORT,
            ttl: 64,
            dscp: 0,
            vlan: None,
            length: None,
            flags: Flags::SYN,
        };
        while let Some(word) = words.next() {
            match word {
                "in" | "ttl" | "dscp" | "vlan" | "length" | "source-port" | "destination-port"
                | "icmp-type" | "icmp-code" | "flags" | "tcp-flags" => {
                    let value = words.next();
                    let value = value.with_context(|| format!("`{word}` lacks its value"))?;
                    packet.set(word, value)?;
                }
                _ => packet.upper = upper(word, source.is_ipv4())?,
            }
        }
        Ok(packet)
    }

    fn set(&mut self, key: &str, value: &str) -> anyhow::Result<()> {
        let wrong = || format!("`{value}` is no value for `{key}`");
        match key {
            "in" => self.port = Some(value.to_owned()),
            "ttl" => self.ttl = value.parse().with_context(wrong)?,
            "dscp" => {
                let of = asked(&format!("dscp {value}"), |asked| asked.dscps.first().copied());
                self.dscp = of.with_context(wrong)?;
            }
            "vlan" => {
                let id: u16 = value.parse().with_context(wrong)?;
                ensure!((1..4095).contains(&id), "a VLAN identifier is 1 to 4094");
                self.vlan = Some(id);
            }
            "length" => self.length = Some(value.parse().with_context(wrong)?),
            "source-port" => self.source_port = value.parse().with_context(wrong)?,
            "destination-port" => {
                let port = value.parse().with_context(wrong)?;
                self.upper = match self.upper {
                    Upper::Tcp(_) => Upper::Tcp(port),
                    Upper::Udp(_) => Upper::Udp(port),
                    _ => bail!("`{key}` goes behind tcp or udp"),
                };
            }
            "icmp-type" | "icmp-code" => {
                let Upper::Icmp(kind, code) = self.upper else {
                    bail!("`{key}` goes behind icmp or icmpv6")
                };
                let is_ipv4 = self.source.is_ipv4();
                self.upper = match key {
                    "icmp-type" => Upper::Icmp(icmp_type(value, is_ipv4)?, code),
                    _ => Upper::Icmp(kind, icmp_code(value, kind, is_ipv4)?),
                };
            }
            _ => self.flags = flags(value)?,
        }
        Ok(())
    }

    /// The frame, for the router's own MAC address whatever that is.
    ///
    /// # Errors
    /// When it cannot be as short as is asked for.
    pub(super) fn frame(&self) -> anyhow::Result<Vec<u8>> {
        let bare = self.with_payload(0);
        let link = if self.vlan.is_some() { 18 } else { 14 };
        let shortest = bare.len() - link;
        match self.length.map(usize::from) {
            None => Ok(bare),
            Some(length) if length >= shortest => Ok(self.with_payload(length - shortest)),
            Some(length) => {
                bail!("length {length} is too short: its headers have {shortest} bytes")
            }
        }
    }

    fn with_payload(&self, bytes: usize) -> Vec<u8> {
        // Zeroes stand for the router.
        let mut packet = PacketBuilder::new().ethernet(MacAddress::new([0; 6]), SENDER);
        if let Some(id) = self.vlan {
            packet = packet.vlan(Tag { tpid: EtherType(0x8100), tci: Tci::new(0, false, id) });
        }
        let protocol = match self.upper {
            Upper::Other(number) => Some(Protocol(number)),
            _ => None,
        };
        let (dscp, ttl) = (self.dscp, self.ttl);
        packet = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = Ipv4::new(source, destination);
                packet.ipv4(Ipv4 { dscp, ttl, dont_fragment: true, protocol, ..header })
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = Ipv6::new(source, destination);
                packet.ipv6(Ipv6 { dscp, hop_limit: ttl, next_header: protocol, ..header })
            }
            _ => packet,
        };
        packet = match self.upper {
            Upper::Tcp(port) => {
                packet.tcp(Tcp { flags: self.flags, ..Tcp::new(self.source_port, port) })
            }
            Upper::Udp(port) => packet.udp(Udp::new(self.source_port, port)),
            Upper::Icmp(kind, code) if self.source.is_ipv4() => {
                packet.icmpv4(Icmpv4::new(kind, code))
            }
            Upper::Icmp(kind, code) => packet.icmpv6(Icmpv6::new(kind, code)),
            Upper::Other(_) => packet,
        };
        packet.payload(&vec![0; bytes]).build()
    }
}

/// `tcp/443`, `udp/53`, `icmp`, `icmp/8`, `icmpv6/128/0`, `protocol/47`.
fn upper(word: &str, is_ipv4: bool) -> anyhow::Result<Upper> {
    let mut parts = word.split('/');
    let name = parts.next().unwrap_or_default();
    let mut number = |what: &str| match parts.next() {
        None => Ok(None),
        Some(part) => {
            let value = part.parse::<u16>();
            value.map(Some).with_context(|| format!("`{part}` of `{word}` is no {what}"))
        }
    };
    let byte = |value: u16| {
        u8::try_from(value).with_context(|| format!("{value} of `{word}` is over 255"))
    };
    let found = match name {
        "tcp" => Upper::Tcp(number("port")?.unwrap_or(80)),
        "udp" => Upper::Udp(number("port")?.unwrap_or(9)),
        "icmp" | "icmpv6" => {
            ensure!(
                (name == "icmp") == is_ipv4,
                "`{word}` is of another family than the addresses"
            );
            let echo_request = if is_ipv4 { 8 } else { 128 };
            let kind = parts.next().map_or(Ok(echo_request), |word| icmp_type(word, is_ipv4))?;
            let code = parts.next().map_or(Ok(0), |word| icmp_code(word, kind, is_ipv4))?;
            Upper::Icmp(kind, code)
        }
        "protocol" => {
            let value = number("protocol")?.context("`protocol` lacks its number: protocol/47")?;
            Upper::Other(byte(value)?)
        }
        _ => bail!(
            "`{word}` is not understood: tcp/PORT, udp/PORT, icmp/TYPE, icmpv6/TYPE, protocol/NUMBER; in, ttl, \
             dscp, vlan, length, source-port, destination-port, icmp-type, icmp-code, tcp-flags with a value"
        ),
    };
    match parts.next() {
        None => Ok(found),
        Some(rest) => bail!("`{rest}` behind `{word}` is too much"),
    }
}

/// The number that the match language has for a term's only value.
fn asked<T>(line: &str, value: impl Fn(&Match) -> Option<T>) -> anyhow::Result<T> {
    let sets = Sets::default();
    let judged = parse_match(line, Names { ports: &[], sets: &sets })?;
    value(&judged.condition).context("it has no one value")
}

/// A type by its number, or by the name that filters have for it.
fn icmp_type(word: &str, is_ipv4: bool) -> anyhow::Result<u8> {
    let line = format!("{} icmp-type {word}", icmp(is_ipv4));
    asked(&line, |asked| asked.icmp_types.first().map(|types| *types.start()))
}

/// The same of a code.
fn icmp_code(word: &str, kind: u8, is_ipv4: bool) -> anyhow::Result<u8> {
    let line = format!("{} icmp-type {kind} icmp-code {word}", icmp(is_ipv4));
    asked(&line, |asked| asked.icmp_codes.first().map(|codes| *codes.start()))
}

fn icmp(is_ipv4: bool) -> &'static str {
    if is_ipv4 { "icmp" } else { "icmpv6" }
}

fn flags(text: &str) -> anyhow::Result<Flags> {
    let mut bits = 0;
    for name in text.split('+').filter(|name| *name != "none") {
        let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
        let bit = names.iter().position(|known| *known == name);
        let bit = bit.with_context(|| format!("`{name}` is no TCP flag: {}", names.join(", ")))?;
        bits |= 1 << bit;
    }
    Ok(Flags(bits))
}

#[cfg(test)]
mod tests {
    use linecard_observe::packet_text;

    use super::*;

    fn read(text: &str) -> anyhow::Result<Imagined> {
        Imagined::of(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn words_become_a_frame() {
        let lines = [
            (
                "192.0.2.1 → 198.51.100.9 tcp/443 in eth1",
                "192.0.2.1:40000 → 198.51.100.9:443 tcp syn, ttl 64, 40 bytes",
            ),
            (
                "192.0.2.1 198.51.100.9 tcp destination-port 22 tcp-flags ack dscp ef",
                "192.0.2.1:40000 → 198.51.100.9:22 tcp ack, dscp 46, ttl 64, 40 bytes",
            ),
            (
                "192.0.2.1 198.51.100.9 icmp/destination-unreachable/port-unreachable",
                "192.0.2.1 → 198.51.100.9 icmp type 3 code 3, ttl 64, 28 bytes",
            ),
            (
                "2001:db8::1 2001:db8::2 icmpv6 icmp-type packet-too-big",
                "2001:db8::1 → 2001:db8::2 icmpv6 type 2 code 0, hop limit 64, 48 bytes",
            ),
            (
                "192.0.2.1->198.51.100.9 udp/53 source-port 7 ttl 3 dscp 46 length 100 vlan 5",
                "192.0.2.1:7 → 198.51.100.9:53 udp, dscp 46, ttl 3, 100 bytes, vlan 5",
            ),
            (
                "2001:db8::1 to 2001:db8::2 tcp/179 flags syn+ack",
                "[2001:db8::1]:40000 → [2001:db8::2]:179 tcp syn+ack, hop limit 64, 60 bytes",
            ),
            (
                "2001:db8::1 -> 2001:db8::2 icmpv6",
                "2001:db8::1 → 2001:db8::2 icmpv6 type 128 code 0, hop limit 64, 48 bytes",
            ),
            (
                "10.0.0.1 -> 10.0.0.2 protocol/47",
                "10.0.0.1 → 10.0.0.2 protocol 47, ttl 64, 20 bytes",
            ),
        ];
        for (words, text) in lines {
            let packet = read(words).expect(words);
            assert_eq!(packet_text(&packet.frame().expect(words)), text);
        }
        assert_eq!(read(lines[0].0).expect("it is right").port.as_deref(), Some("eth1"));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let refused = [
            ("", "source is missing"),
            ("192.0.2.1 →", "destination is missing"),
            ("eth0 → 192.0.2.1", "no address"),
            ("192.0.2.1 → ::1", "different families"),
            ("192.0.2.1 → 192.0.2.2 tpc/80", "`tpc/80` is not understood"),
            ("192.0.2.1 → 192.0.2.2 tcp/80/1", "too much"),
            ("192.0.2.1 → 192.0.2.2 icmpv6", "another family"),
            ("192.0.2.1 → 192.0.2.2 ttl", "lacks its value"),
            ("192.0.2.1 → 192.0.2.2 ttl 256", "no value for `ttl`"),
            ("192.0.2.1 → 192.0.2.2 tcp/1 flags sin", "no TCP flag"),
        ];
        for (words, what) in refused {
            let error = format!("{:#}", read(words).expect_err(words));
            assert!(error.contains(what), "{words}: {error}");
        }
        let short = read("192.0.2.1 → 192.0.2.2 tcp/80 length 39").expect("it is understood");
        short.frame().expect_err("its headers are longer");
    }
}
