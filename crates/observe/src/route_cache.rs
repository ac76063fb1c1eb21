//! Whether the classifiers forward by the route cache, port by port, and if not why not.

use serde::{Deserialize, Serialize};

/// What keeps packets of a port out of the route cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteCacheObstacle {
    /// The configuration says so.
    Mode,
    /// Packets must pass services, which the classifiers do not have.
    Services,
    /// The kernel does not give what it takes; with the kernel's words.
    Unavailable(String),
    /// The port is served by packet sockets.
    PacketSocket,
    /// The XDP program runs behind the driver.
    GenericMode,
    /// The sockets do not copy.
    ZeroCopy,
    /// Its number is too large.
    PortsMax,
    /// What is lost behind a redirect would not be counted.
    LossesNotCounted,
    /// The kernel refuses the XDP program with the route cache.
    ProgramRefused,
    /// The driver takes no redirected frames now.
    NotATarget,
    /// The same of a veth, whose driver takes them when its peer is ready for them.
    PeerNotReady,
    /// The link is down.
    LinkDown,
    /// The driver has refused frames of late.
    FramesRefused,
    /// No other port takes redirected frames, so that none is redirected from here.
    NoOutgoingPort,
    /// No other port's classifier redirects, so that none is redirected to here.
    NoIncomingPort,
    /// It shows when the program is attached.
    NotKnownYet,
}

/// How a port is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortService {
    /// By packet sockets.
    Packet,
    /// By XDP behind the driver.
    Generic,
    /// By XDP in the driver, by sockets that copy or do not.
    Native {
        /// They do not.
        zero_copy: bool,
    },
}

/// What decides whether frames may be redirected to a port now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectTarget {
    /// What is lost on the way to it is counted.
    pub losses_counted: bool,
    /// Its link is up and has its carrier.
    pub up: bool,
    /// Its driver takes redirected frames, or the kernel's words when it does not tell.
    pub takes_frames: Result<bool, String>,
    /// The driver is veth's.
    pub is_veth: bool,
    /// It has refused frames of late.
    pub refused: bool,
}

impl RouteCacheObstacle {
    /// Why port `number` has no part in a cache for `ports_max` ports, as long as it is served like this.
    #[must_use]
    pub fn of_service(service: PortService, number: usize, ports_max: usize) -> Option<Self> {
        match service {
            PortService::Packet => Some(Self::PacketSocket),
            PortService::Generic => Some(Self::GenericMode),
            PortService::Native { zero_copy: true } => Some(Self::ZeroCopy),
            PortService::Native { .. } if number >= ports_max => Some(Self::PortsMax),
            PortService::Native { .. } => None,
        }
    }

    /// Why no frames are redirected to a port now.
    #[must_use]
    pub fn of_target(target: &RedirectTarget) -> Option<Self> {
        if !target.losses_counted {
            return Some(Self::LossesNotCounted);
        }
        if !target.up {
            return Some(Self::LinkDown);
        }
        match &target.takes_frames {
            Err(error) => Some(Self::Unavailable(error.clone())),
            Ok(false) if target.is_veth => Some(Self::PeerNotReady),
            Ok(false) => Some(Self::NotATarget),
            Ok(true) => target.refused.then_some(Self::FramesRefused),
        }
    }

    /// The label, as in JSON.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Mode => "mode_off",
            Self::Services => "services",
            Self::Unavailable(_) => "unavailable",
            Self::PacketSocket => "packet_socket",
            Self::GenericMode => "generic_mode",
            Self::ZeroCopy => "zero_copy",
            Self::PortsMax => "ports_max",
            Self::LossesNotCounted => "losses_not_counted",
            Self::ProgramRefused => "program_refused",
            Self::NotATarget => "not_a_target",
            Self::PeerNotReady => "peer_not_ready",
            Self::LinkDown => "link_down",
            Self::FramesRefused => "frames_refused",
            Self::NoOutgoingPort => "no_outgoing_port",
            Self::NoIncomingPort => "no_incoming_port",
            Self::NotKnownYet => "not_known_yet",
        }
    }

    /// What it means and, where there is one, the remedy.
    #[must_use]
    pub fn description(&self) -> String {
        let text = match self {
            Self::Mode => "mode = \"off\" in [route_cache]",
            Self::Services => "packets pass filters, which only the workers have",
            Self::Unavailable(error) => return format!("the kernel lacks what it takes: {error}"),
            Self::PacketSocket => "packet sockets cannot redirect: kind = \"xdp\" can",
            Self::GenericMode => "generic XDP would redirect no faster: xdp_mode = \"native\" does",
            Self::ZeroCopy => "with zero-copy the way through the worker is the shorter one",
            Self::PortsMax => "only the first 64 ports have a place in it",
            Self::LossesNotCounted => "the kernel does not count what would be lost: see the log",
            Self::ProgramRefused => "the kernel refuses the XDP program with it: see the log",
            Self::NotATarget => "its driver takes no redirected frames now (no ndo-xmit)",
            Self::PeerNotReady => {
                "its peer has neither GRO nor an XDP program, so it takes no redirected frames (no \
                 ndo-xmit): `ethtool -K PEER gro on`"
            }
            Self::LinkDown => "its link is down",
            Self::FramesRefused => "its driver has refused redirected frames in the last minute",
            Self::NoOutgoingPort => "no other port takes redirected frames",
            Self::NoIncomingPort => "no other port's XDP program redirects",
            Self::NotKnownYet => "known when the XDP program is attached",
        };
        text.to_owned()
    }

    /// What it makes of packets that come in by the port, and of those that leave by it.
    fn sides(&self) -> (Side, Side) {
        match self {
            Self::ProgramRefused | Self::NoOutgoingPort => (Side::Closed, Side::Open),
            Self::NotATarget
            | Self::PeerNotReady
            | Self::LinkDown
            | Self::FramesRefused
            | Self::NoIncomingPort => (Side::Open, Side::Closed),
            Self::NotKnownYet => (Side::Unknown, Side::Unknown),
            _ => (Side::Closed, Side::Closed),
        }
    }
}

/// Packets of one direction, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Open,
    Unknown,
    Closed,
}

/// What all obstacles make of both directions: the worst of each.
fn sides(obstacles: &[RouteCacheObstacle]) -> (Side, Side) {
    let worse = |(incoming, outgoing): (Side, Side), obstacle: &RouteCacheObstacle| {
        let (other_incoming, other_outgoing) = obstacle.sides();
        (incoming.max(other_incoming), outgoing.max(other_outgoing))
    };
    obstacles.iter().fold((Side::Open, Side::Open), worse)
}

/// What packets of a port are forwarded by the route cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteCacheState {
    /// Those that come in by it and those that leave by it.
    On,
    /// Those that come in, and leave by another port that allows it.
    InOnly,
    /// Those that leave, and come in by another port that allows it.
    OutOnly,
    /// None.
    Off,
    /// It is not known yet.
    Unknown,
}

impl RouteCacheState {
    /// As it is shown to people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::InOnly => "in only",
            Self::OutOnly => "out only",
            Self::Off => "off",
            Self::Unknown => "unknown",
        }
    }
}

/// A port's part in the route cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteCacheReport {
    /// What is forwarded by it.
    pub state: RouteCacheState,
    /// Why not everything is; empty when it is.
    pub obstacles: Vec<ObstacleReport>,
}

/// One obstacle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObstacleReport {
    /// Its label: `mode_off`, `zero_copy`, `peer_not_ready` …
    pub reason: String,
    /// What it means, and the remedy where there is one.
    pub description: String,
}

impl RouteCacheReport {
    /// All ports, each with the obstacles that it has by itself. It takes two to redirect: a side for which
    /// no other port has the opposite one is closed. (A packet that leaves by the port that it came in by
    /// may be redirected all the same; the state does not speak of it.)
    #[must_use]
    pub fn of_ports(ports: &[Vec<RouteCacheObstacle>]) -> Vec<Self> {
        let all: Vec<(Side, Side)> = ports.iter().map(|obstacles| sides(obstacles)).collect();
        let of_port = |(at, obstacles): (usize, &Vec<RouteCacheObstacle>)| {
            let others = || all.iter().enumerate().filter(|&(other, _)| other != at);
            let best = |side: fn(&(Side, Side)) -> Side| {
                others().map(|(_, sides)| side(sides)).min().unwrap_or(Side::Closed)
            };
            let (into_others, out_of_others) = (best(|sides| sides.1), best(|sides| sides.0));
            let (incoming, outgoing) = all[at];
            let mut obstacles = obstacles.clone();
            if incoming != Side::Closed && into_others == Side::Closed {
                obstacles.push(RouteCacheObstacle::NoOutgoingPort);
            }
            if outgoing != Side::Closed && out_of_others == Side::Closed {
                obstacles.push(RouteCacheObstacle::NoIncomingPort);
            }
            Self::of(&obstacles, (incoming.max(into_others), outgoing.max(out_of_others)))
        };
        ports.iter().enumerate().map(of_port).collect()
    }

    fn of(obstacles: &[RouteCacheObstacle], sides: (Side, Side)) -> Self {
        let state = match sides {
            (Side::Closed, Side::Closed) => RouteCacheState::Off,
            (Side::Unknown, _) | (_, Side::Unknown) => RouteCacheState::Unknown,
            (Side::Open, Side::Closed) => RouteCacheState::InOnly,
            (Side::Closed, Side::Open) => RouteCacheState::OutOnly,
            (Side::Open, Side::Open) => RouteCacheState::On,
        };
        let report = |obstacle: &RouteCacheObstacle| ObstacleReport {
            reason: obstacle.label().to_owned(),
            description: obstacle.description(),
        };
        Self { state, obstacles: obstacles.iter().map(report).collect() }
    }

    fn reasons(&self) -> String {
        let reasons = self.obstacles.iter().map(|obstacle| obstacle.description.as_str());
        reasons.collect::<Vec<_>>().join("; ")
    }
}

/// A line for each explanation that ports need, with their names: most of them need the same.
pub fn explain(ports: impl Iterator<Item = (String, RouteCacheReport)>) -> Vec<String> {
    let mut lines: Vec<(RouteCacheReport, String)> = Vec::new();
    for (name, report) in ports.filter(|(_, report)| !report.obstacles.is_empty()) {
        match lines.iter_mut().find(|(other, _)| *other == report) {
            Some((_, names)) => *names = format!("{names}, {name}"),
            None => lines.push((report, name)),
        }
    }
    let line = |(report, names): (RouteCacheReport, String)| {
        format!("{} ({names}): {}", report.state.text(), report.reasons())
    };
    lines.into_iter().map(line).collect()
}

/// The same with the port's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRouteCacheReport {
    /// The port's name.
    pub port: String,
    /// Its part in the route cache.
    #[serde(flatten)]
    pub report: RouteCacheReport,
}

#[cfg(test)]
mod tests {
    use super::*;
    use RouteCacheObstacle as At;

    #[test]
    fn the_state_follows_from_the_obstacles() {
        // Beside ports without any.
        let state = |obstacles: &[At]| {
            RouteCacheReport::of_ports(&[obstacles.to_vec(), vec![], vec![]])[0].state
        };
        assert_eq!(state(&[]), RouteCacheState::On);
        assert_eq!(state(&[At::PeerNotReady]), RouteCacheState::InOnly);
        assert_eq!(state(&[At::ProgramRefused]), RouteCacheState::OutOnly);
        assert_eq!(state(&[At::ProgramRefused, At::LinkDown]), RouteCacheState::Off);
        assert_eq!(state(&[At::ZeroCopy]), RouteCacheState::Off);
        assert_eq!(state(&[At::NotKnownYet]), RouteCacheState::Unknown);
        assert_eq!(state(&[At::NotKnownYet, At::GenericMode]), RouteCacheState::Off);
    }

    /// States and the last reasons of ports with these obstacles.
    fn together(ports: &[&[At]]) -> Vec<(RouteCacheState, String)> {
        let ports: Vec<Vec<At>> = ports.iter().map(|obstacles| obstacles.to_vec()).collect();
        let last = |report: &RouteCacheReport| {
            report.obstacles.last().map_or(String::new(), |obstacle| obstacle.reason.clone())
        };
        let reports = RouteCacheReport::of_ports(&ports);
        reports.iter().map(|report| (report.state, last(report))).collect()
    }

    #[test]
    fn it_takes_two_to_redirect() {
        use RouteCacheState::{InOnly, Off, On, OutOnly, Unknown};
        let is = |state, reason: &str| (state, reason.to_owned());
        let nobody_takes = is(Off, "no_outgoing_port");
        assert_eq!(
            together(&[&[At::PeerNotReady], &[At::PeerNotReady], &[At::ZeroCopy]]),
            [nobody_takes.clone(), nobody_takes.clone(), is(Off, "zero_copy")]
        );
        assert_eq!(
            together(&[&[At::ProgramRefused], &[At::ProgramRefused]]),
            [is(Off, "no_incoming_port"), is(Off, "no_incoming_port")]
        );
        assert_eq!(
            together(&[&[], &[At::PeerNotReady]]),
            [is(OutOnly, "no_outgoing_port"), is(InOnly, "peer_not_ready")]
        );
        assert_eq!(
            together(&[&[], &[At::ProgramRefused]]),
            [is(InOnly, "no_incoming_port"), is(OutOnly, "program_refused")]
        );
        assert_eq!(together(&[&[]]), [is(Off, "no_incoming_port")]);
        assert_eq!(together(&[&[], &[]]), [is(On, ""), is(On, "")]);
        assert_eq!(
            together(&[&[], &[At::NotKnownYet]]),
            [is(Unknown, ""), is(Unknown, "not_known_yet")]
        );
        assert_eq!(
            together(&[&[At::NotKnownYet], &[At::ZeroCopy]]),
            [is(Off, "no_incoming_port"), is(Off, "zero_copy")]
        );
    }

    #[test]
    fn the_way_a_port_is_served_comes_before_its_number() {
        let native = |zero_copy| PortService::Native { zero_copy };
        let of = |service, number| RouteCacheObstacle::of_service(service, number, 64);
        assert_eq!(of(native(false), 63), None);
        assert_eq!(of(native(false), 64), Some(At::PortsMax));
        assert_eq!(of(native(true), 64), Some(At::ZeroCopy));
        assert_eq!(of(PortService::Generic, 0), Some(At::GenericMode));
        assert_eq!(of(PortService::Packet, 64), Some(At::PacketSocket));
    }

    #[test]
    fn a_target_needs_all_of_it() {
        let of = RouteCacheObstacle::of_target;
        let ready = RedirectTarget {
            losses_counted: true,
            up: true,
            takes_frames: Ok(true),
            is_veth: false,
            refused: false,
        };
        assert_eq!(of(&ready), None);
        let refused = RedirectTarget { refused: true, ..ready.clone() };
        assert_eq!(of(&refused), Some(At::FramesRefused));
        let not_able = RedirectTarget { takes_frames: Ok(false), ..refused };
        assert_eq!(of(&not_able), Some(At::NotATarget));
        let veth = RedirectTarget { is_veth: true, ..not_able };
        assert_eq!(of(&veth), Some(At::PeerNotReady));
        let untold = RedirectTarget { takes_frames: Err("no".to_owned()), ..veth };
        assert_eq!(of(&untold), Some(At::Unavailable("no".to_owned())));
        let down = RedirectTarget { up: false, ..untold };
        assert_eq!(of(&down), Some(At::LinkDown));
        let uncounted = RedirectTarget { losses_counted: false, ..down };
        assert_eq!(of(&uncounted), Some(At::LossesNotCounted));
    }

    #[test]
    fn ports_with_the_same_obstacles_are_explained_together() {
        let unavailable = vec![At::Unavailable("no BTF".to_owned())];
        let ports = [unavailable.clone(), vec![], vec![At::LinkDown], unavailable, vec![]];
        let reports = RouteCacheReport::of_ports(&ports);
        let names = ["a", "b", "c", "d", "e"].map(str::to_owned);
        let lines = explain(names.into_iter().zip(reports));
        let all =
            ["off (a, d): the kernel lacks what it takes: no BTF", "in only (c): its link is down"];
        assert_eq!(lines, all);
    }
}
