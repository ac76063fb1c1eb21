//! Configuration files: any text is taken or refused, and a refusal points into the text.

#![no_main]

use std::hint::black_box;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use linecard_control::config::{self, Config, Errors, Place, StaticFacts};
use linecard_control::rib::Rib;

/// What every file of a set holds.
const SET: &str = "192.0.2.0/24\n2001:db8::/32 # both\n";

fn check_place(place: &Place, text: &str) {
    let text = if place.file.is_some() { SET } else { text };
    let lines: Vec<&str> = text.split('\n').collect();
    assert!((1..=lines.len()).contains(&place.line), "line {} of {}", place.line, lines.len());
    let characters = lines[place.line - 1].chars().count();
    assert!((1..=characters + 1).contains(&place.column), "{place:?} of {characters}");
    assert!(text.contains(&place.text), "{place:?}");
}

fn check_errors(errors: &Errors, text: &str) {
    assert!(!errors.errors.is_empty());
    let places = errors.errors.iter().map(|error| error.place.as_ref());
    assert!(places.map(|place| place.map(|at| (&at.file, at.line, at.column))).is_sorted());
    for error in &errors.errors {
        assert!(!error.message.is_empty());
        if let Some(place) = &error.place {
            check_place(place, text);
        }
    }
    let shown = errors.to_string();
    assert_eq!(shown.matches("\nerror: ").count() + 1, errors.errors.len(), "{shown}");
}

/// What is valid must be of use: the tables can be told of it, and a set can be read again.
fn check_config(mut config: Config, text: &str) {
    assert!(!config.ports.is_empty());
    for warning in &config.warnings {
        warning.place.iter().for_each(|place| check_place(place, text));
        assert!(!warning.to_string().is_empty());
    }
    let names: Vec<String> =
        config.filters.set_files().iter().map(|file| file.name.clone()).collect();
    for name in names {
        assert_eq!(config.filters.reload_set_with(&name, |_| Ok(SET.to_owned())), Ok(Vec::new()));
        black_box(config.filters.reload_set_with(&name, |_| Ok(String::new())).is_ok());
    }
    let config = &config;
    let mut rib = Rib::new();
    StaticFacts::of(config).tell(&mut rib);
    let mut updates = Vec::new();
    rib.drain(&mut updates);
    black_box(updates);
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("/etc/linecard/linecard.toml");
    match config::parse_with(text, path, |_| Ok(SET.to_owned())) {
        Ok(config) => check_config(config, text),
        Err(errors) => check_errors(&errors, text),
    }
});
