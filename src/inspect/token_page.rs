//! Shards, or a mix, as one HTML page.
//!
//! In → a report, and of shards the use of their vocabulary, of a mix a row; out → HTML that
//! fetches nothing and runs no script, in the style of the filter's page: the figures first, a
//! table by source with bars, then lengths and vocabulary, or the row's text with its documents'
//! borders. Invariants: every text is escaped; equal reports give equal pages.

use super::{
    MixReport, RowReport, ShardsReport, VocabularyReport,
    filtered::page::MARK,
    ratio,
    shards::Tally,
    table::{count, decimal, percent},
    vocabulary::{Entry, visible},
};
use crate::base::html::{escape, put};

const STYLE: &str = include_str!("filtered/page.css");
/// Text of a document that a row shows, in characters.
const TEXT_SHOWN: usize = 1200;

/// The page of shards.
pub fn shards_page(report: &ShardsReport, vocabulary: &VocabularyReport, title: &str) -> String {
    let mut html = begin("Token shards", title);
    tiles(
        &mut html,
        &[
            ("documents", count(report.total.documents)),
            ("tokens", count(report.total.tokens)),
            ("bytes a token", decimal(report.total.bytes_per_token)),
            ("stored, of raw tokens", percent(report.total.zstd_ratio)),
        ],
    );
    let whole = report.total.tokens;
    let rows = report.sources.iter().map(|tally| {
        let share = ratio(tally.tokens, whole);
        let held_out = count(tally.held_out_documents);
        let (documents, tokens) = (count(tally.documents), count(tally.tokens));
        let bytes = decimal(tally.bytes_per_token);
        (tally.name.clone(), vec![documents, held_out, tokens, bytes], share)
    });
    let head = ["source", "documents", "held out", "tokens", "bytes/token", "share of the tokens"];
    table(&mut html, "Sources", &head, rows);
    lengths(&mut html, &report.total);
    use_of(&mut html, vocabulary);
    end(html)
}

/// The page of a mix.
pub fn mix_page(report: &MixReport, row: Option<&RowReport>, title: &str) -> String {
    let mut html = begin("What a model reads", title);
    let read =
        report.read_tokens.map(|read| ("read by the run", percent(ratio(read, report.tokens))));
    let figures = [
        ("tokens", count(report.tokens)),
        ("documents", count(report.documents)),
        ("sources", count(report.sources.len() as u64)),
        ("shard files", count(report.shard_files as u64)),
    ];
    tiles(&mut html, &figures.into_iter().chain(read).collect::<Vec<_>>());
    let rows = report.sources.iter().map(|source| {
        let read = source.read_tokens.map_or_else(|| "–".to_owned(), count);
        let cells = vec![
            percent(source.asked),
            percent(source.achieved),
            count(source.source.achieved_tokens),
            source.source.epochs_decimal.clone(),
            count(source.source.documents),
            read,
        ];
        (source.source.name.clone(), cells, source.achieved)
    });
    let head = ["source", "asked", "achieved", "tokens", "epochs", "documents", "read", "share"];
    table(&mut html, "Sources", &head, rows);
    if let Some(packing) = &report.packing {
        let share = |cut: u64| percent(ratio(cut, packing.documents));
        let (cut, concat) = (share(packing.cut), share(packing.cut_by_concat));
        let sequence = count(packing.sequence);
        put(
            &mut html,
            format_args!(
                "<p>Packed into rows of {sequence}: {cut} of the documents are cut, concatenated \
                 {concat} would be.</p>\n"
            ),
        );
    }
    if let Some(row) = row {
        texts(&mut html, row);
    }
    end(html)
}

fn begin(kind: &str, title: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta {MARK}>\n\
         <title>{title}</title>\n<style>\n{STYLE}</style></head>\n<body>\n<header>\
         <p class=\"kind\">{kind}</p>\n<h1>{title}</h1></header>\n<main>\n"
    )
}

fn end(mut html: String) -> String {
    html.push_str("</main>\n</body></html>\n");
    html
}

fn tiles(html: &mut String, figures: &[(&str, String)]) {
    html.push_str("<dl class=\"tiles\">\n");
    for (name, figure) in figures {
        put(html, format_args!("<div><dt>{name}</dt><dd>{figure}</dd></div>\n"));
    }
    html.push_str("</dl>\n");
}

/// Rows of (name, cells, a share that is drawn as a bar).
fn table(
    html: &mut String,
    title: &str,
    head: &[&str],
    rows: impl Iterator<Item = (String, Vec<String>, Option<f64>)>,
) {
    put(html, format_args!("<h2>{title}</h2>\n<div class=\"wide tall\"><table>\n<thead><tr>"));
    head.iter().for_each(|name| put(html, format_args!("<th>{name}</th>")));
    html.push_str("</tr></thead>\n<tbody>\n");
    for (name, cells, share) in rows {
        put(html, format_args!("<tr><th scope=\"row\">{}</th>", escape(&name)));
        cells.iter().for_each(|cell| put(html, format_args!("<td>{cell}</td>")));
        let width = share.unwrap_or(0.0).clamp(0.0, 1.0) * 100.0;
        put(
            html,
            format_args!(
                "<td class=\"share\"><span class=\"bar\"><i class=\"p\" \
                 style=\"width:{width:.2}%\"></i></span></td></tr>\n"
            ),
        );
    }
    html.push_str("</tbody></table></div>\n");
}

/// Documents by length, a row a power of two.
fn lengths(html: &mut String, total: &Tally) {
    let bins = total.lengths.bins();
    let most = bins.iter().map(|(_, documents)| *documents).max().unwrap_or(0);
    let rows = bins.iter().map(|&(from, documents)| {
        let to = if from == 0 { 0 } else { 2 * u64::from(from) - 1 };
        let name = if from == 0 { "none".to_owned() } else { format!("{from} to {to}") };
        let share = percent(ratio(documents, total.documents));
        (name, vec![count(documents), share], ratio(documents, most))
    });
    table(html, "Documents by length", &["tokens", "documents", "of all", ""], rows);
}

fn use_of(html: &mut String, vocabulary: &VocabularyReport) {
    let most = vocabulary.most_frequent.first().map_or(0, |entry| entry.tokens);
    let cells = |entry: &Entry| {
        let share = percent(ratio(entry.tokens, vocabulary.tokens));
        vec![entry.id.to_string(), count(entry.tokens), share]
    };
    let rows = vocabulary
        .most_frequent
        .iter()
        .map(|entry| (entry.text.clone(), cells(entry), ratio(entry.tokens, most)));
    table(html, "The most frequent entries", &["entry", "id", "tokens", "share", ""], rows);
    let (never, size) = (count(vocabulary.never_used), count(vocabulary.vocab_size));
    let (half, nearly) = (count(vocabulary.half), count(vocabulary.nearly_all));
    put(
        html,
        format_args!(
            "<p>{half} entries are half of all tokens, {nearly} are 99%; {never} of {size} are \
             never used.</p>\n"
        ),
    );
    let entries = vocabulary.first_never_used.iter();
    let entries: Vec<String> =
        entries.map(|entry| format!("<code>{}</code>", escape(&entry.text))).collect();
    if !entries.is_empty() {
        put(html, format_args!("<p class=\"note\">First by id: {}</p>\n", entries.join(" ")));
    }
}

fn texts(html: &mut String, row: &RowReport) {
    let (number, rows, sequence) = (count(row.row), count(row.rows), count(row.sequence));
    put(html, format_args!("<h2>Row {number} of {rows}, {sequence} tokens</h2>\n"));
    for document in &row.documents {
        let shown: String = document.text.chars().take(TEXT_SHOWN).collect();
        let is_whole = shown.len() == document.text.len() && !document.is_cut;
        let before = if document.continues { "… " } else { "" };
        let behind = if is_whole { "" } else { " …" };
        let lines: Vec<String> =
            shown.split('\n').map(|line| escape(&visible(line).replace('␣', " "))).collect();
        let (source, start, tokens) =
            (escape(&document.source), document.start, count(document.tokens));
        put(
            html,
            format_args!(
                "<section><h3>{source} <small>from {start}, {tokens} tokens</small></h3>\n\
                 <p style=\"overflow-wrap:anywhere\">{before}{}{behind}</p></section>\n",
                lines.join("<br>\n")
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::row::RowDocument;

    #[test]
    fn no_text_of_a_document_is_markup() {
        let document = RowDocument {
            source: "<b>".into(),
            start: 0,
            tokens: 3,
            continues: true,
            is_cut: true,
            text: "<script>alert(1)</script>\n\u{1b}[31m".into(),
        };
        let row = RowReport { row: 0, rows: 1, sequence: 3, documents: vec![document] };
        let mut html = String::new();
        texts(&mut html, &row);
        assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains('\u{1b}'));
        assert!(html.contains("… &lt;script&gt;") && html.contains(" …</p>"), "{html}");
    }
}
