//! MinHash signatures of shingle sets, in constant time a shingle.
//!
//! In → the hashes of a document's shingles (repeats allowed); out → `rows × bands` slots, each of
//! which two documents share with probability equal to the Jaccard similarity of their sets.
//!
//! Method: *fast similarity sketching* (Dahlgaard, Knudsen, Thorup, FOCS 2017, algorithm 1).
//! Plain MinHash evaluates one permutation a slot, 112 of them a shingle with the defaults. Here a
//! round throws every shingle into ONE slot with one hash value, and a slot keeps its minimum;
//! rounds are repeated, each with a hash function of its own and ranking behind all earlier ones,
//! until no slot is empty. A set of several hundred shingles is done after one round. From round
//! `slots` on, round r fills slot r − `slots` alone, so 2 × `slots` rounds are always enough. The
//! estimate is unbiased and at least as concentrated as that of independent permutations, also
//! for sets smaller than the signature (where one-permutation hashing with densification is not).
//!
//! Hash of round r: the two halves of the 128-bit product (x ^ a_r) · b_r, folded by XOR, with
//! a_r and odd b_r drawn from the seed; x is an xxh3-64 already. That is no MinHash of another
//! tool: signatures are compared with each other only, inside one run.
//!
//! Invariants: a function of (set, slots, seed); the order and repeats of shingles do not matter.
//! Cost: one multiplication for the hash, one for the slot, a shingle and round.

use crate::base::rng;

/// Rounds that a signature of `slots` slots can need; it also numbers them in a slot's top bits.
const ROUND_BITS: u32 = 16;

/// Most slots (bands × rows) a signature may have: twice as many rounds, and room below `u64::MAX`,
/// which marks an empty slot.
pub const SLOTS_MAX: usize = 1 << (ROUND_BITS - 2);

/// The shape and hash functions of signatures: the same for every document of a run.
pub struct Signer {
    slots: usize,
    /// (a, b) of each round.
    rounds: Vec<(u64, u64)>,
}

impl Signer {
    /// `slots` = bands × rows, 1 to [`SLOTS_MAX`].
    pub fn new(slots: usize, seed: u64) -> Signer {
        assert!((1..=SLOTS_MAX).contains(&slots), "{slots} slots, 1 to {SLOTS_MAX} fit");
        let draw = |round: u64, which: &[u8]| {
            rng::hash(seed, "dedup.signature", &[&round.to_le_bytes(), which])
        };
        let rounds =
            (0..2 * slots as u64).map(|round| (draw(round, b"a"), draw(round, b"b") | 1)).collect();
        Signer { slots, rounds }
    }

    /// Writes the signature of a set into `signature`. `shingles` is consumed as work space: it is
    /// sorted and freed of repeats when the set is small, so that the work stays linear in the
    /// text even if a long document repeats one shingle. Panics on an empty set.
    pub fn sign(&self, shingles: &mut Vec<u64>, signature: &mut Vec<u64>) {
        assert!(!shingles.is_empty(), "a document without shingles has no signature");
        signature.clear();
        signature.resize(self.slots, EMPTY);
        let mut empty = self.slots - self.throw(0, shingles, signature);
        if empty == 0 {
            return;
        }
        // Few distinct shingles, since a slot is empty: repeats must not be thrown again.
        shingles.sort_unstable();
        shingles.dedup();
        for round in 1..2 * self.slots {
            empty -= match round.checked_sub(self.slots) {
                None => self.throw(round, shingles, signature),
                Some(slot) => self.fill(round, shingles, &mut signature[slot]),
            };
            if empty == 0 {
                return;
            }
        }
        unreachable!("round {} fills slot {}", 2 * self.slots - 1, self.slots - 1);
    }

    /// One round: every shingle into the slot its hash names. Returns how many slots were empty.
    fn throw(&self, round: usize, shingles: &[u64], signature: &mut [u64]) -> usize {
        let (a, b) = self.rounds[round];
        let slots = signature.len() as u128;
        let mut filled = 0;
        for &shingle in shingles {
            // The high half of hash × slots is a fair slot, the low half is fair within the slot.
            let spread = u128::from(fold(shingle ^ a, b)) * slots;
            let slot = &mut signature[(spread >> 64) as usize];
            filled += usize::from(*slot == EMPTY);
            *slot = (*slot).min(ranked(round, spread as u64));
        }
        filled
    }

    /// One round of the second kind: every shingle into one slot. Returns whether it was empty.
    fn fill(&self, round: usize, shingles: &[u64], slot: &mut u64) -> usize {
        let (a, b) = self.rounds[round];
        let filled = usize::from(*slot == EMPTY);
        for &shingle in shingles {
            *slot = (*slot).min(ranked(round, fold(shingle ^ a, b)));
        }
        filled
    }
}

/// A slot nothing fell into yet; [`SLOTS_MAX`] keeps real values below it.
const EMPTY: u64 = u64::MAX;

/// A value of a later round never beats one of an earlier round.
fn ranked(round: usize, hash: u64) -> u64 {
    ((round as u64) << (64 - ROUND_BITS)) | (hash >> ROUND_BITS)
}

/// Both halves of the 128-bit product, folded: every output bit depends on every input bit.
fn fold(x: u64, b: u64) -> u64 {
    let product = u128::from(x) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn signature(signer: &Signer, shingles: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut out = Vec::new();
        signer.sign(&mut shingles.into_iter().collect(), &mut out);
        out
    }

    /// Shingle hashes as good as random: `len` numbers of set `label`.
    fn hashes(label: u64, len: u64) -> Vec<u64> {
        let draw = |at: u64| rng::hash(label, "test", &[&at.to_le_bytes()]);
        (0..len).map(draw).collect()
    }

    #[test]
    fn slots_agree_as_often_as_the_sets_overlap() {
        let signer = Signer::new(112, 1);
        for (size, jaccard) in [(3, 0.5), (12, 0.8), (60, 0.5), (300, 0.7), (5000, 0.8)] {
            let mut equal = 0;
            for pair in 0..200u64 {
                let all = hashes(pair * 7 + size, size);
                // `size` distinct shingles in the union, of which a share `jaccard` is common.
                let common = (size as f64 * jaccard).round() as usize;
                let left = common + (all.len() - common) / 2;
                let one = signature(&signer, all[..left].to_vec());
                let two = signature(&signer, [&all[..common], &all[left..]].concat());
                equal += one.iter().zip(&two).filter(|(one, two)| one == two).count();
            }
            let expected = (size as f64 * jaccard).round() / size as f64;
            let measured = equal as f64 / (200.0 * 112.0);
            // Four standard errors of as many independent permutations.
            let tolerance = 4.0 * (expected * (1.0 - expected) / (200.0 * 112.0)).sqrt();
            assert!(
                (measured - expected).abs() < tolerance.max(0.01),
                "sets of {size}: {measured:.4} of the slots agree, Jaccard {expected:.4}"
            );
        }
    }

    #[test]
    fn bands_match_as_the_formula_says() {
        // 1 − (1 − s^8)^14 at s = 0.8 is 0.924, at 0.6 it is 0.211 (Leskovec, Rajaraman, Ullman).
        let signer = Signer::new(112, 1);
        for (jaccard, expected) in [(0.8f64, 0.924f64), (0.6, 0.211)] {
            for size in [50u64, 1000] {
                let pairs = 1500;
                let matched = (0..pairs)
                    .filter(|pair| {
                        let all = hashes(pair * 13 + size, size);
                        let common = (size as f64 * jaccard) as usize;
                        let left = common + (all.len() - common) / 2;
                        let one = signature(&signer, all[..left].to_vec());
                        let two = signature(&signer, [&all[..common], &all[left..]].concat());
                        one.chunks(8).zip(two.chunks(8)).any(|(one, two)| one == two)
                    })
                    .count();
                let measured = matched as f64 / pairs as f64;
                let tolerance = 4.0 * (expected * (1.0 - expected) / pairs as f64).sqrt();
                assert!(
                    (measured - expected).abs() < tolerance + 0.02,
                    "sets of {size} at {jaccard}: {measured:.3} matched, formula {expected}"
                );
            }
        }
    }

    #[test]
    fn a_single_shingle_repeated_a_million_times_costs_no_more_rounds() {
        let signer = Signer::new(112, 1);
        let mut shingles = vec![42; 1_000_000];
        let mut long = Vec::new();
        signer.sign(&mut shingles, &mut long);
        assert_eq!(long, signature(&signer, [42]));
        assert_eq!(shingles, [42]);
    }

    #[test]
    fn the_seed_changes_every_slot() {
        let (one, two) = (Signer::new(64, 1), Signer::new(64, 2));
        let shingles = hashes(1, 1000);
        let (one, two) = (signature(&one, shingles.clone()), signature(&two, shingles));
        assert!(one.iter().zip(&two).all(|(one, two)| one != two));
    }

    proptest! {
        #[test]
        fn order_and_repeats_do_not_matter(
            mut shingles in prop::collection::vec(any::<u64>(), 1..400),
            repeats in prop::collection::vec(any::<prop::sample::Index>(), 0..50),
        ) {
            let signer = Signer::new(56, 3);
            let plain = signature(&signer, shingles.clone());
            for repeat in repeats {
                shingles.push(shingles[repeat.index(shingles.len())]);
            }
            shingles.reverse();
            prop_assert_eq!(plain, signature(&signer, shingles));
        }
    }
}
