//! A table of distinct words: bytes in one arena, found by fastText's hash.
//!
//! In → words as bytes with their hash; out → dense ids in order of first appearance. The hash is
//! FNV-1a of 32 bits over *signed* bytes: fastText widens a `char` before the exclusive or, so
//! bytes from 0x80 set the upper 24 bits too (`Dictionary::hash` in its `dictionary.cc`, which
//! keeps this for the sake of published models). Method: open addressing with linear probing, at
//! most three quarters full, hashes beside the ids. Invariants: ids depend on the order of
//! insertion alone. Cost: 12 bytes a word or slot beside the text; a look-up is one or two cache
//! lines.

/// FNV-1a's offset basis for 32 bits.
pub const HASH_START: u32 = 2_166_136_261;

/// FNV-1a's prime for 32 bits.
const HASH_PRIME: u32 = 16_777_619;

/// Marks a free slot.
const FREE: u32 = u32::MAX;

/// Appends one byte to a hash, as a signed byte.
#[inline(always)]
pub fn hash_byte(hash: u32, byte: u8) -> u32 {
    (hash ^ byte as i8 as u32).wrapping_mul(HASH_PRIME)
}

/// fastText's hash of a word.
pub fn hash_word(word: &[u8]) -> u32 {
    word.iter().fold(HASH_START, |hash, &byte| hash_byte(hash, byte))
}

/// Distinct words with ids from 0.
#[derive(Clone, Debug)]
pub struct WordTable {
    bytes: Vec<u8>,
    /// Word `id` is `bytes[ends[id - 1]..ends[id]]`.
    ends: Vec<u32>,
    /// (hash, id) or (anything, `FREE`); a power of two of them.
    slots: Vec<(u32, u32)>,
}

/// The content of a slot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Home((u32, u32));

impl Default for WordTable {
    fn default() -> WordTable {
        WordTable::with_capacity(0)
    }
}

impl WordTable {
    /// An empty table with room for `words` before it grows.
    pub fn with_capacity(words: usize) -> WordTable {
        let slots = (words + words / 3 + 8).next_power_of_two();
        WordTable {
            bytes: Vec::new(),
            ends: Vec::with_capacity(words),
            slots: vec![(0, FREE); slots],
        }
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of word `id`.
    pub fn word(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] as usize };
        &self.bytes[start..self.ends[id] as usize]
    }

    /// The id of `word`, whose [`hash_word`] is `hash`.
    #[inline]
    pub fn find(&self, word: &[u8], hash: u32) -> Option<u32> {
        let (_, id) = self.slots[self.slot(word, hash)];
        (id != FREE).then_some(id)
    }

    /// The content of the slot where the search for this hash starts, for [`WordTable::find_from`].
    #[inline]
    pub fn home(&self, hash: u32) -> Home {
        Home(self.slots[spread(hash) & (self.slots.len() - 1)])
    }

    /// [`WordTable::find`] in two steps: with the homes of several words fetched beforehand, memory
    /// is waited for once and not once a word.
    #[inline]
    pub fn find_from(&self, home: Home, word: &[u8], hash: u32) -> Option<u32> {
        let Home((found, id)) = home;
        if id == FREE {
            None
        } else if found == hash && self.word(id) == word {
            Some(id)
        } else {
            self.find(word, hash)
        }
    }

    /// The id of `word`, added if it is not there; `None` when ids or the arena's 4 GiB run out.
    pub fn insert(&mut self, word: &[u8], hash: u32) -> Option<u32> {
        let slot = self.slot(word, hash);
        if self.slots[slot].1 != FREE {
            return Some(self.slots[slot].1);
        }
        let end = u32::try_from(self.bytes.len() + word.len()).ok()?;
        let id = u32::try_from(self.ends.len()).ok().filter(|&id| id != FREE)?;
        self.bytes.extend_from_slice(word);
        self.ends.push(end);
        self.slots[slot] = (hash, id);
        if self.ends.len() > self.slots.len() / 4 * 3 {
            self.grow();
        }
        Some(id)
    }

    /// The slot of `word`, or the free one where it would go.
    #[inline]
    fn slot(&self, word: &[u8], hash: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = spread(hash) & mask;
        loop {
            let (found, id) = self.slots[slot];
            if id == FREE || (found == hash && self.word(id) == word) {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let size = self.slots.len() * 2;
        let old = std::mem::replace(&mut self.slots, vec![(0, FREE); size]);
        for (hash, id) in old.into_iter().filter(|&(_, id)| id != FREE) {
            let mut slot = spread(hash) & (size - 1);
            while self.slots[slot].1 != FREE {
                slot = (slot + 1) & (size - 1);
            }
            self.slots[slot] = (hash, id);
        }
    }
}

/// Brings the upper bits of a hash, FNV's better half, down to where a mask takes them.
#[inline(always)]
fn spread(hash: u32) -> usize {
    (hash ^ hash >> 15) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_hashed_as_signed_characters() {
        // 'a' by FNV-1a's published vectors; 0xC3 only as fastText's widening of a char makes it.
        assert_eq!(hash_word(b"a"), 0xe40c_292c);
        assert_eq!(hash_word(b""), HASH_START);
        assert_eq!(hash_byte(0, 0xc3), 0xffff_ffc3_u32.wrapping_mul(HASH_PRIME));
    }

    #[test]
    fn words_keep_their_ids_while_the_table_grows() {
        let mut words = WordTable::default();
        for round in 0..2 {
            for number in 0..5000u32 {
                let word = number.to_string();
                let id = words.insert(word.as_bytes(), hash_word(word.as_bytes()));
                assert_eq!(id, Some(number), "round {round}");
            }
        }
        assert_eq!(words.len(), 5000);
        assert_eq!(words.word(4711), b"4711");
        assert_eq!(words.find(b"x", hash_word(b"x")), None);
        for word in (0..6000).map(|number: u32| number.to_string()) {
            let (word, hash) = (word.as_bytes(), hash_word(word.as_bytes()));
            assert_eq!(words.find_from(words.home(hash), word, hash), words.find(word, hash));
        }
    }

    #[test]
    fn words_with_equal_hashes_stay_apart() {
        let mut words = WordTable::default();
        assert_eq!(words.insert(b"one", 7), Some(0));
        assert_eq!(words.insert(b"two", 7), Some(1));
        assert_eq!(words.find(b"two", 7), Some(1));
        assert_eq!(words.find(b"three", 7), None);
    }
}
