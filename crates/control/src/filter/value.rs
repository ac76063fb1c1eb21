//! One word of a value: what it means, or what is wrong with it and what would be right.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use linecard_services::filter::{
    FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE, Masked, PAYLOAD_BYTES_MAX, States,
};

use super::names::{self, Table};
use super::term::{IcmpValue, Member};
use crate::suggestion;

/// Largest flow label: 20 bits.
const FLOW_LABEL_MAX: u32 = 0xf_ffff;

/// Message and help.
pub(super) type Refusal = (String, String);

fn refusal<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Refusal> {
    Err((message.into(), help.into()))
}

/// A number, decimal or hexadecimal behind `0x`, of which at most `max` may be given.
fn number<T: TryFrom<u64> + Display>(word: &str, max: T) -> Result<T, Refusal> {
    let parsed = match word.strip_prefix("0x") {
        Some(digits) if digits.starts_with('+') => None,
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if word.starts_with('+') => None,
        None => word.parse::<u64>().ok(),
    };
    let is_number = word.chars().all(|c| c.is_ascii_digit()) && !word.is_empty();
    match parsed.map(T::try_from) {
        Some(Ok(number)) => Ok(number),
        None if !is_number => {
            refusal(format!("`{word}` is no number"), format!("a number from 0 to {max}"))
        }
        _ => refusal(format!("{word} is out of range"), format!("0 to {max}")),
    }
}

/// A number, or the name of one.
fn named(table: &Table, word: &str, what: &str, max: u8) -> Result<u8, Refusal> {
    if let Some(number) = names::number(table, word) {
        return Ok(number);
    }
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        return match number::<u8>(word, max) {
            Ok(number) if number > max => {
                refusal(format!("{word} is out of range"), format!("0 to {max}"))
            }
            other => other,
        };
    }
    let help = match suggestion::nearest(word, names::words(table)) {
        Some(name) => format!("did you mean `{name}`?"),
        None => {
            let all: Vec<&str> = names::words(table).collect();
            format!("a number from 0 to {max}, or one of: {}", all.join(", "))
        }
    };
    refusal(format!("`{word}` is no {what}"), help)
}

pub(super) fn protocol(word: &str) -> Result<u8, Refusal> {
    named(names::PROTOCOLS, word, "protocol", u8::MAX)
}

/// A differentiated services code point.
pub(super) fn dscp(word: &str) -> Result<u8, Refusal> {
    named(names::DSCPS, word, "DSCP", 63)
}

/// `a-b`, or one number.
fn range<T>(word: &str, max: T) -> Result<RangeInclusive<T>, Refusal>
where
    T: TryFrom<u64> + Display + Ord + Copy,
{
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    if !word.starts_with(|c: char| c.is_ascii_digit()) || last.is_empty() {
        let help = format!("a number from 0 to {max}, or a range such as 1-{max}");
        return refusal(format!("`{word}` is no number"), help);
    }
    let (first, last) = (number(first, max)?, number(last, max)?);
    if first > max || last > max {
        return refusal(format!("{} is out of range", first.max(last)), format!("0 to {max}"));
    }
    if first > last {
        let message = format!("the range {word} is empty");
        return refusal(message, format!("the smaller number first: {last}-{first}"));
    }
    Ok(first..=last)
}

pub(super) fn range16(word: &str) -> Result<RangeInclusive<u16>, Refusal> {
    range(word, u16::MAX)
}

pub(super) fn range8(word: &str) -> Result<RangeInclusive<u8>, Refusal> {
    range(word, u8::MAX)
}

/// `none` is 0: no tag.
pub(super) fn vlan(word: &str) -> Result<RangeInclusive<u16>, Refusal> {
    if word == "none" { Ok(0..=0) } else { range(word, 4095) }
}

pub(super) fn icmp(word: &str) -> Result<IcmpValue, Refusal> {
    if word.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok(IcmpValue::Name(word.to_owned()));
    }
    range8(word).map(IcmpValue::Numbers)
}

/// `@set`, or what `literal` makes of the word.
pub(super) fn member<T>(
    word: &str,
    literal: impl Fn(&str) -> Result<T, Refusal>,
) -> Result<Member<T>, Refusal> {
    match word.strip_prefix('@') {
        Some("") => refusal("`@` without the name of a set", "such as @customers"),
        Some(name) => Ok(Member::Set(name.to_owned())),
        None => literal(word).map(Member::Literal),
    }
}

/// A prefix, or the address of one host.
pub(super) fn prefix(word: &str) -> Result<IpNet, Refusal> {
    if let Ok(address) = word.parse::<IpAddr>() {
        return Ok(address.into());
    }
    if let Ok(network) = word.parse::<IpNet>() {
        let prefix = network.trunc();
        if prefix == network {
            return Ok(network);
        }
        let message = format!("`{network}` has bits set behind its prefix length");
        let host = network.addr();
        return refusal(message, format!("did you mean {prefix}? (one host is {host})"));
    }
    let (address, length) = word.split_once('/').unwrap_or((word, ""));
    match address.parse::<IpAddr>() {
        Ok(address) => {
            let max = if address.is_ipv4() { 32 } else { 128 };
            let message = format!("`{length}` is no prefix length");
            refusal(message, format!("a length from 0 to {max}"))
        }
        Err(_) => {
            let help = "write it like 198.51.100.0/24, 2001:db8::/32, 192.0.2.1 or @set";
            refusal(format!("`{word}` is no IP prefix"), help)
        }
    }
}

/// Flags that must hold together, joined by `+`: `syn+!ack`.
pub(super) fn tcp_flags(word: &str) -> Result<Masked<u8>, Refusal> {
    let mut flags = Masked { value: 0u8, mask: 0 };
    for part in word.split('+') {
        let (name, set) = part.strip_prefix('!').map_or((part, true), |name| (name, false));
        let Some(bit) = names::number(names::TCP_FLAGS, name) else {
            let all: Vec<&str> = names::words(names::TCP_FLAGS).collect();
            let help = match suggestion::nearest(name, all.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("one of: {}; with `!` it must not be set", all.join(", ")),
            };
            return refusal(format!("`{part}` is no TCP flag"), help);
        };
        if flags.mask & bit != 0 && (flags.value & bit != 0) != set {
            let message = format!("`{word}` wants `{name}` set and not set: no packet matches");
            return refusal(message, "name each flag once");
        }
        flags.mask |= bit;
        flags.value |= if set { bit } else { 0 };
    }
    Ok(flags)
}

/// Bits of [`linecard_services::filter::Match::fragments`].
pub(super) fn fragment(word: &str) -> Result<u8, Refusal> {
    match word {
        "none" => Ok(FRAGMENT_NONE),
        "first" => Ok(FRAGMENT_FIRST),
        "later" => Ok(FRAGMENT_LATER),
        "any" => Ok(FRAGMENT_FIRST | FRAGMENT_LATER),
        _ => refusal(
            format!("`{word}` is no kind of fragment"),
            "none (not a fragment), first, later, or any (first or later)",
        ),
    }
}

/// `VALUE` or `VALUE/MASK`, of 20 bits.
pub(super) fn flow_label(word: &str) -> Result<Masked<u32>, Refusal> {
    let (value, mask) = word.split_once('/').unwrap_or((word, "0xfffff"));
    let (value, mask) = (number::<u32>(value, FLOW_LABEL_MAX)?, number(mask, FLOW_LABEL_MAX)?);
    if value.max(mask) > FLOW_LABEL_MAX {
        return refusal(format!("`{word}` has more than 20 bits"), "0 to 0xfffff");
    }
    if mask == 0 {
        return refusal("a mask of 0 asks for nothing", "leave the term out");
    }
    if value & !mask != 0 {
        let message = format!("`{word}` has bits outside of its mask: no packet matches");
        return refusal(message, format!("did you mean {:#x}/{mask:#x}?", value & mask));
    }
    Ok(Masked { value, mask })
}

pub(super) fn states(word: &str) -> Result<States, Refusal> {
    let none = States::default();
    match word {
        "new" => Ok(States { new: true, ..none }),
        "established" => Ok(States { established: true, ..none }),
        "related" => Ok(States { related: true, ..none }),
        "invalid" => Ok(States { invalid: true, ..none }),
        _ => refusal(
            format!("`{word}` is no state of a connection"),
            "one of: new, established, related, invalid",
        ),
    }
}

/// Bytes under a mask, and how many.
pub(super) type MaskedBytes = ([u8; PAYLOAD_BYTES_MAX], [u8; PAYLOAD_BYTES_MAX], u8);

/// `0xHEX` or `0xHEX/0xMASK`.
pub(super) fn masked_bytes(word: &str) -> Result<MaskedBytes, Refusal> {
    let (value, mask) = word.split_once('/').map_or((word, None), |(v, m)| (v, Some(m)));
    let (value, length) = hex(value)?;
    let mut all = [0; PAYLOAD_BYTES_MAX];
    all[..length].fill(0xff);
    let (mask, mask_length) = mask.map_or(Ok((all, length)), hex)?;
    if mask_length != length {
        let message = format!("{length} bytes under a mask of {mask_length}");
        return refusal(message, "as many digits in the mask as in the value");
    }
    if mask == [0; PAYLOAD_BYTES_MAX] {
        return refusal("a mask of 0 asks for nothing", "leave the term out");
    }
    if value.iter().zip(&mask).any(|(value, mask)| value & !mask != 0) {
        let message = format!("`{word}` has bits outside of its mask: no packet matches");
        return refusal(message, "0 in the value where the mask is 0");
    }
    let length = u8::try_from(length).expect("16 at the most");
    Ok((value, mask, length))
}

fn hex(word: &str) -> Result<([u8; PAYLOAD_BYTES_MAX], usize), Refusal> {
    let digits = word.strip_prefix("0x").unwrap_or_default();
    let help = format!("0x and two digits for each of 1 to {PAYLOAD_BYTES_MAX} bytes");
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return refusal(format!("`{word}` is no hexadecimal number"), help);
    }
    if !digits.len().is_multiple_of(2) || digits.len() > 2 * PAYLOAD_BYTES_MAX {
        return refusal(format!("`{word}` has {} digits", digits.len()), help);
    }
    let mut bytes = [0; PAYLOAD_BYTES_MAX];
    for (at, byte) in bytes.iter_mut().take(digits.len() / 2).enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("digits, as checked");
    }
    Ok((bytes, digits.len() / 2))
}

/// `+N`, bytes behind the anchor.
pub(super) fn offset(word: &str) -> Result<u16, Refusal> {
    match word.strip_prefix('+') {
        Some(digits) => number(digits, u16::MAX),
        None => refusal(format!("`{word}` is no offset"), "bytes behind the anchor, such as +12"),
    }
}
