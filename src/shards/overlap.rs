//! How alike two training streams are: which documents both show, and whether in one order.
//!
//! In → two sequences of documents; out → [`Overlap`]. Repeats of a document are told apart by how
//! often it came before, so passes are compared with their like. **In order** is the longest
//! subsequence of both: what would stay if everything else were moved (Schensted, "Longest
//! increasing and decreasing subsequences", 1961, by patience sorting). This is strict: it falls
//! where two sources shift against each other by a document, which hardly changes the share of
//! pairs in order. Pure. Cost: n log n.

use std::collections::BTreeMap;

use serde::Serialize;

/// Two sequences beside each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Overlap {
    /// Documents of the first sequence.
    pub one: u64,
    /// Documents of the second sequence.
    pub other: u64,
    /// Documents that both have.
    pub common: u64,
    /// The most of these that stand in the same order in both.
    pub in_order: u64,
    /// Pairs of these that the two sequences have in opposite orders (Kendall's distance).
    pub pairs_turned: u64,
}

impl Overlap {
    /// Compares two sequences.
    pub fn of<T: Ord + Copy>(one: &[T], other: &[T]) -> Overlap {
        let places: BTreeMap<(T, u32), usize> =
            numbered(other).enumerate().map(|(place, document)| (document, place)).collect();
        let common: Vec<usize> =
            numbered(one).filter_map(|document| places.get(&document).copied()).collect();
        Overlap {
            one: one.len() as u64,
            other: other.len() as u64,
            common: common.len() as u64,
            in_order: longest_rising(&common) as u64,
            pairs_turned: turned(&mut common.clone(), &mut vec![0; common.len()]),
        }
    }

    /// The share of pairs that stand in the same order; `None` below two common documents.
    pub fn pairs_in_order(&self) -> Option<f64> {
        let pairs = self.common * self.common.saturating_sub(1) / 2;
        (pairs > 0).then(|| 1.0 - self.pairs_turned as f64 / pairs as f64)
    }
}

/// Each document with how often it came before.
fn numbered<T: Ord + Copy>(documents: &[T]) -> impl Iterator<Item = (T, u32)> {
    let mut seen: BTreeMap<T, u32> = BTreeMap::new();
    documents.iter().map(move |&document| {
        let count = seen.entry(document).or_default();
        *count += 1;
        (document, *count - 1)
    })
}

/// Length of the longest rising subsequence of distinct numbers.
fn longest_rising(numbers: &[usize]) -> usize {
    // `ends[k]` is the least number that a rising subsequence of k + 1 numbers ends with.
    let mut ends: Vec<usize> = Vec::new();
    for &number in numbers {
        let at = ends.partition_point(|&end| end < number);
        match ends.get_mut(at) {
            Some(end) => *end = number,
            None => ends.push(number),
        }
    }
    ends.len()
}

/// Number of inversions, counted while the numbers are sorted by merging.
fn turned(numbers: &mut [usize], merged: &mut [usize]) -> u64 {
    if numbers.len() < 2 {
        return 0;
    }
    let middle = numbers.len() / 2;
    let (left, right) = numbers.split_at_mut(middle);
    let mut count = turned(left, merged) + turned(right, merged);
    let (mut one, mut other) = (0, 0);
    for place in merged.iter_mut().take(left.len() + right.len()) {
        if other == right.len() || (one < left.len() && left[one] < right[other]) {
            *place = left[one];
            one += 1;
        } else {
            *place = right[other];
            other += 1;
            count += (left.len() - one) as u64;
        }
    }
    let length = numbers.len();
    numbers.copy_from_slice(&merged[..length]);
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_moves_is_not_in_order_and_what_comes_again_is_another() {
        let overlap = |one: &str, other: &str| {
            let Overlap { common, in_order, .. } = Overlap::of(one.as_bytes(), other.as_bytes());
            (common, in_order)
        };
        assert_eq!(overlap("abcde", "xabyde"), (4, 4));
        assert_eq!(overlap("abcde", "eabcd"), (5, 4));
        assert_eq!(overlap("abab", "ab"), (2, 2));
        assert_eq!(overlap("abab", "baba"), (4, 2));
        assert_eq!(overlap("", "abc"), (0, 0));
    }

    proptest! {
        #[test]
        fn in_order_is_the_longest_common_subsequence(
            one in prop::collection::vec(0u8..6, 0..9),
            other in prop::collection::vec(0u8..6, 0..9),
        ) {
            // By the definition: every choice of the numbered documents of the one.
            let (left, right): (Vec<_>, Vec<_>) =
                (numbered(&one).collect(), numbered(&other).collect());
            let is_within = |chosen: &[(u8, u32)]| {
                let mut rest = right.iter();
                chosen.iter().all(|document| rest.any(|other| other == document))
            };
            let choices = (0u32..1 << left.len()).map(|bits| {
                let chosen = left.iter().enumerate().filter(|(at, _)| bits & (1 << at) > 0);
                chosen.map(|(_, document)| *document).collect::<Vec<_>>()
            });
            let longest = choices.filter(|chosen| is_within(chosen)).map(|chosen| chosen.len());
            let found = Overlap::of(&one, &other);
            prop_assert_eq!(found.in_order as usize, longest.max().unwrap_or(0));
            let place = |document: &(u8, u32)| right.iter().position(|other| other == document);
            let places: Vec<usize> = left.iter().filter_map(place).collect();
            let pairs = (0..places.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
            let falling = pairs.filter(|&(a, b)| places[a] > places[b]).count();
            prop_assert_eq!(found.pairs_turned as usize, falling);
        }
    }
}
