//! `[[port]]`: which keys a kind of port takes, and what the file says of ports that the kernel
//! does not know.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use linecard_wire::MacAddress;
use toml::Spanned;

use super::checker::Checker;
use crate::config::resolved::{
    KernelDriver, KernelPort, Port, PortKind, PortServices, StaticInterface, StaticPort, VlanTag,
    XdpMode, ZeroCopy,
};
use crate::config::{limits, text};

/// Resolves all ports: as many as the file has, in its order.
pub(super) fn ports(checker: &mut Checker<'_>, file: &text::File, path: &Path) -> Vec<Port> {
    if file.port.is_empty() {
        let help = "name at least one interface:\n\n    [[port]]\n    name = \"eth0\"\n";
        checker.refuse_file("there is no [[port]]", help);
    }
    if let Some(place) = file.port.get(limits::PORTS_MAX) {
        let message = format!("{} ports", file.port.len());
        checker.refuse(place, message, format!("{} at the most", limits::PORTS_MAX));
    }
    check_names(checker, &file.port);
    check_not_mixed(checker, &file.port);
    let directory = path.parent().unwrap_or(Path::new(""));
    let ports: Vec<Port> = file.port.iter().map(|place| port(checker, place, directory)).collect();
    check_interfaces(checker, &file.port, &ports);
    check_outputs(checker, &file.port, &ports);
    ports
}

fn check_names(checker: &mut Checker<'_>, ports: &[Spanned<text::Port>]) {
    let mut seen: Vec<&str> = Vec::new();
    for port in ports {
        let place = &port.get_ref().name;
        let name = place.get_ref().as_str();
        let odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if name.is_empty() || name.len() > limits::INTERFACE_NAME_BYTES_MAX {
            let message = format!("a name of {} bytes", name.len());
            let help = format!("1 to {} bytes, as the kernel", limits::INTERFACE_NAME_BYTES_MAX);
            checker.refuse(place, message, help);
        } else if name == "." || name == ".." || name.contains(odd) {
            let message = format!("`{}` is no interface name", name.escape_debug());
            checker.refuse(place, message, "no `/`, `:`, spaces or control characters");
        } else if seen.contains(&name) {
            let message = format!("port {name} stands here a second time");
            checker.refuse(place, message, "one [[port]] for each interface");
        }
        seen.push(name);
    }
}

/// The two kinds of port know the world from different owners, and a datum has one owner.
fn check_not_mixed(checker: &mut Checker<'_>, ports: &[Spanned<text::Port>]) {
    let Some(first) = ports.first() else { return };
    let kernel = first.get_ref().kind.is_kernel();
    let odd = ports.iter().find(|port| port.get_ref().kind.is_kernel() != kernel);
    if let Some(odd) = odd {
        let (odd, first) = (odd.get_ref(), first.get_ref());
        let message = format!(
            "port {} is of kind {} beside port {} of kind {}",
            odd.name.get_ref(),
            odd.kind.label(),
            first.name.get_ref(),
            first.kind.label(),
        );
        let help = "either kernel interfaces (auto, xdp, packet), whose routes and neighbours \
            are the kernel's, or pcap and memory ports, whose routes and neighbours stand in \
            this file";
        checker.refuse(&odd.name, message, help);
    }
}

fn port(checker: &mut Checker<'_>, place: &Spanned<text::Port>, directory: &Path) -> Port {
    let port = place.get_ref();
    refuse_foreign_keys(checker, port);
    let kind = match port.kind {
        text::PortKind::Auto | text::PortKind::Xdp | text::PortKind::Packet => {
            PortKind::Kernel(kernel_port(checker, port))
        }
        text::PortKind::Pcap => {
            if port.input.is_none() && port.output.is_none() {
                let message = format!("pcap port {} names no file", port.name.get_ref());
                let help = "`input`, the capture to read, or `output`, the capture to write";
                checker.refuse(&port.name, message, help);
            }
            PortKind::Pcap {
                input: file_path(checker, &port.input, directory),
                output: file_path(checker, &port.output, directory),
                station: station(checker, port),
            }
        }
        text::PortKind::Memory => PortKind::Memory { station: station(checker, port) },
    };
    // Filters are resolved behind all ports, whose names they may have.
    Port { name: port.name.get_ref().clone(), kind, services: PortServices::default() }
}

/// Refuses keys that mean nothing for the port's kind, each with the reason.
fn refuse_foreign_keys(checker: &mut Checker<'_>, port: &text::Port) {
    fn span<T>(value: &Option<Spanned<T>>) -> Option<Range<usize>> {
        value.as_ref().map(Spanned::span)
    }
    let xdp = [("xdp_mode", span(&port.xdp_mode)), ("zero_copy", span(&port.zero_copy))];
    let rings =
        [("queues_max", span(&port.queues_max)), ("ring_entries", span(&port.ring_entries))];
    let files = [("input", span(&port.input)), ("output", span(&port.output))];
    let station = [
        ("mac_address", span(&port.mac_address)),
        ("mtu_bytes", span(&port.mtu_bytes)),
        ("addresses", span(&port.addresses)),
        ("vlans", span(&port.vlans)),
    ];
    const KERNEL_OWNS: &str = "leave it out: the kernel owns it (see `ip link` and `ip address`)";
    let mut refuse = |keys: &[(&str, Option<Range<usize>>)], help: &str| {
        // Kinds of kernel ports differ in how packets are received; of `auto` nobody need have heard.
        let kind = if port.kind == text::PortKind::Auto { "kernel" } else { port.kind.label() };
        for (key, span) in keys {
            if let Some(span) = span {
                let message = format!("a {kind} port takes no `{key}`");
                checker.refuse_span(span, message, help);
            }
        }
    };
    if port.kind.is_kernel() {
        refuse(&station, KERNEL_OWNS);
    } else {
        refuse(&xdp, "leave it out: it is for kinds auto and xdp");
        refuse(&rings, "leave it out: it is for kernel interfaces");
    }
    if port.kind == text::PortKind::Packet {
        refuse(&xdp, "leave it out: AF_PACKET uses no XDP");
    }
    if port.kind != text::PortKind::Pcap {
        refuse(&files, "leave it out, or set kind = \"pcap\"");
    }
}

fn kernel_port(checker: &mut Checker<'_>, port: &text::Port) -> KernelPort {
    let xdp_mode = match port.xdp_mode.as_ref().map(Spanned::get_ref) {
        None | Some(text::XdpMode::Auto) => XdpMode::Auto,
        Some(text::XdpMode::Native) => XdpMode::Native,
        Some(text::XdpMode::Generic) => XdpMode::Generic,
    };
    let zero_copy = match port.zero_copy.as_ref().map(Spanned::get_ref) {
        None | Some(text::ZeroCopy::Auto) => ZeroCopy::Auto,
        Some(text::ZeroCopy::On) => ZeroCopy::On,
        Some(text::ZeroCopy::Off) => ZeroCopy::Off,
    };
    if let Some(place) = &port.zero_copy
        && (zero_copy, xdp_mode) == (ZeroCopy::On, XdpMode::Generic)
    {
        let help = "zero_copy = \"auto\", or xdp_mode = \"native\"";
        checker.refuse(place, "the kernel's generic XDP path always copies", help);
    }
    let default = limits::RING_ENTRIES_DEFAULT;
    let ring_entries =
        checker.number(&port.ring_entries, "ring_entries", limits::RING_ENTRIES, default);
    if let Some(place) = &port.ring_entries
        && !ring_entries.is_power_of_two()
    {
        let message = format!("ring_entries is {ring_entries}");
        let next = ring_entries.next_power_of_two();
        checker.refuse(place, message, format!("a power of two, such as {next}"));
    }
    KernelPort {
        driver: match port.kind {
            text::PortKind::Xdp => KernelDriver::Xdp,
            text::PortKind::Packet => KernelDriver::Packet,
            _ => KernelDriver::Auto,
        },
        xdp_mode,
        zero_copy,
        queues_max: port
            .queues_max
            .as_ref()
            .map(|place| checker.required_number(place, "queues_max", limits::QUEUES)),
        ring_entries,
    }
}

/// A path of the file; relative ones start from the directory of the configuration.
fn file_path(
    checker: &mut Checker<'_>,
    place: &Option<Spanned<String>>,
    directory: &Path,
) -> Option<PathBuf> {
    let place = place.as_ref()?;
    if place.get_ref().is_empty() {
        checker.refuse(place, "an empty path", "the path of a capture, such as \"in.pcap\"");
    }
    Some(directory.join(place.get_ref()))
}

fn station(checker: &mut Checker<'_>, port: &text::Port) -> StaticPort {
    let mac_address = match &port.mac_address {
        Some(place) => checker.mac_address(place),
        None => {
            let message = format!("port {} has no `mac_address`", port.name.get_ref());
            let help = "the router's address on this port: mac_address = \"02:00:5e:10:00:01\"";
            checker.refuse(&port.name, message, help);
            None
        }
    };
    let mtu_bytes =
        checker.number(&port.mtu_bytes, "mtu_bytes", limits::MTU_BYTES, limits::MTU_BYTES_DEFAULT);
    let untagged = StaticInterface {
        vlans: Vec::new(),
        addresses: addresses(checker, &port.addresses),
        mtu_bytes,
    };
    check_ipv6_mtu(checker, port.mtu_bytes.as_ref(), &untagged);
    let mut interfaces = vec![untagged];
    for place in port.vlans.iter().flat_map(Spanned::get_ref) {
        interfaces.push(vlan(checker, place, mtu_bytes));
    }
    StaticPort { mac_address: mac_address.unwrap_or(MacAddress::ZERO), interfaces }
}

fn vlan(
    checker: &mut Checker<'_>,
    place: &Spanned<text::Vlan>,
    port_mtu_bytes: u32,
) -> StaticInterface {
    let text = place.get_ref();
    let protocol = match text.protocol {
        text::VlanProtocol::Dot1q => 0x8100,
        text::VlanProtocol::Dot1ad => 0x88a8,
    };
    let id = checker.required_number(&text.id, "id", limits::VLAN_ID);
    let mut vlans = vec![VlanTag { protocol, id }];
    if let Some(place) = &text.inner_id {
        let id = checker.required_number(place, "inner_id", limits::VLAN_ID);
        vlans.push(VlanTag { protocol: 0x8100, id });
    }
    let mtu_bytes = checker.number(&text.mtu_bytes, "mtu_bytes", limits::MTU_BYTES, port_mtu_bytes);
    if let Some(place) = &text.mtu_bytes
        && mtu_bytes > port_mtu_bytes
    {
        let message = format!("an mtu_bytes of {mtu_bytes} on a port of {port_mtu_bytes}");
        checker.refuse(place, message, format!("{port_mtu_bytes} at the most"));
    }
    let addresses = addresses(checker, &text.addresses);
    let interface = StaticInterface { vlans, addresses, mtu_bytes };
    check_ipv6_mtu(checker, text.mtu_bytes.as_ref(), &interface);
    interface
}

fn check_ipv6_mtu(
    checker: &mut Checker<'_>,
    place: Option<&Spanned<i64>>,
    interface: &StaticInterface,
) {
    let ipv6 = interface.addresses.iter().any(|address| address.addr().is_ipv6());
    if let Some(place) = place
        && ipv6
        && interface.mtu_bytes < limits::MTU_BYTES_IPV6_MIN
    {
        let message = format!("an mtu_bytes of {} with an IPv6 address", interface.mtu_bytes);
        checker.refuse(place, message, "1280 or more, which IPv6 requires (RFC 8200 5)");
    }
}

/// The addresses of an interface, each with the length of its subnet.
fn addresses(
    checker: &mut Checker<'_>,
    places: &Option<Spanned<Vec<Spanned<String>>>>,
) -> Vec<IpNet> {
    let mut addresses = Vec::new();
    for place in places.iter().flat_map(Spanned::get_ref) {
        let Some(network) = checker.network(place, "192.0.2.1/24 or 2001:db8::1/64") else {
            continue;
        };
        if checker.check_host(place, network.addr()) {
            check_not_subnet(checker, place, network);
            addresses.push(network);
        }
    }
    addresses
}

/// The first and the last address of an IPv4 subnet are no host's (RFC 3021 excepts /31).
fn check_not_subnet(checker: &mut Checker<'_>, place: &Spanned<String>, network: IpNet) {
    let IpNet::V4(network) = network else { return };
    let kind = if network.addr() == network.network() {
        "the subnet itself"
    } else if network.addr() == network.broadcast() {
        "the subnet's broadcast address"
    } else {
        return;
    };
    if network.prefix_len() < 31 {
        let message = format!("`{network}` is {kind}");
        let first = network.hosts().next().unwrap_or(network.addr());
        checker.refuse(
            place,
            message,
            format!("a host of it, such as {first}/{}", network.prefix_len()),
        );
    }
}

/// Refuses VLANs and addresses that stand twice.
fn check_interfaces(checker: &mut Checker<'_>, texts: &[Spanned<text::Port>], ports: &[Port]) {
    let mut owners: HashMap<IpAddr, &str> = HashMap::new();
    let mut count = 0;
    for (text, port) in texts.iter().zip(ports) {
        let Some(station) = port.kind.station() else { continue };
        let text = text.get_ref();
        count += station.interfaces.len();
        let vlans = text.vlans.as_ref().map_or(&[][..], |vlans| vlans.get_ref());
        let ids = |i: &StaticInterface| i.vlans.iter().map(|tag| tag.id).collect::<Vec<_>>();
        for (number, place) in vlans.iter().enumerate() {
            let own = ids(&station.interfaces[number + 1]);
            if station.interfaces[1..=number].iter().any(|other| ids(other) == own) {
                let help = "one entry for each VLAN of a port";
                checker.refuse(&place.get_ref().id, "this VLAN stands twice", help);
            }
        }
        let lists =
            [&text.addresses].into_iter().chain(vlans.iter().map(|v| &v.get_ref().addresses));
        for place in lists.flatten().flat_map(Spanned::get_ref) {
            let Ok(network) = place.get_ref().parse::<IpNet>() else { continue };
            if let Some(owner) = owners.insert(network.addr(), &port.name) {
                let message = format!("{} is an address of port {owner} already", network.addr());
                checker.refuse(place, message, "each address stands once");
            }
        }
    }
    if count > limits::INTERFACES_MAX {
        let message = format!("{count} ports and VLANs");
        checker.refuse_file(message, format!("{} at the most", limits::INTERFACES_MAX));
    }
}

/// Refuses captures that would be overwritten while they are read or by another port.
fn check_outputs(checker: &mut Checker<'_>, texts: &[Spanned<text::Port>], ports: &[Port]) {
    let files = |port: &Port| match &port.kind {
        PortKind::Pcap { input, output, .. } => (input.clone(), output.clone()),
        _ => (None, None),
    };
    let all: Vec<_> = ports.iter().map(files).collect();
    for (index, text) in texts.iter().enumerate() {
        let (Some(place), Some(output)) = (&text.get_ref().output, &all[index].1) else { continue };
        let extension = output.extension().and_then(|extension| extension.to_str());
        if !extension.is_some_and(|e| limits::CAPTURE_EXTENSIONS.contains(&e)) {
            let message = format!("`{}` does not tell its format", place.get_ref());
            checker.refuse(place, message, "a name that ends in .pcap or .pcapng");
        }
        let read = all.iter().any(|(input, _)| input.as_ref() == Some(output));
        let written = all[..index].iter().any(|(_, other)| other.as_ref() == Some(output));
        if read || written {
            let what = if read { "is the input of a port" } else { "is another port's output" };
            checker.refuse(place, format!("`{}` {what}", place.get_ref()), "a file of its own");
        }
    }
}
