//! What is wrong with a configuration file, where, and what would be right.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Edits that may lie between an unknown word and the known one that is suggested for it.
const SUGGESTION_EDITS_MAX: usize = 3;

/// Everything that is wrong with one file, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// The file.
    pub path: PathBuf,
    /// The mistakes.
    pub errors: Vec<Error>,
    /// The file's text, for the snippets of `Display`.
    #[serde(skip)]
    text: String,
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

/// A stretch of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// The text in question, its first line.
    pub text: String,
}

impl Place {
    /// The place of the bytes `span` of `text`; total for any span.
    fn of(text: &str, span: &Range<usize>) -> Self {
        let floor = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (start, end) = (floor(span.start), floor(span.end.max(span.start)));
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            text: text[start..end].lines().next().unwrap_or_default().to_owned(),
        }
    }
}

impl Error {
    /// A mistake at the bytes `span` of `text`.
    pub(super) fn at(
        text: &str,
        span: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let place = Some(Place::of(text, span));
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
        Self { place: error.span().map(|span| Place::of(text, &span)), message, help }
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
    let nearest = known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(unknown, word), *word))
        .min()
        .filter(|&(edits, word)| edits <= SUGGESTION_EDITS_MAX && edits < word.len());
    // Of two values the nearer may be the opposite of what was meant.
    let is_case = known.iter().any(|word| word.eq_ignore_ascii_case(unknown));
    if let ([one, other], true, false) =
        (&known[..], message.starts_with("unknown variant"), is_case)
    {
        return Some(format!("it is `{one}` or `{other}`"));
    }
    Some(match nearest {
        Some((_, word)) => format!("did you mean `{word}`?"),
        None if known.is_empty() => "nothing may stand here".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    })
}

impl Errors {
    /// The mistakes of the file at `path` with this text; sorted by place.
    pub(super) fn new(path: &Path, text: &str, mut errors: Vec<Error>) -> Self {
        errors.sort_by_key(|error| error.place.as_ref().map(|place| (place.line, place.column)));
        Self { path: path.to_owned(), errors, text: text.to_owned() }
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
        Self::new(path, "", vec![Error::of_file(format!("cannot read the file: {error}"), help)])
    }

    fn snippet(&self, f: &mut fmt::Formatter<'_>, place: &Place) -> fmt::Result {
        let line = self.text.lines().nth(place.line - 1).unwrap_or_default();
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        // A tab stays a tab, so that the marks stand below what they mark.
        let indent: String = line
            .chars()
            .take(place.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let marks = "^".repeat(place.text.chars().count().max(1));
        writeln!(f, "{margin}--> {}:{}:{}", self.path.display(), place.line, place.column)?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {}", line.trim_end())?;
        writeln!(f, "{margin} | {indent}{marks}")
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "error: {}", error.message)?;
            match &error.place {
                Some(place) => self.snippet(f, place)?,
                None => writeln!(f, " --> {}", self.path.display())?,
            }
            if let Some(help) = &error.help {
                writeln!(f, "  = help: {help}")?;
            }
            writeln!(f)?;
        }
        let count = self.errors.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "{count} {noun} in {}: nothing of it was used", self.path.display())
    }
}

impl std::error::Error for Errors {}
