//! Two evaluations of the same items, side by side.
//!
//! In → `items.parquet` and `scores.json` of both; out → a [`Comparison`]: for each task the
//! figures of both, how many items changed sides and which, and how likely chance alone is to do as
//! much. **Method.** The items are the same, so the difficulty that both models share cancels:
//! McNemar's exact test asks whether gained and lost items differ by more than a fair coin (McNemar
//! 1947; a binomial test on the items that changed), and a paired bootstrap gives 95% intervals of
//! the differences in accuracy and bits per byte (Efron and Tibshirani 1993, the percentile
//! interval; items drawn with a seed by task). Texts are compared source by source, over all
//! documents of a source together. **Invariants.** Two items are compared only if their choices
//! have the same texts, judged by their number, characters and bytes. **Cost.** [`DRAWS`] · items a
//! task.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::items::{self, ITEMS, TaskItems};
use super::measures::{By, ScoredItem};
use super::scores::{Scores, TextScores, write_table};
use super::task::spec::Metric;
use super::texts;
use crate::artifact::manifest::Manifest;
use crate::artifact::record::Kind;
use crate::base::error::{Error, Result};
use crate::base::rng::Stream;
use crate::base::size::{Count, percent};

/// Resampled sets of items; each 2.5% tail of the percentiles then rests on fifty draws.
const DRAWS: usize = 2000;

/// Items that a table names on each side.
const SHOWN: usize = 8;

/// Two evaluations: `this` against `other`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub this: String,
    pub other: String,
    pub tasks: Vec<TaskComparison>,
    pub texts: Vec<TextComparison>,
    /// Tasks and sources that only one of them has, and sources of which they scored other texts.
    pub unmatched: Vec<String>,
}

/// One task in both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskComparison {
    pub task: String,
    /// Items that both have.
    pub items: u64,
    /// `acc` or `acc_norm`: the figure whose answers are compared.
    pub metric: Metric,
    pub accuracy: Difference,
    /// The bits per byte of the right choices; lower is better.
    pub bits_per_byte: Difference,
    /// Numbers of the items that only `this` has right, and only the other.
    pub gained: Vec<u64>,
    pub lost: Vec<u64>,
    /// The probability that chance alone splits the changed items at least as unevenly.
    pub mcnemar_p: f64,
}

/// A figure of both, and their difference with its 95% interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub this: f64,
    pub other: f64,
    pub difference: f64,
    pub low: f64,
    pub high: f64,
}

/// The texts of one source in both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextComparison {
    /// None for all sources together.
    pub source: Option<String>,
    pub bytes: u64,
    pub this: f64,
    pub other: f64,
    pub difference: f64,
}

/// Whether an evaluation lies at `path`.
pub fn is_evaluation(path: &Path) -> bool {
    Manifest::stands_in(path)
        && Manifest::read(path).is_ok_and(|manifest| manifest.kind == Kind::Evals)
}

impl Comparison {
    /// Compares the evaluations in two directories.
    ///
    /// # Errors
    /// Config: they have nothing in common, or items of one name differ. Damaged: a file.
    pub fn read(this: &Path, other: &Path, seed: u64) -> Result<Comparison> {
        let read = |path: &Path| -> Result<(Scores, Vec<TaskItems>)> {
            Manifest::read(path)?.expect_kind(path, Kind::Evals)?;
            Ok((Scores::read(path)?, items::read(&path.join(ITEMS))?))
        };
        let ((scores, tasks), (other_scores, other_tasks)) = (read(this)?, read(other)?);
        let mut unmatched = Vec::new();
        let mut compared = Vec::new();
        for task in &tasks {
            let metric = scores.tasks.iter().find(|it| it.task == task.task).map(|it| it.metric);
            match (other_tasks.iter().find(|it| it.task == task.task), metric) {
                (Some(other), Some(metric)) => compared.push(compare(task, other, metric, seed)?),
                _ => unmatched.push(task.task.clone()),
            }
        }
        let names = |tasks: &[TaskItems]| -> Vec<String> {
            tasks.iter().map(|task| task.task.clone()).collect()
        };
        let known = names(&tasks);
        unmatched.extend(names(&other_tasks).into_iter().filter(|name| !known.contains(name)));
        let which = (texts::which(this)?, texts::which(other)?);
        let is_same = |source: &str| which.0.get(source) == which.1.get(source);
        let texts = compare_texts(&scores.texts, &other_scores.texts, &is_same, &mut unmatched);
        let (this, other) = (this.display().to_string(), other.display().to_string());
        if compared.is_empty() && texts.is_empty() {
            let message =
                format!("`{this}` and `{other}` have neither a task nor a text in common");
            return Err(Error::config(message));
        }
        Ok(Comparison { this, other, tasks: compared, texts, unmatched })
    }
}

fn compare(
    this: &TaskItems,
    other: &TaskItems,
    metric: Metric,
    seed: u64,
) -> Result<TaskComparison> {
    let by_number: BTreeMap<u64, &ScoredItem> =
        other.items.iter().map(|item| (item.number, item)).collect();
    let pairs: Vec<(&ScoredItem, &ScoredItem)> =
        this.items.iter().filter_map(|it| Some((it, *by_number.get(&it.number)?))).collect();
    if let Some((item, _)) = pairs.iter().find(|(this, other)| !is_same(this, other)) {
        let message = format!("item {} of task `{}` is not the same", item.number, this.task);
        return Err(Error::config(message)
            .with_hint("evaluate both on the same files, with the same task definitions"));
    }
    let by = if metric == Metric::AccNorm { By::Characters } else { By::Likelihood };
    let right = |item: &ScoredItem| f64::from(u8::from(item.is_right(by)));
    let changed = |gain: f64| -> Vec<u64> {
        let changed = pairs.iter().filter(|(this, other)| right(this) - right(other) == gain);
        changed.map(|(this, _)| this.number).collect()
    };
    let (gained, lost) = (changed(1.0), changed(-1.0));
    let difference = |figure: &dyn Fn(&ScoredItem) -> f64, label: &str| {
        let values = pairs.iter().map(|(this, other)| (figure(this), figure(other)));
        let label = format!("bootstrap of {label}, task {}", this.task);
        Difference::of(&values.collect::<Vec<_>>(), &mut Stream::new(seed, &label))
    };
    Ok(TaskComparison {
        task: this.task.clone(),
        items: pairs.len() as u64,
        metric,
        accuracy: difference(&right, "accuracy"),
        bits_per_byte: difference(&ScoredItem::bits_per_byte, "bits per byte"),
        mcnemar_p: mcnemar(gained.len() as u64, lost.len() as u64),
        gained,
        lost,
    })
}

/// Whether two items ask the same, as far as scores tell.
fn is_same(this: &ScoredItem, other: &ScoredItem) -> bool {
    let texts = |item: &ScoredItem| -> Vec<(u64, u64)> {
        item.choices.iter().map(|choice| (choice.characters, choice.bytes)).collect()
    };
    this.gold == other.gold && texts(this) == texts(other)
}

impl Difference {
    /// The difference of the means of paired values, with percentiles of resampled differences.
    fn of(pairs: &[(f64, f64)], stream: &mut Stream) -> Difference {
        let n = pairs.len().max(1) as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| pairs.iter().map(value).sum::<f64>() / n;
        let differences: Vec<f64> = pairs.iter().map(|(this, other)| this - other).collect();
        let mut means: Vec<f64> = (0..DRAWS)
            .map(|_| {
                let drawn = differences.iter().map(|_| {
                    let place = (stream.uniform() * n) as usize;
                    differences[place.min(differences.len() - 1)]
                });
                drawn.sum::<f64>() / n
            })
            .collect();
        means.sort_by(f64::total_cmp);
        let (this, other) = (mean(|pair| pair.0), mean(|pair| pair.1));
        let percentile = |share: f64| means[(share * (DRAWS - 1) as f64).round() as usize];
        let (low, high) = (percentile(0.025), percentile(0.975));
        Difference { this, other, difference: this - other, low, high }
    }
}

/// P(a fair coin splits `gained + lost` throws at least as unevenly).
fn mcnemar(gained: u64, lost: u64) -> f64 {
    let (n, fewer) = (gained + lost, gained.min(lost));
    if n == 0 {
        return 1.0;
    }
    let log_factorial = |k: u64| libm::lgamma(k as f64 + 1.0);
    let log_all = n as f64 * std::f64::consts::LN_2;
    let share =
        |k: u64| libm::exp(log_factorial(n) - log_factorial(k) - log_factorial(n - k) - log_all);
    (2.0 * (0..=fewer).map(share).sum::<f64>()).min(1.0)
}

/// The sources that both have scored, and all sources together if that is every source of both.
fn compare_texts(
    this: &[TextScores],
    other: &[TextScores],
    is_same: &dyn Fn(&str) -> bool,
    unmatched: &mut Vec<String>,
) -> Vec<TextComparison> {
    let mut compared = Vec::new();
    let mut left: BTreeSet<&str> = other.iter().filter_map(|it| it.source.as_deref()).collect();
    let mut is_whole = true;
    for text in this {
        let same = other.iter().find(|it| it.source == text.source);
        let is_same = match text.source.as_deref() {
            Some(source) => left.remove(source) && is_same(source),
            // The last entry, which is over all sources.
            None => is_whole && left.is_empty(),
        };
        let Some(same) = same.filter(|_| is_same) else {
            unmatched.extend(text.source.clone());
            is_whole = false;
            continue;
        };
        let (this, other) = (text.bits_per_byte.value, same.bits_per_byte.value);
        compared.push(TextComparison {
            source: text.source.clone(),
            bytes: text.bytes,
            this,
            other,
            difference: this - other,
        });
    }
    unmatched.extend(left.into_iter().map(str::to_owned));
    compared
}

impl fmt::Display for Comparison {
    /// A line a task and measure, then which items changed sides.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} against {}", self.this, self.other)?;
        if !self.tasks.is_empty() {
            let head =
                ["task", "items", "this", "other", "difference", "95%", "gained", "lost", "p"];
            let mut rows = vec![head.map(str::to_owned).to_vec()];
            for task in &self.tasks {
                rows.push(accuracy_row(task));
                rows.push(bits_row(task));
            }
            write_table(f, &rows)?;
        }
        if !self.texts.is_empty() {
            let head = ["text", "bytes", "this", "other", "difference"];
            let mut rows = vec![head.map(str::to_owned).to_vec()];
            rows.extend(self.texts.iter().map(|text| {
                vec![
                    text.source.clone().unwrap_or_else(|| "all".to_owned()),
                    Count(text.bytes).to_string(),
                    format!("{:.4}", text.this),
                    format!("{:.4}", text.other),
                    format!("{:+.4}", text.difference),
                ]
            }));
            write_table(f, &rows)?;
        }
        for task in &self.tasks {
            for (what, numbers) in [("gained", &task.gained), ("lost", &task.lost)] {
                if !numbers.is_empty() {
                    writeln!(f, "  {} {what}: {}", task.task, listed(numbers))?;
                }
            }
        }
        if !self.unmatched.is_empty() {
            writeln!(
                f,
                "  only in one of them, or over other texts: {}",
                self.unmatched.join(", ")
            )?;
        }
        Ok(())
    }
}

fn accuracy_row(task: &TaskComparison) -> Vec<String> {
    let Difference { this, other, difference, low, high } = &task.accuracy;
    vec![
        task.task.clone(),
        Count(task.items).to_string(),
        percent(*this),
        percent(*other),
        format!("{:+.1}", 100.0 * difference),
        format!("{:+.1} to {:+.1}", 100.0 * low, 100.0 * high),
        Count(task.gained.len() as u64).to_string(),
        Count(task.lost.len() as u64).to_string(),
        format!("{:.3}", task.mcnemar_p),
    ]
}

fn bits_row(task: &TaskComparison) -> Vec<String> {
    let Difference { this, other, difference, low, high } = &task.bits_per_byte;
    let blank = String::new;
    vec![
        "  bits/byte".to_owned(),
        blank(),
        format!("{this:.4}"),
        format!("{other:.4}"),
        format!("{difference:+.4}"),
        format!("{low:+.4} to {high:+.4}"),
        blank(),
        blank(),
        blank(),
    ]
}

/// The first numbers, and how many more there are.
fn listed(numbers: &[u64]) -> String {
    let shown: Vec<String> = numbers.iter().take(SHOWN).map(u64::to_string).collect();
    match numbers.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more (`--json` lists them)", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::measures::ScoredChoice;

    fn task(answers: &[usize]) -> TaskItems {
        let choice = |is_taken: bool| ScoredChoice {
            loglikelihood: if is_taken { -1.0 } else { -2.0 },
            tokens: 1,
            characters: 2,
            bytes: 2,
            is_greedy: false,
        };
        let item = |(number, &answer): (usize, &usize)| ScoredItem {
            number: number as u64,
            choices: (0..2).map(|place| choice(place == answer)).collect(),
            gold: 0,
        };
        TaskItems { task: "t".into(), items: answers.iter().enumerate().map(item).collect() }
    }

    #[test]
    fn items_that_change_sides_are_named() {
        let (this, other) = (task(&[0, 0, 1, 0, 1, 0]), task(&[0, 1, 0, 1, 1]));
        let found = compare(&this, &other, Metric::Acc, 1).unwrap();
        assert_eq!((found.items, &found.gained, &found.lost), (5, &vec![1, 3], &vec![2]));
        assert_eq!((found.accuracy.this, found.accuracy.other), (0.6, 0.4));
        // scipy.stats.binomtest(1, 3).pvalue
        assert!((found.mcnemar_p - 1.0).abs() < 1e-12);
        assert!(found.accuracy.low <= 0.2 && found.accuracy.high >= 0.2);
        assert_eq!(compare(&this, &other, Metric::Acc, 1).unwrap(), found);
        let mut changed = other.clone();
        changed.items[2].choices[1].bytes = 9;
        let error = compare(&this, &changed, Metric::Acc, 1).unwrap_err();
        assert!(error.to_string().contains("item 2 of task `t` is not the same"), "{error}");
    }

    #[test]
    fn figures_over_other_texts_are_not_subtracted() {
        let text = |source: Option<&str>, bytes| {
            let document = super::super::scores::TextScore { tokens: 9, bytes, nats: bytes as f64 };
            TextScores::of(source, &[document]).unwrap()
        };
        let one = [text(Some("a"), 100), text(Some("b"), 50), text(None, 150)];
        let sources = |other: &[TextScores], is_same: &dyn Fn(&str) -> bool| {
            let mut unmatched = Vec::new();
            let found = compare_texts(&one, other, is_same, &mut unmatched);
            let found = found.into_iter().map(|it| it.source.unwrap_or("all".into()));
            (found.collect::<Vec<_>>().join(" "), unmatched.join(" "))
        };
        assert_eq!(sources(&one, &|_| true), ("a b all".into(), String::new()));
        // Another text of as many bytes; then one that only the other has.
        assert_eq!(sources(&one, &|source| source != "b"), ("a".into(), "b".into()));
        let other = [text(Some("a"), 100), text(Some("c"), 50), text(None, 150)];
        assert_eq!(sources(&other, &|_| true), ("a".into(), "b c".into()));
    }

    #[test]
    fn chance_is_that_of_a_fair_coin() {
        // scipy.stats.binomtest(k, n, 0.5).pvalue
        for (gained, lost, expected) in [
            (0, 0, 1.0),
            (5, 5, 1.0),
            (10, 0, 0.001953125),
            (0, 1, 1.0),
            (60, 40, 0.056887933640981),
        ] {
            let found = mcnemar(gained, lost);
            assert!((found - expected).abs() < 1e-9, "{gained} {lost}: {found}");
        }
        assert!(mcnemar(5000, 4600) < 1e-3);
    }

    #[test]
    fn the_interval_is_that_of_the_normal_for_many_items() {
        let pairs: Vec<(f64, f64)> =
            (0..1000).map(|at| (f64::from(u8::from(at % 4 == 0)), 0.0)).collect();
        let found = Difference::of(&pairs, &mut Stream::new(3, "interval"));
        let error = (0.25f64 * 0.75 / 1000.0).sqrt();
        assert!((found.difference - 0.25).abs() < 1e-12);
        assert!((found.low - (0.25 - 1.96 * error)).abs() < 0.003, "{found:?}");
        assert!((found.high - (0.25 + 1.96 * error)).abs() < 0.003, "{found:?}");
    }
}
