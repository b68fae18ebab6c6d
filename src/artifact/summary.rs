//! What a command says when it has made something: one line, a paragraph, a record.
//!
//! In → a manifest, or whatever a stage knows of its work; out → a [`Summary`], which lives beside
//! its stage. `cli` prints it and knows nothing of what is in it. [`DocumentsSummary`] serves every
//! stage whose work is to take documents and pass some of them on.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use serde_json::{Value, json};

use super::{
    counts::{LEFT_OUT, MAX_BAD_DEFAULT, SourceCounts},
    manifest::Manifest,
    record::Kind,
};
use crate::base::size::Count;

/// A source that loses more than this share of its documents raises an alarm.
const ALARM_SHARE: f64 = 0.5;
/// Held-out documents that a hint about `--holdout` aims at.
const HELD_OUT_WANTED: u64 = 20;
/// Reasons shown on a line; the rest is summed up.
const REASONS_SHOWN: usize = 4;

/// What came of a piece of work. `Display` is the paragraph below the line: it ends with a newline,
/// or is empty.
pub trait Summary: fmt::Display + fmt::Debug {
    /// Under which head the closing screen of a recipe shows the paragraph.
    fn head(&self) -> String;

    /// The line: `3,010 → 2,855 documents`.
    fn line(&self) -> String;

    /// The keys of the JSON record.
    fn record(&self) -> Value;

    /// What a person must not miss, each a sentence.
    fn alarms(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What became of the documents of each source.
#[derive(Clone, Debug)]
pub struct DocumentsSummary {
    manifest: Manifest,
}

impl DocumentsSummary {
    /// Of a finished stage.
    pub fn new(manifest: &Manifest) -> DocumentsSummary {
        DocumentsSummary { manifest: manifest.clone() }
    }
}

impl Summary for DocumentsSummary {
    fn head(&self) -> String {
        "What became of the text".to_owned()
    }

    /// Documents in and out, and tokens where there are any.
    fn line(&self) -> String {
        let counts = &self.manifest.counts;
        let (read, written) = (Count(counts.documents_in), Count(counts.documents_out));
        let mut text = match read == written {
            true => written.of("document"),
            false => format!("{read} → {}", written.of("document")),
        };
        let tokens: u64 = counts.sources.values().map(|source| source.tokens).sum();
        if tokens > 0 {
            let _ = write!(text, ", {} tokens", Count(tokens));
        }
        text
    }

    fn record(&self) -> Value {
        json!({ "counts": self.manifest.counts, "fingerprint": self.manifest.fingerprint })
    }

    fn alarms(&self) -> Vec<String> {
        let sources = self.manifest.counts.sources.iter();
        sources.filter_map(|(name, source)| self.alarm(name, source)).flatten().collect()
    }
}

impl fmt::Display for DocumentsSummary {
    /// A line a source, with why documents were dropped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = &self.manifest.counts.sources;
        let width = sources.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        for (name, source) in sources {
            let read = Count(source.documents_in).to_string();
            let written = Count(source.documents_out).to_string();
            write!(f, "  {name:<width$}  {read:>9} → {written:>9}")?;
            if source.tokens > 0 {
                write!(f, "  {} tokens", Count(source.tokens))?;
            }
            let why = reasons(&source.dropped, &source.rejected);
            write!(f, "{}{why}", if why.is_empty() { "" } else { "  " })?;
            let judged: u64 = source.held_out_verdicts.values().sum();
            match judged {
                0 => writeln!(f)?,
                _ => writeln!(f, "; {} held-out documents stay that would go", Count(judged))?,
            }
        }
        Ok(())
    }
}

impl DocumentsSummary {
    /// What is odd about a source: most of it dropped, nothing of it held out.
    fn alarm(&self, name: &str, source: &SourceCounts) -> Option<Vec<String>> {
        let count = |reason: &str| source.dropped.get(reason).copied().unwrap_or(0);
        // What a condition leaves out is what was asked for, unless it is everything.
        let judged = source.held_out_verdicts.get(LEFT_OUT).copied().unwrap_or(0);
        let left_out = count(LEFT_OUT);
        let taken = source.documents_in - left_out - judged;
        if taken == 0 {
            let nothing = format!("`where` takes no document of source `{name}`");
            return (left_out + judged > 0).then(|| vec![nothing]);
        }
        let mut alarms = Vec::new();
        let held_back = count("held_out") + count("over_budget");
        let dropped = source.dropped_total() - held_back - left_out;
        let share = dropped as f64 / taken as f64;
        if share > ALARM_SHARE {
            let mut by_rules = source.dropped.clone();
            by_rules.remove(LEFT_OUT);
            alarms.push(format!(
                "`{}` dropped {} of {} documents ({:.0}%) of source `{name}`: {}",
                self.manifest.stage,
                Count(dropped),
                Count(taken),
                100.0 * share,
                reasons(&by_rules, &BTreeMap::new())
            ));
        }
        let (rejected, documents) = (source.rejected_total(), source.documents_in);
        if rejected as f64 > MAX_BAD_DEFAULT * documents as f64 {
            alarms.push(format!(
                "{} of {} documents of source `{name}` could not be read: {}",
                Count(rejected),
                Count(documents),
                reasons(&BTreeMap::new(), &source.rejected)
            ));
        }
        let holds_out = self.manifest.holdout.is_some_and(|share| share > 0.0);
        let is_written = matches!(self.manifest.kind, Kind::Corpus | Kind::Shards);
        if is_written && holds_out && source.documents_out > 0 && source.held_out == 0 {
            alarms.push(format!(
                "no document of source `{name}` is held out for validation; {}",
                holdout_that_would_do(source.documents_out)
            ));
        }
        Some(alarms)
    }
}

/// The share that holds out about [`HELD_OUT_WANTED`] documents, or half of fewer.
fn holdout_that_would_do(documents: u64) -> String {
    let wanted = HELD_OUT_WANTED.min(documents / 2);
    if wanted == 0 {
        return format!("it has only {}", Count(documents));
    }
    // As many decimals as show the first two digits of the share.
    let mut decimals = 2;
    let mut unit = 10;
    while wanted * unit < documents {
        unit *= 10;
        decimals += 1;
    }
    let share = wanted as f64 / documents as f64;
    format!("`--holdout {share:.decimals$}` would hold out about {wanted} of {}", Count(documents))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_is_hinted_at_holds_out_what_is_said() {
        for (documents, expect) in [
            (1, "it has only 1"),
            (3, "`--holdout 0.33` would hold out about 1 of 3"),
            (24, "`--holdout 0.50` would hold out about 12 of 24"),
            (60, "`--holdout 0.33` would hold out about 20 of 60"),
            (1_000_000, "`--holdout 0.000020` would hold out about 20 of 1,000,000"),
        ] {
            assert_eq!(holdout_that_would_do(documents), expect);
        }
    }

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
