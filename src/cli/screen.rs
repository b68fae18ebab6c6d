//! What a person reads: one line a step, and the closing screen of a recipe.
//!
//! In → manifests, summaries; out → text and JSON records. Pure: nothing here writes anywhere.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use serde_json::{Value, json};

use super::printer::Printer;
use crate::{
    artifact::manifest::{self, Manifest},
    base::size::Count,
    classifier,
    pipeline::{
        recipe::Request,
        step::{StepResult, dry_run_lines},
    },
    shards::MixRecord,
    source::LEFT_OUT,
    tokenizer::{vocabulary_shortfall, vocabulary_sizes},
};

/// A source that loses more than this share of its documents raises an alarm.
const ALARM_SHARE: f64 = 0.5;
/// Reasons shown on a line; the rest is summed up.
const REASONS_SHOWN: usize = 4;

/// The request as `-v` shows it.
pub fn request(request: &Request) -> String {
    let config = toml::to_string(&request.config).unwrap_or_default();
    let inputs = request.inputs.join(" ");
    format!("{} ({}): {inputs} → {}\n{config}", request.name, request.stage, request.out.display())
}

/// One step in one line: `dedup  2,873 → 2,203 documents  …  1.9 s`.
pub fn line(request: &Request, result: &StepResult) -> String {
    let (text, seconds) = match result {
        StepResult::Stage(outcome) => (flow(&outcome.manifest), outcome.seconds),
        #[cfg(feature = "train")]
        StepResult::Train(summary) => {
            let seconds = summary.seconds;
            (
                format!("step {} of {}", Count(summary.step), Count(summary.steps)),
                seconds.feed
                    + seconds.gradients
                    + seconds.optimizer
                    + seconds.evaluation
                    + seconds.samples
                    + seconds.checkpoints,
            )
        }
    };
    let end = match result.is_up_to_date() {
        true => "up to date".to_owned(),
        false => format!("{seconds:.1} s"),
    };
    format!("{:<10} {text}  {end}", request.name)
}

/// Documents in and out, and tokens where there are any.
fn flow(manifest: &Manifest) -> String {
    let counts = &manifest.counts;
    let mut text = match counts.documents_in == counts.documents_out {
        true => format!("{} documents", Count(counts.documents_out)),
        false => {
            format!("{} → {} documents", Count(counts.documents_in), Count(counts.documents_out))
        }
    };
    let tokens: u64 = counts.sources.values().map(|source| source.tokens).sum();
    if tokens > 0 {
        let _ = write!(text, ", {} tokens", Count(tokens));
    }
    text
}

/// A bare command's result.
pub fn step(request: &Request, result: &StepResult, printer: &Printer) -> String {
    let mut text = line(request, result);
    match result {
        StepResult::Stage(outcome) => {
            let manifest = &outcome.manifest;
            let reused = outcome.units_reused;
            if reused > 0 {
                let _ = write!(text, " ({reused} of {} units were there)", outcome.units);
            }
            text.push('\n');
            text.push_str(&sources(manifest));
            text.push_str(&vocabularies(manifest));
            if let Some(mix) = mix_record(&request.out) {
                text.push_str(&shares(&mix));
            }
            if let Some(report) = classifier_report(&request.out) {
                let _ = writeln!(text, "{report}");
            }
        }
        #[cfg(feature = "train")]
        StepResult::Train(summary) => {
            text.push('\n');
            text.push_str(&learned(summary, printer));
        }
    }
    let _ = (write!(text, "in {}", request.out.display()), printer);
    text
}

/// A line a source, with why documents were dropped.
fn sources(manifest: &Manifest) -> String {
    let width = manifest.counts.sources.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, source) in &manifest.counts.sources {
        let _ = write!(
            text,
            "  {name:<width$}  {:>9} → {:>9}",
            Count(source.documents_in).to_string(),
            Count(source.documents_out).to_string()
        );
        if source.tokens > 0 {
            let _ = write!(text, "  {} tokens", Count(source.tokens));
        }
        let why = reasons(&source.dropped, &source.rejected);
        let _ = writeln!(text, "  {why}");
    }
    text
}

/// A line a vocabulary size, with what was reached of it.
fn vocabularies(manifest: &Manifest) -> String {
    vocabulary_sizes(manifest).iter().map(|size| format!("{size}\n")).collect()
}

/// `gopher_quality/… 301, short 12, other reasons 9`, most frequent first.
fn reasons(dropped: &BTreeMap<String, u64>, rejected: &BTreeMap<String, u64>) -> String {
    let rejected = rejected.iter().map(|(reason, count)| (format!("unreadable: {reason}"), *count));
    let dropped = dropped.iter().map(|(reason, count)| (reason.clone(), *count));
    let mut all: Vec<(String, u64)> = dropped.chain(rejected).collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let rest: u64 = all.iter().skip(REASONS_SHOWN).map(|(_, count)| count).sum();
    let shown = all.iter().take(REASONS_SHOWN);
    let mut texts: Vec<String> =
        shown.map(|(reason, count)| format!("{reason} {}", Count(*count))).collect();
    if rest > 0 {
        texts.push(format!("other reasons {}", Count(rest)));
    }
    texts.join(", ")
}

/// Warnings about what a stage did to a source.
pub fn alarms(manifest: &Manifest) -> Vec<String> {
    let mut alarms = Vec::from_iter(vocabulary_shortfall(&vocabulary_sizes(manifest)));
    for (name, source) in &manifest.counts.sources {
        let held_back = source.dropped.get("held_out").copied().unwrap_or(0)
            + source.dropped.get("over_budget").copied().unwrap_or(0);
        // What a condition leaves out is what was asked for, unless it is everything.
        let left_out = source.dropped.get(LEFT_OUT).copied().unwrap_or(0);
        let taken = source.documents_in - left_out;
        if taken == 0 && left_out > 0 {
            alarms.push(format!("`where` takes no document of source `{name}`"));
            continue;
        }
        let dropped = source.dropped_total() - held_back - left_out;
        let share = dropped as f64 / taken.max(1) as f64;
        if taken > 0 && share > ALARM_SHARE {
            let mut by_rules = source.dropped.clone();
            by_rules.remove(LEFT_OUT);
            alarms.push(format!(
                "`{}` dropped {} of {} documents ({:.0}%) of source `{name}`: {}",
                manifest.stage,
                Count(dropped),
                Count(taken),
                100.0 * share,
                reasons(&by_rules, &BTreeMap::new())
            ));
        }
        let reads_text =
            matches!(manifest.stage.as_str(), "ingest" | "filter" | "dedup" | "tokenize");
        let wanted = manifest.holdout.is_some_and(|share| share > 0.0);
        if reads_text && wanted && source.documents_out > 0 && source.held_out == 0 {
            let enough = (20.0 / source.documents_out as f64).min(0.5);
            alarms.push(format!(
                "no document of source `{name}` is held out for validation; \
                 `--holdout {enough:.3}` would hold out about twenty"
            ));
        }
    }
    alarms
}

/// Shares asked for and achieved.
fn shares(mix: &MixRecord) -> String {
    let mut text = String::new();
    for source in &mix.sources {
        let share = 100.0 * source.achieved_tokens as f64 / mix.tokens.max(1) as f64;
        let _ = writeln!(
            text,
            "  {:<12} {share:>5.1}%  asked {}  {:>12} tokens  {} epochs  {} documents",
            source.name,
            source.weight,
            Count(source.achieved_tokens).to_string(),
            source.epochs_decimal,
            Count(source.documents)
        );
    }
    text
}

fn mix_record(directory: &Path) -> Option<MixRecord> {
    MixRecord::read(directory).ok()
}

fn classifier_report(directory: &Path) -> Option<classifier::Report> {
    classifier::Report::read(&directory.join(classifier::REPORT)).ok()
}

/// The closing screen of `dataprep run`.
pub fn closing(out: &Path, results: &[(&Request, StepResult)], printer: &Printer) -> String {
    let mut text = format!("\n{}\n", printer.bold("What became of the text"));
    for (request, result) in results {
        let Some(outcome) = result.outcome() else { continue };
        if request.stage == "mix" {
            continue;
        }
        let manifest = &outcome.manifest;
        let _ = writeln!(text, "{:<10} {}", request.name, flow(manifest));
        text.push_str(&sources(manifest));
        text.push_str(&vocabularies(manifest));
    }
    for (request, _) in results.iter().filter(|(request, _)| request.stage == "mix") {
        if let Some(mix) = mix_record(&request.out) {
            let head = format!("What the model reads: {} tokens", Count(mix.tokens));
            let _ = write!(text, "\n{}\n{}", printer.bold(&head), shares(&mix));
        }
    }
    #[cfg(feature = "train")]
    for (_, result) in results {
        if let StepResult::Train(summary) = result {
            text.push_str(&learned(summary, printer));
        }
    }
    let _ = write!(text, "\n{}\n", printer.bold("Where everything lies"));
    for (request, _) in results {
        let _ = writeln!(text, "  {:<10} {}", request.name, out.join(&request.name).display());
    }
    text
}

/// Validation, speed and samples of a run.
#[cfg(feature = "train")]
fn learned(summary: &crate::train::TrainSummary, printer: &Printer) -> String {
    let mut text = format!("\n{}\n", printer.bold("What the model learned"));
    let last = summary.evals.iter().map(|eval| eval.step).max();
    let evals = summary.evals.iter().filter(|eval| Some(eval.step) == last);
    for warning in &summary.warnings {
        let _ = writeln!(text, "  {} {warning}", printer.bold("warning:"));
    }
    if summary.evals.is_empty() {
        let _ = match summary.first_evaluation {
            Some(step) => writeln!(
                text,
                "  stopped before its first evaluation, which is due after step {}",
                Count(step)
            ),
            None => writeln!(text, "  nothing is held out, so nothing was evaluated"),
        };
    } else {
        let _ = writeln!(
            text,
            "  {:<12} {:>9} {:>9} {:>14} {:>17}",
            "validation", "documents", "loss", "bits per byte", "unigram baseline"
        );
    }
    for eval in evals {
        let loss = eval.nats / eval.tokens.max(1) as f64;
        let _ = writeln!(
            text,
            "  {:<12} {:>9} {loss:>9.3} {:>14.3} {:>17.3}",
            eval.source,
            Count(eval.documents).to_string(),
            eval.bits_per_byte,
            eval.unigram_bits_per_byte
        );
    }
    let _ = write!(
        text,
        "  {} parameters, {} of {} steps, {} of the mix's {} tokens read by this run so far",
        Count(summary.parameters),
        Count(summary.step),
        Count(summary.steps),
        Count(summary.tokens),
        Count(summary.mix_tokens)
    );
    if let Some(loss) = summary.loss {
        let _ = write!(text, ", training loss {loss:.3}");
    }
    if let Some(rate) = summary.tokens_per_second {
        let memory = crate::base::size::Bytes(summary.peak_memory);
        let _ = write!(text, ", {} tokens/s, peak memory {memory}", Count(rate as u64));
    }
    for sample in &summary.samples {
        let sampled = format!("{}{}", sample.prompt, sample.text);
        let _ = write!(text, "\n\n  step {}: {}", sample.step, one_line(&sampled));
    }
    let _ = writeln!(text, "\n\n  {}", summary.report.display());
    text
}

/// Text with line breaks shown as spaces, so that a sample stays one paragraph.
#[cfg(feature = "train")]
fn one_line(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a step would do.
pub fn dry_run(request: &Request, plan: Option<&Value>) -> String {
    let what = match plan {
        None => "waits for an earlier step".to_owned(),
        Some(plan) => dry_run_lines(plan),
    };
    format!("{:<10} {:<10} {what} → {}", request.name, request.stage, request.out.display())
}

/// A step as a JSON record.
pub fn record(kind: &str, request: &Request, result: &StepResult) -> Value {
    let mut record = json!({
        "type": kind, "step": request.name, "stage": request.stage, "out": request.out,
        "up_to_date": result.is_up_to_date(),
    });
    let more = match result {
        StepResult::Stage(outcome) => json!({
            "units": outcome.units, "units_reused": outcome.units_reused,
            "seconds": outcome.seconds, "counts": outcome.manifest.counts,
            "vocabularies": vocabulary_sizes(&outcome.manifest),
            "fingerprint": outcome.manifest.fingerprint,
        }),
        #[cfg(feature = "train")]
        StepResult::Train(summary) => serde_json::to_value(summary).expect("plain data"),
    };
    if let (Value::Object(record), Value::Object(more)) = (&mut record, more) {
        record.extend(more);
    }
    if let Some(report) = classifier_report(&request.out) {
        record["report"] = serde_json::to_value(report).expect("plain data");
    }
    manifest::canonical(&record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_come_most_frequent_first_and_the_rest_is_summed() {
        let dropped = [("a", 1), ("b", 30), ("c", 4), ("d", 5), ("e", 2)];
        let dropped = dropped.map(|(reason, count)| (reason.to_owned(), count)).into();
        let rejected = BTreeMap::from([("null_text".to_owned(), 7)]);
        assert_eq!(
            reasons(&dropped, &rejected),
            "b 30, unreadable: null_text 7, d 5, c 4, other reasons 3"
        );
    }
}
