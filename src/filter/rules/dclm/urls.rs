//! Addresses in running text, as DCLM cuts them out.
//!
//! In: a text. Out: the text without them, with up to ten white-space characters before each. What
//! an address is: `url_removal_modifier` in DCLM's `baselines/mappers/modifiers.py` (commit
//! 361714b), two patterns read as grammars here. Its oddity stays: host names are looked for only
//! in a text whose first letters spell a top-level domain (`The` does: `th`); numbers with dots
//! always.
//! Invariant: equal to the patterns' `sub("")`. Cost: a search for `.` and a look around each.

use super::tlds::TLDS;
use crate::text::{is_white_space, is_word, lower};
use memchr::memchr;

/// What a host's first 256 characters may be.
fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-@:%._+~#=".contains(&byte)
}

/// What may follow the host.
fn is_path(byte: u8) -> bool {
    is_host(byte) || b"()?&/".contains(&byte)
}

/// Appends `text` without its addresses to `out`.
pub fn remove(text: &str, out: &mut String) {
    if begins_with_tld(text) {
        let mut named = String::with_capacity(text.len());
        cut(text, &mut named, name_around);
        cut(&named, out, number_around);
    } else {
        cut(text, out, number_around);
    }
}

/// Whether a top-level domain, in any capitals, stands at the very beginning.
fn begins_with_tld(text: &str) -> bool {
    let mut start = String::new();
    lower(&text[..text.ceil_char_boundary(80.min(text.len()))], &mut start);
    // What `re.IGNORECASE` takes for an ASCII letter beyond lower case.
    let start = start.replace("i\u{307}", "i").replace('ı', "i").replace('ſ', "s");
    let mut ends = start.char_indices().map(|(at, char)| at + char.len_utf8());
    ends.any(|end| TLDS.binary_search(&&start[..end]).is_ok())
}

/// Cuts out what `around` sees at each dot without going back before the end of the last.
fn cut(
    text: &str,
    out: &mut String,
    around: impl Fn(&str, usize, usize) -> Option<(usize, usize)>,
) {
    let (mut scan, mut copied) = (0, 0);
    while let Some(ahead) = memchr(b'.', &text.as_bytes()[scan..]) {
        scan += ahead + 1;
        if let Some((start, end)) = around(text, scan - 1, copied) {
            out.push_str(&text[copied..start]);
            copied = end;
            scan = scan.max(end);
        }
    }
    out.push_str(&text[copied..]);
}

/// The address whose first top-level domain follows a dot.
fn name_around(text: &str, dot: usize, free: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    tld_end(text, dot + 1)?;
    let reach = dot.saturating_sub(256).max(free);
    let start = dot - bytes[reach..dot].iter().rev().take_while(|byte| is_host(**byte)).count();
    if start == dot {
        return None;
    }
    // A run that is longer than the pattern's 256 is entered in its midst.
    let is_inside = start > free && start == reach && is_host(bytes[start - 1]);
    let start =
        if is_inside { start } else { before(text, scheme_before(bytes, start, free), free) };
    Some((start, end_of(text, dot)))
}

/// Where an address ends whose top-level domain follows `dot`: a later dot counts where one of
/// other letters than ASCII follows it.
fn end_of(text: &str, dot: usize) -> usize {
    let bytes = text.as_bytes();
    let run = |from: usize, of: fn(u8) -> bool| {
        from + bytes[from..].iter().take_while(|byte| of(**byte)).count()
    };
    let host = run(dot, is_host);
    let last = if bytes[host - 1] == b'.' { tld_end(text, host) } else { None };
    let from = last.or_else(|| tld_end(text, dot + 1)).unwrap_or(dot);
    run(from, is_path)
}

/// The end of a top-level domain at a place, if a word ends there.
fn tld_end(text: &str, start: usize) -> Option<usize> {
    let rest = &text[start..];
    let ends = |name: &str| {
        let next = rest[name.len()..].chars().next().is_some_and(is_word);
        name.chars().next_back().is_some_and(is_word) != next
    };
    if rest.starts_with(|char: char| char.is_ascii()) {
        let length = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        let name = &rest[..length];
        let is_tld = TLDS.binary_search(&name).is_ok() && ends(name);
        return is_tld.then_some(start + length);
    }
    let others = &TLDS[TLDS.partition_point(|name| name.is_ascii())..];
    let mut found = others.iter().filter(|name| rest.starts_with(**name) && ends(name));
    // Longer names come later and are tried first.
    found.next_back().map(|name| start + name.len())
}

/// Four numbers, of which the first ends at a dot; a scheme, or a word's edge, before them.
fn number_around(text: &str, dot: usize, free: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let start = dot - digits_before(bytes, dot, free);
    let mut at = dot + 1;
    is_number(&bytes[start..dot]).then_some(())?;
    for _ in 0..2 {
        let end = at + bytes[at..].iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
        (is_number(&bytes[at..end]) && bytes.get(end) == Some(&b'.')).then_some(())?;
        at = end + 1;
    }
    bytes.get(at).filter(|byte| byte.is_ascii_digit())?;
    let is_edge = |place: usize| !text[..place].chars().next_back().is_some_and(is_word);
    let scheme = scheme_before(bytes, start, free);
    let start =
        if is_edge(scheme) { scheme } else { Some(start).filter(|&start| is_edge(start))? };
    let path = bytes[at..].iter().take_while(|byte| is_path(**byte)).count();
    Some((before(text, start, free), at + path))
}

fn digits_before(bytes: &[u8], end: usize, free: usize) -> usize {
    bytes[free..end].iter().rev().take(4).take_while(|byte| byte.is_ascii_digit()).count()
}

/// One or two digits, or three of which the first is 0, 1 or 2.
fn is_number(digits: &[u8]) -> bool {
    matches!(digits.len(), 1 | 2) || (digits.len() == 3 && digits[0] <= b'2')
}

/// Where the scheme begins that ends at `start`, or `start`.
fn scheme_before(bytes: &[u8], start: usize, free: usize) -> usize {
    let schemes: [&[u8]; 3] = [b"https://", b"http://", b"ftp://"];
    let found = schemes.iter().find(|scheme| bytes[free..start].ends_with(scheme));
    start - found.map_or(0, |scheme| scheme.len())
}

/// Where up to ten white-space characters begin that end at `start`.
fn before(text: &str, start: usize, free: usize) -> usize {
    let white = text[free..start].chars().rev().take(10).take_while(|&char| is_white_space(char));
    start - white.map(char::len_utf8).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(text: &str) -> String {
        let mut out = String::new();
        remove(text, &mut out);
        out
    }

    #[test]
    fn addresses_go_with_the_space_before_them() {
        for (text, left) in [
            ("The page  http://www.example.com/a?b=(c) is", "The page is"),
            ("The xhttp://a.com", "The x"),
            ("The a.b.c of x.com.", "The a.b.c of"),
            ("The a.comé, b.unknown", "The a.comé, b.unknown"),
            ("The 1.2.3.4 or ftp://10.0.0.1:80/x", "The or"),
            ("(See a.com, 300.2.3.4, v1.2.3.4", "(See a.com, 300.2.3.4, v1.2.3.4"),
            ("The me@here.org,", "The,"),
            ("The пример.рф and пример.测试 a.测试/x", "The пример.рф and пример.测试"),
        ] {
            assert_eq!(removed(text), left, "{text}");
        }
    }
}
