//! Verification: which documents of a candidate component go, and for which kept one.
//!
//! In → the shingle sets of one component (see `components`) in keep order, and the least Jaccard
//! similarity a duplicate must have; out → for each document nothing (it stays) or the kept one it
//! duplicates. A document is dropped only if its own exact Jaccard with an already *kept* one
//! reaches the limit: a chain a ~ b ~ c drops c only if a ~ c as well. Of several kept documents
//! in reach the most similar is named, of equals the one first in keep order. Held-out documents,
//! which come first, always count as kept: what is said of them is a verdict, and no twin of any of
//! them stays on the training side.
//!
//! Method: all-pairs similarity search with prefix, size and positional filters (Chaudhuri and
//! others 2006; Bayardo, Ma, Srikant 2007; Xiao and others, "PPJoin", 2008) against an index of
//! the kept documents alone. Shingles are ranked by how few documents of the component have them;
//! two similar sets must then share one among their first few, where lists of the index are
//! short. Filters only leave out pairs that cannot reach the limit; every decision is on the exact
//! overlap, so the result equals that of comparing all pairs.
//!
//! Cost: sorting the shingles of the component, then near linear. Small components compare all
//! pairs, which is quicker. Up to [`BYTES_PER_SHINGLE`] of memory beside the sets.

use rayon::slice::ParallelSliceMut;

/// Work space for one component, in bytes for each shingle of it: (hash, member) pairs (16), the
/// runs of shared ones (8 at most) and ranks (4); later the lists of the index, which are smaller.
pub const BYTES_PER_SHINGLE: u64 = 28;

/// Up to this many documents all pairs are compared.
const ALL_PAIRS_MAX: usize = 12;

/// Why a document is dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Duplicate {
    /// The kept document, as an index into the members.
    pub kept: u32,
    /// Their exact Jaccard similarity, at least the limit.
    pub jaccard: f64,
}

/// The outcome for one component.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// For each member the kept one that it duplicates; for a held-out one this is only a verdict.
    pub duplicates: Vec<Option<Duplicate>>,
    /// For each held-out member, whether a training member is similar enough to be its twin.
    pub twins: Vec<bool>,
}

/// Decides over one component. `members`: sets (sorted, each hash once, not empty) in keep order,
/// of which the first `held_out` are held out; `limit` in (0, 1].
pub fn decide(members: &[&[u64]], held_out: usize, limit: f64) -> Decided {
    assert!(limit > 0.0 && limit <= 1.0, "a Jaccard limit of {limit}");
    let limit = Limit(limit);
    if members.len() <= ALL_PAIRS_MAX {
        compare_all(members, held_out, limit)
    } else {
        Search::new(members, held_out, limit).run()
    }
}

/// Jaccard similarity of two sets of sizes `left` and `right` with `overlap` common elements.
pub fn jaccard(overlap: usize, left: usize, right: usize) -> f64 {
    overlap as f64 / (left + right - overlap) as f64
}

/// The least similarity of duplicates, and the bounds that follow from it.
#[derive(Clone, Copy)]
struct Limit(f64);

impl Limit {
    /// The least overlap with which sets of these sizes are duplicates; may exceed either size.
    fn overlap(self, left: usize, right: usize) -> usize {
        // o / (left + right − o) ≥ t  ⇔  o ≥ t · (left + right) / (1 + t); the division itself
        // then decides, so that a similarity of exactly 0.8 reaches 0.8.
        let total = left + right;
        let mut overlap = (self.0 * total as f64 / (1.0 + self.0)) as usize;
        while overlap > 0 && jaccard(overlap, left, right) >= self.0 {
            overlap -= 1;
        }
        while overlap < total && jaccard(overlap, left, right) < self.0 {
            overlap += 1;
        }
        overlap
    }

    /// No set smaller than this can be a duplicate of one of `size` (one less, for rounding).
    fn size_min(self, size: usize) -> usize {
        ((self.0 * size as f64) as usize).saturating_sub(1)
    }

    /// No set larger than this can share enough with one of `size` elements if all that they share
    /// is among the last `rest` of these (one more, for rounding).
    fn size_max(self, size: usize, rest: usize) -> usize {
        ((1.0 + self.0) / self.0 * rest as f64 - size as f64).max(0.0) as usize + 1
    }
}

/// Compares all pairs, as the definition says; for few documents.
fn compare_all(members: &[&[u64]], held_out: usize, limit: Limit) -> Decided {
    let mut decisions = Vec::with_capacity(members.len());
    let mut twins = vec![false; held_out];
    let mut kept: Vec<u32> = Vec::new();
    for (at, set) in members.iter().enumerate() {
        let mut best = None;
        for &candidate in &kept {
            let other = members[candidate as usize];
            let found = similarity(set, other, set.len(), other.len(), limit);
            note_twin(&mut twins, at, candidate, found);
            best = better(best, candidate, found);
        }
        if best.is_none() || at < held_out {
            kept.push(at as u32);
        }
        decisions.push(best);
    }
    Decided { duplicates: decisions, twins }
}

/// Marks the held-out member `kept` if `member` is a training document and similar to it.
fn note_twin(twins: &mut [bool], member: usize, kept: u32, jaccard: Option<f64>) {
    if jaccard.is_some() && member >= twins.len() && (kept as usize) < twins.len() {
        twins[kept as usize] = true;
    }
}

/// The more similar duplicate; `best` if both are equal.
fn better(best: Option<Duplicate>, kept: u32, jaccard: Option<f64>) -> Option<Duplicate> {
    match (best, jaccard) {
        (best, None) => best,
        (Some(best), Some(jaccard)) if best.jaccard >= jaccard => Some(best),
        (_, Some(jaccard)) => Some(Duplicate { kept, jaccard }),
    }
}

/// The Jaccard similarity of two sets when it reaches the limit. `left` and `right` are sorted and
/// hold all that the sets can share; the sizes are those of the whole sets.
fn similarity<T: Ord>(
    left: &[T],
    right: &[T],
    left_size: usize,
    right_size: usize,
    limit: Limit,
) -> Option<f64> {
    let needed = limit.overlap(left_size, right_size);
    let (mut at, mut other, mut overlap) = (0, 0, 0);
    while at < left.len() && other < right.len() {
        // Checked a run at a time: what is left of either side must suffice.
        if overlap + (left.len() - at).min(right.len() - other) < needed {
            return None;
        }
        let end = (at + 64).min(left.len());
        while at < end && other < right.len() {
            let order = left[at].cmp(&right[other]);
            overlap += usize::from(order.is_eq());
            at += usize::from(order.is_le());
            other += usize::from(order.is_ge());
        }
    }
    (overlap >= needed).then(|| jaccard(overlap, left_size, right_size))
}

/// One document of an index list.
#[derive(Clone, Copy)]
struct Entry {
    /// Index into the members.
    kept: u32,
    /// Size of its set.
    size: u32,
    /// Sets larger than this that share nothing before this shingle cannot be duplicates of it.
    size_max: u32,
}

/// The greedy pass over a component with an index of what is kept.
struct Search {
    limit: Limit,
    sizes: Vec<usize>,
    size_min: usize,
    /// For each member the ranks of its shingles that another member has too, ascending.
    ranks: Vec<u32>,
    /// Where each member's ranks start in `ranks`; one more at the end.
    starts: Vec<usize>,
    /// By rank: the kept documents that have it among their first shingles.
    lists: Vec<Vec<Entry>>,
    /// By kept document: the last member that collected it, so that none does so twice.
    seen: Vec<u32>,
    candidates: Vec<u32>,
    /// Whether each held-out member has a twin; these members come first.
    twins: Vec<bool>,
}

impl Search {
    fn new(members: &[&[u64]], held_out: usize, limit: Limit) -> Search {
        let sizes: Vec<usize> = members.iter().map(|set| set.len()).collect();
        let size_min = sizes.iter().copied().min().unwrap_or(0);
        let (ranks, starts, distinct) = rank(members);
        Search {
            limit,
            sizes,
            size_min,
            ranks,
            starts,
            lists: vec![Vec::new(); distinct],
            seen: vec![u32::MAX; members.len()],
            candidates: Vec::new(),
            twins: vec![false; held_out],
        }
    }

    fn run(mut self) -> Decided {
        let mut decisions = Vec::with_capacity(self.sizes.len());
        for member in 0..self.sizes.len() as u32 {
            self.look_up(member);
            let best = self.most_similar(member);
            if best.is_none() || (member as usize) < self.twins.len() {
                self.insert(member);
            }
            decisions.push(best);
        }
        Decided { duplicates: decisions, twins: self.twins }
    }

    fn ranks_of(&self, member: u32) -> &[u32] {
        &self.ranks[self.starts[member as usize]..self.starts[member as usize + 1]]
    }

    /// How many shingles of `member` no other has: they come before its ranked ones.
    fn unshared(&self, member: u32) -> usize {
        self.sizes[member as usize] - self.ranks_of(member).len()
    }

    /// Collects the kept documents that may be similar to `member`: those whose first common
    /// shingle leaves enough behind it on both sides.
    fn look_up(&mut self, member: u32) {
        self.candidates.clear();
        let size = self.sizes[member as usize];
        let size_min = self.limit.size_min(size).max(self.size_min);
        let unshared = self.unshared(member);
        let ranks = &self.ranks[self.starts[member as usize]..self.starts[member as usize + 1]];
        for (at, &rank) in ranks.iter().enumerate() {
            let size_max = self.limit.size_max(size, size - unshared - at);
            if size_max < size_min {
                break;
            }
            for entry in &self.lists[rank as usize] {
                let fits = (size_min..=size_max).contains(&(entry.size as usize));
                if fits & (entry.size_max as usize >= size) {
                    let seen = &mut self.seen[entry.kept as usize];
                    if *seen != member {
                        *seen = member;
                        self.candidates.push(entry.kept);
                    }
                }
            }
        }
        // In keep order, since the first of equally similar ones is named.
        self.candidates.sort_unstable();
    }

    fn most_similar(&mut self, member: u32) -> Option<Duplicate> {
        let mut twins = std::mem::take(&mut self.twins);
        let (ranks, size) = (self.ranks_of(member), self.sizes[member as usize]);
        let best = self.candidates.iter().fold(None, |best, &kept| {
            let other = self.ranks_of(kept);
            let size_other = self.sizes[kept as usize];
            let found = similarity(ranks, other, size, size_other, self.limit);
            note_twin(&mut twins, member as usize, kept, found);
            better(best, kept, found)
        });
        self.twins = twins;
        best
    }

    /// Adds a kept document to the lists of its first shingles.
    fn insert(&mut self, member: u32) {
        let size = self.sizes[member as usize];
        let size_min = self.limit.size_min(size).max(self.size_min);
        let unshared = self.unshared(member);
        let ranks = &self.ranks[self.starts[member as usize]..self.starts[member as usize + 1]];
        for (at, &rank) in ranks.iter().enumerate() {
            let size_max = self.limit.size_max(size, size - unshared - at);
            if size_max < size_min {
                break;
            }
            let entry = Entry { kept: member, size: size as u32, size_max: size_max as u32 };
            self.lists[rank as usize].push(entry);
        }
    }
}

/// Ranks the shingles that two members or more have by (number of members, hash). Returns each
/// member's ranks ascending, where they start, and how many ranks there are.
fn rank(members: &[&[u64]]) -> (Vec<u32>, Vec<usize>, usize) {
    let mut pairs: Vec<(u64, u32)> = Vec::new();
    pairs.reserve_exact(members.iter().map(|set| set.len()).sum());
    for (member, set) in (0u32..).zip(members) {
        pairs.extend(set.iter().map(|&hash| (hash, member)));
    }
    pairs.par_sort_unstable();
    // (members, start in `pairs`) of each shared shingle: in `pairs` by hash, then by rarity.
    let mut shared: Vec<(usize, usize)> = Vec::new();
    let mut counts = vec![0usize; members.len() + 1];
    let mut start = 0;
    for run in pairs.chunk_by(|left, right| left.0 == right.0) {
        if run.len() > 1 {
            shared.push((run.len(), start));
            run.iter().for_each(|&(_, member)| counts[member as usize + 1] += 1);
        }
        start += run.len();
    }
    shared.par_sort_unstable();
    for member in 0..members.len() {
        counts[member + 1] += counts[member];
    }
    let (starts, mut ends) = (counts.clone(), counts);
    let mut ranks = vec![0u32; starts[members.len()]];
    for (rank, &(len, start)) in shared.iter().enumerate() {
        for &(_, member) in &pairs[start..start + len] {
            let end = &mut ends[member as usize];
            ranks[*end] = rank as u32;
            *end += 1;
        }
    }
    (ranks, starts, shared.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The rule, word by word, on ordered sets.
    fn reference(members: &[&[u64]], held_out: usize, limit: f64) -> Decided {
        let sets: Vec<BTreeSet<u64>> =
            members.iter().map(|set| set.iter().copied().collect()).collect();
        let mut decisions: Vec<Option<Duplicate>> = Vec::new();
        let mut twins = vec![false; held_out];
        for (at, set) in sets.iter().enumerate() {
            let mut best: Option<Duplicate> = None;
            for kept in (0..at).filter(|&kept| kept < held_out || decisions[kept].is_none()) {
                let common = set.intersection(&sets[kept]).count() as f64;
                let jaccard = common / set.union(&sets[kept]).count() as f64;
                if jaccard >= limit && kept < held_out && at >= held_out {
                    twins[kept] = true;
                }
                if jaccard >= limit && best.is_none_or(|best| jaccard > best.jaccard) {
                    best = Some(Duplicate { kept: kept as u32, jaccard });
                }
            }
            decisions.push(best);
        }
        Decided { duplicates: decisions, twins }
    }

    fn check(sets: &[Vec<u64>], limit: f64) -> Vec<Option<Duplicate>> {
        check_held_out(sets, 0, limit).duplicates
    }

    fn check_held_out(sets: &[Vec<u64>], held_out: usize, limit: f64) -> Decided {
        let members: Vec<&[u64]> = sets.iter().map(Vec::as_slice).collect();
        let expected = reference(&members, held_out, limit);
        assert_eq!(compare_all(&members, held_out, Limit(limit)), expected);
        assert_eq!(Search::new(&members, held_out, Limit(limit)).run(), expected);
        expected
    }

    /// The first two are held out and near one another; the third is near the second alone, and
    /// goes, though that one has a verdict itself.
    #[test]
    fn no_twin_of_a_held_out_document_stays_whatever_is_said_of_that_one() {
        let sets: Vec<Vec<u64>> = (0..4).map(|at| (2 * at..2 * at + 20).collect()).collect();
        let decided = check_held_out(&sets, 2, 0.8);
        let named: Vec<Option<u32>> =
            decided.duplicates.iter().map(|one| one.map(|one| one.kept)).collect();
        assert_eq!(named, [None, Some(0), Some(1), None]);
        assert_eq!(decided.twins, [false, true]);
    }

    #[test]
    fn a_chain_loses_only_what_is_close_to_something_kept() {
        // Windows of 0..: neighbours share 18 of 22 (0.818), next but one 16 of 24 (0.667).
        let sets: Vec<Vec<u64>> = (0..6).map(|at| (2 * at..2 * at + 20).collect()).collect();
        let kept: Vec<bool> = check(&sets, 0.8).iter().map(Option::is_none).collect();
        assert_eq!(kept, [true, false, true, false, true, false]);
    }

    #[test]
    fn a_similarity_of_exactly_the_limit_is_enough() {
        for (overlap, only) in [(8u64, 2u64), (4, 1), (80_000, 20_000)] {
            let left: Vec<u64> = (0..overlap).collect();
            let right: Vec<u64> = (0..overlap + only).collect();
            let decisions = check(&[right, left], 0.8);
            assert_eq!(decisions[1], Some(Duplicate { kept: 0, jaccard: 0.8 }));
        }
        assert_eq!(check(&[(0..7).collect(), (0..9).collect()], 0.8)[1], None);
    }

    #[test]
    fn the_most_similar_kept_document_is_named_and_the_first_of_equals() {
        let base: Vec<u64> = (0..90).collect();
        let with = |more: std::ops::Range<u64>| [base.clone(), more.collect()].concat();
        // The first two share 90 of 120; the third 95 of 110 and 95 of 115; the fourth is as near
        // to either.
        let sets = [with(100..115), with(200..215), with(100..105), base.clone()];
        let decisions = check(&sets, 0.8);
        assert_eq!(decisions[1], None);
        assert_eq!(decisions[2].map(|duplicate| duplicate.kept), Some(0));
        assert_eq!(decisions[3].map(|duplicate| duplicate.kept), Some(0));
    }

    proptest! {
        #[test]
        fn decisions_equal_a_comparison_of_all_pairs(
            templates in prop::collection::vec(prop::collection::btree_set(0u64..40, 1..30), 1..4),
            edits in prop::collection::vec(
                (any::<prop::sample::Index>(), prop::collection::vec(0u64..60, 0..6)),
                1..40,
            ),
            limit in prop::sample::select(vec![0.3, 0.5, 0.7, 0.75, 0.8, 0.9, 1.0]),
            held_out in 0usize..6,
        ) {
            let sets: Vec<Vec<u64>> = edits
                .iter()
                .map(|(template, changes)| {
                    let mut set = templates[template.index(templates.len())].clone();
                    for change in changes {
                        if !set.remove(change) {
                            set.insert(*change);
                        }
                    }
                    set.insert(1000);
                    set.into_iter().collect()
                })
                .collect();
            check_held_out(&sets, held_out.min(sets.len()), limit);
        }

        #[test]
        fn the_least_overlap_is_the_least(
            left in 1usize..3000, right in 1usize..3000, percent in 1u32..=100,
        ) {
            let limit = f64::from(percent) / 100.0;
            let overlap = Limit(limit).overlap(left, right);
            prop_assert!(jaccard(overlap, left, right) >= limit);
            prop_assert!(overlap == 0 || jaccard(overlap - 1, left, right) < limit);
        }
    }
}
