//! The parts of an Arrow IPC file, each made alone: its head, its batches, its end.
//!
//! In → a schema and record batches; out → bytes. Arrow's own `FileWriter` compresses a batch on
//! the thread that writes the file, so one core would bound what sixteen can encode; here any
//! thread makes a batch's bytes, and the file is their concatenation. Format: Apache Arrow columnar
//! format, metadata version 5, "IPC File Format". Invariant: the same bytes as `FileWriter`'s (a
//! test holds them side by side). Cost: the compression.

use std::path::{Path, PathBuf};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::{
        Block, FooterBuilder, MetadataVersion,
        convert::{IpcSchemaEncoder, metadata_to_fb},
        writer::{FileWriter, IpcWriteOptions},
    },
};
use flatbuffers::FlatBufferBuilder;

use crate::base::{
    error::{Error, Result},
    hash::{Fingerprint, xxh3_128},
    pool::Pool,
};

/// Follows the last batch: a message of length zero.
const END_OF_BATCHES: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// The magic word at both ends of a file.
const MAGIC: &[u8] = b"ARROW1";

/// Makes the batches of one file; any thread may.
pub struct BatchEncoder {
    path: PathBuf,
    schema: SchemaRef,
    options: IpcWriteOptions,
    head: Vec<u8>,
    /// Arrow's writers with their compressors, whose tables are costly to make anew.
    files: Pool<Option<FileWriter<Vec<u8>>>>,
}

/// A batch as it stands in a file.
pub struct EncodedBatch {
    /// The message's head, then its body.
    pub(super) bytes: Vec<u8>,
    /// Bytes of the head.
    pub(super) head: usize,
    /// XXH3-128 of `bytes`.
    pub(super) xxh3: Fingerprint,
    /// Rows.
    pub(super) documents: u64,
}

impl BatchEncoder {
    /// An encoder for the file at `path`, which errors name.
    pub(super) fn new(path: &Path, schema: &SchemaRef, options: IpcWriteOptions) -> Result<Self> {
        let (path, schema, head) = (path.to_owned(), schema.clone(), Vec::new());
        let mut encoder = BatchEncoder { path, schema, options, head, files: Pool::default() };
        encoder.head = std::mem::take(encoder.file()?.get_mut());
        Ok(encoder)
    }

    /// What the file begins with: the magic word and the schema.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The bytes of one batch.
    pub fn encode(&self, batch: &RecordBatch) -> Result<EncodedBatch> {
        self.files.with(
            || None,
            |file| match file {
                Some(file) => self.encode_with(file, batch),
                None => self.encode_with(file.insert(self.file()?), batch),
            },
        )
    }

    fn encode_with(
        &self,
        file: &mut FileWriter<Vec<u8>>,
        batch: &RecordBatch,
    ) -> Result<EncodedBatch> {
        file.get_mut().clear();
        file.write(batch).map_err(|error| self.failed(error))?;
        let bytes = std::mem::take(file.get_mut());
        let length = bytes.get(4..8).and_then(|bytes| bytes.try_into().ok());
        let length = length.map(u32::from_le_bytes).expect("a message begins with its length");
        let (head, xxh3) = (8 + length as usize, xxh3_128(&bytes));
        Ok(EncodedBatch { bytes, head, xxh3, documents: batch.num_rows() as u64 })
    }

    fn file(&self) -> Result<FileWriter<Vec<u8>>> {
        FileWriter::try_new_with_options(Vec::new(), &self.schema, self.options.clone())
            .map_err(|error| self.failed(error))
    }

    fn failed(&self, error: ArrowError) -> Error {
        Error::failed(format!("cannot write `{}`: {error}", self.path.display()))
    }
}

/// What the file ends with: its footer, which lists the batches and holds one pair of metadata.
pub(super) fn end_of_file(
    schema: &SchemaRef,
    batches: &[Block],
    (key, value): (&str, String),
) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let dictionaries = builder.create_vector::<Block>(&[]);
    let batches = builder.create_vector(batches);
    let schema = IpcSchemaEncoder::new().schema_to_fb_offset(&mut builder, schema);
    let metadata = [(key.to_owned(), value)].into_iter().collect();
    let metadata = metadata_to_fb(&mut builder, &metadata);
    let mut footer = FooterBuilder::new(&mut builder);
    footer.add_version(MetadataVersion::V5);
    footer.add_schema(schema);
    footer.add_dictionaries(dictionaries);
    footer.add_recordBatches(batches);
    footer.add_custom_metadata(metadata);
    let footer = footer.finish();
    builder.finish(footer, None);
    let footer = builder.finished_data();
    let length = i32::try_from(footer.len()).expect("a footer below 2 GiB");
    [&END_OF_BATCHES, footer, &length.to_le_bytes(), MAGIC].concat()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{StringArray, UInt32Array},
        datatypes::{DataType, Field, Schema},
        ipc::CompressionType,
    };

    use super::*;

    #[test]
    fn the_parts_are_the_bytes_of_arrows_own_writer() {
        let fields =
            vec![Field::new("a", DataType::UInt32, false), Field::new("b", DataType::Utf8, true)];
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let batch = |rows: u32| {
            let texts = (0..rows).map(|row| (row % 3 > 0).then(|| format!("row {row}")));
            let numbers = UInt32Array::from_iter_values((0..rows).map(|row| row / 7));
            let columns: Vec<arrow::array::ArrayRef> =
                vec![Arc::new(numbers), Arc::new(StringArray::from_iter(texts))];
            RecordBatch::try_new(schema.clone(), columns).unwrap()
        };
        for compression in [None, Some(CompressionType::ZSTD)] {
            let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
            let mut whole =
                FileWriter::try_new_with_options(Vec::new(), &schema, options.clone()).unwrap();
            let encoder = BatchEncoder::new(Path::new("a"), &schema, options).unwrap();
            let (mut parts, mut blocks) = (encoder.head().to_vec(), Vec::new());
            for rows in [0, 1, 5000, 33] {
                whole.write(&batch(rows)).unwrap();
                let encoded = encoder.encode(&batch(rows)).unwrap();
                let body = (encoded.bytes.len() - encoded.head) as i64;
                blocks.push(Block::new(parts.len() as i64, encoded.head as i32, body));
                parts.extend(encoded.bytes);
            }
            parts.extend(end_of_file(&schema, &blocks, ("key", "value".to_owned())));
            whole.write_metadata("key", "value");
            assert_eq!(whole.into_inner().unwrap(), parts);
        }
    }
}
