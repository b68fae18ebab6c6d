//! Open-addressing hash tables over things that are stored elsewhere, reused for every document.
//!
//! In: a hash and the number of a thing. Out: the first thing equal to it. Method: linear probing
//! in a power of two of slots, at most half full; a slot holds 32 bits of the hash beside the
//! thing's number, so that a different thing is nearly always rejected without being looked at, and
//! `equal` decides: a collision costs time and never changes a result. Invariants: no result
//! depends on the hash; nothing is allocated unless a document has more different things than any
//! before it. Cost: one cache line a look-up; clearing is a fill of the slots in use; growing
//! doubles the slots.

/// The hash table. [`Table::clear`] must come before a document's first look-up.
#[derive(Default)]
pub struct Table {
    /// The upper half of a thing's hash above its number.
    slots: Vec<u64>,
    /// How far a hash is shifted to give a slot: the slots in use are 2^(64 - shift).
    shift: u32,
    /// Different things in the table.
    held: usize,
}

const EMPTY: u64 = u64::MAX;
const TAG: u64 = 0xffff_ffff_0000_0000;
/// The most slots that are prepared for a document at first, 8 MiB; more follow as different things
/// come.
const READY: usize = 1 << 20;

impl Table {
    /// Empties the table and prepares it for `things`, many of which may be equal.
    pub fn clear(&mut self, things: usize) {
        let slots = (things * 2).next_power_of_two().clamp(16, READY);
        self.use_slots(slots);
        self.held = 0;
    }

    fn use_slots(&mut self, slots: usize) {
        if self.slots.len() < slots || self.slots.len() > READY {
            self.slots = vec![EMPTY; slots];
        } else {
            self.slots[..slots].fill(EMPTY);
        }
        self.shift = 64 - slots.trailing_zeros();
    }

    /// The number of the first thing that is `equal` to this one, which is `thing` itself if it is
    /// new.
    #[inline(always)]
    pub fn first(&mut self, hash: u64, thing: u32, equal: impl Fn(u32) -> bool) -> u32 {
        let slots = &mut self.slots[..1 << (64 - self.shift)];
        let mut at = (hash >> self.shift) as usize;
        loop {
            at &= slots.len() - 1;
            let slot = slots[at];
            if slot == EMPTY {
                slots[at] = hash & TAG | u64::from(thing);
                self.held += 1;
                if self.held > slots.len() / 4 * 3 {
                    self.grow();
                }
                return thing;
            }
            if (slot ^ hash) & TAG == 0 && equal(slot as u32) {
                return slot as u32;
            }
            at += 1;
        }
    }

    /// Doubles the slots; the stored half of each hash is enough to place a thing again.
    #[cold]
    fn grow(&mut self) {
        let used = 1 << (64 - self.shift);
        let slots = used * 2;
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; slots]);
        self.shift -= 1;
        for slot in old.into_iter().take(used).filter(|&slot| slot != EMPTY) {
            let mut at = (slot >> self.shift) as usize;
            while self.slots[at & (slots - 1)] != EMPTY {
                at += 1;
            }
            self.slots[at & (slots - 1)] = slot;
        }
    }
}

/// Mixes two words into one: the folded product of wyhash (Wang Yi), of which every bit depends on
/// every bit of both. For tables in memory alone: nothing of it is persisted.
#[inline(always)]
pub fn mix(left: u64, right: u64) -> u64 {
    const LEFT: u64 = 0xa076_1d64_78bd_642f; // wyhash's secrets
    const RIGHT: u64 = 0xe703_7ed1_a0b4_28db;
    let product = u128::from(left ^ LEFT) * u128::from(right ^ RIGHT);
    (product ^ (product >> 64)) as u64
}

/// A hash of `bytes[start..end]`, which must have at least 16 bytes after it.
#[inline(always)]
pub fn hash(bytes: &[u8], start: usize, end: usize) -> u64 {
    let mut state = (end - start) as u64;
    let mut at = start;
    while end - at > 16 {
        state = mix(read(bytes, at) ^ state, read(bytes, at + 8));
        at += 16;
    }
    let (low, high) = last(bytes, at, end - at);
    mix(low ^ state, high)
}

/// Eight bytes as a little-endian number.
#[inline(always)]
pub fn read(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// At most 16 bytes from `at` on, with zeros after them.
#[inline(always)]
fn last(bytes: &[u8], at: usize, length: usize) -> (u64, u64) {
    let (low, high) = (read(bytes, at), read(bytes, at + 8));
    match length {
        0 => (0, 0),
        1..=8 => (low & (u64::MAX >> (64 - 8 * length)), 0),
        _ => (low, high & (u64::MAX >> (128 - 8 * length))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_first_of_equals_is_found_whatever_the_hash() {
        let things: Vec<u32> = (0..5000).map(|number| number * 7919 % 613).collect();
        let hashes: [fn(u32) -> u64; 3] =
            [|_| 0, |thing| u64::from(thing) << 40, |thing| mix(u64::from(thing), 1)];
        for hash in hashes {
            let (mut table, mut firsts) = (Table::default(), BTreeMap::new());
            for _ in 0..2 {
                table.clear(things.len());
                firsts.clear();
                for (number, &thing) in things.iter().enumerate() {
                    let equal = |other: u32| things[other as usize] == thing;
                    let first = table.first(hash(thing), number as u32, equal);
                    assert_eq!(first, *firsts.entry(thing).or_insert(number as u32));
                }
            }
        }
    }

    #[test]
    fn a_table_that_was_told_of_few_things_takes_many() {
        let (mut table, things) = (Table::default(), 300_000);
        for told in [0, 1000, things] {
            table.clear(told);
            for turn in 0..2 {
                for thing in 0..things as u32 {
                    let hash = mix(thing.into(), 3);
                    let first = table.first(hash, thing + turn, |other| other == thing);
                    assert_eq!(first, thing);
                }
            }
        }
    }

    #[test]
    fn a_hash_reads_its_bytes_and_no_others() {
        let mut bytes: Vec<u8> = (0..=255).cycle().take(400).collect();
        for length in 0..100 {
            let before = hash(&bytes, 7, 7 + length);
            bytes[7 + length] ^= 1;
            bytes[6] ^= 1;
            assert_eq!(hash(&bytes, 7, 7 + length), before, "{length}");
            for at in 7..7 + length {
                bytes[at] ^= 4;
                assert_ne!(hash(&bytes, 7, 7 + length), before, "{length} {at}");
                bytes[at] ^= 4;
            }
        }
    }
}
