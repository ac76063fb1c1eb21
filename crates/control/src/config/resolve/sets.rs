//! `[[set]]`: members from the file itself or from one of their own.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use toml::Spanned;

use super::checker::Checker;
use crate::config::filters::SetFile;
use crate::config::limits;
use crate::config::source::Source;
use crate::config::text::services::{Ports, Set};
use crate::filter::{self, Members, Sets};

/// Reads the text of a file.
pub(super) type Read<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Notes names that no filter, set or policer can have, and those that stand twice.
pub(super) fn check_names<'a>(
    checker: &mut Checker<'_>,
    what: &str,
    names: impl Iterator<Item = &'a Spanned<String>>,
) {
    let mut seen: HashSet<&str> = HashSet::new();
    for (number, place) in names.enumerate() {
        let name = place.get_ref().as_str();
        check_name(checker, what, place);
        if !seen.insert(name) {
            let message = format!("{what} {name} stands here a second time");
            checker.refuse(place, message, "names are unique");
        }
        if number == limits::SERVICE_ENTRIES_MAX {
            let message = format!("more than {number} of [[{what}]]");
            checker.refuse(place, message, format!("{number} at the most"));
        }
    }
}

/// Notes a name that cannot be one. What the match language reads as something else is none.
pub(super) fn check_name(checker: &mut Checker<'_>, what: &str, place: &Spanned<String>) {
    let name = place.get_ref();
    let odd = |c: char| c.is_whitespace() || c.is_control() || "{},@\"'/".contains(c);
    if name.is_empty() || name.len() > limits::SERVICE_NAME_BYTES_MAX {
        let message = format!("a name of {} bytes", name.len());
        let help = format!("1 to {} bytes", limits::SERVICE_NAME_BYTES_MAX);
        checker.refuse(place, message, help);
    } else if name.contains(odd) {
        let message = format!("`{}` is no name of a {what}", name.escape_debug());
        checker.refuse(place, message, "no blanks, quotes, `{`, `}`, `,`, `@` or `/`");
    }
}

/// Resolves all sets.
pub(super) fn sets(
    checker: &mut Checker<'_>,
    texts: &[Spanned<Set>],
    directory: &Path,
    read: Read<'_>,
) -> (Sets, Vec<SetFile>) {
    check_names(checker, "set", texts.iter().map(|text| &text.get_ref().name));
    let (mut sets, mut files) = (Sets::default(), Vec::new());
    for text in texts {
        let text = text.get_ref();
        let given = [text.file.is_some(), text.prefixes.is_some(), text.ports.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            let message = format!("set {} needs its members once", text.name.get_ref());
            let help = "one of: file = \"…\", prefixes = […], ports = […]";
            checker.refuse(&text.name, message, help);
        }
        let members = if let Some(place) = &text.file {
            let path = directory.join(place.get_ref());
            let (text_of_file, members) = members_of_file(checker, place, &path, read);
            let name = text.name.get_ref().clone();
            files.push(SetFile { name, path, text: text_of_file.into() });
            members
        } else if let Some(prefixes) = &text.prefixes {
            members_of_prefixes(checker, prefixes.get_ref())
        } else {
            let ports = text.ports.as_ref().map_or(&[][..], |ports| ports.get_ref());
            members_of_ports(checker, ports)
        };
        sets.insert(text.name.get_ref(), members);
    }
    (sets, files)
}

fn members_of_file(
    checker: &mut Checker<'_>,
    place: &Spanned<String>,
    path: &Path,
    read: Read<'_>,
) -> (String, Members) {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("cannot read {}: {error}", path.display());
            let help = "a text file with one prefix or port a line; it may be empty";
            checker.refuse(place, message, help);
            return (String::new(), Members::Empty);
        }
    };
    let members = Members::parse(&text).unwrap_or_else(|errors| {
        let source = Source::of_set(&text, path.to_owned());
        for error in errors {
            checker.refuse_place(source.place(&error.span), error.message, error.help);
        }
        Members::Empty
    });
    (text, members)
}

fn members_of_prefixes(checker: &mut Checker<'_>, places: &[Spanned<String>]) -> Members {
    let networks = places.iter().filter_map(|place| {
        let refuse = |(message, help): (String, String)| {
            checker.refuse(place, message, help.replace(", 192.0.2.1 or @set", " or 192.0.2.1"));
        };
        filter::parse_prefix(place.get_ref()).map_err(refuse).ok()
    });
    Members::of_prefixes(networks.collect::<Vec<_>>())
}

fn members_of_ports(checker: &mut Checker<'_>, places: &[Spanned<Ports>]) -> Members {
    let ranges = places.iter().filter_map(|place| {
        let text = match place.get_ref() {
            Ports::One(number) => number.to_string(),
            Ports::Range(text) => text.clone(),
        };
        let refuse = |(message, help): (String, String)| checker.refuse(place, message, help);
        filter::parse_ports(&text).map_err(refuse).ok()
    });
    Members::of_ports(ranges.collect())
}
