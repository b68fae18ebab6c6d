//! The one text form that both methods compare: NFC, lower-cased.
//!
//! In → a document's text; out → the same in Unicode normalization form C, lower-cased as Python's
//! `str.lower` does. Exact duplicates and shingles both start from this form, so equal documents
//! of the first kind always have a Jaccard of 1 in the second, and "é" is one letter however it
//! was typed (decomposed, its accent is no `\w` and would cut the word in two).
//!
//! Cost: two passes over the text, none allocating once the buffers have grown; text that is
//! in NFC already (nearly all is) is not copied for it.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use crate::text;

/// Buffers for one thread.
#[derive(Default)]
pub struct Normalizer {
    composed: String,
    lowered: String,
}

impl Normalizer {
    /// NFC, then lower case. The result lives until the next call.
    pub fn normalize(&mut self, text: &str) -> &str {
        let composed = if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
            text
        } else {
            self.composed.clear();
            self.composed.extend(text.nfc());
            &self.composed
        };
        self.lowered.clear();
        text::lower(composed, &mut self.lowered);
        &self.lowered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composed_and_decomposed_text_become_one() {
        let mut normalizer = Normalizer::default();
        let composed = normalizer.normalize("Caf\u{e9} ÅNGSTRÖM").to_owned();
        assert_eq!(composed, normalizer.normalize("CAFE\u{301} A\u{30a}ngstro\u{308}m"));
        assert_eq!(composed, "caf\u{e9} ångström");
        assert_eq!(normalizer.normalize(""), "");
    }
}
