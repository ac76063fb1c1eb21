//! Who stands between the stages of the pipeline and looks.

use std::net::{Ipv4Addr, Ipv6Addr};

use linecard_io::PacketMemory;
use linecard_packet::{
    BATCH_PACKETS_MAX, Batch, Destinations, DropReason, Layer3, Metadata, PuntReason, Verdict,
};
use linecard_services::connection::ConnectionState;
use linecard_services::filter::{Action, FilterTables, Hook, rules_of};
use linecard_services::police::PolicerId;
use linecard_services::route::{RouteTables, is_forwarded_by_kernel};
use linecard_services::source::{self, SourceTables};
use linecard_tables::hash::FlowHash;
use linecard_tables::meter::Colour;

use super::record::Policed;
use super::{Selected, Selection, Stage, Step, Tap};

/// The states of a batch's packets, where connections are tracked.
pub(crate) type States<'a> = Option<&'a [ConnectionState; BATCH_PACKETS_MAX]>;

/// What the pipeline tells while it runs. Whoever wants to know less leaves the rest as it is: it is no code then.
pub(crate) trait Watch {
    /// False when the packets are imagined: then nothing may be charged or remembered for them.
    #[inline]
    fn is_real(&self) -> bool {
        true
    }

    /// Rules have noted packets to be told of.
    fn noted(&mut self, batch: &Batch, memory: &PacketMemory, now_nanoseconds: u64);

    /// Parse has looked at the batch.
    #[inline]
    fn parsed(&mut self, _batch: &Batch, _memory: &PacketMemory) {}

    /// Sources were checked against these tables.
    #[inline]
    fn sources_checked(
        &mut self,
        _batch: &Batch,
        _memory: &PacketMemory,
        _tables: &SourceTables,
        _routes: &RouteTables,
    ) {
    }

    /// The states of connections are known.
    #[inline]
    fn classified(&mut self, _batch: &Batch, _states: States<'_>) {}

    /// The filters of inputs, or of outputs, will be asked.
    #[inline]
    fn filters_asked(
        &mut self,
        _is_output: bool,
        _batch: &Batch,
        _memory: &PacketMemory,
        _tables: (&FilterTables, &RouteTables),
        _states: States<'_>,
    ) {
    }

    /// A policer has metered the packet at `place`.
    #[inline]
    fn metered(&mut self, _place: u8, _policer: PolicerId, _colour: Colour) {}

    /// Destinations were looked up.
    #[inline]
    fn routed(
        &mut self,
        _batch: &Batch,
        _memory: &PacketMemory,
        _tables: &RouteTables,
        _hash: &FlowHash,
    ) {
    }

    /// A stage has decided what it decides.
    #[inline]
    fn decided(&mut self, _stage: Stage, _batch: &Batch) {}
}

/// Nobody looks; rules may still want to tell of packets.
pub(crate) struct Nobody<'a>(pub(crate) Option<&'a mut Tap>);

impl Watch for Nobody<'_> {
    #[cold]
    fn noted(&mut self, batch: &Batch, memory: &PacketMemory, now_nanoseconds: u64) {
        if let Some(tap) = &mut self.0 {
            tap.noted(batch, memory, now_nanoseconds);
        }
    }
}

impl Watch for Tap {
    fn is_real(&self) -> bool {
        self.is_real
    }

    fn noted(&mut self, batch: &Batch, memory: &PacketMemory, now_nanoseconds: u64) {
        if self.is_real {
            self.select_noted(batch, memory, now_nanoseconds);
        }
    }

    fn parsed(&mut self, batch: &Batch, memory: &PacketMemory) {
        let orders = self.orders.take();
        if let Some(orders) = &orders {
            for order in orders.get().iter() {
                let packets = batch.frames.iter().zip(&batch.metadata).enumerate();
                let wanted = packets
                    .filter(|(_, (frame, metadata))| order.wants(memory.packet(frame), metadata));
                for (place, _) in wanted.take(order.selected_max()) {
                    let (place, kind, by) = (place as u8, order.kind(), order.id().0);
                    let snap_bytes = order.snap_bytes();
                    let selection = Selection { place, kind, by, snap_bytes };
                    Self::select(self, selection, batch, memory);
                }
            }
        }
        self.orders = orders;
        for selected in &mut self.selected {
            let Some(&verdict) = batch.verdicts.get(usize::from(selected.selection.place)) else {
                continue;
            };
            Self::note_decision(&mut self.traces, selected, Stage::Parse, verdict);
        }
    }

    fn sources_checked(
        &mut self,
        batch: &Batch,
        memory: &PacketMemory,
        tables: &SourceTables,
        routes: &RouteTables,
    ) {
        for selected in ordered(&mut self.selected) {
            let Some((packet, metadata)) = packet_of(selected, batch, memory) else { continue };
            if !source::is_checked(selected.verdict, metadata) {
                continue;
            }
            if let Some(facts) = source::explain(tables, routes, packet, metadata) {
                Self::note(&mut self.traces, selected, Step::Source(facts));
            }
        }
    }

    fn classified(&mut self, batch: &Batch, states: States<'_>) {
        let Some(states) = states else { return };
        for selected in &mut self.selected {
            let place = usize::from(selected.selection.place);
            let is_ip = batch.metadata.get(place).is_some_and(|it| it.layer3 != Layer3::Other);
            // What was dropped is asked about no more.
            if is_ip && !matches!(selected.verdict, Verdict::Drop(_)) {
                selected.state = Some(states[place]);
                Self::note(&mut self.traces, selected, Step::State(states[place]));
            }
        }
    }

    fn filters_asked(
        &mut self,
        is_output: bool,
        batch: &Batch,
        memory: &PacketMemory,
        (tables, routes): (&FilterTables, &RouteTables),
        states: States<'_>,
    ) {
        for selected in ordered(&mut self.selected) {
            let Some(packet) = packet_of(selected, batch, memory) else { continue };
            let place = usize::from(selected.selection.place);
            let verdict = selected.verdict;
            let state = states.map(|states| states[place]);
            // False when a rule lets the packet go no further.
            let mut ask = |hook| {
                let mut passes = true;
                rules_of(tables, hook, packet, state, |hit| {
                    passes &= !matches!(hit.action, Action::Drop | Action::Reject);
                    Self::note(&mut self.traces, selected, Step::Rule(hook, hit));
                });
                passes
            };
            match (is_output, verdict) {
                (false, Verdict::Undecided | Verdict::Punt(_)) => {
                    ask(Hook::Input(packet.1.in_port));
                }
                (true, Verdict::Forward { port, .. }) => {
                    ask(Hook::Output(port));
                }
                (true, Verdict::Punt(reason)) if is_forwarded_by_kernel(reason) => {
                    let (bytes, metadata) = packet;
                    let mut ports = tables.output_ports();
                    let leaves = |port| routes.kernel_may_leave_by(port, bytes, metadata);
                    ports.all(|port| !leaves(port) || ask(Hook::Output(port)));
                }
                _ => {}
            }
        }
    }

    fn metered(&mut self, place: u8, policer: PolicerId, colour: Colour) {
        let step = Step::Policed(Policed { policer, colour, is_imagined: !self.is_real });
        for selected in ordered(&mut self.selected).filter(|it| it.selection.place == place) {
            Self::note(&mut self.traces, selected, step);
        }
    }

    fn routed(
        &mut self,
        batch: &Batch,
        memory: &PacketMemory,
        tables: &RouteTables,
        hash: &FlowHash,
    ) {
        for selected in ordered(&mut self.selected).filter(|it| it.verdict.is_undecided()) {
            let Some(packet) = packet_of(selected, batch, memory) else { continue };
            let place = selected.selection.place;
            if !is_looked_up(batch.verdicts.get(usize::from(place))) {
                continue;
            }
            let destination = match packet.1.layer3 {
                Layer3::Ipv4 => looked_up(&batch.destinations_ipv4, place)
                    .map(|address| Ipv4Addr::from_bits(address).into()),
                Layer3::Ipv6 => looked_up(&batch.destinations_ipv6, place)
                    .map(|address| Ipv6Addr::from_bits(address).into()),
                Layer3::Other => None,
            };
            let Some(destination) = destination else { continue };
            let facts = tables.explain(destination, packet, hash);
            Self::note(&mut self.traces, selected, Step::Route { destination, facts });
        }
    }

    fn decided(&mut self, stage: Stage, batch: &Batch) {
        for selected in &mut self.selected {
            let verdict = batch.verdicts.get(usize::from(selected.selection.place));
            let Some(&verdict) = verdict.filter(|verdict| **verdict != selected.verdict) else {
                continue;
            };
            Self::note_decision(&mut self.traces, selected, stage, verdict);
        }
    }
}

/// Those of which it is told what the stages did.
fn ordered(selected: &mut [Selected]) -> impl Iterator<Item = &mut Selected> {
    selected.iter_mut().filter(|selected| selected.selection.kind.is_ordered())
}

fn packet_of<'a>(
    selected: &Selected,
    batch: &'a Batch,
    memory: &'a PacketMemory,
) -> Option<(&'a [u8], &'a Metadata)> {
    let place = usize::from(selected.selection.place);
    Some((memory.packet(batch.frames.get(place)?), batch.metadata.get(place)?))
}

/// What the packet at `place` was looked up by: its destination, or what a rule has put in its place.
fn looked_up<A: Copy + Default>(destinations: &Destinations<A>, place: u8) -> Option<A> {
    let at = destinations.places().binary_search(&place).ok()?;
    destinations.addresses().get(at).copied()
}

/// Whether the route stage came as far as the lookup.
fn is_looked_up(verdict: Option<&Verdict>) -> bool {
    !matches!(
        verdict,
        None | Some(
            Verdict::Drop(DropReason::OtherHost)
                | Verdict::Punt(PuntReason::VlanUnknown | PuntReason::ForwardingOff)
        )
    )
}
