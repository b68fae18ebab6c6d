//! The report as a whole: units merge, hostile texts stay texts, odd rules do not stop it.

use proptest::prelude::*;

use super::{
    Bound, Filtered, Reader,
    axis::{Axis, Steps},
    excerpt::{Piece, pieces},
    number, page, percent,
    sample::{self, BinRow, ExampleRow, bins, edges, examples},
    screen::{COLUMNS, Screen},
};
use crate::artifact::counts::Counts;

fn screen(filtered: &Filtered, verbose: bool) -> String {
    Screen { filtered, verbose }.to_string()
}

fn bin(rule: &str, value: Option<f64>, limit: Option<f64>, tally: (u64, u64)) -> BinRow {
    BinRow {
        source: "web".into(),
        rule: rule.into(),
        bound: "at least",
        limit,
        edges: value.map(edges),
        passed: tally.0,
        failed: tally.1,
    }
}

fn example(passes: bool, value: f64, row: u64) -> ExampleRow {
    let text = "some text".to_owned();
    ExampleRow {
        rule: "r".into(),
        passes,
        value,
        limit: Some(50.0),
        row,
        text_bytes: text.len() as u64,
        text,
        spans: vec![(5, 9)],
    }
}

fn read(rows: &[BinRow]) -> Filtered {
    let mut reader = Reader::default();
    reader.histograms(&bins(rows)).unwrap();
    reader.finish(&Counts::default())
}

/// Every element of the page closes in order; `style` and `title` hold no markup.
fn assert_well_formed(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html.strip_prefix("<!doctype html>").expect("a doctype");
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>') || open.last() == Some(&"style"), "a stray `>`");
        let end = at + rest[at..].find('>').expect("a tag that closes");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '\n']).next().unwrap();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "`{tag}` is no tag of ours");
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes of `{tag}`");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "closed out of order"),
            None if tag.ends_with('/') || ["meta", "wbr"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

fn assert_nothing_acts(text: &str) {
    let acts = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert_eq!(text.find(acts), None);
}

#[test]
fn the_page_of_thirty_hostile_rules_is_well_formed_and_small() {
    for sources in [1, 3, 60] {
        let html = page(&sample::report(30, sources), "<out> & \"more\"");
        assert_well_formed(&html);
        assert!(html.len() < 2_000_000, "{} bytes with {sources} sources", html.len());
        assert_nothing_acts(&html.replace('\t', " "));
        assert!(!html.contains("<script") && !html.contains("http") && !html.contains("url("));
        assert!(html.contains("&lt;/script&gt;") && html.contains("<mark>"));
    }
}

#[test]
fn the_terminal_sees_no_control_character_and_no_long_line() {
    for sources in [1, 60] {
        let report = sample::report(30, sources);
        for text in [screen(&report, false), screen(&report, true)] {
            assert_nothing_acts(&text);
            for line in text.lines() {
                assert!(line.chars().count() <= COLUMNS, "{}: {line}", line.chars().count());
            }
            assert!(text.contains("[["));
        }
    }
}

#[test]
fn odd_rules_are_shown_as_they_are() {
    let rows = [
        bin("off", Some(7.0), None, (9, 0)),
        bin("no value", None, Some(1.0), (0, 4)),
        bin("one bin", Some(0.0), Some(0.5), (0, 5)),
        bin("negative", Some(3.0), Some(-1.0), (2, 0)),
        bin("huge", Some(1e300), Some(1e-300), (2, 0)),
        bin("nothing", Some(1.0), Some(1.0), (0, 0)),
    ];
    let report = read(&rows);
    assert_eq!(report.rules.len(), rows.len());
    assert_well_formed(&page(&report, "odd"));
    let text = screen(&report, true);
    assert!(text.contains("off  off") && text.contains("4 without a value"), "{text}");
    assert_eq!(report.rules[1].measured.share(), Some(1.0));
    let empty = Reader::default().finish(&Counts::default());
    assert_well_formed(&page(&empty, ""));
    assert!(screen(&empty, false).contains("no rule has judged"));
}

#[test]
fn an_annotated_corpus_drops_nothing_and_says_what_it_would() {
    let mut counts = Counts::default();
    let own = counts.source("web");
    (own.documents_in, own.documents_out) = (10, 10);
    counts.add_extra("would_drop r", 4);
    counts.add_extra("something else", 7);
    let mut reader = Reader::default();
    reader.histograms(&bins(&[bin("r", Some(9.0), Some(50.0), (6, 4))])).unwrap();
    let report = reader.finish(&counts);
    assert!(report.annotated && report.rules.len() == 1);
    assert_eq!((report.total.dropped, report.rules[0].dropped), (0, 4));
    let text = screen(&report, false);
    assert!(text.contains("would drop 4"), "{text}");
    assert!(page(&report, "a").contains("would drop first"));
}

#[test]
fn the_nearest_three_of_each_side_stay_and_ties_go_by_place() {
    let values = [10.0, 49.0, 49.0, 40.0, 49.0, 49.0];
    let rows: Vec<ExampleRow> = values
        .iter()
        .zip([5, 9, 4, 1, 3, 7])
        .map(|(value, row)| example(false, *value, row))
        .collect();
    let mut reader = Reader::default();
    rows.iter().for_each(|row| reader.examples(&examples(std::slice::from_ref(row))).unwrap());
    reader.examples(&examples(&[example(true, 900.0, 8)])).unwrap();
    let report = reader.finish(&Counts::default());
    let nearest = &report.rules[0].nearest;
    assert_eq!(nearest.fails.iter().map(|one| one.row).collect::<Vec<_>>(), [4, 9, 1]);
    assert_eq!(nearest.passes.iter().map(|one| one.row).collect::<Vec<_>>(), [8]);
    assert_eq!(nearest.fails[0].spans, [(5, 9)]);
}

#[test]
fn a_column_that_is_missing_or_of_another_type_is_named() {
    let batch = bins(&[bin("r", Some(1.0), None, (1, 0))]);
    let error = Reader::default().examples(&batch).unwrap_err();
    assert_eq!(error.to_string(), "example rows have no column `passes`");
    let at = batch.schema().index_of("passed").unwrap();
    let mut columns: Vec<_> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .zip(batch.columns().to_vec())
        .collect();
    columns[at].1 = columns[0].1.clone();
    let batch = arrow::record_batch::RecordBatch::try_from_iter(columns).unwrap();
    let error = Reader::default().histograms(&batch).unwrap_err();
    assert_eq!(error.to_string(), "the column `passed` of histogram rows is of type Utf8");
}

#[test]
fn other_limits_say_how_many_documents_would_change_sides() {
    let rows =
        [(40.0, 0, 10), (46.0, 0, 5), (49.0, 0, 2), (50.0, 7, 0), (54.0, 6, 0), (90.0, 70, 0)];
    let rows: Vec<BinRow> = rows
        .map(|(value, passed, failed)| bin("r", Some(value), Some(50.0), (passed, failed)))
        .into();
    let moved = &read(&rows).rules[0].moved;
    assert_eq!(moved.iter().map(|moved| moved.limit).collect::<Vec<_>>(), [44.0, 56.0]);
    // Every fifth document of a side is another rule's too.
    let documents: Vec<_> = moved.iter().map(|moved| (moved.drops, moved.documents)).collect();
    assert_eq!(documents, [(false, 5 - 1 + 2), (true, 7 - 1 + 6 - 1)]);
}

#[test]
fn each_kind_of_value_gets_its_axis() {
    let axis = |values: &[f64], bound, limit| {
        let rows: Vec<BinRow> =
            values.iter().map(|value| bin("r", Some(*value), limit, (1, 0))).collect();
        let histogram = read(&rows).rules[0].histogram();
        Axis::new(&histogram.bins, bound, limit, 40).unwrap()
    };
    let stop_words = axis(&[0.0, 1.0, 5.0], Bound::AtLeast, Some(2.0));
    assert_eq!((stop_words.steps, stop_words.cells.len()), (Steps::Whole, 6));
    assert_eq!(stop_words.limit, Some(2.0 / 6.0), "before the bar of 2");
    let most = axis(&[0.0, 1.0, 5.0], Bound::AtMost, Some(2.0));
    assert_eq!(most.limit, Some(3.0 / 6.0), "behind the bar of 2");
    let share = axis(&[0.0, 0.7, 1.0], Bound::AtMost, Some(0.3));
    assert_eq!((share.steps, share.cells.len()), (Steps::Equal, 18));
    let words = axis(&[1.0, 33.0, 70_000.0], Bound::AtLeast, Some(50.0));
    assert_eq!(words.steps, Steps::Octaves);
    assert!(words.cells.len() <= 42, "{}", words.cells.len());
    let small = axis(&[0.001, 0.5], Bound::AtMost, Some(0.01));
    assert_eq!(small.steps, Steps::Octaves, "equal steps would hide the limit");
}

#[test]
fn numbers_keep_three_digits() {
    let shown = [0.0, 50.0, 100_000.0, 0.67, 0.012345, 4.5678, 123.456, -0.5, 1e-9].map(number);
    assert_eq!(shown, ["0", "50", "100,000", "0.67", "0.0123", "4.57", "123", "-0.5", "1.00e-9"]);
    let shares = [0.0, 0.00001, 0.0012, 0.5, 0.99999, 1.0].map(|share| percent(Some(share)));
    assert_eq!(shares, ["0%", "<0.01%", "0.12%", "50.0%", ">99.9%", "100%"]);
}

#[test]
fn an_excerpt_spares_graphemes_and_shows_every_span_it_has_room_for() {
    let text = format!("{}needle{}", "e\u{301} ".repeat(400), "👩‍👩‍👧‍👦".repeat(100));
    let at = text.find("needle").unwrap() as u64;
    let found = pieces(&text, &[(at, at + 6)], 120);
    assert!(found.contains(&Piece::Marked("needle")), "{found:?}");
    for piece in &found {
        let Piece::Text(text) = piece else { continue };
        assert!(!text.starts_with(['\u{301}', '\u{200d}']), "{found:?}");
    }
}

proptest! {
    #[test]
    fn bins_add_up_however_units_are_split(
        values in prop::collection::vec(
            (0usize..3, 0usize..3, 0u32..400, 0u64..50, 0u64..50),
            1..80,
        ),
        cuts in prop::collection::vec(0usize..80, 0..6),
    ) {
        let rows: Vec<BinRow> = values
            .iter()
            .map(|&(rule, source, value, passed, failed)| {
                let value = (value > 3).then(|| f64::from(value - 4) / 16.0);
                let row = bin(&format!("r{rule}"), value, Some(5.0), (passed, failed));
                BinRow { source: format!("s{source}"), ..row }
            })
            .collect();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(rows.len())).collect();
        cuts.extend([0, rows.len()]);
        cuts.sort_unstable();
        let mut reader = Reader::default();
        for pair in cuts.windows(2) {
            reader.histograms(&bins(&rows[pair[0]..pair[1]])).unwrap();
        }
        let whole = read(&rows);
        prop_assert_eq!(&reader.finish(&Counts::default()), &whole);
        let all: u64 = rows.iter().map(|row| row.passed + row.failed).sum();
        let measured = whole.rules.iter().map(|rule| rule.measured.documents());
        prop_assert_eq!(measured.sum::<u64>(), all);
        for rule in &whole.rules {
            let histogram = rule.histogram();
            if let Some(axis) = Axis::new(&histogram.bins, rule.bound, rule.limit, 30) {
                let drawn: u64 = axis.fill(&histogram).iter().map(|tally| tally.documents()).sum();
                prop_assert_eq!(drawn + histogram.no_value.documents(), rule.measured.documents());
            }
        }
    }

    #[test]
    fn pieces_and_gaps_are_the_text(
        text in "(\\PC|\n){0,300}",
        spans in prop::collection::vec((0u64..400, 0u64..400), 0..12),
        budget in 0usize..300,
    ) {
        let found = pieces(&text, &spans, budget);
        let (mut at, mut shown) = (0, 0);
        for piece in &found {
            match piece {
                Piece::Gap(bytes) => at += bytes,
                Piece::Text(part) | Piece::Marked(part) => {
                    prop_assert_eq!(*part, &text[at..at + part.len()]);
                    at += part.len();
                    shown += part.len();
                }
            }
        }
        prop_assert_eq!(at, text.len());
        prop_assert!(shown <= budget || text.len() <= budget, "{} of {}", shown, budget);
    }
}
