//! A file read through a window: the parser asks for bytes and gets them in one slice.

use std::io::{self, Read};

/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;

/// A reader and the bytes of it that are next.
pub(super) struct Source {
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where `start` lies in the file.
    offset: u64,
}

impl Source {
    pub(super) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self { reader, buffer: vec![0; READ_BYTES], start: 0, end: 0, offset: 0 }
    }

    /// Position in the file, in bytes from its start.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `bytes`, not yet consumed, or as many as the file still has.
    pub(super) fn peek(&mut self, bytes: usize) -> io::Result<&[u8]> {
        if self.end - self.start < bytes {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buffer.len() < bytes {
                self.buffer.resize(bytes, 0);
            }
            while self.end < bytes {
                match self.reader.read(&mut self.buffer[self.end..]) {
                    Ok(0) => break,
                    Ok(read) => self.end += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let end = self.end.min(self.start + bytes);
        Ok(&self.buffer[self.start..end])
    }

    /// Bytes that lie `offset` behind the position and were peeked before.
    pub(super) fn peeked(&self, offset: usize, bytes: usize) -> &[u8] {
        &self.buffer[self.start + offset..self.start + offset + bytes]
    }

    /// Passes over `bytes`, peeked or not; false when the file ends before.
    pub(super) fn skip(&mut self, bytes: usize) -> io::Result<bool> {
        let mut left = bytes;
        while left > 0 {
            let step = self.peek(left.min(READ_BYTES))?.len();
            if step == 0 {
                return Ok(false);
            }
            self.start += step;
            self.offset += step as u64;
            left -= step;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out one byte at a time, as a slow pipe would.
    struct Drip(Vec<u8>, usize);

    impl Read for Drip {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(&byte) = self.0.get(self.1) else { return Ok(0) };
            self.1 += 1;
            buffer[0] = byte;
            Ok(1)
        }
    }

    #[test]
    fn short_reads_are_put_together() {
        let mut source = Source::new(Box::new(Drip((0..100).collect(), 0)));
        assert_eq!(source.peek(4).expect("read"), [0, 1, 2, 3]);
        assert!(source.skip(50).expect("read"));
        assert_eq!(source.peek(3).expect("read"), [50, 51, 52]);
        assert_eq!(source.peeked(1, 2), [51, 52]);
        assert_eq!(source.peek(100).expect("read").len(), 50, "the file ends");
        assert_eq!(source.offset(), 50);
        assert!(!source.skip(51).expect("read"));
    }
}
