//! Meters against their plain twin, and against the clock: how much passes in ten seconds.

use std::num::NonZeroU32;

use linecard_tables::meter::{
    BURST_MAX, Colour, ColourMode, LeasedMeter, Marker, Meter, MeterTwin, Pool, Profile,
    ProfileError, ProfileOptions, RATE_MAX, Unit,
};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn profile(marker: &Marker, options: ProfileOptions, incarnation: u32) -> Profile {
    let incarnation = NonZeroU32::new(incarnation).expect("tests count from 1");
    Profile::new(marker, options, incarnation).expect("the marker is within its limits")
}

fn plain(rate: u64, burst: u64) -> Marker {
    Marker::SingleRate { committed_rate: rate, committed_burst: burst, excess_burst: 0 }
}

/// Offers packets of these sizes, round about, at `offered` bits a second for `seconds`, and returns
/// the bits that were marked green and yellow.
fn offer(
    meter: &mut Meter,
    profile: &Profile,
    offered: u64,
    sizes: &[u16],
    seconds: u64,
) -> [u64; 2] {
    let mut passed = [0; 2];
    let mut bits_offered: u128 = 0;
    for &bytes in sizes.iter().cycle() {
        let now = (bits_offered * u128::from(SECOND) / u128::from(offered)) as u64;
        if now >= seconds * SECOND {
            return passed;
        }
        let bits = u64::from(bytes) * 8;
        bits_offered += u128::from(bits);
        if let Some(passed) = passed.get_mut(meter.mark(profile, now, bytes, Colour::Green).index())
        {
            *passed += bits;
        }
    }
    unreachable!("the sizes go round for ever")
}

/// From 64 kb/s to 100 Gb/s, with twice as much offered, in packets of one size and of many: what
/// passes in ten seconds is rate × time and the burst, to within one packet.
#[test]
fn ten_seconds_are_exact_at_every_rate() {
    let rates = [64_000, 1_000_003, 100_000_000, 1_000_000_000, 10_000_000_000, 100_000_000_000];
    let sizes: [&[u16]; 4] = [&[64], &[1500], &[9000], &[64, 1500, 576, 40, 65_535, 128]];
    for rate in rates {
        for sizes in sizes {
            // Small packets at the highest rates are many: 0.1 s of them is 4 million, and as telling.
            let largest = u64::from(*sizes.iter().max().expect("there are sizes")) * 8;
            let seconds = if sizes == [64] && rate > SECOND { 1 } else { 10 };
            let rate = if seconds == 1 { rate / 10 } else { rate };
            let burst = (rate / 100).max(2 * largest);
            let marker = plain(rate, burst);
            let profile = profile(&marker, ProfileOptions::default(), 1);
            let [green, yellow] = offer(&mut Meter::default(), &profile, 2 * rate, sizes, seconds);
            let allowed = rate * seconds + burst;
            assert!(green <= allowed, "{rate} b/s, {sizes:?}: {green} above {allowed}");
            assert!(green + 2 * largest > allowed, "{rate} b/s, {sizes:?}: {green} of {allowed}");
            assert_eq!(yellow, 0, "there is no excess burst");
        }
    }
}

#[test]
fn traffic_below_the_rate_is_all_green() {
    for rate in [64_000, 10_000_000_000] {
        let profile = profile(&plain(rate, 3000 * 8), ProfileOptions::default(), 1);
        let offered = rate / 100 * 99;
        let mut meter = Meter::default();
        let [green, _] = offer(&mut meter, &profile, offered, &[1500, 64, 700], 2);
        assert!(green >= offered * 2, "{green} of {}", offered * 2);
    }
}

#[test]
fn two_rates_divide_traffic_as_their_rfcs_say() {
    let (rate, burst) = (10_000_000, 100_000);
    let (committed_rate, committed_burst) = (rate, burst);
    let peak =
        Marker::TwoRate { committed_rate, committed_burst, peak_rate: 3 * rate, peak_burst: burst };
    let excess = Marker::TwoRateExcess {
        committed_rate,
        committed_burst,
        excess_rate: 2 * rate,
        excess_burst: burst,
    };
    for marker in [peak, excess] {
        let profile = profile(&marker, ProfileOptions::default(), 1);
        let [green, yellow] = offer(&mut Meter::default(), &profile, 10 * rate, &[1000], 10);
        for (passed, rate) in [(green, rate), (yellow, 2 * rate)] {
            assert!(passed.abs_diff(rate * 10) <= 2 * burst, "{marker:?}: {passed} at {rate} b/s");
        }
    }
}

#[test]
fn packets_are_counted_whatever_their_length() {
    let options = ProfileOptions { unit: Unit::Packets, overhead_bytes: 38, ..Default::default() };
    let profile = profile(&plain(1000, 10), options, 1);
    let mut meter = Meter::default();
    let mut green = 0;
    for number in 0..100_000u64 {
        let colour = meter.mark(&profile, number * 100_000, number as u16, Colour::Green);
        green += u64::from(colour == Colour::Green);
    }
    assert!((10_009..=10_010).contains(&green), "{green}");
}

#[test]
fn a_year_of_silence_fills_the_buckets_and_no_more() {
    let largest = Marker::TwoRate {
        committed_rate: RATE_MAX,
        committed_burst: BURST_MAX,
        peak_rate: RATE_MAX,
        peak_burst: BURST_MAX,
    };
    let slowest = Marker::SingleRate {
        committed_rate: 1,
        committed_burst: BURST_MAX,
        excess_burst: BURST_MAX,
    };
    for (marker, full) in [(largest, BURST_MAX), (slowest, 2 * BURST_MAX)] {
        let profile = profile(&marker, ProfileOptions::default(), 1);
        let mut meter = Meter::default();
        for now in [0, u64::MAX] {
            let passed = (0..)
                .take_while(|_| meter.mark(&profile, now, u16::MAX, Colour::Green) != Colour::Red)
                .count() as u64;
            let packet = u64::from(u16::MAX) * 8;
            let most = full / packet;
            assert!((most - 1..=most).contains(&passed), "{passed} of {most} at {now}");
        }
    }
}

#[test]
fn what_no_meter_can_hold_is_refused() {
    let new = |marker| Profile::new(&marker, ProfileOptions::default(), NonZeroU32::MIN);
    assert_eq!(new(plain(RATE_MAX + 1, 1)), Err(ProfileError::RateTooHigh));
    assert_eq!(new(plain(1, BURST_MAX + 1)), Err(ProfileError::BurstTooLarge));
    assert_eq!(new(plain(1, 0)), Err(ProfileError::NoBurst));
    let upside_down =
        Marker::TwoRate { committed_rate: 2, committed_burst: 1, peak_rate: 1, peak_burst: 1 };
    assert_eq!(new(upside_down), Err(ProfileError::PeakBelowCommitted));
}

#[derive(Debug, Clone)]
enum Step {
    /// After so many nanoseconds, a packet of so many bytes and this colour.
    Packet(u64, u16, Colour),
    /// The marker changes while the policer stays.
    Change(Marker, ProfileOptions),
    /// Another policer takes the place.
    Replace(Marker, ProfileOptions),
}

fn marker() -> impl Strategy<Value = Marker> {
    let rate = || prop_oneof![0..2000u64, 1_000_000..2_000_000u64, Just(RATE_MAX)];
    let burst = || prop_oneof![1..40_000u64, 1..2_000_000u64, Just(BURST_MAX)];
    (rate(), burst(), rate(), prop_oneof![2 => Just(0), 4 => burst()], 0..3).prop_map(
        |(committed_rate, committed_burst, second, excess_burst, kind)| match kind {
            0 => Marker::SingleRate { committed_rate, committed_burst, excess_burst },
            1 => Marker::TwoRate {
                committed_rate,
                committed_burst,
                peak_rate: second.max(committed_rate),
                peak_burst: excess_burst,
            },
            _ => Marker::TwoRateExcess {
                committed_rate,
                committed_burst,
                excess_rate: second,
                excess_burst,
            },
        },
    )
}

fn options() -> impl Strategy<Value = ProfileOptions> {
    (any::<bool>(), any::<bool>(), any::<u8>()).prop_map(|(packets, aware, overhead_bytes)| {
        ProfileOptions {
            unit: if packets { Unit::Packets } else { Unit::Bits },
            colour_mode: if aware { ColourMode::Aware } else { ColourMode::Blind },
            overhead_bytes,
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let pause = prop_oneof![
        3 => Just(0), 3 => 1..10_000u64, 3 => 1..20_000_000u64, 1 => 1..u64::MAX / 400];
    let bytes = prop_oneof![Just(64), Just(1500), any::<u16>()];
    let colour = prop::sample::select(Colour::ALL.to_vec());
    prop_oneof![
        30 => (pause, bytes, colour).prop_map(|(pause, bytes, colour)| Step::Packet(pause, bytes, colour)),
        1 => (marker(), options()).prop_map(|(marker, options)| Step::Change(marker, options)),
        1 => (marker(), options()).prop_map(|(marker, options)| Step::Replace(marker, options)),
    ]
}

/// What one marking in many takes: the packets of a trace, by the bulk form and by the twin.
fn replay(first: (Marker, ProfileOptions), steps: &[Step]) {
    let mut incarnation = 1;
    let mut profiles = [profile(&first.0, first.1, incarnation)];
    let mut meters = [Meter::default()];
    let mut twin: Option<MeterTwin> = None;
    let (mut marker, mut options) = first;
    let mut now = 0u64;
    for step in steps {
        match *step {
            Step::Packet(pause, bytes, colour) => {
                now += pause;
                let twin = twin.get_or_insert_with(|| MeterTwin::new(marker, options, now));
                let mut colours = [colour];
                Meter::mark_bulk(&mut meters, &profiles, now, &[0], &[bytes], &mut colours);
                assert_eq!(colours[0], twin.mark(now, bytes, colour), "{step:?}");
            }
            Step::Change(new_marker, new_options) => {
                (marker, options) = (new_marker, new_options);
                profiles[0] = profile(&marker, options, incarnation);
                if let Some(twin) = &mut twin {
                    twin.change(marker, options);
                }
            }
            Step::Replace(new_marker, new_options) => {
                (marker, options) = (new_marker, new_options);
                incarnation += 1;
                profiles[0] = profile(&marker, options, incarnation);
                twin = None;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn every_packet_has_the_colour_that_the_rfcs_give_it(
        first in (marker(), options()),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        replay(first, &steps);
    }
}

#[test]
fn a_time_that_runs_backwards_adds_nothing() {
    let profile = profile(&plain(8_000_000, 8000), ProfileOptions::default(), 1);
    let mut meter = Meter::default();
    assert_eq!(meter.mark(&profile, SECOND, 1000, Colour::Green), Colour::Green);
    for now in [0, SECOND / 2, SECOND, SECOND + 999_999] {
        assert_eq!(meter.mark(&profile, now, 1000, Colour::Green), Colour::Red, "at {now}");
    }
    assert_eq!(meter.mark(&profile, SECOND + 1_000_000, 1000, Colour::Green), Colour::Green);
}

#[test]
fn indexes_beyond_the_meters_leave_the_colour_alone() {
    let profiles = [profile(&plain(1, 1), ProfileOptions::default(), 1)];
    let mut colours = [Colour::Yellow, Colour::Green];
    Meter::mark_bulk(&mut [Meter::default()], &profiles, 0, &[1, 0], &[9, 9], &mut colours);
    assert_eq!(colours, [Colour::Yellow, Colour::Red]);
}

#[test]
fn a_full_meter_says_so() {
    let profile = profile(&plain(8_000_000, 16_000), ProfileOptions::default(), 1);
    let mut meter = Meter::default();
    assert!(meter.is_full(&profile, 0), "a new one");
    meter.mark(&profile, 0, 1000, Colour::Green);
    assert!(!meter.is_full(&profile, 999_999));
    assert!(meter.is_full(&profile, 1_000_000), "1,000 bytes at 8 Mb/s");
}

/// Threads that share a policer, by a given share of the packets each; simulated one after the other.
struct Threads {
    meters: Vec<LeasedMeter>,
    pool: Pool,
    profile: Profile,
}

impl Threads {
    fn new(count: usize, profile: Profile) -> Self {
        Self { meters: vec![LeasedMeter::default(); count], pool: Pool::new(), profile }
    }

    fn mark(&mut self, thread: usize, now: u64, bytes: u16) -> Colour {
        let threads = self.meters.len() as u32;
        self.meters[thread].mark(&self.profile, &self.pool, threads, now, bytes, Colour::Green)
    }

    fn leases(&self) -> u64 {
        self.meters.iter().map(|meter| u64::from(meter.leases())).sum()
    }
}

/// One second of traffic at `offered` b/s over the threads by `choose`, in batches of up to 32, which
/// have one time; returns (green, yellow) bits and the packets.
fn offer_to(
    threads: &mut Threads,
    offered: u64,
    sizes: &[u16],
    mut choose: impl FnMut(u64) -> usize,
) -> ([u64; 2], u64) {
    let (mut passed, mut packets, mut bits_offered, mut now) = ([0; 2], 0, 0u64, 0);
    let batch = (offered / 50_000_000).clamp(1, 32);
    for &bytes in sizes.iter().cycle() {
        if packets % batch == 0 {
            now = (u128::from(bits_offered) * u128::from(SECOND) / u128::from(offered)) as u64;
        }
        if now >= SECOND {
            break;
        }
        let bits = u64::from(bytes) * 8;
        bits_offered += bits;
        let colour = threads.mark(choose(packets), now, bytes);
        packets += 1;
        if let Some(passed) = passed.get_mut(colour.index()) {
            *passed += bits;
        }
    }
    (passed, packets)
}

/// 1 Mb/s to 100 Gb/s over two to sixteen threads, three times the rate offered, evenly or all to one:
/// within 2 % over a second besides the burst, with few visits to the pool.
#[test]
fn threads_that_share_a_rate_keep_it() {
    for rate in [1_000_000, 100_000_000, 10_000_000_000, 100_000_000_000u64] {
        for count in [2, 4, 16usize] {
            for uneven in [false, true] {
                // A hundredth of a second of the rate.
                let burst = (rate / 100).max(200_000);
                let profile = profile(&plain(rate, burst), ProfileOptions::default(), 1);
                let mut threads = Threads::new(count, profile);
                let choose = |packet: u64| match uneven {
                    true if !packet.is_multiple_of(64) => 0,
                    _ => (packet / 32) as usize % count,
                };
                let (passed, packets) = offer_to(&mut threads, 3 * rate, &[1500, 500, 64], choose);
                let case = format!("{rate} b/s, {count} threads, uneven: {uneven}");
                let green = passed[0];
                assert!(green <= rate + burst, "{case}: {green}");
                assert!(green >= rate / 100 * 98 + burst / 8 * 7, "{case}: {green}");
                // At most two for each quantum and thread: well below one a packet where it matters.
                let leases = threads.leases();
                assert!(leases <= packets, "{case}: {leases} leases for {packets} packets");
                if rate >= 10_000_000_000 {
                    assert!(leases * 10 < packets, "{case}: {leases} leases for {packets} packets");
                }
            }
        }
    }
}

/// RFC 2697's second bucket is fed by what the first does not hold, in a pool too.
#[test]
fn the_excess_burst_of_a_shared_rate_is_filled_by_the_overflow() {
    let (rate, burst) = (10_000_000, 1_000_000);
    let marker =
        Marker::SingleRate { committed_rate: rate, committed_burst: burst, excess_burst: burst };
    let mut threads = Threads::new(4, profile(&marker, ProfileOptions::default(), 1));
    // Full at first, empty afterwards, full again after two bursts' time, half after one and a half.
    for (now, yellow_most) in [(0, burst), (SECOND, burst), (SECOND + SECOND * 3 / 20, burst / 2)] {
        let mut passed = [0; 2];
        for packet in 0..1000 {
            let colour = threads.mark(packet % 4, now, 1000);
            if let Some(passed) = passed.get_mut(colour.index()) {
                *passed += 8000;
            }
        }
        let [green, yellow] = passed;
        assert!(green <= burst && green >= burst / 8 * 6, "{green} green at {now}");
        // What the pool sets aside for the threads' hands comes out as yellow sooner.
        let slack = burst / 8 + 8000;
        assert!(yellow <= yellow_most + slack, "{yellow} yellow at {now}");
        assert!(yellow + 2 * slack >= yellow_most, "{yellow} yellow at {now}");
    }
}

#[test]
fn shared_two_rate_markers_keep_both_rates() {
    let rate = 50_000_000;
    let (committed_rate, committed_burst) = (rate, 500_000);
    let peak = Marker::TwoRate {
        committed_rate,
        committed_burst,
        peak_rate: 3 * rate,
        peak_burst: 500_000,
    };
    let excess = Marker::TwoRateExcess {
        committed_rate,
        committed_burst,
        excess_rate: 2 * rate,
        excess_burst: 500_000,
    };
    for marker in [peak, excess] {
        let mut threads = Threads::new(4, profile(&marker, ProfileOptions::default(), 1));
        let choose = |packet: u64| packet as usize % 4;
        let ([green, yellow], _) = offer_to(&mut threads, 10 * rate, &[1000], choose);
        for (passed, rate) in [(green, rate), (yellow, 2 * rate)] {
            let most = rate + rate / 50 + 500_000;
            assert!((rate / 50 * 49..=most).contains(&passed), "{marker:?}: {passed} at {rate}");
        }
    }
}
