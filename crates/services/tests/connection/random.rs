//! Whatever comes.

use super::*;

proptest! {
    /// Packets with some bytes changed, cut off anywhere.
    #[test]
    fn no_bytes_panic(
        changes in prop::collection::vec((0usize..8, prop::collection::vec((14usize..110, any::<u8>()), 0..4), 14usize..120), 1..30)
    ) {
        let mut rig = Rig::new(&ConnectionConfig { connections_per_source_max: 3, tcp_loose: true, ..ConnectionConfig::default() }, 1);
        let udp6 = between(true, true).udp(Udp::new(1, 2)).build();
        let udp4 = between(true, false).udp(Udp::new(1, 2)).build();
        let kinds = [
            segment(&HANDSHAKE[0], false),
            segment(&HANDSHAKE[1], true),
            between(true, true).extension(Extension::fragment(0, true, 1)).udp(Udp::new(1, 2)).build(),
            between(true, false).icmpv4(Icmpv4::echo_request(1, 1)).build(),
            error(true, true, &segment(&HANDSHAKE[0], true)),
            error(false, false, &udp4),
            error(true, true, &udp6),
            udp4,
        ];
        for (kind, bytes, length) in changes {
            let mut packet = kinds[kind].clone();
            for (at, value) in bytes {
                if let Some(byte) = packet.get_mut(at) {
                    *byte = value;
                }
            }
            packet.truncate(length);
            if packet.len() > 25 && packet[12] == 8 {
                // Past the header checksum.
                packet[24..26].fill(0);
                let header = packet[14..packet.len().min(34)].to_vec();
                packet[24..26].copy_from_slice(&linecard_wire::checksum::checksum(&header).to_be_bytes());
            }
            rig.state(0, &packet);
        }
    }
}
