//! Metrics as CSV: a row a step, for a spreadsheet or any other tool.
//!
//! In → a run's records; out → text with one header line: what `metrics.jsonl` and `timing.jsonl`
//! say of the step, and a column `bits_per_byte/SOURCE` for each source, empty between evaluations.
//! Numbers keep every digit that they have. Quoted as RFC 4180 says. Pure.

use std::collections::BTreeMap;

use super::records::Run;
use crate::base::html::put;

/// The CSV of a run, with its name in the first column.
pub fn csv(runs: &[Run]) -> String {
    let mut sources: Vec<&str> = Vec::new();
    for eval in runs.iter().flat_map(|run| &run.evals) {
        if !sources.contains(&eval.source.as_str()) {
            sources.push(&eval.source);
        }
    }
    let mut csv = "run,step,tokens,loss,learning_rate,gradient_norm,seconds,tokens_per_second,\
                   feed_seconds"
        .to_owned();
    for source in &sources {
        put(&mut csv, format_args!(",{}", quoted(&format!("bits_per_byte/{source}"))));
    }
    csv.push('\n');
    for run in runs {
        let timing: BTreeMap<u64, _> = run.timing.iter().map(|one| (one.step, one)).collect();
        let evals: BTreeMap<(u64, &str), f64> = run
            .evals
            .iter()
            .map(|eval| ((eval.step, eval.source.as_str()), eval.bits_per_byte))
            .collect();
        let name = quoted(&run.name);
        for metric in &run.metrics {
            let super::lines::Metric { step, tokens, loss, learning_rate, gradient_norm, .. } =
                metric;
            put(
                &mut csv,
                format_args!("{name},{step},{tokens},{loss},{learning_rate},{gradient_norm},"),
            );
            match timing.get(step) {
                Some(one) => put(
                    &mut csv,
                    format_args!("{},{},{}", one.seconds, one.tokens_per_second, one.feed_seconds),
                ),
                None => csv.push_str(",,"),
            }
            for source in &sources {
                csv.push(',');
                if let Some(bits) = evals.get(&(*step, source)) {
                    put(&mut csv, format_args!("{bits}"));
                }
            }
            csv.push('\n');
        }
    }
    csv
}

/// A field, in quotes where it needs them.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_need_it() {
        assert_eq!(quoted("wiki"), "wiki");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
