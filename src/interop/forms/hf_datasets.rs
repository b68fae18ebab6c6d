//! Hugging Face's form: Parquet with a card, as `datasets.load_dataset(folder)` opens it.
//!
//! In → samples; out → `data/train-00000.parquet …`, `data/validation-00000.parquet …`, and
//! [`card`], which names the splits. Columns: `input_ids` (list of uint16 or uint32); of documents
//! `id` and `source` (string), of rows `starts` (list of uint32), where documents begin. zstd; a
//! row group holds some 2²⁰ tokens, so that `streaming=True` reads little at a time. Cost: a row
//! group in memory.

use std::{fs::File, io::BufWriter, path::PathBuf, sync::Arc};

use arrow::{
    array::{
        ArrayRef, ListBuilder, PrimitiveBuilder, RecordBatch, StringBuilder, UInt16Builder,
        UInt32Builder,
    },
    datatypes::{ArrowPrimitiveType, DataType, Field, Schema, SchemaRef},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};

use super::{SampleWriter, Target, Written};
use crate::{
    base::{
        error::{Error, Result},
        io,
    },
    interop::read::{Sample, Split},
    shards::TokenWidth,
};

/// Tokens of a row group, and samples of a row group.
const GROUP_TOKENS: usize = 1 << 20;
const GROUP_SAMPLES: usize = 1 << 16;

/// The folder of the Parquet files.
const FOLDER: &str = "data";

/// The dataset card, which says which files are which split. Rows of a mix have other columns than
/// its validation documents, so those two splits are configurations of their own.
pub fn card(has_validation: bool, is_mix: bool) -> String {
    let validation = match (has_validation, is_mix) {
        (false, _) => "",
        (true, false) => "  - split: validation\n    path: data/validation-*.parquet\n",
        (true, true) => {
            "- config_name: validation\n  data_files:\n  - split: validation\n    \
             path: data/validation-*.parquet\n"
        }
    };
    format!(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    \
         path: data/train-*.parquet\n{validation}---\n\nTokens, written by dataprep. \
         `manifest.json` says of what.\n"
    )
}

/// Tokens of either width.
enum Ids {
    U16(ListBuilder<UInt16Builder>),
    U32(ListBuilder<UInt32Builder>),
}

impl Ids {
    fn new(width: TokenWidth) -> Ids {
        match width {
            TokenWidth::U16 => Ids::U16(list(UInt16Builder::new(), DataType::UInt16)),
            TokenWidth::U32 => Ids::U32(list(UInt32Builder::new(), DataType::UInt32)),
        }
    }

    fn push(&mut self, tokens: &[u32]) {
        match self {
            Ids::U16(lists) => {
                tokens.iter().for_each(|&id| lists.values().append_value(id as u16));
                lists.append(true);
            }
            Ids::U32(lists) => {
                lists.values().append_slice(tokens);
                lists.append(true);
            }
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Ids::U16(lists) => Arc::new(lists.finish()),
            Ids::U32(lists) => Arc::new(lists.finish()),
        }
    }
}

fn item(kind: DataType) -> Arc<Field> {
    Arc::new(Field::new(Field::LIST_FIELD_DEFAULT_NAME, kind, false))
}

fn list<T: ArrowPrimitiveType>(
    values: PrimitiveBuilder<T>,
    kind: DataType,
) -> ListBuilder<PrimitiveBuilder<T>> {
    ListBuilder::new(values).with_field(item(kind))
}

/// Writes the files of a split.
pub struct ParquetWriter {
    directory: PathBuf,
    split: &'static str,
    schema: SchemaRef,
    bytes_max: u64,
    file: Option<ArrowWriter<BufWriter<File>>>,
    ids: Ids,
    starts: ListBuilder<UInt32Builder>,
    names: [StringBuilder; 2],
    rows: bool,
    /// Samples and tokens of the row group that is being filled.
    open: (usize, usize),
    written: Vec<Written>,
}

impl ParquetWriter {
    /// Creates the folder.
    pub fn create(target: Target<'_>) -> Result<ParquetWriter> {
        let directory = target.directory.join(FOLDER);
        io::create_directory(&directory)?;
        let kind = match target.width {
            TokenWidth::U16 => DataType::UInt16,
            TokenWidth::U32 => DataType::UInt32,
        };
        let mut fields = vec![Field::new("input_ids", DataType::List(item(kind)), false)];
        match target.rows {
            true => {
                fields.push(Field::new("starts", DataType::List(item(DataType::UInt32)), false))
            }
            false => {
                let names = ["id", "source"].map(|name| Field::new(name, DataType::Utf8, false));
                fields.extend(names);
            }
        }
        Ok(ParquetWriter {
            directory,
            split: match target.split {
                Split::Training => "train",
                Split::Validation => "validation",
            },
            schema: Arc::new(Schema::new(fields)),
            bytes_max: target.config.shard_bytes.0,
            file: None,
            ids: Ids::new(target.width),
            starts: list(UInt32Builder::new(), DataType::UInt32),
            names: [StringBuilder::new(), StringBuilder::new()],
            rows: target.rows,
            open: (0, 0),
            written: Vec::new(),
        })
    }

    /// The place of the file that was begun last.
    fn path(&self) -> PathBuf {
        let name = self.written.last().map_or("", |file| file.name.as_str());
        self.directory.join(name.rsplit('/').next().unwrap_or_default())
    }

    fn begin(&mut self) -> Result<()> {
        let name = format!("{FOLDER}/{}-{:05}.parquet", self.split, self.written.len());
        self.written.push(Written { name, documents: 0, tokens: 0 });
        let level = ZstdLevel::try_new(3).expect("zstd has this level");
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by("dataprep".to_owned())
            .build();
        let file = io::create(&self.path())?;
        let writer = ArrowWriter::try_new(file, self.schema.clone(), Some(properties));
        self.file = Some(writer.map_err(|error| self.failed(error))?);
        Ok(())
    }

    fn failed(&self, error: impl std::fmt::Display) -> Error {
        Error::failed(format!("cannot write `{}`: {error}", self.path().display()))
    }

    /// Writes the open row group, and closes a file that is long enough.
    fn write_group(&mut self) -> Result<()> {
        if self.file.is_none() {
            self.begin()?;
        }
        let mut columns = vec![self.ids.finish()];
        match self.rows {
            true => columns.push(Arc::new(self.starts.finish())),
            false => {
                columns.extend(self.names.iter_mut().map(|it| Arc::new(it.finish()) as ArrayRef));
            }
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns);
        let batch = batch.expect("the columns are the schema's, equally long");
        let (samples, tokens) = std::mem::take(&mut self.open);
        if let Some(file) = self.written.last_mut() {
            file.documents += samples as u64;
            file.tokens += tokens as u64;
        }
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let done = file.write(&batch).and_then(|()| file.flush());
        done.map_err(|error| self.failed(error))?;
        match file.bytes_written() as u64 >= self.bytes_max {
            true => file.close().map(drop).map_err(|error| self.failed(error)),
            false => {
                self.file = Some(file);
                Ok(())
            }
        }
    }
}

impl SampleWriter for ParquetWriter {
    fn push(&mut self, sample: Sample<'_>) -> Result<()> {
        self.ids.push(sample.tokens);
        match sample.document {
            Some((id, source)) => {
                self.names[0].append_value(id);
                self.names[1].append_value(source);
            }
            None => {
                self.starts.values().append_slice(sample.starts);
                self.starts.append(true);
            }
        }
        self.open.0 += 1;
        self.open.1 += sample.tokens.len();
        match self.open.0 >= GROUP_SAMPLES || self.open.1 >= GROUP_TOKENS {
            true => self.write_group(),
            false => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<Written>> {
        // A split without samples is a file without rows.
        if self.open.0 > 0 || self.written.is_empty() {
            self.write_group()?;
        }
        if let Some(file) = self.file.take() {
            file.close().map_err(|error| self.failed(error))?;
        }
        Ok(self.written)
    }
}
