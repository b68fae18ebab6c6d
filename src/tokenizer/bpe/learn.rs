//! Learns the merges of a byte-level BPE vocabulary.
//!
//! Distinct words with their counts → merges, the same and in the same order as those of the
//! `tokenizers` package's `BpeTrainer` (`models/bpe/trainer.rs`, `word.rs`) with all 256 bytes, or
//! only those seen, as initial alphabet and no prefix, suffix or limit of the alphabet. Counts have
//! 64 bits here; the package's counts of pairs wrap at 2³¹, below which both agree.
//!
//! The rules: special tokens take the first ids, then the bytes, ordered by the code point of their
//! `ByteLevel` character. The pair with the highest count is merged, among equals the one with the
//! lowest ids, until the vocabulary is full or no count reaches the least frequency (1 at least).
//! Overlapping pairs are all counted, but merged from the left without overlap. A merge that spells
//! a special token takes its id, and the vocabulary does not grow. The longest token is an
//! exclusive bound, and it applies to every pair but those of two bytes: `max_token_length = 4`
//! gives tokens of up to 3 bytes.
//!
//! Method: all words lie in one [`Tape`], most frequent first, so counts fall as places ascend, and
//! a place needs no count of its own. Each pair has the ascending list of places where it stood
//! when it arose. A merge walks that list, skips the places where the pair is gone, rewrites the
//! others, and sums for each neighbouring token what the old pair loses and the new pair gains: one
//! look-up for each distinct neighbour, not for each place. A pair's count only falls after the
//! merge that made the younger of its tokens. So pairs that begin below a floor are left out, which
//! saves most of the memory; if the listed pairs run out early, the floor is lowered and the tape
//! indexed anew. The result is exact. The order of the words changes nothing, and fewer merges are
//! a prefix of more.
//!
//! Cost: time in proportion to the places walked, some 20 ns each; 0.2 s for 100 MB of text and
//! 32,000 tokens.
//! Memory: see [`memory`].

mod pairs;
mod tape;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::base::error::Result;
use crate::tokenizer::alphabet;
use pairs::{Neighbours, Pairs};
use tape::Tape;
pub use tape::WordTape;

/// Bytes of memory that [`learn`] takes, for a number of [`WordTape::cells`] and a vocabulary. A
/// cell takes its words (up to 7, given back), tape (4) and places (4 to 8); a token takes its sums
/// and the pairs it makes. Measured on text: 9 to 12 bytes a cell in all at 14 million cells and
/// 32,000 tokens.
pub fn memory(cells: u64, vocabulary: u64) -> u64 {
    cells * 14 + vocabulary.min(cells) * 512
}

/// What to learn: the size of the vocabulary and the rules for merges.
#[derive(Clone, Debug, Default)]
pub struct LearnSettings {
    /// Number of tokens: special ones, 256 bytes, merges. Fewer when the words have no more pairs.
    pub vocabulary: usize,
    /// Special tokens as text; a token named twice counts once.
    pub special_tokens: Vec<String>,
    /// A pair that occurs less often than this is not merged; 0 means 1.
    pub min_frequency: u64,
    /// Merges form only tokens shorter than this, in bytes; two single bytes may always merge.
    pub max_token_length: Option<usize>,
    /// Whether bytes that occur in no word are left out.
    pub seen_bytes_only: bool,
}

/// The tokens before the first merge: their ids and what they spell.
#[derive(Debug)]
struct Base {
    /// Byte → id.
    byte_id: [u32; 256],
    /// Id → name in a vocabulary file.
    names: Vec<String>,
    /// Id → the bytes that the token spells; empty for a special token with a character outside the
    /// `ByteLevel` alphabet.
    bytes: Vec<Vec<u8>>,
}

impl Base {
    fn new(words: &WordTape, settings: &LearnSettings) -> Base {
        let mut base = Base { byte_id: [u32::MAX; 256], names: Vec::new(), bytes: Vec::new() };
        for token in &settings.special_tokens {
            if base.names.contains(token) {
                continue;
            }
            let bytes = alphabet::exact_bytes_of(token).unwrap_or_default();
            if let [byte] = bytes[..] {
                base.byte_id[usize::from(byte)] = base.bytes.len() as u32;
            }
            base.names.push(token.clone());
            base.bytes.push(bytes);
        }
        let is_seen = words.bytes_seen();
        let mut order: Vec<(char, u8)> = alphabet::characters().zip(0..=255).collect();
        order.sort_unstable();
        for (character, byte) in order {
            let at = usize::from(byte);
            if base.byte_id[at] == u32::MAX && (is_seen[at] || !settings.seen_bytes_only) {
                base.byte_id[at] = base.bytes.len() as u32;
                base.names.push(character.into());
                base.bytes.push(vec![byte]);
            }
        }
        base
    }
}

/// The names of the tokens before the first merge, by id, as vocabulary files write them.
pub fn initial_names(words: &WordTape, settings: &LearnSettings) -> Vec<String> {
    Base::new(words, settings).names
}

/// Learns merges as (left id, right id, id made), first merge first. `progress` is called now and
/// then with the number of merges done; an error that it returns ends the work.
///
/// # Errors
/// What `progress` gives.
pub fn learn(
    words: WordTape,
    settings: &LearnSettings,
    progress: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<(u32, u32, u32)>> {
    let base = Base::new(&words, settings);
    let least = settings.min_frequency.max(1);
    let floor = first_floor(words.occurrences(), settings.vocabulary as u64).max(least);
    let mut learner = Learner::new(words, &base, settings, floor);
    if learner.tokens < settings.vocabulary {
        learner.index();
    }
    while learner.tokens < settings.vocabulary {
        let Some(pair) = learner.pairs.pop() else {
            if learner.pairs.floor <= least {
                break;
            }
            learner.pairs.floor = (learner.pairs.floor / 4).max(least);
            learner.index();
            continue;
        };
        learner.merge(pair);
        if learner.merges.len().is_multiple_of(64) {
            progress(learner.merges.len())?;
        }
    }
    Ok(learner.merges)
}

/// A count that the last merge's will hardly fall below. Measured on 100 MB of mixed text cut by
/// two patterns, the last count is 14 to 19 times occurrences / vocabulary^1.5, for vocabularies of
/// 1,000 to 128,000.
fn first_floor(occurrences: u64, vocabulary: u64) -> u64 {
    let steps = u128::from(vocabulary) * u128::from(vocabulary.isqrt());
    (u128::from(occurrences) * 10 / steps.max(1)) as u64
}

/// The state between two merges.
struct Learner {
    tape: Tape,
    pairs: Pairs,
    merges: Vec<(u32, u32, u32)>,
    /// Tokens in the vocabulary.
    tokens: usize,
    /// The ids of special tokens that merges could spell.
    spelled: HashMap<Vec<u8>, u32>,
    /// Id → bytes; empty if `spelled` is.
    bytes: Vec<Vec<u8>>,
    /// The lengths of a pair's two parts, in bytes, must together stay below this.
    length_end: u64,
    left: Neighbours,
    right: Neighbours,
}

impl Learner {
    fn new(words: WordTape, base: &Base, settings: &LearnSettings, floor: u64) -> Learner {
        let special = base.bytes.iter().enumerate().filter(|(_, bytes)| bytes.len() > 1);
        let spelled: HashMap<Vec<u8>, u32> =
            special.map(|(id, bytes)| (bytes.clone(), id as u32)).collect();
        let bytes = if spelled.is_empty() { Vec::new() } else { base.bytes.clone() };
        let mut widths = vec![1; base.bytes.len()];
        for (width, bytes) in widths.iter_mut().zip(&base.bytes) {
            *width = bytes.len().max(1) as u32;
        }
        Learner {
            tape: Tape::lay(words, &base.byte_id, widths),
            pairs: Pairs::new(floor),
            merges: Vec::new(),
            tokens: base.bytes.len(),
            spelled,
            bytes,
            length_end: settings.max_token_length.map_or(u64::MAX, |length| length as u64),
            left: Neighbours::default(),
            right: Neighbours::default(),
        }
    }

    /// Lists all pairs of the tape whose counts reach the floor.
    fn index(&mut self) {
        let (pairs, length_end) = (&mut self.pairs, self.length_end);
        pairs.clear();
        let counted = self.tape.count_pairs();
        let widths = self.tape.widths();
        let may = |left: u32, right: u32| {
            let length = u64::from(widths[left as usize]) + u64::from(widths[right as usize]);
            length == 2 || length < length_end
        };
        counted.for_each(|left, right, count, number| {
            if count >= pairs.floor && may(left, right) {
                pairs.push(left, right, count, Vec::with_capacity(number as usize));
            }
        });
        self.tape.for_each_pair(|left, right, at| pairs.add_place(left, right, at));
    }

    /// The id that merging two tokens makes: a new one, or that of the special token it spells.
    fn id_of(&mut self, left: u32, right: u32) -> u32 {
        let next = self.tokens as u32;
        if !self.spelled.is_empty() {
            let bytes = [&self.bytes[left as usize][..], &self.bytes[right as usize]].concat();
            if let Some(&id) = self.spelled.get(&bytes) {
                return id;
            }
            self.bytes.push(bytes);
        }
        self.tokens += 1;
        next
    }

    /// Merges one pair wherever it still stands.
    fn merge(&mut self, (a, b, places): (u32, u32, Vec<u32>)) {
        let made = self.id_of(a, b);
        self.merges.push((a, b, made));
        self.tape.name(made, a, b);
        let mut twins = Vec::new();
        let mut doubled = 0;
        let (left, right) = (&mut self.left, &mut self.right);
        left.prepare(self.tokens);
        right.prepare(self.tokens);
        self.tape.merge(a, b, made, &places, |near| {
            if let Some(token) = near.right {
                right.add(token, near.at, near.count);
            }
            match near.left {
                // The left neighbour was made at the place before, which counted `a` as its right
                // neighbour.
                Some((token, at)) if token == made => {
                    doubled += near.count;
                    twins.push(at);
                }
                Some((token, at)) => left.add(token, at, near.count),
                None => {}
            }
        });
        drop(places);
        // Old pairs lose.
        let pairs = &mut self.pairs;
        left.for_each(|token, count| pairs.lose(token, a, count));
        right.for_each(|token, count| pairs.lose(b, token, count));
        // New pairs arise.
        right.remove(a, doubled);
        let (widths, end) = (self.tape.widths(), self.length_end);
        let width = u64::from(widths[made as usize]);
        let may = |token: u32| width + u64::from(widths[token as usize]) < end;
        left.list(pairs, |token| may(token).then_some((token, made)));
        right.list(pairs, |token| may(token).then_some((made, token)));
        if doubled >= pairs.floor && may(made) {
            pairs.push(made, made, doubled, twins);
        }
    }
}
