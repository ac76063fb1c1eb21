//! What the rounds gave: medians and spreads, for people or as JSON.

use serde_json::json;

use crate::bed::Turn;
use crate::contestant::Contestant;

/// A contestant and its turns.
pub(crate) struct Row {
    pub(crate) contestant: Contestant,
    /// What has to be installed first.
    pub(crate) missing: Option<&'static str>,
    pub(crate) turns: Vec<Turn>,
}

/// The middle of sorted values, and their ends.
#[derive(Debug, Clone, Copy, Default)]
struct Summary {
    median: f64,
    least: f64,
    most: f64,
}

impl Summary {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |place: usize| values.get(place).copied().unwrap_or_default();
        Self {
            median: at(values.len() / 2),
            least: at(0),
            most: at(values.len().saturating_sub(1)),
        }
    }
}

impl Row {
    pub(crate) fn new(contestant: Contestant) -> Self {
        Self { contestant, missing: contestant.missing(), turns: Vec::new() }
    }

    fn forwarded_mpps(&self) -> Summary {
        Summary::of(self.turns.iter().map(|it| it.forwarded_per_second / 1e6).collect())
    }

    fn offered_mpps(&self) -> Summary {
        Summary::of(self.turns.iter().map(|it| it.offered_per_second / 1e6).collect())
    }
}

/// A line for each contestant.
pub(crate) fn table(rows: &[Row], frame_bytes: u16, seconds: f64) {
    println!("Mpps of {frame_bytes}-byte frames, {seconds} s a turn\n");
    println!("{:<20} {:>9} {:>13} {:>8}", "", "forwarded", "least–most", "offered");
    for row in rows {
        let name = row.contestant.name();
        if let Some(remedy) = row.missing {
            println!("{name:<20} {remedy}");
            continue;
        }
        let (forwarded, offered) = (row.forwarded_mpps(), row.offered_mpps());
        println!(
            "{name:<20} {:>9.2} {:>8.2}–{:.2} {:>8.2}  {}",
            forwarded.median,
            forwarded.least,
            forwarded.most,
            offered.median,
            row.contestant.description()
        );
    }
}

/// An array with an object for each contestant.
pub(crate) fn json(rows: &[Row]) -> anyhow::Result<()> {
    let objects: Vec<_> = rows
        .iter()
        .map(|row| {
            let (forwarded, offered) = (row.forwarded_mpps(), row.offered_mpps());
            json!({
                "case": row.contestant.name(),
                "description": row.contestant.description(),
                "turns": row.turns.len(),
                "mpps": forwarded.median,
                "mpps_least": forwarded.least,
                "mpps_most": forwarded.most,
                "offered_mpps": offered.median,
                "missing": row.missing,
            })
        })
        .collect();
    println!("{}", serde_json::to_string_pretty(&objects)?);
    Ok(())
}
