//! VLAN tags: 802.1Q C-TAGs and 802.1ad S-TAGs (QinQ), at most two deep.

use crate::Malformed;
use crate::ethernet::{self, EtherType};
use crate::field::Fields;

/// Bytes of one tag: tag protocol identifier (TPID) and tag control information (TCI).
pub const TAG_LENGTH: usize = 4;

/// The tags that [`Tags::new`] reads; a third one is reported as the frame's type.
pub const TAGS_MAX: usize = 2;

/// A VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// Tag protocol identifier: [`EtherType::VLAN`] or [`EtherType::SERVICE_VLAN`].
    pub tpid: EtherType,
    /// Tag control information: priority, drop eligibility, VLAN identifier.
    pub tci: Tci,
}

/// Tag control information (802.1Q clause 9.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Tci(pub u16);

impl Tci {
    /// From priority (0..=7), drop eligibility and VLAN identifier (0..=4095); excess bits are cut.
    pub const fn new(priority: u8, drop_eligible: bool, vlan_id: u16) -> Self {
        let priority = (priority as u16 & 0x7) << 13;
        Self(priority | (drop_eligible as u16) << 12 | vlan_id & 0x0fff)
    }

    /// VLAN identifier (VID), 0..=4095; 0 means "priority only", 4095 is reserved.
    #[inline]
    pub const fn vlan_id(self) -> u16 {
        self.0 & 0x0fff
    }

    /// Priority code point (PCP), 0..=7.
    #[inline]
    pub const fn priority(self) -> u8 {
        (self.0 >> 13) as u8
    }

    /// Drop eligible indicator (DEI).
    #[inline]
    pub const fn drop_eligible(self) -> bool {
        self.0 & 0x1000 != 0
    }
}

/// The tags of a frame, and what comes behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags<'a> {
    outer: Option<Tag>,
    inner: Option<Tag>,
    ethertype: EtherType,
    payload: &'a [u8],
}

impl<'a> Tags<'a> {
    /// Reads up to [`TAGS_MAX`] tags of a frame that starts at its Ethernet header.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when the header or an announced tag is cut off.
    #[inline]
    pub fn new(frame: &'a [u8]) -> Result<Self, Malformed> {
        let frame = ethernet::Frame::new(frame)?;
        let (outer, ethertype, payload) = next_tag(frame.ethertype(), frame.payload())?;
        if outer.is_none() {
            return Ok(Self { outer, inner: None, ethertype, payload });
        }
        let (inner, ethertype, payload) = next_tag(ethertype, payload)?;
        Ok(Self { outer, inner, ethertype, payload })
    }

    /// The first tag of the frame.
    #[inline]
    pub const fn outer(&self) -> Option<Tag> {
        self.outer
    }

    /// The second tag.
    #[inline]
    pub const fn inner(&self) -> Option<Tag> {
        self.inner
    }

    /// Tags found, 0..=[`TAGS_MAX`].
    #[inline]
    pub const fn count(&self) -> usize {
        self.outer.is_some() as usize + self.inner.is_some() as usize
    }

    /// The type of the payload behind the tags.
    #[inline]
    pub const fn ethertype(&self) -> EtherType {
        self.ethertype
    }

    /// Bytes from the start of the frame to the payload: 14, 18 or 22.
    #[inline]
    pub const fn payload_offset(&self) -> usize {
        ethernet::HEADER_LENGTH + self.count() * TAG_LENGTH
    }

    /// What follows the tags, padding included.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// One tag if `ethertype` announces one, else the arguments as they are.
#[inline]
fn next_tag(
    ethertype: EtherType,
    bytes: &[u8],
) -> Result<(Option<Tag>, EtherType, &[u8]), Malformed> {
    if !ethertype.is_vlan() {
        return Ok((None, ethertype, bytes));
    }
    let (fields, rest) = Fields::<TAG_LENGTH>::split(bytes)?;
    let tag = Tag { tpid: ethertype, tci: Tci(fields.u16::<0>()) };
    Ok((Some(tag), EtherType(fields.u16::<2>()), rest))
}

/// Puts a tag in front of the others, using headroom instead of moving the payload.
///
/// `buffer` is [`TAG_LENGTH`] spare bytes followed by the frame; afterwards the whole of it is the
/// tagged frame. Cost: 12 bytes moved, whatever the length.
///
/// # Errors
/// [`Malformed::Truncated`] when headroom and Ethernet header do not fit in `buffer`; it is then
/// unchanged.
#[inline]
pub fn push_tag(buffer: &mut [u8], tag: Tag) -> Result<(), Malformed> {
    let head = buffer.first_chunk_mut::<{ TAG_LENGTH + ethernet::HEADER_LENGTH }>();
    let head = head.ok_or(Malformed::Truncated)?;
    head.copy_within(TAG_LENGTH..TAG_LENGTH + 12, 0);
    head[12..14].copy_from_slice(&tag.tpid.0.to_be_bytes());
    head[14..16].copy_from_slice(&tag.tci.0.to_be_bytes());
    Ok(())
}

/// Takes the outer tag off. The untagged frame starts [`TAG_LENGTH`] bytes into `frame`.
///
/// # Errors
/// [`Malformed::Truncated`] when header or tag are cut off, [`Malformed::NotTagged`] when there is
/// no tag; `frame` is then unchanged.
#[inline]
pub fn pop_tag(frame: &mut [u8]) -> Result<Tag, Malformed> {
    let tpid = ethernet::Frame::new(frame)?.ethertype();
    if !tpid.is_vlan() {
        return Err(Malformed::NotTagged);
    }
    let head = frame.first_chunk_mut::<{ TAG_LENGTH + ethernet::HEADER_LENGTH }>();
    let head = head.ok_or(Malformed::Truncated)?;
    let tci = Tci(u16::from_be_bytes([head[14], head[15]]));
    head.copy_within(..12, TAG_LENGTH);
    Ok(Tag { tpid, tci })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x08, 0x00, 0xaa, 0xbb];
    const CUSTOMER: Tag = Tag { tpid: EtherType::VLAN, tci: Tci::new(5, true, 100) };
    const SERVICE: Tag = Tag { tpid: EtherType::SERVICE_VLAN, tci: Tci::new(0, false, 4094) };

    fn double_tagged() -> Vec<u8> {
        let mut buffer = vec![0; 8];
        buffer.extend(PLAIN);
        push_tag(&mut buffer[4..], CUSTOMER).unwrap();
        push_tag(&mut buffer, SERVICE).unwrap();
        buffer
    }

    #[test]
    fn tci_parts() {
        assert_eq!(CUSTOMER.tci.0, 0xb064);
        assert_eq!(CUSTOMER.tci.vlan_id(), 100);
        assert_eq!(CUSTOMER.tci.priority(), 5);
        assert!(CUSTOMER.tci.drop_eligible() && !SERVICE.tci.drop_eligible());
        assert_eq!(Tci::new(0xff, false, 0xffff), Tci(0xefff));
    }

    #[test]
    fn pushed_tags_are_read_and_popped_in_turn() {
        let mut bytes = double_tagged();
        assert_eq!(bytes[12..22], [0x88, 0xa8, 0x0f, 0xfe, 0x81, 0x00, 0xb0, 0x64, 0x08, 0x00]);
        let tags = Tags::new(&bytes).unwrap();
        assert_eq!((tags.outer(), tags.inner()), (Some(SERVICE), Some(CUSTOMER)));
        assert_eq!((tags.count(), tags.payload_offset()), (2, 22));
        assert_eq!((tags.ethertype(), tags.payload()), (EtherType::IPV4, &[0xaa, 0xbb][..]));
        assert_eq!(pop_tag(&mut bytes), Ok(SERVICE));
        assert_eq!(pop_tag(&mut bytes[4..]), Ok(CUSTOMER));
        assert_eq!(bytes[8..], PLAIN);
        assert_eq!(pop_tag(&mut bytes[8..]), Err(Malformed::NotTagged));
    }

    #[test]
    fn a_third_tag_is_the_type_of_the_payload() {
        let mut buffer = vec![0; 4];
        buffer.extend(double_tagged());
        push_tag(&mut buffer, SERVICE).unwrap();
        let tags = Tags::new(&buffer).unwrap();
        assert_eq!((tags.count(), tags.ethertype()), (2, EtherType::VLAN));
    }

    #[test]
    fn every_truncation_is_an_error_up_to_the_last_tag() {
        let bytes = double_tagged();
        for length in 0..22 {
            assert_eq!(Tags::new(&bytes[..length]), Err(Malformed::Truncated), "{length}");
        }
        assert!(Tags::new(&bytes[..22]).is_ok());
        let mut cut = bytes[..17].to_vec();
        assert_eq!(pop_tag(&mut cut), Err(Malformed::Truncated));
        assert_eq!(push_tag(&mut cut, SERVICE), Err(Malformed::Truncated));
        assert_eq!(cut, bytes[..17]);
    }
}
