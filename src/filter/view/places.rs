//! A table of things in a giant text, identified by where they begin, and how often each was met.
//!
//! In: offsets, with a hash and a comparison of what lies there. Out: the first offset of an equal
//! thing. Method: linear probing; a slot is an offset and nothing else, so that a hundred million
//! of them stay small. Invariant: no result depends on the hash. Cost: 4 bytes a slot, 8 with
//! counts; two cache misses a look-up.

/// Things that lie at byte offsets (places) of a text.
pub trait Things {
    /// A hash of the thing at a place.
    fn hash(&self, place: usize) -> u64;
    /// Whether the things at two places are equal.
    fn equal(&self, one: usize, other: usize) -> bool;
}

/// First places of different things.
pub struct Places {
    slots: Vec<u32>,
    /// How often the thing in each slot was met; empty if the table does not count.
    counts: Vec<u32>,
    held: usize,
}

const FREE: u32 = u32::MAX;
/// The initial number of slots.
const SLOTS: usize = 1 << 16;

impl Places {
    /// An empty table, which counts only if asked to.
    pub fn new(counting: bool) -> Places {
        let counts = if counting { vec![0; SLOTS] } else { Vec::new() };
        Places { slots: vec![FREE; SLOTS], counts, held: 0 }
    }

    /// The first place of a thing equal to the one at `place`, which is `place` itself if it is
    /// new, and how often the thing was met, this time included (1 if the table does not count).
    pub fn first(&mut self, things: &impl Things, place: usize) -> (usize, u32) {
        let mut at = self.home(things.hash(place));
        loop {
            let slot = self.slots[at];
            let is_new = slot == FREE;
            if is_new || things.equal(slot as usize, place) {
                let first = if is_new { place } else { slot as usize };
                self.slots[at] = first as u32;
                let count = self.counts.get_mut(at).map_or(1, |count| {
                    *count += 1;
                    *count
                });
                self.held += usize::from(is_new);
                if self.held > self.slots.len() / 4 * 3 {
                    self.grow(things);
                }
                return (first, count);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// How many different things there are.
    pub fn len(&self) -> usize {
        self.held
    }

    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    #[cold]
    fn grow(&mut self, things: &impl Things) {
        let slots = self.slots.len() * 2;
        let old = std::mem::replace(&mut self.slots, vec![FREE; slots]);
        let new_counts = if self.counts.is_empty() { Vec::new() } else { vec![0; slots] };
        let old_counts = std::mem::replace(&mut self.counts, new_counts);
        for (from, place) in old.into_iter().enumerate().filter(|&(_, place)| place != FREE) {
            let mut at = self.home(things.hash(place as usize));
            while self.slots[at] != FREE {
                at = (at + 1) & (slots - 1);
            }
            self.slots[at] = place;
            if let Some(count) = self.counts.get_mut(at) {
                *count = old_counts[from];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Remainders;

    impl Things for Remainders {
        fn hash(&self, place: usize) -> u64 {
            (place % 100_003 / 3) as u64
        }

        fn equal(&self, one: usize, other: usize) -> bool {
            one % 100_003 == other % 100_003
        }
    }

    #[test]
    fn first_places_and_counts_outlive_growth() {
        let (mut counting, mut plain) = (Places::new(true), Places::new(false));
        for place in 0..300_000 {
            let (first, count) = counting.first(&Remainders, place);
            assert_eq!((first, count), (place % 100_003, (place / 100_003) as u32 + 1));
            assert_eq!(plain.first(&Remainders, place), (first, 1));
        }
    }
}
