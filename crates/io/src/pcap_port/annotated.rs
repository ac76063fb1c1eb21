//! A capture with something to say: pcapng with named interfaces and a comment on each packet, into anything that
//! takes bytes, such as a pipe to Wireshark.

use std::io::{self, Write};

use super::pcapng;

/// A capture being written. Whoever reads along sees a packet as soon as [`Self::flush`] has been called.
#[derive(Debug)]
pub struct AnnotatedCapture<W: Write> {
    output: W,
    buffer: Vec<u8>,
}

impl<W: Write> AnnotatedCapture<W> {
    /// Begins a capture of packets of these Ethernet interfaces, of each `snap_bytes` at the most; 0 for all.
    ///
    /// # Errors
    /// When the output takes no bytes.
    pub fn new(output: W, interfaces: &[String], snap_bytes: u32) -> io::Result<Self> {
        let mut capture = Self { output, buffer: Vec::new() };
        pcapng::write_section(&mut capture.buffer);
        for name in interfaces {
            pcapng::write_interface(&mut capture.buffer, Some(name), snap_bytes);
        }
        capture.write()?;
        Ok(capture)
    }

    /// Adds a packet that came in by interface number `interface`, of which `packet` are the first of
    /// `frame_bytes`.
    ///
    /// # Errors
    /// When the output takes no bytes.
    pub fn packet(
        &mut self,
        interface: u32,
        time_unix_nanoseconds: u64,
        (packet, frame_bytes): (&[u8], u32),
        comment: &str,
    ) -> io::Result<()> {
        let (at, packet) = ((interface, time_unix_nanoseconds), (packet, frame_bytes));
        pcapng::write_annotated_packet(&mut self.buffer, at, packet, comment);
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        self.output.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Hands everything to the reader.
    ///
    /// # Errors
    /// When the output takes no bytes.
    pub fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::Reader;
    use super::*;

    #[test]
    fn our_own_reader_takes_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("annotated.pcapng");
        let file = std::fs::File::create(&path).expect("a file");
        let interfaces = ["eth0".to_owned(), "eth1".to_owned()];
        let mut capture = AnnotatedCapture::new(file, &interfaces, 0).expect("it is written");
        let packets = [(1, vec![1; 60], "dropped: filtered"), (0, vec![2; 61], "é")];
        for (number, (interface, packet, comment)) in packets.iter().enumerate() {
            let bytes = (packet.as_slice(), packet.len() as u32);
            capture.packet(*interface, 7 + number as u64, bytes, comment).expect("it is written");
        }
        capture.flush().expect("it is written");
        let mut reader = Reader::open(&path).expect("a capture");
        for (number, (_, packet, _)) in packets.iter().enumerate() {
            let read = reader.next().expect("a packet");
            assert_eq!(
                (read.timestamp_nanoseconds, read.original),
                (7 + number as u64, packet.len())
            );
            assert_eq!(reader.bytes(), packet);
            reader.advance().expect("it is right");
        }
        assert!(reader.next().is_none());
        let text = std::fs::read(&path).expect("the file");
        for name in ["eth0", "eth1", "dropped: filtered", "é"] {
            assert!(text.windows(name.len()).any(|part| part == name.as_bytes()), "{name}");
        }
    }
}
