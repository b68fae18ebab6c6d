//! What a filter did, as one HTML page.
//!
//! In → a report and a title; out → HTML that fetches nothing and runs no script: a summary with
//! documents by source and drops by rule and source, then a section a rule with its histogram
//! ([`super::chart`]), each source's own, and the documents on both sides of the limit, what fired
//! marked. Styles are `page.css`; colours follow the reader's choice of light or dark.
//! Invariants: every text is escaped and shows its control characters instead of obeying them; the
//! page of thirty rules stays below 2 MB, whatever the documents are.

use std::cmp::Reverse;

use super::{
    Bound, Example, Filtered, Flow, Histogram, Rule,
    axis::{Axis, Steps},
    beside,
    chart::{chart, small},
    excerpt::{Piece, escape, pieces},
    number, percent, ratio,
};
use crate::base::{
    html::put,
    size::{Bytes, Count},
};

/// A text that only pages of ours hold, so that they may be overwritten.
pub const MARK: &str = "name=\"generator\" content=\"dataprep\"";
const STYLE: &str = include_str!("page.css");
/// Cells of a histogram at most.
const CELLS: usize = 96;
/// Sources with a picture and a column of their own, the largest.
const SOURCES_DRAWN: usize = 12;
/// Up to so many, each source's picture stands open.
const SOURCES_OPEN: usize = 6;
/// Text that is shown at once, and that which unfolds, in bytes of the page.
const EXCERPT: usize = 420;
const UNFOLDED: usize = 3600;

/// The HTML.
pub fn page(filtered: &Filtered, title: &str) -> String {
    let title = escape(title);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta {MARK}>\n\
         <title>{title}</title>\n<style>\n{STYLE}</style></head>\n<body>\n<header>\
         <p class=\"kind\">What a filter did</p>\n<h1>{title}</h1></header>\n<main>\n"
    );
    let sources = by_size(filtered);
    tiles(&mut html, filtered);
    flows(&mut html, filtered, &sources);
    matrix(&mut html, filtered, &sources);
    for (place, rule) in filtered.rules.iter().enumerate() {
        section(&mut html, filtered, &sources, place, rule);
    }
    html.push_str("</main>\n</body></html>\n");
    html
}

/// Sources, the largest first; equal ones by name. Those that were only measured come last.
fn by_size(filtered: &Filtered) -> Vec<&str> {
    let measured = filtered.rules.iter().flat_map(|rule| rule.histograms.keys());
    let mut names: Vec<&str> =
        filtered.sources.keys().chain(measured).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let size = |name: &str| filtered.sources.get(name).map_or(0, |flow| flow.documents_in);
    names.sort_by_key(|name| Reverse(size(name)));
    names
}

/// The four figures that a reader wants first.
fn tiles(html: &mut String, filtered: &Filtered) {
    let total = &filtered.total;
    let would: u64 = filtered.rules.iter().map(|rule| rule.dropped).sum();
    let dropped = match filtered.annotated {
        true => ("would drop", would, "drop"),
        false => ("dropped", total.dropped, "drop"),
    };
    let figures = [
        ("documents in", total.documents_in, ""),
        ("kept", total.documents_out, "keep"),
        dropped,
        ("unreadable", total.rejected, ""),
    ];
    html.push_str("<dl class=\"tiles\">\n");
    for (name, amount, class) in figures {
        let share = match class {
            "" => String::new(),
            _ => format!(" <small>{}</small>", percent(ratio(amount, total.documents_in))),
        };
        let amount = Count(amount);
        put(
            html,
            format_args!("<div class=\"{class}\"><dt>{name}</dt><dd>{amount}{share}</dd></div>\n"),
        );
    }
    html.push_str("</dl>\n");
    if filtered.annotated {
        html.push_str(
            "<p>The filter annotated: every document is kept, and “dropped” stands for what would \
             have been.</p>\n",
        );
    }
}

/// One row a source: what came, what stayed.
fn flows(html: &mut String, filtered: &Filtered, sources: &[&str]) {
    html.push_str(
        "<h2>Documents by source</h2>\n<div class=\"wide tall\"><table>\n<thead><tr><th>source</th>\
         <th>in</th><th>dropped</th><th></th><th>unreadable</th><th>out</th>\
         <th class=\"stack\">kept, dropped, unreadable</th></tr></thead>\n<tbody>\n",
    );
    let mut put_row = |name: &str, class: &str, flow: &Flow| {
        let Flow { documents_in, rejected, dropped, documents_out } = *flow;
        let share = |part: u64| ratio(part, documents_in).unwrap_or(0.0) * 100.0;
        let (kept, gone) = (share(documents_out), share(dropped));
        put(
            html,
            format_args!(
                "<tr{class}><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td>{}</td><td class=\"stack\"><span class=\"bar\"><i class=\"p\" \
                 style=\"width:{kept:.2}%\"></i><i class=\"f\" style=\"width:{gone:.2}%\"></i>\
                 </span></td></tr>\n",
                escape(name),
                Count(documents_in),
                Count(dropped),
                percent(ratio(dropped, documents_in)),
                Count(rejected),
                Count(documents_out),
            ),
        );
    };
    for name in sources {
        if let Some(flow) = filtered.sources.get(*name) {
            put_row(name, "", flow);
        }
    }
    if filtered.sources.len() != 1 {
        put_row("all", " class=\"all\"", &filtered.total);
    }
    html.push_str("</tbody></table></div>\n");
}

/// One row a rule, one column a source.
fn matrix(html: &mut String, filtered: &Filtered, sources: &[&str]) {
    if filtered.rules.is_empty() {
        html.push_str("<p>No rule has judged a document.</p>\n");
        return;
    }
    let word = if filtered.annotated { "would drop" } else { "dropped" };
    put(
        html,
        format_args!(
            "<h2 id=\"rules\">Rules in their order</h2>\n<p class=\"note\">“{word}” counts the \
             documents for which a rule is the first to fail, so an earlier rule hides what a \
             later one would take; “fails” is the share of the {} measured documents (a sample, \
             unless they are few) that fail it, whatever comes before. What another limit would \
             keep or drop counts only documents for which all other rules pass. Under each source: \
             {}.</p>\n\
             <div class=\"wide\"><table class=\"matrix\">\n<thead><tr><th>rule</th><th>limit</th>\
             <th>fails</th><th>{word}</th><th class=\"share\"></th>",
            crate::base::size::Count(filtered.measured()),
            match filtered.annotated {
                true => "the share of its measured documents that fail",
                false => "the share of its documents that the rule dropped",
            }
        ),
    );
    let columns = if sources.len() > 1 { sources } else { &[] };
    for name in columns {
        put(html, format_args!("<th class=\"source\">{}</th>", escape(name)));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    rows(html, filtered, columns);
    html.push_str("</tbody></table></div>\n");
}

fn rows(html: &mut String, filtered: &Filtered, columns: &[&str]) {
    let shares: Vec<Vec<Option<f64>>> = filtered
        .rules
        .iter()
        .map(|rule| columns.iter().map(|name| cost(filtered, rule, name)).collect())
        .collect();
    let most_share = shares.iter().flatten().flatten().fold(0.0, |a: f64, b| a.max(*b));
    let most = filtered.rules.iter().map(|rule| rule.dropped).max().unwrap_or(0).max(1);
    for (place, (rule, shares)) in filtered.rules.iter().zip(&shares).enumerate() {
        let none = if rule.dropped == 0 { " class=\"none\"" } else { "" };
        let width = rule.dropped as f64 / most as f64 * 100.0;
        put(
            html,
            format_args!(
                "<tr{none}><th scope=\"row\"><a href=\"#r{place}\">{}</a></th><td>{}</td>\
                 <td>{}</td><td>{}</td><td class=\"share\"><span class=\"bar\"><i class=\"f\" \
                 style=\"width:{width:.1}%\"></i></span>{}</td>",
                // A narrow column breaks names where they have joints.
                escape(&rule.rule).replace('/', "/<wbr>").replace('_', "_<wbr>"),
                limit(rule),
                percent(rule.measured.share()),
                Count(rule.dropped),
                percent(ratio(rule.dropped, filtered.total.documents_in)),
            ),
        );
        for share in shares {
            // The tint goes by the square root, so that small shares can be told apart.
            let tint = (share.unwrap_or(0.0) / most_share.max(f64::MIN_POSITIVE)).sqrt() * 100.0;
            let text = percent(share.filter(|share| *share > 0.0));
            match tint > 0.0 {
                true => put(
                    html,
                    format_args!("<td class=\"heat\" style=\"--w:{tint:.0}%\">{text}</td>"),
                ),
                false => html.push_str("<td class=\"heat\">·</td>"),
            }
        }
        html.push_str("</tr>\n");
    }
}

/// The share of a source's documents that a rule took, or that fail it where nothing is dropped.
fn cost(filtered: &Filtered, rule: &Rule, source: &str) -> Option<f64> {
    if filtered.annotated {
        return rule.histograms.get(source).and_then(|histogram| histogram.total().share());
    }
    let dropped = rule.dropped_by_source.get(source).copied().unwrap_or(0);
    ratio(dropped, filtered.sources.get(source)?.documents_in)
}

fn limit(rule: &Rule) -> String {
    match rule.limit {
        Some(limit) => format!("{}&nbsp;{}", rule.bound.sign(), number(limit)),
        None => "off".to_owned(),
    }
}

/// Everything about one rule.
fn section(html: &mut String, filtered: &Filtered, sources: &[&str], place: usize, rule: &Rule) {
    put(
        html,
        format_args!(
            "<section id=\"r{place}\">\n<h2>{} <a class=\"up\" href=\"#rules\">all rules</a></h2>\n\
             <p class=\"what\">",
            escape(&rule.rule)
        ),
    );
    if !rule.measures.is_empty() {
        put(html, format_args!("Measures <q>{}</q>. ", escape(&rule.measures)));
    }
    match rule.limit {
        Some(limit) => {
            let (words, limit) = (rule.bound.words(), number(limit));
            put(html, format_args!("A document passes with <b>{words} {limit}</b>"));
        }
        None => html.push_str("It has <b>no limit</b>: every document passes"),
    }
    if let Some(key) = &rule.key {
        put(html, format_args!(" (<code>{}</code>)", escape(key)));
    }
    html.push_str(".</p>\n");
    figures(html, filtered, rule);
    let all = rule.histogram();
    match Axis::new(&all.bins, rule.bound, rule.limit, CELLS) {
        Some(axis) => {
            chart(html, rule, &axis, &axis.fill(&all));
            legend(html, rule, &all, &axis);
            by_source(html, filtered, sources, rule, &axis);
        }
        None if rule.measured.documents() > 0 => {
            html.push_str("<p class=\"note\">No document has a value to draw.</p>\n");
        }
        None => html.push_str("<p class=\"note\">Nothing was measured.</p>\n"),
    }
    examples(html, rule);
    html.push_str("</section>\n");
}

/// What the rule costs, and what its neighbours would.
fn figures(html: &mut String, filtered: &Filtered, rule: &Rule) {
    let word = if filtered.annotated { "would drop" } else { "dropped" };
    let share = percent(ratio(rule.dropped, filtered.total.documents_in));
    put(
        html,
        format_args!(
            "<dl class=\"figures\"><div><dt>fails</dt><dd>{} <small>of {} measured</small></dd>\
             </div><div><dt>{word} first</dt><dd>{} <small>{share} of all</small></dd></div>",
            percent(rule.measured.share()),
            Count(rule.measured.documents()),
            Count(rule.dropped)
        ),
    );
    for moved in &rule.moved {
        let (sign, limit) = (rule.bound.sign(), number(moved.limit));
        let (documents, share) = (Count(moved.documents), percent(Some(moved.share)));
        let word = if moved.drops { "dropped" } else { "kept" };
        put(
            html,
            format_args!(
                "<div class=\"moved\"><dt>at {sign}&nbsp;{limit}</dt><dd>{documents} \
                 <small>more {word}, {share} of measured</small></dd></div>"
            ),
        );
    }
    html.push_str("</dl>\n");
}

fn legend(html: &mut String, rule: &Rule, all: &Histogram, axis: &Axis) {
    let (passed, failed) = (Count(rule.measured.passed), Count(rule.measured.failed));
    put(
        html,
        format_args!(
            "<p class=\"legend\"><span><i class=\"p\"></i>{passed} pass</span><span>\
             <i class=\"f\"></i>{failed} fail</span>"
        ),
    );
    let none = all.no_value.documents();
    if none > 0 {
        put(html, format_args!("<span>{} have no value and are not drawn</span>", Count(none)));
    }
    if axis.steps == Steps::Octaves {
        html.push_str("<span>logarithmic axis, areas are documents</span>");
    }
    html.push_str("</p>\n");
}

/// The same histogram for each source, where there are several.
fn by_source(html: &mut String, filtered: &Filtered, sources: &[&str], rule: &Rule, axis: &Axis) {
    let own = sources.iter().filter_map(|name| Some((*name, rule.histograms.get(*name)?)));
    let own: Vec<(&str, &Histogram)> = own.collect();
    if own.len() < 2 {
        return;
    }
    let open = if own.len() <= SOURCES_OPEN { " open" } else { "" };
    let largest = match own.len() > SOURCES_DRAWN {
        true => format!(", the {SOURCES_DRAWN} largest of {}", own.len()),
        false => String::new(),
    };
    put(
        html,
        format_args!(
            "<details class=\"sources\"{open}><summary>By source{largest}, each to its own \
             height</summary>\n<div class=\"small\">\n"
        ),
    );
    for (name, histogram) in own.into_iter().take(SOURCES_DRAWN) {
        html.push_str("<figure>");
        small(html, name, axis, &axis.fill(histogram));
        let fails = percent(histogram.total().share());
        put(html, format_args!("<figcaption><b>{}</b> {fails} fail", escape(name)));
        if !filtered.annotated && rule.dropped > 0 {
            let dropped = rule.dropped_by_source.get(name).copied().unwrap_or(0);
            put(html, format_args!(", {} dropped", Count(dropped)));
        }
        html.push_str("</figcaption></figure>\n");
    }
    html.push_str("</div></details>\n");
}

/// Documents on both sides, the side that the picture shows left on the left.
fn examples(html: &mut String, rule: &Rule) {
    let fails = ("fail", "Just fail", &rule.nearest.fails);
    let passes = ("pass", "Just pass", &rule.nearest.passes);
    if fails.2.is_empty() && passes.2.is_empty() {
        return;
    }
    let sides = match rule.bound {
        Bound::AtLeast => [fails, passes],
        Bound::AtMost => [passes, fails],
    };
    let one = if sides.iter().any(|side| side.2.is_empty()) { " one" } else { "" };
    put(html, format_args!("<div class=\"sides{one}\">\n"));
    for (class, title, examples) in sides.into_iter().filter(|side| !side.2.is_empty()) {
        let title = match one {
            "" => title.to_owned(),
            _ => format!("{title}; of the other side no document was stored"),
        };
        put(html, format_args!("<div class=\"{class}\"><h3>{title}</h3>\n"));
        examples.iter().for_each(|example| card(html, example));
        html.push_str("</div>\n");
    }
    html.push_str("</div>\n");
}

/// One document.
fn card(html: &mut String, example: &Example) {
    let value = example.value.map(|value| beside(value, example.limit));
    let value = value.unwrap_or_else(|| "no value".to_owned());
    put(
        html,
        format_args!(
            "<article><p class=\"place\"><b>{value}</b> <span>{}</span> <span>{}, {}:{}</span> \
             <span>{}</span></p>\n",
            escape(&example.id),
            escape(&example.source),
            escape(&example.file),
            example.row,
            Bytes(example.text_bytes)
        ),
    );
    let beyond = example.text_bytes.saturating_sub(example.text.len() as u64);
    let short = text(example, EXCERPT, beyond);
    let long = text(example, UNFOLDED, beyond);
    put(html, format_args!("<pre dir=\"auto\">{short}</pre>\n"));
    if long != short {
        put(
            html,
            format_args!(
                "<details><summary>More of the text</summary><pre dir=\"auto\">{long}</pre>\
                 </details>\n"
            ),
        );
    }
    html.push_str("</article>\n");
}

/// The text around what fired, about `budget` bytes of HTML.
fn text(example: &Example, budget: usize, beyond: u64) -> String {
    let mut bytes = budget;
    loop {
        let html = marked(example, bytes, beyond);
        // Markup and escapes of hostile text may be longer than the text.
        if html.len() <= budget * 3 / 2 + 200 || bytes < 40 {
            return html;
        }
        bytes = bytes * 2 / 3;
    }
}

fn marked(example: &Example, bytes: usize, beyond: u64) -> String {
    let mut html = String::new();
    let mut gap = 0;
    for piece in pieces(&example.text, &example.spans, bytes) {
        match piece {
            Piece::Gap(bytes) => gap = bytes as u64,
            Piece::Text(text) | Piece::Marked(text) => {
                put_gap(&mut html, std::mem::take(&mut gap));
                match piece {
                    // A line end that is marked is seen.
                    Piece::Marked(_) => put(
                        &mut html,
                        format_args!("<mark>{}</mark>", escape(text).replace('\n', "↵\n")),
                    ),
                    _ => html.push_str(&escape(text)),
                }
            }
        }
    }
    put_gap(&mut html, gap + beyond);
    html
}

fn put_gap(html: &mut String, bytes: u64) {
    if bytes > 0 {
        put(html, format_args!("<span class=\"gap\"> … {} … </span>", Bytes(bytes)));
    }
}
