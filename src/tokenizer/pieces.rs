//! Encodes a document piece by piece, remembering the pieces it has met.
//!
//! Text in → ids appended. Method: the split pattern cuts, a table of known pieces answers for the
//! common ones, and the `tokenizers` crate's model merges the rest. The table never changes an id.
//! Cost: time goes to the split; a table holds at most [`PIECES_MAX`] pieces of at most
//! [`PIECE_BYTES_MAX`] bytes (about 32 MiB when full), one for each thread that encodes at once.

use std::sync::{Mutex, PoisonError};

use ahash::AHashMap;
use compact_str::CompactString;
use tokenizers::Model;
use tokenizers::models::ModelWrapper;

use super::alphabet;
use super::split::Splitter;
use crate::base::error::{Error, Result};

/// When a table is this full it learns no more: forgetting would cost more than it saves.
const PIECES_MAX: usize = 1 << 17;

/// Longer pieces are merged anew each time: they hardly come twice.
const PIECE_BYTES_MAX: usize = 256;

/// A split and the tables of the threads that use it.
#[derive(Debug)]
pub struct PieceEncoder {
    splitter: Splitter,
    /// Tables not in use; a call takes one and puts it back.
    idle: Mutex<Vec<Known>>,
}

/// Known pieces and where their ids lie.
#[derive(Debug, Default)]
struct Known {
    places: AHashMap<CompactString, (u32, u32)>,
    ids: Vec<u32>,
}

impl Known {
    fn get(&self, piece: &str) -> Option<&[u32]> {
        let (start, length) = *self.places.get(piece)?;
        Some(&self.ids[start as usize..][..length as usize])
    }

    fn learn(&mut self, piece: &str, ids: &[u32]) {
        if self.places.len() < PIECES_MAX && piece.len() <= PIECE_BYTES_MAX {
            let place = (self.ids.len() as u32, ids.len() as u32);
            self.places.insert(CompactString::from(piece), place);
            self.ids.extend_from_slice(ids);
        }
    }
}

impl PieceEncoder {
    /// An encoder that cuts by `splitter`.
    pub fn new(splitter: Splitter) -> PieceEncoder {
        PieceEncoder { splitter, idle: Mutex::default() }
    }

    /// Appends the ids of `text` to `out`.
    ///
    /// # Errors
    /// [`Error::Failed`] where the split gives up, or the model has no token for a piece.
    pub fn encode(&self, model: &ModelWrapper, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = idle().pop().unwrap_or_default();
        let mut word = String::new();
        let result = self.splitter.pieces(text, |piece| {
            if let Some(ids) = known.get(piece) {
                out.extend_from_slice(ids);
                return Ok(());
            }
            word.clear();
            alphabet::push_characters(piece.as_bytes(), &mut word);
            let tokens = model.tokenize(&word).map_err(|error| {
                Error::failed(format!("the tokenizer cannot encode {piece:?}: {error}"))
            })?;
            let start = out.len();
            out.extend(tokens.iter().map(|token| token.id));
            known.learn(piece, &out[start..]);
            Ok(())
        });
        idle().push(known);
        result
    }
}
