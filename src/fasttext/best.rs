//! The best labels in the order in which fastText reports them.
//!
//! In → (score, label) pairs one by one; out → the `k` best, highest first. fastText keeps them in
//! the C++ library's binary heap (`findKBest` and `dfs` in its `loss.cc`), so labels of *equal*
//! score come out in an order that only that heap explains (and of two equal best ones the later
//! wins when one is asked for). Method: the same steps, as libstdc++ takes them in `push_heap`,
//! `pop_heap` and `sort_heap`. Cost: a comparison a label for `k` = 1, log `k` of them else.

/// A label's number and its score, the logarithm of its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    pub score: f32,
    pub label: u32,
}

/// A heap with the worst of the best `k` at its front.
#[derive(Clone, Debug, Default)]
pub struct Best {
    heap: Vec<Candidate>,
    limit: usize,
}

/// Whether `left` is better: the order of the heap.
fn better(left: Candidate, right: Candidate) -> bool {
    left.score > right.score
}

impl Best {
    /// Forgets all candidates; keeps at most `limit` from now on.
    pub fn start(&mut self, limit: usize) {
        self.heap.clear();
        self.limit = limit;
    }

    /// Whether a candidate of this score has no chance.
    #[inline]
    pub fn refuses(&self, score: f32) -> bool {
        self.heap.len() == self.limit && self.heap.first().is_none_or(|worst| score < worst.score)
    }

    /// Adds a candidate that was not refused.
    pub fn add(&mut self, candidate: Candidate) {
        self.heap.push(candidate);
        let hole = self.heap.len() - 1;
        self.rise(hole, candidate);
        if self.heap.len() > self.limit {
            self.front_to(self.heap.len() - 1);
            self.heap.pop();
        }
    }

    /// The candidates, best first.
    pub fn finish(&mut self) -> &[Candidate] {
        for last in (1..self.heap.len()).rev() {
            self.front_to(last);
        }
        &self.heap
    }

    /// Puts `value` into `hole`, then lets it rise.
    fn rise(&mut self, mut hole: usize, value: Candidate) {
        while hole > 0 && better(self.heap[(hole - 1) / 2], value) {
            self.heap[hole] = self.heap[(hole - 1) / 2];
            hole = (hole - 1) / 2;
        }
        self.heap[hole] = value;
    }

    /// Swaps the front of the heap's first `last + 1` places with `last`, leaving a heap of `last`.
    fn front_to(&mut self, last: usize) {
        let value = self.heap[last];
        self.heap[last] = self.heap[0];
        let (mut hole, mut child) = (0, 2);
        while child < last {
            if better(self.heap[child], self.heap[child - 1]) {
                child -= 1;
            }
            self.heap[hole] = self.heap[child];
            hole = child;
            child = 2 * child + 2;
        }
        if child == last {
            self.heap[hole] = self.heap[child - 1];
            hole = child - 1;
        }
        if last > 0 {
            self.rise(hole, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn best(scores: &[f32], limit: usize) -> Vec<Candidate> {
        let mut best = Best::default();
        best.start(limit);
        for (label, &score) in (0u32..).zip(scores) {
            if !best.refuses(score) {
                best.add(Candidate { score, label });
            }
        }
        best.finish().to_vec()
    }

    #[test]
    fn of_equal_scores_the_last_is_the_best_one() {
        assert_eq!(best(&[0.5, 0.5, 0.5], 1), [Candidate { score: 0.5, label: 2 }]);
        assert_eq!(best(&[], 1), []);
        assert_eq!(best(&[0.5], 0), []);
    }

    proptest! {
        #[test]
        fn distinct_scores_come_out_sorted(
            mut scores in prop::collection::hash_set(0u16..999, 0..60),
            limit in 1usize..70,
        ) {
            let scores: Vec<f32> = scores.drain().map(f32::from).collect();
            let mut expected = scores.clone();
            expected.sort_by(|left, right| right.total_cmp(left));
            expected.truncate(limit);
            let found: Vec<f32> = best(&scores, limit).iter().map(|best| best.score).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
