//! A port whose wire is a pair of capture files: it receives from one and transmits into another.
//!
//! Reads pcap (micro- and nanoseconds) and pcapng, both in either byte order; writes pcap or
//! pcapng by the file's name, always in nanoseconds, so that no timestamp is rounded. The same
//! input gives the same output, byte for byte.
//!
//! The formats are read and written by Linecard itself. pcap-file 2.0.0 takes every pcapng
//! timestamp for nanoseconds whatever the interface's resolution, and refuses pcap files with
//! packets that were cut at the snap length; pcap-parser 0.17.0 refuses resolutions that are powers
//! of two, reads the timestamp offset as little-endian in big-endian files and loses the cause of
//! read errors. What a port needs of both formats is shorter than working around that.

mod annotated;
mod error;
mod pcap;
mod pcapng;
mod reader;
mod source;
#[cfg(test)]
mod tests;
mod writer;

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

pub use annotated::AnnotatedCapture;
pub use error::CaptureError;
use reader::Reader;
use writer::Writer;

use crate::{Frame, KernelCounters, PacketMemory, PortQueue};

/// A port on capture files. Received frames keep their timestamp in the packet memory
/// ([`PacketMemory::timestamp`]), from which the port that transmits them takes it.
pub struct PcapPort {
    reader: Option<Reader>,
    writer: Option<Writer>,
    /// Why reading ended early.
    error: Option<CaptureError>,
    /// Received packets that cannot be forwarded: cut at the snap length, empty, or longer than a
    /// frame.
    invalid: u64,
    /// Frames transmitted without an output file.
    discarded: u64,
    /// Timestamp of the frame transmitted last, for frames that have none.
    last_nanoseconds: u64,
    /// Whether frames were transmitted since the last `flush`.
    busy: bool,
}

impl PcapPort {
    /// Opens the file to receive from, and creates (or replaces) the one to transmit to. Without
    /// an input the port is finished at once; without an output what it transmits is gone.
    ///
    /// # Errors
    /// When a file cannot be opened, the input is no capture of Ethernet frames or is malformed
    /// before its first packet, the output's name ends in neither `.pcap` nor `.pcapng`, or both
    /// are the same file.
    pub fn open(input: Option<&Path>, output: Option<&Path>) -> Result<Self, CaptureError> {
        let reader = input.map(Reader::open).transpose()?;
        if let (Some(input), Some(output)) = (input, output)
            && fs::canonicalize(output)
                .is_ok_and(|file| fs::canonicalize(input).is_ok_and(|i| i == file))
        {
            return Err(CaptureError::SameFile { file: output.to_owned() });
        }
        let writer = output.map(Writer::create).transpose()?;
        Ok(Self {
            reader,
            writer,
            error: None,
            invalid: 0,
            discarded: 0,
            last_nanoseconds: 0,
            busy: false,
        })
    }

    /// Why reading ended before the end of the file, or writing ended.
    #[must_use]
    pub fn error(&self) -> Option<&CaptureError> {
        self.error.as_ref().or_else(|| self.writer.as_ref()?.error.as_ref())
    }

    /// Moves the input's next packet into `frame`; `None` when it cannot be forwarded.
    fn take(&mut self, memory: &mut PacketMemory, frame: &mut Frame) -> Option<()> {
        let reader = self.reader.as_mut()?;
        let record = reader.next()?;
        let whole = record.captured >= record.original && record.captured > 0;
        let taken = whole && memory.set_packet(frame, reader.bytes());
        memory.set_timestamp(frame, record.timestamp_nanoseconds);
        if let Err(error) = reader.advance() {
            self.error = Some(error);
        }
        if !taken {
            self.invalid += 1;
        }
        taken.then_some(())
    }
}

impl PortQueue for PcapPort {
    fn receive(
        &mut self,
        memory: &mut PacketMemory,
        frames: &mut Vec<Frame>,
        frames_max: usize,
    ) -> usize {
        let mut received = 0;
        while received < frames_max && !self.finished() {
            let Some(mut frame) = memory.allocate() else { break };
            if self.take(memory, &mut frame).is_some() {
                frames.push(frame);
                received += 1;
            } else {
                memory.free(frame);
            }
        }
        received
    }

    fn transmit(&mut self, memory: &mut PacketMemory, frames: &mut Vec<Frame>) -> usize {
        let taken = match &mut self.writer {
            None => {
                self.discarded += frames.len() as u64;
                frames.len()
            }
            Some(writer) => frames
                .iter()
                .take_while(|frame| {
                    let timestamp = memory.timestamp(frame).unwrap_or(self.last_nanoseconds);
                    self.last_nanoseconds = timestamp;
                    writer.packet(timestamp, memory.packet(frame))
                })
                .count(),
        };
        for frame in frames.drain(..taken) {
            memory.free(frame);
        }
        self.busy |= taken > 0;
        taken
    }

    /// Writes out what waits when no frame came since the last call; else the buffer is written
    /// when it is full, so that a file takes few system calls.
    fn flush(&mut self, _memory: &mut PacketMemory) {
        if let Some(writer) = &mut self.writer
            && !std::mem::take(&mut self.busy)
        {
            writer.write();
        }
    }

    fn queued(&self) -> usize {
        self.writer.as_ref().map_or(0, |writer| writer.waiting)
    }

    fn sent(&self) -> u64 {
        self.writer.as_ref().map_or(self.discarded, |writer| writer.written)
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn finished(&self) -> bool {
        self.reader.as_ref().is_none_or(|reader| reader.next().is_none())
    }

    fn kernel_counters(&self) -> KernelCounters {
        KernelCounters {
            rx_ring_full: 0,
            rx_invalid: self.invalid,
            tx_invalid: self.writer.as_ref().map_or(0, |writer| writer.lost),
        }
    }

    fn next_timestamp_nanoseconds(&self) -> Option<u64> {
        Some(self.reader.as_ref()?.next()?.timestamp_nanoseconds)
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Some(writer) = &mut self.writer {
            writer.write();
        }
        self.error().map_or(Ok(()), |error| Err(io::Error::other(error.to_string())))
    }
}

impl Drop for PcapPort {
    /// Writes out what waits; who wants to know whether that worked calls `finish`.
    fn drop(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.write();
        }
    }
}
