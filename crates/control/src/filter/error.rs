//! What is wrong with a line of the match language, and where in it.

use std::fmt;
use std::ops::Range;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchError {
    /// Bytes of the text in question.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
}

impl MatchError {
    pub(super) fn new(
        span: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { span: span.clone(), message: message.into(), help: help.into() }
    }
}

/// Everything that is wrong with one line, in its order. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchErrors {
    /// The line.
    pub text: String,
    /// The mistakes.
    pub errors: Vec<MatchError>,
}

impl fmt::Display for MatchErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.errors.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            let before = self.text.get(..error.span.start).unwrap_or_default();
            let marked = self.text.get(error.span.clone()).unwrap_or_default();
            let marks = "^".repeat(marked.chars().count().max(1));
            let indent = " ".repeat(before.chars().count());
            // Line breaks are blanks to the language; the marks need one line.
            let line = self.text.replace(|c: char| c.is_whitespace(), " ");
            writeln!(f, "{}\n  | {line}\n  | {indent}{marks}", error.message)?;
            write!(f, "  = help: {}", error.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for MatchErrors {}
