//! Bits per byte of texts: every document whole, every byte once.
//!
//! In → the documents of a unit; out → `documents.parquet`, one row a document: its tokens, bytes
//! and nats. **Method.** Each document stands behind the model's opener and goes in windows
//! ([`Asker::windows`]); bits per byte divide by the text's bytes, so models with other tokenizers
//! compare. At `stride` = `length` these are lm-evaluation-harness's rolling windows. **Cost.** A
//! forward pass over the tokens, `length / stride` times; about [`TOKENIZED`] tokens in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, UInt64Type};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::ask::Asker;
use super::pass::{self, How};
use super::scores::TextScore;
use crate::artifact::counts::Counts;
use crate::artifact::stage::Work;
use crate::base::error::{Error, Result};
use crate::base::hash::{Fingerprint, xxh3_128};
use crate::base::io;
use crate::base::place;
use crate::runtime::model::Model;
use crate::source::{Batch, Columns, Inputs, ParquetSink};

/// A unit's file; published as `documents-<unit>.parquet`.
pub const DOCUMENTS: &str = "documents.parquet";

/// The number of tokens of documents to collect before they are scored together.
const TOKENIZED: usize = 1 << 20;

/// Scores documents.
pub struct Scorer<'a> {
    pub model: &'a Model,
    pub asker: Asker<'a>,
    /// Tokens that each window scores.
    pub stride: usize,
    pub how: How,
}

/// A document as it is scored.
struct Document {
    source: String,
    id: String,
    bytes: u64,
    tokens: Vec<u32>,
}

impl Scorer<'_> {
    /// Scores unit `unit` of `inputs` into `work`; returns what was read, and the number of
    /// documents scored.
    ///
    /// # Errors
    /// Whatever reading gives; a document that cannot be encoded.
    pub fn unit(&self, inputs: &Inputs, unit: usize, work: &Work<'_>) -> Result<(Counts, u64)> {
        let mut sink = ParquetSink::create(&work.path(DOCUMENTS), schema())?;
        let mut waiting: Vec<Document> = Vec::new();
        let mut scored = Counts::default();
        let mut documents = 0;
        let take = |batch: Batch| self.tokenize(&batch, &inputs.sources()[batch.source]);
        let mut counts = inputs.read(unit, Columns::Text, work, take, |batch: Vec<Document>| {
            for document in &batch {
                let counts = scored.source(&document.source);
                counts.documents_out += 1;
                counts.bytes_out += document.bytes;
                counts.tokens += document.tokens.len() as u64;
            }
            documents += batch.len() as u64;
            waiting.extend(batch);
            if waiting.iter().map(|document| document.tokens.len()).sum::<usize>() < TOKENIZED {
                return Ok(());
            }
            sink.write(&self.score(&std::mem::take(&mut waiting))?)
        })?;
        sink.write(&self.score(&waiting)?)?;
        sink.finish()?;
        counts.sources.values_mut().for_each(|source| source.held_out = 0);
        counts.add(&scored);
        Ok((counts, documents))
    }

    fn tokenize(&self, batch: &Batch, source: &str) -> Result<Vec<Document>> {
        let document = |row| {
            let (text, id) = (batch.texts().value(row), batch.ids().value(row).to_owned());
            let mut tokens = Vec::with_capacity(text.len() / 4);
            self.asker.tokenizer.encode(text, &mut tokens)?;
            Ok(Document { source: source.to_owned(), id, bytes: text.len() as u64, tokens })
        };
        (0..batch.len()).map(document).collect()
    }

    fn score(&self, documents: &[Document]) -> Result<RecordBatch> {
        let mut trees = Vec::new();
        let mut ends = Vec::with_capacity(documents.len());
        for document in documents {
            trees.extend(self.asker.windows(&document.tokens, self.stride));
            ends.push(trees.len());
        }
        let scores = pass::score(self.model, &trees, self.how, &|_| ())?;
        let mut start = 0;
        let nats = ends.iter().map(|&end| {
            let own = scores[start..end].iter().flatten();
            start = end;
            own.map(|score| f64::from(score.nats)).sum::<f64>()
        });
        let counts = |count: fn(&Document) -> u64| -> ArrayRef {
            Arc::new(UInt64Array::from_iter_values(documents.iter().map(count)))
        };
        let texts = |text: fn(&Document) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(documents.iter().map(text)))
        };
        let columns: Vec<ArrayRef> = vec![
            texts(|document| &document.source),
            texts(|document| &document.id),
            counts(|document| document.tokens.len() as u64),
            counts(|document| document.bytes),
            Arc::new(Float64Array::from_iter_values(nats)),
        ];
        Ok(RecordBatch::try_new(schema(), columns).expect("columns of one length"))
    }
}

fn schema() -> SchemaRef {
    let column = |name, kind| Field::new(name, kind, false);
    Arc::new(Schema::new(vec![
        column("source", DataType::Utf8),
        column("document", DataType::Utf8),
        column("tokens", DataType::UInt64),
        column("bytes", DataType::UInt64),
        column("nats", DataType::Float64),
    ]))
}

/// The documents of a unit, each with its source.
///
/// # Errors
/// Damaged: it is no such file.
pub fn read(path: &Path) -> Result<Vec<(String, TextScore)>> {
    let mut documents = Vec::new();
    rows(path, |source, _, score| documents.push((source.to_owned(), score)))?;
    Ok(documents)
}

/// A fingerprint, for each source, of the documents that the evaluation in `directory` scored:
/// equal where the documents have the same ids and lengths in bytes. The id of a text without one
/// is its hash.
///
/// # Errors
/// Damaged: a file that cannot be read.
pub fn which(directory: &Path) -> Result<BTreeMap<String, Fingerprint>> {
    let mut documents: BTreeMap<String, Vec<(u128, u64)>> = BTreeMap::new();
    for path in io::list(directory)? {
        let name = place::name(&path);
        if name.starts_with("documents-") && name.ends_with(".parquet") {
            rows(&path, |source, id, score| {
                let id = u128::from_be_bytes(xxh3_128(id.as_bytes()).0);
                documents.entry(source.to_owned()).or_default().push((id, score.bytes));
            })?;
        }
    }
    let fingerprint = |(source, mut documents): (String, Vec<(u128, u64)>)| {
        documents.sort_unstable();
        let bytes = documents
            .iter()
            .flat_map(|(id, bytes)| id.to_be_bytes().into_iter().chain(bytes.to_be_bytes()));
        (source, xxh3_128(&bytes.collect::<Vec<u8>>()))
    };
    Ok(documents.into_iter().map(fingerprint).collect())
}

/// Calls `each` with the source, the id and the score of every document of a file.
fn rows(path: &Path, mut each: impl FnMut(&str, &str, TextScore)) -> Result<()> {
    let damaged = |message: String| Error::damaged_artifact(path, None, message);
    let builder = ParquetRecordBatchReaderBuilder::try_new(io::open(path)?)
        .map_err(|error| damaged(error.to_string()))?;
    let kinds = |schema: &Schema| -> Vec<DataType> {
        schema.fields().iter().map(|field| field.data_type().clone()).collect()
    };
    if kinds(builder.schema()) != kinds(&schema()) {
        return Err(damaged("its columns are not those of scored documents".to_owned()));
    }
    for batch in builder.build().map_err(|error| damaged(error.to_string()))? {
        let batch = batch.map_err(|error| damaged(error.to_string()))?;
        let (sources, ids) =
            (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        let count = |column: usize| batch.column(column).as_primitive::<UInt64Type>().clone();
        let (tokens, bytes) = (count(2), count(3));
        let nats = batch.column(4).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let (tokens, bytes) = (tokens.value(row), bytes.value(row));
            let score = TextScore { tokens, bytes, nats: nats.value(row) };
            each(sources.value(row), ids.value(row), score);
        }
    }
    Ok(())
}
