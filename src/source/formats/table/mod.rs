//! Files whose columns have types: which are text and id, and their batches → documents.
//!
//! What Parquet and Arrow share: [`names`] finds the columns that are asked for, also inside
//! structs; [`decode`] turns a record batch into texts, ids and united types, row by row where one
//! is bad.

mod decode;
mod names;

pub(super) use decode::Decoder;
pub(super) use names::{Leading, Place, is_text, missing};
