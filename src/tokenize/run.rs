//! One unit of `tokenize`: read, encode, write.
//!
//! In → the unit's documents; out → `shard.arrow` and counts. Batches are encoded on worker threads
//! and handed on in input order; the writer sorts them by cell. Memory: two tasks a thread (up to
//! 64 MiB of text each, and about as much in tokens each), 64 MiB of known pieces a thread, and
//! the writer's open stretch.

use arrow::array::{Array, AsArray};

use crate::artifact::counts::Counts;
use crate::artifact::record::FileCounts;
use crate::artifact::stage::Work;
use crate::base::error::{Error, Result};
use crate::base::hash::xxh3_128;
use crate::base::pool::Pool;
use crate::shards::{HeldOut, ShardDocument, ShardWriter, TokenWidth};
use crate::source::messages::ANSWERS;
use crate::source::verdict::{TWIN, VERDICT, Verdicts};
use crate::source::{Batch, Columns, Inputs};
use crate::tokenizer::Tokenizer;

/// Published as `shard-<unit>.arrow`.
const SHARD: &str = "shard.arrow";

/// Characters of a wrong list that are shown.
const SHOWN: usize = 40;

/// The count of documents that spell a special token.
const SPECIAL_TOKEN_TEXTS: &str = "special_token_texts";

/// A batch and its tokens.
struct EncodedBatch {
    batch: Batch,
    /// The tokens of all its documents.
    tokens: Vec<u32>,
    /// Where each document's tokens end.
    ends: Vec<usize>,
    /// The bounds of each document's trained stretches; `None`: it is trained on whole.
    trained: Vec<Option<Vec<u32>>>,
    special_token_texts: u64,
}

/// Encodes the documents of `unit` into one shard; `answers`: whether only answers are trained on.
pub(super) fn encode(
    inputs: &Inputs,
    tokenizer: &Tokenizer,
    answers: bool,
    unit: usize,
    work: &Work<'_>,
) -> Result<Counts> {
    let create = if answers { ShardWriter::masked } else { ShardWriter::create };
    let writer = create(&work.path(SHARD), width(tokenizer), work.threads)?;
    // Each byte may be a token of its own.
    let mut writer = writer.expect(inputs.units()[unit].bytes);
    let mut special_token_texts = 0;
    // The buffers of written batches are used for the next ones: fresh memory has to be cleared
    // first.
    let buffers = Pool::default();
    let map = |batch| encode_batch(batch, tokenizer, answers, buffers.take().unwrap_or_default());
    let sink = |encoded: EncodedBatch| {
        special_token_texts += encoded.special_token_texts;
        write_batch(&encoded, &inputs.sources()[encoded.batch.source], &mut writer)?;
        buffers.put(encoded.tokens);
        Ok(())
    };
    let schema = inputs.schema();
    let said = [VERDICT, TWIN].into_iter().filter(|name| schema.index_of(name).is_ok());
    let said: Vec<&str> = said.chain(answers.then_some(ANSWERS)).collect();
    let mut counts = inputs.read(unit, Columns::And(&said), work, map, sink)?;
    let written = writer.finish()?;
    for (name, written) in &written.sources {
        let counts = counts.source(name);
        counts.documents_out = written.documents;
        counts.bytes_out = written.bytes;
        counts.tokens = written.tokens;
        counts.held_out = written.held_out;
    }
    if special_token_texts > 0 {
        counts.add_extra(SPECIAL_TOKEN_TEXTS, special_token_texts);
    }
    let documents = written.total.documents;
    let tokens = Some(written.total.tokens);
    work.describe(SHARD, FileCounts { tokens, ..FileCounts::documents(documents) });
    Ok(counts)
}

/// The width in which the shards store tokens.
pub(super) fn width(tokenizer: &Tokenizer) -> TokenWidth {
    TokenWidth::for_largest_id(tokenizer.vocab_size().saturating_sub(1))
}

/// Encodes a batch. `tokens`: the buffer for its tokens, emptied first.
fn encode_batch(
    batch: Batch,
    tokenizer: &Tokenizer,
    answers: bool,
    mut tokens: Vec<u32>,
) -> Result<EncodedBatch> {
    tokens.clear();
    // English has some four bytes a token, code less than three.
    tokens.reserve(batch.text_bytes() as usize / 3);
    let mut ends = Vec::with_capacity(batch.len());
    let mut special_token_texts = 0;
    let mut trained = Vec::with_capacity(batch.len());
    let column = batch.records.column_by_name(ANSWERS).filter(|_| answers);
    // A column of another type is another program's; `open` has refused to read it as ours.
    let column = column.and_then(|column| column.as_string_opt::<i32>());
    for row in 0..batch.len() {
        let text = batch.texts().value(row);
        let said = column.filter(|column| column.is_valid(row)).map(|column| column.value(row));
        let bounds = match said {
            Some(said) => encode_parts(text, said, tokenizer, &mut tokens).map(Some),
            None => tokenizer.encode(text, &mut tokens).map(|_| None),
        };
        trained.push(bounds.map_err(|error| name_document(error, &batch, row))?);
        ends.push(tokens.len());
        special_token_texts += u64::from(tokenizer.spells_special_token(text));
    }
    Ok(EncodedBatch { batch, tokens, ends, trained, special_token_texts })
}

/// Encodes a text part by part, cut where its answers begin and end (`17-42,60-71`, in bytes).
/// Returns the same bounds in tokens.
///
/// # Errors
/// [`Error::Failed`] when `answers` is no such list, as in another program's column of that name.
fn encode_parts(
    text: &str,
    answers: &str,
    tokenizer: &Tokenizer,
    tokens: &mut Vec<u32>,
) -> Result<Vec<u32>> {
    let cuts = cuts(text, answers).ok_or_else(|| {
        let shown: String = answers.chars().take(SHOWN).collect();
        let message = format!("`{ANSWERS}` is `{shown}`, no list of stretches of the text");
        Error::failed(message).with_hint(
            "the column is written by what reads completions from JSON: rename one of your own",
        )
    })?;
    let (first, mut bounds, mut start) = (tokens.len(), Vec::new(), 0);
    for cut in cuts {
        tokenizer.encode(&text[start..cut], tokens)?;
        bounds.push((tokens.len() - first) as u32);
        start = cut;
    }
    tokenizer.encode(&text[start..], tokens)?;
    Ok(bounds)
}

/// The bytes at which answers begin and end; `None` if the list does not fit this text.
fn cuts(text: &str, answers: &str) -> Option<Vec<usize>> {
    let mut cuts = Vec::new();
    for stretch in answers.split(',') {
        let (from, to) = stretch.split_once('-')?;
        cuts.extend([from.parse::<usize>().ok()?, to.parse().ok()?]);
    }
    let is_inside = cuts.is_sorted() && cuts.iter().all(|cut| text.is_char_boundary(*cut));
    is_inside.then_some(cuts)
}

fn name_document(error: Error, batch: &Batch, row: usize) -> Error {
    let hint = error.hint();
    let error = Error::failed(format!("document `{}`: {error}", batch.ids().value(row)));
    hint.into_iter().fold(error, Error::with_hint)
}

fn write_batch(encoded: &EncodedBatch, source: &str, writer: &mut ShardWriter) -> Result<()> {
    let EncodedBatch { batch, tokens, ends, trained, .. } = encoded;
    let mut start = 0;
    let verdicts = Verdicts::of(&batch.records);
    for (row, &end) in ends.iter().enumerate() {
        let text = batch.texts().value(row);
        let known = batch.held_out().value(row).then(|| HeldOut {
            text: Some(xxh3_128(text.as_bytes())),
            verdict: verdicts.verdict(row).map(str::to_owned),
            twin: verdicts.twin(row),
        });
        writer.push(&ShardDocument {
            id: batch.ids().value(row),
            source,
            held_out: known.as_ref(),
            bytes: text.len() as u64,
            tokens: &tokens[start..end],
            trained: trained[row].as_deref(),
        })?;
        start = end;
    }
    Ok(())
}
