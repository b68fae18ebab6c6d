//! C4's rules for lines and pages: they edit the text, and drop what is left with too little.
//!
//! In: lines of a document. Out: the text without the lines that fail and without citation marks,
//! and three measures. Reference: Raffel et al. 2020, "Exploring the Limits of Transfer Learning",
//! section 2.2 (JMLR 21, 20-074), with the order, thresholds and reading of datatrove 0.10
//! (`src/datatrove/pipeline/filters/c4_filters.py`). FineWeb sets `filter_no_terminal_punct` to
//! false. Method: lines are those of `str.splitlines()`, stripped. A search for the phrases over
//! the text, blind to case, settles them for nearly every document; else each line is lower-cased.
//! Invariants: verdict, rule, value and edited text equal datatrove's with the same sentences; a
//! dropped document's text stays, unless every value is asked for. Cost: five searches of the text,
//! one copy, sentences of the first lines.

use super::phrases::Phrases;
use super::{Entry, Measure, Report, RuleInfo, RuleSet, spans};
use crate::base::config;
use crate::filter::view::lines::{python_lines, strip};
use crate::filter::view::{Draft, Edit, View};
use crate::text::count_chars;
use crate::text::digits::is_decimal;
use crate::text::is_white_space;
use memchr::memchr;
use serde::{Deserialize, Serialize};
use std::ops::{ControlFlow, Range};

/// The line of the registry.
pub const ENTRY: Entry = Entry {
    name: "c4_quality",
    summary: "edits: drops lines without terminal punctuation, of few words, with a word without \
              end, about cookies or javascript, and citation marks; drops pages with `{`, with \
              filler text or of few sentences",
    reference: "C4 (JMLR 21, 20-074) as in datatrove 0.10",
    rules: RULES,
    limits: None,
    build: |table| Ok(Box::new(C4Quality::new(config::parse(table, "`c4_quality`")?))),
};

/// The rules, as the reference calls them.
const LOREM: &str = "c4/lorem_ipsum";
const BRACKET: &str = "c4/curly_bracket";
const SENTENCES: &str = "c4/too_few_sentences";

const RULES: &[RuleInfo] = &[
    RuleInfo::switch(LOREM, "filter_lorem_ipsum", "`lorem ipsum` in a line"),
    RuleInfo::switch(BRACKET, "filter_curly_bracket", "`{` in a line"),
    RuleInfo::new(SENTENCES, "min_sentences", "sentences in the lines that stay"),
];

/// The thresholds; a number of 0 turns its rule off.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct C4QualityConfig {
    /// Takes `[12]`, `[edit]` and `[citation needed]` out. C4: true.
    pub remove_citations: bool,
    /// Drops lines that do not end in `.`, `?`, `!`, `"` or `'`, or end in `...`. C4: true;
    /// FineWeb: false.
    pub filter_no_terminal_punct: bool,
    /// Fewest sentences of a page, in the lines that stay. C4: 5.
    pub min_sentences: usize,
    /// Fewest words of a line, cut at white space. C4: 3.
    pub min_words_per_line: usize,
    /// Most code points of a word in a line. C4: 1,000.
    pub max_word_length: usize,
    /// Drops pages with `lorem ipsum`. C4: true.
    pub filter_lorem_ipsum: bool,
    /// Drops lines with `javascript`. C4: true.
    pub filter_javascript: bool,
    /// Drops pages with `{`. C4: true.
    pub filter_curly_bracket: bool,
    /// Drops lines about cookies, terms of use and privacy policies. C4: true.
    pub filter_policy: bool,
}

impl Default for C4QualityConfig {
    fn default() -> C4QualityConfig {
        C4QualityConfig {
            remove_citations: true,
            filter_no_terminal_punct: true,
            min_sentences: 5,
            min_words_per_line: 3,
            max_word_length: 1000,
            filter_lorem_ipsum: true,
            filter_javascript: true,
            filter_curly_bracket: true,
            filter_policy: true,
        }
    }
}

const LOREM_IPSUM: &str = "lorem ipsum";

/// Phrases of policy notices: a line with one of them is dropped.
const POLICIES: [&str; 6] = [
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
];

/// C4's rules with their thresholds.
pub struct C4Quality {
    config: C4QualityConfig,
    /// What any phrase holds: without one of these in a text, no line has a phrase.
    hints: Phrases,
}

/// What the lines of a document came to.
#[derive(Default)]
struct Tally {
    kept: usize,
    sentences: usize,
    /// Rules that drop the page, in the order in which lines broke them.
    broken: Vec<&'static str>,
}

/// What is known of all lines at once, and room for one in lower case.
struct Outlook {
    phrases: bool,
    brackets: bool,
    lower: String,
}

/// What becomes of a line.
#[derive(PartialEq)]
enum Fate {
    Stays,
    Goes,
    /// The page is dropped, by this rule.
    Drops(&'static str),
}

impl C4Quality {
    /// All values make sense.
    pub fn new(config: C4QualityConfig) -> C4Quality {
        let hints = ["lorem ipsum", "javascript", "policy", "cookies", "terms of use"];
        C4Quality { config, hints: Phrases::new(&hints) }
    }

    /// Writes the lines that stay, and counts. Unless `complete`, it stops at the first line that
    /// drops the page, and counts no more sentences than are asked for.
    fn write_lines(&self, text: &str, draft: &mut Draft<'_>, complete: bool) -> Tally {
        let mut outlook = self.outlook(text);
        let mut tally = Tally::default();
        for line in python_lines(text) {
            let before = draft.text.len();
            if tally.kept > 0 {
                draft.text.push('\n');
            }
            let start = draft.text.len();
            match self.write_line(strip(line), draft.text, &mut outlook) {
                Fate::Goes => {
                    draft.text.truncate(before);
                    continue;
                }
                Fate::Drops(rule) => {
                    tally.broken.extend((!tally.broken.contains(&rule)).then_some(rule));
                    if !complete {
                        break;
                    }
                }
                Fate::Stays => (),
            }
            tally.kept += 1;
            if complete || tally.sentences < self.config.min_sentences {
                tally.sentences += draft.count_sentences_from(start);
            }
        }
        tally
    }

    fn outlook(&self, text: &str) -> Outlook {
        Outlook {
            phrases: self.hints.may_be_in(text),
            brackets: memchr(b'{', text.as_bytes()).is_some(),
            lower: String::new(),
        }
    }

    /// Wherever a phrase, or a bracket, stands in the lines for which `rule` drops the page.
    fn offences(&self, text: &str, rule: &'static str, sign: &str) -> Vec<Range<usize>> {
        let (mut outlook, mut out) = (self.outlook(text), String::new());
        let (mut small, mut origins) = (String::new(), Vec::new());
        let mut found = Vec::new();
        for line in python_lines(text).map(strip) {
            out.clear();
            if self.write_line(line, &mut out, &mut outlook) != Fate::Drops(rule) {
                continue;
            }
            lower_with_origins(line, self.config.remove_citations, &mut small, &mut origins);
            let start = spans::place(text, line).start;
            found.extend(small.match_indices(sign).map(|(at, _)| {
                let (first, last) = (&origins[at], &origins[at + sign.len() - 1]);
                start + first.start..start + last.end
            }));
            if found.len() > spans::MOST {
                break;
            }
        }
        spans::gather(found)
    }

    /// Appends a stripped line without its citations to `out`, and judges it.
    fn write_line(&self, line: &str, out: &mut String, outlook: &mut Outlook) -> Fate {
        let config = &self.config;
        if config.max_word_length > 0 && has_long_word(line, config.max_word_length) {
            return Fate::Goes;
        }
        let start = out.len();
        let is_cited = if config.remove_citations {
            push_uncited(line, out)
        } else {
            out.push_str(line);
            false
        };
        let own = &out[start..];
        let is_open = || !own.ends_with(['.', '?', '!', '"', '\'']) || own.ends_with("...");
        if config.filter_no_terminal_punct && is_open() {
            return Fate::Goes;
        }
        if !has_words(line, config.min_words_per_line) {
            return Fate::Goes;
        }
        let lower = &mut outlook.lower;
        lower.clear();
        if outlook.phrases || is_cited {
            crate::text::lower(own, lower);
        }
        if config.filter_lorem_ipsum && lower.contains(LOREM_IPSUM) {
            Fate::Drops(LOREM)
        } else if config.filter_javascript && lower.contains("javascript") {
            Fate::Goes
        } else if config.filter_curly_bracket && outlook.brackets && own.contains('{') {
            Fate::Drops(BRACKET)
        } else if config.filter_policy && POLICIES.iter().any(|phrase| lower.contains(phrase)) {
            Fate::Goes
        } else {
            Fate::Stays
        }
    }
}

impl RuleSet for C4Quality {
    fn config(&self) -> serde_json::Value {
        serde_json::json!(self.config)
    }

    fn measure(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let complete = view.is_complete();
        let least = self.config.min_sentences;
        let tally = view.edit(|text, draft| {
            let tally = self.write_lines(text, draft, complete);
            // Where every value is asked for, later rules see the text that would be left, whatever
            // this rule says.
            if !complete && (!tally.broken.is_empty() || tally.sentences < least) {
                return Edit::None(tally);
            }
            let kept = strip(draft.text);
            let start = kept.as_ptr() as usize - draft.text.as_ptr() as usize;
            let end = start + kept.len();
            draft.text.truncate(end);
            draft.text.drain(..start);
            Edit::Take(tally)
        });
        // A page that breaks both of its rules is dropped by the one that a line broke first.
        let bracket_first = tally.broken.first() == Some(&BRACKET);
        let order = if bracket_first { [BRACKET, LOREM] } else { [LOREM, BRACKET] };
        for rule in order {
            let is_broken = f64::from(u8::from(tally.broken.contains(&rule)));
            report(Measure::at_most(rule, is_broken, 0.0))?;
        }
        report(Measure::at_least(SENTENCES, tally.sentences as f64, least as f64))
    }

    fn edits(&self) -> bool {
        true
    }

    fn spans(&self, rule: &str, view: &mut View<'_>) -> Vec<Range<usize>> {
        match rule {
            LOREM => self.offences(view.text(), LOREM, LOREM_IPSUM),
            BRACKET => self.offences(view.text(), BRACKET, "{"),
            _ => Vec::new(),
        }
    }
}

/// Appends `line` without `[12]`, `[edit]` and `[citation needed]`; whether there were any.
fn push_uncited(line: &str, out: &mut String) -> bool {
    let before = out.len();
    uncited(line).for_each(|piece| out.push_str(piece));
    out.len() - before < line.len()
}

/// What lies between the citations of a line.
fn uncited(line: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(line);
    std::iter::from_fn(move || {
        let rest = next.take()?;
        let cited = memchr::memchr_iter(b'[', rest.as_bytes())
            .find_map(|start| Some((start, citation_length(&rest[start..])?)));
        let Some((start, length)) = cited else { return Some(rest) };
        next = Some(&rest[start + length..]);
        Some(&rest[..start])
    })
}

/// A line in lower case, without its citations if they are `removed`, in place of what `small`
/// held; for each byte, where in the line the character stands that it comes of.
fn lower_with_origins(
    line: &str,
    removed: bool,
    small: &mut String,
    origins: &mut Vec<Range<usize>>,
) {
    small.clear();
    origins.clear();
    let whole = (!removed).then_some(line).into_iter();
    for piece in whole.chain(removed.then(|| uncited(line)).into_iter().flatten()) {
        let start = spans::place(line, piece).start;
        for (at, char) in piece.char_indices() {
            crate::text::lower(char.encode_utf8(&mut [0; 4]), small);
            origins.resize(small.len(), start + at..start + at + char.len_utf8());
        }
    }
}

/// Bytes of the citation mark that `text` begins with.
fn citation_length(text: &str) -> Option<usize> {
    let fixed = ["[edit]", "[citation needed]"];
    if let Some(mark) = fixed.iter().find(|mark| text.starts_with(**mark)) {
        return Some(mark.len());
    }
    let end = text[1..].find(|char| !is_decimal(char))? + 1;
    text[end..].starts_with(']').then_some(end + 1)
}

/// Whether a line has at least `least` words, without reading further.
fn has_words(line: &str, least: usize) -> bool {
    line.split(is_white_space).filter(|word| !word.is_empty()).take(least).count() == least
}

/// Whether a run without white space has more than `most` code points. Looks at one place in
/// `most` bytes and back from there to white space.
fn has_long_word(line: &str, most: usize) -> bool {
    let mut rest = line;
    while rest.len() > most {
        let ahead = rest.ceil_char_boundary(most + 1);
        match rest[..ahead].char_indices().rfind(|&(_, char)| is_white_space(char)) {
            Some((at, char)) => rest = &rest[at + char.len_utf8()..],
            None => {
                let end = rest[ahead..].find(is_white_space).map_or(rest.len(), |at| ahead + at);
                if count_chars(&rest.as_bytes()[..end]) > most {
                    return true;
                }
                rest = &rest[end..];
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::rules::judge;
    use crate::filter::view::{Room, Splitter};
    use proptest::prelude::*;

    /// The rule that drops a text, and the text that stays.
    fn outcome(config: &str, text: &str) -> (Option<&'static str>, String) {
        let rules = [(ENTRY.build)(config.parse().unwrap()).unwrap()];
        let mut room = Room::new(Splitter::WhiteSpace);
        let mut view = room.view(text);
        let verdict = judge(&rules, &mut view);
        (verdict.map(|verdict| verdict.rule), view.text().to_owned())
    }

    const LINES: &str = "filter_no_terminal_punct = false\nmin_sentences = 0";

    #[test]
    fn lines_are_edited_and_pages_dropped() {
        let kept = |text| outcome(LINES, text);
        let long = format!("one two {}\nand a second line", "x".repeat(1001));
        for (text, left) in [
            (
                "  a line of words \r\nshort one\n\nanother line of words",
                "a line of words\nanother line of words",
            ),
            ("it is so[1][٢] there[] as [edit][1a]\n[1] [2] [edit]", "it is so there as [1a]"),
            ("please turn JavaScript on\nwe use cooKies here\nour Privacy Policy is", ""),
            ("we use coo\u{212a}ies here\njava[1]script is gone too", ""),
            (&long, "and a second line"),
        ] {
            assert_eq!(kept(text), (None, left.to_owned()), "{text:?}");
        }
        let text = "{ short\nhere is a Lorem Ipsum for you\nand { one more";
        assert_eq!(kept(text), (Some("c4/lorem_ipsum"), text.to_owned()));
        let text = "a { b c\nhere is a Lorem Ipsum for you";
        assert_eq!(kept(text), (Some("c4/curly_bracket"), text.to_owned()));
    }

    #[test]
    fn terminal_punctuation_is_asked_for_unless_turned_off() {
        let text = "This one ends.\nThis one does not\nThis trails off...\n\"And this is it\"";
        let (rule, left) = outcome("min_sentences = 2", text);
        assert_eq!((rule, left.as_str()), (None, "This one ends.\n\"And this is it\""));
        assert_eq!(outcome("", text), (Some("c4/too_few_sentences"), text.to_owned()));
    }

    proptest! {
        #[test]
        fn a_long_word_is_found_wherever_it_stands(
            text in "[ab€😀 \u{3000}]{0,60}", most in 1usize..9
        ) {
            let longest = text.split(is_white_space).map(|word| word.chars().count()).max();
            prop_assert_eq!(has_long_word(&text, most), longest > Some(most));
        }
    }
}
