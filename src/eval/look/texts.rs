//! Which documents a model finds hardest and easiest, since flaws in the data show there.
//!
//! In → a model, texts; out → for each source its bits per byte, and the documents with the most
//! and the fewest. **Method.** Every document is scored whole, as `eval --on` scores it; documents
//! of fewer than [`SHORTEST`] bytes count in the sums and are not ranked, since a few bytes say
//! little. Documents with equal bits per byte are ranked in input order. **Cost.** A forward pass
//! over the tokens; memory for the documents shown.

use std::fmt;

use serde::Serialize;

use crate::base::error::Result;
use crate::base::progress::Progress;
use crate::base::size::Count;
use crate::eval::Subject;
use crate::eval::ask::Asker;
use crate::eval::pass::{self, How};
use crate::runtime::model::Model;
use crate::source::{Batch, Columns, Inputs};

/// The fewest bytes of a document that is ranked.
pub const SHORTEST: u64 = 64;
/// Documents kept at each end.
const KEPT: usize = 5;
/// Characters of a document that are shown.
const SHOWN: usize = 160;
/// Tokens that go through the model together.
const BATCH_TOKENS: usize = 512;

/// The sources, in input order.
#[derive(Clone, Debug, Serialize)]
pub struct TextsLook {
    /// `step-000500`, or `model`.
    pub model: String,
    pub sources: Vec<SourceLook>,
}

/// One source.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SourceLook {
    pub source: String,
    pub documents: u64,
    pub bytes: u64,
    pub nats: f64,
    pub bits_per_byte: Option<f64>,
    /// By descending bits per byte.
    pub highest: Vec<DocumentLook>,
    /// By ascending bits per byte.
    pub lowest: Vec<DocumentLook>,
}

/// One document.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DocumentLook {
    pub document: String,
    pub file: String,
    /// Its row in a Parquet file; in JSON Lines its byte offset.
    pub row: u64,
    pub tokens: u64,
    pub bytes: u64,
    pub bits_per_byte: f64,
    /// How its text begins.
    pub text: String,
    #[serde(skip)]
    nats: f64,
}

impl TextsLook {
    /// Reads the model, then all texts once.
    ///
    /// # Errors
    /// Whatever reading and scoring give.
    pub fn new(
        subject: &Subject,
        inputs: &Inputs,
        resources: (usize, u64),
        progress: &Progress,
    ) -> Result<TextsLook> {
        let model = subject.load()?;
        let Subject { tokenizer, before, prefix, length, .. } = subject;
        let asker = Asker { tokenizer, before, prefix: *prefix, length: *length };
        let sources = inputs.sources().iter().map(|name| named(name));
        let mut sources: Vec<SourceLook> = sources.collect();
        let map = |batch: Batch| {
            let documents = score(&model, asker, inputs, &batch)?;
            Ok((batch.source, documents))
        };
        let sink = |(source, documents): (usize, Vec<DocumentLook>)| {
            documents.into_iter().for_each(|document| sources[source].add(document));
            Ok(())
        };
        progress.begin("score", inputs.text_bytes());
        let read = inputs.survey(Columns::Text, resources, progress, map, sink);
        progress.end();
        read?;
        sources.iter_mut().for_each(SourceLook::finish);
        Ok(TextsLook { model: subject.name.clone(), sources })
    }
}

fn named(name: &str) -> SourceLook {
    SourceLook { source: name.to_owned(), ..SourceLook::default() }
}

fn score(
    model: &Model,
    asker: Asker<'_>,
    inputs: &Inputs,
    batch: &Batch,
) -> Result<Vec<DocumentLook>> {
    let (mut trees, mut documents, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..batch.len() {
        let text = batch.texts().value(row);
        let mut tokens = Vec::with_capacity(text.len() / 4);
        asker.tokenizer.encode(text, &mut tokens)?;
        trees.extend(asker.windows(&tokens, asker.length));
        ends.push(trees.len());
        documents.push(DocumentLook {
            document: batch.ids().value(row).to_owned(),
            file: inputs.files()[batch.file].name.clone(),
            row: batch.rows[row],
            tokens: tokens.len() as u64,
            bytes: text.len() as u64,
            bits_per_byte: 0.0,
            text: text.chars().take(SHOWN).collect(),
            nats: 0.0,
        });
    }
    let how = How { threads: 1, batch_tokens: BATCH_TOKENS };
    let scores = pass::score(model, &trees, how, &|_| ())?;
    let mut start = 0;
    for (document, end) in documents.iter_mut().zip(ends) {
        let own = scores[start..end].iter().flatten();
        document.nats = own.map(|score| f64::from(score.nats)).sum();
        let bits = document.nats / std::f64::consts::LN_2;
        document.bits_per_byte = bits / document.bytes.max(1) as f64;
        start = end;
    }
    Ok(documents)
}

impl SourceLook {
    fn add(&mut self, document: DocumentLook) {
        self.documents += 1;
        self.bytes += document.bytes;
        self.nats += document.nats;
        if document.bytes < SHORTEST {
            return;
        }
        insert(&mut self.highest, &document, |new, old| new > old);
        insert(&mut self.lowest, &document, |new, old| new < old);
    }

    fn finish(&mut self) {
        let bits = self.nats / std::f64::consts::LN_2;
        self.bits_per_byte = (self.bytes > 0).then(|| bits / self.bytes as f64);
    }
}

/// Inserts a document before the first one that it beats.
fn insert(list: &mut Vec<DocumentLook>, new: &DocumentLook, beats: fn(f64, f64) -> bool) {
    let place = list.iter().position(|old| beats(new.bits_per_byte, old.bits_per_byte));
    let place = place.unwrap_or(list.len());
    if place < KEPT {
        list.insert(place, new.clone());
        list.truncate(KEPT);
    }
}

impl fmt::Display for TextsLook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for source in &self.sources {
            let SourceLook { source: name, documents, bytes, bits_per_byte, .. } = source;
            let bits = bits_per_byte.map_or_else(|| "-".to_owned(), |bits| format!("{bits:.3}"));
            let (documents, bytes) = (Count(*documents).of("document"), Count(*bytes).of("byte"));
            writeln!(f, "{name}: {documents}, {bytes}, {bits} bits a byte")?;
            for (what, list) in [("hardest", &source.highest), ("easiest", &source.lowest)] {
                writeln!(f, "\n  {what}")?;
                list.iter().try_for_each(|document| write_document(f, document))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn write_document(f: &mut fmt::Formatter<'_>, document: &DocumentLook) -> fmt::Result {
    let DocumentLook { document: id, file, row, bytes, bits_per_byte, text, .. } = document;
    let shown: String = text.chars().map(|it| if it < ' ' { ' ' } else { it }).collect();
    writeln!(f, "  {bits_per_byte:>7.3}  {id} ({file}:{row}, {} bytes)", Count(*bytes))?;
    writeln!(f, "           {shown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_keeps_its_most_extreme_documents_in_order() {
        let mut source = SourceLook::default();
        for (row, bits) in [4.0, 1.0, 9.0, 2.0, 3.0, 9.0, 7.0, 0.5].into_iter().enumerate() {
            source.add(DocumentLook {
                document: String::new(),
                file: String::new(),
                row: row as u64,
                tokens: 1,
                bytes: if bits == 0.5 { 3 } else { 100 },
                bits_per_byte: bits,
                text: String::new(),
                nats: bits,
            });
        }
        let rows = |list: &[DocumentLook]| list.iter().map(|it| it.row).collect::<Vec<_>>();
        // Of the two at 9 the earlier one leads; the one of three bytes is not ranked.
        assert_eq!(rows(&source.highest), [2, 5, 6, 0, 4]);
        assert_eq!(rows(&source.lowest), [1, 3, 4, 0, 6]);
        assert_eq!((source.documents, source.bytes), (8, 703));
    }
}
