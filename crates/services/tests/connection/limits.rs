//! Full tables, limits by source, sweeps and lists.

use super::*;

/// A SYN from one of many addresses.
fn syn(number: u32) -> Vec<u8> {
    let source = Ipv4Addr::from_bits(0x0a00_0000 + number);
    let header = Tcp { flags: SYN, sequence_number: number, ..Tcp::new(1024, 80) };
    link().ipv4(Ipv4::new(source, SERVER)).tcp(header).build()
}

#[test]
fn a_flood_of_syns_evicts_no_established_connection_and_keeps_no_one_out() {
    let config = ConnectionConfig { connections_ipv4_max: 2000, ..ConnectionConfig::default() };
    let mut rig = Rig::new(&config, 2);
    let udp = |n: u16, back: bool| {
        let ports = if back { Udp::new(53, n) } else { Udp::new(n, 53) };
        between(!back, false).udp(ports).build()
    };
    for n in 1000..2000 {
        assert_eq!(rig.state(0, &udp(n, false)), New);
        assert_eq!(rig.state(1, &udp(n, true)), Established);
    }
    for number in 0..20_000 {
        rig.now += SECOND / 1000;
        assert_eq!(rig.pass(number as usize, &syn(number), true), (New, Verdict::Undecided));
    }
    assert!(rig.count(ConnectionCount::Evicted) > 15_000);
    assert_eq!(rig.count(ConnectionCount::Untracked), 0);
    assert!((1000..2000).all(|n| rig.state(1, &udp(n, true)) == Established));
    for line in HANDSHAKE {
        assert_eq!(rig.state(0, &segment(&line, false)), line.6, "a newcomer in the flood");
    }
    let live = rig.count(ConnectionCount::Inserted)
        - rig.count(ConnectionCount::Evicted)
        - rig.count(ConnectionCount::Expired);
    assert_eq!(rig.tables.count(rig.now).0 as u64, live);
}

#[test]
fn a_table_of_established_connections_is_full() {
    for (when_full, verdict) in [
        (WhenFull::Forward, Verdict::Undecided),
        (WhenFull::Drop, Verdict::Drop(DropReason::ConnectionTableFull)),
    ] {
        let config =
            ConnectionConfig { connections_ipv4_max: 10, when_full, ..ConnectionConfig::default() };
        let mut rig = Rig::new(&config, 1);
        let udp = |n: u16, back: bool| {
            let ports = if back { Udp::new(53, n) } else { Udp::new(n, 53) };
            between(!back, false).udp(ports).build()
        };
        for n in 0..16 {
            rig.state(0, &udp(n, false));
            assert_eq!(rig.state(0, &udp(n, true)), Established);
        }
        assert_eq!(rig.pass(0, &syn(1), true), (New, verdict));
        assert_eq!(rig.count(ConnectionCount::Untracked), 1);
        rig.now += 121 * SECOND;
        assert_eq!(rig.pass(0, &syn(1), true), (New, Verdict::Undecided));
        assert_eq!(rig.tables.count(rig.now), (1, 0));
    }
}

#[test]
fn a_source_begins_no_more_than_it_may() {
    let config = ConnectionConfig { connections_per_source_max: 20, ..ConnectionConfig::default() };
    let mut rig = Rig::new(&config, 2);
    let udp = |n: u16, from_client| between(from_client, false).udp(Udp::new(n, n)).build();
    let limited = Verdict::Drop(DropReason::ConnectionLimit);
    for n in 0..20 {
        assert_eq!(rig.pass(0, &udp(n, true), true).1, Verdict::Undecided);
    }
    assert_eq!(rig.pass(1, &udp(20, true), true), (New, limited));
    assert_eq!(rig.pass(1, &udp(3, true), true), (New, Verdict::Undecided), "it has this one");
    assert_eq!(rig.pass(1, &udp(30, false), true).1, Verdict::Undecided, "another source");
    // When the clock hand has come by, it may again.
    rig.now += 31 * SECOND;
    while rig.count(ConnectionCount::Expired) < 21 {
        rig.pass(0, &syn(1)[..20], true);
    }
    assert_eq!(rig.pass(1, &udp(20, true), true).1, Verdict::Undecided);
}

/// Without a packet of anybody, by the control side's own hand.
#[test]
fn a_sweep_forgets_what_has_expired() {
    let config = ConnectionConfig { connections_per_source_max: 1, ..ConnectionConfig::default() };
    let mut rig = Rig::new(&config, 1);
    let udp = |n: u16| between(true, true).udp(Udp::new(n, n)).build();
    let limited = Verdict::Drop(DropReason::ConnectionLimit);
    assert_eq!(rig.pass(0, &udp(1), true).1, Verdict::Undecided);
    assert_eq!(rig.pass(0, &udp(2), true).1, limited);
    let (mut hand, step) = (5, rig.tables.buckets() / 10 + 1);
    let mut sweep =
        |now| -> usize { (0..11).map(|_| rig.tables.sweep(&mut hand, step, now)).sum() };
    assert_eq!(sweep(rig.now), 0);
    assert_eq!(sweep(rig.now + 31 * SECOND), 1);
    rig.now += 31 * SECOND;
    assert_eq!(rig.pass(0, &udp(2), true).1, Verdict::Undecided);
    assert_eq!(rig.pass(0, &udp(1), true).1, limited);

    // Another limit, other timeouts and all else that can change at any time.
    assert!(config.fits(&ConnectionConfig { connections_per_source_max: 2, ..config }));
    assert!(!config.fits(&ConnectionConfig::default()));
    let other = ConnectionConfig {
        connections_per_source_max: 2,
        udp_unreplied_timeout_seconds: 1,
        tcp_loose: true,
        ..config
    };
    rig.tables.set(&other);
    assert_eq!(rig.pass(0, &udp(1), true).1, Verdict::Undecided);
    assert_eq!(rig.tables.count(rig.now), (0, 2));
    assert_eq!(rig.tables.count(rig.now + 2 * SECOND), (0, 0));
    let middle = segment(&(0, 'c', ACK, C, S, 10, New), false);
    assert_eq!(rig.state(0, &middle), New);
}

/// The hand does not stop at the end of a table: after a round it has been everywhere, wherever it began.
#[test]
fn a_round_of_sweeps_passes_each_bucket() {
    let mut rig = Rig::new(&ConnectionConfig::default(), 1);
    // As many steps as the daemon takes for a round; they do not divide the buckets.
    let (buckets, steps) = (rig.tables.buckets(), 50);
    let step = buckets.div_ceil(steps);
    assert_ne!(buckets % step, 0);
    let mut hand = 0;
    for round in 0..4 {
        for number in 0..500 {
            let packet = between(true, true).udp(Udp::new(number, round)).build();
            assert_eq!(rig.pass(0, &packet, true).1, Verdict::Undecided);
            let packet = between(true, false).udp(Udp::new(number, round)).build();
            assert_eq!(rig.pass(0, &packet, true).1, Verdict::Undecided);
        }
        rig.now += 31 * SECOND;
        let gone: usize = (0..steps).map(|_| rig.tables.sweep(&mut hand, step, rig.now)).sum();
        assert_eq!(gone, 1000, "round {round}");
    }
}

#[test]
fn connections_are_listed_by_who_began_them() {
    let mut rig = Rig::new(&ConnectionConfig::default(), 1);
    for line in HANDSHAKE {
        rig.state(0, &segment(&line, true));
    }
    // Begun from the higher address, which is the key's second.
    rig.state(0, &between(false, false).udp(Udp::new(53, 4000)).build());
    rig.state(0, &between(true, false).icmpv4(Icmpv4::echo_request(7, 1)).build());
    for n in 0..100 {
        rig.state(0, &between(true, false).udp(Udp::new(n, 9)).build());
    }
    rig.now += SECOND;
    let census = rig.tables.census(rig.now);
    let count = |group, state| {
        let mut all = census.iter().filter(|it| it.group == group && it.state == state);
        all.next().map(|it| it.connections)
    };
    assert_eq!(count("tcp", "established"), Some([0, 1]));
    assert_eq!(count("udp", "unreplied"), Some([101, 0]));
    assert_eq!(count("icmp", "query"), Some([1, 0]));
    assert_eq!(census.iter().map(|it| it.connections[0]).sum::<usize>(), 102);

    let all = |limit, wanted: &dyn Fn(&Connection) -> bool| {
        let (mut found, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            let (page, next) = rig.tables.page(at, limit, rig.now, wanted);
            assert!(page.len() < limit + 8 && next.is_none_or(|next| next > at));
            found.extend(page);
            from = next;
        }
        found
    };
    assert_eq!(all(10, &|_| true).len(), 103);
    let tcp = all(10, &|it| it.state == "established");
    assert_eq!((tcp[0].source, tcp[0].destination), (v6(1).into(), v6(2).into()));
    assert_eq!((tcp.len(), tcp[0].protocol, tcp[0].ports), (1, 6, Some((40_000, 443))));
    assert!((900_000_000..1_100_000_000).contains(&tcp[0].idle_nanoseconds), "{tcp:?}");
    assert!(tcp[0].left_nanoseconds.abs_diff(431_999 * SECOND) < SECOND, "{tcp:?}");
    let udp = all(10, &|it| it.source == SERVER);
    assert_eq!((udp.len(), udp[0].ports), (1, Some((53, 4000))));
    let ping = all(1, &|it| it.protocol == 1);
    assert_eq!((ping.len(), ping[0].query, ping[0].source), (1, Some((8, 7)), CLIENT.into()));
}
