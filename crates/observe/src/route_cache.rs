//! Whether the classifiers forward by the route cache, port by port, and if not why not.

use serde::{Deserialize, Serialize};

/// What keeps packets of a port out of the route cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteCacheObstacle {
    /// The configuration says so.
    Mode,
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
    /// It shows when the program is attached.
    NotKnownYet,
}

impl RouteCacheObstacle {
    /// The label, as in JSON.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Mode => "mode_off",
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
            Self::NotKnownYet => "not_known_yet",
        }
    }

    /// What it means and, where there is one, the remedy.
    #[must_use]
    pub fn description(&self) -> String {
        let text = match self {
            Self::Mode => "mode = \"off\" in [route_cache]",
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
            Self::NotKnownYet => "known when the XDP program is attached",
        };
        text.to_owned()
    }

    /// Whether packets that come in by the port stay out, and those that leave by it.
    fn closes(&self) -> (bool, bool) {
        match self {
            Self::ProgramRefused => (true, false),
            Self::NotATarget | Self::PeerNotReady | Self::LinkDown | Self::FramesRefused => {
                (false, true)
            }
            Self::NotKnownYet => (false, false),
            _ => (true, true),
        }
    }
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
    /// A port with these obstacles.
    #[must_use]
    pub fn of(obstacles: &[RouteCacheObstacle]) -> Self {
        let incoming = obstacles.iter().any(|obstacle| obstacle.closes().0);
        let outgoing = obstacles.iter().any(|obstacle| obstacle.closes().1);
        let state = match (incoming, outgoing) {
            (true, true) => RouteCacheState::Off,
            _ if obstacles.contains(&RouteCacheObstacle::NotKnownYet) => RouteCacheState::Unknown,
            (false, true) => RouteCacheState::InOnly,
            (true, false) => RouteCacheState::OutOnly,
            (false, false) => RouteCacheState::On,
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
        let state = |obstacles: &[At]| RouteCacheReport::of(obstacles).state;
        assert_eq!(state(&[]), RouteCacheState::On);
        assert_eq!(state(&[At::PeerNotReady]), RouteCacheState::InOnly);
        assert_eq!(state(&[At::ProgramRefused]), RouteCacheState::OutOnly);
        assert_eq!(state(&[At::ProgramRefused, At::LinkDown]), RouteCacheState::Off);
        assert_eq!(state(&[At::ZeroCopy]), RouteCacheState::Off);
        assert_eq!(state(&[At::NotKnownYet]), RouteCacheState::Unknown);
        assert_eq!(state(&[At::NotKnownYet, At::GenericMode]), RouteCacheState::Off);
    }

    #[test]
    fn ports_with_the_same_obstacles_are_explained_together() {
        let of = |name: &str, obstacles: &[At]| (name.to_owned(), RouteCacheReport::of(obstacles));
        let unavailable = [At::Unavailable("no BTF".to_owned())];
        let ports =
            [of("a", &unavailable), of("b", &[]), of("c", &[At::LinkDown]), of("d", &unavailable)];
        let lines = explain(ports.into_iter());
        let all =
            ["off (a, d): the kernel lacks what it takes: no BTF", "in only (c): its link is down"];
        assert_eq!(lines, all);
    }
}
