//! A marked part of a text in one line, to be read on a screen.
//!
//! A text and a span → `…before [[the span]] after…`, what surrounds it cut to about thirty
//! characters on either side, the span to its first and last. Control characters, line breaks and
//! what turns the direction of writing are shown as escapes (`\n`, `\u{1b}`): nothing of a text
//! reaches the terminal as a command. Invariant: a single line. Cost: the excerpt's length.

use crate::text::acts;
use std::ops::Range;

/// Characters shown on either side of a span.
const AROUND: usize = 30;
/// Characters shown of a span's beginning, and of its end where it is longer than both.
const FIRST: usize = 40;
const LAST: usize = 20;

/// The span of `text` between `[[` and `]]`, in its surroundings.
pub fn excerpt(text: &str, span: &Range<usize>) -> String {
    let (before, marked, after) = (&text[..span.start], &text[span.clone()], &text[span.end..]);
    let mut line = String::new();
    let start = before.char_indices().rev().take(AROUND).last().map_or(before.len(), |(at, _)| at);
    if start > 0 {
        line.push('…');
    }
    push_escaped(&before[start..], &mut line);
    line.push_str("[[");
    push_shortened(marked, &mut line);
    line.push_str("]]");
    let end = after.char_indices().nth(AROUND).map_or(after.len(), |(at, _)| at);
    push_escaped(&after[..end], &mut line);
    if end < after.len() {
        line.push('…');
    }
    line
}

/// A short text whole, the beginning and the end of a long one.
fn push_shortened(text: &str, line: &mut String) {
    if text.char_indices().nth(FIRST + LAST).is_none() {
        return push_escaped(text, line);
    }
    let first = text.char_indices().nth(FIRST).map_or(text.len(), |(at, _)| at);
    let last = text.char_indices().rev().take(LAST).last().map_or(text.len(), |(at, _)| at);
    push_escaped(&text[..first], line);
    line.push('…');
    push_escaped(&text[last..], line);
}

fn push_escaped(text: &str, line: &mut String) {
    for char in text.chars() {
        if is_unseen(char) { line.extend(char.escape_default()) } else { line.push(char) }
    }
}

/// What acts, and marks without width.
fn is_unseen(char: char) -> bool {
    let without_width = matches!(
        char as u32,
        0xad | 0x61c | 0x200b..=0x200f | 0x2060..=0x206f | 0xfeff | 0xe0000..=0xe007f
    );
    acts(char) || without_width
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_stands_between_brackets_in_one_line() {
        let text = "a line\nwith\u{1b}[31m a tab\tand its end";
        assert_eq!(excerpt(text, &(7..11)), "a line\\n[[with]]\\u{1b}[31m a tab\\tand its end");
        assert_eq!(
            excerpt(text, &(0..text.len())),
            format!(
                "[[{}]]",
                text.replace('\n', "\\n").replace('\u{1b}', "\\u{1b}").replace('\t', "\\t")
            )
        );
    }

    #[test]
    fn what_is_far_from_a_span_or_amid_it_is_left_out() {
        let text = format!("{}é{}ü{}", "a".repeat(100), "b".repeat(100), "c".repeat(100));
        let line = excerpt(&text, &(100..204));
        let expected = format!(
            "…{}[[é{}…{}ü]]{}…",
            "a".repeat(30),
            "b".repeat(39),
            "b".repeat(19),
            "c".repeat(30)
        );
        assert_eq!(line, expected);
    }
}
