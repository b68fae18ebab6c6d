//! The way through a text: chunks between white space, most of them cut at once.
//!
//! In: a text. Out: the words of its chunks. Method: 64 bytes at a time are turned into bit masks
//! of letters, white space and bytes beyond ASCII, eight bytes in a register; the masks give the
//! chunks and tell which are ASCII letters, alone or with one mark after them. A filter says which
//! of those may be special cases; they, and all other chunks, are looked up among those met before,
//! and cut by the rules if they are new.
//! Invariants: chunks are Python's `str.split()`'s; the quick ways give what the rules give. Cost:
//! linear; about a cycle a byte for the masks, and some ten cycles for a quick chunk.

use super::cache::Key;
use super::chunk::Lists;
use super::{MARKER, Span, Words, WordsState, specials};
use crate::text::is_white_space;

/// Bytes of a block.
const BLOCK: usize = 64;

impl Words {
    /// Adds the words of every chunk of `text` from byte `from` on to `out`.
    pub(super) fn scan(
        &self,
        state: &mut WordsState,
        text: &str,
        from: usize,
        out: &mut Vec<Span>,
    ) {
        let bytes = text.as_bytes();
        let mut at = from;
        while at < bytes.len() {
            let block = Block::at(bytes, at);
            let read = self.block(state, text, at, &block, out);
            if read > 0 {
                at += read;
            } else {
                let end = chunk_end(text, at + BLOCK.min(bytes.len() - at));
                self.pieces(state, text, at, end, out);
                at = end;
            }
        }
    }

    /// Adds the words of the chunks that end within `block`, which begins at byte `at`; returns how
    /// many of its bytes are done with.
    #[inline]
    fn block(
        &self,
        state: &mut WordsState,
        text: &str,
        at: usize,
        block: &Block,
        out: &mut Vec<Span>,
    ) -> usize {
        let mut from = u64::MAX;
        loop {
            let open = !block.blank & from;
            if open == 0 {
                return BLOCK;
            }
            let start = open.trailing_zeros() as usize;
            let behind = block.blank & u64::MAX << start;
            if behind == 0 {
                return start;
            }
            let end = behind.trailing_zeros() as usize;
            from = u64::MAX << end;
            let others = !block.letters & !from & u64::MAX << start;
            let (first, after) = (at + start, at + end);
            if others == 0 {
                if !self.specials.may_be_letters(load(text.as_bytes(), first, end - start)) {
                    out.push(Span { start: first as u32, end: after as u32 });
                    continue;
                }
            } else if others == 1 << (end - 1) && self.tailed(text, first, after, out) {
                continue;
            }
            if others & block.high == 0 {
                self.chunk(state, text, first, after, out);
            } else {
                self.pieces(state, text, first, after, out);
            }
        }
    }

    /// Adds the words of letters, if any, with one other byte after them; or does nothing and
    /// returns false.
    #[inline]
    fn tailed(&self, text: &str, start: usize, end: usize, out: &mut Vec<Span>) -> bool {
        let bytes = text.as_bytes();
        let letters = &bytes[start..end - 1];
        let kind = KIND[bytes[end - 1] as usize];
        let head = load(bytes, start, letters.len());
        let (start, end) = (start as u32, end as u32);
        if letters.is_empty() {
            out.push(Span { start, end });
        } else if kind > STOP
            || self.specials.may_be_letters(head)
            || self.specials.may_be_tailed(head)
        {
            return false;
        } else if kind == STOP && !stop_is_apart(letters) {
            out.push(Span { start, end });
        } else {
            out.push(Span { start, end: end - 1 });
            out.push(Span { start: end - 1, end });
        }
        true
    }

    /// Adds the words of text without ASCII white space, which may have other white space in it.
    fn pieces(
        &self,
        state: &mut WordsState,
        text: &str,
        start: usize,
        end: usize,
        out: &mut Vec<Span>,
    ) {
        let mut piece = start;
        let mut at = start;
        while at < end {
            let lead = text.as_bytes()[at..end].iter().position(|&b| KIND[b as usize] == LEAD);
            let Some(skipped) = lead else { break };
            at += skipped;
            let char = text[at..].chars().next().expect("a lead byte opens a character");
            if is_white_space(char) {
                self.chunk(state, text, piece, at, out);
                piece = at + char.len_utf8();
            }
            at += char.len_utf8();
        }
        self.chunk(state, text, piece, end, out);
    }

    /// Adds the words of a chunk, which may be empty.
    fn chunk(
        &self,
        state: &mut WordsState,
        text: &str,
        start: usize,
        end: usize,
        out: &mut Vec<Span>,
    ) {
        let key = Key::new(text.as_bytes(), start, end);
        if let Some(entry) = key.as_ref().and_then(|key| state.cache.find(key)) {
            if entry.candidates != 0 {
                let opens = |at: &u32| entry.candidates >> at & 1 == 1;
                let at = (0..8).filter(opens).map(|at| out.len() as u32 + at);
                state.room.candidates.extend(at);
            }
            entry.push(start as u32, out);
        } else if start < end {
            self.new_chunk(state, text, Span { start: start as u32, end: end as u32 }, key, out);
        }
    }

    /// Adds the words of a chunk by the rules, and keeps them.
    fn new_chunk(
        &self,
        state: &mut WordsState,
        text: &str,
        chunk: Span,
        key: Option<Key>,
        out: &mut Vec<Span>,
    ) {
        let first = out.len();
        state.suffixes.clear();
        self.cut(text, chunk, &mut Lists { words: out, suffixes: &mut state.suffixes });
        out.extend(state.suffixes.iter().rev());
        let marked = out[first..].iter().any(|word| word.of(text) == MARKER);
        state.marked |= marked;
        let mut candidates = 0;
        for at in first..out.len() - 1 {
            if self.phrases.open_here(text, &out[at..]) {
                candidates |= 1u8.checked_shl((at - first) as u32).unwrap_or(0);
                state.room.candidates.push(at as u32);
            }
        }
        if let Some(key) = key.filter(|_| !marked) {
            state.cache.keep(key, chunk.start, &out[first..], candidates);
        }
    }
}

/// What 64 bytes are, a bit for each, the first lowest.
struct Block {
    letters: u64,
    blank: u64,
    high: u64,
}

impl Block {
    /// The block at `at`; beyond the text's end lies white space.
    #[inline]
    fn at(bytes: &[u8], at: usize) -> Block {
        match bytes[at..].first_chunk::<BLOCK>() {
            Some(block) => Block::new(block),
            None => {
                let mut block = [b' '; BLOCK];
                block[..bytes.len() - at].copy_from_slice(&bytes[at..]);
                Block::new(&block)
            }
        }
    }

    #[inline]
    fn new(bytes: &[u8; BLOCK]) -> Block {
        let mut block = Block { letters: 0, blank: 0, high: 0 };
        let (eights, _) = bytes.as_chunks::<8>();
        for (index, eight) in eights.iter().enumerate() {
            let word = u64::from_le_bytes(*eight);
            let low = word & !TOPS;
            let ascii = !word & TOPS;
            let letters = within(low | (0x20 * ONES), b'a', b'z');
            let blank = within(low, 0x09, 0x0d) | within(low, 0x1c, 0x20);
            block.letters |= gather(letters & ascii) << (8 * index);
            block.blank |= gather(blank & ascii) << (8 * index);
            block.high |= gather(ascii ^ TOPS) << (8 * index);
        }
        block
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x80 * ONES;

/// The top bit of each byte of `low`, all below 128, that lies between two bounds.
#[inline]
fn within(low: u64, first: u8, last: u8) -> u64 {
    let from = low + (0x80 - u64::from(first)) * ONES;
    let beyond = low + (0x7f - u64::from(last)) * ONES;
    from & !beyond & TOPS
}

/// The top bits of eight bytes, side by side: each is multiplied into its place of the top byte.
#[inline]
fn gather(tops: u64) -> u64 {
    (tops >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// The first eight of `length` bytes from `at` on, zeros where there are fewer.
#[inline]
fn load(bytes: &[u8], at: usize, length: usize) -> u64 {
    match bytes[at..].first_chunk::<8>() {
        Some(eight) => u64::from_le_bytes(*eight) & specials::low_bytes(length),
        None => specials::head(&bytes[at..], length),
    }
}

/// Whether the suffix rules cut a full stop off these letters: after a small one, or two capitals.
#[inline]
fn stop_is_apart(letters: &[u8]) -> bool {
    let mut back = letters.iter().rev();
    let small = back.next().is_some_and(u8::is_ascii_lowercase);
    small || back.next().is_some_and(u8::is_ascii_uppercase)
}

/// Where the text from `from` on has its first ASCII white space.
fn chunk_end(text: &str, from: usize) -> usize {
    let rest = &text.as_bytes()[from..];
    from + rest.iter().position(|&byte| KIND[byte as usize] == BLANK).unwrap_or(rest.len())
}

/// What a byte is: a mark or a full stop that may follow letters in a quick chunk; white space.
const MARK: u8 = 0;
const STOP: u8 = 1;
const BLANK: u8 = 2;
const OTHER: u8 = 3;
/// First byte of the white space beyond ASCII (U+0085, U+00A0, U+1680, U+2000 on, U+3000).
const LEAD: u8 = 4;

static KIND: [u8; 256] = {
    let mut kinds = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b',' | b';' | b':' | b'!' | b'?' | b')' | b'"' | b'\'' | b']' | b'}' => MARK,
            b'.' => STOP,
            0x09..=0x0d | 0x1c..=0x20 => BLANK,
            0xc2 | 0xe1 | 0xe2 | 0xe3 => LEAD,
            _ => OTHER,
        };
        byte += 1;
    }
    kinds
};
