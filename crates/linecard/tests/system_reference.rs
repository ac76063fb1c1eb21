//! The kernel as the reference: the same frames through the kernel alone and through Linecard must
//! come out the same, byte for byte, on every link, or the fixture says why not.

mod common;
mod reference;

use common::PortMode;
use reference::{Random, Rig, complaints, hex, is_explained, mutants};

/// Mutated frames of a run.
const MUTANTS: usize = 2_000;
/// Of those, how many go between sentinels.
const GROUP: usize = 8;
const SEED: u64 = 0x1812_8200;

/// Each fixture, one at a time; then `tshark` looks at what Linecard sent.
fn every_fixture_fares_as_in_the_kernel(mode: PortMode) {
    let mut rig = Rig::new(mode);
    println!("{} fixtures", reference::fixtures().len());
    let (mut wrong, mut sent, mut out) = (Vec::new(), Vec::new(), Vec::new());
    let fixtures = reference::fixtures();
    for fixture in &fixtures {
        if let Some(difference) = &fixture.difference {
            println!("{}: {:?}. {}", fixture.description, difference.only, difference.reason);
        }
        match rig.check(fixture) {
            Ok(output) => {
                for frame in output.into_iter().flatten() {
                    sent.push(&fixture.frame[..]);
                    out.push((fixture, frame));
                }
            }
            Err(error) => wrong.push(error),
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n\n{}", wrong.len(), wrong.join("\n\n"));
    rig.check_books(fixtures.iter().filter(|fixture| rig.sees(fixture)).count() as u64);

    let frames: Vec<_> = out.iter().map(|(_, frame)| &frame[..]).collect();
    let (before, after) = (complaints(&sent), complaints(&frames));
    let looked_at = before.iter().any(|it| it.contains("udp.checksum.status"));
    assert!(looked_at, "tshark notices the wrong UDP checksum that a fixture has");
    for (((fixture, frame), before), after) in out.iter().zip(before).zip(after) {
        let new: Vec<_> = after.difference(&before).collect();
        assert!(new.is_empty(), "{}: {new:?} in {}", fixture.description, hex(frame));
    }
}

/// Mutated frames, some at a time; where a group differs, each of its frames is looked at alone.
fn mutated_frames_fare_as_in_the_kernel(mode: PortMode) {
    println!("seed {SEED:#x}");
    let mut rig = Rig::new(mode);
    let (mut wrong, mut explained, mut frames) = (Vec::new(), 0, 0);
    for group in mutants(&reference::fixtures(), &mut Random(SEED), MUTANTS).chunks(GROUP) {
        let together: Vec<_> = group.iter().map(|it| (it.side, &it.frame[..])).collect();
        frames += group.len();
        if rig.differences(&together).is_none() {
            continue;
        }
        let before = (wrong.len(), explained);
        for mutant in group {
            frames += 1;
            match rig.differences(&[(mutant.side, &mutant.frame)]) {
                Some((kernel, linecard)) if is_explained(&mutant.frame, &kernel, &linecard) => {
                    explained += 1;
                }
                Some(differences) => {
                    wrong.push(format!(
                        "{}: {}\n{differences:02x?}",
                        mutant.base,
                        hex(&mutant.frame)
                    ));
                }
                None => {}
            }
        }
        if before == (wrong.len(), explained) {
            let text: Vec<_> = group.iter().map(|it| hex(&it.frame)).collect();
            wrong.push(format!("frames that differ together only:\n{}", text.join("\n")));
        }
    }
    println!("{MUTANTS} mutants, {explained} differ as explained");
    assert!(wrong.is_empty(), "{} are wrong:\n\n{}", wrong.len(), wrong.join("\n\n"));
    rig.check_books(frames as u64);
}

common::for_each_port_mode!(
    every_fixture_fares_as_in_the_kernel,
    mutated_frames_fare_as_in_the_kernel,
);
