//! Bytes → blocks of whole lines, for a byte range, in bounded memory.
//!
//! In → a reader that stands at the range's first byte (one byte earlier when the range does not
//! begin the file); out → [`Block`]s of about `block_bytes`, in order, each with its offset. A line
//! belongs to the range it *starts* in, so ranges that tile a file tile its lines, wherever they
//! are cut. A line longer than `line_bytes_max` is read past without being held, and comes out as
//! a block of its own. Memory: `block_bytes + line_bytes_max`. Cost: one `memchr` over the bytes.

use std::io::{self, Read};

use memchr::{memchr, memrchr};

/// Size of a block, about: long enough to make hand-over cheap, short enough for many in flight.
pub const BLOCK_BYTES: usize = 4 << 20;

/// How much is read at a time to find the end of a range's last line.
const TAIL_BYTES: u64 = 64 << 10;

/// What comes out of [`Blocks`].
#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    /// Whole lines, the last one perhaps without its newline; `offset` of the first.
    Lines { offset: u64, bytes: Vec<u8> },
    /// A line over the limit starts at `offset`; its bytes were read past.
    TooLong { offset: u64 },
}

/// What part of the stream to read, and the limits.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Lines that start here or later.
    pub start: u64,
    /// Lines that start before this.
    pub end: u64,
    /// A longer line is read past.
    pub line_bytes_max: usize,
    /// Most lines to read; blank ones do not count.
    pub lines_max: Option<u64>,
}

enum State {
    Lines,
    /// Inside a line that started at `start`; `report` it unless it belongs to the range before.
    Past {
        start: u64,
        report: bool,
    },
    Done,
}

/// An iterator over blocks of lines.
pub struct Blocks<R> {
    input: R,
    block_bytes: usize,
    range: Range,
    /// Bytes read and not handed out; `offset` is the first one's place in the stream.
    buffer: Vec<u8>,
    offset: u64,
    at_end: bool,
    state: State,
}

impl<R: Read> Blocks<R> {
    /// `input` stands at `range.start`, or one byte before it when that is not 0.
    pub fn new(input: R, range: Range, block_bytes: usize) -> Blocks<R> {
        let offset = range.start.saturating_sub(1);
        // The byte before the range tells whether a line starts there: it is a newline, or not.
        let state = match range.start {
            0 => State::Lines,
            _ => State::Past { start: offset, report: false },
        };
        Blocks { input, block_bytes, range, buffer: Vec::new(), offset, at_end: false, state }
    }

    /// The reader, to ask what it has read.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// Where the last block ended.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next block, or `None` at the end of the range.
    pub fn next_block(&mut self) -> io::Result<Option<Block>> {
        loop {
            let over = self.offset >= self.range.end || self.range.lines_max == Some(0);
            // A long line that started inside the range is reported, wherever it ends.
            if over && !matches!(self.state, State::Past { report: true, .. }) {
                self.state = State::Done;
            }
            match self.state {
                State::Done => return Ok(None),
                State::Past { start, report } => {
                    self.read_past()?;
                    if report {
                        self.range.lines_max = self.range.lines_max.map(|left| left - 1);
                        return Ok(Some(Block::TooLong { offset: start }));
                    }
                }
                State::Lines => {
                    if let Some(block) = self.cut()? {
                        return Ok(Some(block));
                    }
                }
            }
        }
    }

    /// Drops everything up to and with the next newline.
    fn read_past(&mut self) -> io::Result<()> {
        loop {
            if let Some(newline) = memchr(b'\n', &self.buffer) {
                self.drop_front(newline + 1);
                self.state = State::Lines;
                return Ok(());
            }
            self.drop_front(self.buffer.len());
            if self.at_end {
                self.state = State::Done;
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Reads until whole lines can be handed out, or a line grows too long.
    fn cut(&mut self) -> io::Result<Option<Block>> {
        while !self.at_end
            && self.buffer.len() < self.block_bytes
            && self.position() < self.range.end
        {
            self.fill()?;
        }
        loop {
            let whole = self.whole_lines();
            if whole > 0 {
                let tail = self.buffer.split_off(whole);
                let bytes = std::mem::replace(&mut self.buffer, tail);
                let (offset, bytes) = (self.offset, self.limit(bytes));
                self.offset += bytes.len() as u64;
                return Ok(Some(Block::Lines { offset, bytes }));
            }
            if self.at_end {
                self.state = State::Done;
                return Ok(None);
            }
            if self.buffer.len() > self.range.line_bytes_max {
                self.state = State::Past { start: self.offset, report: true };
                return Ok(None);
            }
            self.fill()?;
        }
    }

    /// How many bytes of the buffer are whole lines that start inside the range.
    fn whole_lines(&self) -> usize {
        let inside = self.range.end - self.offset;
        if inside <= self.buffer.len() as u64 {
            // The last line of the range is the one that holds the range's last byte.
            let last = (inside - 1) as usize;
            if let Some(newline) = memchr(b'\n', &self.buffer[last..]) {
                return last + newline + 1;
            }
        }
        match memrchr(b'\n', &self.buffer) {
            _ if self.at_end => self.buffer.len(),
            Some(newline) => newline + 1,
            None => 0,
        }
    }

    /// Cuts `bytes` after the last line that `lines_max` allows, and counts what is left of it.
    fn limit(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        let Some(mut left) = self.range.lines_max else { return bytes };
        let mut stop = 0;
        for (start, line) in lines(&bytes) {
            if left == 0 {
                break;
            }
            left -= u64::from(!is_blank(line));
            stop = start + line.len() + 1;
        }
        bytes.truncate(stop);
        self.range.lines_max = Some(left);
        bytes
    }

    fn drop_front(&mut self, bytes: usize) {
        self.buffer.drain(..bytes);
        self.offset += bytes as u64;
    }

    /// Where the next byte of `input` stands in the stream.
    fn position(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    /// Reads one more block's worth, less where the range ends sooner. Short reads of `input` do
    /// not change where blocks are cut.
    fn fill(&mut self) -> io::Result<()> {
        let inside = self.range.end.saturating_sub(self.position());
        let wanted = (self.block_bytes as u64).min(inside.max(TAIL_BYTES));
        let most = self.range.line_bytes_max.saturating_add(2 * self.block_bytes);
        make_room(&mut self.buffer, wanted as usize, most);
        let read = self.input.by_ref().take(wanted).read_to_end(&mut self.buffer)?;
        self.at_end = (read as u64) < wanted;
        Ok(())
    }
}

/// Makes room for `wanted` more bytes in a buffer that holds at most `most`. One that outgrows a
/// few blocks gets room for `most` at once: pages that were never written take no memory, whereas a
/// buffer that grows step by step is held twice whenever it moves.
pub(super) fn make_room(buffer: &mut Vec<u8>, wanted: usize, most: usize) {
    if buffer.capacity() - buffer.len() < wanted {
        let is_small = buffer.len() < 4 * BLOCK_BYTES;
        let room = if is_small { buffer.len() / 4 } else { most.saturating_sub(buffer.len()) };
        buffer.reserve_exact(wanted.max(room));
    }
}

/// The lines of a block with the place each starts at, without their newlines.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(start..).filter(|rest| !rest.is_empty())?;
        let length = memchr(b'\n', rest).unwrap_or(rest.len());
        let line = (start, &rest[..length]);
        start += length + 1;
        Some(line)
    })
}

/// Whether a line holds nothing but JSON's white space: such lines are passed over, not rejected.
pub fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: Range = Range { start: 0, end: u64::MAX, line_bytes_max: 100, lines_max: None };

    /// Every line of the range as (offset, line), `None` for one that is too long.
    fn read(text: &[u8], range: Range, block_bytes: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        let input = &text[range.start.saturating_sub(1) as usize..];
        let mut blocks = Blocks::new(input, range, block_bytes);
        let mut found = Vec::new();
        while let Some(block) = blocks.next_block().expect("reads from memory") {
            match block {
                Block::TooLong { offset } => found.push((offset, None)),
                Block::Lines { offset, bytes } => {
                    assert!(!bytes.is_empty());
                    found.extend(
                        lines(&bytes).map(|(at, line)| (offset + at as u64, Some(line.to_vec()))),
                    );
                }
            }
        }
        found
    }

    #[test]
    fn the_last_line_needs_no_newline_and_an_empty_file_has_no_line() {
        let found = read(b"a\nbc", ALL, 2);
        assert_eq!(found, [(0, Some(b"a".to_vec())), (2, Some(b"bc".to_vec()))]);
        assert_eq!(read(b"", ALL, 2), []);
        assert_eq!(read(b"\n", ALL, 2), [(0, Some(vec![]))]);
    }

    #[test]
    fn a_line_over_the_limit_is_read_past_wherever_it_stands() {
        let range = Range { line_bytes_max: 3, ..ALL };
        for text in ["12345678901\nb\n", "b\n12345678901\nc", "b\n12345678901"] {
            let found = read(text.as_bytes(), range, 2);
            let long = text.find('1').expect("there is one") as u64;
            assert!(found.contains(&(long, None)), "{text:?}: {found:?}");
            assert_eq!(found.len(), text.lines().count(), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn only_the_first_lines_are_read_when_asked_and_blank_ones_do_not_count() {
        let range = Range { lines_max: Some(2), ..ALL };
        let found = read(b"\na\n \nb\nc\n", range, 64);
        assert_eq!(found.last(), Some(&(5, Some(b"b".to_vec()))));
        assert_eq!(read(b"a\n", Range { lines_max: Some(0), ..ALL }, 64), []);
    }

    proptest! {
        #[test]
        fn ranges_that_tile_a_file_tile_its_lines(
            lines in prop::collection::vec("[ab]{0,9}", 0..40),
            mut cuts in prop::collection::vec(0u64..200, 0..6),
            block_bytes in 1usize..40,
            newline_at_end: bool,
        ) {
            let mut text = lines.join("\n");
            if newline_at_end {
                text.push('\n');
            }
            let whole = read(text.as_bytes(), ALL, 1000);
            let split: Vec<&str> = text.split_terminator('\n').collect();
            prop_assert_eq!(whole.len(), split.len());
            cuts.retain(|cut| *cut < text.len() as u64);
            cuts.extend([0, text.len() as u64]);
            cuts.sort_unstable();
            cuts.dedup();
            let mut tiled = Vec::new();
            for pair in cuts.windows(2) {
                let range = Range { start: pair[0], end: pair[1], line_bytes_max: 5, ..ALL };
                tiled.extend(read(text.as_bytes(), range, block_bytes));
            }
            prop_assert_eq!(tiled.len(), whole.len());
            for ((offset, found), (start, line)) in tiled.iter().zip(&whole) {
                prop_assert_eq!(offset, start);
                // A line is read past only when the buffer ends inside it, so a long line in a
                // large block still comes out; the parser rejects it by its length.
                let long = line.as_ref().is_some_and(|line| line.len() > 5);
                prop_assert!(found == line || (found.is_none() && long));
            }
        }
    }
}
