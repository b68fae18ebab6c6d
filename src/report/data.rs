//! The data of a page: the strip from sources to tokens, drops, mixture, evaluations.
//!
//! In → what a run was made from ([`super::chain`]); out → HTML. Counts are the manifests'; the
//! number of tokens read of each source follows from the order of the mix.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Shown, chain::Link, records::Run};
use crate::artifact::{
    find,
    record::{InputKind, Kind},
};
use crate::base::{
    hash::Fingerprint,
    html::{escape, put},
    json, place,
    size::{Count, duration},
};
use crate::lineage;
use crate::shards::{
    mix_record::MixRecord,
    order::{ORDER_FILE, OrderReader},
};

/// The most documents of an order that are counted one by one; beyond, the shares of its phases are
/// used.
const COUNTED_MAX: u64 = 1 << 20;
/// Settings that say what a step is about, where they are set.
const TELLING: [&str; 20] = [
    "preset",
    "rules",
    "where",
    "words",
    "holdout",
    "method",
    "ngram",
    "bands",
    "rows",
    "verify",
    "keep",
    "against",
    "vocab",
    "tokenizer",
    "tokens",
    "limit_documents",
    "evals",
    "classifier",
    "language",
    "mask",
];

/// Pictures of what the runs were made from; runs that read the same inputs share one.
pub fn lineage(runs: &[Shown]) -> String {
    let mut html = String::new();
    let mut drawn = Vec::new();
    for Shown { run, .. } in runs {
        let Ok(lineage) = lineage::read(&run.path) else { continue };
        let read = read_by(run);
        if drawn.contains(&read) {
            continue;
        }
        drawn.push(read);
        let (name, picture) = (escape(&run.name), lineage::picture::draw(&lineage));
        let figure = format!("<figure class=\"lineage wide\">{picture}</figure>\n");
        match runs.len() {
            1 => html.push_str(&figure),
            _ => put(
                &mut html,
                format_args!("<details><summary>{name}</summary>\n{figure}</details>\n"),
            ),
        }
    }
    html
}

/// The fingerprints of everything that a run reads, by which pictures are told apart: the mix, and
/// the model that it began with or the run that it branched from.
fn read_by(run: &Run) -> Vec<Fingerprint> {
    let inputs = run.manifest.inputs.iter();
    inputs.map(|input| input.fingerprint.unwrap_or(input.identity)).collect()
}

/// The documents, artifact by artifact, and the tokens that were read.
pub fn strip(runs: &[Shown]) -> String {
    let mut html = String::new();
    let mut drawn = Vec::new();
    for Shown { run, .. } in runs {
        let read = read_by(run);
        if drawn.contains(&read) || run.chain.is_empty() {
            continue;
        }
        drawn.push(read);
        if runs.len() > 1 {
            put(&mut html, format_args!("<h3>{}</h3>\n", escape(&run.name)));
        }
        html.push_str("<ol class=\"strip\">\n");
        run.chain.iter().for_each(|link| card(link, &mut html));
        put(
            &mut html,
            format_args!(
                "<li><b>{}</b>train<div class=\"count\">{} tokens read</div></li>\n</ol>\n",
                escape(&run.name),
                Count(run.tokens())
            ),
        );
    }
    html
}

/// One artifact: the documents that came in and out, and its settings.
fn card(link: &Link, html: &mut String) {
    let counts = &link.manifest.counts;
    let inputs = link.manifest.inputs.iter().filter(|input| input.kind != InputKind::File);
    let mut from: Vec<&str> = inputs.map(|input| input.name.as_str()).collect();
    from.dedup();
    put(html, format_args!("<li><b>{}</b>{}", escape(&link.name), escape(&link.manifest.stage)));
    if link.validates {
        html.push_str(" <small>only validates</small>");
    }
    if !from.is_empty() {
        put(html, format_args!(" <small>of {}</small>", escape(&from.join(", "))));
    }
    let (documents_in, documents_out) = (Count(counts.documents_in), Count(counts.documents_out));
    if counts.documents_in > 0 {
        put(
            html,
            format_args!("<div class=\"count\">{documents_in} → {documents_out}</div>documents"),
        );
    }
    let tokens: u64 = link.manifest.files.iter().filter_map(|file| file.tokens).sum();
    if tokens > 0 {
        put(html, format_args!(", {} tokens", Count(tokens)));
    }
    let set = settings(&link.manifest.config);
    if !set.is_empty() {
        put(html, format_args!("<div class=\"set\">{}</div>", escape(&set)));
    }
    if let Some(seconds) = link.seconds {
        put(html, format_args!("<small>{}</small>", duration(seconds)));
    }
    html.push_str("</li>\n");
}

/// The telling settings of a step, in a line.
fn settings(config: &Value) -> String {
    let telling = TELLING.iter().filter_map(|key| {
        let said = match &config[*key] {
            Value::Null => return None,
            Value::String(text) if text.is_empty() => return None,
            Value::String(text) => text.clone(),
            Value::Array(values) if values.is_empty() => return None,
            Value::Array(values) => {
                let texts = values.iter().map(|value| match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                texts.collect::<Vec<_>>().join(", ")
            }
            Value::Object(_) => return None,
            other => other.to_string(),
        };
        Some(format!("{key} {}", said.chars().take(80).collect::<String>()))
    });
    telling.collect::<Vec<_>>().join(" · ")
}

/// The reasons why documents were dropped, one row each, by artifact.
pub fn dropped(runs: &[Shown]) -> String {
    let mut rows = String::new();
    let mut seen = Vec::new();
    for link in runs.iter().flat_map(|shown| &shown.run.chain) {
        let fingerprint = link.manifest.fingerprint;
        let counts = &link.manifest.counts;
        if seen.contains(&fingerprint) || link.manifest.kind != Kind::Corpus || link.validates {
            continue;
        }
        seen.push(fingerprint);
        let mut reasons: Vec<(&str, u64)> =
            counts.dropped.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        if counts.rejected > 0 {
            reasons.push(("could not be read", counts.rejected));
        }
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (reason, count) in reasons.iter().filter(|(_, count)| *count > 0) {
            let share = 100.0 * *count as f64 / counts.documents_in.max(1) as f64;
            put(
                &mut rows,
                format_args!(
                    "<tr><th scope=\"row\">{}</th><td class=\"text\">{}</td><td>{}</td>\
                     <td>{share:.2}%</td><td class=\"text\"><i class=\"bar\" \
                     style=\"width:{:.1}%\"></i></td></tr>\n",
                    escape(&link.name),
                    escape(reason),
                    Count(*count),
                    share.min(100.0)
                ),
            );
        }
    }
    match rows.is_empty() {
        true => rows,
        false => format!(
            "<div class=\"wide\"><table><thead><tr><th scope=\"col\">step</th><th scope=\"col\">\
             reason</th><th scope=\"col\">documents</th><th scope=\"col\">of those it read</th>\
             <th scope=\"col\"></th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
        ),
    }
}

/// For each source: its weight, the share that it got, and the share that has been read so far.
pub fn mixture(runs: &[Shown]) -> String {
    let mut html = String::new();
    for Shown { run, .. } in runs {
        let Some(link) = run.mix() else { continue };
        let Ok(record) = MixRecord::read(&link.path) else { continue };
        let (read, exact) = match read_of(link, &record, run.tokens()) {
            Some(read) => read,
            None => continue,
        };
        let about = if exact { "" } else { "about " };
        put(
            &mut html,
            format_args!(
                "<div class=\"wide\"><table><caption>{} reads {}: {} of {} tokens</caption>\n\
                 <thead><tr><th scope=\"col\">source</th><th scope=\"col\">weight</th>\
                 <th scope=\"col\">tokens of the mix</th><th scope=\"col\">share</th>\
                 <th scope=\"col\">passes</th><th scope=\"col\">{about}read so far</th>\
                 <th scope=\"col\">share</th></tr></thead>\n<tbody>\n",
                escape(&run.name),
                escape(&link.name),
                Count(run.tokens()),
                Count(record.tokens)
            ),
        );
        let all: u64 = read.iter().sum();
        for (source, read) in record.sources.iter().zip(&read) {
            let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
            put(
                &mut html,
                format_args!(
                    "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{:.2}%</td><td>{}</td>\
                     <td>{}</td><td>{:.2}%</td></tr>\n",
                    escape(&source.name),
                    escape(&source.weight),
                    Count(source.achieved_tokens),
                    share(source.achieved_tokens, record.tokens),
                    escape(&source.epochs_decimal),
                    Count(*read),
                    share(*read, all)
                ),
            );
        }
        html.push_str("</tbody></table></div>\n");
    }
    html
}

/// Tokens of each source among the first `tokens` of the mix, and whether they were counted.
fn read_of(link: &Link, record: &MixRecord, tokens: u64) -> Option<(Vec<u64>, bool)> {
    let mut read = vec![0; record.sources.len()];
    let mut order = OrderReader::open(&link.path.join(ORDER_FILE)).ok()?;
    let tokens = tokens.min(order.tokens());
    if tokens == 0 || order.find(tokens - 1).ok()? < COUNTED_MAX {
        let last = if tokens == 0 { 0 } else { order.find(tokens - 1).ok()? + 1 };
        for index in 0..last {
            let (row, end) = order.row(index).ok()?;
            *read.get_mut(usize::from(row.source))? += end.min(tokens) - row.first_token;
        }
        return Some((read, true));
    }
    for phase in &record.phases {
        let done = tokens.saturating_sub(phase.first_token).min(phase.tokens);
        for (read, share) in read.iter_mut().zip(&phase.source_tokens) {
            let part = u128::from(*share) * u128::from(done) / u128::from(phase.tokens.max(1));
            *read += part as u64;
        }
    }
    Some((read, false))
}

/// The results of `eval` for each checkpoint, from `RUN.evals/` beside the run.
pub fn evaluations(runs: &[Shown]) -> String {
    let mut rows = String::new();
    for Shown { run, .. } in runs {
        let scores = scores(run);
        for (name, task) in &scores {
            let metric = task["metric"].as_str().unwrap_or("acc");
            let figure = &task[metric];
            let text = |value: &Value| {
                value.as_f64().map_or("–".to_owned(), |value| format!("{value:.4}"))
            };
            put(
                &mut rows,
                format_args!(
                    "<tr><th scope=\"row\">{}</th><td class=\"text\">{}</td><td>{}</td>\
                     <td class=\"text\">{}</td><td>{}</td><td>± {}</td><td>{}</td></tr>\n",
                    escape(&format!("{} {name}", run.name)),
                    escape(task["task"].as_str().unwrap_or_default()),
                    Count(task["items"].as_u64().unwrap_or(0)),
                    escape(metric),
                    text(&figure["value"]),
                    text(&figure["stderr"]),
                    text(&task["random"])
                ),
            );
        }
    }
    match rows.is_empty() {
        true => rows,
        false => format!(
            "<div class=\"wide\"><table><thead><tr><th scope=\"col\">model</th><th scope=\"col\">\
             task</th><th scope=\"col\">items</th><th scope=\"col\">figure</th><th scope=\"col\">\
             value</th><th scope=\"col\">standard error</th><th scope=\"col\">guessing</th></tr>\
             </thead>\n<tbody>\n{rows}</tbody></table></div>\n"
        ),
    }
}

/// (checkpoint, task) of the evaluations beside a run, in the order of their names.
fn scores(run: &Run) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for folder in find::evaluations(&run.path) {
        let scores = json::value(&folder.join("scores.json"));
        let name = place::name(&folder);
        let name = name.split('@').next().unwrap_or_default().to_owned();
        let tasks = scores["tasks"].as_array().cloned().unwrap_or_default();
        found.extend(tasks.into_iter().map(|task| (name.clone(), task)));
    }
    found
}

/// Seconds of each artifact that a run was made from.
pub fn seconds(run: &Run) -> BTreeMap<String, f64> {
    let timed = run.chain.iter().filter_map(|link| {
        link.seconds.map(|seconds| (format!("{} ({})", link.name, link.manifest.stage), seconds))
    });
    timed.collect()
}
