//! From specs and footers to budgets: everything about a mix that needs no block.
//!
//! In → [`MixSpec`]s and the opened shards; out → [`MixPlan`]: the shard files in one numbering,
//! for each source its blocks and what they have for training, and for each phase how much of it
//! the mix takes.
//! All that can be wrong with the request is found here, before any work: two tokenizers, no
//! end-of-text, an unknown source, documents taken twice, a source without a training token, more
//! passes than allowed. Cost: the footers.

use std::path::{Path, PathBuf};

use super::{
    config::{MixConfig, MixSpec, MixTokens},
    order::Measure,
    weights::{
        Weight, check_spread, decimal, most_without_repeats, odd_sum, split, split_within, tempered,
    },
};
use crate::{
    base::{
        config::nearest,
        error::{Error, Result},
        size::{Bytes, Count},
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
    /// The weight asked for; absent where phases have them.
    pub weight: Option<Weight>,
    /// Its blocks, in file order.
    pub blocks: Vec<BlockPlace>,
    /// Documents, held-out ones included.
    pub documents: u64,
    /// Held-out documents among them.
    pub held_out_documents: u64,
    /// Tokens of the others, openers included: one epoch.
    pub available_tokens: u64,
    /// Bytes of their text; absent where the shards do not say.
    pub available_bytes: Option<u64>,
    /// What the mix takes, in all phases.
    pub budget: u64,
}

/// A phase with its shares resolved.
#[derive(Clone, Debug)]
pub struct PlannedPhase {
    /// Its name.
    pub name: String,
    /// For each source its weight, if it is read.
    pub weights: Vec<Option<Weight>>,
    /// For each source what it fills.
    pub budgets: Vec<u64>,
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
    /// The phases, one at least.
    pub phases: Vec<PlannedPhase>,
    /// The phases' shares, as asked for.
    pub shares: Vec<Weight>,
    /// What the budgets count.
    pub measure: Measure,
    /// Whether a temperature made the phases' weights: they add to nothing that anybody asked for.
    pub tempered: bool,
    /// How much of it the mix has.
    pub size: u64,
}

/// What the only phase is called where none is asked for.
const ONLY_PHASE: &str = "main";

impl MixPlan {
    /// Opens the shards and resolves the budgets.
    pub fn resolve(specs: &[MixSpec], config: &MixConfig) -> Result<MixPlan> {
        config.check(specs)?;
        let (sets, set_of_spec) = open_sets(specs)?;
        check_tokenizers(&sets)?;
        check_held_out(&sets)?;
        check_masks(&sets, config)?;
        let measure = if config.bytes.is_some() { Measure::Bytes } else { Measure::Tokens };
        let mut plan = MixPlan {
            sets,
            files: Vec::new(),
            sources: Vec::new(),
            phases: Vec::new(),
            shares: config.phases.iter().map(|phase| phase.share).collect(),
            measure,
            tempered: config.temperature.is_some(),
            size: 0,
        };
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
            available_bytes: Some(0),
            budget: 0,
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
                let bytes = source.available_bytes.zip(entry.training_bytes());
                source.available_bytes = bytes.map(|(sum, bytes)| sum + bytes);
            }
        }
        if source.available_tokens > 0 {
            return Ok(source);
        }
        Err(nothing_to_train_on(spec, &self.sets[set], &source))
    }

    /// Refuses two sources that read the same document: its passes would be counted apart.
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

    /// What one epoch of each source has, in the measure of the budgets.
    fn available(&self) -> Result<Vec<u64>> {
        let of_source = |source: &PlannedSource| match self.measure {
            Measure::Tokens => Ok(source.available_tokens),
            Measure::Bytes => match source.available_bytes {
                Some(0) => {
                    let message = format!("the texts of `{}` are empty", source.name);
                    Err(Error::config(message).with_hint("leave it out, or give `--tokens`"))
                }
                Some(bytes) => Ok(bytes),
                None => {
                    let message = format!("the shards of `{}` do not say how much", source.name);
                    Err(Error::config(format!("{message} text they have for training"))
                        .with_hint("`tokenize` writes it now: run it again, or give `--tokens`"))
                }
            },
        };
        self.sources.iter().map(of_source).collect()
    }

    /// Resolves weights into budgets, phase by phase.
    fn set_budgets(&mut self, config: &MixConfig) -> Result<()> {
        let available = self.available()?;
        self.phases = self.weigh(config, &available)?;
        let all_weights: Vec<Weight> = self.phases[0].weights.iter().flatten().copied().collect();
        self.size = match (config.bytes, config.tokens) {
            (Some(Bytes(bytes)), _) => bytes,
            (None, MixTokens::Exactly(Count(tokens))) => tokens,
            // `all` comes without phases: there is one, and it reads every source.
            (None, MixTokens::All) => most_without_repeats(&available, &all_weights),
        };
        let sizes = match self.shares.as_slice() {
            [] => vec![self.size],
            shares => split(self.size, shares),
        };
        for (phase, size) in sizes.into_iter().enumerate() {
            let budgets = self.phase_budgets(phase, size, config, &available)?;
            for (source, budget) in self.sources.iter_mut().zip(&budgets) {
                source.budget += budget;
            }
            self.phases[phase].budgets = budgets;
        }
        if let Some(source) = self.sources.iter().find(|source| source.budget == 0) {
            let message = format!("of {} `{}` gets none", self.amount(self.size), source.name);
            return Err(Error::config(message).with_hint("raise its weight, or ask for more"));
        }
        self.refuse_too_many_epochs(config.epochs_max, &available)
    }

    /// The weights of each phase, by the sources' order.
    fn weigh(&self, config: &MixConfig, available: &[u64]) -> Result<Vec<PlannedPhase>> {
        let asked: Vec<(String, Vec<Option<Weight>>)> = match config.phases.as_slice() {
            [] => {
                let weights = self.sources.iter().map(|source| source.weight);
                vec![(ONLY_PHASE.to_owned(), weights.collect())]
            }
            phases => {
                let weights = phases.iter().map(|phase| {
                    let of = |source: &PlannedSource| phase.weights.get(&source.name).copied();
                    (phase.name.clone(), self.sources.iter().map(of).collect())
                });
                weights.collect()
            }
        };
        let weighed = asked.into_iter().map(|(name, mut weights)| {
            let read: Vec<usize> =
                (0..weights.len()).filter(|&one| weights[one].is_some()).collect();
            let mut own: Vec<Weight> = weights.iter().flatten().copied().collect();
            // The spread is checked before the temperature, which would raise a mistyped weight to
            // the least there is.
            check_spread(&own).map_err(Error::config)?;
            if let Some(temperature) = config.temperature {
                let has: Vec<u64> = read.iter().map(|&one| available[one]).collect();
                own = tempered(&own, &has, temperature);
            }
            if own.is_empty() {
                return Err(Error::config(format!("phase `{name}` reads no source")));
            }
            for (one, weight) in read.into_iter().zip(own) {
                weights[one] = Some(weight);
            }
            Ok(PlannedPhase { name, weights, budgets: Vec::new() })
        });
        weighed.collect()
    }

    /// What each source fills of a phase of `size`, within its limits.
    fn phase_budgets(
        &self,
        phase: usize,
        size: u64,
        config: &MixConfig,
        available: &[u64],
    ) -> Result<Vec<u64>> {
        let weights = &self.phases[phase].weights;
        let read: Vec<usize> = (0..weights.len()).filter(|&one| weights[one].is_some()).collect();
        let own: Vec<Weight> = weights.iter().flatten().copied().collect();
        let bounds = read.iter().map(|&one| {
            let source = &self.sources[one];
            let limits = config.limits.get(&source.name).cloned().unwrap_or_default();
            let epochs = limits.epochs_max.map_or(u64::MAX, |epochs| {
                available[one].saturating_mul(epochs).saturating_sub(source.budget)
            });
            let most = limits.share_max.map_or(u64::MAX, |share| share.share_of(size));
            let least = limits.share_min.map_or(0, |share| share.share_of(size));
            (least.min(epochs), most.min(epochs))
        });
        let shares = split_within(size, &own, &bounds.collect::<Vec<(u64, u64)>>());
        let shares = shares.ok_or_else(|| {
            let name = &self.phases[phase].name;
            let message = format!("the limits leave no way to fill {}", self.amount(size));
            Error::config(format!("{message} in phase `{name}`")).with_hint(
                "raise an `epochs_max` or `share_max`, lower a `share_min`, or ask for less",
            )
        })?;
        let mut budgets = vec![0; weights.len()];
        for (one, share) in read.into_iter().zip(shares) {
            budgets[one] = share;
        }
        Ok(budgets)
    }

    /// `12,000 tokens`, `11.7 KiB of text`.
    fn amount(&self, size: u64) -> String {
        let unit = if self.measure == Measure::Tokens { "tokens" } else { "of text" };
        format!("{} {unit}", self.figure(size))
    }

    fn figure(&self, size: u64) -> String {
        match self.measure {
            Measure::Tokens => Count(size).to_string(),
            Measure::Bytes => Bytes(size).to_string(),
        }
    }

    fn refuse_too_many_epochs(&self, epochs_max: u64, available: &[u64]) -> Result<()> {
        let sources = self.sources.iter().zip(available);
        let beyond = sources.filter(|(source, available)| {
            u128::from(source.budget) > u128::from(**available) * u128::from(epochs_max)
        });
        let beyond: Vec<(&PlannedSource, &u64)> = beyond.collect();
        let needed = beyond.iter().map(|(source, available)| source.budget.div_ceil(**available));
        let Some(needed) = needed.max() else { return Ok(()) };
        let passes = beyond.iter().map(|(source, available)| {
            let (asked, has) = (self.amount(source.budget), self.figure(**available));
            let passes = decimal(source.budget, **available);
            format!("`{}` would need {passes} passes ({asked} of {has})", source.name)
        });
        let passes: Vec<String> = passes.collect();
        let message = format!("{}; `epochs_max` is {epochs_max}", passes.join(", "));
        Err(Error::config(message).with_hint(format!(
            "ask for fewer tokens, lower the weight, allow it with `--set epochs_max={needed}`, or \
             give what is too much to the others with `--set limits.{}.epochs_max={epochs_max}`",
            beyond[0].0.name
        )))
    }

    /// What a person should know of the shares: weights that add to something odd, and sources
    /// that are read more than once.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if let Some(sum) = odd_sum(&self.shares).filter(|_| self.phases.len() > 1) {
            let shares = self.phases.iter().map(|phase| {
                let size = phase.budgets.iter().sum::<u64>();
                format!("{} {:.2}%", phase.name, 100.0 * size as f64 / self.size.max(1) as f64)
            });
            let shares: Vec<String> = shares.collect();
            notices.push(format!("the phases' shares add to {sum}: {}", shares.join(", ")));
        }
        for phase in &self.phases {
            let weights: Vec<Weight> = phase.weights.iter().flatten().copied().collect();
            let is_asked = !self.tempered && weights.len() > 1;
            let Some(sum) = odd_sum(&weights).filter(|_| is_asked) else { continue };
            let size: u64 = phase.budgets.iter().sum();
            let shares = self.sources.iter().zip(&phase.budgets).filter(|(_, share)| **share > 0);
            let shares = shares.map(|(source, &share)| {
                format!("{} {:.2}%", source.name, 100.0 * share as f64 / size.max(1) as f64)
            });
            let shares: Vec<String> = shares.collect();
            let of_phase = match self.phases.len() {
                1 => String::new(),
                _ => format!(" of phase `{}`", phase.name),
            };
            notices.push(format!("the weights{of_phase} add to {sum}: {}", shares.join(", ")));
        }
        let available = self.available().unwrap_or_default();
        for (source, available) in self.sources.iter().zip(available) {
            if source.budget > available {
                let passes = decimal(source.budget, available);
                let short = &passes[..passes.len() - 2];
                notices.push(format!(
                    "`{}` is up-sampled: each of its {} documents is read {} times",
                    source.name,
                    Count(source.available_documents()),
                    // Little more than one pass would read as up-sampling by 1.00.
                    if short == "1.00" { &passes } else { short },
                ));
            }
        }
        notices
    }
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

/// Refuses one artifact under two paths, which would escape [`MixPlan::refuse_shared_documents`].
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

/// Refuses to write out a stream of which only some tokens are trained on: it would hold the tokens
/// alone.
fn check_masks(sets: &[ShardSet], config: &MixConfig) -> Result<()> {
    let masked = sets.iter().find(|set| config.materialize && set.is_masked());
    match masked {
        None => Ok(()),
        Some(set) => Err(Error::config(format!(
            "`materialize` writes tokens alone, and `{}` says which of them are trained on",
            set.directory().display()
        ))
        .with_hint("leave it out: the shards are read in their place")),
    }
}

/// Refuses shards with two shares of held-out documents: one would train on documents that the
/// other validates on.
fn check_held_out(sets: &[ShardSet]) -> Result<()> {
    let share = |set: &ShardSet| set.manifest().holdout;
    let known = || sets.iter().filter_map(|set| Some((set.directory().display(), share(set)?)));
    let Some((first, ours)) = known().next() else { return Ok(()) };
    let Some((other, theirs)) = known().find(|(_, theirs)| *theirs != ours) else { return Ok(()) };
    let message = format!(
        "two shares of held-out documents: `{first}` holds out {ours}, `{other}` {theirs}, so a \
         text that validates the one may train the other"
    );
    Err(Error::config(message)
        .with_hint("tokenize both with one `--holdout`; files of tokens: `import --holdout SHARE`"))
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
