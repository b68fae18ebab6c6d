//! The pairs that may be merged, and which of them is next.
//!
//! Pairs with counts and places in → the one with the highest count, lowest ids among equals.
//! Method: a heap whose entries may be out of date. Counts only fall, so an entry whose count is
//! too high is put back with the right one when it comes to the top.
//! Invariant: every listed pair had a count of at least `floor` when it arose.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use super::tape::KeyMap;

#[derive(Clone, Copy, Debug)]
struct Pair {
    count: u64,
    /// Its place in `Pairs::places`.
    list: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Pairs {
    /// Pairs that arise with a lower count are not listed.
    pub floor: u64,
    by_key: KeyMap<Pair>,
    /// The places of every pair listed, ascending.
    places: Vec<Vec<u32>>,
    /// (count, key) of each pair; the count may be out of date.
    heap: BinaryHeap<(u64, Reverse<u64>)>,
}

fn key(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

impl Pairs {
    pub fn new(floor: u64) -> Pairs {
        Pairs { floor, ..Pairs::default() }
    }

    pub fn clear(&mut self) {
        *self = Pairs::new(self.floor);
    }

    /// Adds a pair that a merge has made. Returns the number of its list of places.
    pub fn push(&mut self, left: u32, right: u32, count: u64, places: Vec<u32>) -> u32 {
        let (key, list) = (key(left, right), self.places.len() as u32);
        self.by_key.insert(key, Pair { count, list });
        self.heap.push((count, Reverse(key)));
        self.places.push(places);
        list
    }

    /// Notes a place of a pair, if the pair is listed.
    pub fn add_place(&mut self, left: u32, right: u32, at: u32) {
        if let Some(pair) = self.by_key.get(&key(left, right)) {
            self.places[pair.list as usize].push(at);
        }
    }

    /// Lowers the count of a pair, if the pair is listed.
    #[inline]
    pub fn lose(&mut self, left: u32, right: u32, count: u64) {
        if let Some(pair) = self.by_key.get_mut(&key(left, right)) {
            pair.count -= count;
        }
    }

    /// Takes the next pair to merge: left, right, places. `None` when no listed pair reaches the
    /// floor.
    pub fn pop(&mut self) -> Option<(u32, u32, Vec<u32>)> {
        loop {
            let mut top = self.heap.peek_mut()?;
            let (count, Reverse(key)) = *top;
            let Pair { count: now, list } = self.by_key[&key];
            if now != count && now >= self.floor {
                top.0 = now;
                continue;
            }
            PeekMut::pop(top);
            self.by_key.remove(&key);
            let places = std::mem::take(&mut self.places[list as usize]);
            if now == count {
                return Some(((key >> 32) as u32, key as u32, places));
            }
        }
    }
}

/// The tokens on one side of a merge's places: for each token its count and its number of places,
/// and all places in the order in which they came.
#[derive(Debug, Default)]
pub struct Neighbours {
    tokens: Vec<Sum>,
    touched: Vec<u32>,
    seen: Vec<(u32, u32)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: u64,
    number: u32,
    /// Index in `Pairs::places` of the list of the pair's places, plus 1; 0 when it has none.
    list: u32,
}

impl Neighbours {
    /// Makes room for token ids below `tokens`.
    pub fn prepare(&mut self, tokens: usize) {
        self.tokens.resize(tokens, Sum::default());
    }

    #[inline]
    pub fn add(&mut self, token: u32, at: u32, count: u64) {
        let sum = &mut self.tokens[token as usize];
        if sum.number == 0 {
            self.touched.push(token);
        }
        sum.count += count;
        sum.number += 1;
        self.seen.push((token, at));
    }

    /// Lowers a token's count.
    pub fn remove(&mut self, token: u32, count: u64) {
        self.tokens[token as usize].count -= count;
    }

    /// Calls `see` with every token and its count.
    #[inline]
    pub fn for_each(&self, mut see: impl FnMut(u32, u64)) {
        for &token in &self.touched {
            see(token, self.tokens[token as usize].count);
        }
    }

    /// Lists the pairs that `pair` forms with tokens whose counts reach the floor; forgets all.
    #[inline]
    pub fn list(&mut self, pairs: &mut Pairs, pair: impl Fn(u32) -> Option<(u32, u32)>) {
        for &token in &self.touched {
            let sum = &mut self.tokens[token as usize];
            if let Some((left, right)) = pair(token).filter(|_| sum.count >= pairs.floor) {
                let places = Vec::with_capacity(sum.number as usize);
                sum.list = pairs.push(left, right, sum.count, places) + 1;
            }
        }
        for &(token, at) in &self.seen {
            let list = self.tokens[token as usize].list;
            if list != 0 {
                pairs.places[list as usize - 1].push(at);
            }
        }
        for &token in &self.touched {
            self.tokens[token as usize] = Sum::default();
        }
        self.touched.clear();
        self.seen.clear();
    }
}
