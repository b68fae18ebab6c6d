//! Lower case as Python's `str.lower`.
//!
//! In: a string. Out: its lower case, appended to the caller's. Method: Unicode's simple mappings
//! with the two full ones that Python applies (CPython `Objects/unicodeobject.c`): `İ` becomes `i`
//! and a combining dot, and a capital sigma that ends a word becomes `ς` (Final_Sigma).
//! Invariants: no language tailoring; characters without a small letter stand as they are.
//! Cost: linear; a run of characters around a sigma is looked at by the sigmas beside it only.

use super::{Class, LIMIT, tables};

static CASE_IGNORABLE: Class = Class::new(below_limit(tables::CASE_IGNORABLE));
static CASED: Class = Class::new(tables::CASED);
/// The characters that change, so that all others cost one load.
static CAPITAL: Class = Class::new(&spans());

/// The ranges below [`LIMIT`]; tags and variation selectors above it are found by comparison.
const fn below_limit(ranges: &[(u32, u32)]) -> &[(u32, u32)] {
    let mut count = ranges.len();
    while count > 0 && ranges[count - 1].1 as usize >= LIMIT {
        count -= 1;
    }
    ranges.split_at(count).0
}

/// Each run of [`tables::LOWER`] as a range; a run with step 2 also covers the small letters
/// between its capitals, which `small_letter` sorts out.
const fn spans() -> [(u32, u32); tables::LOWER.len()] {
    let mut ranges = [(0, 0); tables::LOWER.len()];
    let mut index = 0;
    while index < ranges.len() {
        ranges[index] = (tables::LOWER[index].0, tables::LOWER[index].1);
        index += 1;
    }
    ranges
}

/// Appends the lower case of `text` to `output`, equal to Python's `text.lower()`.
pub fn lower(text: &str, output: &mut String) {
    output.reserve(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let ascii = rest.bytes().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
        let (plain, other) = rest.split_at(ascii);
        let start = output.len();
        output.push_str(plain);
        output[start..].make_ascii_lowercase();
        rest = other;
        while let Some(char) = rest.chars().next().filter(|char| !char.is_ascii()) {
            let at = text.len() - rest.len();
            rest = &rest[char.len_utf8()..];
            match char {
                'İ' => output.push_str("i\u{307}"),
                'Σ' if ends_word(&text[..at], rest) => output.push('ς'),
                _ => output.push(small_letter(char)),
            }
        }
    }
}

/// Final_Sigma of the Unicode standard (section 3.13): a cased letter before, none after, each
/// looked for across characters that case ignores.
fn ends_word(before: &str, after: &str) -> bool {
    let cased = |char: Option<char>| char.is_some_and(|char| CASED.contains(char));
    cased(before.chars().rev().find(|&char| !is_case_ignorable(char)))
        && !cased(after.chars().find(|&char| !is_case_ignorable(char)))
}

fn is_case_ignorable(char: char) -> bool {
    let code = char as u32;
    CASE_IGNORABLE.contains(char)
        || code as usize >= LIMIT
            && tables::CASE_IGNORABLE.iter().rev().take(8).any(|&(a, b)| a <= code && code <= b)
}

/// The character's simple lower-case mapping, itself if it has none.
fn small_letter(char: char) -> char {
    if !CAPITAL.contains(char) {
        return char;
    }
    let code = char as u32;
    let index = tables::LOWER.partition_point(|&(_, last, _, _)| last < code);
    let (first, _, step, distance) = tables::LOWER[index];
    if !(code - first).is_multiple_of(step) {
        return char;
    }
    char::from_u32(code.wrapping_add_signed(distance)).expect("a small letter is a scalar value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lowered(text: &str) -> String {
        let mut output = String::new();
        lower(text, &mut output);
        output
    }

    #[test]
    fn unicode_16_has_1460_characters_that_change() {
        let changed =
            ('\0'..=char::MAX).filter(|&char| lowered(&char.to_string()) != char.to_string());
        assert_eq!(changed.count(), 1460);
    }

    #[test]
    fn tags_and_variation_selectors_are_ignored_around_a_sigma() {
        assert_eq!(lowered("ΑΣ\u{E0100}"), "ας\u{E0100}");
        assert_eq!(lowered("ΑΣ\u{E0100}Β"), "ασ\u{E0100}β");
        assert_eq!(lowered("\u{E0001}Σ"), "\u{E0001}σ");
        assert!(is_case_ignorable('\u{E0020}') && !is_case_ignorable('\u{E0002}'));
    }

    #[test]
    fn a_megabyte_of_sigmas_and_marks_is_linear() {
        let text = "Σ:".repeat(300_000) + "Σ" + &":".repeat(1_000_000) + "Σ";
        assert_eq!(lowered(&text).len(), text.len());
    }

    proptest! {
        #[test]
        fn lower_case_appends_and_is_stable(text in "\\PC{0,40}", before in "\\PC{0,5}") {
            let mut output = before.clone();
            lower(&text, &mut output);
            prop_assert_eq!(&output, &(before + &lowered(&text)));
            let once = lowered(&text);
            prop_assert_eq!(lowered(&once), once);
        }
    }
}
