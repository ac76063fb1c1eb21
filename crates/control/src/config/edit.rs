//! Some rules of one filter have changed in the text, and nothing else has: those are read and judged alone.
//!
//! What a parser makes of a text up to some byte depends on nothing behind it. So where the old text and the new
//! one begin alike, a rule that begins there is an element of the same array in both. From there on the new text is
//! parsed as elements of an array, up to the first rule behind the change. If the parser awaits another element
//! there, as it did in the old text, then it finds in the rest, which is the same, what it found before. A rule of
//! the kind that every filter may have is put there to see whether it does: behind a comment, a string or a bracket
//! left open it would not be found as the last element. Whatever cannot be told in this way, and whatever is wrong,
//! is left to a parse of the whole.

use std::ops::Range;

use super::filters::{ConfiguredFilter, Filters, RuleLayout};
use super::resolve;
use super::resolved::Config;
use super::text::services::Part;

const OPEN: &str = "rules=[";
/// The element that must be found behind the part.
const PROBE: &str = "{action=\"drop\"}";

/// Which rules of which filter have changed, and which bytes say them.
struct Change {
    filter: usize,
    rules: Range<usize>,
    old: Range<usize>,
    new: Range<usize>,
    /// Whether rules stay behind them.
    goes_on: bool,
}

/// Makes `config`, which `old` says, what `new` says. `None` if the change is of another kind or wrong; `config`
/// is of no use then.
pub(super) fn apply(config: &mut Config, old: &str, new: &str) -> Option<()> {
    let change = find(old, new, config.filters.filters())?;
    let middle = new.get(change.new.clone())?;
    let probe = if change.goes_on { PROBE } else { "" };
    let text = format!("{OPEN}{middle}{probe}]");
    let mut part: Part = toml::from_str(&text).ok()?;
    if change.goes_on {
        let last = part.rules.pop()?;
        if last.span() != (text.len() - 1 - PROBE.len()..text.len() - 1) {
            return None;
        }
    }
    let (rules, mut layout) = resolve::part(config, &text, &part.rules)?;
    for rule in &mut layout {
        rule.shift(0, change.new.start as isize - OPEN.len() as isize);
    }
    let filters = &mut config.filters;
    shift(filters, change.old.end, change.new.len() as isize - change.old.len() as isize);
    let filter = &mut filters.filters[change.filter];
    filter.rules.splice(change.rules.clone(), rules);
    filter.layout.rules.splice(change.rules, layout);
    resolve::complete(filters, change.filter)
}

/// `None` when more has changed than rules of one filter.
fn find(old: &str, new: &str, filters: &[ConfiguredFilter]) -> Option<Change> {
    let (start, same_behind) = differing(old.as_bytes(), new.as_bytes());
    let end = old.len() - same_behind;
    let is_around = |filter: &ConfiguredFilter| {
        let array = filter.layout.array.as_ref();
        array.is_some_and(|array| {
            let brackets = (old.as_bytes()[array.start], old.as_bytes()[array.end - 1]);
            brackets == (b'[', b']') && array.start < start && end < array.end
        })
    };
    let filter = filters.iter().position(is_around)?;
    let layout = &filters[filter].layout;
    let array = layout.array.as_ref()?;
    let rules = &layout.rules;
    let first = rules.partition_point(|rule| rule.whole.start <= start).checked_sub(1);
    let last = rules.partition_point(|rule| rule.whole.start < end);
    let behind = rules.get(last).map(|rule| rule.whole.start);
    let from = first.map_or(array.start + 1, |first| rules[first].whole.start);
    let to = behind.unwrap_or(array.end - 1);
    let new_to = new.len() - (old.len() - to);
    Some(Change {
        filter,
        rules: first.unwrap_or(0)..last,
        old: from..to,
        new: from..new_to,
        goes_on: behind.is_some(),
    })
}

/// Bytes that are the same in front, and behind of the rest.
fn differing(old: &[u8], new: &[u8]) -> (usize, usize) {
    let same = |(one, other): &(&u8, &u8)| one == other;
    let front = old.iter().zip(new).take_while(same).count();
    let rest = old.len().min(new.len()) - front;
    let behind = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(same).count();
    (front, behind)
}

impl RuleLayout {
    fn shift(&mut self, from: usize, by: isize) {
        shift_span(&mut self.whole, from, by);
        shift_span(&mut self.condition, from, by);
    }
}

/// Moves every place behind `from`.
fn shift(filters: &mut Filters, from: usize, by: isize) {
    for filter in &mut filters.filters {
        let layout = &mut filter.layout;
        shift_span(&mut layout.name, from, by);
        if let Some(array) = &mut layout.array {
            shift_span(array, from, by);
        }
        layout.rules.iter_mut().for_each(|rule| rule.shift(from, by));
    }
}

fn shift_span(span: &mut Range<usize>, from: usize, by: isize) {
    for at in [&mut span.start, &mut span.end] {
        if *at >= from {
            *at = at.wrapping_add_signed(by);
        }
    }
}
