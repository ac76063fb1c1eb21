//! The match language and files of sets: any text is taken or refused with places inside of it, and what
//! is taken has a text that means the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linecard_control::filter::{MatchError, MatchText, Members, Names, Sets, parse_match};

fn check_errors(errors: &[MatchError], text: &str) {
    assert!(!errors.is_empty());
    for error in errors {
        assert!(text.get(error.span.clone()).is_some(), "{error:?}");
        assert!(!error.message.is_empty() && !error.help.is_empty());
    }
}

/// The first line is an expression, the others are a set that it may name.
fn check(text: &str) {
    let (line, set) = text.split_once('\n').unwrap_or((text, ""));
    let members = Members::parse(set).unwrap_or_else(|errors| {
        check_errors(&errors, set);
        Members::Empty
    });
    let ports = ["eth0".to_owned(), "eth1".to_owned()];
    let mut sets = Sets::default();
    sets.insert("s", members);
    let names = Names { ports: &ports, sets: &sets };
    match parse_match(line, names) {
        Err(errors) => {
            check_errors(&errors.errors, line);
            assert!(!errors.to_string().is_empty());
        }
        Ok(judged) if judged.idle.is_none() => {
            let printed = MatchText { condition: &judged.condition, ports: &ports }.to_string();
            let again = parse_match(&printed, names);
            assert_eq!(again.as_ref(), Ok(&judged), "{printed}");
        }
        Ok(_) => {}
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        check(text);
    }
});
