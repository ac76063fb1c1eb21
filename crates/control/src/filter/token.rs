//! A line of text as words, braces and commas.

use std::ops::Range;

/// What a line consists of. A word ends at a blank, a brace or a comma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Word(&'a str),
    Open,
    Close,
    Comma,
}

/// The tokens of a line, read one after the other.
pub(super) struct Tokens<'a> {
    tokens: Vec<(Token<'a>, Range<usize>)>,
    at: usize,
    text_end: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let mut tokens = Vec::new();
        let mut word_start = None;
        let ends = text.char_indices().chain([(text.len(), ' ')]);
        for (at, c) in ends {
            let single = match c {
                '{' => Some(Token::Open),
                '}' => Some(Token::Close),
                ',' => Some(Token::Comma),
                c if c.is_whitespace() => None,
                _ => {
                    word_start.get_or_insert(at);
                    continue;
                }
            };
            if let Some(start) = word_start.take() {
                tokens.push((Token::Word(&text[start..at]), start..at));
            }
            if let Some(token) = single {
                tokens.push((token, at..at + 1));
            }
        }
        Self { tokens, at: 0, text_end: text.trim_end().len() }
    }

    /// The next token, which stays.
    pub(super) fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|(token, _)| *token)
    }

    /// The next token, which is taken.
    pub(super) fn next(&mut self) -> Option<(Token<'a>, Range<usize>)> {
        let next = self.tokens.get(self.at).cloned();
        self.at += usize::from(next.is_some());
        next
    }

    /// Gives the token that was taken last back.
    pub(super) fn back(&mut self) {
        self.at = self.at.saturating_sub(1);
    }

    /// The place of the next token; behind the last one, the end of the text.
    pub(super) fn place(&self) -> Range<usize> {
        let end = self.text_end..self.text_end;
        self.tokens.get(self.at).map_or(end, |(_, span)| span.clone())
    }

    /// Where the token that was taken last ends.
    pub(super) fn taken_end(&self) -> usize {
        self.at.checked_sub(1).map_or(0, |last| self.tokens[last].1.end)
    }

    /// All tokens with one blank between them.
    pub(super) fn joined(&self) -> String {
        let text = |(token, _): &(Token<'a>, Range<usize>)| match *token {
            Token::Word(word) => word,
            Token::Open => "{",
            Token::Close => "}",
            Token::Comma => ",",
        };
        self.tokens.iter().map(text).collect::<Vec<_>>().join(" ")
    }
}
