//! The accounting identity over all that Linecard saw, before the kill and after.

use super::Stage;
use crate::demo::act::{Act, Finding, Scene};
use crate::demo::numbers;

pub(super) const ACT: Act<Stage> = Act {
    name: "books",
    title: "The books of both Linecards are added up",
    claim: "received = sent + dropped + queued + punted",
    run,
};

fn run(stage: &mut Stage, _scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let last = stage.ports_at_rest()?;
    let reports: Vec<_> = stage.ended.iter().chain([&last]).collect();
    Ok(numbers::balance(&reports))
}
