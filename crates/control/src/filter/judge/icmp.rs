//! ICMP types and codes, of which the names depend on the protocol.

use std::ops::{Range, RangeInclusive};

use linecard_wire::ip::Protocol;

use super::Judge;
use crate::filter::list::join_ranges;
use crate::filter::names::{self, CodeTable, Table};
use crate::filter::term::{Ask, IcmpValue, List};
use crate::suggestion;

impl Judge<'_> {
    pub(super) fn icmp(&mut self) {
        let is_icmp = |ask: &Ask| matches!(ask, Ask::IcmpType(_) | Ask::IcmpCode(_));
        let Some(span) = self.place(is_icmp) else { return };
        let (types, codes): (&Table, &CodeTable) = match self.condition.protocols[..] {
            [number] if number == Protocol::ICMPV4.0 => (names::ICMP_TYPES, names::ICMP_CODES),
            [number] if number == Protocol::ICMPV6.0 => (names::ICMPV6_TYPES, names::ICMPV6_CODES),
            [] => {
                let help = "name the protocol too, `icmp` or `icmpv6`: their types differ";
                return self.refuse(&span, "an ICMP type or code without its protocol", help);
            }
            _ => {
                let help = "one protocol, `icmp` or `icmpv6`: their types differ";
                return self.refuse(&span, "an ICMP type or code of other protocols", help);
            }
        };
        for term in self.terms {
            if let Ask::IcmpType(list) = &term.ask {
                self.condition.icmp_types = self.icmp_types(list, types);
            }
        }
        for term in self.terms {
            if let Ask::IcmpCode(list) = &term.ask {
                self.condition.icmp_codes = self.icmp_codes(list, codes);
            }
        }
    }

    fn icmp_types(&mut self, list: &List<IcmpValue>, table: &Table) -> Vec<RangeInclusive<u8>> {
        let mut ranges = Vec::new();
        for at in list {
            match &at.value {
                IcmpValue::Numbers(range) => ranges.push(range.clone()),
                IcmpValue::Name(name) => match names::number(table, name) {
                    Some(number) => ranges.push(number..=number),
                    None => self.refuse_name(&at.span, name, "ICMP type", names::words(table)),
                },
            }
        }
        join_ranges(&mut ranges, |number| number.checked_add(1));
        ranges
    }

    fn icmp_codes(&mut self, list: &List<IcmpValue>, table: &CodeTable) -> Vec<RangeInclusive<u8>> {
        let mut ranges = Vec::new();
        for at in list {
            let name = match &at.value {
                IcmpValue::Numbers(range) => {
                    ranges.push(range.clone());
                    continue;
                }
                IcmpValue::Name(name) => name,
            };
            let Some((_, of, code)) = table.iter().find(|(known, ..)| known == name) else {
                let words = table.iter().map(|(name, ..)| *name);
                self.refuse_name(&at.span, name, "ICMP code", words);
                continue;
            };
            ranges.push(*code..=*code);
            if self.condition.icmp_types != [*of..=*of] {
                let message = format!("`{name}` is a code of type {of} alone");
                self.refuse(&at.span, message, format!("with: icmp-type {of}; or a number"));
            }
        }
        join_ranges(&mut ranges, |number| number.checked_add(1));
        ranges
    }

    fn refuse_name(
        &mut self,
        span: &Range<usize>,
        name: &str,
        what: &str,
        known: impl Iterator<Item = &'static str>,
    ) {
        let known: Vec<&str> = known.collect();
        let help = match suggestion::nearest(name, known.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("a number from 0 to 255, or one of: {}", known.join(", ")),
        };
        self.refuse(span, format!("`{name}` is no {what} of this protocol"), help);
    }
}
