//! Pre-tokenizer patterns known by their exact regular expression, cut by hand.
//!
//! In: a regular expression, a text and a position. Out: the [`Pattern`], and where the piece that
//! starts there ends.
//! Method: the alternatives of the expression are tried in order, on character classes. A match
//! depends on nothing before its start, and every character is matched, so pieces tile the text.
//! Invariants: equal to Oniguruma (the engine of Hugging Face `tokenizers`) on every valid UTF-8
//! text, see the tests. This is the reference for `scan`, which also uses it for rare cases.
//! Cost: some nanoseconds a character.

use super::classes::{
    BREAK, CASELESS, LETTER, LOWER, MARK, NUMBER, REST, SPACE, UPPER, WHITE, at, run_end,
};

/// GPT-2's expression (tokenizers, pre_tokenizers/byte_level.rs).
pub const GPT2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// cl100k as files of `tokenizers` write it; Llama 3 has the same.
pub const CL100K: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// cl100k as js-tiktoken writes it: without `(?i:…)`, and so without U+017F for `s`.
pub const CL100K_ENUMERATED: &str = concat!(
    r"('s|'S|'t|'T|'re|'rE|'Re|'RE|'ve|'vE|'Ve|'VE|'m|'M|'ll|'lL|'Ll|'LL|'d|'D)",
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)",
    r"|\s+",
);
/// Qwen 2, 2.5 and 3.
pub const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*",
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// o200k (GPT-4o, gpt-oss).
pub const O200K: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t",
    r"|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t",
    r"|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// A way to cut text into pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// [`GPT2`], and `ByteLevel` with `use_regex`.
    Gpt2,
    /// `Digits` with `individual_digits`, then [`GPT2`] on each part: SmolLM, StarCoder.
    Gpt2Digits,
    /// [`CL100K`].
    Cl100k,
    /// [`CL100K_ENUMERATED`].
    Cl100kEnumerated,
    /// [`QWEN2`].
    Qwen2,
    /// [`O200K`].
    O200k,
}

/// Which letters count after an apostrophe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    /// Small letters.
    Lower,
    /// Small and capital letters.
    Both,
    /// Small and capital letters, and U+017F, which Oniguruma folds to `s`.
    Folded,
}

impl Pattern {
    /// The pattern whose expression is exactly `regex`. `Gpt2Digits` is no single expression.
    pub fn from_regex(regex: &str) -> Option<Pattern> {
        Some(match regex {
            GPT2 => Pattern::Gpt2,
            CL100K => Pattern::Cl100k,
            CL100K_ENUMERATED => Pattern::Cl100kEnumerated,
            QWEN2 => Pattern::Qwen2,
            O200K => Pattern::O200k,
            _ => return None,
        })
    }

    /// Whether U+017F after an apostrophe makes a contraction.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn folds(self) -> bool {
        matches!(self, Pattern::Cl100k | Pattern::Qwen2 | Pattern::O200k)
    }

    /// End of the piece that starts at `start`, in bytes, above `start`. `text` is valid UTF-8,
    /// `start` is a character's start inside it and a piece's start.
    pub fn piece_end(self, text: &[u8], start: usize) -> usize {
        match self {
            Pattern::Gpt2 => gpt2(text, start),
            Pattern::Gpt2Digits => gpt2_digits(text, start),
            Pattern::Cl100k => cl100k(text, start, Case::Folded, 3),
            Pattern::Cl100kEnumerated => cl100k(text, start, Case::Both, 3),
            Pattern::Qwen2 => cl100k(text, start, Case::Folded, 1),
            Pattern::O200k => o200k(text, start),
        }
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d` at `start`: its end.
#[inline(always)]
fn contraction(text: &[u8], start: usize, case: Case) -> Option<usize> {
    if text.get(start) != Some(&b'\'') {
        return None;
    }
    let letter = |index: usize| {
        let byte = *text.get(start + index)?;
        Some(if case == Case::Lower { byte } else { byte.to_ascii_lowercase() })
    };
    match (letter(1)?, letter(2)) {
        (b's' | b't' | b'm' | b'd', _) => Some(start + 2),
        (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(start + 3),
        (0xC5, Some(0xBF)) if case == Case::Folded => Some(start + 3),
        _ => None,
    }
}

/// `\s+(?!\S)|\s+` at `start`, which is white space.
#[inline(always)]
fn white(text: &[u8], start: usize) -> usize {
    let (mut end, mut last) = (start, start);
    while end < text.len() {
        let (class, length) = at(text, end);
        if class & WHITE == 0 {
            break;
        }
        last = end;
        end += length;
    }
    if end == text.len() || last == start { end } else { last }
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+` at `start`, which is white space.
#[inline(always)]
fn breaks_or_white(text: &[u8], start: usize) -> usize {
    let (mut end, mut after_break) = (start, start);
    while end < text.len() {
        let (class, length) = at(text, end);
        if class & WHITE == 0 {
            break;
        }
        end += length;
        if class == BREAK {
            after_break = end;
        }
    }
    if after_break > start { after_break } else { white(text, start) }
}

fn gpt2(text: &[u8], start: usize) -> usize {
    if let Some(end) = contraction(text, start, Case::Lower) {
        return end;
    }
    let body = start + (text[start] == b' ') as usize;
    if body < text.len() {
        let class = at(text, body).0;
        for run in [LETTER, NUMBER, REST] {
            if class & run != 0 {
                return run_end(text, body, run);
            }
        }
    }
    white(text, start)
}

/// Numbers are cut out first; each number and each stretch between two is cut by itself.
fn gpt2_digits(text: &[u8], start: usize) -> usize {
    let (class, length) = at(text, start);
    if class == NUMBER {
        return start + length;
    }
    let end = gpt2(text, start);
    if class & WHITE == 0 {
        return end;
    }
    // White space before a number is at the end of its text: no character of it is kept back, and
    // GPT-2's piece would be one of ` ?\p{N}+`, `\s+(?!\S)` without the last character, or `\s+`.
    let white_end = run_end(text, start, WHITE);
    if white_end < text.len() && at(text, white_end).0 == NUMBER { white_end } else { end }
}

fn numbers(text: &[u8], start: usize, most: usize) -> usize {
    let mut end = start;
    for _ in 0..most {
        if end < text.len() && at(text, end).0 == NUMBER {
            end += at(text, end).1;
        }
    }
    end
}

/// ` ?[^\s\p{L}\p{N}]+` and then any of `tail` at `start`: its end.
#[inline(always)]
fn punctuation(text: &[u8], start: usize, tail: &[u8]) -> Option<usize> {
    let body = start + (text[start] == b' ') as usize;
    if body == text.len() || at(text, body).0 & REST == 0 {
        return None;
    }
    let end = run_end(text, body, REST);
    Some(end + text[end..].iter().take_while(|byte| tail.contains(byte)).count())
}

fn cl100k(text: &[u8], start: usize, case: Case, digits: usize) -> usize {
    if let Some(end) = contraction(text, start, case) {
        return end;
    }
    let (class, length) = at(text, start);
    if class & LETTER != 0 {
        return run_end(text, start, LETTER);
    }
    if class == NUMBER {
        return numbers(text, start, digits);
    }
    let body = start + length;
    if class != BREAK && body < text.len() && at(text, body).0 & LETTER != 0 {
        return run_end(text, body, LETTER);
    }
    punctuation(text, start, b"\r\n").unwrap_or_else(|| breaks_or_white(text, start))
}

const HEAD: u8 = UPPER | CASELESS | MARK;
const TAIL: u8 = LOWER | CASELESS | MARK;

/// `HEAD*TAIL+` at `start`: greedy, then giving back one character of the head after the other.
fn ends_small(text: &[u8], start: usize) -> Option<usize> {
    let (mut head, mut given_back) = (start, None);
    while head < text.len() {
        let (class, length) = at(text, head);
        if class & HEAD == 0 {
            break;
        }
        head += length;
        if class & TAIL != 0 {
            given_back = Some(head);
        }
    }
    let end = run_end(text, head, TAIL);
    if end > head { Some(end) } else { given_back }
}

/// `HEAD+TAIL*` at `start`.
fn starts_great(text: &[u8], start: usize) -> Option<usize> {
    let head = run_end(text, start, HEAD);
    (head > start).then(|| run_end(text, head, TAIL))
}

fn o200k(text: &[u8], start: usize) -> usize {
    let (class, length) = at(text, start);
    if class == NUMBER {
        return numbers(text, start, 3);
    }
    let body = (class & (LETTER | BREAK) == 0).then_some(start + length);
    let word = body
        .and_then(|body| ends_small(text, body))
        .or_else(|| ends_small(text, start))
        .or_else(|| body.and_then(|body| starts_great(text, body)))
        .or_else(|| starts_great(text, start));
    if let Some(end) = word {
        return contraction(text, end, Case::Folded).unwrap_or(end);
    }
    debug_assert!(class & (SPACE | BREAK | REST) != 0);
    punctuation(text, start, b"\r\n/").unwrap_or_else(|| breaks_or_white(text, start))
}
