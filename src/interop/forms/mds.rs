//! MosaicML Streaming's form: shards of samples, and an index.
//!
//! In → samples; out → `train/shard.00000.mds …` and `train/index.json`, or those of `val`. A shard
//! is the number of samples (u32), where each begins and the last ends (u32, from the file's first
//! byte), the shard's configuration as JSON, then the samples; a sample is the sizes of its columns
//! (u32 each, since all of them vary), then the columns (Streaming, `streaming/base/format/mds/`).
//! Columns: `tokens` (`ndarray:uint16` or `ndarray:uint32`); for documents `id` and `source`
//! (`str`), for rows `starts` (`ndarray:uint32`), where documents begin. An array there holds at
//! least one number, so documents without a token are left out, and a row in which no document
//! begins has the single start 2³² - 1, which is no position. Cost: a shard in memory.

use serde_json::{Value, json};

use super::{Output, SampleWriter, Target, Written, dtype, encode};
use crate::{
    base::{error::Result, io},
    interop::read::Sample,
    shards::TokenWidth,
};

/// The version of the format.
const VERSION: u32 = 2;
/// The value for a row without starts, since arrays hold at least one number.
const NO_START: u32 = u32::MAX;

/// Writes the shards of a split.
pub struct MdsWriter {
    directory: std::path::PathBuf,
    folder: &'static str,
    width: TokenWidth,
    bytes_max: u64,
    /// The shards' configuration, and the JSON of it that each shard holds.
    config: Value,
    config_text: String,
    sizes: Vec<u32>,
    samples: Vec<u8>,
    tokens: u64,
    shards: Vec<Value>,
    written: Vec<Written>,
}

impl MdsWriter {
    /// Creates the split's folder.
    pub fn create(target: Target<'_>) -> Result<MdsWriter> {
        let folder = target.split_name();
        let directory = target.directory.join(folder);
        io::create_directory(&directory)?;
        let tokens = format!("ndarray:{}", dtype(target.width));
        // Columns by name, as the library writes them.
        let (names, encodings) = match target.rows {
            true => (json!(["starts", "tokens"]), json!(["ndarray:uint32", tokens])),
            false => (json!(["id", "source", "tokens"]), json!(["str", "str", tokens])),
        };
        let sizes: Vec<Value> =
            names.as_array().into_iter().flatten().map(|_| json!(null)).collect();
        let config = json!({
            "column_encodings": encodings, "column_names": names, "column_sizes": sizes,
            "compression": null, "format": "mds", "hashes": [],
            "size_limit": target.config.shard_bytes.0, "version": VERSION,
        });
        let config_text = crate::artifact::manifest::canonical(&config).to_string();
        Ok(MdsWriter {
            directory,
            folder,
            width: target.width,
            bytes_max: target.config.shard_bytes.0,
            config,
            config_text,
            sizes: Vec::new(),
            samples: Vec::new(),
            tokens: 0,
            shards: Vec::new(),
            written: Vec::new(),
        })
    }

    /// Bytes of the shard if it were closed now.
    fn bytes(&self) -> u64 {
        let head = 4 * (2 + self.sizes.len()) + self.config_text.len();
        (head + self.samples.len()) as u64
    }

    fn close(&mut self) -> Result<()> {
        let name = format!("shard.{:05}.mds", self.shards.len());
        let samples = std::mem::take(&mut self.samples);
        let sizes = std::mem::take(&mut self.sizes);
        let mut at = (4 * (2 + sizes.len()) + self.config_text.len()) as u32;
        let mut head = (sizes.len() as u32).to_le_bytes().to_vec();
        head.extend(at.to_le_bytes());
        for size in &sizes {
            at += size;
            head.extend(at.to_le_bytes());
        }
        head.extend(self.config_text.as_bytes());
        let mut output = Output::create(&self.directory.join(&name))?;
        output.write(&head)?;
        output.write(&samples)?;
        output.finish()?;
        let mut shard = self.config.clone();
        shard["raw_data"] = json!({"basename": name, "bytes": at, "hashes": {}});
        shard["samples"] = sizes.len().into();
        shard["zip_data"] = Value::Null;
        self.shards.push(shard);
        let (documents, tokens) = (sizes.len() as u64, std::mem::take(&mut self.tokens));
        self.written.push(Written { name: format!("{}/{name}", self.folder), documents, tokens });
        Ok(())
    }
}

/// Writes a one-dimensional array: a byte for the number of dimensions and their type, the length,
/// the numbers.
fn array(length: usize, numbers: &[u8], out: &mut Vec<u8>) {
    let dimensions = 1 << 2;
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length), _) => out.extend([dimensions, length]),
        (_, Ok(length)) => {
            out.push(dimensions | 1);
            out.extend(length.to_le_bytes());
        }
        _ => {
            out.push(dimensions | 2);
            out.extend((length as u32).to_le_bytes());
        }
    }
    out.extend_from_slice(numbers);
}

impl SampleWriter for MdsWriter {
    fn push(&mut self, sample: Sample<'_>) -> Result<()> {
        if sample.tokens.is_empty() {
            return Ok(());
        }
        let mut numbers = Vec::new();
        encode(sample.tokens, self.width, &mut numbers);
        let mut tokens = Vec::new();
        array(sample.tokens.len(), &numbers, &mut tokens);
        let columns = match sample.document {
            Some((id, source)) => vec![id.as_bytes().to_vec(), source.as_bytes().to_vec(), tokens],
            None => {
                let starts = if sample.starts.is_empty() { &[NO_START] } else { sample.starts };
                let (mut numbers, mut column) = (Vec::new(), Vec::new());
                encode(starts, TokenWidth::U32, &mut numbers);
                array(starts.len(), &numbers, &mut column);
                vec![column, tokens]
            }
        };
        let size: usize = columns.iter().map(|column| 4 + column.len()).sum();
        if !self.sizes.is_empty() && self.bytes() + size as u64 + 4 > self.bytes_max {
            self.close()?;
        }
        for column in &columns {
            self.samples.extend((column.len() as u32).to_le_bytes());
        }
        columns.iter().for_each(|column| self.samples.extend_from_slice(column));
        self.sizes.push(size as u32);
        self.tokens += sample.tokens.len() as u64;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Vec<Written>> {
        if !self.sizes.is_empty() {
            self.close()?;
        }
        let index = json!({"shards": self.shards, "version": VERSION});
        let index = crate::artifact::manifest::canonical(&index).to_string();
        io::write(&self.directory.join("index.json"), index.as_bytes())?;
        Ok(self.written)
    }
}
