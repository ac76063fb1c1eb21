//! Options of IPv4 and TCP, which have one layout (RFC 791 §3.1, RFC 9293 §3.1): kind 0 ends the
//! list, kind 1 is padding, every other kind is followed by a length that counts kind and length.

use crate::Malformed;

const END: u8 = 0;
const NO_OPERATION: u8 = 1;

/// One option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderOption<'a> {
    /// The kind: the whole type byte, with IPv4's copied flag and class.
    pub kind: u8,
    /// What follows the length byte.
    pub data: &'a [u8],
}

/// The options of a header, padding left out.
///
/// A bad length yields one [`Malformed::BadOption`], after which the iterator is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Options<'a> {
    /// Over the option area of a header.
    pub const fn new(area: &'a [u8]) -> Self {
        Self { rest: area }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<HeaderOption<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while let [NO_OPERATION, rest @ ..] = self.rest {
            self.rest = rest;
        }
        let (kind, length) = match *core::mem::take(&mut self.rest) {
            [] | [END, ..] => return None,
            [_] => return Some(Err(Malformed::BadOption)),
            ref area @ [kind, length, ..] => (kind, area.split_at_checked(usize::from(length))),
        };
        match length {
            Some(([_, _, data @ ..], rest)) => {
                self.rest = rest;
                Some(Ok(HeaderOption { kind, data }))
            }
            _ => Some(Err(Malformed::BadOption)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(area: &[u8]) -> Vec<Result<(u8, &[u8]), Malformed>> {
        Options::new(area).map(|item| item.map(|option| (option.kind, option.data))).collect()
    }

    #[test]
    fn padding_is_skipped_and_end_ends() {
        let area = [1, 2, 4, 5, 0xb4, 1, 4, 2, 0, 9, 9];
        assert_eq!(collect(&area), [Ok((2, &[5, 0xb4][..])), Ok((4, &[][..]))]);
        assert_eq!(collect(&[]), []);
    }

    #[test]
    fn a_bad_length_is_reported_once() {
        let bad = Err(Malformed::BadOption);
        assert_eq!(collect(&[2, 0, 1, 1]), [bad]);
        assert_eq!(collect(&[2, 1, 1, 1]), [bad]);
        assert_eq!(collect(&[2, 5, 1, 1]), [bad]);
        assert_eq!(collect(&[4, 2, 7]), [Ok((4, &[][..])), bad]);
    }
}
