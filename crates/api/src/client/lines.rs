//! An answer that comes line by line, in pieces of any length.

/// Lines that arrive in pieces.
#[derive(Debug, Default)]
pub(super) struct JsonLines {
    bytes: Vec<u8>,
    /// Up to here they were taken.
    taken: usize,
}

impl JsonLines {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.taken));
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let rest = &self.bytes[self.taken..];
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        self.taken += end + 1;
        Some(&rest[..end])
    }

    /// What is left, for whoever looks for no lines.
    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }
}
