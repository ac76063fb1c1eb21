//! What is wrong with a configuration file, where, and what would be right.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::source::Source;
use crate::suggestion::nearest;

/// Everything that is wrong with one file, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// The file.
    pub path: PathBuf,
    /// The mistakes.
    pub errors: Vec<Error>,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Error {
    /// Where; `None` when the file could not be read or something is missing from it as a whole.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// A stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file of a set; `None`: the configuration itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The text in question, its first line.
    pub text: String,
    /// The whole line, for the snippets of `Display`.
    #[serde(skip)]
    pub(super) source_line: String,
}

/// Something in a right file that is most likely a mistake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The configuration.
    pub path: PathBuf,
    /// Where.
    pub place: Option<Place>,
    /// What is odd.
    pub message: String,
    /// What may have been meant.
    pub help: Option<String>,
}

impl Error {
    /// A mistake at the bytes `span` of `source`.
    pub(super) fn at(
        source: &Source<'_>,
        span: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let place = Some(source.place(span));
        Self { place, message: message.into(), help: Some(help.into()) }
    }

    /// A mistake of the file as a whole.
    pub(super) fn of_file(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { place: None, message: message.into(), help: Some(help.into()) }
    }

    /// A mistake of syntax or shape, as serde or the TOML parser found it.
    pub(super) fn from_toml(text: &str, error: &toml::de::Error) -> Self {
        let message = plain(error.message());
        let help = suggestion(error.message());
        let place = error.span().map(|span| Source::of(text).place(&span));
        Self { place, message, help }
    }
}

/// serde's words in the words of the file; the list of alternatives becomes the help.
fn plain(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let first = match first.split_once("`, expected ") {
        Some((start, _)) if first.starts_with("unknown ") => format!("{start}`"),
        _ => first.to_owned(),
    };
    first
        .replace("unknown field", "unknown key")
        .replace("missing field", "missing key")
        .replace("unknown variant", "unknown value")
        .replace("expected i64", "expected an integer without quotes")
        .replace("expected a sequence", "expected an array: [ … ]")
}

/// What to write instead of an unknown key or value: serde lists the known ones in backticks.
fn suggestion(message: &str) -> Option<String> {
    let mut words = message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown ") {
        return None;
    }
    let unknown = words.next()?;
    let known: Vec<&str> = words.collect();
    // Of two values the nearer may be the opposite of what was meant.
    let is_case = known.iter().any(|word| word.eq_ignore_ascii_case(unknown));
    if let ([one, other], true, false) =
        (&known[..], message.starts_with("unknown variant"), is_case)
    {
        return Some(format!("it is `{one}` or `{other}`"));
    }
    Some(match nearest(unknown, known.iter().copied()) {
        Some(word) => format!("did you mean `{word}`?"),
        None if known.is_empty() => "nothing may stand here".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    })
}

impl Errors {
    /// The mistakes of the file at `path`; sorted by place, those in files of sets last.
    pub(super) fn new(path: &Path, mut errors: Vec<Error>) -> Self {
        errors.sort_by(|one, other| order(one.place.as_ref()).cmp(&order(other.place.as_ref())));
        Self { path: path.to_owned(), errors }
    }

    /// The file of a set, at `path`, could not be read.
    pub(super) fn unreadable_set(path: &Path, error: &io::Error) -> Self {
        let help = "a text file with one prefix or port a line; it may be empty";
        Self::new(path, vec![Error::of_file(format!("cannot read the file: {error}"), help)])
    }

    /// The file at `path` could not be read.
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let help = match error.kind() {
            io::ErrorKind::NotFound => {
                "name another file, or serve ports without one: `linecard run --port eth0`"
            }
            io::ErrorKind::IsADirectory => "name a file in this directory",
            io::ErrorKind::PermissionDenied => "its owner must let this user read it",
            io::ErrorKind::InvalidData => "a configuration is UTF-8 text",
            _ => "see the reason above",
        };
        Self::new(path, vec![Error::of_file(format!("cannot read the file: {error}"), help)])
    }
}

fn order(place: Option<&Place>) -> Option<(Option<&Path>, usize, usize)> {
    place.map(|place| (place.file.as_deref(), place.line, place.column))
}

/// One mistake or oddity, with the line that it is in.
fn show(
    f: &mut fmt::Formatter<'_>,
    path: &Path,
    (kind, message): (&str, &str),
    place: Option<&Place>,
    help: Option<&str>,
) -> fmt::Result {
    writeln!(f, "{kind}: {message}")?;
    match place {
        Some(place) => snippet(f, path, place)?,
        None => writeln!(f, " --> {}", path.display())?,
    }
    help.map_or(Ok(()), |help| writeln!(f, "  = help: {help}"))
}

fn snippet(f: &mut fmt::Formatter<'_>, path: &Path, place: &Place) -> fmt::Result {
    let line = &place.source_line;
    let number = place.line.to_string();
    let margin = " ".repeat(number.len());
    // A tab stays a tab, so that the marks stand below what they mark.
    let indent: String =
        line.chars().take(place.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let marks = "^".repeat(place.text.chars().count().max(1));
    let path = place.file.as_deref().unwrap_or(path);
    writeln!(f, "{margin}--> {}:{}:{}", path.display(), place.line, place.column)?;
    writeln!(f, "{margin} |")?;
    writeln!(f, "{number} | {}", line.trim_end())?;
    writeln!(f, "{margin} | {indent}{marks}")
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, help) = (self.place.as_ref(), self.help.as_deref());
        show(f, &self.path, ("warning", &self.message), place, help)
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            let (place, help) = (error.place.as_ref(), error.help.as_deref());
            show(f, &self.path, ("error", &error.message), place, help)?;
            writeln!(f)?;
        }
        let count = self.errors.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "{count} {noun} in {}: nothing of it was used", self.path.display())
    }
}

impl std::error::Error for Errors {}
