//! Which documents are held out for validation: decided once, where raw text is first read.
//!
//! In → the raw text and the share; out → yes or no. Exact copies fall on one side and the decision
//! is the same wherever the text lies, because nothing but the text enters it. Cost: one XXH3-64 of
//! the text (tens of GB/s).

use crate::base::hash::xxh3_64_with_seed;

/// Seed of the hash that decides: a constant of its own, so that this draw is independent of every
/// other use of XXH3 (ids, exact deduplication, MinHash). The bytes spell `held_out`.
const HELD_OUT_SEED: u64 = u64::from_be_bytes(*b"held_out");

/// The share of documents that are held out when nothing else is said: 0.5%.
pub const HOLDOUT_DEFAULT: f64 = 0.005;

/// Whether `text` is held out at `share` (0 … 1): the hash's upper 53 bits, as a fraction of 2^53,
/// fall below the share. A double holds 53 bits exactly, so the comparison has no rounding.
pub fn is_held_out(text: &str, share: f64) -> bool {
    let hash = xxh3_64_with_seed(text.as_bytes(), HELD_OUT_SEED);
    ((hash >> 11) as f64) < share * (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_met_and_a_larger_share_holds_out_a_superset() {
        let texts: Vec<String> = (0..20_000).map(|i| format!("document {i}")).collect();
        let count = |share| texts.iter().filter(|text| is_held_out(text, share)).count();
        assert_eq!(count(0.0), 0);
        assert_eq!(count(1.0), 20_000);
        let few = count(0.05);
        assert!((850..1150).contains(&few), "5% of 20,000 gave {few}");
        for text in &texts {
            assert!(!is_held_out(text, 0.05) || is_held_out(text, 0.1), "`{text}`");
        }
    }

    #[test]
    fn the_rule_does_not_move() {
        // A change here changes every split ever made: the numbers are the contract.
        let held: Vec<usize> =
            (0..100).filter(|i| is_held_out(&format!("document {i}"), 0.05)).collect();
        assert_eq!(held, [47, 56, 91, 94, 97]);
    }
}
