//! `validation.arrow`: the held-out documents a mix chose, as tokens.
//!
//! In → documents, source by source; out → an Arrow IPC file with `source`, `document` (id),
//! `bytes` (UTF-8 length of the text), `tokens` (list of uint16 or uint32, without an
//! end-of-text) and what is known of each beside them ([`HeldOut`]), in batches of one source. Each
//! document begins a context of its own, so their order only says which come first. Cost:
//! `eval_tokens` a source on disk and in memory.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt64Array},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Schema, SchemaRef, UInt16Type, UInt32Type, UInt64Type},
};
use serde::{Deserialize, Serialize};

use super::{
    block::{
        BLOCK_TOKENS, HeldOut, HeldOutColumns, ShardAbout, TokenLists, TokenWidth,
        held_out_columns, held_out_fields,
    },
    file::{CheckedFile, CheckedWriter, Compression, Layout},
    writer::list,
};
use crate::base::{
    error::Result,
    hash::{Fingerprint, xxh3_128},
};

/// The file's name in a mix.
pub const VALIDATION_FILE: &str = "validation.arrow";

/// The layout of `validation.arrow`.
pub struct ValidationLayout;

/// What the footer says of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationFacts {
    /// The mix's name of the source.
    pub source: String,
    /// Tokens of the batch.
    pub tokens: u64,
}

impl Layout for ValidationLayout {
    const KIND: &'static str = "validation";
    type About = ShardAbout;
    type Batch = ValidationFacts;

    fn schema(about: &ShardAbout) -> SchemaRef {
        let mut fields = vec![
            Field::new("source", DataType::Utf8, false),
            Field::new("document", DataType::Utf8, false),
            Field::new("bytes", DataType::UInt64, false),
            about.tokens.field(),
        ];
        fields.extend(about.judged.then(held_out_fields).into_iter().flatten());
        Arc::new(Schema::new(fields))
    }
}

/// A held-out document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationDocument {
    /// Its id.
    pub id: String,
    /// UTF-8 bytes of its text: what bits per byte divide by.
    pub bytes: u64,
    /// Its tokens, without an end-of-text.
    pub tokens: Vec<u32>,
    /// What is known of it beside them.
    pub known: HeldOut,
}

impl ValidationDocument {
    /// Tokens that it counts for in a limit of tokens: a quarter of its bytes, so that the same
    /// texts are taken whatever the tokenizer.
    pub fn weight(&self) -> u64 {
        weight(self.bytes)
    }
}

/// Tokens that a text of `bytes` bytes counts for, whatever the tokenizer.
pub fn weight(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_A_TOKEN)
}

/// Bytes per token of English, about, with a vocabulary of some tens of thousands.
const BYTES_A_TOKEN: u64 = 4;

/// Fingerprint of the validation texts: XXH3-128 over (source, XXH3-128 of the raw text) of each
/// document, whatever their order; in files of earlier builds the id stands for the text. Figures
/// on sets of one fingerprint can be compared.
pub fn fingerprint<'a>(
    documents: impl Iterator<Item = (&'a str, Option<Fingerprint>, &'a str)>,
) -> Fingerprint {
    let line = |(source, text, id): (&str, Option<Fingerprint>, &str)| match text {
        Some(text) => format!("{source}\0{text}\n"),
        None => format!("{source}\0id {id}\n"),
    };
    let mut lines: Vec<String> = documents.map(line).collect();
    lines.sort_unstable();
    xxh3_128(lines.concat().as_bytes())
}

/// Fingerprint of several sources' texts, from (source, fingerprint of its texts): tables and pages
/// name a set by it. `None` without a source, or where one has no fingerprint.
pub fn fingerprint_of_sources<'a>(
    sources: impl Iterator<Item = (&'a str, Option<Fingerprint>)>,
) -> Option<Fingerprint> {
    let line =
        |(source, texts): (&str, Option<Fingerprint>)| Some(format!("{source} {}\n", texts?));
    let lines: String = sources.map(line).collect::<Option<_>>()?;
    (!lines.is_empty()).then(|| xxh3_128(lines.as_bytes()))
}

/// Bits per byte of texts of `bytes` bytes, from the sum of their tokens' negative log-likelihoods.
pub fn bits_per_byte(nats: f64, bytes: u64) -> f64 {
    nats / (std::f64::consts::LN_2 * bytes.max(1) as f64)
}

/// The held-out documents of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationSource {
    /// The mix's name of the source.
    pub name: String,
    /// By rising hash of the text.
    pub documents: Vec<ValidationDocument>,
}

/// Writes `validation.arrow`; a source without documents leaves no row.
pub fn write_validation(
    path: &Path,
    width: TokenWidth,
    sources: &[ValidationSource],
) -> Result<()> {
    let about = ShardAbout { tokens: width, judged: true, masked: false };
    let schema = ValidationLayout::schema(&about);
    let mut file = CheckedWriter::<ValidationLayout>::create(path, &schema, Compression::Zstd)?;
    for source in sources {
        let mut rest = source.documents.as_slice();
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at(batch_documents(rest));
            let tokens = batch.iter().map(|document| document.tokens.len() as u64).sum();
            let facts = ValidationFacts { source: source.name.clone(), tokens };
            file.write(&record_batch(&schema, width, &source.name, batch), facts)?;
            rest = behind;
        }
    }
    file.finish(about)
}

/// Reads all of it, sources in the order of the mix; those without documents are missing.
pub fn read_validation(path: &Path) -> Result<Vec<ValidationSource>> {
    let file = CheckedFile::<ValidationLayout>::open(path)?;
    let mut sources: Vec<ValidationSource> = Vec::new();
    for (index, entry) in file.batches().iter().enumerate() {
        let batch = file.read(index)?.decode(None)?;
        let ids = batch.column(1).as_string::<i32>();
        let bytes = batch.column(2).as_primitive::<UInt64Type>();
        let lists = TokenLists::new(batch.column(3).as_list());
        let known = HeldOutColumns::of(&batch);
        let documents = (0..ids.len()).map(|row| ValidationDocument {
            id: ids.value(row).to_owned(),
            bytes: bytes.value(row),
            tokens: lists.tokens(row).to_vec(),
            known: known.row(row),
        });
        let name = &entry.facts.source;
        if sources.last().is_none_or(|last| last.name != *name) {
            sources.push(ValidationSource { name: name.clone(), documents: Vec::new() });
        }
        sources.last_mut().expect("pushed just above").documents.extend(documents);
    }
    Ok(sources)
}

/// How many documents make the next batch: at least one, at most about a block's tokens.
fn batch_documents(documents: &[ValidationDocument]) -> usize {
    let mut tokens = 0;
    let fitting = documents.iter().take_while(|document| {
        tokens += document.tokens.len() as u64 + 1;
        tokens <= BLOCK_TOKENS
    });
    fitting.count().max(1)
}

fn record_batch(
    schema: &SchemaRef,
    width: TokenWidth,
    source: &str,
    documents: &[ValidationDocument],
) -> RecordBatch {
    let offsets = OffsetBuffer::from_lengths(documents.iter().map(|one| one.tokens.len()));
    let tokens = documents.iter().flat_map(|one| one.tokens.iter().copied());
    let lists = match width {
        TokenWidth::U16 => {
            let narrow = tokens.map(|token| u16::try_from(token).expect("read as uint16"));
            list::<UInt16Type>(width.field(), offsets, narrow.collect())
        }
        TokenWidth::U32 => list::<UInt32Type>(width.field(), offsets, tokens.collect()),
    };
    let ids = documents.iter().map(|one| one.id.as_str());
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(source, documents.len()))),
        Arc::new(StringArray::from_iter_values(ids)),
        Arc::new(UInt64Array::from_iter_values(documents.iter().map(|one| one.bytes))),
        Arc::new(lists),
    ];
    columns.extend(held_out_columns(documents.iter().map(|one| Some(&one.known))));
    RecordBatch::try_new(schema.clone(), columns).expect("the layout's columns, equally long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let document = |id: &str, tokens: usize| ValidationDocument {
            id: id.to_owned(),
            bytes: tokens as u64 * 4,
            tokens: (0..tokens as u32).map(|token| token % 70_000).collect(),
            known: HeldOut {
                text: Some(xxh3_128(id.as_bytes())),
                verdict: (id == "b").then(|| "short".to_owned()),
                twin: (id != "c").then_some(id == "b"),
            },
        };
        let sources = vec![
            ValidationSource { name: "web".into(), documents: vec![document("a", 3)] },
            ValidationSource {
                name: "books".into(),
                documents: vec![document("b", 300_000), document("c", 0), document("a", 200_000)],
            },
        ];
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(VALIDATION_FILE);
        write_validation(&path, TokenWidth::U32, &sources).unwrap();
        assert_eq!(read_validation(&path).unwrap(), sources);
    }
}
