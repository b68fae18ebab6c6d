//! How well a tokenizer fits a text, beside others.
//!
//! In → tokenizers and documents; out → [`FitReport`]: for each tokenizer and source, bytes a
//! token, tokens a word, the share of single-byte tokens; which tokens are the longest, the most
//! frequent, and never used; how much more text a context holds than with another tokenizer; the
//! share of a model's parameters that its embedding takes at each preset of `configs/model`.
//! Held-out documents count like others. Method: every document is encoded by every tokenizer,
//! tokens are counted by id. Cost: the encoders', in parallel over batches.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ratio;
use super::table::{Table, count, decimal, percent};
use crate::base::error::Result;
use crate::base::progress::Progress;
use crate::base::size::Count;
use crate::source::{Batch, Columns, Inputs};
use crate::text::is_white_space;
use crate::tokenizer::Tokenizer;

/// Token lengths told apart, in bytes; longer ones are the last.
pub const LENGTHS: usize = 16;
/// How many of the longest and of the most frequent tokens are shown.
const TOKENS_SHOWN: usize = 12;

/// The context whose text is compared, in tokens.
const CONTEXT: u64 = 2048;

/// A model's vocabulary is padded to a multiple of this (`runtime::model`).
const VOCAB_MULTIPLE: u64 = 128;

/// The presets, as `--config` takes them.
const PRESETS: [(&str, &str); 4] = [
    ("3m", include_str!("../../configs/model/3m.toml")),
    ("14m", include_str!("../../configs/model/14m.toml")),
    ("35m", include_str!("../../configs/model/35m.toml")),
    ("124m", include_str!("../../configs/model/124m.toml")),
];

/// The tokenizer asked about comes first, then those it is held against.
#[derive(Clone, Debug, Serialize)]
pub struct FitReport {
    pub tokenizers: Vec<TokenizerFit>,
}

/// One tokenizer on the documents.
#[derive(Clone, Debug, Serialize)]
pub struct TokenizerFit {
    /// As it was named.
    pub name: String,
    pub vocab_size: u64,
    /// All sources together.
    pub total: SourceFit,
    pub sources: Vec<SourceFit>,
    /// Tokens of the vocabulary that no document used, special ones apart.
    pub never_used: u64,
    pub never_used_share: Option<f64>,
    /// Among those used.
    pub longest: Vec<TokenUse>,
    pub most_frequent: Vec<TokenUse>,
    /// Bytes of text covered by tokens of each length; the last entry holds all longer ones.
    pub bytes_by_token_length: Vec<u64>,
    pub embedding: Vec<EmbeddingShare>,
    /// Text that a context holds with it, over what it holds with the first tokenizer.
    pub context_ratio: Option<f64>,
}

/// Figures of one source.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SourceFit {
    pub name: String,
    pub documents: u64,
    pub bytes: u64,
    /// Runs of characters without white space.
    pub words: u64,
    pub tokens: u64,
    /// Tokens that are one byte.
    pub single_byte_tokens: u64,
    pub bytes_per_token: Option<f64>,
    /// Tokens a word (fertility).
    pub tokens_per_word: Option<f64>,
    pub single_byte_share: Option<f64>,
}

impl SourceFit {
    fn add(&mut self, other: &SourceFit) {
        self.documents += other.documents;
        self.bytes += other.bytes;
        self.words += other.words;
        self.tokens += other.tokens;
        self.single_byte_tokens += other.single_byte_tokens;
    }

    fn with_ratios(mut self) -> SourceFit {
        self.bytes_per_token = ratio(self.bytes, self.tokens);
        self.tokens_per_word = ratio(self.tokens, self.words);
        self.single_byte_share = ratio(self.single_byte_tokens, self.tokens);
        self
    }
}

/// A token and how often it was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenUse {
    pub id: u32,
    /// Its text; bytes that are no UTF-8 by themselves as U+FFFD.
    pub text: String,
    pub bytes: u64,
    pub uses: u64,
}

/// What the embedding takes of a model, input and output tied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EmbeddingShare {
    pub preset: &'static str,
    pub parameters: u64,
    pub embedding: u64,
    pub share: f64,
}

/// What one tokenizer made of some documents.
#[derive(Clone, Default)]
struct Tally {
    sources: Vec<SourceFit>,
    uses: Vec<u64>,
}

/// Encodes all of `inputs` with each of `tokenizers` (name, tokenizer).
///
/// # Errors
/// Whatever reading and encoding give.
pub fn fit(
    tokenizers: &[(String, Tokenizer)],
    inputs: &Inputs,
    resources: (usize, u64),
    progress: &Progress,
) -> Result<FitReport> {
    let empty = |tokenizer: &Tokenizer| Tally {
        sources: vec![SourceFit::default(); inputs.sources().len()],
        uses: vec![0; tokenizer.vocab_size() as usize],
    };
    let mut tallies: Vec<Tally> = tokenizers.iter().map(|(_, one)| empty(one)).collect();
    let lengths: Vec<Vec<u64>> = tokenizers.iter().map(|(_, one)| token_lengths(one)).collect();
    let map = |batch: Batch| {
        let each = tokenizers.iter().zip(&lengths);
        each.map(|((_, one), lengths)| tally(one, lengths, &batch)).collect::<Result<Vec<_>>>()
    };
    let sink = |batches: Vec<(usize, SourceFit, Vec<u32>)>| {
        for (sum, (source, fit, ids)) in tallies.iter_mut().zip(batches) {
            sum.sources[source].add(&fit);
            ids.iter().for_each(|&id| sum.uses[id as usize] += 1);
        }
        Ok(())
    };
    progress.begin("fit", inputs.text_bytes());
    let read = inputs.survey(Columns::Text, resources, progress, map, sink);
    progress.end();
    read?;
    let mut fits: Vec<TokenizerFit> = tokenizers
        .iter()
        .zip(tallies)
        .map(|((name, tokenizer), tally)| TokenizerFit::new(name, tokenizer, inputs, tally))
        .collect();
    let first = fits[0].total.bytes_per_token;
    for fit in &mut fits {
        let both = fit.total.bytes_per_token.zip(first);
        fit.context_ratio = both.map(|(own, first)| own / first);
    }
    Ok(FitReport { tokenizers: fits })
}

/// The bytes of each token, by id.
fn token_lengths(tokenizer: &Tokenizer) -> Vec<u64> {
    (0..tokenizer.vocab_size()).map(|id| tokenizer.decode(&[id]).len() as u64).collect()
}

fn tally(
    tokenizer: &Tokenizer,
    lengths: &[u64],
    batch: &Batch,
) -> Result<(usize, SourceFit, Vec<u32>)> {
    let mut fit = SourceFit::default();
    let mut ids = Vec::with_capacity(batch.text_bytes() as usize / 4);
    for text in batch.texts().iter().flatten() {
        tokenizer.encode(text, &mut ids)?;
        fit.documents += 1;
        fit.bytes += text.len() as u64;
        let words = text.split(is_white_space).filter(|word| !word.is_empty());
        fit.words += words.count() as u64;
    }
    fit.tokens = ids.len() as u64;
    let is_single = |id: &&u32| lengths[**id as usize] == 1;
    fit.single_byte_tokens = ids.iter().filter(is_single).count() as u64;
    Ok((batch.source, fit, ids))
}

impl TokenizerFit {
    fn new(name: &str, tokenizer: &Tokenizer, inputs: &Inputs, mut tally: Tally) -> TokenizerFit {
        let lengths = token_lengths(tokenizer);
        let mut total = SourceFit { name: "all".into(), ..SourceFit::default() };
        for (source, name) in tally.sources.iter_mut().zip(inputs.sources()) {
            source.name = name.clone();
            total.add(source);
        }
        let mut by_length = vec![0; LENGTHS];
        for (&uses, &length) in tally.uses.iter().zip(&lengths) {
            let place = (length as usize).clamp(1, LENGTHS) - 1;
            by_length[place] += uses * length;
        }
        let special = tokenizer.special_ids();
        let is_own = |id: &u32| lengths[*id as usize] > 0 && !special.contains(id);
        let own: Vec<u32> = (0..tokenizer.vocab_size()).filter(is_own).collect();
        let never_used = own.iter().filter(|&&id| tally.uses[id as usize] == 0).count() as u64;
        let shown = |mut ids: Vec<u32>, key: &dyn Fn(u32) -> (u64, u64)| {
            ids.sort_by_key(|&id| (std::cmp::Reverse(key(id)), id));
            let used = ids.into_iter().take(TOKENS_SHOWN).map(|id| TokenUse {
                id,
                text: tokenizer.decode_text(&[id]),
                bytes: lengths[id as usize],
                uses: tally.uses[id as usize],
            });
            used.collect::<Vec<TokenUse>>()
        };
        let uses = |id: u32| tally.uses[id as usize];
        let used: Vec<u32> = own.iter().copied().filter(|&id| uses(id) > 0).collect();
        let vocab_size = u64::from(tokenizer.vocab_size());
        TokenizerFit {
            name: name.to_owned(),
            vocab_size,
            never_used_share: ratio(never_used, own.len() as u64),
            never_used,
            longest: shown(used, &|id| (lengths[id as usize], uses(id))),
            most_frequent: shown(own, &|id| (uses(id), lengths[id as usize])),
            bytes_by_token_length: by_length,
            embedding: PRESETS.map(|(name, text)| embedding(name, text, vocab_size)).into(),
            total: total.with_ratios(),
            sources: tally.sources.into_iter().map(SourceFit::with_ratios).collect(),
            context_ratio: None,
        }
    }
}

/// Sizes of a decoder with tied embeddings, as `configs/model/*.toml` name them.
#[derive(Deserialize)]
struct Preset {
    model: Shape,
}

#[derive(Deserialize)]
struct Shape {
    d_model: u64,
    n_layer: u64,
    n_head: u64,
    n_kv_head: u64,
    d_ff: u64,
}

fn embedding(preset: &'static str, text: &str, vocab_size: u64) -> EmbeddingShare {
    let Preset { model } = toml::from_str(text).expect("a test parses every preset");
    let Shape { d_model, n_layer, n_head, n_kv_head, d_ff } = model;
    let embedding = vocab_size.next_multiple_of(VOCAB_MULTIPLE) * d_model;
    let attention = 2 * d_model * d_model + 2 * d_model * (d_model / n_head * n_kv_head);
    let block = attention + 3 * d_model * d_ff + 2 * d_model;
    let parameters = embedding + n_layer * block + d_model;
    let share = embedding as f64 / parameters as f64;
    EmbeddingShare { preset, parameters, embedding, share }
}

impl fmt::Display for FitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for source in 0..=self.tokenizers[0].sources.len() {
            let of = |fit: &TokenizerFit| match fit.sources.get(source) {
                Some(source) => source.clone(),
                None => fit.total.clone(),
            };
            let first = of(&self.tokenizers[0]);
            let (documents, bytes) = (Count(first.documents).of("document"), Count(first.bytes));
            writeln!(f, "{}: {documents}, {}", first.name, bytes.of("byte"))?;
            let head = ["", "tokens", "bytes/token", "tokens/word", "against the first"];
            let mut table = Table::new(head);
            for tokenizer in &self.tokenizers {
                let fit = of(tokenizer);
                let both = fit.bytes_per_token.zip(first.bytes_per_token);
                let more = both.map(|(own, first)| own / first - 1.0);
                table.row(vec![
                    tokenizer.name.clone(),
                    count(fit.tokens),
                    decimal(fit.bytes_per_token),
                    decimal(fit.tokens_per_word),
                    more.map_or_else(|| "-".into(), |more| format!("{:+.1}%", more * 100.0)),
                ]);
            }
            writeln!(f, "{table}\n")?;
        }
        self.tokenizers.iter().try_for_each(|fit| fit.vocabulary(f))
    }
}

impl TokenizerFit {
    /// What concerns the vocabulary as a whole.
    fn vocabulary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let never = percent(self.never_used_share);
        let single = percent(self.total.single_byte_share);
        writeln!(f, "{}: {} entries", self.name, count(self.vocab_size))?;
        writeln!(f, "  never used: {} ({never}); single bytes: {single} of the tokens", {
            count(self.never_used)
        })?;
        if let Some(bytes) = self.total.bytes_per_token {
            let held = count((bytes * CONTEXT as f64) as u64);
            writeln!(f, "  a context of {} tokens holds {held} bytes", count(CONTEXT))?;
        }
        let shares = self.embedding.iter().map(|one| {
            format!("{} {} of {}", one.preset, percent(Some(one.share)), count(one.parameters))
        });
        let shares: Vec<String> = shares.collect();
        writeln!(f, "  embedding's share of the parameters: {}", shares.join(", "))?;
        let list = |tokens: &[TokenUse]| {
            let shown =
                tokens.iter().map(|token| format!("{:?} {}", token.text, count(token.uses)));
            shown.collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "  most frequent: {}", list(&self.most_frequent))?;
        writeln!(f, "  longest used: {}", list(&self.longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedding_of_a_preset_is_counted_as_the_model_does() {
        // 8,192 × 192 + 6 × (2 × 192² + 2 × 192 × 96 + 3 × 192 × 512 + 2 × 192) + 192
        let share = embedding(PRESETS[0].0, PRESETS[0].1, 8192);
        assert_eq!((share.embedding, share.parameters), (1_572_864, 4_008_384));
    }
}
