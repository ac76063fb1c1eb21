//! The source stage: looks where packets come from, on ports that ask for it.
//!
//! What may happen to a packet here:
//!
//! * drop `martian_source`, `martian_destination`: the port's filter refuses the address (RFC 6890); or the source
//!   is one of the router's own, which the kernel refuses too (`fib_validate_source`);
//! * drop `reverse_path`: the best route to its source does not leave by the interface it came in on (strict,
//!   feasible), or there is none that reaches anybody (all modes);
//! * what `route::admit` decides, of packets whose incoming interface parse did not know;
//! * nothing.
//!
//! Only packets that are to be forwarded are looked at: the router's own are told apart by the
//! route, later, and so are checked; what parse has punted is not, so that ARP, neighbour discovery and DHCP
//! work on a port with strict checks, but for packets with options, which the kernel would forward. A route that the tables could not take leaves sources
//! unverified: such packets pass, and are counted.
//!
//! Unlike the kernel's `rp_filter` this is for both IPv4 and IPv6.

use linecard_io::PacketMemory;
use linecard_packet::{BATCH_PACKETS_MAX, Batch, DropReason, Layer3, Metadata, Verdict};
use linecard_tables::lpm::{Address, NO_ROUTE};

use super::table::Special;
use super::{MartianFilter, PortCheck, ReversePath, SourceStats, SourceTables};
use crate::route::{ReverseRoute, RouteTables, admit, is_forwarded_by_kernel};

/// The packets of one family whose route back is to be looked up; allocated once.
#[derive(Debug)]
struct Column<A> {
    places: Vec<u8>,
    sources: Vec<A>,
    groups: Vec<u32>,
}

impl<A> Column<A> {
    fn new() -> Self {
        Self {
            places: Vec::with_capacity(BATCH_PACKETS_MAX),
            sources: Vec::with_capacity(BATCH_PACKETS_MAX),
            groups: Vec::with_capacity(BATCH_PACKETS_MAX),
        }
    }

    fn clear(&mut self) {
        self.places.clear();
        self.sources.clear();
    }
}

/// The columns of the stage; overwritten by each batch.
#[derive(Debug)]
pub struct SourceScratch {
    ipv4: Column<u32>,
    ipv6: Column<u128>,
}

impl Default for SourceScratch {
    fn default() -> Self {
        Self::new()
    }
}

impl SourceScratch {
    /// Scratch for one batch.
    #[must_use]
    pub fn new() -> Self {
        Self { ipv4: Column::new(), ipv6: Column::new() }
    }
}

/// Whether the check is for a packet that stands so: also when the kernel will get it and may forward it, or
/// options would lead round the check. Without its interface nothing can be said of where it came from.
#[inline]
#[must_use]
pub fn is_checked(verdict: Verdict, metadata: &Metadata) -> bool {
    match verdict {
        Verdict::Undecided => true,
        Verdict::Punt(reason) => {
            is_forwarded_by_kernel(reason) && metadata.in_interface != Metadata::NO_INTERFACE
        }
        _ => false,
    }
}

/// Checks packets of ports that have checks: those that [`is_checked`] says.
///
/// Cost: nothing while no port has one; else a bulk lookup of the sources of those that have: some 30 cycles
/// a packet with 200,000 routes (`cargo bench -p linecard-services`), 14 for the martian filter alone.
pub fn process(
    batch: &mut Batch,
    memory: &PacketMemory,
    tables: &SourceTables,
    routes: &RouteTables,
    scratch: &mut SourceScratch,
    stats: &mut SourceStats,
) {
    if tables.is_off() {
        return;
    }
    admit(batch, memory, routes);
    let SourceScratch { ipv4, ipv6 } = scratch;
    ipv4.clear();
    ipv6.clear();
    let mut start = 0;
    for segment in &batch.segments {
        let places = start..usize::from(segment.end);
        start = places.end;
        let Some(check) = tables.port(segment.in_port) else { continue };
        let packets = batch.frames[places.clone()].iter().zip(&batch.metadata[places.clone()]);
        for ((frame, metadata), place) in packets.zip(places) {
            let verdict = &mut batch.verdicts[place];
            if !is_checked(*verdict, metadata) {
                continue;
            }
            let header = memory.packet(frame).get(usize::from(metadata.layer3_offset)..);
            let header = header.unwrap_or_default();
            let gathered = match metadata.layer3 {
                Layer3::Ipv4 => {
                    let addresses = addresses_ipv4(header);
                    gather(addresses, check, tables.special_ipv4(), place, ipv4)
                }
                Layer3::Ipv6 => {
                    let addresses = addresses_ipv6(header);
                    gather(addresses, check, tables.special_ipv6(), place, ipv6)
                }
                Layer3::Other => Ok(()),
            };
            if let Err(reason) = gathered {
                *verdict = Verdict::Drop(reason);
            }
        }
    }
    let mut judge =
        Judge { metadata: &batch.metadata, verdicts: &mut batch.verdicts, tables, routes, stats };
    judge.column(
        ipv4,
        |sources, groups| routes.groups_ipv4(sources, groups),
        |check, source| tables.is_feasible_ipv4(check, source),
    );
    judge.column(
        ipv6,
        |sources, groups| routes.groups_ipv6(sources, groups),
        |check, source| tables.is_feasible_ipv6(check, source),
    );
}

/// Source and destination of an IPv4 header, which parse saw whole.
#[inline]
pub(super) fn addresses_ipv4(header: &[u8]) -> Option<[u32; 2]> {
    let octets = header.get(12..)?.first_chunk::<8>()?;
    let both = u64::from_be_bytes(*octets);
    Some([(both >> 32) as u32, both as u32])
}

/// Source and destination of an IPv6 header.
#[inline]
pub(super) fn addresses_ipv6(header: &[u8]) -> Option<[u128; 2]> {
    let (source, rest) = header.get(8..)?.split_first_chunk::<16>()?;
    let destination = rest.first_chunk::<16>()?;
    Some([u128::from_be_bytes(*source), u128::from_be_bytes(*destination)])
}

/// Asks the martian filter, and collects the source if its route is to be looked up.
#[inline]
fn gather<A: Address>(
    addresses: Option<[A; 2]>,
    check: &PortCheck,
    special: &Special<A>,
    place: usize,
    column: &mut Column<A>,
) -> Result<(), DropReason> {
    let Some([source, destination]) = addresses else { return Ok(()) };
    if check.martians != MartianFilter::Off {
        if special.find(source).is_some_and(|it| check.martians.refuses_source(it)) {
            return Err(DropReason::MartianSource);
        }
        if special.find(destination).is_some_and(|it| check.martians.refuses_destination(it)) {
            return Err(DropReason::MartianDestination);
        }
    }
    if check.reverse_path != ReversePath::Off {
        column.places.push(place as u8);
        column.sources.push(source);
    }
    Ok(())
}

/// What the verdict on a source needs.
struct Judge<'a> {
    metadata: &'a [Metadata],
    verdicts: &'a mut [Verdict],
    tables: &'a SourceTables,
    routes: &'a RouteTables,
    stats: &'a mut SourceStats,
}

impl Judge<'_> {
    /// From sources to verdicts, for the packets of one family.
    fn column<A: Address>(
        &mut self,
        column: &mut Column<A>,
        lookup: impl FnOnce(&[A], &mut [u32]),
        is_feasible: impl Fn(&PortCheck, A) -> bool,
    ) {
        let Column { places, sources, groups } = column;
        if places.is_empty() {
            return;
        }
        groups.resize(places.len(), NO_ROUTE);
        lookup(sources, groups);
        for ((&place, &group), &source) in places.iter().zip(&*groups).zip(&*sources) {
            let place = usize::from(place);
            let metadata = &self.metadata[place];
            let Some(check) = self.tables.port(metadata.in_port) else { continue };
            let route = self.routes.reverse(group, metadata.in_interface);
            if route == ReverseRoute::Here {
                continue;
            }
            if route == ReverseRoute::Unknown {
                self.stats.count_unverified();
            }
            if let Some(reason) = refusal(check.reverse_path, route)
                && !(reason == DropReason::ReversePath && is_feasible(check, source))
            {
                self.verdicts[place] = Verdict::Drop(reason);
            }
        }
    }
}

/// Why a packet is refused whose source has this route, if it is.
#[inline]
fn refusal(mode: ReversePath, route: ReverseRoute) -> Option<DropReason> {
    match (mode, route) {
        (ReversePath::Off, _) | (_, ReverseRoute::Here | ReverseRoute::Unknown) => None,
        // RFC 1812 5.3.7, and the kernel in every mode.
        (_, ReverseRoute::Local) => Some(DropReason::MartianSource),
        (ReversePath::Loose, ReverseRoute::Elsewhere) => None,
        _ => Some(DropReason::ReversePath),
    }
}
