//! A vocabulary's files from the words it is learned from.
//!
//! Words and counts in → [`Vocabulary`], the merges of the largest size asked for, which gives the
//! files of any size up to it. Method: [`super::bpe::learn`], whose merges are those of the Python
//! package; fewer merges are a prefix of more, so one training serves all sizes. Values in, values
//! out.

use super::bpe::learn::{self, LearnSettings, WordTape};
use super::config::{Alphabet, TokenizerConfig};
use super::count::{Counter, Cutter};
use super::format::{self, VocabularyFile};
use super::split::{self, Cut};
use crate::base::error::Result;

/// Bytes of memory that learning takes.
pub use super::bpe::learn::memory;

/// What was learned.
pub struct Vocabulary {
    /// Each id's name in the file, merges apart.
    names: Vec<String>,
    special: Vec<String>,
    merges: Vec<(u32, u32, u32)>,
    cuts: Vec<Cut>,
}

impl Vocabulary {
    /// Learns the largest of the sizes asked for. `progress` is given the number of merges done.
    ///
    /// # Errors
    /// What `progress` gives.
    pub fn learn(
        words: WordTape,
        config: &TokenizerConfig,
        cuts: Vec<Cut>,
        progress: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vocabulary> {
        let settings = LearnSettings {
            vocabulary: config.sizes().last().copied().unwrap_or(0) as usize,
            special_tokens: config.special_tokens.clone(),
            min_frequency: config.min_frequency,
            max_token_length: config.max_token_length.map(|length| length as usize),
            seen_bytes_only: config.initial_alphabet == Alphabet::Seen,
        };
        let names = learn::initial_names(&words, &settings);
        let merges = learn::learn(words, &settings, progress)?;
        Ok(Vocabulary { names, special: config.special_tokens.clone(), merges, cuts })
    }

    /// Entries of the vocabulary: `size`, or fewer when the text has no more pairs to merge.
    pub fn entries(&self, size: u64) -> u64 {
        self.cut(size).0.len() as u64
    }

    /// The bytes of the `tokenizer.json` of that size.
    pub fn tokenizer_json(&self, size: u64) -> Vec<u8> {
        let (names, merges) = self.cut(size);
        let (special, cuts) = (&self.special, &self.cuts);
        format::tokenizer_json(&VocabularyFile { names: &names, merges, special, cuts })
    }

    /// The names and merges of a vocabulary of that size, as if the trainer had stopped there.
    fn cut(&self, size: u64) -> (Vec<String>, &[(u32, u32, u32)]) {
        let mut names = self.names.clone();
        let mut kept = 0;
        for &(left, right, made) in &self.merges {
            if names.len() as u64 >= size {
                break;
            }
            kept += 1;
            // A merge that spells a special token takes that one's id.
            if made as usize == names.len() {
                let name = format!("{}{}", names[left as usize], names[right as usize]);
                names.push(name);
            }
        }
        (names, &self.merges[..kept])
    }
}

/// The `tokenizer.json` of the largest size, from texts in memory: what the stage makes of its
/// inputs' texts. For benchmarks and tests.
///
/// # Errors
/// [`crate::base::error::Error::Failed`] where a regular expression gives up, or the words are too
/// many.
pub fn learn_from<'t>(
    texts: impl IntoIterator<Item = &'t str>,
    config: &TokenizerConfig,
) -> Result<Vec<u8>> {
    let cuts = split::cuts_of(&config.pattern)?;
    let cutter = Cutter::new(&cuts, config.sequence)?;
    let mut counter = Counter::new(usize::MAX / 4);
    texts.into_iter().try_for_each(|text| cutter.count(text, &mut counter))?;
    let mut words = WordTape::default();
    counter.for_each(|piece, count| words.push(piece, count))?;
    let vocabulary = Vocabulary::learn(words, config, cuts, &mut |_| Ok(()))?;
    Ok(vocabulary.tokenizer_json(config.sizes().last().copied().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::super::config::VocabSizes;
    use super::super::split::cuts_of;
    use super::*;

    fn learned(sizes: &[u64], words: &[(&str, u64)]) -> Vocabulary {
        let mut all = WordTape::default();
        words.iter().for_each(|(word, count)| all.push(word.as_bytes(), *count).unwrap());
        let config = TokenizerConfig {
            vocab: Some(VocabSizes(sizes.to_vec())),
            ..TokenizerConfig::default()
        };
        let cuts = cuts_of("cl100k").unwrap();
        Vocabulary::learn(all, &config.resolve().unwrap(), cuts, &mut |_| Ok(())).unwrap()
    }

    #[test]
    fn special_tokens_come_first_then_the_bytes_then_merges() {
        let vocabulary = learned(&[259], &[("ab", 3), ("abc", 2)]);
        let file: serde_json::Value =
            serde_json::from_slice(&vocabulary.tokenizer_json(259)).unwrap();
        let names = &file["model"]["vocab"];
        assert_eq!(names["<|endoftext|>"], 0);
        assert_eq!(names["!"], 1);
        assert_eq!(names["Ġ"], 221);
        assert_eq!(names["ab"], 257);
        assert_eq!(names["abc"], 258);
        assert_eq!(file["model"]["merges"], serde_json::json!([["a", "b"], ["ab", "c"]]));
    }

    #[test]
    fn a_smaller_size_is_what_training_it_gives() {
        let words = [("the", 9), ("then", 4), ("other", 5), ("there", 3), ("here", 2)];
        let both = learned(&[259, 263], &words);
        for size in [259, 263] {
            assert_eq!(both.tokenizer_json(size), learned(&[size], &words).tokenizer_json(size));
            assert_eq!(both.entries(size), size);
        }
    }
}
