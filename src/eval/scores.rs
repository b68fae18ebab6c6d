//! `scores.json`: what came of an evaluation, and the table that shows it.
//!
//! In → the scored items of each task, the documents of each source; out → [`Scores`], as JSON and
//! as a table. **Method.** [`Figures`] for tasks; the bits per byte of texts are nats / (ln 2 ·
//! bytes), summed over all documents of a source, with the standard error of that ratio over
//! documents (Cochran, *Sampling Techniques*, 1977, 2.11).

use std::fmt::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::measures::{Figure, Figures};
use super::task::spec::Metric;
use crate::artifact::manifest::other_file_format;
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::size::{Count, percent};

/// The file's name.
const SCORES: &str = "scores.json";

/// The version of the file's form.
const FORMAT: u32 = 1;

/// The results of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    format: u32,
    /// In the order asked for.
    pub tasks: Vec<TaskScores>,
    /// By source, in input order; then all together, without a name.
    pub texts: Vec<TextScores>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskScores {
    pub task: String,
    pub items: u64,
    /// The figure that counts as the task's result.
    pub metric: Metric,
    #[serde(flatten)]
    pub figures: Figures,
}

impl TaskScores {
    /// The figure that names the task's result, and what it is called.
    pub fn result(&self) -> (&'static str, Figure) {
        let Figures { acc, acc_norm, perplexity, .. } = &self.figures;
        match (self.metric, acc_norm, perplexity) {
            (Metric::AccNorm, Some(acc_norm), _) => ("acc_norm", *acc_norm),
            (Metric::Perplexity, _, Some(perplexity)) => ("perplexity", *perplexity),
            _ => ("acc", *acc),
        }
    }
}

/// The texts of one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextScores {
    /// Absent for all sources together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    pub documents: u64,
    pub tokens: u64,
    pub bytes: u64,
    pub nats: f64,
    pub bits_per_byte: Figure,
}

/// A document that was scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextScore {
    pub tokens: u64,
    pub bytes: u64,
    pub nats: f64,
}

impl TextScores {
    /// The scores over the documents of a source; `None` if they have no byte.
    pub fn of(source: Option<&str>, documents: &[TextScore]) -> Option<TextScores> {
        let (mut tokens, mut bytes, mut nats) = (0, 0, 0.0);
        for document in documents {
            tokens += document.tokens;
            bytes += document.bytes;
            nats += document.nats;
        }
        if bytes == 0 {
            return None;
        }
        let per_byte = nats / bytes as f64;
        let bits = |nats: f64| nats / std::f64::consts::LN_2;
        let n = documents.len() as f64;
        let residuals = documents.iter().map(|it| it.nats - per_byte * it.bytes as f64);
        let squares: f64 = residuals.map(|residual| residual * residual).sum();
        let stderr = (n > 1.0).then(|| bits((squares * n / (n - 1.0)).sqrt() / bytes as f64));
        Some(TextScores {
            source: source.map(str::to_owned),
            documents: documents.len() as u64,
            tokens,
            bytes,
            nats,
            bits_per_byte: Figure { value: bits(per_byte), stderr },
        })
    }
}

impl Scores {
    /// Collects the scores of tasks and texts.
    pub fn new(tasks: Vec<TaskScores>, texts: Vec<TextScores>) -> Scores {
        Scores { format: FORMAT, tasks, texts }
    }

    /// The scores of the evaluation in `directory`.
    ///
    /// # Errors
    /// Damaged: they cannot be read.
    pub fn read(directory: &Path) -> Result<Scores> {
        let path = directory.join(SCORES);
        let damaged = |message: String| Error::damaged_artifact(&path, None, message);
        let scores: Scores = serde_json::from_slice(&io::read(&path)?)
            .map_err(|error| damaged(error.to_string()))?;
        match scores.format {
            FORMAT => Ok(scores),
            other => Err(other_file_format(&path, other, FORMAT)),
        }
    }

    /// Writes them into `directory`.
    ///
    /// # Errors
    /// Io.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(self).expect("scores are plain data");
        json.push(b'\n');
        io::write(&directory.join(SCORES), &json)
    }
}

impl fmt::Display for Scores {
    /// A line a task, a line a source; each figure ± its standard error, shares in per cent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.tasks.is_empty() {
            let mut rows = vec![
                [
                    "task",
                    "items",
                    "acc",
                    "acc_norm",
                    "perplexity",
                    "bits/byte",
                    "random",
                    "majority",
                ]
                .map(str::to_owned)
                .to_vec(),
            ];
            rows.extend(self.tasks.iter().map(task_row));
            write_table(f, &rows)?;
        }
        if !self.texts.is_empty() {
            let head = ["text", "documents", "tokens", "bytes", "bits/byte"];
            let mut rows = vec![head.map(str::to_owned).to_vec()];
            rows.extend(self.texts.iter().map(text_row));
            write_table(f, &rows)?;
        }
        Ok(())
    }
}

fn task_row(task: &TaskScores) -> Vec<String> {
    let Figures { acc, acc_norm, perplexity, bits_per_byte, random, majority, .. } = &task.figures;
    let nothing = || "-".to_owned();
    let share = |share: &Option<f64>| share.map_or_else(nothing, percent);
    let per_cent = |figure: &Figure| {
        let error = figure.stderr.map_or(String::new(), |it| format!(" ±{:.1}", 100.0 * it));
        format!("{}{error}", percent(figure.value))
    };
    vec![
        task.task.clone(),
        Count(task.items).to_string(),
        per_cent(acc),
        acc_norm.as_ref().map_or_else(nothing, per_cent),
        perplexity.as_ref().map_or_else(nothing, |figure| plain(figure, 2)),
        plain(bits_per_byte, 4),
        share(random),
        share(majority),
    ]
}

fn text_row(text: &TextScores) -> Vec<String> {
    vec![
        text.source.clone().unwrap_or_else(|| "all".to_owned()),
        Count(text.documents).to_string(),
        Count(text.tokens).to_string(),
        Count(text.bytes).to_string(),
        plain(&text.bits_per_byte, 4),
    ]
}

/// A figure with so many decimals; large numbers in powers of ten.
fn plain(figure: &Figure, decimals: usize) -> String {
    if figure.value >= 1e5 {
        let error = figure.stderr.map_or(String::new(), |error| format!(" ±{error:.1e}"));
        return format!("{:.1e}{error}", figure.value);
    }
    let error = figure.stderr.map_or(String::new(), |error| format!(" ±{error:.decimals$}"));
    format!("{:.decimals$}{error}", figure.value)
}

/// Names to the left, figures to the right, two blanks between.
pub(super) fn write_table(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match column {
                0 => write!(line, "  {cell:width$}")?,
                _ => write!(line, "  {cell:>width$}")?,
            }
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::measures::{ScoredChoice, ScoredItem};

    fn scores() -> Scores {
        let choice = |loglikelihood| ScoredChoice {
            loglikelihood,
            tokens: 2,
            characters: 5,
            bytes: 5,
            is_greedy: true,
        };
        let item = |number, gold, choices: &[f64]| ScoredItem {
            number,
            gold,
            choices: choices.iter().map(|it| choice(*it)).collect(),
        };
        let task = |name: &str, metric, items: &[ScoredItem]| TaskScores {
            task: name.to_owned(),
            items: items.len() as u64,
            metric,
            figures: Figures::of(items).unwrap(),
        };
        let choices = [item(0, 0, &[-4.0, -5.0]), item(1, 0, &[-6.0, -2.0])];
        let words = [item(0, 0, &[-1.0]), item(1, 0, &[-2.0])];
        let document = |bytes, nats| TextScore { tokens: 10, bytes, nats };
        let documents = [document(100, 80.0), document(50, 50.0)];
        Scores::new(
            vec![
                task("piqa", Metric::AccNorm, &choices),
                task("lambada_openai", Metric::Perplexity, &words),
            ],
            vec![TextScores::of(None, &documents).unwrap()],
        )
    }

    #[test]
    fn the_table_shows_each_figure_with_its_error() {
        let text = scores().to_string();
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let expected = [
            "task items acc acc_norm perplexity bits/byte random majority",
            "piqa 2 50.0% ±50.0 50.0% ±50.0 - 1.4427 ±0.2885 50.0% 100.0%",
            "lambada_openai 2 100.0% ±0.0 - 4.48 ±2.24 0.4328 ±0.1443 - -",
            "text documents tokens bytes bits/byte",
            "all 2 20 150 1.2503 ±0.1282",
        ];
        assert_eq!(lines.collect::<Vec<_>>(), expected);
        let widths: Vec<usize> = text.lines().take(3).map(|line| line.chars().count()).collect();
        assert_eq!(widths, [widths[0]; 3]);
    }

    #[test]
    fn scores_come_back_and_others_are_damaged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(SCORES);
        scores().write(directory.path()).unwrap();
        assert_eq!(Scores::read(directory.path()).unwrap(), scores());
        let text = io::read_text(&path).unwrap();
        io::write(&path, text.replace("\"tasks\"", "\"tusks\"").as_bytes()).unwrap();
        assert!(matches!(Scores::read(directory.path()), Err(Error::Damaged { .. })));
        io::write(&path, text.replace("\"format\": 1", "\"format\": 2").as_bytes()).unwrap();
        let other = Scores::read(directory.path()).unwrap_err().to_string();
        assert!(other.contains("in format 2; this build reads format 1"), "{other}");
    }

    #[test]
    fn bits_per_byte_of_no_byte_are_none() {
        assert_eq!(TextScores::of(Some("a"), &[]), None);
        let empty = TextScore { tokens: 0, bytes: 0, nats: 0.0 };
        assert_eq!(TextScores::of(Some("a"), &[empty]), None);
    }
}
