//! From specs and footers to budgets: everything about a mix that needs no block.
//!
//! In → [`MixSpec`]s and the opened shards; out → [`MixPlan`]: the shard files in one numbering,
//! and for each source its blocks, what they have for training and how much of it the mix takes.
//! All that can be wrong with the request is found here, before any work: two tokenizers, no
//! end-of-text, an unknown source, documents taken twice, a source without a training token, more
//! passes than allowed. Cost: the footers.

use std::path::{Path, PathBuf};

use super::{
    config::{MixConfig, MixSpec, MixTokens},
    weights::{Weight, check_spread, decimal, most_without_repeats, split},
};
use crate::{
    base::{
        config::nearest,
        error::{Error, Result},
        size::Count,
    },
    shards::{BlockEntry, ShardSet},
};

/// A block that a source reads: its place in the numbering of the mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockPlace {
    /// Index into [`MixPlan::files`].
    pub file: usize,
    /// Index of the block in that file.
    pub block: usize,
}

/// A shard file of the mix: which artifact, which file in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePlace {
    /// Index into [`MixPlan::sets`].
    pub set: usize,
    /// Index into the artifact's files.
    pub shard: usize,
}

/// A source with its share resolved.
#[derive(Clone, Debug)]
pub struct PlannedSource {
    /// The mix's name of it.
    pub name: String,
    /// Index into [`MixPlan::sets`].
    pub set: usize,
    /// The one source of the artifact it takes; all of them when absent.
    pub source: Option<String>,
    /// The weight asked for.
    pub weight: Weight,
    /// Its blocks, in corpus order.
    pub blocks: Vec<BlockPlace>,
    /// Documents, held-out ones included.
    pub documents: u64,
    /// Held-out documents among them.
    pub held_out_documents: u64,
    /// Tokens of the others, openers included: one epoch.
    pub available_tokens: u64,
    /// Tokens the mix takes.
    pub budget_tokens: u64,
}

impl PlannedSource {
    /// Documents of one epoch.
    pub fn available_documents(&self) -> u64 {
        self.documents - self.held_out_documents
    }
}

/// A mix before its order is made.
pub struct MixPlan {
    /// The artifacts, in the order they are first named.
    pub sets: Vec<ShardSet>,
    /// The shard files the sources read, in one numbering.
    pub files: Vec<FilePlace>,
    /// The sources, in the order of the specs.
    pub sources: Vec<PlannedSource>,
    /// Tokens of the training stream.
    pub tokens: u64,
}

impl MixPlan {
    /// Opens the shards and resolves the budgets.
    pub fn resolve(specs: &[MixSpec], config: &MixConfig) -> Result<MixPlan> {
        check_specs(specs)?;
        let (sets, set_of_spec) = open_sets(specs)?;
        check_tokenizers(&sets)?;
        let mut plan = MixPlan { sets, files: Vec::new(), sources: Vec::new(), tokens: 0 };
        plan.number_files();
        for (spec, &set) in specs.iter().zip(&set_of_spec) {
            let source = plan.source(spec, set)?;
            plan.sources.push(source);
        }
        plan.refuse_shared_documents()?;
        plan.set_budgets(config)?;
        Ok(plan)
    }

    /// The entry of a block in its shard's footer.
    pub fn entry(&self, place: BlockPlace) -> &BlockEntry {
        let file = self.files[place.file];
        &self.sets[file.set].shards()[file.shard].reader.blocks()[place.block]
    }

    /// The first row in its file of a block.
    pub fn first_row(&self, place: BlockPlace) -> u64 {
        let file = self.files[place.file];
        self.sets[file.set].shards()[file.shard].reader.first_row(place.block)
    }

    fn number_files(&mut self) {
        for (set, opened) in self.sets.iter().enumerate() {
            self.files.extend((0..opened.shards().len()).map(|shard| FilePlace { set, shard }));
        }
    }

    /// The blocks of one spec, and what they hold.
    fn source(&self, spec: &MixSpec, set: usize) -> Result<PlannedSource> {
        let mut source = PlannedSource {
            name: spec.name.clone(),
            set,
            source: spec.source.clone(),
            weight: spec.weight,
            blocks: Vec::new(),
            documents: 0,
            held_out_documents: 0,
            available_tokens: 0,
            budget_tokens: 0,
        };
        for (file, place) in self.files.iter().enumerate().filter(|(_, place)| place.set == set) {
            let blocks = self.sets[set].shards()[place.shard].reader.blocks();
            for (block, entry) in blocks.iter().enumerate() {
                if spec.source.as_ref().is_some_and(|wanted| *wanted != entry.facts.source) {
                    continue;
                }
                source.blocks.push(BlockPlace { file, block });
                source.documents += entry.documents;
                source.held_out_documents += entry.facts.held_out_documents;
                source.available_tokens += entry.training_documents() + entry.training_tokens();
            }
        }
        if source.available_tokens > 0 {
            return Ok(source);
        }
        Err(nothing_to_train_on(spec, &self.sets[set], &source))
    }

    /// Two sources that read one document would count its passes apart.
    fn refuse_shared_documents(&self) -> Result<()> {
        for (index, source) in self.sources.iter().enumerate() {
            let shares = |other: &&PlannedSource| {
                let either_takes_all = other.source.is_none() || source.source.is_none();
                other.set == source.set && (either_takes_all || other.source == source.source)
            };
            if let Some(other) = self.sources[..index].iter().find(shares) {
                let message =
                    format!("`{}` and `{}` take the same documents", other.name, source.name);
                return Err(Error::config(message)
                    .with_hint("take each source of the shards once, as `SHARDS#source`"));
            }
        }
        Ok(())
    }

    fn set_budgets(&mut self, config: &MixConfig) -> Result<()> {
        let weights: Vec<Weight> = self.sources.iter().map(|source| source.weight).collect();
        check_spread(&weights).map_err(Error::config)?;
        let available: Vec<u64> =
            self.sources.iter().map(|source| source.available_tokens).collect();
        self.tokens = match config.tokens {
            MixTokens::All => most_without_repeats(&available, &weights),
            MixTokens::Exactly(Count(tokens)) => tokens,
        };
        let budgets = split(self.tokens, &weights);
        for (source, budget) in self.sources.iter_mut().zip(budgets) {
            source.budget_tokens = budget;
        }
        if let Some(source) = self.sources.iter().find(|source| source.budget_tokens == 0) {
            let (tokens, name) = (Count(self.tokens), &source.name);
            let message = format!("of {tokens} tokens `{name}` gets none");
            return Err(
                Error::config(message).with_hint("raise its weight, or ask for more tokens")
            );
        }
        self.refuse_too_many_epochs(config.epochs_max)
    }

    fn refuse_too_many_epochs(&self, epochs_max: u64) -> Result<()> {
        let too_many = |source: &&PlannedSource| {
            u128::from(source.budget_tokens)
                > u128::from(source.available_tokens) * u128::from(epochs_max)
        };
        let beyond: Vec<&PlannedSource> = self.sources.iter().filter(too_many).collect();
        if beyond.is_empty() {
            return Ok(());
        }
        let passes = beyond.iter().map(|source| {
            let (budget, available) = (source.budget_tokens, source.available_tokens);
            let (asked, has) = (Count(budget), Count(available));
            let passes = decimal(budget, available);
            format!("`{}` would need {passes} passes ({asked} tokens of {has})", source.name)
        });
        let passes: Vec<String> = passes.collect();
        let needed =
            beyond.iter().map(|source| source.budget_tokens.div_ceil(source.available_tokens));
        let needed = needed.max().unwrap_or(0);
        let message = format!("{}; `epochs_max` is {epochs_max}", passes.join(", "));
        Err(Error::config(message).with_hint(format!(
            "ask for fewer tokens, lower the weight, or allow it with `--set epochs_max={needed}`"
        )))
    }
}

fn check_specs(specs: &[MixSpec]) -> Result<()> {
    if specs.is_empty() {
        return Err(Error::config("a mix without sources")
            .with_hint("write at least one `name=SHARDS[#source]:WEIGHT`"));
    }
    if specs.len() > usize::from(u16::MAX) {
        return Err(Error::config(format!("{} sources: at most 65,535", specs.len())));
    }
    for (index, spec) in specs.iter().enumerate() {
        if specs[..index].iter().any(|other| other.name == spec.name) {
            return Err(Error::config(format!("two sources of the mix are named `{}`", spec.name)));
        }
    }
    Ok(())
}

/// Opens each artifact once; also says which one each spec means.
fn open_sets(specs: &[MixSpec]) -> Result<(Vec<ShardSet>, Vec<usize>)> {
    let mut sets: Vec<ShardSet> = Vec::new();
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut set_of_spec = Vec::with_capacity(specs.len());
    for spec in specs {
        let known = paths.iter().position(|path| *path == spec.shards);
        let set = match known {
            Some(set) => set,
            None => {
                let opened = ShardSet::open(&spec.shards)?;
                refuse_copies(&sets, &opened, &spec.shards)?;
                paths.push(spec.shards.clone());
                sets.push(opened);
                sets.len() - 1
            }
        };
        set_of_spec.push(set);
    }
    Ok((sets, set_of_spec))
}

/// One artifact under two paths would escape [`MixPlan::refuse_shared_documents`].
fn refuse_copies(sets: &[ShardSet], opened: &ShardSet, path: &Path) -> Result<()> {
    let fingerprint = opened.manifest().fingerprint;
    match sets.iter().find(|set| set.manifest().fingerprint == fingerprint) {
        None => Ok(()),
        Some(other) => {
            let (one, two) = (other.directory().display(), path.display());
            Err(Error::config(format!("`{one}` and `{two}` are the same shards"))
                .with_hint("name the same path for both sources"))
        }
    }
}

fn check_tokenizers(sets: &[ShardSet]) -> Result<()> {
    let first = &sets[0];
    for set in sets {
        let path = set.directory().display();
        if set.tokenizer() != first.tokenizer() {
            let (other, ours) = (set.tokenizer().short(), first.tokenizer().short());
            let message = format!(
                "two tokenizers: `{}` was written with {ours}…, `{path}` with {other}…",
                first.directory().display()
            );
            return Err(
                Error::config(message).with_hint("tokenize both with the same `--tokenizer`")
            );
        }
        if set.end_of_text().is_none() {
            let message = format!("the shards `{path}` have no end-of-text");
            return Err(Error::config(message).with_hint(
                "run `tokenize` again with `--set end_of_text=TOKEN` or a tokenizer that has one",
            ));
        }
        if set.end_of_text() != first.end_of_text() {
            let (one, two) = (first.end_of_text(), set.end_of_text());
            let message =
                format!("`{path}` ends a text with {two:?}, the first shards with {one:?}");
            return Err(Error::config(message));
        }
    }
    Ok(())
}

fn nothing_to_train_on(spec: &MixSpec, set: &ShardSet, found: &PlannedSource) -> Error {
    let path = set.directory().display();
    if found.documents > 0 {
        let message = format!("all {} documents of `{}` are held out", found.documents, spec.name);
        return Error::config(message).with_hint("hold out a smaller share with `--holdout`");
    }
    let Some(wanted) = &spec.source else {
        return Error::config(format!("the shards `{path}` hold no document"));
    };
    let sources = set.sources();
    let error = Error::config(format!("the shards `{path}` have no source `{wanted}`"));
    match nearest(wanted, sources.iter().copied()) {
        Some(name) => error.with_hint(format!("did you mean `{name}`?")),
        None => error.with_hint(format!("sources: {}", sources.join(", "))),
    }
}
