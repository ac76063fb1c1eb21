//! Writes packets into a capture file, in the format that the file's name asks for.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{CaptureError, pcap, pcapng};

/// Written out at least when as much is waiting.
const WRITE_BYTES: usize = 256 * 1024;

#[derive(Debug, Clone, Copy)]
enum Format {
    Pcap,
    Pcapng,
}

/// A capture file being written. Packets wait in a buffer of its own, so that the number of
/// packets that are really in the file is known when writing fails.
#[derive(Debug)]
pub(super) struct Writer {
    file: PathBuf,
    output: File,
    format: Format,
    buffer: Vec<u8>,
    /// Packets in the buffer.
    pub(super) waiting: usize,
    /// Packets in the file.
    pub(super) written: u64,
    /// Packets that could not be written.
    pub(super) lost: u64,
    /// Why nothing more is written.
    pub(super) error: Option<CaptureError>,
}

impl Writer {
    /// Creates or replaces `file`.
    pub(super) fn create(file: &Path) -> Result<Self, CaptureError> {
        let extension = file.extension().and_then(|extension| extension.to_str());
        let format = match extension {
            Some("pcap") => Format::Pcap,
            Some("pcapng") => Format::Pcapng,
            _ => return Err(CaptureError::Extension { file: file.to_owned() }),
        };
        let output = File::create(file)
            .map_err(|source| CaptureError::Write { file: file.to_owned(), source })?;
        // The last packet may cross the mark.
        let mut buffer = Vec::with_capacity(WRITE_BYTES + 8192);
        match format {
            Format::Pcap => pcap::write_header(&mut buffer),
            Format::Pcapng => pcapng::write_header(&mut buffer),
        }
        let file = file.to_owned();
        Ok(Self { file, output, format, buffer, waiting: 0, written: 0, lost: 0, error: None })
    }

    /// Appends a packet; false when writing failed before.
    pub(super) fn packet(&mut self, timestamp_nanoseconds: u64, packet: &[u8]) -> bool {
        if self.error.is_some() {
            return false;
        }
        match self.format {
            Format::Pcap => pcap::write_packet(&mut self.buffer, timestamp_nanoseconds, packet),
            Format::Pcapng => pcapng::write_packet(&mut self.buffer, timestamp_nanoseconds, packet),
        }
        self.waiting += 1;
        if self.buffer.len() >= WRITE_BYTES {
            self.write();
        }
        true
    }

    /// Writes out what waits, and counts it as written or lost.
    pub(super) fn write(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        match self.output.write_all(&self.buffer) {
            Ok(()) => self.written += self.waiting as u64,
            Err(source) => {
                self.lost += self.waiting as u64;
                self.error = Some(CaptureError::Write { file: self.file.clone(), source });
            }
        }
        self.waiting = 0;
        self.buffer.clear();
    }
}
