//! The match language: one line of text that says which packets are meant, for filters and for
//! everything else that picks packets (`trace`, `capture`, `explain`). `docs/filter.md` explains it.
//!
//! A line is a conjunction of terms, each a keyword and mostly a value:
//! `source {192.0.2.0/24, @customers} tcp destination-port 443 tcp-flags syn+!ack`.
//!
//! | module | step |
//! |---|---|
//! | `token`, `parse`, `value` | text → terms, mistakes with their bytes |
//! | `judge` | terms → [`Match`](linecard_services::filter::Match): names resolved, the impossible refused |
//! | `print` | [`Match`](linecard_services::filter::Match) → text, in canonical form |
//! | `sets` | what `@name` stands for, and the files of sets |
//! | `cover` | rules that can never match because of earlier ones |

mod cover;
mod error;
mod foreign;
mod judge;
mod list;
mod names;
mod parse;
mod print;
mod sets;
mod term;
mod token;
mod value;

pub use cover::{Covered, covered};
pub use error::{MatchError, MatchErrors};
pub use judge::{Judged, Names};
pub use print::MatchText;
pub use sets::{Members, SET_MEMBERS_MAX, Sets};

pub(crate) use cover::families;
pub(crate) use term::Term;

/// Reads a line and judges it. A line without terms means every packet.
///
/// # Errors
/// All mistakes of syntax; when there are none, everything that is impossible in it.
pub fn parse_match(text: &str, names: Names<'_>) -> Result<Judged, MatchErrors> {
    let all = |errors| MatchErrors { text: text.to_owned(), errors };
    parse_terms(text).and_then(|terms| judge_terms(&terms, names)).map_err(all)
}

/// The first half of [`parse_match`], of which the outcome can be kept for when sets change.
pub(crate) fn parse_terms(text: &str) -> Result<Vec<Term>, Vec<MatchError>> {
    match parse::parse(text) {
        (terms, errors) if errors.is_empty() => Ok(terms),
        (_, errors) => Err(errors),
    }
}

/// The second half of [`parse_match`].
pub(crate) fn judge_terms(terms: &[Term], names: Names<'_>) -> Result<Judged, Vec<MatchError>> {
    judge::judge(terms, names)
}

/// The number of a DSCP that is given by name or number.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub(crate) fn parse_dscp(word: &str) -> Result<u8, (String, String)> {
    value::dscp(word)
}

/// The members of a set that are written out in the configuration.
pub(crate) fn parse_prefix(word: &str) -> Result<ipnet::IpNet, (String, String)> {
    value::prefix(word)
}

/// As [`parse_prefix`].
pub(crate) fn parse_ports(word: &str) -> Result<std::ops::RangeInclusive<u16>, (String, String)> {
    value::range16(word)
}

/// A line with blanks in one form: what is equal in it is the same rule.
pub(crate) fn without_blanks(text: &str) -> String {
    token::Tokens::of(text).joined()
}
