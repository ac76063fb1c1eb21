//! Which rules match a packet, asked of the classifiers that decide: for whoever wants to know about one.

use linecard_packet::{Layer3, Metadata, PortId};
use linecard_tables::classifier::{Classifier, Key, NO_MATCH};

use super::expand::Family;
use super::program::{Chain, Effect, Program};
use super::rule::Action;
use super::{FilterTables, Hook, key};
use crate::connection::ConnectionState;
use crate::police::PolicerId;

/// A rule that matched a packet, or the default that stands behind them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleHit {
    /// Its place in the filter, from 0; the number of rules for the default.
    pub rule: u32,
    /// True for the default.
    pub is_default: bool,
    /// Its counter, which the control side has a name for, or [`super::NO_COUNTER`].
    pub counter: u32,
    /// What it does.
    pub action: Action,
    /// The policer that it brings packets to.
    pub policer: Option<PolicerId>,
    /// The DSCP that it gives.
    pub set_dscp: Option<u8>,
    /// The forwarding class that it gives.
    pub set_class: Option<u8>,
    /// The port that gets a copy.
    pub mirror_to: Option<PortId>,
}

/// Gives `each` the rules of the filter at `hook` that match a packet as it was received: those that go on, and
/// then the one that decides. False if there is no filter, or the packet is not IP.
///
/// Cost: a lookup for each rule that goes on and one more, and a search for the rules' places.
pub fn rules_of(
    tables: &FilterTables,
    hook: Hook,
    (packet, metadata): (&[u8], &Metadata),
    state: Option<ConnectionState>,
    each: impl FnMut(RuleHit),
) -> bool {
    let program = match hook {
        Hook::Input(port) => tables.input(port),
        Hook::Output(port) => tables.output(port),
    };
    let Some(program) = program else { return false };
    let asked = Asked { program, packet, metadata, state };
    match metadata.layer3 {
        Layer3::Ipv4 => match key::of_ipv4(packet, metadata) {
            Some(key) => asked.run(key, |chain| &chain.ipv4, each),
            None => return false,
        },
        Layer3::Ipv6 => match key::of_ipv6(packet, metadata) {
            Some(key) => asked.run(key, |chain| &chain.ipv6, each),
            None => return false,
        },
        Layer3::Other => return false,
    }
    true
}

struct Asked<'a> {
    program: &'a Program,
    packet: &'a [u8],
    metadata: &'a Metadata,
    state: Option<ConnectionState>,
}

impl Asked<'_> {
    fn run<A: Family>(
        &self,
        mut key: Key<A>,
        classifier: impl Fn(&Chain) -> &Classifier<A>,
        mut each: impl FnMut(RuleHit),
    ) {
        if let Some(state) = self.state {
            key.kind |= key::HAS_STATE;
            key.marks |= key::mark_of(state);
        }
        for chain in &self.program.chains {
            let holds = |slot| self.program.holds(slot, self.packet, self.metadata);
            let slot = classifier(chain).lookup(&key, holds);
            if slot == NO_MATCH {
                continue;
            }
            let effect = self.program.effect(slot);
            each(hit(effect, self.program.rule_of(slot), false));
            if effect.action != Action::Continue {
                return;
            }
        }
        each(hit(&self.program.default, self.program.rules(), true));
    }
}

fn hit(effect: &Effect, rule: u32, is_default: bool) -> RuleHit {
    let &Effect { action, counter, set_dscp, policer, set_class, mirror_to, .. } = effect;
    RuleHit { rule, is_default, counter, action, policer, set_dscp, set_class, mirror_to }
}
