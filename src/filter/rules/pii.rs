//! Personal data: e-mail addresses and public IP addresses are replaced.
//!
//! In: a text. Out: the text with replacements, and their number. Reference: datatrove 0.10
//! (`src/datatrove/pipeline/formatters/pii.py`), the last step of FineWeb, with its patterns (as
//! grammars here) and its replacements, which are used in turn; the turn starts anew with each
//! document, so that the result does not depend on earlier documents. Which addresses are public is
//! defined by Python's `ipaddress.IPv4Address.is_global` (IANA's special-purpose registry).
//! Invariant: equal to datatrove's formatter created anew for each document. It edits and never
//! drops. Cost: a search for `@` and one for `.`, and a look around each.

use super::{Entry, Measure, Report, RuleInfo, RuleSet, spans};
use crate::base::config;
use crate::filter::view::{Edit, View};
use crate::text::is_word;
use memchr::memchr;
use serde::{Deserialize, Serialize};
use std::ops::{ControlFlow, Range};

/// This rule set in the registry.
pub const ENTRY: Entry = Entry {
    name: "pii",
    summary: "edits: replaces e-mail addresses and public IP addresses; drops nothing",
    reference: "FineWeb (arXiv 2406.17557, 3.7) as in datatrove 0.10",
    rules: RULES,
    limits: None,
    build: |table| Ok(Box::new(Pii { config: config::parse(table, "`pii`")? })),
};

/// The rules, as the reference calls them.
const EMAILS: &str = "pii/emails";
const IPS: &str = "pii/ips";

const RULES: &[RuleInfo] = &[
    RuleInfo::fixed(EMAILS, "e-mail addresses that were replaced"),
    RuleInfo::fixed(IPS, "IP addresses that were replaced"),
];

/// What replaces what, in turn; an empty list replaces nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PiiConfig {
    /// Replacements for e-mail addresses.
    pub email_replacements: Vec<String>,
    /// Replacements for IP addresses.
    pub ip_replacements: Vec<String>,
    /// Whether to leave private and reserved IP addresses. datatrove: true.
    pub only_public_ips: bool,
}

impl Default for PiiConfig {
    fn default() -> PiiConfig {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        PiiConfig {
            email_replacements: owned(&["email@example.com", "firstname.lastname@example.org"]),
            // FineWeb's: random addresses that did not answer.
            ip_replacements: owned(&[
                "22.214.171.124",
                "126.96.36.199",
                "188.8.131.52",
                "184.108.40.206",
                "220.127.116.11",
                "18.104.22.168",
            ]),
            only_public_ips: true,
        }
    }
}

/// Replaces personal data.
pub struct Pii {
    config: PiiConfig,
}

impl RuleSet for Pii {
    fn config(&self) -> serde_json::Value {
        serde_json::json!(self.config)
    }

    fn measure(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let config = &self.config;
        let emails = replace(view, &config.email_replacements, emails);
        let public = config.only_public_ips;
        let ips = replace(view, &config.ip_replacements, |text, each| ips(text, public, each));
        report(Measure::at_most(EMAILS, emails as f64, f64::INFINITY))?;
        report(Measure::at_most(IPS, ips as f64, f64::INFINITY))
    }

    fn edits(&self) -> bool {
        true
    }

    /// The addresses in the text as it is; in an edited text, replacements that look like
    /// addresses.
    fn spans(&self, rule: &str, view: &mut View<'_>) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut each = |range| found.push(range);
        match rule {
            EMAILS => emails(view.text(), &mut each),
            IPS => ips(view.text(), self.config.only_public_ips, &mut each),
            _ => (),
        }
        spans::gather(found)
    }
}

/// Something that matches, and whether it is left as it is.
#[derive(Debug, PartialEq)]
struct Found {
    start: usize,
    end: usize,
    stays: bool,
}

/// Takes a range of a text.
type Each<'e> = dyn FnMut(Range<usize>) + 'e;

/// Replaces what `find` finds in the text, with the replacements in turn; returns how many.
fn replace(
    view: &mut View<'_>,
    replacements: &[String],
    find: impl Fn(&str, &mut Each<'_>),
) -> usize {
    if replacements.is_empty() {
        return 0;
    }
    view.edit(|text, draft| {
        let (mut copied, mut count) = (0, 0);
        find(text, &mut |found| {
            draft.text.push_str(&text[copied..found.start]);
            draft.text.push_str(&replacements[count % replacements.len()]);
            copied = found.end;
            count += 1;
        });
        draft.text.push_str(&text[copied..]);
        if count == 0 { Edit::None(0) } else { Edit::Take(count) }
    })
}

/// The e-mail addresses of a text.
fn emails(text: &str, each: &mut Each<'_>) {
    scan(text, b'@', email_around, each);
}

/// The IP addresses of a text; with `public` only those that are globally reachable.
fn ips(text: &str, public: bool, each: &mut Each<'_>) {
    let around = |text: &str, dot: usize, from: usize| {
        let (start, end) = ip_around(text.as_bytes(), dot, from)?;
        let stays = !is_address(&text[start..end], public);
        Some(Found { start, end, stays })
    };
    scan(text, b'.', around, each);
}

/// Calls `find` at each `sign`; what it finds must not begin before the end of the last match.
fn scan(
    text: &str,
    sign: u8,
    find: impl Fn(&str, usize, usize) -> Option<Found>,
    each: &mut Each<'_>,
) {
    let (mut scan, mut free) = (0, 0);
    while let Some(ahead) = memchr(sign, &text.as_bytes()[scan..]) {
        scan += ahead + 1;
        let Some(found) = find(text, scan - 1, free) else { continue };
        free = found.end;
        scan = scan.max(free);
        if !found.stays {
            each(found.start..found.end);
        }
    }
}

/// The e-mail address around the `@` at byte `at`: a local part of words joined by single dots,
/// which begins at a word boundary of the text; then a domain of two labels or more, or an address
/// in brackets.
fn email_around(text: &str, at: usize, free: usize) -> Option<Found> {
    let bytes = text.as_bytes();
    let is_local = |place: usize| {
        bytes[place].is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&bytes[place])
    };
    let mut first = at;
    while first > free {
        let joins = bytes[first - 1] == b'.'
            && first < at
            && bytes[first] != b'.'
            && first - 1 > free
            && is_local(first - 2);
        if !is_local(first - 1) && !joins {
            break;
        }
        first -= 1;
    }
    let is_edge = |&place: &usize| {
        let before = text[..place].chars().next_back().is_some_and(is_word);
        bytes[place] != b'.' && before != is_word(char::from(bytes[place]))
    };
    let end = domain(bytes, at + 1).or_else(|| bracketed(bytes, at + 1))?;
    let start = (first..at).find(is_edge)?;
    Some(Found { start, end, stays: false })
}

/// The end of the labels that begin at `start`, two at least: letters, digits and inner hyphens.
fn domain(bytes: &[u8], start: usize) -> Option<usize> {
    let is_label = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    let (mut from, mut end, mut labels) = (start, None, 0);
    while bytes.get(from).is_some_and(u8::is_ascii_alphanumeric) {
        let run = bytes[from..].iter().take_while(|byte| is_label(byte)).count();
        let hyphens = bytes[from..from + run].iter().rev().take_while(|&&b| b == b'-').count();
        labels += 1;
        end = Some(from + run - hyphens);
        if hyphens > 0 || bytes.get(from + run) != Some(&b'.') {
            break;
        }
        from += run + 1;
    }
    end.filter(|_| labels >= 2)
}

/// The end of an address in brackets: three numbers and a fourth, or a tag before a colon.
fn bracketed(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start) != Some(&b'[') {
        return None;
    }
    let mut at = start + 1;
    for _ in 0..3 {
        at = whole_octet(bytes, at).filter(|&end| bytes.get(end) == Some(&b'.'))? + 1;
    }
    if let Some(end) = whole_octet(bytes, at).filter(|&end| bytes.get(end) == Some(&b']')) {
        return Some(end + 1);
    }
    let is_tag = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'-';
    let end = at + bytes[at..].iter().take_while(is_tag).count();
    let closes = end > at && bytes[end - 1] != b'-' && bytes[end..].starts_with(b":]");
    closes.then_some(end + 2)
}

/// The end of the run of digits at a place, if it is a number up to 255 of at most three digits.
fn whole_octet(bytes: &[u8], start: usize) -> Option<usize> {
    let digits = bytes[start..].iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    is_octet(&bytes[start..start + digits]).then_some(start + digits)
}

/// One to three digits that stand for a number up to 255.
fn is_octet(digits: &[u8]) -> bool {
    let value = || digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    matches!(digits.len(), 1..=3) && value() <= 255
}

/// Four numbers joined by dots, the first of which is at `dot`. There may be more digits around
/// them: as many as fit are taken.
fn ip_around(bytes: &[u8], dot: usize, free: usize) -> Option<(usize, usize)> {
    let digits = bytes[free..dot].iter().rev().take(3).take_while(|b| b.is_ascii_digit()).count();
    let start = (dot - digits..dot).find(|&start| is_octet(&bytes[start..dot]))?;
    let mut at = dot + 1;
    for _ in 0..2 {
        at = whole_octet(bytes, at).filter(|&end| bytes.get(end) == Some(&b'.'))? + 1;
    }
    let digits = bytes[at..].iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    let end = (at + 1..=at + digits).rev().find(|&end| is_octet(&bytes[at..end]))?;
    Some((start, end))
}

/// Whether Python's `ipaddress` accepts it as an address (no leading zeros) and, if asked, as one
/// that is globally reachable.
fn is_address(text: &str, public: bool) -> bool {
    let Ok(address) = text.parse::<std::net::Ipv4Addr>() else { return false };
    let address = u32::from(address);
    let within = |&(network, bits): &(u32, u32)| address >> (32 - bits) == network >> (32 - bits);
    !public || PUBLIC.contains(&address) || !RESERVED.iter().any(within)
}

/// What is not globally reachable, by network and prefix length: IANA IPv4 Special-Purpose Address
/// Registry as CPython 3.13 has it, and the shared space of RFC 6598.
const RESERVED: [(u32, u32); 15] = [
    (0x0000_0000, 8),
    (0x0a00_0000, 8),
    (0x6440_0000, 10),
    (0x7f00_0000, 8),
    (0xa9fe_0000, 16),
    (0xac10_0000, 12),
    (0xc000_0000, 24),
    (0xc000_00aa, 31),
    (0xc000_0200, 24),
    (0xc0a8_0000, 16),
    (0xc612_0000, 15),
    (0xc633_6400, 24),
    (0xcb00_7100, 24),
    (0xf000_0000, 4),
    (0xffff_ffff, 32),
];
/// 192.0.0.9 and 192.0.0.10.
const PUBLIC: [u32; 2] = [0xc000_0009, 0xc000_000a];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::rules::judge;
    use crate::filter::view::{Room, Splitter};

    fn replaced(text: &str) -> String {
        let rules = [(ENTRY.build)(Default::default()).unwrap()];
        let mut room = Room::new(Splitter::WhiteSpace);
        let mut view = room.view(text);
        assert_eq!(judge(&rules, &mut view), None);
        view.text().to_owned()
    }

    #[test]
    fn addresses_are_replaced_in_turn_and_anew_for_each_document() {
        let text = "Write to a.b@c.de, x@y.org or z@z.z.\u{20}From 8.8.8.8 and 1.1.1.1.";
        let expected = "Write to email@example.com, firstname.lastname@example.org or \
                        email@example.com. From 22.214.171.124 and 126.96.36.199.";
        assert_eq!(replaced(text), expected);
        assert_eq!(replaced("me@here.com"), "email@example.com");
    }

    #[test]
    fn what_only_looks_like_an_address_stays() {
        for text in [
            "a@b",
            "@b.c",
            "a@-b.c",
            "a @b.c",
            "192.168.0.1",
            "127.0.0.1",
            "1.2.3",
            "01.2.3.4",
            "8.8.8.",
            "8.8888.8.8",
            "a@[1.2.3]",
            "100.64.0.1",
            "255.255.255.255",
        ] {
            assert_eq!(replaced(text), text);
        }
    }

    #[test]
    fn the_grammars_edges_are_the_patterns() {
        for (text, expected) in [
            ("..a.b..c@d.e", "..a.b..email@example.com"),
            ("é!a@b.c", "éemail@example.com"),
            ("éa@b.c", "éa@b.c"),
            ("a@b.c-", "email@example.com-"),
            ("a@b.c-.d", "email@example.com-.d"),
            ("a@b-.c", "a@b-.c"),
            ("a@[1.2.3.4] b@[1.2.3.x-y:]", "email@example.com firstname.lastname@example.org"),
            ("a@b.c@d.e", "email@example.com@d.e"),
            ("1234.8.8.8", "122.214.171.124"),
            ("8.8.8.256", "22.214.171.1246"),
            ("8.8.8.8.9.9.9.9", "22.214.171.124.126.96.36.199"),
        ] {
            assert_eq!(replaced(text), expected, "{text}");
        }
    }
}
