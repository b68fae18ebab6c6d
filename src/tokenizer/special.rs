//! Finds out whether a text spells a special token.
//!
//! Text in → yes or no. Such text stays text (it is encoded by its characters), but a corpus that
//! quotes `<|endoftext|>` is worth knowing. Method: tokens are grouped by first byte; a vectorised
//! search for what each group begins with, then a comparison with its members. Cost: one pass at
//! memory speed for each first byte, of which real vocabularies have one or two.

use std::collections::BTreeMap;

use memchr::memmem::Finder;

/// The special tokens of one tokenizer, ready to be searched for.
#[derive(Debug)]
pub struct SpecialTexts {
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    common: Finder<'static>,
    tokens: Vec<Vec<u8>>,
}

impl SpecialTexts {
    /// For the given tokens; empty ones count for nothing.
    pub fn new(tokens: &[String]) -> SpecialTexts {
        let mut by_first: BTreeMap<u8, Vec<Vec<u8>>> = BTreeMap::new();
        for token in tokens {
            if let Some(&first) = token.as_bytes().first() {
                by_first.entry(first).or_default().push(token.clone().into_bytes());
            }
        }
        let groups = by_first.into_values().map(|tokens| {
            let shared = tokens.iter().skip(1).fold(tokens[0].len(), |length, token| {
                let pairs = tokens[0][..length].iter().zip(token);
                pairs.take_while(|(one, other)| one == other).count()
            });
            Group { common: Finder::new(&tokens[0][..shared]).into_owned(), tokens }
        });
        SpecialTexts { groups: groups.collect() }
    }

    /// Whether any of the tokens occurs in `text`.
    pub fn occur_in(&self, text: &str) -> bool {
        let text = text.as_bytes();
        self.groups.iter().any(|group| {
            let mut places = group.common.find_iter(text);
            places.any(|at| group.tokens.iter().any(|token| text[at..].starts_with(token)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_is_found_wherever_it_stands(
            tokens in prop::collection::vec("[<|a]{1,4}|\\[x\\]", 0..5),
            text in "[<|a\\[\\]xé]{0,30}",
        ) {
            let expected = tokens.iter().any(|token| text.contains(token.as_str()));
            prop_assert_eq!(SpecialTexts::new(&tokens).occur_in(&text), expected);
        }
    }
}
