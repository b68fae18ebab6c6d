//! Phase `sign`: text → what duplicates are found by.
//!
//! In → one unit of documents; out → `signed.bin` (see `documents`): for each document its exact
//! identity, its band keys, its keep key and its name. The only phase that looks at every text, and
//! the only one that costs CPU time in proportion to it; on worker threads, batch by batch.

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, Schema, UInt64Type},
};

use super::{
    bands,
    config::{DedupConfig, Keep, Method},
    documents::{self, Name, SignedBatch, SignedDocument},
    exact::ExactHasher,
    keep,
    shingle::Shingler,
    signature::Signer,
};
use crate::text::normalize::Normalizer;
use crate::{
    artifact::{counts::Counts, section::SectionWriter, stage::Work},
    base::{
        config::nearest,
        error::{Error, Result},
    },
    source::{Batch, Columns, Inputs, formats::objects::METADATA, schema::LEADING},
};

/// Documents of a run of sections in `signed.bin`. A constant, as it shapes the file.
const BATCH_DOCUMENTS: usize = 8192;

/// Signs one unit; returns what was read, so that too many rejects end the work here.
pub fn run(inputs: &Inputs, config: &DedupConfig, unit: usize, work: &Work<'_>) -> Result<Counts> {
    let signer = config.has(Method::Minhash).then(|| Signer::new(config.slots(), config.seed));
    let schema = inputs.schema();
    let column = match &config.keep {
        Keep::Max(column) => vec![Ranking::of(&schema, column)?.column()],
        Keep::First | Keep::Longest => Vec::new(),
    };
    let mut writer = SectionWriter::create(&work.path(documents::FILE), documents::KIND)?;
    let mut waiting = SignedBatch::new(config.bands_wanted());
    let read = inputs.read(
        unit,
        Columns::And(&column),
        work,
        |batch| sign(&batch, config, signer.as_ref()),
        |signed| {
            waiting.append(&signed);
            if waiting.len() >= BATCH_DOCUMENTS { waiting.flush(&mut writer) } else { Ok(()) }
        },
    )?;
    if waiting.len() > 0 {
        waiting.flush(&mut writer)?;
    }
    writer.finish()?;
    Ok(read)
}

fn sign(batch: &Batch, config: &DedupConfig, signer: Option<&Signer>) -> Result<SignedBatch> {
    let exact = config.has(Method::Exact);
    let mut hasher = ExactHasher::default();
    let mut normalizer = Normalizer::default();
    let mut shingler = Shingler::new(config.ngram);
    let (mut signature, mut bands) = (Vec::new(), Vec::new());
    let mut signed = SignedBatch::new(config.bands_wanted());
    let keys = keep_keys(&batch.records, &config.keep)?;
    for (at, text) in batch.texts().iter().enumerate() {
        let normalized = normalizer.normalize(text.unwrap_or_default());
        bands.clear();
        let mut shingles = 0;
        if let Some(signer) = signer {
            let hashes = shingler.hashes(normalized);
            shingles = hashes.len() as u32;
            if !hashes.is_empty() {
                signer.sign(hashes, &mut signature);
                bands::keys(&signature, config.rows, &mut bands);
            }
        }
        let name = Name {
            file: batch.file as u32,
            source: batch.source as u32,
            row: batch.rows[at],
            id: batch.ids().value(at).to_owned(),
        };
        let identity = if exact { Some(hasher.hash(normalized)) } else { None };
        signed.push(&SignedDocument {
            held_out: batch.held_out().value(at),
            key: keys[at],
            shingles,
            exact: identity,
            bands: &bands,
            name: &name,
        });
    }
    Ok(signed)
}

/// Where the value of `max:NAME` comes from.
enum Ranking<'a> {
    /// A column of numbers or times.
    Column(&'a str),
    /// A field of the JSON objects that readers of JSON lines put into `metadata`.
    Metadata { pointer: String },
}

impl<'a> Ranking<'a> {
    /// Refuses a name that no column or metadata has, and a column without an order.
    fn of(schema: &Schema, name: &'a str) -> Result<Ranking<'a>> {
        let Ok(field) = schema.field_with_name(name) else {
            let field = name.strip_prefix(METADATA).and_then(|rest| rest.strip_prefix('.'));
            if let (Some(field), true) = (field, schema.field_with_name(METADATA).is_ok()) {
                return Ok(Ranking::Metadata { pointer: format!("/{}", field.replace('.', "/")) });
            }
            return Err(unknown_ranking(schema, name));
        };
        let kind = field.data_type();
        if has_order(kind) {
            return Ok(Ranking::Column(name));
        }
        let message = format!("`keep` needs a column of numbers or times, `{name}` is: {kind}");
        Err(Error::config(message).with_hint("use `first`, `longest` or another column"))
    }

    /// The column to read.
    fn column(&self) -> &'a str {
        match self {
            Ranking::Column(name) => name,
            Ranking::Metadata { .. } => METADATA,
        }
    }
}

/// The error for a name that no input has: the nearest column that could rank, or where else to
/// look.
fn unknown_ranking(schema: &Schema, name: &str) -> Error {
    let others = schema.fields().iter().skip(LEADING.len());
    let ranking = others.filter(|field| has_order(field.data_type()));
    let ranking: Vec<&str> = ranking.map(|field| field.name().as_str()).collect();
    let hint = match nearest(name, ranking.iter().copied()) {
        Some(near) => format!("did you mean `max:{near}`?"),
        None if schema.field_with_name(METADATA).is_ok() => {
            format!("JSON lines keep other fields in `{METADATA}`: try `max:{METADATA}.{name}`")
        }
        None if ranking.is_empty() => {
            "no column of these inputs holds numbers or times: use `first` or `longest`".to_owned()
        }
        None => format!("columns of numbers or times: {}", ranking.join(", ")),
    };
    Error::config(format!("`keep` names a column that no input has: `{name}`")).with_hint(hint)
}

/// Whether values of this type have a least and a greatest.
fn has_order(kind: &DataType) -> bool {
    let is_number = kind.is_integer() || kind.is_floating() || is_decimal(kind);
    is_number || kind.is_temporal() || *kind == DataType::Boolean
}

/// Refuses a policy that the inputs cannot serve, before any work.
pub fn check_keep(schema: &Schema, policy: &Keep) -> Result<()> {
    match policy {
        Keep::Max(name) => Ranking::of(schema, name).map(drop),
        Keep::First | Keep::Longest => Ok(()),
    }
}

/// The keep key of each document of a batch.
fn keep_keys(records: &RecordBatch, policy: &Keep) -> Result<Vec<u64>> {
    let name = match policy {
        Keep::First => return Ok(vec![keep::first(); records.num_rows()]),
        Keep::Longest => {
            let texts = records.column(1).as_string::<i32>();
            return Ok((0..texts.len()).map(|at| keep::longest(texts.value(at).len())).collect());
        }
        Keep::Max(name) => name,
    };
    let ranking = Ranking::of(&records.schema(), name)?;
    let values = records.column_by_name(ranking.column()).expect("asked for when reading");
    match ranking {
        Ranking::Column(_) => {
            column_keys(values).map_err(|error| Error::failed(format!("`{name}`: {error}")))
        }
        Ranking::Metadata { pointer } => {
            let objects = values.as_string::<i32>().iter();
            Ok(objects.map(|object| metadata_key(object, &pointer)).collect())
        }
    }
}

/// The key of a number in a JSON object; whatever is no number comes last.
fn metadata_key(object: Option<&str>, pointer: &str) -> u64 {
    let parsed = object.and_then(|json| serde_json::from_str::<serde_json::Value>(json).ok());
    let number = parsed.and_then(|object| object.pointer(pointer)?.as_f64());
    number.map_or(keep::LAST, keep::max_number)
}

fn is_decimal(kind: &DataType) -> bool {
    matches!(kind, DataType::Decimal128(..) | DataType::Decimal256(..))
}

fn column_keys(values: &dyn Array) -> Result<Vec<u64>, arrow::error::ArrowError> {
    let kind = values.data_type();
    let keys = if kind.is_floating() || is_decimal(kind) {
        let values = cast(values, &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>();
        values.iter().map(|value| value.map_or(keep::LAST, keep::max_number)).collect()
    } else if *kind == DataType::UInt64 {
        let values = values.as_primitive::<UInt64Type>();
        values.iter().map(|value| value.map_or(keep::LAST, keep::max_unsigned)).collect()
    } else {
        let values = cast(values, &DataType::Int64)?;
        let values = values.as_primitive::<Int64Type>();
        values.iter().map(|value| value.map_or(keep::LAST, keep::max_integer)).collect()
    };
    Ok(keys)
}
