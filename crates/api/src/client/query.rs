//! What is asked for, as the query string of a request.

use linecard_observe::{ConnectionQuery, RouteQuery};

/// The query string. Words of states have letters and underscores; whoever asks for another gets none.
pub(super) fn encode_connections(query: &ConnectionQuery) -> String {
    let mut text = format!("?limit={}&from={}", query.limit, query.from);
    for (key, value) in [("source", query.source), ("destination", query.destination)] {
        if let Some(value) = value {
            text += &format!("&{key}={value}");
        }
    }
    if let Some(state) = &query.state {
        let is_word = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
        text += &format!("&state={}", state.chars().filter(is_word).collect::<String>());
    }
    text
}

/// A value of a query string (RFC 3986 2.1): all but unreserved characters escaped.
pub(super) fn percent_encoded(value: &str) -> String {
    let escape = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    value.bytes().map(escape).collect()
}

/// The query string; addresses and prefixes need no escape but for `/`, which is allowed there.
pub(super) fn encode(query: &RouteQuery) -> String {
    let mut text = format!("?limit={}", query.limit);
    let keys = [("prefix", query.prefix), ("after", query.after)];
    for (key, value) in keys {
        if let Some(value) = value {
            text += &format!("&{key}={value}");
        }
    }
    if let Some(covers) = query.covers {
        text += &format!("&covers={covers}");
    }
    text
}
