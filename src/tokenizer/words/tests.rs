//! Counting against a plain map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::artifact::spill::{Merged, RunReader};
use crate::tokenizer::bpe::pattern::Pattern;

type Plain = BTreeMap<Vec<u8>, u64>;

fn place() -> &'static Path {
    Path::new("run")
}

fn drained(counts: &mut WordCounts) -> Vec<u8> {
    let mut run = Vec::new();
    counts.drain_sorted(&mut run, place()).unwrap();
    run
}

fn read(run: &[u8]) -> Result<Plain> {
    let mut reader = RunReader::of_bytes(run.to_vec(), place())?;
    let mut plain = Plain::new();
    while let Some(count) = reader.advance()? {
        assert_eq!(plain.insert(reader.key().to_vec(), count), None);
    }
    Ok(plain)
}

fn summed(runs: &[Vec<u8>]) -> Plain {
    let readers = runs.iter().map(|run| RunReader::of_bytes(run.clone(), place()).unwrap());
    let mut merged = Merged::new(readers.collect()).unwrap();
    let (mut plain, mut before) = (Plain::new(), Vec::new());
    while let Some((piece, count)) = merged.advance().unwrap() {
        assert!(before[..] < *piece);
        before = piece.to_vec();
        plain.insert(before.clone(), count);
    }
    plain
}

fn entries() -> impl Strategy<Value = Vec<(Vec<u8>, u64)>> {
    let piece =
        prop_oneof!["[ab\0]{1,4}", "[a-cé語]{1,12}", "aaaaaaaaaaaaaaa[ab]{0,9}", "[a-b]{14,17}"];
    let entry = (piece.prop_map(String::into_bytes), 1u64..u64::MAX >> 16);
    prop::collection::vec(entry, 0..60)
}

fn plain(entries: &[(Vec<u8>, u64)]) -> Plain {
    let mut plain = Plain::new();
    for (piece, count) in entries {
        *plain.entry(piece.clone()).or_default() += count;
    }
    plain
}

fn counted(entries: &[(Vec<u8>, u64)]) -> WordCounts {
    let mut counts = WordCounts::new(0);
    for (piece, count) in entries {
        counts.add(piece, *count);
    }
    counts
}

proptest! {
    #[test]
    fn a_run_holds_what_was_counted_in_equal_bytes_for_any_order(mut entries in entries()) {
        let run = drained(&mut counted(&entries));
        prop_assert_eq!(read(&run).unwrap(), plain(&entries));
        entries.reverse();
        prop_assert_eq!(drained(&mut counted(&entries)), run);
    }

    #[test]
    fn runs_add_up_wherever_they_were_closed(
        entries in entries(), cuts in prop::collection::vec(any::<bool>(), 60)
    ) {
        let mut counts = WordCounts::new(0);
        let mut runs = Vec::new();
        for ((piece, count), cut) in entries.iter().zip(cuts) {
            counts.add(piece, *count);
            if cut {
                runs.push(drained(&mut counts));
            }
        }
        runs.push(drained(&mut counts));
        prop_assert_eq!(summed(&runs), plain(&entries));
    }

    #[test]
    fn a_text_is_counted_as_its_pieces(text in "[ a-c'é\n0-9.]{0,400}") {
        let scanner = Scanner::new(Pattern::Cl100k);
        let mut counts = WordCounts::new(0);
        counts.count_text(&scanner, &mut Scratch::default(), &text);
        let (mut plain, mut at) = (Plain::new(), 0);
        while at < text.len() {
            let end = Pattern::Cl100k.piece_end(text.as_bytes(), at);
            *plain.entry(text.as_bytes()[at..end].to_vec()).or_default() += 1;
            at = end;
        }
        prop_assert_eq!(read(&drained(&mut counts)).unwrap(), plain);
    }
}

#[test]
fn a_full_table_is_closed_as_a_run_and_the_sums_stay() {
    let mut counts = WordCounts::new(0);
    let (mut expected, mut runs) = (Plain::new(), Vec::new());
    for number in 0..400_000u64 {
        // Every piece comes again later; some are long; two are very large.
        let mut piece = (number % 250_000).to_string().into_bytes();
        if number % 9 == 0 {
            piece.extend_from_slice(&[b'-'; 40]);
        }
        if number % 100_000 == 7 {
            piece = vec![b'=' + (number % 2) as u8; 3 << 20];
        }
        counts.add(&piece, number + 1);
        *expected.entry(piece).or_default() += number + 1;
        runs.extend(counts.take_run());
    }
    assert!(runs.len() > 1);
    runs.push(drained(&mut counts));
    assert!(counts.is_empty());
    let sums = summed(&runs);
    assert!(sums == expected);
}

#[test]
fn a_piece_in_the_table_and_apart_is_one_in_the_run() {
    for piece in [b"ab".to_vec(), vec![b'a'; 20]] {
        let mut counts = counted(&[(piece.clone(), 2), (vec![b'a'; 21], 1)]);
        counts.apart.insert(piece.clone(), 3);
        let expected = plain(&[(piece, 5), (vec![b'a'; 21], 1)]);
        assert_eq!(read(&drained(&mut counts)).unwrap(), expected);
        assert!(counts.is_empty());
    }
}
