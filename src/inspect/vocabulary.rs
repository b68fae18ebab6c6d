//! How shards use their vocabulary: the entries that come most, and those that never do.
//!
//! In → token shards; out → [`VocabularyReport`]. Every token is decoded, shards side by side; an
//! entry that no document uses is a row of the embedding that is never trained. Special tokens are
//! told apart: shards store no end-of-text, so it is among what is not used. Cost: zstd's, about
//! 0.5 billion tokens a second a core, and eight bytes an entry a thread.

use std::{cmp::Reverse, fmt, path::Path};

use rayon::prelude::*;
use serde::Serialize;

use super::{
    ratio,
    table::{Table, count, percent},
};
use crate::{
    base::error::{Error, Result},
    shards::{ShardReader, ShardSet, TokenSlice},
    tokenizer::Tokenizer,
};

/// Entries that are shown of either kind.
const SHOWN: usize = 20;

/// The use of a vocabulary.
#[derive(Clone, Debug, Serialize)]
pub struct VocabularyReport {
    pub path: String,
    /// Ids of the tokenizer, added tokens included.
    pub vocab_size: u64,
    /// Tokens of all documents.
    pub tokens: u64,
    /// The entries that come most, the first of equal ones by id.
    pub most_frequent: Vec<Entry>,
    /// Entries that no document has, and the first of them by id; special tokens apart.
    pub never_used: u64,
    pub first_never_used: Vec<Entry>,
    pub special_never_used: u64,
    /// Entries that make up half of all tokens, and 99% of them.
    pub half: u64,
    pub nearly_all: u64,
}

/// An entry of a vocabulary.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub id: u32,
    /// What it stands for, on one line: a blank is `␣`, a byte that is no text by itself `\x80`.
    pub text: String,
    pub tokens: u64,
}

impl VocabularyReport {
    /// Counts every token.
    pub fn read(path: &Path) -> Result<VocabularyReport> {
        let set = ShardSet::open(path)?;
        let tokenizer = Tokenizer::open(&set.tokenizer_directory())?;
        let size = set.vocab_size()? as usize;
        let counted = set.shards().par_iter().map(|shard| counts(&shard.reader, size));
        let add = |mut sum: Vec<u64>, one: Vec<u64>| {
            sum.iter_mut().zip(one).for_each(|(sum, one)| *sum += one);
            Ok(sum)
        };
        let counts = counted.try_reduce(|| vec![0; size], add)?;
        let special = tokenizer.special_ids();
        let text = |id: u32| match String::from_utf8(tokenizer.decode(&[id])) {
            Ok(text) => visible(&text),
            Err(error) => error.as_bytes().escape_ascii().to_string(),
        };
        let entry = |id: u32| Entry { id, text: text(id), tokens: counts[id as usize] };
        let mut ids: Vec<u32> = (0..size as u32).collect();
        ids.sort_by_key(|&id| Reverse(counts[id as usize]));
        let used = ids.iter().take_while(|&&id| counts[id as usize] > 0).count();
        let (never, never_special): (Vec<u32>, Vec<u32>) =
            ids[used..].iter().partition(|id| !special.contains(id));
        let tokens = counts.iter().sum();
        Ok(VocabularyReport {
            path: path.display().to_string(),
            vocab_size: size as u64,
            tokens,
            most_frequent: ids[..used.min(SHOWN)].iter().map(|&id| entry(id)).collect(),
            never_used: never.len() as u64,
            first_never_used: never.iter().take(SHOWN).map(|&id| entry(id)).collect(),
            special_never_used: never_special.len() as u64,
            half: reaching(&ids, &counts, tokens.div_ceil(2)),
            nearly_all: reaching(&ids, &counts, tokens - tokens / 100),
        })
    }
}

/// How many of the most frequent entries have so many tokens together.
fn reaching(ids: &[u32], counts: &[u64], wanted: u64) -> u64 {
    let mut sum = 0;
    let before = ids.iter().take_while(|&&id| {
        let is_before = sum < wanted;
        sum += counts[id as usize];
        is_before
    });
    before.count() as u64
}

/// Tokens of a shard by id.
fn counts(reader: &ShardReader, size: usize) -> Result<Vec<u64>> {
    let mut counts = vec![0u64; size];
    for index in 0..reader.blocks().len() {
        let lists = reader.read(index)?.token_lists()?;
        for row in 0..lists.len() {
            let mut add = |id: u32| match counts.get_mut(id as usize) {
                Some(count) => {
                    *count += 1;
                    Ok(())
                }
                None => {
                    let offset = Some(reader.blocks()[index].offset);
                    let message = format!("token {id} of a vocabulary of {size}");
                    Err(Error::damaged_artifact(reader.path(), offset, message))
                }
            };
            match lists.tokens(row) {
                TokenSlice::U16(ids) => ids.iter().try_for_each(|&id| add(u32::from(id)))?,
                TokenSlice::U32(ids) => ids.iter().try_for_each(|&id| add(id))?,
            }
        }
    }
    Ok(counts)
}

/// A text on one line, its blanks and control characters visible.
pub fn visible(text: &str) -> String {
    text.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"").replace(' ', "␣")
}

impl fmt::Display for VocabularyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, tokens) = (count(self.vocab_size), count(self.tokens));
        let (half, nearly) = (count(self.half), count(self.nearly_all));
        writeln!(f, "{}: {tokens} tokens of a vocabulary of {size}", self.path)?;
        writeln!(f, "{half} entries are half of all tokens, {nearly} are 99%")?;
        let (never, special) = (count(self.never_used), count(self.special_never_used));
        writeln!(f, "{never} entries are never used, and {special} special tokens\n")?;
        let mut table = Table::new(["most frequent", "id", "tokens", "share"]);
        for entry in &self.most_frequent {
            table.row(vec![
                entry.text.clone(),
                entry.id.to_string(),
                count(entry.tokens),
                percent(ratio(entry.tokens, self.tokens)),
            ]);
        }
        write!(f, "{table}")?;
        if self.first_never_used.is_empty() {
            return Ok(());
        }
        let entries = self.first_never_used.iter();
        let entries: Vec<String> = entries.map(|it| format!("{} ({})", it.text, it.id)).collect();
        let more = if self.never_used as usize > entries.len() { ", …" } else { "" };
        write!(f, "\n\nnever used, by id: {}{more}", entries.join(", "))
    }
}
