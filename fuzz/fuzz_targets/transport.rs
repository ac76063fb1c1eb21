//! TCP, UDP, ICMP and ICMPv6: every getter. The first byte of the input is the protocol number.

#![no_main]

use std::hint::black_box;
use std::net::Ipv6Addr;

use libfuzzer_sys::fuzz_target;
use linecard_wire::checksum::pseudo_header_v6;
use linecard_wire::ip::Protocol;
use linecard_wire::{Malformed, icmpv4, icmpv6, tcp, udp};

const SOURCE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const DESTINATION: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);

fn read_tcp(bytes: &[u8]) -> Result<(), Malformed> {
    let segment = tcp::Segment::new(bytes)?;
    assert_eq!(segment.header_length() + segment.payload().len(), bytes.len());
    let data: usize = segment.options().flatten().map(|option| option.data.len() + 2).sum();
    assert!(data <= segment.header_length() - tcp::HEADER_LENGTH_MIN);
    black_box((segment.source_port(), segment.destination_port(), segment.window()));
    black_box((segment.sequence_number(), segment.acknowledgment_number(), segment.checksum()));
    black_box((segment.flags().contains(tcp::Flags::SYN | tcp::Flags::ACK), segment.flags()));
    black_box((segment.urgent_pointer(), segment.maximum_segment_size()));
    let length = bytes.len() as u32;
    let sum = pseudo_header_v6(SOURCE, DESTINATION, Protocol::TCP, length);
    assert_eq!(segment.verify_checksum(sum), sum.add_bytes(bytes).is_valid());
    Ok(())
}

fn read_udp(bytes: &[u8]) -> Result<(), Malformed> {
    let datagram = udp::Datagram::new(bytes)?;
    let length = usize::from(datagram.length());
    assert_eq!(datagram.payload().len() + udp::HEADER_LENGTH, length);
    black_box((datagram.source_port(), datagram.destination_port()));
    let sum = pseudo_header_v6(SOURCE, DESTINATION, Protocol::UDP, datagram.length().into());
    let valid = sum.add_bytes(&bytes[..length]).is_valid() && datagram.checksum() != 0;
    assert_eq!(datagram.verify_checksum(sum), valid);
    Ok(())
}

fn read_icmpv4(bytes: &[u8]) -> Result<(), Malformed> {
    let message = icmpv4::Message::new(bytes)?;
    assert_eq!(message.payload().len() + icmpv4::HEADER_LENGTH, bytes.len());
    black_box((message.message_type().is_error(), message.code(), message.checksum()));
    black_box((message.verify_checksum(), message.echo(), message.gateway()));
    assert!(message.next_hop_mtu().is_none() || message.message_type().is_error());
    let mut filled = bytes.to_vec();
    icmpv4::fill_checksum(&mut filled)?;
    // In one's complement only a message of zeroes sums up to +0, which no checksum makes valid.
    let (kind, rest) = filled.split_at(4);
    let zeroes = kind[..2] == [0, 0] && rest.iter().all(|byte| *byte == 0);
    assert!(zeroes || icmpv4::Message::new(&filled)?.verify_checksum());
    Ok(())
}

fn read_icmpv6(bytes: &[u8]) -> Result<(), Malformed> {
    let message = icmpv6::Message::new(bytes)?;
    assert_eq!(message.payload().len() + icmpv6::HEADER_LENGTH, bytes.len());
    let kind = message.message_type();
    assert!(!(kind.is_error() && kind.is_neighbor_discovery()));
    assert!(message.next_hop_mtu().is_none() || kind.is_error());
    black_box((message.code(), message.checksum(), message.echo()));
    black_box(message.verify_checksum(SOURCE, DESTINATION));
    Ok(())
}

fuzz_target!(|input: &[u8]| {
    let Some((&protocol, bytes)) = input.split_first() else { return };
    let outcome = match Protocol(protocol) {
        Protocol::TCP => read_tcp(bytes),
        Protocol::UDP => read_udp(bytes),
        Protocol::ICMPV4 => read_icmpv4(bytes),
        _ => read_icmpv6(bytes),
    };
    if let Err(malformed) = outcome {
        black_box(malformed.to_string());
    }
});
