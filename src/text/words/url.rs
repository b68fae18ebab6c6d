//! Whether a piece of text is a web address and so one word.
//!
//! In: text without white space. Out: whether spaCy 3.8's `URL_MATCH`
//! (`lang/tokenizer_exceptions.py`, after D. Perini's expression) matches the whole of it: an
//! optional scheme and `://`, an optional user before `@`, an IPv4 address outside the private
//! ranges or a host with a top-level domain of 2 to 63 small letters, an optional port of 2 to 5
//! digits, then nothing or a path from `/`, `?` or `#`.
//! Method: that expression backtracks, so it is taken apart instead. A host can begin at the
//! start, after the scheme, or after any later `@`; none of a host's characters is one of `@ : / ?
//! #`, so each beginning has one end, and the stretches between them overlap only in the scheme.
//! Invariants: `\d` and `\w` are Python's, by Unicode 16. Cost: linear in the text's length.

use super::characters::Characters;
use super::classes::{DIGIT, LOWER};
use crate::text::is_word;

/// Characters of the longest label and of the longest top-level domain.
const LONGEST_LABEL: usize = 64;
const LONGEST_DOMAIN: usize = 63;

/// Whether the whole of `text` is an address.
pub fn is_url(characters: &Characters, text: &str) -> bool {
    if memchr::memchr(b'.', text.as_bytes()).is_none() {
        return false;
    }
    let users = memchr::memchr_iter(b'@', text.as_bytes()).filter(|&at| at > 0).map(|at| at + 1);
    let after_scheme = scheme(text);
    [0].into_iter()
        .chain(after_scheme)
        .chain(users)
        .any(|start| opens_host(characters, text, start))
}

/// Where the text after `scheme://` begins.
fn scheme(text: &str) -> Option<usize> {
    let in_scheme = |char: char| is_word(char) || matches!(char, '+' | '-' | '.');
    let end = text.find(|char| !in_scheme(char))?;
    let long = text[..end].chars().nth(1).is_some();
    (long && text[end..].starts_with("://")).then_some(end + 3)
}

/// Whether host, port and path take the text from `start` to its end.
fn opens_host(characters: &Characters, text: &str, start: usize) -> bool {
    let rest = &text[start..];
    let end = rest.bytes().position(|byte| matches!(byte, b':' | b'/' | b'?' | b'#' | b'@'));
    let (host, tail) = rest.split_at(end.unwrap_or(rest.len()));
    ends_host(characters, tail) && (is_domain(characters, host) || is_address(characters, host))
}

/// Whether `tail` is nothing, a path, or a port and then either.
fn ends_host(characters: &Characters, tail: &str) -> bool {
    let is_path = |text: &str| text.is_empty() || text.starts_with(['/', '?', '#']);
    let Some(port) = tail.strip_prefix(':') else { return is_path(tail) };
    let is_digit = |&(_, char): &(usize, char)| characters.is(Some(char), DIGIT);
    let digits = port.char_indices().take(6).take_while(is_digit);
    let (mut count, mut length) = (0, 0);
    for (at, char) in digits {
        (count, length) = (count + 1, at + char.len_utf8());
    }
    (2..=5).contains(&count) && is_path(&port[length..])
}

/// Labels with a `.` after each, then a top-level domain.
fn is_domain(characters: &Characters, host: &str) -> bool {
    let Some((labels, domain)) = host.rsplit_once('.') else { return false };
    let mut length = 0;
    let small = domain.chars().take(LONGEST_DOMAIN + 1).all(|char| {
        length += 1;
        characters.is(Some(char), LOWER)
    });
    small && (2..=LONGEST_DOMAIN).contains(&length) && labels.split('.').all(is_label)
}

/// 1 to 64 characters: letters, digits and all from U+00A1 to U+FFFF, `-` and `_` within.
fn is_label(label: &str) -> bool {
    let outer =
        |char: char| char.is_ascii_alphanumeric() || ('\u{a1}'..='\u{ffff}').contains(&char);
    let mut length = 0;
    let known = label.chars().take(LONGEST_LABEL + 1).all(|char| {
        length += 1;
        outer(char) || char == '-' || char == '_'
    });
    let ends = label.starts_with(outer) && label.ends_with(outer);
    known && ends && length <= LONGEST_LABEL
}

/// An IPv4 address from 1.0.0.1 to 223.255.255.254 outside the private networks.
fn is_address(characters: &Characters, host: &str) -> bool {
    // The expression's `\d` takes digits of any script, but some places ask for ASCII ones.
    if host.len() > 64 {
        return false;
    }
    let mut parts = host.split('.');
    let mut octets = [""; 4];
    if !octets.iter_mut().all(|octet| parts.next().map(|part| *octet = part).is_some()) {
        return false;
    }
    let [first, second, third, fourth] = octets;
    let is_private = matches!(first, "10" | "127")
        || matches!((first, second), ("169", "254") | ("192", "168"))
        || first == "172" && is_any(characters, second, &["1[6-9]", "2d", "3[0-1]"]);
    let inner = ["d", "dd", "1d", "1dd", "2[0-4]d", "25[0-5]"];
    parts.next().is_none()
        && !is_private
        && is_any(characters, first, &["[1-9]", "[1-9]d", "1dd", "2[0-1]d", "22[0-3]"])
        && is_any(characters, second, &inner)
        && is_any(characters, third, &inner)
        && is_any(characters, fourth, &["[1-9]", "[1-9]d", "1dd", "2[0-4]d", "25[0-4]"])
}

/// Whether `text` is one of `forms`: `d` is a digit of any script, `[a-b]` an ASCII range.
fn is_any(characters: &Characters, text: &str, forms: &[&str]) -> bool {
    forms.iter().any(|form| {
        let mut form = form.bytes();
        let same = text.chars().all(|char| match form.next() {
            Some(b'd') => characters.is(Some(char), DIGIT),
            Some(b'[') => {
                let bounds = [form.next(), form.next(), form.next(), form.next()];
                let [Some(low), _, Some(high), _] = bounds else { return false };
                (char::from(low)..=char::from(high)).contains(&char)
            }
            Some(byte) => char == char::from(byte),
            None => false,
        });
        same && form.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The expression as spaCy writes it, but for `\w` and the named class of the domain, which are
    /// spelled out for the letters that the tests use.
    const EXPRESSION: &str = concat!(
        r"\A(?:(?:[A-Za-z0-9_²é٣一\x{20000}+\-.]{2,})://)?(?:\S+(?::\S*)?@)?",
        r"(?:(?!(?:10|127)(?:\.\d{1,3}){3})(?!(?:169\.254|192\.168)(?:\.\d{1,3}){2})",
        r"(?!172\.(?:1[6-9]|2\d|3[0-1])(?:\.\d{1,3}){2})",
        r"(?:[1-9]\d?|1\d\d|2[01]\d|22[0-3])(?:\.(?:1?\d{1,2}|2[0-4]\d|25[0-5])){2}",
        r"(?:\.(?:[1-9]\d?|1\d\d|2[0-4]\d|25[0-4]))|(?:(?:[A-Za-z0-9\x{00a1}-\x{ffff}]",
        r"[A-Za-z0-9\x{00a1}-\x{ffff}_-]{0,62})?[A-Za-z0-9\x{00a1}-\x{ffff}]\.)+",
        r"(?:[a-zé一\x{20000}]{2,63}))(?::\d{2,5})?(?:[/?#]\S*)?\z"
    );

    fn same(text: &str) -> Result<(), TestCaseError> {
        thread_local! {
            static EXPECTED: onig::Regex = onig::Regex::new(EXPRESSION).unwrap();
            static CHARACTERS: Characters = Characters::new();
        }
        let expected = EXPECTED.with(|regex| regex.find(text).is_some());
        let found = CHARACTERS.with(|characters| is_url(characters, text));
        prop_assert_eq!(found, expected, "{}", text);
        Ok(())
    }

    #[test]
    fn addresses_of_every_form_are_found() {
        let characters = Characters::new();
        for text in [
            "example.com",
            "http://a.b-c.de",
            "x@y.zz",
            "a@b@c.dd:80",
            "8.8.8.8",
            "ftp://u:p@h.org/x",
            "www.foo.co.uk/?q=1",
            "223.255.255.254:8080#x",
            "日本.jp",
            "a..b@c.dd",
            "x@@c.dd",
        ] {
            assert!(is_url(&characters, text), "{text}");
        }
        for text in [
            "",
            "a.b",
            "example.Com",
            "10.0.0.1",
            "192.168.1.1",
            "172.20.1.1",
            "1.2.3",
            "@y.z",
            "a_.com",
            "e.com:1",
            "e.com:123456",
            "224.0.0.1",
            "a.com,b",
            "http://",
            "x.com:80x",
        ] {
            assert!(!is_url(&characters, text), "{text}");
        }
        let long = format!("{}.com", "a".repeat(64));
        assert!(is_url(&characters, &long) && !is_url(&characters, &format!("a{long}")));
        let domain = format!("a.{}", "a".repeat(63));
        assert!(is_url(&characters, &domain) && !is_url(&characters, &format!("{domain}a")));
    }

    #[test]
    fn text_made_to_backtrack_takes_linear_time() {
        let characters = Characters::new();
        for piece in ["a.", "a@", ":", "@a.b", "a-", "1.2.3.4:", "a.aa:12", "http://", "."] {
            is_url(&characters, &piece.repeat(4_000_000 / piece.len()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn the_expression_decides_alike(text in "[abz.é一@:/A3_-]{1,14}") {
            same(&text)?;
        }

        #[test]
        fn addresses_decide_alike(
            user in "(http://|ab@)?",
            first in "(1|10|127|17[12]|192|223|224|٣|3٣)",
            others in "(\\.([0-9]{1,3}|1[67]|168|25[45]|٣)){3}",
            rest in "(:[0-9٣]{1,6})?[/x]?"
        ) {
            same(&format!("{user}{first}{others}{rest}"))?;
        }

        #[test]
        fn hosts_decide_alike(
            user in "([a+.²]{0,3}://)?([ab:@]{0,3}@)?",
            host in "([aé_0-]{1,3}\\.){0,3}[a-zA\u{20000}]{0,4}",
            rest in "(:[0-9]{1,6})?([/?#][a.]{0,2})?"
        ) {
            same(&format!("{user}{host}{rest}"))?;
        }
    }
}
