//! What a tap tells of a batch.

mod common;

use std::sync::Arc;

use common::{Rig, RigConfig, to_router};
use linecard_forwarder::{
    Kind, Order, OrderId, Tap, TapCapacities, TapOrders, TapReader, TapUpdate,
};
use linecard_packet::{BATCH_PACKETS_MAX, DropReason, Verdict};
use linecard_services::filter::Match;
use linecard_tables::publication::{Publish, Writer};
use linecard_wire::builder::{Ipv4, Udp};

const DROPPED: usize = 20;

/// A batch, of which the last packets meet a blackhole.
fn round(order: Order) -> TapReader {
    let mut rig = Rig::new(&RigConfig::default());
    let mut orders: Writer<TapOrders, TapUpdate> = Writer::new(TapOrders::new(), TapOrders::new());
    orders.append(TapUpdate::Arm(Arc::new(order)));
    assert_eq!(orders.publish(), Publish::Published);
    let (tap, reader) = Tap::new(&orders.subscription(), &TapCapacities::default());
    rig.worker.tap(tap);
    for number in 0..BATCH_PACKETS_MAX {
        let is_dropped = number >= BATCH_PACKETS_MAX - DROPPED;
        let destination = if is_dropped { [20, 5, 0, 1] } else { [20, 0, 0, 1] };
        let header = Ipv4::new([10, 0, 0, 2].into(), destination.into());
        assert!(rig.peers[0].send(&to_router().ipv4(header).udp(Udp::new(1, 2)).build()));
    }
    assert_eq!(rig.worker.run_once(1), BATCH_PACKETS_MAX, "one batch");
    reader
}

fn told(reader: &mut TapReader) -> Vec<Verdict> {
    std::iter::from_fn(|| reader.take()).map(|taken| taken.record.verdict).collect()
}

fn order(kind: Kind, packets: u64) -> Order {
    Order::new(OrderId(1), kind, Match::default(), packets)
}

#[test]
fn dropped_packets_are_traced_wherever_in_the_batch_they_are() {
    let mut reader = round(order(Kind::Trace, 1000).only_dropped());
    assert_eq!(told(&mut reader), [Verdict::Drop(DropReason::Blackhole); DROPPED]);
    assert_eq!(reader.lost(), 0);
}

#[test]
fn a_trace_of_all_packets_waits_for_the_next_batch() {
    let mut reader = round(order(Kind::Trace, 1000));
    assert_eq!(told(&mut reader).len(), 64);
    assert_eq!(reader.lost(), 0);
}

#[test]
fn a_capture_takes_all() {
    let mut reader = round(order(Kind::Capture, 1000));
    assert_eq!(told(&mut reader).len(), BATCH_PACKETS_MAX);
}
