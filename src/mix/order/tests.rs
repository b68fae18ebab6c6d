//! The order against its words, and against itself after an edit.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::base::rng::Stream;
use crate::shards::{cell::draw, overlap::Overlap};

/// A document by its id.
#[derive(Clone, Debug, PartialEq)]
struct Document {
    id: String,
    length: u32,
}

fn document(id: impl Into<String>, length: u32) -> Document {
    Document { id: id.into(), length }
}

/// A source whose blocks have these documents, in file order.
fn source(name: &str, blocks: &[Vec<Document>]) -> SourceBlocks {
    let mut first_row = 0;
    let rows = |documents: &Vec<Document>| {
        let rows = BlockRows {
            shard: 0,
            first_row,
            decoded_bytes: 100,
            draws: documents.iter().map(|document| draw(&document.id)).collect(),
            lengths: documents.iter().map(|document| document.length).collect(),
            text_bytes: documents.iter().map(|one| 4 * u64::from(one.length)).collect(),
        };
        first_row += documents.len() as u32;
        rows
    };
    SourceBlocks { name: name.to_owned(), blocks: blocks.iter().map(rows).collect() }
}

fn lay(sources: &[SourceBlocks], budgets: &[Vec<u64>], seed: u64, measure: Measure) -> Vec<Placed> {
    let mut placed = Vec::new();
    interleave(sources, budgets, OrderConfig { seed, measure }, |document| {
        placed.push(document);
        Ok(())
    })
    .unwrap();
    placed
}

/// One epoch of a source by the words of the design: sorted by the hash of the cell, then by the
/// hash of the document.
fn epoch_by_words(source: &SourceBlocks, seed: u64, epoch: u64) -> Vec<(u32, u64)> {
    let (name, number) = (source.name.as_bytes(), epoch.to_le_bytes());
    type Place = (u64, u8, u64);
    let mut documents: Vec<(Place, u64, u32, u64)> = Vec::new();
    for block in &source.blocks {
        for (row, &length) in block.lengths.iter().enumerate() {
            if length == HELD_OUT {
                continue;
            }
            let draw = block.draws[row];
            let same = documents.iter().filter(|(_, other, ..)| *other == draw).count() as u64;
            let cell = (draw >> 56) as u8;
            let identity = [draw.to_le_bytes(), same.to_le_bytes()].concat();
            let place = (
                hash(seed, "mix cell", &[name, &number, &[cell]]),
                cell,
                xxh3_64_with_seed(&identity, hash(seed, "mix document", &[name, &number, &[]])),
            );
            documents.push((place, draw, block.first_row + row as u32, u64::from(length) + 1));
        }
    }
    documents.sort_unstable();
    documents.into_iter().map(|(_, _, row, tokens)| (row, tokens)).collect()
}

fn stream_by_words(sources: &[SourceBlocks], budgets: &[Vec<u64>], seed: u64) -> Vec<Placed> {
    let mut queues: Vec<Vec<(u32, u64)>> = sources
        .iter()
        .map(|source| {
            let epochs = (0..24).flat_map(|epoch| epoch_by_words(source, seed, epoch));
            epochs.collect::<Vec<_>>().into_iter().rev().collect()
        })
        .collect();
    let mut stream = Vec::new();
    for (phase, budgets) in budgets.iter().enumerate() {
        let mut placed = vec![0u64; sources.len()];
        while let Some(next) =
            (0..sources.len()).filter(|&index| placed[index] < budgets[index]).min_by(|&a, &b| {
                let left = u128::from(placed[a]) * u128::from(budgets[b]);
                left.cmp(&(u128::from(placed[b]) * u128::from(budgets[a])))
            })
        {
            let (row, tokens) = queues[next].pop().unwrap();
            let tokens = tokens.min(budgets[next] - placed[next]);
            placed[next] += tokens;
            let (source, phase) = (next as u16, phase as u16);
            stream.push(Placed { shard: 0, row, source, phase, tokens });
        }
    }
    stream
}

fn sources() -> impl Strategy<Value = Vec<SourceBlocks>> {
    let length = prop_oneof![1 => Just(HELD_OUT), 1 => Just(0u32), 8 => 1u32..60];
    // Few ids, so that some come again.
    let drawn = (length, 0u32..500).prop_map(|(length, id)| document(id.to_string(), length));
    let blocks = prop::collection::vec(prop::collection::vec(drawn, 1..12), 1..8);
    prop::collection::vec(blocks, 1..5).prop_map(|sources| {
        let made = sources.into_iter().enumerate().map(|(index, mut blocks)| {
            // Documents of some tokens, so that the passes stay few.
            blocks[0].extend([document("long", 30), document("longer", 31)]);
            source(&format!("source {index}"), &blocks)
        });
        made.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_is_the_one_of_the_design(
        sources in sources(),
        budgets in prop::collection::vec(prop::collection::vec(0u64..700, 4), 1..3),
        seed: u64,
    ) {
        let cut = |budgets: &Vec<u64>| budgets[..sources.len()].to_vec();
        let budgets: Vec<Vec<u64>> = budgets.iter().map(cut).collect();
        let laid = lay(&sources, &budgets, seed, Measure::Tokens);
        prop_assert_eq!(laid, stream_by_words(&sources, &budgets, seed));
    }

    #[test]
    fn no_source_runs_ahead_of_its_share_by_more_than_its_last_document(
        sources in sources(),
        seed: u64,
        scale in 1u64..900,
    ) {
        let budgets: Vec<u64> = (0..sources.len() as u64).map(|index| scale + 7 * index).collect();
        let total: u64 = budgets.iter().sum();
        let mut placed = vec![0u64; sources.len()];
        for document in lay(&sources, std::slice::from_ref(&budgets), seed, Measure::Tokens) {
            let index = usize::from(document.source);
            let before: u64 = placed.iter().sum();
            // placed / budget ≤ before / total, at the moment the source is chosen.
            prop_assert!(placed[index] * total <= before * budgets[index]);
            placed[index] += document.tokens;
        }
        prop_assert_eq!(placed, budgets);
    }

    #[test]
    fn each_epoch_is_a_permutation_of_the_training_documents(sources in sources(), seed: u64) {
        let budgets = vec![vec![900; sources.len()]];
        let stream = lay(&sources, &budgets, seed, Measure::Tokens);
        for (index, source) in sources.iter().enumerate() {
            let own = stream.iter().filter(|document| usize::from(document.source) == index);
            let rows: Vec<u32> = own.map(|document| document.row).collect();
            let rows_of = |block: &BlockRows| -> Vec<u32> {
                block.training().map(|row| block.first_row + row).collect()
            };
            let all: BTreeSet<u32> = source.blocks.iter().flat_map(rows_of).collect();
            for epoch in rows.chunks(all.len()) {
                let shown: BTreeSet<u32> = epoch.iter().copied().collect();
                prop_assert_eq!(shown.len(), epoch.len());
                prop_assert!(shown.is_subset(&all));
            }
        }
    }
}

/// Three sources of documents as real ones are long: 100 to 4,000 tokens.
fn corpus() -> Vec<(&'static str, Vec<Document>)> {
    let made = [("web", 3000), ("code", 1200), ("books", 800)].map(|(name, count)| {
        let mut lengths = Stream::new(0, name);
        let documents = (0..count).map(|index| {
            let length = 100 + lengths.next_u64() % 3900;
            document(format!("{name}/{index}"), length as u32)
        });
        (name, documents.collect())
    });
    made.into()
}

/// Blocks of seven documents: the order must not depend on where blocks begin.
fn laid<'a>(
    corpus: &'a [(&'a str, Vec<Document>)],
    shares: &[u64],
    tokens: u64,
    block: usize,
) -> Laid<'a> {
    let sources: Vec<SourceBlocks> = corpus
        .iter()
        .map(|(name, documents)| {
            source(name, &documents.chunks(block).map(<[Document]>::to_vec).collect::<Vec<_>>())
        })
        .collect();
    let total: u64 = shares.iter().sum();
    let budgets = shares.iter().map(|share| tokens * share / total).collect();
    let placed = lay(&sources, &[budgets], 3, Measure::Tokens);
    let ids = placed.iter().map(|placed| {
        let (name, documents) = &corpus[usize::from(placed.source)];
        (*name, documents[placed.row as usize].id.as_str())
    });
    Laid { ids: ids.collect(), placed }
}

/// A stream with the source and id of each document.
struct Laid<'a> {
    ids: Vec<(&'a str, &'a str)>,
    placed: Vec<Placed>,
}

impl Laid<'_> {
    fn of(&self, source: &str) -> Vec<&str> {
        self.ids.iter().filter(|(name, _)| *name == source).map(|(_, id)| *id).collect()
    }
}

const SHARES: [u64; 3] = [50, 30, 20];

/// Within each source what both show stands in one order, and the one's beginning is the other's
/// but for what differs.
fn assert_kept(before: &Laid<'_>, after: &Laid<'_>, edited: &[(&str, Vec<Document>)]) {
    for (name, documents) in edited {
        let (before, after) = (before.of(name), after.of(name));
        let overlap = Overlap::of(&before, &after);
        assert_eq!(overlap.in_order, overlap.common, "{name}: {overlap:?}");
        let still: BTreeSet<&str> = documents.iter().map(|document| document.id.as_str()).collect();
        let kept: Vec<&str> = before.into_iter().filter(|id| still.contains(id)).collect();
        let length = kept.len().min(after.len());
        assert_eq!(kept[..length], after[..length], "{name}");
    }
}

#[test]
fn dropped_documents_move_none_of_those_that_stay() {
    let whole = corpus();
    let before = laid(&whole, &SHARES, 1_500_000, 7);
    for percent in [1, 5, 20] {
        let mut draws = Stream::new(percent, "dropped");
        let mut edited = whole.clone();
        for (_, documents) in &mut edited {
            documents.retain(|_| draws.next_u64() % 100 >= percent);
        }
        let after = laid(&edited, &SHARES, 1_500_000, 7);
        assert_kept(&before, &after, &edited);
        // Of both streams whole, sources together: shares stay exact, so a source that lost
        // documents is read faster, and the others' stand before or behind as many of them.
        let overlap = Overlap::of(&before.ids, &after.ids);
        assert!(overlap.common * 100 >= overlap.one * (97 - percent), "{percent}%: {overlap:?}");
        assert!(overlap.pairs_in_order() > Some(0.97), "{percent}%: {overlap:?}");
    }
}

#[test]
fn another_source_and_another_vocabulary_move_none() {
    let whole = corpus();
    let before = laid(&whole, &SHARES, 1_500_000, 7);
    let mut more = whole.clone();
    let added = (0..500).map(|index| document(format!("math/{index}"), 700)).collect();
    more.insert(0, ("math", added));
    let after = laid(&more, &[25, 50, 30, 20], 1_500_000, 7);
    assert_kept(&before, &after, &more);
    // Shares of one another stay, so the streams are one but for what was added.
    let rest: Vec<_> = after.ids.iter().filter(|(name, _)| *name != "math").copied().collect();
    assert_eq!(rest[..], before.ids[..rest.len()]);

    let mut shorter = whole.clone();
    for (_, documents) in &mut shorter {
        let mut draws = Stream::new(0, "another vocabulary");
        documents.iter_mut().for_each(|one| {
            one.length = (u64::from(one.length) * (70 + draws.next_u64() % 20) / 100) as u32;
        });
    }
    // Tokens of another vocabulary make other blocks.
    assert_kept(&before, &laid(&shorter, &SHARES, 1_500_000, 9), &shorter);
}

#[test]
fn the_order_of_files_and_rows_means_nothing() {
    let whole = corpus();
    let mut turned = whole.clone();
    turned.iter_mut().for_each(|(_, documents)| documents.reverse());
    let (one, other) = (laid(&whole, &SHARES, 900_000, 7), laid(&turned, &SHARES, 900_000, 40));
    assert_eq!(one.ids, other.ids);
}

#[test]
fn any_million_tokens_hold_each_source_within_a_hundredth_of_its_share() {
    let whole = corpus();
    let stream = laid(&whole, &SHARES, 4_000_000, 7);
    let mut sums = vec![[0u64; 3]];
    for placed in &stream.placed {
        let mut next = sums[sums.len() - 1];
        next[usize::from(placed.source)] += placed.tokens;
        sums.push(next);
    }
    let total = |sums: &[u64; 3]| sums.iter().sum::<u64>();
    let mut windows = 0;
    for start in &sums {
        let end = sums.partition_point(|end| total(end) < total(start) + 1_000_000);
        let Some(end) = sums.get(end) else { break };
        let length = (total(end) - total(start)) as f64;
        for (index, share) in SHARES.iter().enumerate() {
            let found = (end[index] - start[index]) as f64 / length;
            assert!((found - *share as f64 / 100.0).abs() < 0.01, "{index}: {found} at {start:?}");
        }
        windows += 1;
    }
    assert!(windows > 1000, "{windows}");
}

#[test]
fn seeds_and_epochs_have_orders_of_their_own() {
    let whole = corpus();
    let books = std::slice::from_ref(&whole[2]);
    let tokens: u64 = books[0].1.iter().map(|one| u64::from(one.length) + 1).sum();
    let two = laid(books, &[1], 2 * tokens, 7);
    let shown = two.of("books");
    let (first, second) = shown.split_at(books[0].1.len());
    let kept = Overlap::of(first, second);
    assert_eq!(kept.common, 800);
    // Of a random permutation of n, some 2√n stand in order.
    assert!(kept.in_order < 100, "{kept:?}");
}

#[test]
fn a_budget_of_bytes_shows_the_same_documents_whatever_their_tokens() {
    let whole = corpus();
    let sources = |factor: u32| -> Vec<SourceBlocks> {
        let sources = whole.iter().map(|(name, documents)| {
            let mut made = source(name, std::slice::from_ref(documents));
            let lengths = &mut made.blocks[0].lengths;
            lengths.iter_mut().for_each(|length| *length = *length * factor / 10);
            made
        });
        sources.collect()
    };
    let budgets = [vec![2_000_000, 1_200_000, 800_000]];
    let rows = |factor: u32| -> Vec<(u16, u32)> {
        let laid = lay(&sources(factor), &budgets, 3, Measure::Bytes);
        laid.iter().map(|placed| (placed.source, placed.row)).collect()
    };
    assert_eq!(rows(10), rows(7));
    assert!(rows(10).len() > 400);
}
