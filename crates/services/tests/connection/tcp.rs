//! TCP, segment by segment, told as traces.

use super::*;

#[test]
fn tcp_traces() {
    let s = |n: u32| S.wrapping_add(n);
    let traces: Vec<(&str, Vec<Line>)> = vec![
        (
            "data both ways, across the end of the numbers",
            after_handshake(&[
                (0, 'c', ACK, C + 1, s(1), 500, Established),
                (0, 's', ACK, s(1), C + 501, 1400, Established),
                (0, 'c', ACK, C + 501, s(1401), 0, Established),
                (0, 's', ACK, s(1401), C + 501, 1400, Established),
            ]),
        ),
        (
            "nothing without a SYN",
            vec![
                (0, 'c', ACK, C, 5, 10, Invalid),
                (0, 's', SYN_ACK, S, C + 1, 0, Invalid),
                (0, 'c', RST, C, 0, 0, Invalid),
                (0, 'c', Flags(0), C, 0, 0, Invalid),
                (0, 'c', Flags(0x29), C, 0, 0, Invalid),
                (0, 'c', Flags(3), C, 0, 0, Invalid),
            ],
        ),
        (
            "retransmissions",
            vec![
                (0, 'c', SYN, C, 0, 0, New),
                (1, 'c', SYN, C, 0, 0, New),
                (0, 's', SYN_ACK, S, C + 1, 0, Established),
                (1, 's', SYN_ACK, S, C + 1, 0, Established),
                (0, 'c', ACK, C + 1, s(1), 500, Established),
                (1, 'c', ACK, C + 1, s(1), 500, Established),
                (0, 's', SYN_ACK, S, C + 1, 0, Established),
            ],
        ),
        (
            "a SYN-ACK must acknowledge the SYN",
            vec![
                (0, 'c', SYN, C, 0, 0, New),
                (0, 's', SYN_ACK, S, C + 2, 0, Invalid),
                (0, 's', SYN_ACK, S, C.wrapping_sub(2000), 0, Invalid),
                (0, 's', ACK, S, C + 1, 0, Invalid),
                (0, 's', SYN_ACK, S, C + 1, 0, Established),
            ],
        ),
        (
            "simultaneous open",
            vec![
                (0, 'c', SYN, C, 0, 0, New),
                (0, 's', SYN, S, 0, 0, Established),
                (0, 'c', SYN_ACK, C, s(1), 0, Established),
                (0, 's', SYN_ACK, S, C + 1, 0, Established),
                (0, 'c', ACK, C + 1, s(1), 100, Established),
            ],
        ),
        (
            "half close, and both closed for two minutes",
            after_handshake(&[
                (0, 'c', FIN_ACK, C + 1, s(1), 0, Established),
                (0, 's', ACK, s(1), C + 2, 1000, Established),
                (50, 's', ACK, s(1001), C + 2, 1000, Established),
                (50, 'c', ACK, C + 2, s(2001), 0, Established),
                (0, 's', FIN_ACK, s(2001), C + 2, 0, Established),
                (0, 'c', ACK, C + 2, s(2002), 0, Established),
                (110, 's', FIN_ACK, s(2001), C + 2, 0, Established),
                (122, 'c', ACK, C + 2, s(2002), 0, Invalid),
            ]),
        ),
        (
            "a half closed connection is kept for a minute",
            after_handshake(&[
                (0, 'c', FIN_ACK, C + 1, s(1), 0, Established),
                (0, 's', ACK, s(1), C + 2, 0, Established),
                (62, 's', ACK, s(1), C + 2, 10, Invalid),
            ]),
        ),
        (
            "ports used again in TIME_WAIT",
            after_handshake(&[
                (0, 's', FIN_ACK, s(1), C + 1, 0, Established),
                (0, 'c', FIN_ACK, C + 1, s(2), 0, Established),
                (0, 's', ACK, s(2), C + 2, 0, Established),
                (1, 'c', SYN, 77_000, 0, 0, New),
                (0, 's', SYN_ACK, 5000, 77_001, 0, Established),
                (0, 'c', ACK, 77_001, 5001, 10, Established),
            ]),
        ),
        (
            "refused",
            vec![
                (0, 'c', SYN, C, 0, 0, New),
                (0, 's', RST_ACK, 0, C + 7, 0, Invalid),
                (0, 's', RST_ACK, 0, C + 1, 0, Established),
                (1, 'c', SYN, C + 9000, 0, 0, New),
            ],
        ),
        (
            "an exact reset closes, ten seconds later all is forgotten",
            after_handshake(&[
                (0, 'c', ACK, C + 1, s(1), 300, Established),
                (0, 's', RST, s(1), 0, 0, Established),
                (12, 'c', ACK, C + 301, s(1), 1, Invalid),
            ]),
        ),
        (
            "a reset outside of the window is invalid, one within it closes nothing",
            after_handshake(&[
                (0, 's', RST, s(1).wrapping_add(200_000), 0, 0, Invalid),
                (0, 's', RST, s(1).wrapping_sub(1), 0, 0, Invalid),
                (0, 'c', RST, C + 1_000_000, 0, 0, Invalid),
                (0, 's', RST, s(1).wrapping_add(50_000), 0, 0, Established),
                (12, 'c', ACK, C + 1, s(1), 1, Established),
            ]),
        ),
        (
            "data outside of the window is invalid",
            after_handshake(&[
                // The windows of SYNs are not scaled, this one is.
                (0, 's', ACK, s(1), C + 1, 0, Established),
                (0, 'c', ACK, C + 1 + 128_001, s(1), 10, Invalid),
                (0, 'c', ACK, C.wrapping_sub(140_000), s(1), 10, Invalid),
                (0, 'c', ACK, C + 1, s(900), 10, Invalid),
                (0, 'c', ACK, C + 1, s(1).wrapping_sub(140_000), 10, Invalid),
                (0, 'c', ACK, C + 1 + 128_000, s(1), 10, Established),
                // A keep-alive.
                (0, 's', ACK, S, C + 1, 0, Established),
            ]),
        ),
        (
            "a host that has restarted gets out of a half-open connection",
            after_handshake(&[
                (600, 'c', SYN, 900_000_000, 0, 0, Established),
                (0, 's', ACK, s(1), C + 1, 0, Established),
                (0, 'c', RST, C + 1, 0, 0, Established),
                (1, 'c', SYN, 900_000_000, 0, 0, New),
            ]),
        ),
        (
            "an idle connection is kept for five days, a SYN for two minutes",
            after_handshake(&[
                (431_999, 'c', ACK, C + 1, s(1), 10, Established),
                (432_001, 's', ACK, s(1), C + 11, 10, Invalid),
                (0, 'c', SYN, C, 0, 0, New),
                (119, 's', SYN_ACK, S, C + 1, 0, Established),
                (62, 'c', ACK, C + 1, s(1), 0, Invalid),
            ]),
        ),
    ];
    for (description, trace) in &traces {
        run(description, &ConnectionConfig::default(), trace);
    }
}

#[test]
fn connections_are_picked_up_in_the_middle_if_configured() {
    let config = ConnectionConfig { tcp_loose: true, ..ConnectionConfig::default() };
    run(
        "loose",
        &config,
        &[
            (0, 'c', ACK, C, 5, 10, New),
            (0, 'c', ACK, C + 10, 5, 10, New),
            (0, 's', ACK, 9_000_000, C + 20, 10, Established),
            (1000, 'c', ACK, C + 20, 9_000_010, 10, Established),
            (0, 's', RST, 9_000_010, 0, 0, Established),
            (12, 'c', FIN_ACK, C, 5, 0, Invalid),
        ],
    );
}
