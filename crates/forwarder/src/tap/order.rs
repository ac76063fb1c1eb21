//! What somebody wants to know, as the control side publishes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use linecard_packet::{Metadata, PortId, Verdict};
use linecard_services::connection::ConnectionState;
use linecard_services::filter::{Match, States, twin};
use linecard_tables::publication::Absorb;

use super::{Kind, TRACED_AT_ONCE};

/// Names an order; the control side gives each a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u32);

/// Which packets somebody wants to know about. Shared by all workers.
#[derive(Debug)]
pub struct Order {
    id: OrderId,
    kind: Kind,
    condition: Match,
    /// What the condition asked of connections, which is known later.
    states: States,
    in_port: Option<PortId>,
    only_dropped: bool,
    snap_bytes: u16,
    /// Packets that may still be told of: the one word that workers share, and only while the order stands.
    left: AtomicU64,
}

impl Order {
    /// An order for `packets` packets that fulfil `condition`. A condition that asks for nothing means all
    /// packets, also those that are not IP; any other means IP packets.
    ///
    /// `kind` is [`Kind::Trace`] or [`Kind::Capture`].
    #[must_use]
    pub fn new(id: OrderId, kind: Kind, condition: Match, packets: u64) -> Self {
        let states = condition.states;
        let condition = Match { states: States::default(), ..condition };
        let (in_port, only_dropped, snap_bytes) = (None, false, u16::MAX);
        let left = AtomicU64::new(packets);
        Self { id, kind, condition, states, in_port, only_dropped, snap_bytes, left }
    }

    /// Of packets that came in by this port only.
    #[must_use]
    pub fn of_port(self, in_port: PortId) -> Self {
        Self { in_port: Some(in_port), ..self }
    }

    /// Of packets only that are dropped, by whatever stage.
    #[must_use]
    pub fn only_dropped(self) -> Self {
        Self { only_dropped: true, ..self }
    }

    /// So many bytes of each packet at the most; without this all of them.
    #[must_use]
    pub fn snap(self, bytes: u16) -> Self {
        Self { snap_bytes: bytes, ..self }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> OrderId {
        self.id
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Packets of a batch that are selected at the most. Which of them it means may be known only when they have
    /// ended, and then all must be followed.
    pub(super) fn selected_max(&self) -> usize {
        let goes_by_end = self.only_dropped || !self.states.is_any();
        if self.kind == Kind::Trace && !goes_by_end { TRACED_AT_ONCE } else { usize::MAX }
    }

    pub(super) fn snap_bytes(&self) -> u16 {
        self.snap_bytes
    }

    /// Whether a packet as it was received may be meant.
    pub(super) fn wants(&self, packet: &[u8], metadata: &Metadata) -> bool {
        self.left.load(Ordering::Relaxed) > 0
            && self.in_port.is_none_or(|port| port == metadata.in_port)
            && (self.condition == Match::default()
                || twin::holds(&self.condition, packet, metadata, None))
    }

    /// Whether a packet that was selected is meant, now that it is known where it ended; one less is left then.
    pub(super) fn takes(&self, verdict: Verdict, state: Option<ConnectionState>) -> bool {
        let is_meant = (!self.only_dropped || matches!(verdict, Verdict::Drop(_)))
            && twin::has_state(self.states, state);
        let take = |left: u64| left.checked_sub(1);
        is_meant && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// A packet that was taken is lost on its way to who ordered it, so another one may come in its place: else
    /// one who waits for so many packets would wait for ever.
    pub fn give_back(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }
}

/// The orders that stand.
#[derive(Debug, Clone, Default)]
pub struct TapOrders {
    orders: Vec<Arc<Order>>,
}

impl TapOrders {
    /// Nobody wants to know anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// True while nobody wants to know anything.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Order> {
        self.orders.iter().map(AsRef::as_ref)
    }

    pub(super) fn get(&self, id: OrderId) -> Option<&Order> {
        self.iter().find(|order| order.id == id)
    }
}

/// One change of the orders.
#[derive(Debug, Clone)]
pub enum TapUpdate {
    /// One more.
    Arm(Arc<Order>),
    /// One less; nothing if it is not there.
    Disarm(OrderId),
}

impl Absorb<TapUpdate> for TapOrders {
    fn absorb(&mut self, update: &TapUpdate) {
        match update {
            TapUpdate::Arm(order) => self.orders.push(Arc::clone(order)),
            TapUpdate::Disarm(id) => self.orders.retain(|order| order.id != *id),
        }
    }
}
