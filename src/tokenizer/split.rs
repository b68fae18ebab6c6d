//! Cuts a document into the pieces that byte-pair merges never cross.
//!
//! Text in → pieces out, in order, covering every byte. A piece is a match of the split pattern,
//! or the text between two matches (the `Isolated` behaviour of Hugging Face's `Split`).
//! Method: the same regular expression engine as the `tokenizers` crate (Oniguruma), called on the
//! text itself: the crate's own pre-tokenizer keeps two offsets a byte, which costs five times the
//! time and fifty bytes a byte. Its limit on backtracking, which panics on 10 MB of spaces, is
//! lifted: both named patterns are linear there. Cost: about 20 MB/s a core, a stack of some tens
//! of bytes for each character of a run of white space.

use crate::base::error::{Error, Result};
use onig::{MatchParam, Regex, Region, SearchOptions};

/// The GPT-4 style pattern as Hugging Face files spell it; Llama-3's is identical
/// (`meta-llama/Meta-Llama-3-8B`, `tokenizer.json`).
pub const CL100K: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// GPT-2's pattern (`openai/gpt-2`, `src/encoder.py`), which `ByteLevel` applies by itself.
pub const GPT2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The Unicode version of the engine's `\p{…}` tables; a test holds it to their sizes.
pub const UNICODE_VERSION: &str = "16.0.0";

/// Patterns that go by a name.
const NAMED: [(&str, &str); 2] = [("cl100k", CL100K), ("gpt2", GPT2)];

/// The regular expression that `name_or_regex` stands for: a known name's, else itself.
///
/// # Errors
/// [`Error::Config`] for a word that is neither a known name nor looks like a pattern.
pub fn regex_of(name_or_regex: &str) -> Result<&str> {
    if let Some((_, regex)) = NAMED.iter().find(|(name, _)| *name == name_or_regex) {
        return Ok(regex);
    }
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name_or_regex.chars().all(is_bare) {
        let names: Vec<String> = NAMED.iter().map(|(name, _)| format!("`{name}`")).collect();
        let message = format!("unknown split pattern `{name_or_regex}`");
        let hint = format!("name one of {}, or write a regular expression", names.join(", "));
        return Err(Error::config(message).with_hint(hint));
    }
    Ok(name_or_regex)
}

/// A compiled split pattern.
#[derive(Debug)]
pub struct Splitter {
    regex: Regex,
}

impl Splitter {
    /// Compiles a regular expression (Oniguruma's syntax).
    ///
    /// # Errors
    /// [`Error::Config`] with the engine's reason.
    pub fn new(regex: &str) -> Result<Splitter> {
        let compiled = Regex::new(regex).map_err(|error| {
            let message = format!("the split pattern is no regular expression: {error}");
            Error::config(message).with_hint(format!("check `pattern`: {regex}"))
        })?;
        Ok(Splitter { regex: compiled })
    }

    /// Calls `visit` with each piece of `text`, in order; none is empty.
    ///
    /// # Errors
    /// [`Error::Failed`] where the engine gives up (its memory), and whatever `visit` returns.
    pub fn pieces<'t>(
        &self,
        text: &'t str,
        mut visit: impl FnMut(&'t str) -> Result<()>,
    ) -> Result<()> {
        let mut region = Region::new();
        let mut from = 0; // where the next search begins
        let mut done = 0; // end of the last piece
        while from <= text.len() {
            let Some((start, end)) = self.find(text, from, &mut region)? else { break };
            if start > done {
                visit(&text[done..start])?;
            }
            if end > start {
                visit(&text[start..end])?;
                from = end;
            } else {
                // An empty match cuts but holds nothing; step over one character.
                from = end + text[end..].chars().next().map_or(1, char::len_utf8);
            }
            done = end;
        }
        if done < text.len() {
            visit(&text[done..])?;
        }
        Ok(())
    }

    fn find(&self, text: &str, from: usize, region: &mut Region) -> Result<Option<(usize, usize)>> {
        let mut limits = MatchParam::default();
        limits.set_retry_limit_in_match(0); // 0 = none
        region.clear();
        let options = SearchOptions::SEARCH_OPTION_NONE;
        let found =
            self.regex.search_with_param(text, from, text.len(), options, Some(region), limits);
        match found {
            Ok(Some(_)) => Ok(region.pos(0)),
            Ok(None) => Ok(None),
            Err(error) => {
                let message = format!(
                    "the split pattern gave up at byte {from} of a document of {} bytes: {error}",
                    text.len()
                );
                Err(Error::failed(message).with_hint("lower `max_document_bytes`"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::tokenizer::{
        OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
    };

    fn ours(regex: &str, text: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        let splitter = Splitter::new(regex).unwrap();
        splitter
            .pieces(text, |piece| {
                pieces.push(piece.to_owned());
                Ok(())
            })
            .unwrap();
        pieces
    }

    fn reference(regex: &str, text: &str) -> Vec<String> {
        let pattern = SplitPattern::Regex(regex.to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap();
        let mut document = PreTokenizedString::from(text);
        split.pre_tokenize(&mut document).unwrap();
        let splits = document.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(piece, _, _)| piece.to_owned()).collect()
    }

    #[test]
    fn a_gpt4_style_cut_keeps_contractions_and_line_ends_apart() {
        let pieces = ours(CL100K, "I'm  (word)\n\n  12345");
        assert_eq!(pieces, ["I", "'m", " ", " (", "word", ")\n\n", " ", " ", "123", "45"]);
    }

    #[test]
    fn ten_million_spaces_are_two_pieces_at_most() {
        let text = " ".repeat(10_000_000) + "x";
        assert_eq!(ours(CL100K, &text).len(), 2);
        assert_eq!(ours(GPT2, &text).len(), 2);
    }

    #[test]
    fn the_engine_knows_the_letters_and_numbers_of_the_declared_unicode_version() {
        // Unicode 16: DerivedGeneralCategory.txt, L* and N*.
        for (class, count) in [(r"\p{L}", 141_028), (r"\p{N}", 1_911), (r"\s", 25)] {
            let regex = Regex::new(class).unwrap();
            let known =
                ('\0'..=char::MAX).filter(|c| regex.is_match(c.encode_utf8(&mut [0; 4]))).count();
            assert_eq!(known, count, "{class} in Unicode {UNICODE_VERSION}");
        }
    }

    #[test]
    fn a_word_that_is_no_known_pattern_is_refused_with_the_names() {
        let error = regex_of("llama9").unwrap_err();
        assert!(error.hint().unwrap().contains("`cl100k`"), "{error}");
        assert_eq!(regex_of("gpt2").unwrap(), GPT2);
        assert_eq!(regex_of(r"\w+|\W").unwrap(), r"\w+|\W");
        assert!(Splitter::new("(").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn pieces_are_those_of_the_tokenizers_crate(
            text in r"[ \n\r\ta-c'1.éſs/S\u{3000}\u{301}\u{a0}\u{85}語½<|>]{0,40}",
            regex in prop::sample::select(vec![CL100K, GPT2, r"\w+|x*", r"\s+"]),
        ) {
            let pieces = ours(regex, &text);
            prop_assert_eq!(pieces.concat(), text.clone());
            prop_assert_eq!(pieces, reference(regex, &text));
        }
    }
}
