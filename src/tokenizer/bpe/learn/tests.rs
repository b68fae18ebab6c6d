//! The learner against HF's algorithm written out, on words that bring out ties, runs of one
//! letter, special tokens that merges spell, and bounds on the length.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

type Merges = Vec<(u32, u32, u32)>;
type Changes = Vec<((u32, u32), i64)>;

/// A word in the reference: tokens with their lengths.
struct Spelled {
    symbols: Vec<(u32, usize)>,
    count: u64,
}

impl Spelled {
    /// `Word::merge` of `models/bpe/word.rs`: merges from the left and tells what changed.
    fn merge(&mut self, pair: (u32, u32), made: u32, end: usize) -> Changes {
        let (mut changes, mut at) = (Changes::new(), 0);
        while at + 1 < self.symbols.len() {
            let (first, second) = (self.symbols[at], self.symbols[at + 1]);
            if (first.0, second.0) == pair {
                let length = first.1 + second.1;
                if at > 0 {
                    let before = self.symbols[at - 1];
                    changes.push(((before.0, first.0), -1));
                    if before.1 + length < end {
                        changes.push(((before.0, made), 1));
                    }
                }
                self.symbols.splice(at..at + 2, [(made, length)]);
                if let Some(behind) = self.symbols.get(at + 1) {
                    changes.push(((second.0, behind.0), -1));
                    if behind.1 + length < end {
                        changes.push(((made, behind.0), 1));
                    }
                }
            }
            at += 1;
        }
        changes
    }
}

/// An entry of the reference's queue: pair, count when it was put there, words.
type Entry = ((u32, u32), u64, BTreeSet<usize>);

/// `BpeTrainer::do_train` of `models/bpe/trainer.rs`, its queue a list searched each time.
fn reference(words: &[(Vec<u8>, u64)], settings: &LearnSettings) -> Merges {
    let mut vocabulary: Vec<String> = Vec::new();
    let mut letters: Vec<char> = alphabet::characters().collect();
    letters.sort_unstable();
    let letters = letters.into_iter().map(String::from);
    for token in settings.special_tokens.iter().cloned().chain(letters) {
        if !vocabulary.contains(&token) {
            vocabulary.push(token);
        }
    }
    let mut ids: HashMap<String, u32> =
        vocabulary.iter().zip(0..).map(|(token, id)| (token.clone(), id)).collect();
    let of_byte: Vec<u32> = alphabet::characters().map(|letter| ids[&letter.to_string()]).collect();
    let spell = |word: &[u8]| word.iter().map(|&byte| (of_byte[usize::from(byte)], 1)).collect();
    let mut words: Vec<Spelled> =
        words.iter().map(|(word, count)| Spelled { symbols: spell(word), count: *count }).collect();
    let mut counts: HashMap<(u32, u32), i64> = HashMap::new();
    let mut places: HashMap<(u32, u32), BTreeSet<usize>> = HashMap::new();
    for (at, word) in words.iter().enumerate() {
        for two in word.symbols.windows(2) {
            let pair = (two[0].0, two[1].0);
            *counts.entry(pair).or_default() += word.count as i64;
            places.entry(pair).or_default().insert(at);
        }
    }
    let mut queue: Vec<Entry> = Vec::new();
    let fill = |queue: &mut Vec<Entry>, places: &mut HashMap<_, _>, counts: &HashMap<_, i64>| {
        let new = places.drain().map(|(pair, places)| (pair, counts[&pair], places));
        queue.extend(new.filter(|new| new.1 > 0).map(|new| (new.0, new.1 as u64, new.2)));
    };
    fill(&mut queue, &mut places, &counts);
    let end = settings.max_token_length.unwrap_or(usize::MAX);
    let mut merges = Merges::new();
    while ids.len() < settings.vocabulary {
        let order = |at: &usize| (queue[*at].1, std::cmp::Reverse(queue[*at].0));
        let Some(top) = (0..queue.len()).max_by_key(order) else { break };
        let (pair, count, inside) = queue.swap_remove(top);
        if count != counts[&pair] as u64 {
            queue.push((pair, counts[&pair] as u64, inside));
            continue;
        }
        if count < 1 || settings.min_frequency > count {
            break;
        }
        let text = format!("{}{}", vocabulary[pair.0 as usize], vocabulary[pair.1 as usize]);
        let made = *ids.entry(text.clone()).or_insert_with(|| {
            vocabulary.push(text);
            vocabulary.len() as u32 - 1
        });
        merges.push((pair.0, pair.1, made));
        for at in inside {
            for (changed, change) in words[at].merge(pair, made, end) {
                *counts.entry(changed).or_default() += change * words[at].count as i64;
                if change > 0 {
                    places.entry(changed).or_default().insert(at);
                }
            }
        }
        fill(&mut queue, &mut places, &counts);
    }
    merges
}

fn words(words: &[(Vec<u8>, u64)]) -> WordTape {
    let mut all = WordTape::default();
    for (word, count) in words {
        all.push(word, *count).unwrap();
    }
    all
}

fn learned(entries: &[(Vec<u8>, u64)], settings: &LearnSettings) -> Merges {
    learn(words(entries), settings, &mut |_| Ok(())).unwrap()
}

/// Words of few letters and low counts: ties everywhere. Distinct, as counting gives them.
fn few_letters() -> impl Strategy<Value = Vec<(Vec<u8>, u64)>> {
    let word =
        prop_oneof!["[abc]{1,9}", "(a{1,7}b?){1,3}", "[ab ]{2,12}", "(ab|ba){1,6}", "é{1,3}"];
    prop::collection::btree_map(word, 1u64..6, 0..14).prop_map(|words| {
        words.into_iter().map(|(word, count)| (word.into_bytes(), count)).collect()
    })
}

fn settings() -> impl Strategy<Value = LearnSettings> {
    let special =
        prop::sample::select(vec!["<s>", "ab", "aa", "b", "abab", "Ġa", "aab", " a", "Ã©"]);
    (
        prop::collection::vec(special, 0..4),
        prop_oneof![0usize..300, Just(10_000)],
        0u64..6,
        prop::option::of(0usize..7),
    )
        .prop_map(|(special, vocabulary, min_frequency, max_token_length)| LearnSettings {
            seen_bytes_only: false,
            vocabulary,
            special_tokens: special.into_iter().map(String::from).collect(),
            min_frequency,
            max_token_length,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn merges_are_those_of_the_reference(entries in few_letters(), settings in settings()) {
        prop_assert_eq!(learned(&entries, &settings), reference(&entries, &settings));
    }

    #[test]
    fn a_smaller_vocabulary_is_a_prefix(entries in few_letters(), less in 256usize..280) {
        let of = |vocabulary| {
            learned(&entries, &LearnSettings { vocabulary, ..LearnSettings::default() })
        };
        let (all, some) = (of(1000), of(less));
        prop_assert_eq!(&some[..], &all[..some.len()]);
        prop_assert_eq!(some.len(), all.len().min(less - 256));
    }

    #[test]
    fn the_order_of_the_words_changes_nothing(
        entries in few_letters().prop_shuffle(), settings in settings()
    ) {
        let mut sorted = entries.clone();
        sorted.sort();
        // A word given in two parts counts as one.
        let halves: Vec<_> = sorted
            .iter()
            .flat_map(|(word, count)| [(word.clone(), count - 1), (word.clone(), 1)])
            .collect();
        prop_assert_eq!(learned(&entries, &settings), learned(&sorted, &settings));
        prop_assert_eq!(learned(&halves, &settings), learned(&sorted, &settings));
    }

    #[test]
    fn a_floor_that_is_too_high_falls(entries in few_letters(), floor in 1u64..1000) {
        let settings = LearnSettings { vocabulary: 400, ..LearnSettings::default() };
        // Words that occur often but have no pairs raise the first floor.
        let mut raised = entries.clone();
        raised.push((b"x".to_vec(), floor * 6400));
        prop_assert_eq!(learned(&raised, &settings), learned(&entries, &settings));
    }

    #[test]
    fn every_token_is_spelled_by_its_parts(entries in few_letters(), settings in settings()) {
        let merges = learned(&entries, &settings);
        let mut names = initial_names(&words(&entries), &settings);
        for (left, right, made) in merges {
            let name = [&names[left as usize][..], &names[right as usize]].concat();
            if made as usize == names.len() {
                names.push(name.clone());
            }
            prop_assert_eq!(&names[made as usize], &name);
        }
    }
}

#[test]
fn counts_beyond_32_bits_are_counted() {
    let settings = LearnSettings { vocabulary: 258, ..LearnSettings::default() };
    let entries =
        [(b"ab".to_vec(), 1 << 31), (b"bc".to_vec(), (1 << 40) + 1), (b"cb".to_vec(), 1 << 40)];
    let (a, b, c) = (64 + 1, 64 + 2, 64 + 3); // after ! to ` (33 to 96)
    assert_eq!(learned(&entries, &settings), [(b - 1, c - 1, 256), (c - 1, b - 1, 257)]);
    let settings = LearnSettings { vocabulary: 259, ..LearnSettings::default() };
    assert_eq!(learned(&entries, &settings)[2], (a - 1, b - 1, 258));
}

#[test]
fn counts_that_do_not_fit_are_an_error() {
    let mut all = WordTape::default();
    all.push(b"ab", 1 << 62).unwrap();
    assert!(all.push(b"cd", 1 << 62).is_err());
    assert!(all.push(b"cdefghijklmnop", 1 << 61).is_err());
    all.push(b"cd", 1).unwrap();
}

#[test]
fn progress_may_end_the_work() {
    let text: Vec<u8> = (0..2000u32).map(|at| (at * at % 251) as u8).collect();
    let settings = LearnSettings { vocabulary: 2000, ..LearnSettings::default() };
    let result = learn(words(&[(text, 1)]), &settings, &mut |done| {
        assert!(done > 0);
        Err(crate::base::error::Error::Interrupted)
    });
    assert!(result.is_err());
}
