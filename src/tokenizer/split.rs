//! Cuts a document into the pieces that byte-pair merges never cross.
//!
//! Text in → pieces out, in order. A pattern is a list of [`Cut`]s, each applied to the pieces of
//! the one before. The patterns of published vocabularies have a scanner of their own
//! ([`native`], `bpe::pattern`); a user's goes to the regular expression engine of the `tokenizers`
//! crate (Oniguruma), called on the text itself: the crate's own pre-tokenizer keeps two offsets a
//! byte, which costs five times the time and fifty bytes a byte. The engine's limit on
//! backtracking, which panics on 10 MB of spaces, is lifted. Cost of the engine: about 20 MB/s a
//! core, a stack of some tens of bytes for each character of a run of white space.

use onig::{MatchParam, Regex, Region, SearchOptions};

use super::bpe::classes;
pub use super::bpe::pattern::{CL100K, GPT2, O200K, Pattern, QWEN2};
use crate::base::error::{Error, Result};

/// One way of cutting; a pattern is one or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Each match, and each text between matches, is a piece (`Split`, `Isolated`).
    Regex(String),
    /// Each match is a piece, and what lies between is dropped (`Split`, `Removed`, inverted).
    Matches(String),
    /// Each number character alone, or each run of them, is a piece (`Digits`).
    Digits { individual: bool },
}

/// Patterns that go by a name: those of GPT-4 and Llama 3, GPT-2, Qwen 2, GPT-4o, SmolLM.
pub const NAMES: [&str; 6] = ["cl100k", "llama3", "gpt2", "qwen2", "o200k", "smollm"];

/// The cuts of a known name; any other `name_or_regex` is one cut by that regular expression.
///
/// # Errors
/// [`Error::Config`] for a word that is neither a known name nor looks like a pattern.
pub fn cuts_of(name_or_regex: &str) -> Result<Vec<Cut>> {
    let regex = match name_or_regex {
        "cl100k" | "llama3" => CL100K,
        "gpt2" => GPT2,
        "qwen2" => QWEN2,
        "o200k" => O200K,
        "smollm" => {
            return Ok(vec![Cut::Digits { individual: true }, Cut::Regex(GPT2.to_owned())]);
        }
        regex => regex,
    };
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if regex.chars().all(is_bare) {
        let names: Vec<String> = NAMES.iter().map(|name| format!("`{name}`")).collect();
        let message = format!("unknown split pattern `{name_or_regex}`");
        let hint = format!("name one of {}, or write a regular expression", names.join(", "));
        return Err(Error::config(message).with_hint(hint));
    }
    Ok(vec![Cut::Regex(regex.to_owned())])
}

/// The pattern with a scanner of its own that cuts exactly as `cuts` do.
pub fn native(cuts: &[Cut]) -> Option<Pattern> {
    match cuts {
        // Every character is part of a match of these, so there is nothing between to drop.
        [Cut::Regex(regex) | Cut::Matches(regex)] => Pattern::from_regex(regex),
        [Cut::Digits { individual: true }, Cut::Regex(regex)] if regex == GPT2 => {
            Some(Pattern::Gpt2Digits)
        }
        _ => None,
    }
}

/// Compiled cuts.
#[derive(Debug)]
pub struct Splitter {
    cuts: Vec<Compiled>,
}

#[derive(Debug)]
enum Compiled {
    Regex { regex: Regex, keep_between: bool },
    Digits { individual: bool },
}

/// Called with each piece.
type Visit<'v, 't> = &'v mut dyn FnMut(&'t str) -> Result<()>;

impl Splitter {
    /// Compiles the regular expressions (Oniguruma's syntax).
    ///
    /// # Errors
    /// [`Error::Config`] with the engine's reason.
    pub fn new(cuts: &[Cut]) -> Result<Splitter> {
        let compile = |regex: &str, keep_between| {
            let compiled = Regex::new(regex).map_err(|error| {
                let message = format!("the split pattern is no regular expression: {error}");
                Error::config(message).with_hint(format!("check `pattern`: {regex}"))
            })?;
            Ok(Compiled::Regex { regex: compiled, keep_between })
        };
        let cuts = cuts.iter().map(|cut| match cut {
            Cut::Regex(regex) => compile(regex, true),
            Cut::Matches(regex) => compile(regex, false),
            Cut::Digits { individual } => Ok(Compiled::Digits { individual: *individual }),
        });
        Ok(Splitter { cuts: cuts.collect::<Result<Vec<Compiled>>>()? })
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
        through(&self.cuts, text, &mut visit)
    }
}

/// Sends `text` through the cuts, the pieces of each through the next.
fn through<'t>(cuts: &[Compiled], text: &'t str, visit: Visit<'_, 't>) -> Result<()> {
    let Some((cut, rest)) = cuts.split_first() else {
        return if text.is_empty() { Ok(()) } else { visit(text) };
    };
    let mut next = |piece: &'t str| through(rest, piece, visit);
    match cut {
        Compiled::Regex { regex, keep_between } => by_regex(regex, *keep_between, text, &mut next),
        Compiled::Digits { individual } => by_digits(*individual, text, &mut next),
    }
}

fn by_regex<'t>(
    regex: &Regex,
    keep_between: bool,
    text: &'t str,
    visit: Visit<'_, 't>,
) -> Result<()> {
    let mut region = Region::new();
    let mut from = 0; // where the next search begins
    let mut done = 0; // end of the last piece
    while from <= text.len() {
        let Some((start, end)) = find(regex, text, from, &mut region)? else { break };
        if start > done && keep_between {
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
    if done < text.len() && keep_between { visit(&text[done..]) } else { Ok(()) }
}

fn find(
    regex: &Regex,
    text: &str,
    from: usize,
    region: &mut Region,
) -> Result<Option<(usize, usize)>> {
    let mut limits = MatchParam::default();
    limits.set_retry_limit_in_match(0); // 0 = none
    region.clear();
    let options = SearchOptions::SEARCH_OPTION_NONE;
    match regex.search_with_param(text, from, text.len(), options, Some(region), limits) {
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

fn by_digits<'t>(individual: bool, text: &'t str, visit: Visit<'_, 't>) -> Result<()> {
    let mut done = 0;
    let mut in_number = false;
    for (at, character) in text.char_indices() {
        let is_number = classes::is_number(character);
        let begins = is_number != in_number || (is_number && individual);
        if begins && at > done {
            visit(&text[done..at])?;
            done = at;
        }
        in_number = is_number;
    }
    if done < text.len() { visit(&text[done..]) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::digits::Digits;
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::tokenizer::{
        OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
    };

    fn ours(regex: &str, text: &str) -> Vec<String> {
        pieces(&[Cut::Regex(regex.to_owned())], text)
    }

    fn pieces(cuts: &[Cut], text: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        let splitter = Splitter::new(cuts).unwrap();
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
            assert_eq!(known, count, "{class} in Unicode {}", classes::UNICODE_VERSION);
        }
    }

    #[test]
    fn a_word_that_is_no_known_pattern_is_refused_with_the_names() {
        let error = cuts_of("llama9").unwrap_err();
        assert!(error.hint().unwrap().contains("`cl100k`"), "{error}");
        assert_eq!(cuts_of(r"\w+|\W").unwrap(), [Cut::Regex(r"\w+|\W".into())]);
        assert!(Splitter::new(&[Cut::Regex("(".into())]).is_err());
    }

    #[test]
    fn every_named_pattern_has_a_scanner() {
        for name in NAMES {
            assert!(native(&cuts_of(name).unwrap()).is_some(), "{name}");
        }
        assert_eq!(native(&cuts_of(r"\w+|\W").unwrap()), None);
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

        #[test]
        fn digits_are_cut_as_the_tokenizers_crate_does(
            text in r"[ a1٣½Ⅷ五.]{0,20}", individual: bool
        ) {
            let mut document = PreTokenizedString::from(text.as_str());
            Digits::new(individual).pre_tokenize(&mut document).unwrap();
            let splits = document.get_splits(OffsetReferential::Original, OffsetType::Byte);
            let theirs: Vec<&str> = splits.iter().map(|(piece, _, _)| *piece).collect();
            let theirs: Vec<&str> = theirs.into_iter().filter(|piece| !piece.is_empty()).collect();
            prop_assert_eq!(pieces(&[Cut::Digits { individual }], &text), theirs);
        }
    }
}
