//! Text → terms: a hand-written parser, since the language has one rule (keyword, then value) and
//! the mistakes are what it is for. It goes on behind a mistake, at the next keyword.

use std::ops::Range;

use linecard_services::filter::{Anchor, BytesMatch};
use linecard_wire::ip::Protocol;

use super::error::MatchError;
use super::foreign;
use super::term::{Ask, At, List, Side, Term};
use super::token::{Token, Tokens};
use super::value::{self, Refusal};
use crate::suggestion;

/// Every keyword. The first nine stand for themselves, the others take a value.
const KEYWORDS: [&str; 25] = [
    "any",
    "ipv4",
    "ipv6",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmpv6",
    "protocol",
    "source",
    "destination",
    "source-port",
    "destination-port",
    "icmp-type",
    "icmp-code",
    "tcp-flags",
    "dscp",
    "fragment",
    "length",
    "ttl",
    "input",
    "vlan",
    "flow-label",
    "bytes",
    "state",
];

/// Reads a line: its terms in order, and what is wrong with it.
pub(super) fn parse(text: &str) -> (Vec<Term>, Vec<MatchError>) {
    let mut parser = Parser { tokens: Tokens::of(text), keyword: 0..0, errors: Vec::new() };
    let mut terms = Vec::new();
    while let Some((token, span)) = parser.tokens.next() {
        let Some(keyword) = parser.keyword_of(token, &span) else {
            parser.skip_to_keyword();
            continue;
        };
        parser.keyword = span.clone();
        match parser.ask(keyword) {
            Some(ask) => {
                let span = span.start..parser.tokens.taken_end();
                terms.push(Term { span, keyword, ask });
            }
            None => parser.skip_to_keyword(),
        }
    }
    (terms, parser.errors)
}

fn keyword_of(word: &str) -> Option<&'static str> {
    KEYWORDS.into_iter().find(|keyword| *keyword == word)
}

struct Parser<'a> {
    tokens: Tokens<'a>,
    /// Where the keyword of the term that is read stands.
    keyword: Range<usize>,
    errors: Vec<MatchError>,
}

impl Parser<'_> {
    fn refuse(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.errors.push(MatchError::new(span, message, help));
    }

    fn skip_to_keyword(&mut self) {
        let is_keyword = |token| matches!(token, Token::Word(word) if keyword_of(word).is_some());
        while self.tokens.peek().is_some_and(|token| !is_keyword(token)) {
            self.tokens.next();
        }
    }

    fn keyword_of(&mut self, token: Token<'_>, span: &Range<usize>) -> Option<&'static str> {
        let Token::Word(word) = token else {
            self.refuse(span, "a keyword must stand here", "a term, such as: protocol tcp");
            return None;
        };
        let keyword = keyword_of(word);
        if keyword.is_none() {
            let help = match word {
                "and" | "&&" | "&" => "leave it out: all terms must hold".to_owned(),
                "or" | "||" => "list the values: {a, b}; or write a rule for each".to_owned(),
                "not" | "!" => "there is no negation: put a rule for the rest before".to_owned(),
                _ => match (foreign::help(word), suggestion::nearest(word, KEYWORDS)) {
                    (Some(here), _) => here.to_owned(),
                    (None, Some(keyword)) => format!("did you mean `{keyword}`?"),
                    (None, None) => format!("known here: {}", KEYWORDS.join(", ")),
                },
            };
            self.refuse(span, format!("unknown term `{word}`"), help);
        }
        keyword
    }

    /// The value of `keyword`; `None` when it is wrong.
    fn ask(&mut self, keyword: &'static str) -> Option<Ask> {
        let protocol = |number: Protocol| {
            // It has no value; its own place is the term's.
            Some(Ask::Protocol(vec![At { value: number.0, span: 0..0 }]))
        };
        match keyword {
            "any" => Some(Ask::Any),
            "ipv4" => Some(Ask::Ipv4),
            "ipv6" => Some(Ask::Ipv6),
            "tcp" => protocol(Protocol::TCP),
            "udp" => protocol(Protocol::UDP),
            "sctp" => protocol(Protocol::SCTP),
            "icmp" => protocol(Protocol::ICMPV4),
            "icmpv6" => protocol(Protocol::ICMPV6),
            "protocol" => self.list(keyword, value::protocol).map(Ask::Protocol),
            "source" => self.addresses(keyword, Side::Source),
            "destination" => self.addresses(keyword, Side::Destination),
            "source-port" => self.ports(keyword, Side::Source),
            "destination-port" => self.ports(keyword, Side::Destination),
            "icmp-type" => self.list(keyword, value::icmp).map(Ask::IcmpType),
            "icmp-code" => self.list(keyword, value::icmp).map(Ask::IcmpCode),
            "tcp-flags" => self.tcp_flags(keyword),
            "dscp" => self.list(keyword, value::dscp).map(Ask::Dscp),
            "fragment" => self.list(keyword, value::fragment).map(Ask::Fragment),
            "length" => self.list(keyword, value::range16).map(Ask::Length),
            "ttl" => self.list(keyword, value::range8).map(Ask::Ttl),
            "input" => self.list(keyword, |word| Ok(word.to_owned())).map(Ask::Input),
            "vlan" => self.list(keyword, value::vlan).map(Ask::Vlan),
            "flow-label" => self.list(keyword, value::flow_label).map(Ask::FlowLabel),
            "bytes" => self.bytes(),
            "state" => self.list(keyword, value::states).map(Ask::State),
            other => unreachable!("`{other}` is a keyword without a parser"),
        }
    }

    fn addresses(&mut self, keyword: &str, side: Side) -> Option<Ask> {
        let members = self.list(keyword, |word| value::member(word, value::prefix))?;
        Some(Ask::Addresses(side, members))
    }

    fn ports(&mut self, keyword: &str, side: Side) -> Option<Ask> {
        let members = self.list(keyword, |word| value::member(word, value::range16))?;
        Some(Ask::Ports(side, members))
    }

    /// One value, or several between braces; `None` when one is wrong.
    fn list<T>(
        &mut self,
        keyword: &str,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<List<T>> {
        if self.tokens.peek() != Some(Token::Open) {
            return self.single(keyword, parse).map(|one| vec![one]);
        }
        let (_, open) = self.tokens.next()?;
        let (mut list, errors) = (List::new(), self.errors.len());
        loop {
            match self.tokens.next() {
                Some((Token::Word(word), span)) => match parse(word) {
                    Ok(value) => list.push(At { value, span }),
                    Err((message, help)) => self.refuse(&span, message, help),
                },
                Some((Token::Close, span)) => {
                    if list.is_empty() && self.errors.len() == errors {
                        let help = format!("a value, {}", help_for(keyword));
                        self.refuse(&(open.start..span.end), "an empty list", help);
                    } else {
                        self.refuse(&span, "a value must stand here", "no comma before `}`");
                    }
                    return None;
                }
                other => {
                    let span = other.map_or(open.clone(), |(_, span)| span);
                    self.refuse(&span, "a value must stand here", "values as in {a, b}");
                    return None;
                }
            }
            match self.tokens.next() {
                Some((Token::Comma, _)) => {}
                Some((Token::Close, _)) => return (self.errors.len() == errors).then_some(list),
                Some((_, span)) => {
                    let help = "a comma between values, `}` behind the last: {a, b}";
                    self.refuse(&span, "a comma must stand here", help);
                    return None;
                }
                None => {
                    self.refuse(&open, "this list has no end", "`}` behind its last value");
                    return None;
                }
            }
        }
    }

    fn single<T>(
        &mut self,
        keyword: &str,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<At<T>> {
        let Some(Token::Word(word)) = self.tokens.peek() else { return self.no_value(keyword) };
        let span = self.tokens.place();
        self.tokens.next();
        match parse(word) {
            Ok(value) => {
                if self.tokens.peek() == Some(Token::Comma) {
                    let span = self.tokens.place();
                    self.refuse(&span, "a list without braces", "several values: {a, b}");
                    return None;
                }
                Some(At { value, span })
            }
            Err(_) if keyword_of(word).is_some() => {
                self.tokens.back();
                self.no_value(keyword)
            }
            Err((message, help)) => {
                self.refuse(&span, message, help);
                None
            }
        }
    }

    fn no_value<T>(&mut self, keyword: &str) -> Option<T> {
        let span = self.keyword.clone();
        self.refuse(&span, format!("`{keyword}` has no value"), help_for(keyword));
        None
    }

    /// Outside of braces a comma joins flags as `+` does: `syn,!ack` is `syn+!ack`.
    fn tcp_flags(&mut self, keyword: &str) -> Option<Ask> {
        if self.tokens.peek() == Some(Token::Open) {
            return self.list(keyword, value::tcp_flags).map(Ask::TcpFlags);
        }
        let start = self.tokens.place().start;
        let mut words = Vec::new();
        while let Some(Token::Word(word)) = self.tokens.peek() {
            self.tokens.next();
            words.push(word);
            if self.tokens.peek() != Some(Token::Comma) {
                let span = start..self.tokens.taken_end();
                return match value::tcp_flags(&words.join("+")) {
                    Ok(value) => Some(Ask::TcpFlags(vec![At { value, span }])),
                    Err(_) if words.len() == 1 && keyword_of(word).is_some() => {
                        self.tokens.back();
                        self.no_value(keyword)
                    }
                    Err((message, help)) => {
                        self.refuse(&span, message, help);
                        None
                    }
                };
            }
            self.tokens.next();
        }
        self.no_value(keyword)
    }

    /// `bytes ANCHOR +OFFSET 0xHEX[/0xMASK]`.
    fn bytes(&mut self) -> Option<Ask> {
        let anchor = self.single("bytes", |word| match word {
            "layer3" => Ok(Anchor::Layer3),
            "layer4" => Ok(Anchor::Layer4),
            "payload" => Ok(Anchor::Payload),
            _ => Err((
                format!("`{word}` is nothing to count bytes from"),
                "layer3, layer4 or payload".to_owned(),
            )),
        })?;
        let offset = self.part(value::offset)?;
        let (value, mask, length) = self.part(value::masked_bytes)?;
        if u32::from(offset) + u32::from(length) > 0xffff {
            let span = self.keyword.start..self.tokens.taken_end();
            let help = "an IP packet has 65535 bytes at the most";
            self.refuse(&span, "these bytes lie behind the end of every packet", help);
            return None;
        }
        let anchor = anchor.value;
        Some(Ask::Bytes(BytesMatch { anchor, offset, length, value, mask }))
    }

    fn part<T>(&mut self, parse: impl Fn(&str) -> Result<T, Refusal>) -> Option<T> {
        match self.tokens.peek() {
            Some(Token::Word(_)) => self.single("bytes", parse).map(|at| at.value),
            _ => {
                let span = self.keyword.start..self.tokens.taken_end();
                self.refuse(&span, "`bytes` is incomplete", help_for("bytes"));
                None
            }
        }
    }
}

/// What the value of a keyword looks like.
fn help_for(keyword: &str) -> String {
    let value = match keyword {
        "protocol" => "tcp",
        "source" | "destination" => "192.0.2.0/24",
        "source-port" | "destination-port" => "{80, 443, 8000-8100}",
        "icmp-type" => "echo-request",
        "icmp-code" => "0",
        "tcp-flags" => "syn+!ack",
        "dscp" => "ef",
        "fragment" => "none",
        "length" => "1501-65535",
        "ttl" => "255",
        "input" => "eth0",
        "vlan" => "100",
        "flow-label" => "0x12345/0xfffff",
        "bytes" => "layer4 +12 0x50/0xf0",
        _ => "established",
    };
    format!("such as: {keyword} {value}")
}
