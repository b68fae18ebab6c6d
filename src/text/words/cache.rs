//! Chunks met before, with their cuts.
//!
//! In: a chunk of up to 24 bytes. Out: where it was cut. Method: direct mapping: each chunk has one
//! place, and a newcomer takes it. Invariants: bounded; a place is used only if its chunk is equal,
//! so what is found never depends on the history. Cost: three loads, a multiplication and three
//! comparisons; 8192 places of 32 bytes, which lie in the second-level cache.

use super::Span;
use super::specials::low_bytes;

/// Bytes of the longest chunk that is kept.
pub const LONGEST: usize = 24;
/// Words that a kept chunk can have.
const MOST_WORDS: usize = 6;
/// Places, a power of two.
const PLACES: usize = 8192;

/// A chunk's bytes as three numbers, zeros after its end; the length tells zeros within it apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    bytes: [u64; 3],
    length: u8,
}

impl Key {
    /// The key of `text[start..end]`, if it is short enough.
    #[inline]
    pub fn new(text: &[u8], start: usize, end: usize) -> Option<Key> {
        let length = end - start;
        if length > LONGEST {
            return None;
        }
        let bytes = match text[start..].first_chunk::<LONGEST>() {
            Some(bytes) => split(bytes, length),
            None => {
                let mut bytes = [0; LONGEST];
                bytes[..length].copy_from_slice(&text[start..end]);
                split(&bytes, length)
            }
        };
        Some(Key { bytes, length: length as u8 })
    }

    fn place(&self) -> usize {
        let [first, second, third] = self.bytes;
        let mixed = first.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ second.wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
            ^ third.wrapping_mul(0x1656_67b1_9e37_79f9);
        (mixed ^ mixed >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize >> 40 & (PLACES - 1)
    }
}

/// Three numbers out of the first `length` bytes.
#[inline]
fn split(bytes: &[u8; LONGEST], length: usize) -> [u64; 3] {
    let (eights, _) = bytes.as_chunks::<8>();
    let word = |index: usize| {
        u64::from_le_bytes(eights[index]) & low_bytes(length.saturating_sub(8 * index))
    };
    [word(0), word(1), word(2)]
}

/// A kept chunk, half a cache line.
#[derive(Clone, Copy, Default)]
#[repr(align(32))]
pub struct Entry {
    bytes: [u64; 3],
    /// Bytes of the chunk; 0 where nothing is kept.
    length: u8,
    words: u8,
    /// Bit n: a sequence with an effect begins at word n.
    pub candidates: u8,
    /// Ends of the words but the last.
    ends: [u8; MOST_WORDS - 1],
}

impl Entry {
    /// Appends the words of the chunk, which begins at `base`, to `out`.
    #[inline]
    pub fn push(&self, base: u32, out: &mut Vec<Span>) {
        let mut start = base;
        for &end in &self.ends[..(self.words as usize).saturating_sub(1)] {
            let end = base + u32::from(end);
            out.push(Span { start, end });
            start = end;
        }
        out.push(Span { start, end: base + u32::from(self.length) });
    }
}

/// The chunks of one thread.
pub struct Cache(Vec<Entry>);

impl Cache {
    /// An empty cache.
    pub fn new() -> Cache {
        Cache(vec![Entry::default(); PLACES])
    }

    /// What is known of a chunk.
    #[inline]
    pub fn find(&self, key: &Key) -> Option<&Entry> {
        let entry = &self.0[key.place()];
        ((entry.bytes, entry.length) == (key.bytes, key.length) && key.length > 0).then_some(entry)
    }

    /// Keeps the words of a chunk that begins at `base`, if they are not too many.
    pub fn keep(&mut self, key: Key, base: u32, words: &[Span], candidates: u8) {
        if words.len() > MOST_WORDS {
            return;
        }
        let Key { bytes, length } = key;
        let ends = [0; MOST_WORDS - 1];
        let mut entry = Entry { bytes, length, words: words.len() as u8, candidates, ends };
        for (end, word) in entry.ends.iter_mut().zip(words) {
            *end = (word.end - base) as u8;
        }
        self.0[key.place()] = entry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_until_another_takes_its_place() {
        assert_eq!(size_of::<Entry>(), 32);
        let mut cache = Cache::new();
        let text = b"xx e.g.--it's \0 \0\0 abcdefghijklmnopqrstuvwxyz";
        let key = Key::new(text, 3, 13).unwrap();
        assert!(cache.find(&key).is_none());
        let words = [3, 7, 9, 11, 13].windows(2).map(|w| Span { start: w[0], end: w[1] });
        let words: Vec<Span> = words.collect();
        cache.keep(key, 3, &words, 0b100);
        let (mut out, entry) = (Vec::new(), cache.find(&key).unwrap());
        entry.push(103, &mut out);
        let moved = words.iter().map(|w| Span { start: w.start + 100, end: w.end + 100 });
        assert_eq!((out, entry.candidates), (moved.collect(), 0b100));
        for at in 0..100_000u32 {
            let bytes = at.to_le_bytes();
            cache.keep(Key::new(&bytes, 0, 4).unwrap(), 0, &[Span { start: 0, end: 4 }], 0);
        }
        assert!(cache.find(&key).is_none(), "a hundred thousand others fill every place");
        assert!(Key::new(text, 14, 15) != Key::new(text, 16, 18), "zeros count");
        assert!(Key::new(text, 19, 43).is_some() && Key::new(text, 19, 44).is_none());
    }
}
