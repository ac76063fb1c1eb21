//! Whether each packet came out, by the right port, as it should.
//!
//! Of every packet: its headers are whole, its checksum is right, the hops left are one fewer, its
//! source is the station address of the port it left by, and it was not seen before in this round;
//! at the end of a round none may be missing. Of one packet in [`SAMPLE`], and of all packets of the
//! last round: the header is bit for bit the one that was sent but for that, and port and addresses
//! are those that [`Reference`] finds.

use std::sync::Arc;

use anyhow::bail;
use linecard_packet::PortId;

use super::tables::{Reference, station};
use super::traffic::{FRAME_BYTES_MAX, Header, Source, TTL_FORWARDED, Traffic};

/// One packet in so many is looked up in the reference.
const SAMPLE: u32 = 16;

/// Checks the packets of one worker, round by round.
pub(super) struct Checker<A: Traffic> {
    reference: Arc<Reference<A>>,
    /// A bit for each packet of the round.
    seen: Vec<u64>,
    seen_packets: u64,
    /// Whether every packet of this round is looked up.
    thorough: bool,
    /// Packets that were looked up so far.
    looked_up: u64,
    wrong_packets: u64,
    first_wrong: Option<String>,
}

impl<A: Traffic> Checker<A> {
    /// For rounds of `packets` packets.
    pub(super) fn new(reference: Arc<Reference<A>>, packets: u32) -> Self {
        Self {
            reference,
            seen: vec![0; packets.div_ceil(64) as usize],
            seen_packets: 0,
            thorough: false,
            looked_up: 0,
            wrong_packets: 0,
            first_wrong: None,
        }
    }

    /// Forgets the packets of the last round.
    pub(super) fn begin(&mut self, thorough: bool) {
        self.seen.fill(0);
        self.seen_packets = 0;
        self.thorough = thorough;
    }

    /// Packets that were looked up in the reference so far.
    pub(super) fn looked_up(&self) -> u64 {
        self.looked_up
    }

    /// A packet of `round` left by `port`.
    pub(super) fn packet(&mut self, port: PortId, packet: &[u8], source: &Source<A>, round: u32) {
        if let Err(what) = self.judge(port, packet, source, round) {
            self.wrong_packets += 1;
            self.first_wrong.get_or_insert(what);
        }
    }

    fn judge(
        &mut self,
        port: PortId,
        packet: &[u8],
        source: &Source<A>,
        round: u32,
    ) -> Result<(), String> {
        let Some((header, hops)) = A::read(packet) else {
            return Err(format!("its headers or its checksum are broken: {packet:02x?}"));
        };
        let number = Source::number(&header);
        let Some(seen) = self.seen.get_mut(number as usize / 64) else {
            return Err(format!("it has number {number}, which was not sent: {packet:02x?}"));
        };
        if *seen & 1 << (number % 64) != 0 {
            return Err(format!("packet {number} came out twice"));
        }
        *seen |= 1 << (number % 64);
        self.seen_packets += 1;
        if hops != TTL_FORWARDED {
            return Err(format!("packet {number} has {hops} hops left, not {TTL_FORWARDED}"));
        }
        if packet[6..12] != station(port).octets() {
            let source = &packet[6..12];
            return Err(format!("packet {number} left port {} from {source:02x?}", port.0));
        }
        if !self.thorough && !number.is_multiple_of(SAMPLE) {
            return Ok(());
        }
        self.looked_up += 1;
        self.look_up(port, packet, &header, &source.header(round, number))
    }

    fn look_up(
        &self,
        port: PortId,
        packet: &[u8],
        header: &Header<A>,
        sent: &Header<A>,
    ) -> Result<(), String> {
        // With the checksum worked out afresh.
        let mut right = [0; FRAME_BYTES_MAX];
        let right = &mut right[..packet.len().min(FRAME_BYTES_MAX)];
        A::write(sent, TTL_FORWARDED, right);
        let headers = 12..A::headers_bytes(packet.len());
        if packet[headers.clone()] != right[headers] {
            return Err(format!("it is {header:x?}, and what was sent was {sent:x?}"));
        }
        let departure = self.reference.departure(header);
        let is_right = departure.is_some_and(|departure| {
            departure.port == port
                && departure.destination.octets() == packet[..6]
                && departure.source.octets() == packet[6..12]
        });
        if is_right {
            return Ok(());
        }
        let (to, from) = (&packet[..6], &packet[6..12]);
        Err(format!(
            "to {:x?} it left port {} from {from:02x?} to {to:02x?}; right is {departure:?}",
            header.destination, port.0
        ))
    }

    /// The judgement on a round of `packets` packets.
    ///
    /// # Errors
    /// How many packets are wrong or missing, and what is wrong with the first.
    pub(super) fn end(&self, packets: u64) -> anyhow::Result<()> {
        if let Some(first) = &self.first_wrong {
            bail!("{} packets are wrong; of the first: {first}", self.wrong_packets);
        }
        match packets.checked_sub(self.seen_packets) {
            Some(0) => Ok(()),
            _ => bail!("{} packets of {packets} came out", self.seen_packets),
        }
    }
}

#[cfg(test)]
mod tests {
    use linecard_tables::generator::ipv4_routes;
    use linecard_wire::ipv4;

    use super::super::ranks::{Ranks, Spread};
    use super::super::tables::Network;
    use super::super::traffic::Draw;
    use super::*;

    const ROUND: u32 = 3;

    /// A network, its traffic, and packet 0 as it must come out, with its port.
    fn forwarded() -> (Network<u32>, Source<u32>, PortId, Vec<u8>) {
        let network = Network::new(ipv4_routes(1, 100), 1, true).expect("tables");
        let ranks = Arc::new(Ranks::new(Spread::Uniform, 100));
        let source = Source::new(1, Draw::Routes(Arc::clone(network.prefixes()), ranks));
        let header = source.header(ROUND, 0);
        let departure = network.reference().departure(&header).expect("a route");
        let mut packet = vec![0; 60];
        Source::write(&header, departure.destination, &mut packet);
        packet[6..12].copy_from_slice(&departure.source.octets());
        ipv4::decrement_ttl(&mut packet[14..]).expect("a header");
        (network, source, departure.port, packet)
    }

    fn verdict(change: impl FnOnce(&mut PortId, &mut Vec<u8>)) -> Result<(), String> {
        let (network, source, mut port, mut packet) = forwarded();
        change(&mut port, &mut packet);
        let mut checker = Checker::new(Arc::clone(network.reference()), 1);
        checker.begin(true);
        checker.packet(port, &packet, &source, ROUND);
        checker.end(1).map_err(|error| error.to_string())
    }

    /// Changes a byte of the IPv4 header and makes its checksum right again.
    fn with_ip_byte(at: usize) -> Result<(), String> {
        verdict(|_, packet| {
            packet[14 + at] ^= 1;
            ipv4::fill_checksum(&mut packet[14..]).expect("a header");
        })
    }

    #[test]
    fn the_right_packet_is_right() {
        assert_eq!(verdict(|_, _| ()), Ok(()));
    }

    #[test]
    fn every_wrong_byte_is_noticed() {
        for at in 0..58 {
            assert!(verdict(|_, packet| packet[at] ^= 1).is_err(), "byte {at}");
        }
        for at in [8, 12, 16] {
            assert!(with_ip_byte(at).is_err(), "byte {at} of the IP header, checksum right");
        }
        assert!(with_ip_byte(8).unwrap_err().contains("hops left"));
    }

    #[test]
    fn a_wrong_port_a_second_copy_and_a_missing_packet_are_noticed() {
        assert!(verdict(|port, _| port.0 = (port.0 + 1) % 4).is_err());
        assert!(verdict(|_, packet| packet.truncate(59)).is_err());
        let (network, source, port, packet) = forwarded();
        let mut checker = Checker::new(Arc::clone(network.reference()), 2);
        checker.begin(false);
        checker.packet(port, &packet, &source, ROUND);
        assert!(checker.end(2).unwrap_err().to_string().contains("1 packets of 2 came out"));
        checker.packet(port, &packet, &source, ROUND);
        assert!(checker.end(2).unwrap_err().to_string().contains("twice"));
    }
}
