//! What a character is to the rules: one word of class bits.
//!
//! In: a character. Out: the union of [`super::classes`]' bits that hold for it. Method: the runs
//! are spread into pages of 256 code points, equal pages kept once. Invariant: fixed tables; spaCy
//! lists its characters one by one, so only categories depend on a Unicode version (16.0.0).
//! Cost: two loads a character; about 120 pages of 512 bytes, built in well under a millisecond.

use super::classes::{LIMIT, RUNS};

/// Code points on a page.
const PAGE: usize = 256;

/// The class bits of every character.
pub struct Characters {
    /// For each page of code points, where its bits lie.
    index: Vec<u16>,
    pages: Vec<[u16; PAGE]>,
}

impl Characters {
    /// Spreads the tables.
    pub fn new() -> Characters {
        let mut flat = vec![0u16; LIMIT];
        for &(first, last, classes) in RUNS {
            flat[first as usize..=last as usize].fill(classes);
        }
        let mut pages: Vec<[u16; PAGE]> = Vec::new();
        let (wanted, _) = flat.as_chunks::<PAGE>();
        let place = |page: &[u16; PAGE]| {
            let found = pages.iter().position(|kept| kept == page);
            found.unwrap_or_else(|| {
                pages.push(*page);
                pages.len() - 1
            }) as u16
        };
        let index = wanted.iter().map(place).collect();
        Characters { index, pages }
    }

    /// The bits of `char`; none beyond the tables.
    #[inline]
    pub fn of(&self, char: char) -> u16 {
        let code = char as usize;
        self.index.get(code / PAGE).map_or(0, |&page| self.pages[page as usize][code % PAGE])
    }

    /// Whether `char` is in one of `classes`.
    #[inline]
    pub fn is(&self, char: Option<char>, classes: u16) -> bool {
        char.is_some_and(|char| self.of(char) & classes != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::classes::*;
    use super::*;

    #[test]
    fn every_run_is_found_and_nothing_else() {
        let characters = Characters::new();
        let mut runs = RUNS.iter().peekable();
        for char in '\0'..=char::MAX {
            let code = char as u32;
            while runs.next_if(|run| run.1 < code).is_some() {}
            let expected = runs.peek().filter(|run| run.0 <= code).map_or(0, |run| run.2);
            assert_eq!(characters.of(char), expected, "{char:?}");
        }
        assert!(characters.pages.len() < 130, "{}", characters.pages.len());
    }

    #[test]
    fn classes_hold_what_the_rules_say() {
        let characters = Characters::new();
        let is = |char, class| characters.is(Some(char), class);
        assert!(is('§', PREFIX) && !is('§', SUFFIX) && is('…', SUFFIX) && !is('.', PREFIX));
        assert!(is('%', DOT_LEFT) && is('(', DOT_LEFT) && is('a', DOT_LEFT) && !is('A', DOT_LEFT));
        assert!(is('日', LOWER) && is('日', UPPER) && !is('ẍ', UPPER) && is('☃', ICON));
        assert!(is('。', SENTENCE_END) && !is('…', SENTENCE_END) && is('…', PUNCTUATION));
        assert!(is('٣', DIGIT) && !is('²', DIGIT) && is('€', CURRENCY) && !characters.is(None, !0));
    }
}
