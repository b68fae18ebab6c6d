//! Prefixes, suffixes and infixes: what is cut off a chunk's ends, and where it is cut within.
//!
//! In: a piece of text without white space. Out: lengths in bytes, or ranges. Method: the three
//! regular expressions of spaCy 3.8 (`lang/punctuation.py`, `lang/en/punctuation.py`) written out
//! as matchers: a prefix is the first alternative that matches (only their first characters
//! differ), a suffix the longest (`$` anchors all, and a search takes the leftmost), infixes are
//! taken from left to right. Look-behinds see only the piece they are given.
//! Invariants: lengths lie on character boundaries. Cost: a prefix or suffix reads a few characters
//! or one run of full stops; infixes read every byte once.

use super::characters::Characters;
use super::classes::*;
use super::exceptions::{CURRENCIES, UNITS};

/// Bytes of the longest unit or currency that ends in ASCII, and of the longest of all.
const LONGEST_ASCII_UNIT: usize = 4;
const LONGEST_UNIT: usize = 10;

/// Bytes that the prefix expression takes off the front of `text`, 0 for none.
pub fn prefix(characters: &Characters, text: &str) -> usize {
    let Some(first) = text.chars().next() else { return 0 };
    if characters.of(first) & PREFIX != 0 {
        return first.len_utf8();
    }
    let bytes = text.as_bytes();
    match first {
        '+' => usize::from(!bytes.get(1).is_some_and(u8::is_ascii_digit)),
        '.' => Some(leading_stops(bytes)).filter(|&run| run > 1).unwrap_or(0),
        'A' | 'C' | 'U' => CURRENCIES.iter().find(|c| text.starts_with(**c)).map_or(0, |c| c.len()),
        _ => 0,
    }
}

/// Bytes that the suffix expression takes off the end of `text`, 0 for none.
pub fn suffix(characters: &Characters, text: &str) -> usize {
    if text.as_bytes().last().is_some_and(u8::is_ascii_digit) {
        return 0;
    }
    let mut back = text.chars().rev();
    let Some(last) = back.next() else { return 0 };
    let before = back.next();
    let own = match last {
        '.' => full_stop(characters, text, before),
        '…' if before == Some('…') => 2 * last.len_utf8(),
        _ if characters.of(last) & SUFFIX != 0 => last.len_utf8(),
        's' | 'S' => before.filter(|b| matches!(b, '\'' | '’')).map_or(0, |b| b.len_utf8() + 1),
        _ => 0,
    };
    own.max(after_digit(characters, text))
}

/// Full stops at the end of `text`, which has one: a run of them, or one after certain characters.
fn full_stop(characters: &Characters, text: &str, before: Option<char>) -> usize {
    let run = text.bytes().rev().take_while(|&byte| byte == b'.').count();
    if run > 1 {
        return run;
    }
    let second = text.chars().rev().nth(2);
    let degrees = matches!(before, Some('F' | 'f' | 'C' | 'c' | 'K' | 'k')) && second == Some('°');
    let capitals = characters.is(before, UPPER) && characters.is(second, UPPER);
    usize::from(characters.is(before, DOT_LEFT) || capitals || degrees)
}

/// A unit, a currency or `+` that stands between a digit and the end.
fn after_digit(characters: &Characters, text: &str) -> usize {
    let bytes = text.as_bytes();
    let ends_in_ascii = bytes.last().is_some_and(u8::is_ascii);
    let longest = if ends_in_ascii { LONGEST_ASCII_UNIT } else { LONGEST_UNIT };
    let reach = bytes.len().saturating_sub(longest + 1);
    let Some(digit) = bytes[reach..].iter().rposition(u8::is_ascii_digit) else { return 0 };
    let tail = &text[reach + digit + 1..];
    let mut chars = tail.chars();
    let sign = chars.next();
    let single = chars.next().is_none() && (sign == Some('+') || characters.is(sign, CURRENCY));
    let by_length = |unit: &&str| (unit.len(), *unit).cmp(&(tail.len(), tail));
    let unit = UNITS.binary_search_by(by_length).is_ok() || CURRENCIES.contains(&tail);
    if single || unit { tail.len() } else { 0 }
}

fn leading_stops(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|&&byte| byte == b'.').count()
}

/// Hands the infixes of `text`, in order, as byte ranges to `each`.
pub fn infixes(characters: &Characters, text: &str, mut each: impl FnMut(usize, usize)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(skipped) = bytes[at..].iter().position(|&byte| MAY_BE_INFIX[byte as usize]) {
        let start = at + skipped;
        let char = text[start..].chars().next().expect("a lead byte is in the table");
        let length = infix(characters, text, start, char);
        if length > 0 {
            each(start, start + length);
        }
        at = start + length.max(char.len_utf8());
    }
}

/// Bytes of the infix that begins with `char` at `start`, 0 for none.
fn infix(characters: &Characters, text: &str, start: usize, char: char) -> usize {
    let after = |length: usize| text[start + length..].chars().next();
    let before = text[..start].chars().next_back();
    let digit_before = before.is_some_and(|before| before.is_ascii_digit());
    let word_before = digit_before || characters.is(before, ALPHA);
    let length = char.len_utf8();
    match char {
        '.' => {
            let run = leading_stops(&text.as_bytes()[start..]);
            let within =
                characters.is(before, LOWER | QUOTE) && characters.is(after(1), UPPER | QUOTE);
            if run > 1 { run } else { usize::from(within) }
        }
        '…' => length,
        '+' | '*' | '^' => usize::from(digit_before && is_digit_or_minus(after(1))),
        '-' if digit_before && is_digit_or_minus(after(1)) => 1,
        ',' => usize::from(characters.is(before, ALPHA) && characters.is(after(1), ALPHA)),
        ':' | '<' | '>' | '=' | '/' => usize::from(word_before && characters.is(after(1), ALPHA)),
        '-' | '–' | '—' | '~' if word_before => hyphens(characters, &text[start..], char),
        _ if characters.of(char) & ICON != 0 => length,
        _ => 0,
    }
}

/// Bytes of the hyphen or dash that opens `text` if a letter follows: `-`, `--`, `---`, `–`, `—`,
/// `——` or `~`, the shortest that does.
fn hyphens(characters: &Characters, text: &str, char: char) -> usize {
    let longest = match char {
        '-' => 3,
        '—' => 2,
        _ => 1,
    };
    let run = text.chars().take(longest).take_while(|&next| next == char).count();
    let length = run * char.len_utf8();
    // No hyphen is a letter, so only the whole run, if not too long, can have a letter after it.
    if characters.is(text[length..].chars().next(), ALPHA) { length } else { 0 }
}

fn is_digit_or_minus(char: Option<char>) -> bool {
    char.is_some_and(|char| char.is_ascii_digit() || char == '-')
}

/// ASCII that can open an infix, and first bytes of everything else.
static MAY_BE_INFIX: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte >= 0xc0
            || matches!(
                byte as u8,
                b'.' | b'+' | b'-' | b'*' | b'^' | b',' | b'~' | b':' | b'<' | b'>' | b'=' | b'/'
            );
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use onig::Regex;
    use proptest::prelude::*;

    /// Characters of every class, and every one that the rules name in ASCII.
    const ALPHABET: &str = "aAkKmsSbBcCFU019.,:;-+*^~=/<>()'\"$%#_…—–’‘°²€日éÉ☃§٣ \u{301}";

    /// The three expressions in spaCy's own form, with classes spelled out for the alphabet.
    struct Expressions {
        prefix: Regex,
        suffix: Regex,
        infix: Regex,
    }

    impl Expressions {
        fn new(characters: &Characters) -> Expressions {
            let class = |bits: u16| {
                let chars = ALPHABET.chars().filter(|char| characters.of(*char) & bits != 0);
                chars.map(|char| format!("\\x{{{:x}}}", char as u32)).collect::<String>()
            };
            let escaped = |texts: &[&str]| texts.join("|").replace('$', r"\$");
            let (alpha, quote) = (class(ALPHA), class(QUOTE));
            let prefix = format!(
                r"\A\+(?![0-9])|\A[{}]|\A\.\.+|\A(?:{})",
                class(PREFIX),
                escaped(CURRENCIES)
            );
            let suffix = [
                format!("[{}]", class(SUFFIX)),
                "……|\\.\\.+|'s|'S|’s|’S|(?<=[0-9])\\+|(?<=°[FfCcKk])\\.".to_owned(),
                format!("(?<=[0-9])(?:[{}]|{})", class(CURRENCY), escaped(CURRENCIES)),
                format!("(?<=[0-9])(?:{})", UNITS.join("|")),
                format!(r"(?<=[{}])\.|(?<=[{1}][{1}])\.", class(DOT_LEFT), class(UPPER)),
            ];
            let infix = [
                format!(r"\.\.+|…|[{}]|(?<=[0-9])[+\-\*^](?=[0-9-])", class(ICON)),
                format!(r"(?<=[{}{quote}])\.(?=[{}{quote}])", class(LOWER), class(UPPER)),
                format!("(?<=[{alpha}]),(?=[{alpha}])"),
                format!("(?<=[{alpha}0-9])(?:-|–|—|--|---|——|~)(?=[{alpha}])"),
                format!("(?<=[{alpha}0-9])[:<>=/](?=[{alpha}])"),
            ];
            let suffix = format!("(?:{})\\z", suffix.join("|"));
            Expressions {
                prefix: Regex::new(&prefix).unwrap(),
                suffix: Regex::new(&suffix).unwrap(),
                infix: Regex::new(&infix.join("|")).unwrap(),
            }
        }
    }

    fn length(found: Option<(usize, usize)>) -> usize {
        found.map_or(0, |(start, end)| end - start)
    }

    fn check(text: &str) -> Result<(), TestCaseError> {
        thread_local! {
            static BOTH: (Characters, Expressions) = {
                let characters = Characters::new();
                let expressions = Expressions::new(&characters);
                (characters, expressions)
            };
        }
        BOTH.with(|(characters, expected)| {
            prop_assert_eq!(prefix(characters, text), length(expected.prefix.find(text)));
            prop_assert_eq!(suffix(characters, text), length(expected.suffix.find(text)));
            let mut found = Vec::new();
            infixes(characters, text, |start, end| found.push((start, end)));
            prop_assert_eq!(found, expected.infix.find_iter(text).collect::<Vec<_>>());
            Ok(())
        })
    }

    #[test]
    fn no_unit_is_longer_than_the_stretch_that_is_looked_at() {
        for unit in UNITS.iter().chain(CURRENCIES) {
            let ascii = unit.bytes().last().is_some_and(|byte| byte.is_ascii());
            assert!(unit.len() <= if ascii { LONGEST_ASCII_UNIT } else { LONGEST_UNIT }, "{unit}");
        }
        assert!(UNITS.is_sorted_by_key(|unit| (unit.len(), *unit)));
        let characters = Characters::new();
        for unit in UNITS {
            assert_eq!(suffix(&characters, &format!("a5{unit}")), unit.len(), "{unit}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn the_expressions_decide_alike(
            picks in proptest::collection::vec(0..ALPHABET.chars().count(), 1..9)
        ) {
            let chars: Vec<char> = ALPHABET.chars().collect();
            check(&picks.iter().map(|&at| chars[at]).collect::<String>())?;
        }

        #[test]
        fn the_expressions_decide_alike_on_dots_dashes_and_units(
            text in "[a1A°](\\.{1,3}|-{1,4}|—{1,3}|…{1,3}|km²?|US\\$|%|'s|[FC])[aA1.+(]?[.,]?"
        ) {
            check(&text)?;
        }
    }
}
