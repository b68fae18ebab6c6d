//! What a filter did, for a terminal.
//!
//! In → a report; out → lines of at most [`COLUMNS`] columns: the cost of each rule, then a block a
//! rule with its histogram in block characters, a bar where the limit stands. Nearest documents
//! follow for the rules that drop most, or for all ([`Screen`]). Invariants: control characters of
//! texts, ids and names never reach the terminal; a bin that the limit cuts is drawn as two cells,
//! by verdict. Cost: a few kilobytes a rule.

use std::fmt;

use super::{
    Bound, Example, Filtered, Flow, Rule, Tally,
    axis::{Axis, Cell, drawn_max},
    beside,
    excerpt::{Piece, pieces, stand_in},
    number, percent, ratio,
};
use crate::{
    base::size::Count,
    inspect::table::{Table, count},
};

/// Columns of the widest line.
pub const COLUMNS: usize = 100;
/// Rules whose documents are shown without being asked for, by what they drop.
const RULES_SHOWN: usize = 3;
/// Cells of a histogram.
const CELLS: usize = 44;
/// Stands for a cell that is cut, as it would flatten all others.
const CUT: char = '▲';
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A report on its way to the terminal.
pub struct Screen<'a> {
    pub filtered: &'a Filtered,
    /// Documents beside every limit, not only for the rules that drop most.
    pub verbose: bool,
}

impl fmt::Display for Screen<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Filtered { rules, total, .. } = self.filtered;
        if rules.is_empty() {
            return write!(f, "no rule has judged a document");
        }
        write!(f, "{}", costs(self.filtered))?;
        let measured = self.filtered.measured();
        write!(
            f,
            "\n\n  fails: of {} documents that every rule has measured{}; dropped: of all",
            count(measured),
            if measured < total.documents_in { ", a sample" } else { "" }
        )?;
        let mut order: Vec<usize> = (0..rules.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(rules[*at].dropped));
        let shown = if self.verbose { rules.len() } else { RULES_SHOWN };
        let shown = &order[..shown.min(rules.len())];
        let silent = |rule: &Rule| rule.dropped == 0 && rule.measured.failed == 0;
        for (at, rule) in rules.iter().enumerate() {
            if !self.verbose && silent(rule) && rule.measured.documents() > 0 {
                continue;
            }
            write!(f, "\n\n")?;
            block(f, self.filtered, total, rule)?;
            if shown.contains(&at) && (self.verbose || rule.dropped > 0) {
                documents(f, rule)?;
            }
        }
        Ok(())
    }
}

/// One row a rule: what it costs, and which source pays most.
fn costs(filtered: &Filtered) -> Table {
    let dropped = if filtered.annotated { "would drop" } else { "dropped" };
    let mut table = Table::new(["rule", "limit", "fails", dropped, "", "", "most of"]);
    let most = filtered.rules.iter().map(|rule| rule.dropped).max().unwrap_or(0);
    for rule in &filtered.rules {
        let bar = (rule.dropped as f64 / most.max(1) as f64 * 80.0).round() as usize;
        let share = ratio(rule.dropped, filtered.total.documents_in);
        let worst = worst(filtered, rule);
        table.row(vec![
            clean(&rule.rule, 36),
            limit(rule),
            percent(rule.measured.share()),
            count(rule.dropped),
            if rule.dropped > 0 { percent(share) } else { String::new() },
            format!("{:<10}", bar_of(bar.max(usize::from(rule.dropped > 0)))),
            worst.map_or_else(String::new, |(name, share)| {
                format!("{} {:>6}", clean(name, 10), percent(Some(share)))
            }),
        ]);
    }
    table
}

/// The source that loses the greatest share of its documents to a rule, where there are several.
fn worst<'a>(filtered: &'a Filtered, rule: &'a Rule) -> Option<(&'a str, f64)> {
    if filtered.sources.len() < 2 {
        return None;
    }
    let by_source = rule.dropped_by_source.iter().filter_map(|(name, dropped)| {
        let whole = filtered.sources.get(name)?.documents_in;
        Some((name.as_str(), ratio(*dropped, whole)?))
    });
    let shares = by_source.filter(|(_, share)| *share > 0.0);
    shares.max_by(|a, b| a.1.total_cmp(&b.1).then_with(|| b.0.cmp(a.0)))
}

/// Eighths of a block, ten blocks at most.
fn bar_of(eighths: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    format!("{}{}", "█".repeat(eighths / 8), PARTS[eighths % 8])
}

fn limit(rule: &Rule) -> String {
    match rule.limit {
        Some(limit) => format!("{} {}", rule.bound.sign(), number(limit)),
        None => "off".to_owned(),
    }
}

/// Name, limit, histogram of one rule.
fn block(
    f: &mut fmt::Formatter<'_>,
    filtered: &Filtered,
    total: &Flow,
    rule: &Rule,
) -> fmt::Result {
    let key = rule.key.as_deref().map(|key| format!("  ({})", clean(key, 50)));
    write!(f, "{}  {}{}", clean(&rule.rule, 40), limit(rule), key.unwrap_or_default())?;
    if !rule.measures.is_empty() {
        write!(f, "\n  measures {}", clean(&rule.measures, 86))?;
    }
    let verb = if filtered.annotated { "would drop" } else { "dropped" };
    let (dropped, share) = (count(rule.dropped), ratio(rule.dropped, total.documents_in));
    let measured = rule.measured;
    match measured.documents() {
        0 => write!(f, "\n  nothing measured")?,
        documents => {
            let (share, documents) = (percent(measured.share()), Count(documents));
            write!(f, "\n  {share} of {documents} measured documents fail")?;
        }
    }
    write!(f, "; {verb} {dropped} as the first to fail, {} of all", percent(share))?;
    if !rule.moved.is_empty() {
        let moved = rule.moved.iter().map(|moved| {
            let (sign, limit) = (rule.bound.sign(), number(moved.limit));
            let word = if moved.drops { "dropped" } else { "kept" };
            let (documents, share) = (Count(moved.documents), percent(Some(moved.share)));
            format!("{documents} more {word} ({share}) at {sign} {limit}")
        });
        let moved = moved.collect::<Vec<_>>().join(", ");
        write!(f, "\n  moved alone: {moved}")?;
    }
    histogram(f, rule)
}

/// The least value, the cells with a bar at the limit, the greatest value; then what fails where.
fn histogram(f: &mut fmt::Formatter<'_>, rule: &Rule) -> fmt::Result {
    let all = rule.histogram();
    if let Some(axis) = Axis::new(&all.bins, rule.bound, rule.limit, CELLS) {
        let tallies = axis.fill(&all);
        let (low, high) = all.range().unwrap_or_default();
        let high = if high > low { format!("<{}", number(high)) } else { number(high) };
        write!(f, "\n  {:>8} {} {high}", number(low), cells(&axis, &tallies, rule))?;
        if let Some(share) = cut(&axis, &tallies, rule) {
            write!(f, "  {CUT} {}", percent(Some(share)))?;
        }
    }
    match all.no_value.documents() {
        0 => Ok(()),
        none => write!(f, "\n  {} without a value", Count(none)),
    }
}

/// The share of the documents in a cell that is cut.
fn cut(axis: &Axis, tallies: &[Tally], rule: &Rule) -> Option<f64> {
    let heights = |(cell, tally): (&Cell, &Tally)| tally.documents() as f64 / axis.width(cell);
    let most = drawn_max(axis.cells.iter().zip(tallies).map(heights));
    let mut cells = axis.cells.iter().zip(tallies);
    let (_, tally) = cells.find(|pair| heights(*pair) > most)?;
    ratio(tally.documents(), rule.measured.documents())
}

/// A block character a cell, several for a wide one; the limit's own cell is two where both
/// verdicts fell into it.
fn cells(axis: &Axis, tallies: &[Tally], rule: &Rule) -> String {
    let mut heights: Vec<f64> = Vec::new();
    let mut bar: Option<usize> = None;
    let stretch = (CELLS as f64 / axis.length()).max(1.0);
    for (cell, tally) in axis.cells.iter().zip(tallies) {
        let wide = axis.width(cell);
        let columns = ((wide * stretch).round() as usize).max(1);
        let height = |count: u64| count as f64 / wide;
        let within = axis.limit.filter(|place| cell.left <= *place && *place < cell.right);
        match within.filter(|_| bar.is_none()) {
            None => heights.extend(vec![height(tally.documents()); columns]),
            Some(place) => {
                let [left, right] = match rule.bound {
                    Bound::AtLeast => [tally.failed, tally.passed],
                    Bound::AtMost => [tally.passed, tally.failed],
                };
                let share = (place - cell.left) / (cell.right - cell.left);
                let before = (share * columns as f64).round() as usize;
                let before = before.max(usize::from(left > 0));
                heights.extend(vec![height(left); before]);
                bar = Some(heights.len());
                heights.extend(vec![height(right); columns.saturating_sub(before).max(1)]);
            }
        }
    }
    let bar = axis.limit.map(|_| bar.unwrap_or(heights.len()));
    let most = drawn_max(heights.iter().copied());
    let mut text: Vec<char> = heights.iter().map(|height| block_of(*height, most)).collect();
    if let Some(bar) = bar {
        text.insert(bar, '│');
    }
    text.into_iter().collect()
}

fn block_of(height: f64, most: f64) -> char {
    let eighths = (height / most * 8.0).round() as usize;
    match height {
        0.0 => ' ',
        _ if height > most => CUT,
        _ => BLOCKS[eighths.clamp(1, 8) - 1],
    }
}

/// The documents on both sides.
fn documents(f: &mut fmt::Formatter<'_>, rule: &Rule) -> fmt::Result {
    for (word, examples) in [("fails", &rule.nearest.fails), ("passes", &rule.nearest.passes)] {
        for example in examples {
            let value =
                example.value.map_or_else(|| "-".into(), |value| beside(value, example.limit));
            let place = format!(
                "{} {} {}:{}",
                clean(&example.id, 32),
                clean(&example.source, 14),
                clean(&example.file, 24),
                example.row
            );
            write!(f, "\n  {word:>6} {value:>8}  {place}\n    {}", excerpt(example))?;
        }
    }
    Ok(())
}

/// One line of the text, with `[[…]]` around what fired.
fn excerpt(example: &Example) -> String {
    let room = COLUMNS - 4;
    let mut budget = room;
    loop {
        let mut line = String::new();
        let found = pieces(&example.text, &example.spans, budget);
        let last = found.len().saturating_sub(1);
        for (at, piece) in found.iter().enumerate() {
            match piece {
                Piece::Text(text) => line.push_str(&clean(text, usize::MAX)),
                Piece::Marked(text) => {
                    line.push_str("[[");
                    line.push_str(&clean(text, usize::MAX));
                    line.push_str("]]");
                }
                Piece::Gap(_) if at == 0 || at == last => line.push('…'),
                Piece::Gap(_) => line.push_str(" … "),
            }
        }
        if example.text_bytes > example.text.len() as u64 && !line.ends_with('…') {
            line.push('…');
        }
        if width(&line) <= room {
            return line;
        }
        budget = budget * 7 / 8;
        if budget < 8 {
            return clean(&line, room);
        }
    }
}

/// Columns of a text at most: whatever may be wide counts as two.
fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

fn columns(char: char) -> usize {
    match char {
        // General punctuation, arrows and block characters are narrow.
        '\u{2000}'..='\u{2bff}' => 1,
        '\u{1100}'.. => 2,
        _ => 1,
    }
}

/// A text on one line without what a terminal would act on, cut to so many columns.
fn clean(text: &str, columns_max: usize) -> String {
    let mut line = String::new();
    let mut used = 0;
    for char in text.chars() {
        let shown = match char {
            '\n' => "⏎".to_owned(),
            '\t' => " ".to_owned(),
            _ => stand_in(char).unwrap_or_else(|| char.to_string()),
        };
        used += width(&shown);
        if used > columns_max {
            while width(&line) >= columns_max {
                line.pop();
            }
            line.push('…');
            break;
        }
        line.push_str(&shown);
    }
    line
}
