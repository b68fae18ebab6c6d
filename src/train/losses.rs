//! What a model makes of rows of a mix, token by token.
//!
//! In → a model and rows; out → nats, one a token read. The rows are those of training, so a
//! document is judged in the company it was read in. Cost: a forward pass.

use std::path::{Path, PathBuf};

use super::{feed::MixFeed, trained::Trained};
use crate::base::error::{Error, Result};
use crate::runtime::data::Feed;

/// Rows of one forward pass.
const AT_ONCE: u64 = 8;

/// The nats of what follows each token of rows `first .. first + count`, row after row.
///
/// # Errors
/// Config: rows beyond the mix.
pub fn nats_of_rows(
    trained: &Trained,
    (mix, data): (&Path, &[PathBuf]),
    sequence: usize,
    (first, count): (u64, u64),
) -> Result<Vec<f64>> {
    let mut feed = MixFeed::open(mix, data, sequence)?;
    let end = first + count;
    if end > feed.row_count() {
        let message = format!("the mix has rows 0 to {}, not {}", feed.row_count(), end - 1);
        return Err(Error::config(message));
    }
    let mut nats = Vec::with_capacity(count as usize * sequence);
    let mut at = first;
    while at < end {
        let rows = AT_ONCE.min(end - at);
        let batch = feed.rows(at, rows as usize)?;
        nats.extend(trained.model.nats(&batch)?.into_iter().map(f64::from));
        at += rows;
    }
    Ok(nats)
}
