//! TensorBoard scalars: an `events.out.tfevents.*` file without the TensorFlow libraries.
//!
//! In → (wall time, step, tag, number); out → TFRecord frames around hand-written protocol buffers.
//! **Format.** A record is its length (u64, little endian), the masked CRC-32C of those eight
//! bytes, the message, and the masked CRC-32C of the message (`tensorflow/core/lib/io/
//! record_writer.cc`; the mask is `rotate_right(crc, 15) + 0xa282ead8`). The message is
//! `tensorflow.Event`: field 1 `wall_time` double, 2 `step` int64, 3 `file_version`, 5 `summary`
//! {repeated 1 `value` {1 `tag`, 2 `simple_value` float}}, 7 `session_log` {1 `status`, START = 1}.
//! **Invariants.** Each process that works on a run writes a file of its own, which opens with
//! `session_log: START` at its first step: TensorBoard then drops what an earlier process wrote
//! from that step on, as a resume cuts the other records. These files hold clocks, so they are no
//! part of what equal runs share. **Cost.** About 60 bytes a number.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use crate::base::{
    error::{Error, Result},
    io,
};

/// TensorBoard's name for the format's second version, the one with CRCs.
const FILE_VERSION: &str = "brain.Event:2";

/// `kCrcMaskDelta` of TensorFlow's `crc32c.h`.
const MASK_DELTA: u32 = 0xa282_ead8;

/// Castagnoli's polynomial, bits reversed (RFC 3720, appendix B.4).
const CASTAGNOLI: u32 = 0x82f6_3b78;

/// One event file, open for appending.
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Starts a file for a process that continues after `step`; `wall_time` in seconds since 1970.
    pub fn create(path: &Path, wall_time: f64, step: u64) -> Result<EventWriter> {
        let file = io::append(path)?;
        let mut writer = EventWriter { path: path.to_owned(), file };
        let mut version = event(wall_time, None);
        put_bytes(&mut version, 3, FILE_VERSION.as_bytes());
        writer.record(&version)?;
        let mut start = event(wall_time, Some(step + 1));
        let mut session = Vec::new();
        put_integer(&mut session, 1, 1);
        put_bytes(&mut start, 7, &session);
        writer.record(&start)?;
        Ok(writer)
    }

    /// Appends the scalars of one step in one event.
    pub fn scalars(&mut self, wall_time: f64, step: u64, scalars: &[(&str, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, number) in scalars {
            let mut value = Vec::new();
            put_bytes(&mut value, 1, tag.as_bytes());
            value.push(2 << 3 | 5);
            value.extend_from_slice(&(*number as f32).to_le_bytes());
            put_bytes(&mut summary, 1, &value);
        }
        let mut message = event(wall_time, Some(step));
        put_bytes(&mut message, 5, &summary);
        self.record(&message)
    }

    fn record(&mut self, message: &[u8]) -> Result<()> {
        let mut frame = Vec::with_capacity(message.len() + 16);
        let length = (message.len() as u64).to_le_bytes();
        frame.extend_from_slice(&length);
        frame.extend_from_slice(&masked(crc32c(&length)).to_le_bytes());
        frame.extend_from_slice(message);
        frame.extend_from_slice(&masked(crc32c(message)).to_le_bytes());
        self.file.write_all(&frame).map_err(Error::io("write", &self.path))
    }
}

/// An event with its time, and its step where it has one.
fn event(wall_time: f64, step: Option<u64>) -> Vec<u8> {
    let mut message = vec![1 << 3 | 1];
    message.extend_from_slice(&wall_time.to_le_bytes());
    if let Some(step) = step {
        put_integer(&mut message, 2, step);
    }
    message
}

/// A field of wire type 0.
fn put_integer(message: &mut Vec<u8>, field: u8, integer: u64) {
    message.push(field << 3);
    put_varint(message, integer);
}

/// A field of wire type 2: bytes, text or a message inside.
fn put_bytes(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    put_varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn put_varint(message: &mut Vec<u8>, mut integer: u64) {
    while integer >= 0x80 {
        message.push(integer as u8 | 0x80);
        integer >>= 7;
    }
    message.push(integer as u8);
}

fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(MASK_DELTA)
}

/// CRC-32C, bit by bit: some 100 bytes a training step need no table.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            let carry = crc & 1 == 1;
            if carry { crc >> 1 ^ CASTAGNOLI } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_gives_the_values_of_rfc_3720() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn records_are_framed_and_carry_tag_and_number() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.out.tfevents.1");
        let mut writer = EventWriter::create(&path, 1.5, 0).unwrap();
        writer.scalars(2.5, 300, &[("loss", 3.25)]).unwrap();
        let bytes = io::read(&path).unwrap();
        let mut messages = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let crc = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            assert_eq!(crc(8), masked(crc32c(&rest[..8])));
            assert_eq!(crc(12 + length), masked(crc32c(&rest[12..12 + length])));
            messages.push(rest[12..12 + length].to_vec());
            rest = &rest[16 + length..];
        }
        assert_eq!(messages.len(), 3);
        assert!(messages[0].ends_with(b"\x1a\x0dbrain.Event:2"));
        assert!(messages[1].ends_with(&[2 << 3, 1, 7 << 3 | 2, 2, 8, 1]));
        let step = [2 << 3, 0xac, 0x02];
        assert_eq!(messages[2][9..12], step);
        assert!(messages[2].ends_with(&3.25f32.to_le_bytes()));
    }
}
