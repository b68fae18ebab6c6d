//! The line modifiers of DCLM-baseline, each over the whole text.
//!
//! In: a text. Out: the text without lines of capitals, of digits, of counters (`3 likes`), of one
//! word, and without three phrases of web pages in short lines. Reference: DCLM's
//! `baselines/mappers/modifiers.py` (commit 361714b) with the values of
//! `dclm_baseline_refinedweb.yaml`; the order and what each strips are its.
//! Invariant: equal to the reference's text after each step. Cost: a pass a modifier.

use super::DclmConfig;
use crate::filter::view::lines::strip;
use crate::text::digits::{is_decimal, is_digit, is_upper};
use crate::text::{is_white_space, is_word, lower};

/// The text that the modifiers leave; empty where a modifier leaves nothing.
pub fn modify(config: &DclmConfig, text: &str) -> String {
    let upper = |line: &str| ratio(line, is_upper) <= config.max_uppercase_line;
    let mut text = keep(text, |line| line.is_empty() || upper(line));
    text = strip(&text).to_owned();
    let numeric = |line: &str| ratio(line, is_digit) <= config.max_numeric_line;
    text = strip(&keep(&text, |line| line.is_empty() || numeric(line))).to_owned();
    if config.remove_counters {
        let mut small = String::new();
        text = strip(&keep(&text, |line| !is_counter(line, &mut small))).to_owned();
    }
    let least = config.min_words_per_line;
    text = keep(&text, |line| line.is_empty() || count_words(line, least) >= least);
    for cut in [cut_items_in_cart, cut_read_more, cut_sign_in] {
        text = strip(&cut_phrase(&text, config.max_phrase_line_words, cut)).to_owned();
    }
    text
}

/// The lines that `stays` holds for.
fn keep(text: &str, mut stays: impl FnMut(&str) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut first = true;
    for line in text.split('\n').filter(|line| stays(line)) {
        if !std::mem::take(&mut first) {
            out.push('\n');
        }
        out.push_str(line);
    }
    out
}

fn ratio(line: &str, holds: fn(char) -> bool) -> f64 {
    let (mut chars, mut held) = (0, 0);
    for char in line.chars() {
        chars += 1;
        held += usize::from(holds(char));
    }
    super::share(held, chars)
}

/// White-space words of a line, counted to `most`.
fn count_words(line: &str, most: usize) -> usize {
    line.split(is_white_space).filter(|word| !word.is_empty()).take(most).count()
}

/// What a counter counts.
const COUNTED: [&str; 12] = [
    "likes",
    "shares",
    "comments",
    "retweets",
    "reposts",
    "quotes",
    "bookmarks",
    "upvotes",
    "downvotes",
    "downloads",
    "views",
    "followers",
];

/// A number, perhaps with `k`, `m` or `b`, and one of [`COUNTED`]: nothing else but signs.
fn is_counter(line: &str, small: &mut String) -> bool {
    let rest = line.trim_start_matches(|char| !is_word(char));
    if !rest.starts_with(is_decimal) {
        return false;
    }
    small.clear();
    lower(rest, small);
    let rest = small.trim_start_matches(|char| is_decimal(char) || char == ',' || char == '.');
    let rest = rest.strip_prefix(['k', 'm', 'b']).unwrap_or(rest);
    let word = rest.trim_start_matches(is_white_space);
    let ends = |after: &str| !after.contains(is_word);
    let is_counted = COUNTED.iter().any(|counted| word.strip_prefix(counted).is_some_and(ends));
    word.len() < rest.len() && is_counted
}

/// A line as a phrase leaves it; `None` where it has none.
type Cut = fn(&str) -> Option<String>;

/// Takes a phrase out of lines of few words; drops those of which white space remains.
fn cut_phrase(text: &str, most: usize, cut: Cut) -> String {
    let mut out = String::with_capacity(text.len());
    let mut first = true;
    for line in text.split('\n') {
        let is_short = count_words(line, most + 1) <= most;
        let cut = if is_short { cut(line) } else { None };
        let left = cut.as_deref().unwrap_or(line);
        if is_short && !line.is_empty() && left.chars().all(is_white_space) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push('\n');
        }
        out.push_str(left);
    }
    out
}

/// `\s?items in cart`, everywhere.
fn cut_items_in_cart(line: &str) -> Option<String> {
    let (mut out, mut rest, mut found) = (String::new(), line, false);
    let mut at = 0;
    while at < rest.len() {
        if let Some(length) = spelled(&rest[at..], "items in cart") {
            let before = rest[..at].strip_suffix(is_white_space).unwrap_or(&rest[..at]);
            out.push_str(before);
            rest = &rest[at + length..];
            (at, found) = (0, true);
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    out.push_str(rest);
    found.then_some(out)
}

/// `\s?read more...$`, where a dot is any character.
fn cut_read_more(line: &str) -> Option<String> {
    let mut ends = line.char_indices().rev();
    let (start, _) = ends.nth(11)?;
    let length = spelled(&line[start..], "read more")?;
    // Twelve characters: the phrase and any three.
    debug_assert_eq!(line[start + length..].chars().count(), 3);
    Some(line[..start].strip_suffix(is_white_space).unwrap_or(&line[..start]).to_owned())
}

/// `^sign-in\s?`.
fn cut_sign_in(line: &str) -> Option<String> {
    let rest = &line[spelled(line, "sign-in")?..];
    Some(rest.strip_prefix(is_white_space).unwrap_or(rest).to_owned())
}

/// Bytes of a phrase at the beginning of a text, in any capitals: what `re.IGNORECASE` takes for
/// an ASCII letter.
fn spelled(text: &str, phrase: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    for expected in phrase.chars() {
        let (_, char) = chars.next()?;
        let small = match char {
            'İ' | 'ı' => 'i',
            'ſ' => 's',
            '\u{212a}' => 'k',
            _ => char.to_ascii_lowercase(),
        };
        if small != expected {
            return None;
        }
    }
    Some(chars.next().map_or(text.len(), |(at, _)| at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modified(text: &str) -> String {
        modify(&DclmConfig::default(), text)
    }

    #[test]
    fn lines_go_for_what_they_are() {
        for (text, left) in [
            (
                "a line here\nALL CAPITALS Here\n12345\n\n3.4K likes!\nword\nend of it",
                "a line here\n\nend of it",
            ),
            ("12 likes of it\n-- 1,200 Views --\n5likes\n5 Likers", "12 likes of it\n5 Likers"),
            ("go to items in cart now\n3 Items In Cart\nitems in cart", "go to now\n3"),
            (
                "Here is Read More...\nread more at once\nread more!!!\nso read more, see",
                "Here is\nread more at once\nso read more, see",
            ),
            ("Sign-in to it all\nsign-in\nto sign-in here", "to it all\nto sign-in here"),
        ] {
            assert_eq!(modified(text), left, "{text}");
        }
    }
}
