//! One row as the model reads it: its documents, where they begin, and their text.
//!
//! In → a mix, a row's number and its length; out → [`RowReport`]. The row is the trainer's: tokens
//! [i·T, i·T + T]. The shards must be there, unless the stream is written out. Cost: a batch of the
//! order and one block a document.

use std::{fmt, path::Path};

use serde::Serialize;

use super::vocabulary::visible;
use crate::{
    base::{
        error::{Error, Result},
        size::Count,
    },
    shards::{
        MixReader,
        order::{ORDER_FILE, OrderReader},
        set::TOKENIZER_DIRECTORY,
    },
    tokenizer::Tokenizer,
};

/// A row's length when nobody says: the trainer's default.
const SEQUENCE: u64 = 1024;

/// A row.
#[derive(Clone, Debug, Serialize)]
pub struct RowReport {
    /// Its number, of how many.
    pub row: u64,
    pub rows: u64,
    pub sequence: u64,
    pub documents: Vec<RowDocument>,
}

/// What a row has of a document.
#[derive(Clone, Debug, Serialize)]
pub struct RowDocument {
    /// The mix's name of its source.
    pub source: String,
    /// Where it begins in the row, and how many tokens it has there, an opener included.
    pub start: u64,
    pub tokens: u64,
    /// Whether it began in an earlier row, and whether it goes on in a later one.
    pub continues: bool,
    pub is_cut: bool,
    /// Its text, without the opener.
    pub text: String,
}

impl RowReport {
    /// Reads row `row` of `sequence` tokens; without a number, what the mix is packed for.
    pub fn read(mix: &Path, row: u64, sequence: Option<u64>) -> Result<RowReport> {
        let mut reader = MixReader::open(mix, &[], 0)?;
        let packed = reader.record().packing.map(|packing| packing.sequence);
        let sequence = sequence.or(packed).unwrap_or(SEQUENCE);
        let rows = reader.tokens().checked_div(sequence).unwrap_or(0);
        if row >= rows {
            let message = format!("there is no row {row}: {rows} rows of {sequence} tokens");
            return Err(Error::config(message).with_hint("rows count from 0"));
        }
        let tokenizer = Tokenizer::open(&mix.join(TOKENIZER_DIRECTORY))?;
        let mut order = OrderReader::open(&mix.join(ORDER_FILE))?;
        let (start, end) = (row * sequence, (row + 1) * sequence);
        let (mut tokens, mut starts) = (Vec::new(), Vec::new());
        reader.read(start, sequence as usize, &mut tokens, &mut starts)?;
        let (mut at, mut documents) = (start, Vec::new());
        let mut index = order.find(start)?;
        while at < end {
            let (place, place_end) = order.row(index)?;
            let stop = place_end.min(end);
            let source = reader.record().sources.get(usize::from(place.source));
            let source = source.ok_or_else(|| order.names_nothing(index))?.name.clone();
            let continues = place.first_token < start;
            let own = &tokens[(at - start) as usize..(stop - start) as usize];
            let own = if continues { own } else { &own[1..] };
            documents.push(RowDocument {
                source,
                start: at - start,
                tokens: stop - at,
                continues,
                is_cut: place_end > end,
                text: tokenizer.decode_text(own),
            });
            (at, index) = (stop, index + 1);
        }
        Ok(RowReport { row, rows, sequence, documents })
    }
}

impl fmt::Display for RowReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (row, rows, sequence) = (Count(self.row), Count(self.rows), Count(self.sequence));
        let documents = Count(self.documents.len() as u64).of("document");
        write!(f, "row {row} of {rows}, {sequence} tokens in {documents}")?;
        for document in &self.documents {
            let RowDocument { source, start, tokens, continues, is_cut, text } = document;
            let before = if *continues { "… " } else { "" };
            let behind = if *is_cut { " …" } else { "" };
            let text: Vec<String> =
                text.split('\n').map(|line| visible(line).replace('␣', " ")).collect();
            write!(f, "\n\n── {source}, from {start}, {tokens} tokens\n")?;
            write!(f, "{before}{}{behind}", text.join("\n"))?;
        }
        Ok(())
    }
}
