//! Which documents a step read, and which steps read a document.
//!
//! In → a mix, or a run with its mix, and rows of it or an id; out → [`Batch`] or [`Places`], in
//! words and as JSON. Nothing is recomputed: positions come from the mix, ids and tokens from the
//! shards, texts are decoded from tokens. [`mod@origin`] reads the sources again where they still
//! exist, and with a checkpoint each document gets the model's loss on it. **Cost.** One block a
//! document; with origins one pass over the sources' texts.

pub mod origin;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::base::{
    error::{Error, Result},
    size::Count,
};
use crate::report::Run;
use crate::shards::{
    MixDocuments, StepRows,
    documents::{Read, mix_of},
    set::{TOKENIZER_DIRECTORY, TOKENIZER_FILE},
};
use crate::tokenizer::Tokenizer;
use origin::Origin;

/// Tokens and characters of a document that are shown.
const SHOWN_TOKENS: usize = 96;
const SHOWN_CHARS: usize = 240;

/// Rows of a mix: row *i* is tokens [i·T, i·T + T].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// The first row, and the number of rows.
    pub first_row: u64,
    pub rows: u64,
    /// T, the tokens of a row.
    pub sequence: u64,
}

impl Rows {
    /// What step `step` (from 1) of the run in `path` read.
    ///
    /// # Errors
    /// Config: no run, a step that it does not have.
    pub fn of_step(path: &Path, step: u64) -> Result<Rows> {
        let run = Run::read(path)?;
        let (steps, sequence) = shape(path, &run)?;
        let last = run.steps.unwrap_or(u64::MAX);
        if !(1..=last).contains(&step) {
            let message = format!("step {step} is none of the run's: 1 to {last}");
            return Err(Error::config(message));
        }
        Ok(Rows { first_row: steps.before(step - 1), rows: steps.at(step - 1), sequence })
    }

    /// Tokens a row of the run in `path`.
    ///
    /// # Errors
    /// Config: no run; a mix is read in rows of any length.
    pub fn sequence_of(path: &Path) -> Result<u64> {
        if !Run::stands_in(path) {
            return Err(Error::config("how many tokens has a row?")
                .with_hint("a mix is read in rows of any length: say it, `--sequence 1024`"));
        }
        Ok(shape(path, &Run::read(path)?)?.1)
    }
}

/// Which rows the steps of a run take, and T.
fn shape(path: &Path, run: &Run) -> Result<(StepRows, u64)> {
    StepRows::of_config(&run.config["train"]).ok_or_else(|| {
        let file = path.join("config.toml");
        Error::damaged_artifact(&file, None, "no `train.sequence` or `train.batch_tokens`")
    })
}

/// The documents of some rows.
#[derive(Clone, Debug, Serialize)]
pub struct Batch {
    /// The mix.
    pub mix: PathBuf,
    #[serde(flatten)]
    pub rows: Rows,
    /// The range of the stream that the rows cover.
    pub first_token: u64,
    pub end: u64,
    /// In the order in which they are read.
    pub documents: Vec<Document>,
}

/// A document of a batch.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    #[serde(flatten)]
    pub read: Read,
    /// The beginning of the part that was read.
    pub text: String,
    /// Where it came from, if the sources still exist.
    pub origins: Vec<Origin>,
    /// The mean loss over the part that was read, in nats per token, under the checkpoint.
    pub loss: Option<f64>,
}

/// The documents in `rows` of the mix that `path` (a mix, or a run) leads to.
///
/// # Errors
/// Config: rows beyond the mix, shards that are not found.
pub fn batch(path: &Path, data: &[PathBuf], rows: Rows) -> Result<Batch> {
    let mix = mix_of(path)?;
    let mut documents = MixDocuments::open(&mix, data)?;
    let tokenizer = tokenizer(&mix)?;
    let Rows { first_row, rows: count, sequence } = rows;
    let (first_token, end) = (first_row * sequence, (first_row + count) * sequence);
    let all = documents.record().tokens;
    if end > all || count == 0 {
        let last = (all / sequence).saturating_sub(1);
        let message = format!("the mix has rows 0 to {last} of {sequence} tokens");
        return Err(Error::config(message));
    }
    let mut traced = Vec::new();
    for read in documents.between(first_token, end)? {
        let tokens = documents.tokens(&read)?;
        let text = begins(&tokenizer, &tokens, first_token.saturating_sub(read.first_token));
        traced.push(Document { read, text, origins: Vec::new(), loss: None });
    }
    Ok(Batch { mix, rows, first_token, end, documents: traced })
}

fn tokenizer(mix: &Path) -> Result<Tokenizer> {
    Tokenizer::open(&mix.join(TOKENIZER_DIRECTORY).join(TOKENIZER_FILE))
}

/// The beginning of a document's text from position `from` on (0 is its opener).
fn begins(tokenizer: &Tokenizer, tokens: &[u32], from: u64) -> String {
    let from = (from.max(1) - 1).min(tokens.len() as u64) as usize;
    let end = tokens.len().min(from + SHOWN_TOKENS);
    let text = tokenizer.decode_text(&tokens[from..end]);
    let before = if from > 0 { "…" } else { "" };
    let shown: String = text.chars().take(SHOWN_CHARS).collect();
    let after = if end < tokens.len() || shown.len() < text.len() { "…" } else { "" };
    format!("{before}{shown}{after}")
}

impl Batch {
    /// Gives each document its mean loss, from the nats of each token of the stretch.
    pub fn judge(&mut self, nats: &[f64]) {
        let mut at = 0;
        for document in &mut self.documents {
            let end = (at + document.read.tokens as usize).min(nats.len());
            let part = &nats[at..end];
            let sum: f64 = part.iter().sum();
            document.loss = (!part.is_empty()).then(|| sum / part.len() as f64);
            at = end;
        }
    }

    /// Looks for each document in what the run or mix in `path` was made from.
    pub fn find_origins(&mut self, path: &Path, looking: &origin::Looking<'_>) -> Result<()> {
        let ids = self.documents.iter().map(|document| document.read.id.as_str());
        let found = origin::find(path, &ids.collect(), looking)?;
        for document in &mut self.documents {
            document.origins = found.get(&document.read.id).cloned().unwrap_or_default();
        }
        Ok(())
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rows { first_row, rows, sequence } = self.rows;
        writeln!(
            f,
            "rows {} to {} of {}, tokens {} to {}: {}",
            Count(first_row),
            Count(first_row + rows - 1),
            self.mix.display(),
            Count(self.first_token),
            Count(self.end - 1),
            Count(self.documents.len() as u64).of("document")
        )?;
        for Document { read, text, origins, loss } in &self.documents {
            let row = read.first_token.max(self.first_token) / sequence;
            write!(f, "\n{} ({}), {} tokens from row {row}", read.id, read.source, read.tokens)?;
            if let Some(loss) = loss {
                write!(f, ", {loss:.3} nats a token")?;
            }
            write!(f, "\n  {} row {}", read.shard.display(), read.row)?;
            for Origin { file, row, .. } in origins {
                write!(f, "\n  {} at {row}", file.display())?;
            }
            writeln!(f, "\n  {}", one_line(text))?;
        }
        Ok(())
    }
}

/// The places where a document is read.
#[derive(Clone, Debug, Serialize)]
pub struct Places {
    pub document: String,
    /// In the order of the stream; several if its source is repeated.
    pub places: Vec<Place>,
}

/// One reading of a document.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    #[serde(flatten)]
    pub read: Read,
    /// The first and the last of the rows that hold it, and of the run's steps.
    pub in_rows: Option<(u64, u64)>,
    pub in_steps: Option<(u64, u64)>,
    /// Whether the run has come there.
    pub was_read: Option<bool>,
}

/// Every place of the document `id` in what `path` (a mix, or a run) reads.
///
/// # Errors
/// Config: an id that the mix does not have.
pub fn places(path: &Path, data: &[PathBuf], id: &str) -> Result<Places> {
    let run = if Run::stands_in(path) { Some(Run::read(path)?) } else { None };
    let shape = run.as_ref().map(|run| shape(path, run)).transpose()?;
    let done = run.as_ref().and_then(|run| run.metrics.last()).map_or(0, |last| last.step);
    let mix = mix_of(path)?;
    let found = MixDocuments::open(&mix, data)?.of(id)?;
    if found.is_empty() {
        let message = format!("the mix `{}` does not read the document `{id}`", mix.display());
        return Err(Error::config(message).with_hint(
            "it may be held out, beyond its source's budget, or dropped before: \
             `removed-*.parquet` beside each corpus says why",
        ));
    }
    let place = |read: Read| {
        let rows =
            shape.map(|(_, sequence)| (read.first_token / sequence, (read.end - 1) / sequence));
        let steps = shape.zip(rows);
        let steps = steps
            .map(|((steps, _), (first, last))| (steps.within(first) + 1, steps.within(last) + 1));
        let was_read = steps.map(|(first, _)| first <= done);
        Place { read, in_rows: rows, in_steps: steps, was_read }
    };
    Ok(Places { document: id.to_owned(), places: found.into_iter().map(place).collect() })
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.document)?;
        for Place { read, in_rows, in_steps, was_read } in &self.places {
            let (first, last) = (Count(read.first_token), Count(read.end - 1));
            write!(f, "  {}: tokens {first} to {last}", read.source)?;
            if let Some((first, last)) = in_rows {
                write!(f, ", rows {} to {}", Count(*first), Count(*last))?;
            }
            if let Some((first, last)) = in_steps {
                write!(f, ", steps {} to {}", Count(*first), Count(*last))?;
            }
            writeln!(f, "{}", if *was_read == Some(false) { ", not read yet" } else { "" })?;
        }
        Ok(())
    }
}

/// Text with line breaks as spaces.
fn one_line(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}
