//! UDP, echo, errors and fragments, and what a filter refuses.

use super::*;

#[test]
fn what_the_filter_refuses_leaves_no_trace() {
    let mut rig = Rig::new(&ConnectionConfig::default(), 1);
    let [syn, syn_ack, _] = HANDSHAKE.map(|line| segment(&line, false));
    assert_eq!(rig.pass(0, &syn, false).0, New);
    assert_eq!(rig.tables.count(rig.now), (0, 0));
    assert_eq!(rig.state(0, &syn_ack), Invalid);
    assert_eq!(rig.state(0, &syn), New);
    assert_eq!(rig.pass(0, &syn_ack, false).0, Established);
    assert_eq!(rig.tables.count(rig.now), (1, 0));
}

#[test]
fn udp_and_other_protocols_go_by_answers() {
    for is_ipv6 in [false, true] {
        let mut rig = Rig::new(&ConnectionConfig::default(), 2);
        let ask = between(true, is_ipv6).udp(Udp::new(4000, 53)).payload(b"?").build();
        let answer = between(false, is_ipv6).udp(Udp::new(53, 4000)).payload(b"!").build();
        let other = between(false, is_ipv6).udp(Udp::new(53, 4001)).payload(b"!").build();
        assert_eq!(
            [&ask, &ask, &answer, &ask, &other].map(|p| rig.state(0, p)),
            [New, New, Established, Established, New]
        );
        rig.now += 119 * SECOND;
        assert_eq!(rig.state(1, &answer), Established, "both ways: two minutes");
        rig.now += 121 * SECOND;
        assert_eq!(rig.state(1, &ask), New);
        rig.now += 31 * SECOND;
        assert_eq!(rig.state(1, &answer), New, "one way: half a minute");
    }
    let mut rig = Rig::new(&ConnectionConfig::default(), 2);
    let gre = |from_client| {
        let (a, b) = if from_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let header = Ipv4 { protocol: Some(Protocol::GRE), ..Ipv4::new(a, b) };
        link().ipv4(header).payload(&[0; 8]).build()
    };
    assert_eq!(rig.state(0, &gre(false)), New);
    assert_eq!(rig.state(1, &gre(true)), Established);
}

#[test]
fn echo_goes_by_identifier_and_role() {
    let mut rig = Rig::new(&ConnectionConfig::default(), 2);
    let v4 = |from_client, message| between(from_client, false).icmpv4(message).build();
    let v6 = |from_client, message| between(from_client, true).icmpv6(message).build();
    assert_eq!(rig.state(1, &v4(false, Icmpv4::echo_reply(7, 1))), Invalid);
    assert_eq!(rig.state(0, &v4(true, Icmpv4::echo_request(7, 1))), New);
    assert_eq!(rig.state(0, &v4(true, Icmpv4::echo_request(7, 2))), New);
    assert_eq!(rig.state(1, &v4(false, Icmpv4::echo_request(7, 1))), New, "its own ping");
    assert_eq!(rig.state(1, &v4(false, Icmpv4::echo_reply(8, 1))), Invalid);
    assert_eq!(rig.state(1, &v4(false, Icmpv4::echo_reply(7, 1))), Established);
    assert_eq!(rig.state(0, &v4(true, Icmpv4::echo_request(7, 3))), Established);
    assert_eq!(rig.state(0, &v6(true, Icmpv6::echo_request(7, 1))), New);
    assert_eq!(rig.state(1, &v6(false, Icmpv6::echo_reply(7, 1))), Established);
    assert_eq!(rig.state(0, &v4(true, Icmpv4::new(9, 0))), Invalid, "router advertisement");
}

#[test]
fn errors_belong_to_the_connection_they_quote() {
    for is_ipv6 in [false, true] {
        let mut rig = Rig::new(&ConnectionConfig::default(), 2);
        let udp = between(true, is_ipv6).udp(Udp::new(4000, 53)).payload(b"?").build();
        assert_eq!(rig.state(1, &error(true, is_ipv6, &udp)), Invalid, "about nothing known");
        rig.state(0, &udp);
        assert_eq!(rig.state(1, &error(true, is_ipv6, &udp)), Related);
        assert_eq!(rig.state(1, &error(false, is_ipv6, &udp)), Invalid, "not to the sender");
        for line in HANDSHAKE {
            rig.state(0, &segment(&line, is_ipv6));
        }
        let sent = |seq| segment(&(0, 'c', ACK, seq, S.wrapping_add(1), 0, New), is_ipv6);
        assert_eq!(rig.state(1, &error(true, is_ipv6, &sent(C + 1))), Related);
        assert_eq!(rig.state(1, &error(true, is_ipv6, &sent(C + 9_000_000))), Invalid, "RFC 5927");
        let cut = error(true, is_ipv6, &udp);
        let cut = if is_ipv6 { &cut[..14 + 40 + 8 + 43] } else { &cut[..14 + 20 + 8 + 23] };
        assert_eq!(rig.state(1, cut), Invalid, "cut off before the ports");
    }
}

#[test]
fn later_fragments_have_the_state_of_the_first() {
    let mut rig = Rig::new(&ConnectionConfig::default(), 1);
    let fragment = |from_client, offset, more_fragments, identification| {
        let (a, b) = if from_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let protocol = Some(Protocol::UDP);
        let header = Ipv4 {
            fragment_offset: offset,
            more_fragments,
            identification,
            protocol,
            ..Ipv4::new(a, b)
        };
        let ports = if from_client { [0x0f, 0xa0, 0, 53] } else { [0, 53, 0x0f, 0xa0] };
        link().ipv4(header).payload(&[&ports[..], &[0; 20]].concat()).build()
    };
    assert_eq!(rig.state(0, &fragment(true, 24, false, 1)), Invalid, "before the first");
    assert_eq!(rig.state(0, &fragment(true, 0, true, 1)), New);
    assert_eq!(rig.state(0, &fragment(true, 24, false, 1)), New);
    assert_eq!(rig.state(0, &fragment(true, 24, false, 2)), Invalid, "of another datagram");
    assert_eq!(rig.state(0, &fragment(false, 0, true, 3)), Established);
    assert_eq!(rig.state(0, &fragment(false, 24, true, 3)), Established);
    rig.now += 31 * SECOND;
    assert_eq!(rig.state(0, &fragment(false, 24, true, 3)), Invalid);

    let six = |offset, more| {
        let header = Ipv6::new(v6(1), v6(2));
        let extension = Extension::fragment(offset, more, 5);
        link().ipv6(header).extension(extension).udp(Udp::new(1, 2)).payload(&[0; 16]).build()
    };
    assert_eq!(rig.state(0, &six(0, true)), New);
    assert_eq!(rig.state(0, &six(24, false)), New);
}
