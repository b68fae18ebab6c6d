//! Parquet: any string type for the text, any codec of this build, row groups in parallel.
//!
//! The footer gives columns and row groups ([`probe`]); row groups are read in file order by the
//! producer, hashed as they pass, and decoded by workers ([`tasks`]): of a local file by one
//! contiguous read each ([`here`]), of a remote one only the columns asked for ([`there`]);
//! `table` turns their columns into texts, ids and united types. Strings are read as bytes and
//! checked here, because one bad byte must cost one document, not the file: the reader of the
//! `parquet` crate refuses the whole page. Page checksums are verified where a file has them.
//! Memory: a row group under [`GROUP_TEXT_BYTES_MAX`] of text is one task; a larger one is decoded
//! by the producer, batch by batch, so that what is in flight stays bounded.

mod bytes;
mod here;
mod probe;
mod schema;
mod tasks;
mod there;

use std::path::Path;

use parquet::errors::ParquetError;

use super::stream::{Compression, Head};
use super::{Ask, Format, Limit, Named, Probe, Request, Tasks};
use crate::base::error::{Error, Result};
use crate::store::{Stored, final_error};

/// Row groups with more text than this are decoded by the producer.
const GROUP_TEXT_BYTES_MAX: u64 = 64 << 20;
/// Smaller row groups are put together into one task up to this much text.
const TASK_TEXT_BYTES: u64 = 4 << 20;

/// The format's entry in the registry.
pub struct Parquet;

impl Format for Parquet {
    fn name(&self) -> &'static str {
        "Parquet"
    }

    fn endings(&self) -> &'static [&'static str] {
        &[".parquet", ".pq"]
    }

    fn named(&self) -> Named {
        Named::Whole
    }

    fn recognizes(&self, head: &Head) -> bool {
        head.compression == Compression::Plain && head.text.starts_with(b"PAR1")
    }

    fn probe(&self, file: &Stored, ask: &Ask) -> Result<Probe> {
        probe::probe(file, ask)
    }

    fn count(&self, _: &Stored, probe: &Probe, _: &Ask, documents_max: u64) -> Result<Limit> {
        let records = probe.records.unwrap_or(0).min(documents_max);
        Ok(Limit { records, end: 0 })
    }

    fn read(&self, request: &Request<'_>) -> Result<Box<dyn Tasks>> {
        Ok(Box::new(tasks::GroupTasks::open(request)?))
    }
}

/// The `parquet` crate's error as ours: errors of the system are kept apart from broken files.
fn refused(path: &Path, error: ParquetError) -> Error {
    let error = match error {
        // What a place says is final, also where the crate took it for the system's.
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Error::damaged(path, None, "it ends too early");
            }
            Ok(io) => return final_error(*io, path),
            Err(inner) => match inner.downcast::<Error>() {
                Ok(error) => return *error,
                Err(other) => ParquetError::External(other),
            },
        },
        other => other,
    };
    let message = error.to_string();
    let message = message.strip_prefix("Parquet error: ").unwrap_or(&message);
    Error::damaged(path, None, message)
}
