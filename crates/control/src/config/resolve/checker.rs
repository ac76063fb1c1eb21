//! Collects mistakes, and judges the kinds of value that stand in many places.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};

use ipnet::IpNet;
use linecard_wire::MacAddress;
use toml::Spanned;

use crate::config::error::{Error, Place};
use crate::config::source::Source;

/// The mistakes found so far in one file.
pub(super) struct Checker<'a> {
    source: Source<'a>,
    errors: Vec<Error>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { source: Source::of(text), errors: Vec::new() }
    }

    /// The mistakes.
    pub(super) fn into_errors(self) -> Vec<Error> {
        self.errors
    }

    /// Whether there is a mistake so far.
    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The text of the configuration.
    pub(super) fn source(&self) -> &Source<'a> {
        &self.source
    }

    /// Notes a mistake in another file.
    pub(super) fn refuse_place(
        &mut self,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let (message, help) = (message.into(), Some(help.into()));
        self.errors.push(Error { place: Some(place), message, help });
    }

    /// Notes what is wrong with `place`, and what would be right.
    pub(super) fn refuse<T>(
        &mut self,
        place: &Spanned<T>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.refuse_span(&place.span(), message, help);
    }

    pub(super) fn refuse_span(
        &mut self,
        span: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.errors.push(Error::at(&self.source, span, message, help));
    }

    pub(super) fn refuse_file(&mut self, message: impl Into<String>, help: impl Into<String>) {
        self.errors.push(Error::of_file(message, help));
    }

    /// A number within `range`, or `default` when there is none.
    pub(super) fn number<T>(
        &mut self,
        place: &Option<Spanned<i64>>,
        key: &str,
        range: RangeInclusive<T>,
        default: T,
    ) -> T
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        match place {
            None => default,
            Some(place) => self.required_number(place, key, range),
        }
    }

    /// A number within `range`; when it is not, the start of the range goes on in its place.
    pub(super) fn required_number<T>(
        &mut self,
        place: &Spanned<i64>,
        key: &str,
        range: RangeInclusive<T>,
    ) -> T
    where
        T: TryFrom<i64> + PartialOrd + Display + Copy,
    {
        match T::try_from(*place.get_ref()) {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let message = format!("{key} is out of range: {}", place.get_ref());
                self.refuse(place, message, format!("{} to {}", range.start(), range.end()));
                *range.start()
            }
        }
    }

    /// A MAC address that one station can have.
    pub(super) fn mac_address(&mut self, place: &Spanned<String>) -> Option<MacAddress> {
        let text = place.get_ref();
        match text.parse::<MacAddress>() {
            Err(error) => {
                self.refuse(place, format!("`{text}` is no MAC address"), error.to_string());
            }
            Ok(address) if !address.is_unicast() => {
                let kind = if address.is_multicast() { "a group address" } else { "all zeroes" };
                let help = "one station's address, such as 02:00:5e:10:00:01";
                self.refuse(place, format!("`{text}` is {kind}"), help);
            }
            Ok(address) => return Some(address),
        }
        None
    }

    /// The address of one host.
    pub(super) fn host_address(&mut self, place: &Spanned<String>) -> Option<IpAddr> {
        let text = place.get_ref();
        if let Ok(address) = text.parse::<IpAddr>() {
            return self.check_host(place, address).then_some(address);
        }
        let message = format!("`{text}` is no IP address");
        let help = match text.split_once('/') {
            Some((address, _)) if address.parse::<IpAddr>().is_ok() => {
                format!("one address, without a prefix length: {address}")
            }
            _ => "an address such as 192.0.2.1 or 2001:db8::1".to_owned(),
        };
        self.refuse(place, message, help);
        None
    }

    /// Whether `address` can be one host's; notes it when not.
    pub(super) fn check_host(&mut self, place: &Spanned<String>, address: IpAddr) -> bool {
        let kind = if address.is_unspecified() {
            "the unspecified address"
        } else if address.is_loopback() {
            "a loopback address"
        } else if address.is_multicast() {
            "a multicast address"
        } else if address == IpAddr::from([255, 255, 255, 255]) {
            "the broadcast address"
        } else {
            return true;
        };
        let help = "the address of one host on a link";
        self.refuse(place, format!("`{}` is {kind}", place.get_ref()), help);
        false
    }

    /// An address or prefix with its length, as it is written.
    pub(super) fn network(&mut self, place: &Spanned<String>, example: &str) -> Option<IpNet> {
        let text = place.get_ref();
        if let Ok(network) = text.parse::<IpNet>() {
            return Some(network);
        }
        let (address, length) = text.split_once('/').unwrap_or((text.as_str(), ""));
        let (message, help) = match address.parse::<IpAddr>() {
            Err(_) => (format!("`{text}` is no IP prefix"), format!("write it like {example}")),
            Ok(address) => {
                let max = if address.is_ipv4() { 32 } else { 128 };
                let message = match length {
                    "" => format!("`{text}` has no prefix length"),
                    length => format!("`{length}` is no prefix length"),
                };
                (message, format!("a length from 0 to {max}, for one host: {address}/{max}"))
            }
        };
        self.refuse(place, message, help);
        None
    }

    /// A prefix without bits behind its length.
    pub(super) fn prefix(&mut self, place: &Spanned<String>) -> Option<IpNet> {
        let network = self.network(place, "198.51.100.0/24 or 2001:db8::/32")?;
        let prefix = network.trunc();
        if network != prefix {
            let message = format!("`{network}` has bits set behind its prefix length");
            let host = IpNet::from(network.addr());
            self.refuse(place, message, format!("did you mean {prefix}? (one host is {host})"));
        }
        Some(prefix)
    }
}
