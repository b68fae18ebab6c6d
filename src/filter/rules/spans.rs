//! The parts of a text that a rule counts against it: gathered, in order, and bounded.
//!
//! Byte ranges in → at most [`MOST`] of them, ascending and apart from each other: empty ones are
//! left out, those that touch or overlap are merged. [`find`] asks one rule of a preset for its
//! spans, in the text as that rule saw it. Invariant: what is marked is what the rule's measure
//! counted, found by the same parts of the view. Cost: linear; rule sets that only measure are not
//! run at all.

use super::RuleSet;
use crate::filter::view::{GIANT, View};
use std::ops::{ControlFlow, Range};

/// The most spans of one rule in one document; any further ones are left unmarked.
pub const MOST: usize = 2000;

/// The first [`MOST`] spans after merging the ranges, which must begin in ascending order.
pub fn gather(ranges: impl IntoIterator<Item = Range<usize>>) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        let count = spans.len();
        match spans.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ if count == MOST => break,
            _ => spans.push(range),
        }
    }
    spans
}

/// Every place where one of the signs stands.
pub fn of_signs(text: &str, signs: &[&str]) -> Vec<Range<usize>> {
    let places = |sign: &&str| {
        let found = memchr::memmem::find_iter(text.as_bytes(), sign.as_bytes());
        gather(found.map(|at| at..at + sign.len()))
    };
    let mut all: Vec<Range<usize>> = signs.iter().flat_map(places).collect();
    all.sort_unstable_by_key(|range| (range.start, range.end));
    gather(all)
}

/// The byte range of a piece within the text that it is a slice of.
pub fn place(text: &str, piece: &str) -> Range<usize> {
    let start = piece.as_ptr() as usize - text.as_ptr() as usize;
    start..start + piece.len()
}

/// The spans of `rule`, which belongs to the rule set at `owner`, and the view with the text as
/// that rule saw it: edited by the rule sets before it, in their mode that reports every value, and
/// by its own set up to that rule. A page that C4's rules drop is shown unedited.
///
/// The view must be fresh. It needs no columns: no rule that reads one edits or has spans.
pub fn find<'d>(
    rule_sets: &[Box<dyn RuleSet>],
    owner: usize,
    rule: &str,
    view: View<'d>,
) -> (Vec<Range<usize>>, View<'d>) {
    let mut view = view.complete();
    for rule_set in rule_sets[..owner].iter().filter(|rule_set| rule_set.edits()) {
        let _ = rule_set.measure(&mut view, &mut |_| ControlFlow::Continue(()));
    }
    let mut view = view.quick();
    if rule_sets[owner].edits() {
        let _ = rule_sets[owner].measure(&mut view, &mut |measure| match measure.rule == rule {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
    }
    // A giant keeps no positions of its words in the text.
    let is_giant = view.text().len() >= GIANT;
    let spans = if is_giant { Vec::new() } else { rule_sets[owner].spans(rule, &mut view) };
    (spans, view)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::rules::{Limit, Measure, RULE_SETS, RuleInfo};
    use crate::filter::view::{Room, Splitter};
    use proptest::prelude::*;

    #[test]
    fn ranges_that_touch_or_overlap_are_one_and_empty_ones_none() {
        let gathered = gather([0..0, 1..3, 3..4, 4..4, 6..9, 7..8, 11..12]);
        assert_eq!(gathered, [1..4, 6..9, 11..12]);
        let many = gather((0..10_000).map(|at| 2 * at..2 * at + 1));
        assert_eq!((many.len(), many[MOST - 1].clone()), (MOST, 3998..3999));
    }

    #[test]
    fn signs_are_found_in_order_whichever_they_are() {
        assert_eq!(of_signs("a...b#…#c . . .", &["#", "...", "…", ". . ."]), [1..4, 5..10, 12..17]);
    }

    type Rules = Vec<Box<dyn RuleSet>>;

    fn build(name: &str) -> Rules {
        let entry = RULE_SETS.iter().find(|entry| entry.name == name).unwrap();
        vec![(entry.build)(Default::default()).unwrap()]
    }

    /// What a rule marks in a text, and the text that it sees.
    fn marked(set: &str, rule: &str, text: &str) -> (Vec<String>, String) {
        let mut room = Room::new(Splitter::reference());
        let (found, view) = find(&build(set), 0, rule, room.view(text));
        let text = view.text();
        let pieces = found.into_iter().map(|span| text[span].to_owned());
        (pieces.collect(), text.to_owned())
    }

    fn assert_marks(set: &str, text: &str, cases: &[(&str, &[&str])]) {
        for (rule, expected) in cases {
            assert!(RULE_SETS.iter().any(|entry| entry.rules.iter().any(|own| own.rule == *rule)));
            assert_eq!(marked(set, rule, text).0, *expected, "{rule} in {text:?}");
        }
    }

    #[test]
    fn repetition_marks_copies_and_runs() {
        let text = "  One é.\nTwo.\n\nTwo.\n\n\nOne é.\nTwo.\n\nTwo.  ";
        let copies: &[&str] = &["One é.\nTwo.", "Two."];
        assert_marks(
            "gopher_repetition",
            text,
            &[
                ("repetition/dup_para_frac", copies),
                ("repetition/dup_para_char_frac", copies),
                // The first line begins and the last ends with spaces.
                ("repetition/dup_line_frac", &["Two.", "Two."]),
                ("repetition/dup_line_char_frac", &["Two.", "Two."]),
            ],
        );
        let text = "to be or to be or\n to be a b c d e f g h i j k a b c d e f g h i j k";
        let ten = "a b c d e f g h i j";
        assert_marks(
            "gopher_repetition",
            text,
            &[
                ("repetition/empty", &[]),
                ("repetition/top_2_gram", &["to be", "to be", "to be"]),
                // The first of those that occur twice.
                ("repetition/top_3_gram", &["to be or", "to be or"]),
                // Its occurrences share a word.
                ("repetition/top_4_gram", &["to be or to be or\n to"]),
                (
                    "repetition/duplicated_5_n_grams",
                    &["to be or\n to be", "a b c d e", "f g h i j"],
                ),
                ("repetition/duplicated_10_n_grams", &[ten]),
            ],
        );
    }

    #[test]
    fn quality_marks_signs_lines_and_words() {
        let text = "- one # two ##\n  • three...\nfour 5 — six…  \n7-";
        assert_marks(
            "gopher_quality",
            text,
            &[
                ("quality/gopher_short_doc", &[]),
                ("quality/gopher_too_many_hashes", &["#", "##"]),
                ("quality/gopher_too_many_ellipsis", &["...", "…"]),
                ("quality/gopher_too_many_bullets", &["- one # two ##", "  • three..."]),
                ("quality/gopher_too_many_end_ellipsis", &["  • three...", "four 5 — six…  "]),
                (
                    "quality/gopher_below_alpha_threshold",
                    &["-", "#", "##", "•", "...", "5", "—", "…", "7-"],
                ),
                ("quality/gopher_enough_stop_words", &[]),
            ],
        );
    }

    #[test]
    fn c4_marks_what_drops_the_page_behind_citations_and_capitals() {
        let text = concat!(
            "{ in a line. And more of it here.\n",
            "Here is a İLOREM[1] ipsum { and Lorem Ipsum.\n",
            "{ x\nA { and a {{ in this line javascript.",
        );
        let lines = [
            ("c4/lorem_ipsum", &["LOREM[1] ipsum", "Lorem Ipsum"] as &[&str]),
            // A line that is dropped, or breaks the other rule, does not count.
            ("c4/curly_bracket", &["{"]),
            ("c4/too_few_sentences", &[]),
        ];
        assert_marks("c4_quality", text, &lines);
        let (_, seen) = marked("c4_quality", "c4/lorem_ipsum", text);
        assert_eq!(seen, text, "a page that goes is not edited");
    }

    #[test]
    fn fineweb_marks_lines_and_breaks() {
        let long = "This line has more than thirty characters, and no end ";
        let text = format!("One.\n\n{long}\nOne.\n \n{long}\n");
        assert_marks(
            "fineweb_quality",
            &text,
            &[
                ("fineweb/line_punct_ratio", &[long, long]),
                ("fineweb/short_line_ratio", &["One.", "One."]),
                ("fineweb/char_dup_ratio", &["One.", long]),
                ("fineweb/list_ratio", &["\n\n", "\n", "\n", "\n", "\n"]),
            ],
        );
    }

    #[test]
    fn dclm_marks_in_the_text_without_addresses() {
        let text =
            "The http://a.com # one . . .\n* two… \nThe # one . . .\n\n\n\nThe 1 2\n\n*\n\nThe 1 2";
        let (_, seen) = marked("dclm", "dclm/symbol_ratio_filter", text);
        assert_eq!(seen, "The # one . . .\n* two… \nThe # one . . .\n\nThe 1 2\n\n*\n\nThe 1 2");
        assert_marks(
            "dclm",
            text,
            &[
                ("dclm/symbol_ratio_filter", &["#", ". . .", "…", "#", ". . ."]),
                ("dclm/bullet_count_filter", &["* two…", "*"]),
                ("dclm/ellipsis_count_filter", &["The # one . . .", "* two…", "The # one . . ."]),
                (
                    "dclm/alphabetic_word_ratio_filter",
                    &["#", ".", ".", ".", "*", "#", ".", ".", ".", "1", "2", "*", "1", "2"],
                ),
                (
                    "dclm/repetition_filter.line",
                    &["The # one . . .", "The # one . . .", "The 1 2", "The 1 2"],
                ),
                ("dclm/repetition_filter.paragraph_chars", &["The 1 2", "The 1 2"]),
                ("dclm/repetition_filter.2", &["The # one", "The # one"]),
                ("dclm/repetition_filter.3", &["The 1 2", "The 1 2"]),
                ("dclm/line_modifiers", &[]),
            ],
        );
        let runs = "a b c d e f. x a b c d e f y";
        let run = "a b c d e f";
        assert_marks("dclm", runs, &[("dclm/repetition_filter.5", &[run, run])]);
        assert_marks("dclm", runs, &[("dclm/repetition_filter.7", &[])]);
    }

    #[test]
    fn personal_data_is_marked_as_it_is_replaced() {
        let text = "a@b.c and 8.8.8.8 or 127.0.0.1";
        assert_marks("pii", text, &[("pii/ips", &["22.214.171.124"])]);
        assert_marks("pii", text, &[("pii/emails", &["email@example.com"])]);
        let mut room = Room::new(Splitter::WhiteSpace);
        let spans = build("pii")[0].spans("pii/ips", &mut room.view(text));
        assert_eq!(&text[spans[0].clone()], "8.8.8.8");
        assert_eq!(spans.len(), 1, "the private one stays");
    }

    /// Every rule set that needs no file, at its defaults.
    fn every() -> Vec<(Rules, &'static [RuleInfo])> {
        let with_rules = |entry: &crate::filter::rules::Entry| {
            let built = (entry.build)(Default::default()).ok()?;
            Some((vec![built], entry.rules))
        };
        RULE_SETS.iter().filter_map(with_rules).collect()
    }

    fn check(rule_sets: &Rules, rules: &[RuleInfo], room: &mut Room, text: &str) {
        let mut view = room.view(text).complete();
        let mut measures: Vec<Measure> = Vec::new();
        let _ = rule_sets[0].measure(&mut view, &mut |measure| {
            measures.push(measure);
            ControlFlow::Continue(())
        });
        assert!(view.edited().is_none() || rule_sets[0].edits(), "{}", rules[0].rule);
        drop(view);
        for info in rules {
            let (found, view) = find(rule_sets, 0, info.rule, room.view(text));
            let text = view.text();
            let mut end = None;
            for span in &found {
                assert!(end < Some(span.start) && span.start < span.end, "{found:?}");
                assert!(text.get(span.clone()).is_some(), "{} {span:?}", info.rule);
                end = Some(span.end);
            }
            assert!(found.len() <= MOST);
            let measure = measures.iter().find(|measure| measure.rule == info.rule).unwrap();
            let is_at_least = matches!(measure.limit, Limit::AtLeast(_));
            if !found.is_empty() && !is_at_least {
                assert!(measure.value > 0.0, "{measure:?} marks {found:?}");
            }
        }
    }

    #[test]
    fn long_runs_of_anything_are_marked_in_linear_time() {
        let mut room = Room::new(Splitter::reference());
        for piece in
            ["a", "\n", " ", "a\n", "\u{301}", "a ", "a b c d e\n", ". ", "[", "#", "{", "..."]
        {
            let text = piece.repeat(60_000 / piece.len());
            every().iter().for_each(|(sets, rules)| check(sets, rules, &mut room, &text));
        }
    }

    proptest! {
        #[test]
        fn spans_lie_in_the_text_apart_and_in_order(
            text in prop_oneof![
                "[a-cé#.…•{\\[\\]1@ \n\u{85}\u{301}İ-]{0,120}",
                "(lorem ipsum|LOREM|[0-9]\\.|a@b\\.c|\\. \\. \\.|\\[1\\]|[ \n]{1,3}|\\PC){0,60}",
                "(a|b|no|where|nowhere|éé)([ \n]|, ){0,90}",
                "((a|b|no|where|nowhere|éé)([ \n]|, )){0,90}",
            ],
            white in any::<bool>()
        ) {
            let splitter = if white { Splitter::WhiteSpace } else { Splitter::reference() };
            let mut room = Room::new(splitter);
            every().iter().for_each(|(sets, rules)| check(sets, rules, &mut room, &text));
        }
    }
}
