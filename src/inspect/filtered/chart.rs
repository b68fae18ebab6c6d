//! A rule's histogram as inline SVG.
//!
//! In → a layout and the documents of each cell; out → HTML. Bars stretch with the page while
//! words keep their size, so the labels are HTML placed by per cent over an SVG without any text.
//! Areas are counts, on a linear scale from nothing; one bar that would flatten all others is cut
//! at the top, marked, and labelled with its share. Each bar tells its figures when pointed at.

use super::{
    Bound, Rule, Tally,
    axis::{Axis, Cell, Steps, drawn_max},
    excerpt::escape,
    number, percent, ratio,
};
use crate::base::{html::put, size::Count};

/// The drawing's own units; the page stretches them.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 160.0;
/// The least share of a cut cell that either side is drawn with.
const SIDE_MIN: f64 = 0.2;

/// The full picture, with ticks and the limit.
pub fn chart(html: &mut String, rule: &Rule, axis: &Axis, tallies: &[Tally]) {
    let documents: u64 = tallies.iter().map(|tally| tally.documents()).sum();
    let top = axis_top(axis, tallies);
    let title = format!("{}: documents by value", escape(&rule.rule));
    put(
        html,
        format_args!(
            "<div class=\"chart\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{title}\">\n"
        ),
    );
    for (cell, tally) in axis.cells.iter().zip(tallies) {
        if tally.documents() > 0 {
            bar(html, axis, cell, *tally, top);
        }
    }
    html.push_str("</svg>\n");
    for (cell, tally) in axis.cells.iter().zip(tallies) {
        if tally.documents() as f64 / axis.width(cell) > top {
            let middle = (cell.left + cell.right) * 50.0;
            let share = percent(ratio(tally.documents(), documents));
            let side = if middle > 50.0 { " class=\"over end\"" } else { " class=\"over\"" };
            put(html, format_args!("<span{side} style=\"left:{middle:.2}%\">{share}</span>\n"));
        }
    }
    if let (Some(place), Some(limit)) = (axis.limit, rule.limit) {
        let side = if place > 0.5 { " end" } else { "" };
        let (left, limit, words) = (place * 100.0, number(limit), rule.bound.words());
        put(
            html,
            format_args!(
                "<span class=\"limit{side}\" style=\"left:{left:.2}%\"><b>{words} {limit}</b>\
                 </span>\n"
            ),
        );
    }
    html.push_str("<div class=\"ticks\" aria-hidden=\"true\">");
    let ticks = axis.ticks();
    for (at, (place, value)) in ticks.iter().enumerate() {
        let minor = if ticks.len() > 6 && at % 2 == 1 { " class=\"minor\"" } else { "" };
        let (left, value) = (place * 100.0, number(*value));
        put(html, format_args!("<span{minor} style=\"left:{left:.2}%\">{value}</span>"));
    }
    html.push_str("</div></div>\n");
}

/// One bar with what it says when pointed at, anywhere above it.
fn bar(html: &mut String, axis: &Axis, cell: &Cell, tally: Tally, top: f64) {
    let (left, width) = (cell.left * WIDTH, (cell.right - cell.left) * WIDTH);
    let range = match axis.steps {
        Steps::Whole => number(cell.low),
        _ if cell.high <= cell.low => "0".to_owned(),
        _ => format!("{} to {}", number(cell.low), number(cell.high)),
    };
    let words = [(tally.passed, "pass"), (tally.failed, "fail")];
    let words = words.iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> =
        words.map(|(count, word)| format!("{} {word}", Count(*count))).collect();
    put(
        html,
        format_args!(
            "<g><title>{range}: {}</title><path class=\"o\" d=\"M{left:.1} 0h{width:.1}v{HEIGHT}\
             h-{width:.1}z\"/>",
            words.join(", ")
        ),
    );
    for (class, path) in paths(axis, cell, tally, top) {
        put(html, format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
    }
    html.push_str("</g>\n");
}

/// The bar's parts: what fails above what passes; where the limit cuts the cell, each on its own
/// side of it.
fn paths(axis: &Axis, cell: &Cell, tally: Tally, top: f64) -> Vec<(char, String)> {
    // A hairline parts the bars, and no bar is too thin to be seen.
    let gap = ((cell.right - cell.left) * WIDTH * 0.08).min(3.0);
    let (left, width) = (cell.left * WIDTH, (cell.right - cell.left) * WIDTH - gap);
    let scale = HEIGHT / top / axis.width(cell);
    let within = axis.limit.filter(|place| cell.left < *place && *place < cell.right);
    let mut parts = [('p', tally.passed), ('f', tally.failed)];
    if let Some(place) = within.filter(|_| tally.passed > 0 && tally.failed > 0) {
        if axis.bound == Bound::AtLeast {
            parts.reverse();
        }
        let share = (place - cell.left) / (cell.right - cell.left);
        let share = share.clamp(SIDE_MIN, 1.0 - SIDE_MIN);
        let sides = [(left, share), (left + width * share, 1.0 - share)];
        let sides = sides.into_iter().zip(parts);
        let draw = |((left, share), (class, count)): ((f64, f64), (char, u64))| {
            let height = (count as f64 * scale / share).clamp(1.5, HEIGHT);
            (class, rectangle(left, width * share, HEIGHT, height))
        };
        return sides.map(draw).collect();
    }
    let mut base = HEIGHT;
    let mut found = Vec::new();
    for (class, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
        let height = (count as f64 * scale).max(1.5).min(base);
        found.push((class, rectangle(left, width, base, height)));
        base -= height;
    }
    found
}

fn rectangle(left: f64, width: f64, base: f64, height: f64) -> String {
    format!("M{left:.1} {:.1}h{width:.1}V{base:.1}h-{width:.1}z", base - height)
}

/// The height at the upper edge.
fn axis_top(axis: &Axis, tallies: &[Tally]) -> f64 {
    let cells = axis.cells.iter().zip(tallies);
    drawn_max(cells.map(|(cell, tally)| tally.documents() as f64 / axis.width(cell)))
}

/// The picture of one source among others, without labels.
pub fn small(html: &mut String, name: &str, axis: &Axis, tallies: &[Tally]) {
    let name = escape(name);
    put(
        html,
        format_args!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{name}\">"
        ),
    );
    let top = axis_top(axis, tallies);
    let (mut passed, mut failed) = (String::new(), String::new());
    for (cell, tally) in axis.cells.iter().zip(tallies) {
        for (class, path) in paths(axis, cell, *tally, top) {
            if class == 'p' { &mut passed } else { &mut failed }.push_str(&path);
        }
    }
    for (class, path) in [('p', passed), ('f', failed)] {
        if !path.is_empty() {
            put(html, format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
        }
    }
    if let Some(place) = axis.limit {
        let at = place * WIDTH;
        put(html, format_args!("<path class=\"l\" d=\"M{at:.1} 0V{HEIGHT}\"/>"));
    }
    html.push_str("</svg>");
}
