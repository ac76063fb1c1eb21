//! The plain twin of the police stage for one worker: maps, and [`MeterTwin`], which follows the RFCs' text.
//!
//! It has a meter for every source, however many; the stage is the same as long as its table has room.

use std::collections::BTreeMap;
use std::net::IpAddr;

use linecard_packet::PortId;
use linecard_tables::meter::{Colour, MeterTwin};

use super::{
    ColourAction, PoliceUpdate, Policer, PolicerId, PolicerTotals, assured_forwarding_colour,
};

/// A policer with its meters.
#[derive(Debug)]
struct Slot {
    incarnation: u32,
    policer: Policer,
    /// By source prefix, or all under one key.
    meters: BTreeMap<(bool, u64), MeterTwin>,
    totals: PolicerTotals,
}

/// All policers.
#[derive(Debug, Default)]
pub struct PoliceTwin {
    slots: BTreeMap<u32, Slot>,
    ports: BTreeMap<PortId, u32>,
    by_port: BTreeMap<u32, Vec<PolicerId>>,
}

impl PoliceTwin {
    /// No policers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Carries out an update.
    pub fn apply(&mut self, update: &PoliceUpdate) {
        match update {
            PoliceUpdate::SetPolicer { id, incarnation, policer, .. } => {
                let slot = self.slots.get_mut(&id.0);
                match slot.filter(|slot| slot.incarnation == incarnation.get()) {
                    Some(slot) => {
                        slot.policer = *policer;
                        for meter in slot.meters.values_mut() {
                            meter.change(policer.marker, policer.options);
                        }
                    }
                    None => {
                        let slot = Slot {
                            incarnation: incarnation.get(),
                            policer: *policer,
                            meters: BTreeMap::new(),
                            totals: PolicerTotals::default(),
                        };
                        self.slots.insert(id.0, slot);
                    }
                }
            }
            PoliceUpdate::RemovePolicer(id) => {
                self.slots.remove(&id.0);
                self.by_port.remove(&id.0);
            }
            PoliceUpdate::SetByPort(id, of_ports) => {
                self.by_port.insert(id.0, of_ports.clone());
            }
            PoliceUpdate::SetPort(port, Some(policer)) => {
                self.ports.insert(*port, policer.0);
            }
            PoliceUpdate::SetPort(port, None) => {
                self.ports.remove(port);
            }
        }
    }

    /// The policer of a port.
    #[must_use]
    pub fn port(&self, port: PortId) -> Option<u32> {
        self.ports.get(&port).copied()
    }

    /// The policer that a packet of the port meets when it is brought to this one.
    #[must_use]
    pub fn of_port(&self, policer: u32, port: PortId) -> u32 {
        let of_ports = self.by_port.get(&policer);
        of_ports.and_then(|it| it.get(port.index())).map_or(policer, |it| it.0)
    }

    /// What a policer does with a packet of `bytes` bytes from `source` that has this DSCP.
    pub fn police(
        &mut self,
        policer: u32,
        now_nanoseconds: u64,
        bytes: u16,
        source: IpAddr,
        dscp: u8,
    ) -> ColourAction {
        let Some(slot) = self.slots.get_mut(&policer) else { return ColourAction::Pass };
        let key = match (slot.policer.sources, source) {
            (None, _) => (false, 0),
            (Some(prefixes), IpAddr::V4(source)) => {
                (false, leading(u64::from(source.to_bits()), 32, prefixes.ipv4_length))
            }
            (Some(prefixes), IpAddr::V6(source)) => {
                (true, leading((source.to_bits() >> 64) as u64, 64, prefixes.ipv6_length))
            }
        };
        let Policer { marker, options, .. } = slot.policer;
        let meter = slot
            .meters
            .entry(key)
            .or_insert_with(|| MeterTwin::new(marker, options, now_nanoseconds));
        let colour = meter.mark(now_nanoseconds, bytes, assured_forwarding_colour(dscp));
        slot.totals.packets[colour.index()] += 1;
        slot.totals.bytes[colour.index()] += u64::from(bytes);
        slot.policer.actions[colour.index()]
    }

    /// What was counted for a policer since it came.
    #[must_use]
    pub fn totals(&self, policer: u32) -> PolicerTotals {
        self.slots.get(&policer).map_or_else(PolicerTotals::default, |slot| slot.totals)
    }

    /// What was counted of one colour, in packets.
    #[must_use]
    pub fn packets(&self, policer: u32, colour: Colour) -> u64 {
        self.totals(policer).packets[colour.index()]
    }
}

/// The leading bits of a number of `bits` bits.
fn leading(number: u64, bits: u32, length: u8) -> u64 {
    let rest = bits - u32::from(length).min(bits);
    if rest == 64 { 0 } else { number >> rest }
}
