//! Which documents stand where in the training stream, and where one document stands.
//!
//! In → a mix and the shards it names; out → for a range of the stream its documents ([`Read`]),
//! for an id all its places. Invariant: positions come from `order.arrow`, facts about a document
//! from its shard. Cost: a range reads one block a document at worst (its ids, not its tokens); an
//! id reads the ids of every shard and the whole order, 18 bytes a document.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use arrow::array::{Array, StringArray};
use serde::Serialize;

use super::{
    mix_record::MixRecord,
    order::{ORDER_FILE, OrderReader, OrderRow},
    reader::ShardReader,
};
use crate::artifact::{manifest::Manifest, record::Kind, store};
use crate::base::{
    error::{Error, Result},
    io,
    place::joined,
};

/// A document in the training stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Read {
    /// Its id.
    pub id: String,
    /// The mix's name of its source.
    pub source: String,
    /// Its index among the documents of the stream.
    pub document: u64,
    /// The position of its opener, and the one after its last token.
    pub first_token: u64,
    pub end: u64,
    /// How many of its tokens lie in the range that was asked for.
    pub tokens: u64,
    /// The shard file, and the row in it.
    pub shard: PathBuf,
    pub row: u32,
    /// Index into the mix's shards.
    #[serde(skip)]
    pub place: u32,
}

/// Looks documents up in a mix.
pub struct MixDocuments {
    record: MixRecord,
    order: OrderReader,
    paths: Vec<PathBuf>,
    /// The shard opened last, with the ids of the block read last.
    shard: Option<(u32, ShardReader)>,
    ids: Option<(u32, usize, StringArray)>,
}

impl MixDocuments {
    /// Opens the mix in `directory`; shards that have moved are looked for in `data`.
    pub fn open(directory: &Path, data: &[PathBuf]) -> Result<MixDocuments> {
        let record = MixRecord::read(directory)?;
        let order = OrderReader::open(&directory.join(ORDER_FILE))?;
        let paths = record.locate(directory, data)?;
        let paths = paths.iter().map(|path| io::canonical(path)).collect::<Result<Vec<_>>>()?;
        Ok(MixDocuments { record, order, paths, shard: None, ids: None })
    }

    /// What the mix was resolved to.
    pub fn record(&self) -> &MixRecord {
        &self.record
    }

    /// The documents that have tokens in `from..to` of the stream, in its order; none past the
    /// stream's end.
    pub fn between(&mut self, from: u64, to: u64) -> Result<Vec<Read>> {
        let to = to.min(self.order.tokens());
        let mut found = Vec::new();
        if from >= to {
            return Ok(found);
        }
        let mut document = self.order.find(from)?;
        let mut position = from;
        while position < to {
            let (row, end) = self.order.row(document)?;
            found.push(self.read(document, row, end, end.min(to) - position)?);
            position = end;
            document += 1;
        }
        Ok(found)
    }

    /// Every place of the document `id` in the stream, in its order.
    pub fn of(&mut self, id: &str) -> Result<Vec<Read>> {
        let mut wanted = BTreeSet::new();
        for place in 0..self.paths.len() as u32 {
            let blocks = self.open_shard(place)?.blocks().len();
            for block in 0..blocks {
                let first = self.open_shard(place)?.first_row(block);
                let ids = self.ids(place, block)?;
                let rows = (0..ids.len()).filter(|&row| ids.value(row) == id);
                wanted.extend(rows.map(|row| (place, (first + row as u64) as u32)));
            }
        }
        let mut found = Vec::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        for document in 0..self.order.documents() {
            let (row, end) = self.order.row(document)?;
            if wanted.contains(&(row.shard, row.row)) {
                found.push(self.read(document, row, end, end - row.first_token)?);
            }
        }
        Ok(found)
    }

    fn read(&mut self, document: u64, row: OrderRow, end: u64, tokens: u64) -> Result<Read> {
        let source = self.record.sources.get(usize::from(row.source));
        let source = source.ok_or_else(|| self.order.names_nothing(document))?.name.clone();
        if row.shard as usize >= self.paths.len() {
            return Err(self.order.names_nothing(document));
        }
        let found = self.open_shard(row.shard)?.find_row(u64::from(row.row));
        let (block, within) = found.ok_or_else(|| self.order.names_nothing(document))?;
        let id = self.ids(row.shard, block)?.value(within).to_owned();
        Ok(Read {
            id,
            source,
            document,
            first_token: row.first_token,
            end,
            tokens,
            shard: self.paths[row.shard as usize].clone(),
            row: row.row,
            place: row.shard,
        })
    }

    /// The document's tokens, all of them, without its opener.
    pub fn tokens(&mut self, read: &Read) -> Result<Vec<u32>> {
        let shard = self.open_shard(read.place)?;
        let (block, within) = shard.find_row(u64::from(read.row)).expect("it was read there");
        Ok(shard.read(block)?.token_lists()?.tokens(within).to_vec())
    }

    fn open_shard(&mut self, place: u32) -> Result<&ShardReader> {
        if self.shard.as_ref().is_none_or(|(open, _)| *open != place) {
            let shard = &self.record.shards[place as usize];
            self.shard = Some((place, shard.open(&self.paths[place as usize])?));
        }
        Ok(&self.shard.as_ref().expect("opened just above").1)
    }

    /// Ids of a block, which exists.
    fn ids(&mut self, place: u32, block: usize) -> Result<&StringArray> {
        if self.ids.as_ref().is_none_or(|(shard, read, _)| (*shard, *read) != (place, block)) {
            let shard = self.open_shard(place)?;
            let ids = shard.read(block)?.documents()?;
            self.ids = Some((place, block, ids));
        }
        Ok(&self.ids.as_ref().expect("read just above").2)
    }
}

/// The mix that a path leads to: itself, or the one that a run was trained on.
///
/// # Errors
/// Config: neither, or a run whose mix is not where it was.
pub fn mix_of(path: &Path) -> Result<PathBuf> {
    let manifest = Manifest::read(path)?;
    if manifest.kind == Kind::Mix {
        return Ok(path.to_owned());
    }
    manifest.expect_kind(path, Kind::Run)?;
    let wanted = manifest.inputs.first().and_then(|input| input.fingerprint);
    let recorded = store::recorded(path).into_iter().next().map(|it| it.places).unwrap_or_default();
    for place in store::with_kept(recorded, wanted) {
        let found = Manifest::read_if_known(&place)?;
        if found.is_some_and(|found| Some(found.fingerprint) == wanted) {
            return Ok(joined(Path::new(""), &place));
        }
    }
    let message = format!("the mix of `{}` is not where it was", path.display());
    Err(Error::config(message).with_hint("name the mix itself, with `--rows`"))
}
