//! The table of pieces met before: piece → sixteen bytes of answer, for the encoder and the
//! counter.
//!
//! In: a [`Piece`] with its key. Out: its slot, or a free one to fill.
//! Method: open addressing in slots of half a cache line. A piece of up to 15 bytes is its own key
//! (bytes, length in the top byte), so equality is two comparisons; a longer one has its hash for a
//! key, and its bytes are compared in a store of their own. A piece that is met again elsewhere
//! than where its search starts changes places with the one that stands there, so that frequent
//! pieces are found at the first look. Slots lie on huge pages where the system has them: with 4
//! KiB pages most look-ups miss the TLB, and Zen drops a prefetch that does.
//! Invariants: exact (hashes alone never decide); a search ends after [`PROBES`] slots; never
//! larger than the stated limit: it then stops learning.
//! Cost: one cache line, prefetched, for a look-up; 32 bytes a slot, filled to three quarters.

#![allow(unsafe_code, reason = "slots of a cache line, prefetched and unchecked")]

use super::piece::{LONG_PIECE, Piece, Pieces, mix};
use std::ptr::NonNull;

/// In a slot: the key is a hash, and the bytes lie at the place in the lower bits.
const LONG: u64 = 0xFF << 56;
/// The longest search, in slots. A piece that finds no place in it is not kept.
const PROBES: usize = 64;
/// Slots of a new table: one huge page of 2 MiB.
const FIRST: usize = 1 << 16;
/// The factor by which the table grows.
const GROWTH: usize = 4;

/// What a slot may hold.
///
/// # Safety
/// All bytes zero must be a valid value.
pub unsafe trait Answer: Copy {}
// SAFETY: integers.
unsafe impl Answer for [u32; 4] {}
// SAFETY: an integer.
unsafe impl Answer for u64 {}

/// One piece and its answer. Free if `hi` is 0.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Slot<A> {
    /// The key's low half, see [`Piece`].
    lo: u64,
    /// The key's high half; for a long piece, [`LONG`] with the place of its bytes.
    hi: u64,
    /// What is stored for the piece.
    answer: A,
}

impl<A> Slot<A> {
    #[inline(always)]
    fn hash(&self) -> u64 {
        if self.hi < LONG { mix(self.lo, self.hi) } else { self.lo }
    }
}

/// Where a piece stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// In this slot.
    At(usize),
    /// Not in the table; here is its place.
    Free(usize),
    /// Not in the table, and no place for it.
    Nowhere,
}

/// Pieces and their answers.
pub struct Table<A: Answer> {
    slots: Slots<A>,
    /// Pieces in the table.
    used: usize,
    /// Most slots that the table may have, a power of two.
    most: usize,
    /// Long pieces, each as its length in 4 bytes and then its bytes.
    keys: Vec<u8>,
    /// Most bytes in `keys`.
    most_keys: usize,
}

impl<A: Answer> Table<A> {
    /// An empty table that grows to at most `most_bytes` of slots (rounded down to a power of two,
    /// 2 MiB at least) and `most_key_bytes` for pieces longer than 15 bytes.
    pub fn new(most_bytes: usize, most_key_bytes: usize) -> Table<A> {
        let most = (most_bytes / size_of::<Slot<A>>()).max(FIRST);
        let most = 1 << most.ilog2();
        Table {
            slots: Slots::new(FIRST),
            used: 0,
            most,
            keys: Vec::new(),
            most_keys: most_key_bytes,
        }
    }

    /// Number of pieces in the table.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Bytes that the table has allocated.
    pub fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot<A>>() + self.keys.capacity()
    }

    /// Forgets everything and gives the memory back.
    pub fn clear(&mut self) {
        *self = Table { slots: Slots::new(FIRST), used: 0, keys: Vec::new(), ..*self };
    }

    /// Where the search for `hash` starts, as an offset in bytes.
    #[inline(always)]
    fn start_bytes(&self, hash: u64) -> usize {
        hash as usize & ((self.slots.len() - 1) * size_of::<Slot<A>>())
    }

    /// The index of the slot where the search for `hash` starts.
    #[inline(always)]
    fn start(&self, hash: u64) -> usize {
        self.start_bytes(hash) / size_of::<Slot<A>>()
    }

    /// Prefetches the cache line where the search for `hash` starts.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let address = self.slots.as_ptr().wrapping_byte_add(self.start_bytes(hash));
            // SAFETY: a prefetch reads nothing, and SSE is part of x86-64.
            unsafe { _mm_prefetch(address.cast::<i8>(), _MM_HINT_T0) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = hash;
    }

    /// Finds the slot of `piece`, or the one where it belongs; `text` as handed over with the
    /// piece.
    #[inline(always)]
    pub fn find(&self, piece: &Piece, text: &[u8]) -> Found {
        let mask = self.slots.len() - 1;
        let start = self.start(piece.hash);
        for step in 0..PROBES {
            let index = (start + step) & mask;
            let slot = &self.slots[index];
            if slot.lo == piece.lo
                && (slot.hi == piece.hi
                    || piece.hi == LONG_PIECE
                        && slot.hi >= LONG
                        && self.key(slot) == piece.bytes(text))
            {
                return Found::At(index);
            }
            if slot.hi == 0 {
                return Found::Free(index);
            }
        }
        Found::Nowhere
    }

    /// The answer in a slot that `find` gave.
    #[inline(always)]
    pub fn answer(&self, index: usize) -> &A {
        &self.slots[index].answer
    }

    /// The answer in such a slot, to be changed.
    #[inline(always)]
    pub fn answer_mut(&mut self, index: usize) -> &mut A {
        &mut self.slots[index].answer
    }

    /// Moves the piece in slot `index`, which `find` just gave for `hash`, to the slot where its
    /// search starts, and the piece in that slot to `index`; does nothing if the other piece's
    /// search would not reach `index`. So frequent pieces come to be found at the first look.
    pub fn bring_forward(&mut self, index: usize, hash: u64) {
        let mask = self.slots.len() - 1;
        let start = self.start(hash);
        let other = self.start(self.slots[start].hash());
        if index.wrapping_sub(other) & mask < PROBES {
            self.slots.swap(index, start);
        }
    }

    /// Whether another piece of `length` bytes would fit under the limits.
    pub fn has_room(&self, length: usize) -> bool {
        (self.used + 1) * 4 <= self.most * 3
            && (length < 16 || self.keys.len() + length + 4 <= self.most_keys)
    }

    /// Puts a piece into the slot that `find` just gave for it; grows the table if that is due.
    /// Returns whether it was kept: a table at its limit takes no more.
    pub fn insert(&mut self, index: usize, piece: &Piece, text: &[u8], answer: A) -> bool {
        if !self.has_room(piece.length()) {
            return false;
        }
        let mut index = index;
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            self.grow();
            match self.find(piece, text) {
                Found::Free(free) => index = free,
                _ => return false,
            }
        }
        let mut hi = piece.hi;
        if hi >= LONG {
            hi = LONG | self.keys.len() as u64;
            self.keys.extend_from_slice(&(piece.length() as u32).to_le_bytes());
            self.keys.extend_from_slice(piece.bytes(text));
        }
        self.slots[index] = Slot { lo: piece.lo, hi, answer };
        self.used += 1;
        true
    }

    #[cold]
    fn grow(&mut self) {
        let bigger = Slots::new((self.slots.len() * GROWTH).min(self.most));
        let old = std::mem::replace(&mut self.slots, bigger);
        let mask = self.slots.len() - 1;
        for slot in old.iter().filter(|slot| slot.hi != 0) {
            let mut index = self.start(slot.hash());
            while self.slots[index & mask].hi != 0 {
                index += 1;
            }
            self.slots[index & mask] = *slot;
        }
    }

    /// Bytes of a long piece.
    fn key(&self, slot: &Slot<A>) -> &[u8] {
        let at = (slot.hi & !LONG) as usize;
        let length = u32::from_le_bytes(std::array::from_fn(|index| self.keys[at + index]));
        &self.keys[at + 4..at + 4 + length as usize]
    }

    /// Calls `see` with the bytes and the answer of every piece, in no meaningful order.
    pub fn for_each(&self, mut see: impl FnMut(&[u8], &A)) {
        for slot in self.slots.iter().filter(|slot| slot.hi != 0) {
            if slot.hi >= LONG {
                see(self.key(slot), &slot.answer);
            } else {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&slot.lo.to_le_bytes());
                bytes[8..].copy_from_slice(&slot.hi.to_le_bytes());
                see(&bytes[..(slot.hi >> 56) as usize], &slot.answer);
            }
        }
    }
}

/// Most ids that an answer of the encoder holds: the first three of its numbers.
pub const NEAR: u32 = 3;

impl Table<[u32; 4]> {
    /// Appends the ids of the pieces from `from` on, as long as each stands where its search starts
    /// and has at most [`NEAR`] ids (the fourth number says how many). Returns the index of the
    /// first piece for which that is not so.
    #[inline(always)]
    pub fn near_ids(&self, pieces: &Pieces, from: usize, ids: &mut Vec<u32>) -> usize {
        let (keys, hashes) = (&pieces.keys()[from..], &pieces.hashes()[from..]);
        ids.reserve(NEAR as usize * keys.len() + 4);
        let mut end = ids.as_mut_ptr().wrapping_add(ids.len());
        let mut done = 0;
        for (&[lo, hi], &hash) in keys.iter().zip(hashes) {
            // SAFETY: the number of slots is a power of two, so the masked hash is inside.
            let slot = unsafe { &*self.slots.as_ptr().byte_add(self.start_bytes(hash)) };
            let number = slot.answer[3];
            if (slot.lo ^ lo) | (slot.hi ^ hi) != 0 || number > NEAR {
                break;
            }
            // SAFETY: each piece so far took at most 3 places of those reserved, so there are 4.
            unsafe {
                end.cast::<[u32; 4]>().write_unaligned(slot.answer);
                end = end.add(number as usize);
            }
            done += 1;
        }
        // SAFETY: everything up to `end` was written, inside the capacity.
        unsafe { ids.set_len(end.offset_from(ids.as_ptr()) as usize) };
        from + done
    }
}

/// Slots, all zero at first, on huge pages where possible.
struct Slots<A> {
    start: NonNull<Slot<A>>,
    number: usize,
    /// What the system gave, to be given back.
    #[cfg(target_os = "linux")]
    mapping: (NonNull<std::ffi::c_void>, usize),
}

// SAFETY: owns its memory alone, like a boxed slice.
unsafe impl<A: Send> Send for Slots<A> {}
// SAFETY: as above.
unsafe impl<A: Sync> Sync for Slots<A> {}

#[cfg(target_os = "linux")]
impl<A: Answer> Slots<A> {
    /// An anonymous mapping, advised before the first touch; zeroed by the kernel.
    fn new(number: usize) -> Slots<A> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
        const HUGE: usize = 1 << 21;
        let size = number * size_of::<Slot<A>>() + HUGE;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, so it overlaps nothing; the aligned address lies in its first HUGE
        // bytes, so all slots are inside; advice does not change its contents.
        unsafe {
            let mapped = mmap_anonymous(std::ptr::null_mut(), size, access, MapFlags::PRIVATE)
                .unwrap_or_else(|_| std::alloc::handle_alloc_error(layout::<A>(number)));
            let start = mapped.byte_add(mapped.align_offset(HUGE));
            // This fails where huge pages are off: then the table is slower, no more.
            let _ = madvise(start, number * size_of::<Slot<A>>(), Advice::LinuxHugepage);
            let start = NonNull::new_unchecked(start.cast());
            Slots { start, number, mapping: (NonNull::new_unchecked(mapped), size) }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl<A: Answer> Slots<A> {
    fn new(number: usize) -> Slots<A> {
        let layout = layout::<A>(number);
        // SAFETY: the layout is not empty.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start.cast()) else {
            std::alloc::handle_alloc_error(layout)
        };
        Slots { start, number }
    }
}

fn layout<A>(number: usize) -> std::alloc::Layout {
    std::alloc::Layout::array::<Slot<A>>(number).expect("a table is smaller than the address space")
}

impl<A> Drop for Slots<A> {
    fn drop(&mut self) {
        // SAFETY: the memory that `new` got, with the same size.
        unsafe {
            #[cfg(target_os = "linux")]
            let _ = rustix::mm::munmap(self.mapping.0.as_ptr(), self.mapping.1);
            #[cfg(not(target_os = "linux"))]
            std::alloc::dealloc(self.start.as_ptr().cast(), layout::<A>(self.number));
        }
    }
}

impl<A> std::ops::Deref for Slots<A> {
    type Target = [Slot<A>];
    #[inline(always)]
    fn deref(&self) -> &[Slot<A>] {
        // SAFETY: `number` slots, valid from the start, since all bytes zero are (see `Answer`).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.number) }
    }
}

impl<A> std::ops::DerefMut for Slots<A> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [Slot<A>] {
        // SAFETY: as above, and `self` is borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.number) }
    }
}

impl Table<u64> {
    /// Adds one to the answers of the pieces from `from` on, as long as each stands where its
    /// search starts. Returns the index of the first piece for which that is not so.
    #[inline(always)]
    pub fn count_near(&mut self, pieces: &Pieces, from: usize) -> usize {
        let (keys, hashes) = (&pieces.keys()[from..], &pieces.hashes()[from..]);
        let mut done = 0;
        for (&[lo, hi], &hash) in keys.iter().zip(hashes) {
            let start = self.start(hash);
            let slot = &mut self.slots[start];
            if (slot.lo ^ lo) | (slot.hi ^ hi) != 0 {
                break;
            }
            slot.answer += 1;
            done += 1;
        }
        from + done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::bpe::piece::piece_of;

    /// Puts a text in with its number, or finds it.
    fn learn(table: &mut Table<u64>, text: &[u8], number: u64) -> Option<u64> {
        let piece = piece_of(text);
        match table.find(&piece, text) {
            Found::At(slot) => Some(*table.answer(slot)),
            Found::Free(slot) => {
                table.insert(slot, &piece, text, number);
                None
            }
            Found::Nowhere => None,
        }
    }

    fn text(number: u64) -> Vec<u8> {
        let text = format!("{number}");
        if number.is_multiple_of(3) { text.repeat(6).into_bytes() } else { text.into_bytes() }
    }

    #[test]
    fn a_piece_is_found_after_the_table_has_grown() {
        let mut table = Table::new(64 << 20, 64 << 20);
        for number in 1..200_000 {
            assert_eq!(learn(&mut table, &text(number), number), None);
        }
        // A few find no place within the longest search.
        assert!((199_900..200_000).contains(&table.len()));
        let found = |number: &u64| match table.find(&piece_of(&text(*number)), &text(*number)) {
            Found::At(slot) => *table.answer(slot) == *number,
            _ => false,
        };
        assert_eq!((1..200_000).filter(found).count(), table.len());
        let mut seen = 0;
        table.for_each(|bytes, &number| {
            assert_eq!(bytes, text(number));
            seen += 1;
        });
        assert_eq!(seen, table.len());
        table.clear();
        assert!(table.is_empty());
        assert_eq!(learn(&mut table, b"1", 5), None);
    }

    #[test]
    fn pieces_stay_apart_though_their_bytes_or_hashes_are_alike() {
        let mut table = Table::new(1 << 21, 1 << 20);
        let alike = [&b"a"[..], b"a\0", b"a\0\0", b"\0", b"\0\0", b"0123456789abcde"];
        for (text, number) in alike.iter().zip(1..) {
            assert_eq!(learn(&mut table, text, number), None);
        }
        for (text, number) in alike.iter().zip(1..) {
            assert_eq!(learn(&mut table, text, 0), Some(number));
        }
        let (first, second) = (&b"sixteen bytes or"[..], &b"sixteen bytes OR"[..]);
        let mut piece = piece_of(first);
        let Found::Free(slot) = table.find(&piece, first) else { panic!("it is new") };
        assert!(table.insert(slot, &piece, first, 7));
        assert!(matches!(table.find(&piece, first), Found::At(_)));
        // The same hash with other bytes.
        piece.at = 0;
        assert!(!matches!(table.find(&piece, second), Found::At(_)));
    }

    #[test]
    fn a_full_table_stops_learning_and_stays_within_its_limit() {
        let mut table = Table::new(1 << 21, 1 << 10);
        for number in 1..100_000 {
            learn(&mut table, &text(number), number);
        }
        assert!(table.len() <= (1 << 16) / 4 * 3);
        assert!(table.bytes() <= (1 << 21) + (1 << 11));
        assert_eq!(learn(&mut table, &text(1), 0), Some(1));
        assert!(!table.has_room(1));
    }

    #[test]
    fn pieces_that_change_places_are_both_found() {
        let mut table = Table::new(1 << 21, 1 << 10);
        for number in 1..49_000 {
            learn(&mut table, format!("{number}").as_bytes(), number);
        }
        for number in (1..49_000).rev() {
            let text = format!("{number}");
            let piece = piece_of(text.as_bytes());
            if let Found::At(slot) = table.find(&piece, text.as_bytes()) {
                table.bring_forward(slot, piece.hash);
            }
        }
        let found = (1..49_000u64)
            .filter(|number| learn(&mut table, format!("{number}").as_bytes(), 0) == Some(*number));
        assert_eq!(found.count(), table.len());
    }
}
