//! Cuts added tokens out of a text, as Hugging Face's `tokenizers` does.
//!
//! Text in → tokens and the texts between them, in order. Method: leftmost-longest search over all
//! added tokens (Aho-Corasick); then a token's own rules: `single_word` wants no word character
//! beside it, `lstrip` and `rstrip` swallow white space. A match that the rules reject is stepped
//! over whole, without a second try with a shorter token. Reference: `AddedVocabulary` of the crate
//! `tokenizers` 0.23, which reads the file and gives the ids; a property test compares. Cost: one
//! pass at the speed of the search.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};

use super::bpe::classes::is_white;
use crate::base::error::{Error, Result};

/// One added token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedToken {
    pub id: u32,
    /// The text to look for: normalized, if the token is matched in normalized text.
    pub content: String,
    /// Whether it is a control token, whose spelling in a document may be meant as plain text.
    pub special: bool,
    pub single_word: bool,
    pub lstrip: bool,
    pub rstrip: bool,
}

/// What a text is cut into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Token(u32),
    Text(Range<usize>),
}

/// A set of added tokens, compiled for searching.
#[derive(Debug)]
pub struct AddedTokens {
    search: AhoCorasick,
    tokens: Vec<AddedToken>,
    special_is_text: bool,
}

impl AddedTokens {
    /// Compiles the search for `tokens`. `None` when no token can ever be cut out: there are none,
    /// or all of them are special and `special_is_text` is set.
    ///
    /// # Errors
    /// [`Error::Config`] when they are too many to search for.
    pub fn new(tokens: Vec<AddedToken>, special_is_text: bool) -> Result<Option<AddedTokens>> {
        if tokens.iter().all(|token| special_is_text && token.special) {
            return Ok(None);
        }
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(tokens.iter().map(|token| &token.content))
            .map_err(|error| Error::config(format!("too many added tokens: {error}")))?;
        Ok(Some(AddedTokens { search, tokens, special_is_text }))
    }

    /// Calls `visit` with each part of `text`, in order; texts are not empty.
    ///
    /// # Errors
    /// Whatever `visit` returns.
    pub fn parts(&self, text: &str, mut visit: impl FnMut(Part) -> Result<()>) -> Result<()> {
        let mut done = 0;
        for found in self.search.find_iter(text) {
            let token = &self.tokens[found.pattern().as_usize()];
            let (mut start, mut end) = (found.start(), found.end());
            if token.special && self.special_is_text {
                continue;
            }
            if token.single_word && touches_a_word(text, start, end) {
                continue;
            }
            if token.lstrip {
                start = done.max(text[..start].trim_end_matches(is_white).len());
            }
            if token.rstrip {
                end = text.len() - text[end..].trim_start_matches(is_white).len();
            }
            if start >= end {
                // The token before has swallowed all the white space that this match covers.
                continue;
            }
            if done < start {
                visit(Part::Text(done..start))?;
            }
            visit(Part::Token(token.id))?;
            done = end;
        }
        if done < text.len() { visit(Part::Text(done..text.len())) } else { Ok(()) }
    }
}

fn touches_a_word(text: &str, start: usize, end: usize) -> bool {
    let before = text[..start].chars().next_back();
    let after = text[end..].chars().next();
    before.into_iter().chain(after).any(is_word)
}

/// `\w` of the crate `regex`, whose tables are Unicode 16's.
fn is_word(character: char) -> bool {
    regex_syntax::try_is_word_character(character).expect("its Unicode tables are compiled in")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn token(id: u32, content: &str) -> AddedToken {
        AddedToken {
            id,
            content: content.into(),
            special: false,
            single_word: false,
            lstrip: false,
            rstrip: false,
        }
    }

    fn parts(tokens: &AddedTokens, text: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        let push = |part| {
            parts.push(part);
            Ok(())
        };
        tokens.parts(text, push).unwrap();
        parts
    }

    #[test]
    fn special_tokens_may_stay_text() {
        let special = AddedToken { special: true, ..token(7, "<s>") };
        assert!(AddedTokens::new(vec![special.clone()], true).unwrap().is_none());
        let tokens =
            AddedTokens::new(vec![special.clone(), token(8, "ab")], true).unwrap().unwrap();
        assert_eq!(parts(&tokens, "<s>ab"), [Part::Text(0..3), Part::Token(8)]);
        let tokens = AddedTokens::new(vec![special], false).unwrap().unwrap();
        assert_eq!(parts(&tokens, "a<s>"), [Part::Text(0..1), Part::Token(7)]);
    }

    /// The crate's own answer, for a model whose tokens are the bytes. `None` where the crate
    /// panics: the match lies in white space that the token before has swallowed, so with `lstrip`
    /// it would begin after its own end.
    fn reference(tokens: &[AddedToken], special_is_text: bool, text: &str) -> Option<Vec<u32>> {
        let added: Vec<_> = tokens
            .iter()
            .map(|token| {
                json!({"id": token.id, "content": token.content, "special": token.special,
                "single_word": token.single_word, "lstrip": token.lstrip, "rstrip": token.rstrip,
                "normalized": false})
            })
            .collect();
        let vocab: serde_json::Map<_, _> = super::super::alphabet::characters()
            .enumerate()
            .map(|(id, character)| (character.to_string(), id.into()))
            .collect();
        let file = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": null, "post_processor": null, "decoder": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
                "trim_offsets": true, "use_regex": false},
            "model": {"type": "BPE", "vocab": vocab, "merges": []},
        });
        let bytes = serde_json::to_vec(&file).unwrap();
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes).unwrap();
        tokenizer.set_encode_special_tokens(special_is_text);
        let encode = || tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec();
        catch_unwind(AssertUnwindSafe(encode)).ok()
    }

    fn added() -> impl Strategy<Value = Vec<AddedToken>> {
        let one = ("[ab<é ]{1,3}", any::<[bool; 4]>());
        prop::collection::btree_map("[ab<é ]{1,3}", one, 1..5).prop_map(|tokens| {
            let numbered = tokens.into_iter().enumerate();
            numbered
                .map(|(index, (content, (_, [special, single_word, lstrip, rstrip])))| AddedToken {
                    id: 256 + index as u32,
                    content,
                    special,
                    single_word,
                    lstrip,
                    rstrip,
                })
                // A token of one character would be the name of a byte and take that byte's id.
                .filter(|token| token.content.chars().count() > 1)
                .enumerate()
                .map(|(index, token)| AddedToken { id: 256 + index as u32, ..token })
                .collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn parts_are_those_of_the_tokenizers_crate(
            tokens in added(), special_is_text: bool, text in "[ab<é \u{3000}\u{301}]{0,20}"
        ) {
            let expected = reference(&tokens, special_is_text, &text);
            let mut ids = Vec::new();
            match AddedTokens::new(tokens, special_is_text).unwrap() {
                None => ids.extend(text.bytes().map(u32::from)),
                Some(tokens) => for part in parts(&tokens, &text) {
                    match part {
                        Part::Token(id) => ids.push(id),
                        Part::Text(range) => ids.extend(text[range].bytes().map(u32::from)),
                    }
                },
            }
            if let Some(expected) = expected {
                prop_assert_eq!(ids, expected);
            }
        }
    }
}
