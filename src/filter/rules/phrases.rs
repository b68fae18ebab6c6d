//! Whether a text may contain one of some phrases, in any mix of upper and lower case.
//!
//! In: phrases of lower-case ASCII letters and spaces; a text. Out: false only if the text in lower
//! case contains none of them. Method: setting bit 0x20 of each byte turns upper case to lower case
//! and leaves spaces; other bytes that it turns into letters can only raise a false alarm. The
//! Kelvin sign, the only other character whose lower case (`k`) occurs in a phrase, is an alarm by
//! itself. Invariant: no phrase that `str.lower` would show is missed. Cost: one search a phrase at
//! memory speed, in blocks that stay in the cache.

use memchr::memmem::{self, Finder};

/// Phrases to look for.
pub struct Phrases {
    finders: Vec<Finder<'static>>,
    longest: usize,
}

const BLOCK: usize = 1 << 14;

impl Phrases {
    /// A search for these phrases, of lower-case letters and spaces.
    pub fn new(phrases: &[&str]) -> Phrases {
        Phrases {
            finders: phrases.iter().map(|phrase| Finder::new(phrase).into_owned()).collect(),
            longest: phrases.iter().map(|phrase| phrase.len()).max().unwrap_or(1),
        }
    }

    /// Whether `text` in lower case may hold one.
    pub fn may_be_in(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let mut block = [0; BLOCK];
        let mut start = 0;
        while start < bytes.len() {
            let end = (start + BLOCK).min(bytes.len());
            let small = &mut block[..end - start];
            small.iter_mut().zip(&bytes[start..end]).for_each(|(to, from)| *to = from | 0x20);
            if self.finders.iter().any(|finder| finder.find(small).is_some()) {
                return true;
            }
            // Blocks overlap, so that no phrase is split between two.
            start = if end == bytes.len() { end } else { end + 1 - self.longest };
        }
        !text.is_ascii() && memmem::find(bytes, "\u{212a}".as_bytes()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_found_in_any_capitals_and_across_blocks() {
        let phrases = Phrases::new(&["use cookies", "javascript"]);
        assert!(phrases.may_be_in("We USE Cookies") && phrases.may_be_in("JavaScript"));
        assert!(!phrases.may_be_in("We use cook books of java scripts"));
        assert!(phrases.may_be_in("coo\u{212a}ies"));
        for before in BLOCK - 12..BLOCK + 2 {
            let text = "x".repeat(before) + "Use Cookies" + &"y".repeat(BLOCK);
            assert!(phrases.may_be_in(&text), "{before}");
        }
    }
}
