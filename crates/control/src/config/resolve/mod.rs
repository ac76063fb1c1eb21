//! Text → resolved: judges every value, fills in defaults and resolves names to indexes.
//!
//! Nothing returns early: a value that is refused is replaced by its default and the judging goes
//! on, so that one run shows every mistake. The result is used only when there was none.

mod attachments;
mod checker;
mod connections;
mod filters;
mod police;
mod ports;
mod router;
mod routes;
mod sets;

use std::io;
use std::path::{Path, PathBuf};

use linecard_io::{ClassLimit, ProtectionClass, ProtectionLimits};

use super::error::Errors;
use super::resolved::{
    Api, Config, Memory, Port, PortKind, Punt, RouteCacheMode, Tables, TransmitMode, Workers,
};
use super::{SOCKET_DEFAULT, limits, text};
use checker::Checker;
pub(super) use filters::{complete, part};
pub(super) use router::faults as router_faults;

/// Judges `file`, which was read from `source`, the content of `path`. `read` gives the text of other
/// files that it names.
pub(super) fn resolve(
    file: &text::File,
    source: &str,
    path: &Path,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Config, Errors> {
    let mut checker = Checker::new(source);
    let mut ports = ports::ports(&mut checker, file, path);
    let static_part = routes::static_part(&mut checker, file, &ports);
    let policers = police::policers(&mut checker, &file.police);
    let mut filters = filters::filters(&mut checker, file, &ports, &policers, (path, read));
    let attachments::Attachments { router, ports: services, feasible_sources } =
        attachments::attachments(&mut checker, file, &filters, &policers);
    filters.feasible_sources = feasible_sources;
    for (port, services) in ports.iter_mut().zip(services) {
        port.services = services;
    }
    let config = Config {
        workers: workers(&mut checker, &file.workers),
        memory: memory(&mut checker, &file.memory, &ports),
        punt: punt(&mut checker, &file.punt),
        api: api(&mut checker, &file.api),
        tables: tables(&mut checker, &file.tables),
        route_cache: match file.route_cache.mode {
            text::RouteCacheMode::Auto => RouteCacheMode::Auto,
            text::RouteCacheMode::Off => RouteCacheMode::Off,
        },
        transmit: match file.transmit.mode {
            text::TransmitMode::Ring => TransmitMode::Ring,
            text::TransmitMode::Live => TransmitMode::Live,
        },
        ports,
        routes: static_part.routes,
        neighbours: static_part.neighbours,
        filters,
        policers,
        router,
        protection: protection(&mut checker, &file.protection),
        connections: connections::connections(&mut checker, &file.connections),
        warnings: Vec::new(),
    };
    routes::check_capacities(&mut checker, file, &config);
    let errors = checker.into_errors();
    if errors.is_empty() { Ok(config) } else { Err(Errors::new(path, errors)) }
}

/// Cores that this process may use, at least 1.
fn cores_available() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(cores).unwrap_or(u16::MAX).min(*limits::WORKERS.end())
}

fn workers(checker: &mut Checker<'_>, text: &text::Workers) -> Workers {
    let mut cores: Vec<u16> = Vec::new();
    for place in text.cores.iter().flat_map(toml::Spanned::get_ref) {
        let core = checker.required_number(place, "a core", limits::CORE);
        if cores.contains(&core) {
            checker.refuse(place, format!("core {core} is named twice"), "name each core once");
        }
        cores.push(core);
    }
    if let Some(place) = &text.cores
        && cores.is_empty()
    {
        let help = "leave `cores` out to let the scheduler place the workers";
        checker.refuse(place, "`cores` names no core", help);
    }
    let default = match cores.len() {
        0 => cores_available(),
        named => u16::try_from(named).unwrap_or(u16::MAX).min(*limits::WORKERS.end()),
    };
    let count_max = checker.number(&text.count_max, "count_max", limits::WORKERS, default);
    if let Some(place) = &text.count_max
        && !cores.is_empty()
        && usize::from(count_max) > cores.len()
    {
        let message = format!("{count_max} workers for {} cores", cores.len());
        checker.refuse(place, message, "name a core for each worker, or leave `cores` out");
    }
    Workers { count_max, cores }
}

fn memory(checker: &mut Checker<'_>, text: &text::Memory, ports: &[Port]) -> Memory {
    // Each port keeps a full receive ring lent to the kernel; as much again is on its way out.
    let lent: u32 = ports.iter().map(ring_entries).fold(0, u32::saturating_add);
    let default = lent
        .saturating_mul(2)
        .clamp(limits::FRAMES_PER_WORKER_DEFAULT, *limits::FRAMES_PER_WORKER.end());
    let key = "frames_per_worker";
    let range = limits::FRAMES_PER_WORKER;
    let frames_per_worker = checker.number(&text.frames_per_worker, key, range, default);
    if let Some(place) = &text.frames_per_worker
        && frames_per_worker <= lent
    {
        let message =
            format!("{frames_per_worker} frames, and the receive rings alone hold {lent}");
        let help = format!("{default} frames, or a smaller `ring_entries` on the ports");
        checker.refuse(place, message, help);
    }
    Memory { frames_per_worker, frame_bytes: frame_bytes(checker, text, ports) }
}

fn frame_bytes(checker: &mut Checker<'_>, text: &text::Memory, ports: &[Port]) -> u32 {
    let stations = ports.iter().filter_map(|port| port.kind.station());
    let mtu_bytes = stations.flat_map(|s| &s.interfaces).map(|i| i.mtu_bytes).max().unwrap_or(0);
    // The smallest frame that holds the largest packet.
    let needed = limits::FRAME_BYTES
        .into_iter()
        .find(|&bytes| limits::mtu_bytes_max(bytes) >= mtu_bytes)
        .unwrap_or(limits::FRAME_BYTES[1]);
    let Some(place) = &text.frame_bytes else { return needed };
    let given = u32::try_from(*place.get_ref()).unwrap_or(0);
    if !limits::FRAME_BYTES.contains(&given) {
        let message = format!("frame_bytes is {}", place.get_ref());
        checker.refuse(place, message, "2048 or 4096, which AF_XDP takes");
    } else if given < needed {
        let message = format!("a port's mtu_bytes is {mtu_bytes}, too large for this frame");
        let fits = limits::mtu_bytes_max(given);
        let help = format!("frame_bytes = {needed}, or an mtu_bytes of {fits} at the most");
        checker.refuse(place, message, help);
    }
    given
}

/// Frames that one queue of `port` lends to the kernel.
fn ring_entries(port: &Port) -> u32 {
    match &port.kind {
        PortKind::Kernel(kernel) => kernel.ring_entries,
        PortKind::Pcap { .. } | PortKind::Memory { .. } => 0,
    }
}

fn punt(checker: &mut Checker<'_>, text: &text::Punt) -> Punt {
    Punt {
        rate_packets_per_second: checker.number(
            &text.rate_packets_per_second,
            "rate_packets_per_second",
            limits::PUNT_RATE_PACKETS_PER_SECOND,
            limits::PUNT_RATE_PACKETS_PER_SECOND_DEFAULT,
        ),
        burst_packets: checker.number(
            &text.burst_packets,
            "burst_packets",
            limits::PUNT_BURST_PACKETS,
            limits::PUNT_BURST_PACKETS_DEFAULT,
        ),
    }
}

fn protection(checker: &mut Checker<'_>, text: &text::Protection) -> Option<ProtectionLimits> {
    let mut limit = |class: ProtectionClass| {
        let text::ClassLimit { rate_packets_per_second, burst_packets } = text.class(class);
        let default = class.default_limit();
        ClassLimit {
            rate_packets_per_second: checker.number(
                rate_packets_per_second,
                "rate_packets_per_second",
                limits::PUNT_RATE_PACKETS_PER_SECOND,
                default.rate_packets_per_second,
            ),
            burst_packets: checker.number(
                burst_packets,
                "burst_packets",
                limits::PUNT_BURST_PACKETS,
                default.burst_packets,
            ),
        }
    };
    let limits = ProtectionClass::ALL.map(&mut limit);
    match text.mode {
        text::ProtectionMode::On => Some(limits),
        text::ProtectionMode::Off => None,
    }
}

fn api(checker: &mut Checker<'_>, text: &text::Api) -> Api {
    if let Some(place) = &text.socket {
        let socket = place.get_ref();
        let help = format!("an absolute path such as {SOCKET_DEFAULT}");
        if !Path::new(socket).is_absolute() || socket.ends_with('/') {
            checker.refuse(place, "`socket` is not the absolute path of a file", help);
        } else if socket.len() > limits::SOCKET_PATH_BYTES_MAX {
            let message = format!("`socket` has {} bytes", socket.len());
            let help = format!("a path of {} bytes at the most", limits::SOCKET_PATH_BYTES_MAX);
            checker.refuse(place, message, help);
        }
    }
    if let Some(place) = &text.group
        && place.get_ref().is_empty()
    {
        let help = "the name of a group, or leave `group` out";
        checker.refuse(place, "`group` is empty", help);
    }
    let socket = text.socket.as_ref().map_or(SOCKET_DEFAULT, |place| place.get_ref());
    let group = text.group.as_ref().map(|place| place.get_ref().clone());
    Api { socket: PathBuf::from(socket), group }
}

fn tables(checker: &mut Checker<'_>, text: &text::Tables) -> Tables {
    use limits::{ADJACENCIES, NEXT_HOPS, ROUTES};
    let mut capacity = |value, key, range, default| checker.number(value, key, range, default);
    Tables {
        routes_ipv4_max: capacity(
            &text.routes_ipv4_max,
            "routes_ipv4_max",
            ROUTES,
            limits::ROUTES_IPV4_DEFAULT,
        ),
        routes_ipv6_max: capacity(
            &text.routes_ipv6_max,
            "routes_ipv6_max",
            ROUTES,
            limits::ROUTES_IPV6_DEFAULT,
        ),
        next_hops_max: capacity(
            &text.next_hops_max,
            "next_hops_max",
            NEXT_HOPS,
            limits::NEXT_HOPS_DEFAULT,
        ),
        next_hop_groups_max: capacity(
            &text.next_hop_groups_max,
            "next_hop_groups_max",
            NEXT_HOPS,
            limits::NEXT_HOP_GROUPS_DEFAULT,
        ),
        adjacencies_max: capacity(
            &text.adjacencies_max,
            "adjacencies_max",
            ADJACENCIES,
            limits::ADJACENCIES_DEFAULT,
        ),
    }
}
