//! The texts of a page: samples, held-out documents, spikes with what was read there.
//!
//! In → a run's records and the mix they name; out → tables. Samples have a row for each prompt and
//! a column for each milestone; the beginning that a text shares with the one before it is shown
//! faintly, so that the reader sees what changed. Texts of documents are decoded from their tokens,
//! if the mix still exists.

use std::collections::BTreeMap;

use super::{Shown, chart::short, lines::DocumentEval, records::Run, settings};
use crate::base::{
    html::{escape, put},
    size::Count,
};
use crate::shards::{MixDocuments, read_validation, validation::VALIDATION_FILE};
use crate::tokenizer::Tokenizer;

/// The most milestones and prompts of a table, worst documents, and spikes.
const COLUMNS: usize = 6;
const PROMPTS: usize = 12;
const WORST: usize = 12;
const SPIKES: usize = 20;
/// Documents of a spike that are named.
const NAMED: usize = 12;
/// Characters of a document that are shown.
const EXCERPT: usize = 200;
/// The fewest bytes of a document that is ranked: a shorter text is noise.
const BYTES_MIN: u64 = 64;

/// Samples: one row a prompt, one column a milestone or, for several runs, a run.
pub fn samples(runs: &[Shown]) -> String {
    let columns: Vec<(String, &Run, u64)> = match runs {
        [Shown { run, .. }] => {
            let mut steps: Vec<u64> = run.samples.iter().map(|sample| sample.step).collect();
            steps.dedup();
            let steps = spread(&steps, COLUMNS);
            steps.into_iter().map(|step| (format!("step {}", Count(step)), run, step)).collect()
        }
        _ => {
            let names = settings::names(runs);
            let last = |(shown, name): (&'_ Shown, String)| {
                let step = shown.run.samples.last()?.step;
                Some((name, step))
            };
            let found = runs.iter().zip(names).map(last).zip(runs);
            found
                .filter_map(|(at, shown)| at.map(|(name, step)| (name, &shown.run, step)))
                .collect()
        }
    };
    table_of(&columns, runs.len() > 1)
}

fn table_of(columns: &[(String, &Run, u64)], apart: bool) -> String {
    let mut prompts: Vec<&str> = Vec::new();
    for (_, run, _) in columns {
        for sample in &run.samples {
            if !prompts.contains(&sample.prompt.as_str()) {
                prompts.push(&sample.prompt);
            }
        }
    }
    if prompts.is_empty() {
        return String::new();
    }
    let mut html =
        "<div class=\"wide\"><table class=\"samples\"><thead><tr><th scope=\"col\">prompt</th>"
            .to_owned();
    for (name, ..) in columns {
        put(&mut html, format_args!("<th scope=\"col\">{}</th>", escape(name)));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for prompt in prompts.iter().take(PROMPTS) {
        let shown = if prompt.is_empty() { "(from nothing)" } else { prompt };
        put(&mut html, format_args!("<tr><th scope=\"row\">{}</th>", escape(shown)));
        let mut before = "";
        for (_, run, step) in columns {
            let found = run.samples.iter().find(|one| one.step == *step && one.prompt == *prompt);
            let text = found.map_or("", |sample| sample.text.as_str());
            let same = if apart { 0 } else { common(before, text) };
            let (same, new) = (escape(&text[..same]), escape(&text[same..]));
            put(
                &mut html,
                format_args!("<td class=\"text\"><span class=\"same\">{same}</span>{new}</td>"),
            );
            before = text;
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// The bytes of the words that two texts both begin with.
fn common(a: &str, b: &str) -> usize {
    let alike = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    b.as_bytes()[..alike].iter().rposition(|byte| *byte == b' ').map_or(0, |at| at + 1)
}

/// At most `count` of `steps`, evenly spaced, among them the first and the last.
fn spread(steps: &[u64], count: usize) -> Vec<u64> {
    if steps.len() <= count {
        return steps.to_vec();
    }
    (0..count).map(|at| steps[at * (steps.len() - 1) / (count - 1)]).collect()
}

/// The held-out documents with the most bits per byte.
pub fn worst(runs: &[Shown]) -> String {
    let mut html = String::new();
    for Shown { run, .. } in runs {
        let long = run.scored.iter().filter(|scored| scored.bytes >= BYTES_MIN);
        let mut worst: Vec<&DocumentEval> = long.collect();
        worst.sort_by(|a, b| b.bits_per_byte().total_cmp(&a.bits_per_byte()));
        worst.truncate(if runs.len() > 1 { WORST / 2 } else { WORST });
        if worst.is_empty() {
            continue;
        }
        let texts = texts(run, &worst);
        let before: BTreeMap<(&str, &str), f64> = run
            .scored_before
            .iter()
            .map(|one| ((one.source.as_str(), one.document.as_str()), one.bits_per_byte()))
            .collect();
        put(
            &mut html,
            format_args!(
                "<div class=\"wide\"><table><caption>{}</caption>\n<thead><tr><th scope=\"col\">\
                 document</th><th scope=\"col\">source</th><th scope=\"col\">bits per byte</th>\
                 <th scope=\"col\">since the evaluation before</th><th scope=\"col\">bytes</th>\
                 <th scope=\"col\" class=\"text\">begins</th></tr></thead>\n<tbody>\n",
                escape(&run.name)
            ),
        );
        for one in worst {
            let key = (one.source.as_str(), one.document.as_str());
            let change = before
                .get(&key)
                .map_or("–".to_owned(), |before| format!("{:+.3}", one.bits_per_byte() - before));
            let text = texts.get(&key).map_or("", String::as_str);
            put(
                &mut html,
                format_args!(
                    "<tr><th scope=\"row\">{}</th><td>{}</td><td>{:.3}</td><td>{change}</td>\
                     <td>{}</td><td class=\"excerpt\">{}</td></tr>\n",
                    escape(&shortened(&one.document)),
                    escape(&one.source),
                    one.bits_per_byte(),
                    Count(one.bytes),
                    escape(text)
                ),
            );
        }
        html.push_str("</tbody></table></div>\n");
    }
    html
}

/// The beginnings of the documents; empty where the mix or the tokenizer is gone.
fn texts<'a>(run: &Run, wanted: &[&'a DocumentEval]) -> BTreeMap<(&'a str, &'a str), String> {
    let mut texts = BTreeMap::new();
    let tokenizer = Tokenizer::open(&run.path.join("tokenizer.json"));
    let (Some(mix), Ok(tokenizer)) = (run.mix(), tokenizer) else { return texts };
    let Ok(sources) = read_validation(&mix.path.join(VALIDATION_FILE)) else { return texts };
    for one in wanted {
        let source = sources.iter().find(|source| source.name == one.source);
        let document = source
            .and_then(|source| source.documents.iter().find(|found| found.id == one.document));
        if let Some(document) = document {
            let tokens = &document.tokens[..document.tokens.len().min(EXCERPT)];
            let text = tokenizer.decode_text(tokens);
            texts.insert((one.source.as_str(), one.document.as_str()), excerpt(&text));
        }
    }
    texts
}

/// The first words of a text, in a line.
fn excerpt(text: &str) -> String {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    words.join(" ").chars().take(EXCERPT).collect()
}

/// Spikes, and the documents of their batches.
pub fn spikes(runs: &[Shown]) -> String {
    let mut rows = String::new();
    for Shown { run, .. } in runs {
        for spike in run.spikes.iter().rev().take(SPIKES) {
            let documents = documents(run, spike.first_row, spike.rows);
            let named: Vec<String> = documents.iter().take(NAMED).map(|id| shortened(id)).collect();
            let more = documents.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            put(
                &mut rows,
                format_args!(
                    "<tr><th scope=\"row\">{} step {}</th><td>{}</td><td>{} ± {}</td><td>{}</td>\
                     <td>{}</td><td class=\"text\">{}{more}</td></tr>\n",
                    escape(&run.name),
                    Count(spike.step),
                    short(spike.loss),
                    short(spike.mean),
                    short(spike.deviation),
                    short(spike.gradient_norm),
                    format_args!(
                        "{}–{}",
                        Count(spike.first_row),
                        Count(spike.first_row + spike.rows)
                    ),
                    escape(&named.join(", "))
                ),
            );
        }
    }
    match rows.is_empty() {
        true => rows,
        false => format!(
            "<div class=\"wide\"><table><thead><tr><th scope=\"col\">where</th><th scope=\"col\">\
             loss</th><th scope=\"col\">the steps before</th>\
             <th scope=\"col\">gradient norm</th>\
             <th scope=\"col\">rows of the mix</th><th scope=\"col\">documents</th></tr></thead>\n\
             <tbody>\n{rows}</tbody></table></div>\n<p class=\"note\">`dataprep trace RUN --step \
             N` shows the texts.</p>\n"
        ),
    }
}

/// Ids of the documents in rows of the mix; empty where the mix or its shards are gone.
fn documents(run: &Run, first_row: u64, rows: u64) -> Vec<String> {
    let sequence = run.config["train"]["sequence"].as_u64();
    let (Some(mix), Some(sequence)) = (run.mix(), sequence) else { return Vec::new() };
    let Ok(mut mix) = MixDocuments::open(&mix.path, &[]) else { return Vec::new() };
    let found = mix.between(first_row * sequence, (first_row + rows) * sequence);
    found.unwrap_or_default().into_iter().map(|document| document.id).collect()
}

/// An id, shortened to fit a table.
fn shortened(id: &str) -> String {
    match id.chars().count() {
        0..=24 => id.to_owned(),
        _ => format!("{}…", id.chars().take(23).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_alike_up_to_a_border_of_words() {
        assert_eq!(common("the cell is a", "the cell was"), 9);
        assert_eq!(common("thé", "the"), 0);
        assert_eq!(common("", "the"), 0);
        assert_eq!(common("a é b", "a é c"), 5);
    }

    #[test]
    fn milestones_are_spread_from_the_first_to_the_last() {
        let steps: Vec<u64> = (1..=100).collect();
        assert_eq!(spread(&steps, 6), [1, 20, 40, 60, 80, 100]);
        assert_eq!(spread(&steps[..3], 6), [1, 2, 3]);
    }
}
