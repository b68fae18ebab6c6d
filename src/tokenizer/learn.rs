//! Learns the merges: word counts in → the bytes of a `tokenizer.json` out.
//!
//! Method: the `tokenizers` crate's `BpeTrainer` on the summed counts, with all 256 bytes as
//! initial alphabet. So merges, ids and file are those of the Python package's
//! `train_from_iterator` with one document a sequence. The most frequent pair is merged first,
//! equal counts by the smaller ids; thread count and order of the words change nothing.
//! The crate counts pairs in 32 bits and goes wrong silently above; here that is an error.
//! Cost: about [`MEMORY_PER_BYTE`] bytes of memory for each byte of distinct words; seconds for
//! 100 MB of English. Runs on the current rayon pool.

use ahash::AHashMap;
use compact_str::CompactString;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::{AddedToken, SplitDelimiterBehavior};

use super::alphabet;
use super::config::TokenizerConfig;
use super::split;
use super::words::WordCounts;
use crate::base::error::{Error, Result};

/// Bytes of memory the trainer takes for each byte of distinct words: 90 to 112 were measured on 20
/// and 100 MB of mixed text. Most are hash sets of the places where each pair occurs.
pub const MEMORY_PER_BYTE: u64 = 128;

/// The most the crate's trainer can count of one pair.
const PAIR_COUNT_MAX: u64 = i32::MAX as u64;

/// Trains on `words`; the file's bytes, as the Python package would write them (`pretty`).
///
/// # Errors
/// [`Error::Failed`] when a pair occurs more often than the trainer can count.
pub fn learn(words: &WordCounts, config: &TokenizerConfig) -> Result<Vec<u8>> {
    check_pair_counts(words, PAIR_COUNT_MAX)?;
    let special: Vec<AddedToken> =
        config.special_tokens.iter().map(|token| AddedToken::from(token.as_str(), true)).collect();
    let trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(config.vocabulary_size())
        .min_frequency(config.min_frequency)
        .special_tokens(special.clone())
        .initial_alphabet(alphabet::characters().collect())
        .build();
    let mut model = BPE::default();
    trainer.do_train(&in_alphabet(words), &mut model).map_err(failed)?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer(&config.pattern)?));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.add_special_tokens(special).map_err(failed)?;
    Ok(tokenizer.to_string(true).map_err(failed)?.into_bytes())
}

/// Entries of a `tokenizer.json` that [`learn`] made: fewer than asked for when the text has no
/// more pairs to merge.
pub fn vocabulary_size(tokenizer_json: &[u8]) -> u64 {
    let file: serde_json::Value = serde_json::from_slice(tokenizer_json).unwrap_or_default();
    file["model"]["vocab"].as_object().map_or(0, |vocabulary| vocabulary.len() as u64)
}

fn failed(error: tokenizers::Error) -> Error {
    Error::failed(format!("training the tokenizer failed: {error}"))
}

/// The split as it stands in the file. GPT-2's is `ByteLevel`'s own, which readers know best.
fn pre_tokenizer(pattern: &str) -> Result<PreTokenizerWrapper> {
    let bytes = ByteLevel::default().add_prefix_space(false);
    let regex = split::regex_of(pattern)?;
    if regex == split::GPT2 {
        return Ok(bytes.into());
    }
    let pattern = SplitPattern::Regex(regex.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(failed)?;
    Ok(Sequence::new(vec![split.into(), bytes.use_regex(false).into()]).into())
}

/// The words as the trainer wants them: one character a byte.
fn in_alphabet(words: &WordCounts) -> AHashMap<CompactString, u64> {
    let mut word = String::new();
    words
        .iter()
        .map(|(piece, count)| {
            word.clear();
            alphabet::push_characters(piece.as_bytes(), &mut word);
            (CompactString::from(word.as_str()), count)
        })
        .collect()
}

/// Refuses counts above `most`. Pairs of bytes bound all: a later pair occurs no oftener than the
/// bytes where its parts meet.
fn check_pair_counts(words: &WordCounts, most: u64) -> Result<()> {
    let mut counts = vec![0u64; 1 << 16];
    for (piece, count) in words.iter() {
        for pair in piece.as_bytes().windows(2) {
            let pair = usize::from(pair[0]) << 8 | usize::from(pair[1]);
            counts[pair] = counts[pair].saturating_add(count);
        }
    }
    let (pair, &count) = counts.iter().enumerate().max_by_key(|(_, count)| **count).expect("65536");
    if count <= most {
        return Ok(());
    }
    let pair = String::from_utf8_lossy(&[(pair >> 8) as u8, pair as u8]).into_owned();
    let share = (count / most + 1) * 2;
    let message = format!(
        "the pair {pair:?} occurs {count} times; the trainer counts to {most} and would learn \
         wrong merges"
    );
    let hint = format!("train on a part: `--limit-documents` with about 1/{share} of them");
    Err(Error::failed(message).with_hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::size::Count;

    #[test]
    fn a_pair_that_the_trainer_cannot_count_is_an_error() {
        let mut words = WordCounts::default();
        words.add("the", 1 << 30);
        words.add(" the", 1 << 30);
        assert!(check_pair_counts(&words, PAIR_COUNT_MAX).is_err());
        words = WordCounts::default();
        words.add("the", PAIR_COUNT_MAX);
        words.add("aaa", PAIR_COUNT_MAX / 2);
        check_pair_counts(&words, PAIR_COUNT_MAX).unwrap();
        words.add("aa", 2);
        let error = check_pair_counts(&words, PAIR_COUNT_MAX).unwrap_err();
        assert!(error.hint().unwrap().contains("--limit-documents"), "{error}");
    }

    #[test]
    fn special_tokens_come_first_then_the_bytes_then_merges() {
        let mut words = WordCounts::default();
        words.add("ab", 3);
        words.add("abc", 2);
        let config = TokenizerConfig { vocab: Some(Count(259)), ..TokenizerConfig::default() };
        let file = learn(&words, &config.resolve().unwrap()).unwrap();
        let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
        let vocabulary = &file["model"]["vocab"];
        assert_eq!(vocabulary["<|endoftext|>"], 0);
        assert_eq!(vocabulary["!"], 1);
        assert_eq!(vocabulary["Ġ"], 221);
        assert_eq!(vocabulary["ab"], 257);
        assert_eq!(vocabulary["abc"], 258);
        assert_eq!(file["model"]["merges"], serde_json::json!([["a", "b"], ["ab", "c"]]));
    }
}
