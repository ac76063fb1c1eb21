//! The acts in memory: the same story as far as it needs no kernel.

use std::time::{Duration, Instant};

use linecard_packet::PuntReason;

use super::hosts::{self, Link, TTL};
use super::{HOST_MACS, PORT_CAPACITY, ROUTER_MACS, Stage};
use crate::demo::act::{Act, Finding, Scene};
use crate::demo::numbers::{self, Rates, per_cent};
use crate::demo::unwanted::{self, Fate, Path};
use crate::output::count;

/// The client's end, and the server's two.
const CLIENT: usize = 0;
const PATHS: [usize; 2] = [1, 2];
const FLOWS: u16 = 1_024;
/// The share of each path, in per cent, as in the lab's act.
const SHARE: std::ops::RangeInclusive<f64> = 40.0..=60.0;
const COPIES: u64 = 100;

/// The acts, in the order of the lab's.
pub(in crate::demo) fn acts() -> [Act<Stage>; 9] {
    [
        Act {
            name: "ping",
            title: "Echo requests to the server, and the replies, IPv4 and IPv6",
            claim: "Every ping is answered",
            run: ping,
        },
        Act {
            name: "traceroute",
            title: "Packets whose TTL or hop limit runs out",
            claim: "The kernel is to answer",
            run: traceroute,
        },
        Act {
            name: "path mtu",
            title: "Packets of 1500 bytes to a link that takes 1400",
            claim: "The kernel is to answer",
            run: path_mtu,
        },
        Act {
            name: "tcp",
            title: "A TCP transfer",
            claim: "Every byte arrives right",
            run: |_, _| Ok(Finding::not_shown("needs a kernel at both ends")),
        },
        Act {
            name: "ecmp",
            title: "A flood of 1,024 UDP flows; one thread sends, forwards and receives",
            claim: "Flows spread over both paths",
            run: flood,
        },
        Act {
            name: "drops",
            title: "What no router forwards",
            claim: "Each has its reason",
            run: drops,
        },
        Act {
            name: "kill -9",
            title: "Linecard is killed under traffic",
            claim: "The kernel forwards on; at most 5 ms of traffic is lost",
            run: |_, _| Ok(Finding::not_shown("needs a kernel to fall back to")),
        },
        Act {
            name: "restart",
            title: "Linecard starts again under a TCP transfer",
            claim: "TCP goes on, no stall of 1 s",
            run: |_, _| Ok(Finding::not_shown("needs a kernel that takes over")),
        },
        Act {
            name: "books",
            title: "The books are added up",
            claim: "received = sent + dropped + queued + punted",
            run: balance,
        },
    ]
}

/// From the host behind `port` to the router.
fn towards_router(port: usize, ttl: u8) -> Link {
    Link { to: ROUTER_MACS[port], from: HOST_MACS[port], ttl }
}

/// From the router to the host behind `port`, one hop later.
fn from_router(port: usize) -> Link {
    Link { to: HOST_MACS[port], from: ROUTER_MACS[port], ttl: TTL - 1 }
}

fn ping(stage: &mut Stage, scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let requests = scene.pace.count(20) as u16;
    let mut replies = 0;
    for (ipv6, number) in [false, true].into_iter().flat_map(|v| (0..requests).map(move |n| (v, n)))
    {
        let request = hosts::echo(towards_router(CLIENT, TTL), ipv6, false, number);
        let arrived = stage.peers[CLIENT].send(&request) && {
            stage.settle();
            // Either path is right.
            PATHS.iter().any(|&path| {
                let expected = hosts::echo(from_router(path), ipv6, false, number);
                let reply = hosts::echo(towards_router(path, TTL), ipv6, true, number);
                let peer = &mut stage.peers[path];
                peer.receive().is_some_and(|packet| packet == expected) && peer.send(&reply)
            })
        };
        stage.settle();
        let expected = hosts::echo(from_router(CLIENT), ipv6, true, number);
        let replied = stage.peers[CLIENT].receive().is_some_and(|packet| packet == expected);
        replies += u32::from(arrived && replied);
    }
    let sent = 2 * u32::from(requests);
    let measured = format!("{replies} of {sent}, each byte right");
    Ok(Finding::new(replies == sent, measured).with("requests", sent).with("replies", replies))
}

fn traceroute(stage: &mut Stage, _scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let frames =
        [false, true].map(|ipv6| hosts::datagram(towards_router(CLIENT, 1), ipv6, 4_000, 64));
    punted(stage, &frames, PuntReason::TtlExpired)
}

fn path_mtu(stage: &mut Stage, _scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let frames =
        [false, true].map(|ipv6| hosts::datagram(towards_router(CLIENT, TTL), ipv6, 4_000, 1_500));
    punted(stage, &frames, PuntReason::TooBig)
}

/// Sends `frames` and looks whether each goes to the kernel for `reason`, and nowhere else.
fn punted(stage: &mut Stage, frames: &[Vec<u8>], reason: PuntReason) -> anyhow::Result<Finding> {
    // What was received by the hosts counts as sent from the next round on.
    stage.settle();
    let before = stage.ports().total;
    for frame in frames {
        let _ = stage.peers[CLIENT].send(frame);
    }
    stage.settle();
    let after = stage.ports().total;
    let packets = after.punted_packets[reason] - before.punted_packets[reason];
    let sent = frames.len() as u64;
    let holds = packets == sent && after.sent_packets == before.sent_packets;
    let measured = format!("{packets} of {sent}, as {}", reason.label());
    Ok(Finding::new(holds, measured).with("sent_packets", sent).with("punted_packets", packets))
}

fn flood(stage: &mut Stage, scene: &Scene<'_>) -> anyhow::Result<Finding> {
    /// Packets between two looks at the clock.
    const BURST: usize = 256;
    let frame = |flow| hosts::datagram(towards_router(CLIENT, TTL), false, 1_024 + flow, 64);
    let frames: Vec<_> = (0..FLOWS).map(frame).collect();
    let mut next = frames.iter().cycle();
    let before = stage.ports();
    let mut rates = Rates::since(before.total.clone());
    let (start, mut arrived) = (Instant::now(), [0u64; 2]);
    let time = scene.pace.time(Duration::from_secs(3));
    let mut due = scene.console.live_interval();
    while start.elapsed() < time {
        scene.interrupt.check()?;
        if start.elapsed() >= due {
            due += scene.console.live_interval();
            scene.console.live(&rates.line(stage.ports().total))?;
        }
        for frame in next.by_ref().take(BURST) {
            // The worker empties the ring in each round, so that it never fills.
            let _ = stage.peers[CLIENT].send(frame);
        }
        stage.round();
        collect(stage, &mut arrived);
    }
    let elapsed = start.elapsed();
    stage.settle();
    collect(stage, &mut arrived);
    stage.settle();

    let after = stage.ports();
    let forwarded: u64 = arrived.iter().sum();
    let share_a = per_cent(arrived[0], forwarded);
    let rate = forwarded as f64 / elapsed.as_secs_f64();
    let holds = SHARE.contains(&share_a)
        && after.total.total_balance() == 0
        && forwarded == after.total.sent_packets - before.total.sent_packets;
    let measured =
        format!("{share_a:.1} % and {:.1} %; {} packets/s", 100.0 - share_a, count(rate as u64),);
    Ok(Finding::new(holds, measured)
        .with("flows", FLOWS)
        .with("path_a_packets", arrived[0])
        .with("path_b_packets", arrived[1])
        .with("forwarded_packets_per_second", rate))
}

/// Takes what has arrived at the server.
fn collect(stage: &mut Stage, arrived: &mut [u64; 2]) {
    for (&path, arrived) in PATHS.iter().zip(arrived) {
        while stage.peers[path].receive_with(|_| ()).is_some() {
            *arrived += 1;
        }
    }
}

fn drops(stage: &mut Stage, scene: &Scene<'_>) -> anyhow::Result<Finding> {
    const { assert!(COPIES as usize <= PORT_CAPACITY) };
    let path = Path {
        router_mac: ROUTER_MACS[CLIENT],
        client_mac: HOST_MACS[CLIENT],
        client: hosts::CLIENT_IPV4,
        server: hosts::SERVER_IPV4,
    };
    let mut counted = Vec::new();
    for (fate, frame) in unwanted::frames(&path) {
        let of = |stage: &Stage| {
            let total = stage.ports().total;
            match fate {
                Fate::Dropped(reason) => total.dropped_packets[reason],
                Fate::ToTheKernel(reason) => total.punted_packets[reason],
            }
        };
        let before = of(stage);
        for _ in 0..COPIES {
            let _ = stage.peers[CLIENT].send(&frame);
        }
        stage.settle();
        counted.push((fate, of(stage) - before));
    }
    unwanted::finding(scene, &counted, COPIES)
}

fn balance(stage: &mut Stage, _scene: &Scene<'_>) -> anyhow::Result<Finding> {
    stage.settle();
    let report = stage.ports();
    Ok(numbers::balance(&[&report]))
}
