//! A text and where its lines begin, to say of a stretch of it where it is.

use std::ops::Range;
use std::path::PathBuf;

use super::error::Place;

/// The text of a file.
pub(super) struct Source<'a> {
    text: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    /// The file of a set; `None`: the configuration itself.
    file: Option<PathBuf>,
}

impl<'a> Source<'a> {
    /// The text of the configuration.
    pub(super) fn of(text: &'a str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        Self { text, lines, file: None }
    }

    /// The text of a set.
    pub(super) fn of_set(text: &'a str, file: PathBuf) -> Self {
        Self { file: Some(file), ..Self::of(text) }
    }

    /// The place of the bytes `span`; total for any span.
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let text = self.text;
        let floor = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (start, end) = (floor(span.start), floor(span.end.max(span.start)));
        let line = self.lines.partition_point(|&line_start| line_start <= start);
        let line_start = self.lines[line - 1];
        Place {
            file: self.file.clone(),
            line,
            column: text[line_start..start].chars().count() + 1,
            text: text[start..end].lines().next().unwrap_or_default().to_owned(),
            source_line: text[line_start..].lines().next().unwrap_or_default().to_owned(),
        }
    }

    /// The bytes of the file that say the bytes `inner` of the string that stands, with its quotes, at
    /// `outer` and means `value`. The whole string where that cannot be told.
    pub(super) fn within_string(
        &self,
        outer: &Range<usize>,
        value: &str,
        inner: &Range<usize>,
    ) -> Range<usize> {
        let raw = self.text.get(outer.clone()).unwrap_or_default();
        let at = |offset: usize| offset_in_string(raw, value, offset).map(|at| outer.start + at);
        match (at(inner.start), at(inner.end)) {
            (Some(start), Some(end)) => start..end,
            _ => outer.clone(),
        }
    }
}

/// The byte of the TOML string `raw` that says the byte `offset` of what it means.
fn offset_in_string(raw: &str, value: &str, offset: usize) -> Option<usize> {
    let quotes = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quotes| raw.starts_with(quotes))?;
    let body = raw.get(quotes.len()..raw.len().checked_sub(quotes.len())?)?;
    let mut at = quotes.len();
    // The line break behind opening quotes of three means nothing.
    if quotes.len() == 3 {
        at += ["\r\n", "\n"].iter().find(|end| body.starts_with(**end)).map_or(0, |end| end.len());
    }
    let escapes = quotes.starts_with('"');
    for meant in value.get(..offset)?.chars() {
        at = if escapes { behind_continuation(raw, at) } else { at };
        let rest = raw.get(at..)?;
        at += match rest.strip_prefix('\\').filter(|_| escapes).map(|e| e.chars().next()) {
            Some(Some('u')) => 6,
            Some(Some('U')) => 10,
            Some(Some('x')) => 4,
            Some(_) => 2,
            None if rest.starts_with("\r\n") && meant == '\n' => 2,
            None if rest.starts_with(meant) => meant.len_utf8(),
            None => return None,
        };
    }
    Some(if escapes { behind_continuation(raw, at) } else { at })
}

/// A backslash at the end of a line takes away the line's end and all blanks behind it.
fn behind_continuation(raw: &str, at: usize) -> usize {
    let rest = raw.get(at..).unwrap_or_default();
    match rest.strip_prefix('\\') {
        Some(behind) if behind.trim_start_matches([' ', '\t', '\r']).starts_with('\n') => {
            at + rest.len() - behind.trim_start().len()
        }
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_of_a_string_is_found_in_the_file() {
        for (raw, value) in [
            ("\"ab ttl 5\"", "ab ttl 5"),
            ("'ab ttl 5'", "ab ttl 5"),
            ("'''\nab ttl 5'''", "ab ttl 5"),
            ("\"\"\"\r\na\\u0062 \\\n   ttl 5\"\"\"", "ab ttl 5"),
            ("\"\\t\\\\ttl 5\"", "\t\\ttl 5"),
        ] {
            let offset = value.find("ttl").expect("stands there");
            let at = offset_in_string(raw, value, offset).expect("found");
            assert_eq!(at, raw.find("ttl").expect("stands there"), "{raw}");
        }
        let source = Source::of("match = \"a\"");
        assert_eq!(source.within_string(&(8..11), "something else", &(3..5)), 8..11);
    }
}
