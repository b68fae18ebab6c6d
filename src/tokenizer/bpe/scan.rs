//! Cuts text into pieces, a batch at a time, each with its key for the table.
//!
//! In: a [`Pattern`] and a text. Out: batches of pieces that tile it, handed to a [`Sink`].
//! Method: a window of 64 bytes that begins where a piece begins. No pattern looks behind a piece's
//! start, so a window needs no context on its left; of the pieces that start in it, all but the
//! last end in it. Byte classes become bit masks (`simd`), masks of bytes become masks of
//! characters (extract by the characters' first bytes), the pattern's alternatives become shifts
//! and sums of those masks (`rules`), and the bits of the piece starts are moved back and listed.
//! Keys are made in a second loop over the list, so that neither loop waits for the other's
//! branches, and each key's table slot is prefetched long before it is needed. A piece that fills a
//! window, and the few characters that masks cannot decide, are cut by [`Pattern::piece_end`].
//! Invariants: pieces equal those of `Pattern::piece_end`, on every instruction set.
//! Cost: about 0.6 ns a byte of English, keys included.

#![allow(unsafe_code, reason = "calls the kernels for the vector units")]

use super::pattern::Pattern;
use super::piece::{FULL, LONG_PIECE, MOST, Pieces, hash_long, mix};
#[cfg(target_arch = "x86_64")]
use super::rules::{self, Rules};
#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512, Isa, keys_512};
use super::simd::{Level, level};

/// What is done with the pieces.
pub trait Sink {
    /// Announces a piece with this hash, so that its slot can be prefetched (`Table::prefetch`).
    fn prefetch(&self, hash: u64);
    /// Takes the next pieces, in order; `text` contains all of them. At most [`MOST`].
    fn take(&mut self, text: &[u8], pieces: &Pieces);
}

/// Bytes that must exist from a window's start on: the window, and a key's 16 after its end.
const REACH: usize = 80;

/// Memory that a scan needs; to be kept from text to text.
pub struct Scratch(Box<Pieces>);

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch(Box::new(Pieces::new()))
    }
}

/// A stretch of text that is being cut.
#[derive(Clone, Copy)]
struct Stretch<'a> {
    /// The text, and behind `end` what a window may read.
    bytes: &'a [u8],
    /// Where the text ends.
    end: usize,
}

/// Cuts text by one pattern.
#[derive(Clone, Copy, Debug)]
pub struct Scanner {
    pattern: Pattern,
    level: Level,
}

impl Scanner {
    /// A scanner that uses the best instruction set of this machine.
    pub fn new(pattern: Pattern) -> Scanner {
        Scanner { pattern, level: level() }
    }

    /// A scanner on one instruction set, which this machine has.
    #[cfg(test)]
    pub fn with_level(pattern: Pattern, level: Level) -> Scanner {
        Scanner { pattern, level }
    }

    /// Hands all pieces of `text` to `sink`.
    pub fn scan<S: Sink>(&self, text: &str, scratch: &mut Scratch, sink: &mut S) {
        let text = text.as_bytes();
        let Scratch(pieces) = scratch;
        let mut from = 0;
        let whole = Stretch { bytes: text, end: text.len() };
        while from + REACH <= text.len() {
            let to = self.starts(whole, from, false, pieces);
            self.make_keys(&text[from..], pieces, sink);
            sink.take(&text[from..], pieces);
            from = to;
        }
        let rest = text.len() - from;
        if rest == 0 {
            return;
        }
        let mut tail = [0; 2 * REACH];
        tail[..rest].copy_from_slice(&text[from..]);
        self.starts(Stretch { bytes: &tail, end: rest }, 0, true, pieces);
        self.make_keys(&tail, pieces, sink);
        sink.take(&tail, pieces);
    }

    /// Lists where pieces start, from `from` on and relative to it, until the batch is full or the
    /// next window would leave the text (with `tail`: until the text ends). After the list stands
    /// the end of the last piece, which is also returned, not relative.
    fn starts(&self, stretch: Stretch, from: usize, tail: bool, pieces: &mut Pieces) -> usize {
        let starts = &mut pieces.starts;
        let (number, to) = match self.level {
            Level::Portable => self.starts_portable(stretch, from, tail, starts),
            // SAFETY: `level` has found these instructions.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { starts_avx2(self.pattern, stretch, from, tail, starts) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { starts_avx512(self.pattern, stretch, from, tail, starts) },
        };
        pieces.number = number;
        to
    }

    /// Makes the keys of the pieces whose starts are listed; `text` reaches 16 bytes beyond the
    /// last start.
    fn make_keys<S: Sink>(&self, text: &[u8], pieces: &mut Pieces, sink: &S) {
        match self.level {
            // SAFETY: `level` has found these instructions.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { keys_avx512(text, pieces, sink) },
            _ => keys(text, 0, pieces, sink),
        }
    }

    fn starts_portable(
        &self,
        stretch: Stretch,
        from: usize,
        tail: bool,
        starts: &mut [u32; MOST + 64],
    ) -> (usize, usize) {
        let (mut at, mut number) = (from, 0);
        let reach = if tail { 1 } else { REACH };
        while number < FULL && at + reach <= stretch.end {
            starts[number] = (at - from) as u32;
            number += 1;
            at = self.pattern.piece_end(&stretch.bytes[..stretch.end], at);
        }
        starts[number] = offset(from, at);
        (number, at)
    }
}

/// `at` relative to `from`: less than a batch away, except after one huge piece.
#[inline(always)]
fn offset(from: usize, at: usize) -> u32 {
    u32::try_from(at - from).expect("a piece is shorter than 4 GiB")
}

macro_rules! starts_with {
    ($name:ident, $isa:ty, $features:literal) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        fn $name(
            pattern: Pattern,
            stretch: Stretch,
            from: usize,
            tail: bool,
            starts: &mut [u32; MOST + 64],
        ) -> (usize, usize) {
            macro_rules! by {
                ($rules:ty) => {
                    if tail {
                        windows::<$isa, $rules, true>(pattern, stretch, from, starts)
                    } else {
                        windows::<$isa, $rules, false>(pattern, stretch, from, starts)
                    }
                };
            }
            match pattern {
                Pattern::Gpt2 => by!(rules::Gpt2<false>),
                Pattern::Gpt2Digits => by!(rules::Gpt2<true>),
                Pattern::Cl100k | Pattern::Cl100kEnumerated => by!(rules::Cl100k<3>),
                Pattern::Qwen2 => by!(rules::Cl100k<1>),
                Pattern::O200k => by!(rules::O200k),
            }
        }
    };
}
starts_with!(starts_avx2, Avx2, "avx2,bmi1,bmi2,lzcnt,popcnt");
starts_with!(
    starts_avx512,
    Avx512,
    "avx2,bmi1,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2"
);

/// [`Scanner::starts`] by windows.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn windows<I: Isa, R: Rules, const TAIL: bool>(
    pattern: Pattern,
    stretch: Stretch,
    from: usize,
    starts: &mut [u32; MOST + 64],
) -> (usize, usize) {
    let Stretch { bytes, end } = stretch;
    let (mut at, mut number) = (from, 0);
    let reach = if TAIL { 1 } else { REACH };
    while number < FULL && at + reach <= end {
        let window: &[u8; 64] = bytes[at..at + 64].try_into().expect("64 bytes");
        let left = if TAIL { end - at } else { 64 };
        let cut = rules::cut::<I, R>(window, left, pattern.folds());
        if cut.rare != 0 {
            let last = at + 63 - cut.rare.leading_zeros() as usize;
            while at <= last && at < end {
                starts[number] = (at - from) as u32;
                number += 1;
                at = pattern.piece_end(&bytes[..end], at);
            }
            continue;
        }
        let next = 63 - cut.starts.leading_zeros() as usize;
        let list = starts[number..number + 64].as_mut_array().expect("64 numbers");
        I::list(cut.starts, (at - from) as u32, list);
        number += cut.starts.count_ones() as usize - 1;
        if TAIL && left < 64 {
            number += 1;
            at = end;
        } else if next == 0 {
            number += 1;
            at = pattern.piece_end(&bytes[..end], at);
        } else {
            at += next;
        }
    }
    starts[number] = offset(from, at);
    (number, at)
}

/// Masks of a key's bytes by length: first and second half.
static KEEP: [[u64; 2]; 16] = {
    let mut table = [[0; 2]; 16];
    let mut length = 0;
    while length < 16 {
        let ones = if length < 8 {
            [(1 << (8 * length)) - 1, 0]
        } else {
            [u64::MAX, (1 << (8 * (length - 8))) - 1]
        };
        table[length] = ones;
        length += 1;
    }
    table
};

/// Fills keys and hashes from the list of starts, from piece `first` on.
#[inline(always)]
fn keys<S: Sink>(text: &[u8], first: usize, pieces: &mut Pieces, sink: &S) {
    for index in first..pieces.number {
        let (at, end) = (pieces.starts[index] as usize, pieces.starts[index + 1] as usize);
        let sixteen: [u8; 16] = text[at..at + 16].try_into().expect("16 bytes");
        let sixteen = u128::from_le_bytes(sixteen);
        let Some(keep) = KEEP.get(end - at) else {
            pieces.set_long(index, text, sink);
            continue;
        };
        let lo = sixteen as u64 & keep[0];
        let hi = (sixteen >> 64) as u64 & keep[1] | ((end - at) as u64) << 56;
        pieces.keys[index] = [lo, hi];
        pieces.hashes[index] = mix(lo, hi);
        sink.prefetch(pieces.hashes[index]);
    }
}

/// `keys` for eight pieces at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
fn keys_avx512<S: Sink>(text: &[u8], pieces: &mut Pieces, sink: &S) {
    let whole = pieces.number / 8 * 8;
    for first in (0..whole).step_by(8) {
        let starts = pieces.starts[first..first + 9].as_array().expect("9 numbers");
        let keys = pieces.keys[first..first + 8].as_mut_array().expect("8 keys");
        let hashes = pieces.hashes[first..first + 8].as_mut_array().expect("8 hashes");
        let mut long = keys_512(text, starts, keys, hashes);
        for &hash in hashes.iter() {
            sink.prefetch(hash);
        }
        while long != 0 {
            pieces.set_long(first + long.trailing_zeros() as usize, text, sink);
            long &= long - 1;
        }
    }
    keys(text, whole, pieces, sink);
}

impl Pieces {
    /// Key and hash of a piece longer than 15 bytes.
    #[cold]
    fn set_long<S: Sink>(&mut self, index: usize, text: &[u8], sink: &S) {
        let (at, end) = (self.starts[index] as usize, self.starts[index + 1] as usize);
        let hash = hash_long(&text[at..end]);
        self.keys[index] = [hash, LONG_PIECE];
        self.hashes[index] = hash;
        sink.prefetch(hash);
    }
}
