//! The stage: documents → word counts → `tokenizer.json`, `tokenizer_config.json`.
//!
//! In: the inputs' texts. Phase `count`, one unit a part of the inputs: pieces of the documents
//! that are not held out (and are in the sample, if one is asked for), counted into `words`:
//! sorted, so equal documents give equal bytes; parallel over row groups and units; what exceeds
//! the memory is spilled. Phase `merge`, one unit: all counts summed, then learned; the files of
//! each size asked for, in a folder of its own when there are several. Invariant: in = out +
//! rejected + dropped (`held_out`, `not_sampled`), where "out" trained the vocabulary. Memory of
//! `merge`: [`learn::memory`] of the distinct pieces; refused with the number when that is more
//! than allowed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::bpe::classes::UNICODE_VERSION;
use super::bpe::learn::WordTape;
use super::config::TokenizerConfig;
use super::count::{Counters, Cutter};
use super::export;
use super::format::{self, TOKENIZER_CONFIG_JSON, TOKENIZER_JSON};
use super::learn::{self, Vocabulary};
use super::sizes::{VOCABULARY, VocabularySummary};
use super::split::{self, Cut};
use super::words;
use crate::artifact::counts::{Counts, SourceCounts};
use crate::artifact::manifest::Manifest;
use crate::artifact::{
    record::Kind,
    spill::{Merged, Totals},
    stage::{Needs, Phase, Plan, Publish, Published, Stage, TextInputs, Unit, UnitPlan, Work},
    summary::Summary,
};
use crate::base::error::{Error, Result};
use crate::base::{interrupt, io, rng};
use crate::source::{Batch, Columns, InputConfig, InputSpec, Inputs};

/// The file of a counting unit.
const WORDS: &str = "words";

/// The reasons documents are left out for.
const HELD_OUT: &str = "held_out";
const NOT_SAMPLED: &str = "not_sampled";

/// The label of the draw that decides what is in the sample.
const SAMPLE: &str = "tokenizer sample";

/// The counters take one in this many parts of a unit's memory; reading takes the others.
const COUNTERS_SHARE: u64 = 4;

/// Words that are pushed between two checks of the memory.
const WORDS_A_LOOK: u64 = 1 << 16;

/// `tokenizer train` with its opened inputs.
pub struct TokenizerTrain {
    inputs: Inputs,
    config: TokenizerConfig,
    cuts: Vec<Cut>,
    cutter: Cutter,
}

impl TokenizerTrain {
    /// Checks the configuration and opens the inputs; reads metadata only.
    ///
    /// # Errors
    /// [`Error::Config`] for keys that cannot work; whatever opening the inputs gives.
    pub fn open(
        specs: &[InputSpec],
        input: InputConfig,
        config: TokenizerConfig,
    ) -> Result<TokenizerTrain> {
        let config = config.resolve()?;
        let cuts = split::cuts_of(&config.pattern)?;
        let cutter = Cutter::new(&cuts, config.sequence)?;
        Ok(TokenizerTrain { inputs: Inputs::open_texts(specs, &input)?, config, cuts, cutter })
    }

    /// What is read.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Counts the pieces of one unit's documents.
    fn count(&self, unit: usize, work: &Work<'_>) -> Result<Counts> {
        let folder = work.spill_folder();
        let counters = Counters::new(work.memory / COUNTERS_SHARE, work.threads, &folder);
        let mut trained = Counts::default();
        let map = |batch: Batch| self.count_batch(&batch, &counters);
        let sink = |(source, counts): (usize, SourceCounts)| {
            trained.source(&self.inputs.sources()[source]).add(&counts);
            Ok(())
        };
        let mut counts = self.inputs.read(unit, Columns::Text, work, map, sink)?;
        counts.add(&trained);
        counters.finish(&work.path(WORDS))?;
        Ok(counts)
    }

    /// Counts the pieces of one batch: its source, and what happened to its documents.
    fn count_batch(&self, batch: &Batch, counters: &Counters<'_>) -> Result<(usize, SourceCounts)> {
        let mut counts = SourceCounts::default();
        counters.with(|counter| {
            for (text, held_out) in batch.texts().iter().zip(batch.held_out()) {
                let text = text.expect("a null text is a reject, which no batch holds");
                if held_out == Some(true) {
                    counts.drop_document(HELD_OUT);
                } else if !self.is_sampled(text) {
                    counts.drop_document(NOT_SAMPLED);
                } else {
                    counts.documents_out += 1;
                    counts.bytes_out += text.len() as u64;
                    self.cutter.count(text, counter)?;
                }
            }
            Ok(())
        })?;
        Ok((batch.source, counts))
    }

    /// Whether a document is in the sample: a draw by its text, so equal texts are in together.
    fn is_sampled(&self, text: &str) -> bool {
        let share = self.config.sample;
        share >= 1.0 || (rng::hash(0, SAMPLE, &[text.as_bytes()]) as f64) < share * 2f64.powi(64)
    }

    /// Sums the counts, learns the merges, writes the files.
    fn merge(&self, work: &Work<'_>) -> Result<Counts> {
        let words = self.sum(work)?;
        let mut counts = Counts::default();
        counts.add_extra("distinct_words", words.distinct() as u64);
        let vocabulary = self.learn(words, work)?;
        let sizes = self.config.sizes();
        for &size in sizes {
            let folder = match sizes.len() {
                1 => work.dir.clone(),
                _ => work.path(&size.to_string()),
            };
            io::create_directory(&folder)?;
            self.write(&vocabulary, size, &folder)?;
        }
        counts.add_extra(VOCABULARY, vocabulary.entries(self.largest()));
        Ok(counts)
    }

    /// All words with their counts, while they fit the memory.
    fn sum(&self, work: &Work<'_>) -> Result<WordTape> {
        let unit = |unit| work.published.dir("count", unit).join(WORDS);
        let paths: Vec<PathBuf> = (0..work.published.units("count")).map(unit).collect();
        let mut most = Totals::default();
        for path in &paths {
            let totals = Totals::of_file(path)?;
            most.keys = most.keys.max(totals.keys);
            most.key_bytes = most.key_bytes.max(totals.key_bytes);
        }
        let require = |cells: u64| {
            let what = format!("learning from {cells} or more bytes of distinct words");
            work.require_memory(learn::memory(cells, self.largest()), &what)
        };
        require(most.keys + most.key_bytes)?;
        let mut words = WordTape::with_capacity(most.keys as usize, most.key_bytes as usize);
        let mut sum = Merged::of_files(paths, &work.spill_folder(), Vec::new())?;
        let mut pushed = 0u64;
        while let Some((piece, count)) = sum.advance()? {
            words.push(piece, count)?;
            pushed += 1;
            if pushed.is_multiple_of(WORDS_A_LOOK) {
                require(words.cells() as u64)?;
            }
        }
        if pushed == 0 {
            let message = "there is no text to train a tokenizer on";
            let hint = "every document was empty, held out (`holdout`), not sampled or rejected";
            return Err(Error::failed(message).with_hint(hint));
        }
        require(words.cells() as u64)?;
        Ok(words)
    }

    /// Learns the merges of the largest size; progress is reported in shares of the text.
    fn learn(&self, words: WordTape, work: &Work<'_>) -> Result<Vocabulary> {
        let text = self.inputs.text_bytes();
        let largest = self.largest();
        let mut told = 0;
        let vocabulary = Vocabulary::learn(words, &self.config, self.cuts.clone(), &mut |done| {
            interrupt::check()?;
            let now = (text as f64 * (done as f64 / largest as f64).min(1.0)) as u64;
            work.advance(now - told);
            told = now;
            Ok(())
        })?;
        work.advance(text - told);
        Ok(vocabulary)
    }

    /// The largest size asked for; there is one, since a configuration without sizes is refused.
    fn largest(&self) -> u64 {
        self.config.sizes().last().copied().unwrap_or(1)
    }

    /// Writes the files of one size.
    fn write(&self, vocabulary: &Vocabulary, size: u64, folder: &Path) -> Result<()> {
        io::write(&folder.join(TOKENIZER_JSON), &vocabulary.tokenizer_json(size))?;
        let TokenizerConfig { special_tokens, end_of_text, .. } = &self.config;
        let roles = format::tokenizer_config_json(special_tokens, end_of_text.as_deref());
        io::write(&folder.join(TOKENIZER_CONFIG_JSON), &roles)
    }
}

impl Stage for TokenizerTrain {
    fn name(&self) -> &'static str {
        "tokenizer"
    }

    fn kind(&self) -> Kind {
        Kind::Tokenizer
    }

    fn version(&self) -> u32 {
        3
    }

    fn config(&self) -> Value {
        let mut config = self.inputs.config_json();
        let own = serde_json::to_value(&self.config).expect("the configuration is plain data");
        if let (Value::Object(all), Value::Object(own)) = (&mut config, own) {
            all.extend(own);
            all.insert("unicode_version".into(), UNICODE_VERSION.into());
        }
        config
    }

    fn text(&self) -> Option<&dyn TextInputs> {
        Some(&self.inputs)
    }

    fn needs(&self, threads: usize) -> Needs {
        let words = words::bytes_expected(self.inputs.text_bytes());
        let reading = self.inputs.needs(threads);
        // The counters grow to their share of the memory, then spill.
        let counting = reading.memory + words.min(reading.memory / (COUNTERS_SHARE - 1));
        let memory = counting.max(learn::memory(words, self.largest()));
        Needs { memory, disk: words * 2, ..reading }
    }

    fn plan(&self) -> Result<Plan> {
        let phase = |name, units, publish| Phase { name, units, publish, counts: true };
        // Merging takes about as long as counting, hence the same bytes.
        let single = UnitPlan::single(self.inputs.text_bytes());
        let phases = vec![
            phase("count", self.inputs.units(), Publish::No),
            phase("merge", vec![single], Publish::AsIs),
        ];
        Ok(Plan { phases, holdout: Some(self.inputs.holdout()) })
    }

    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts> {
        match unit.phase {
            0 => self.count(unit.index, work),
            1 => self.merge(work),
            phase => panic!("phase {phase} of 2"),
        }
    }

    fn summary(&self, manifest: &Manifest, _out: &Path) -> Result<Box<dyn Summary>> {
        Ok(Box::new(VocabularySummary::new(manifest)))
    }

    /// llama.cpp holds its splits in its code: the name that this one has there.
    fn manifest_keys(&self, _: &Published<'_>) -> Result<BTreeMap<String, Value>> {
        let name = export::llama_cpp_name(&self.cuts);
        Ok(BTreeMap::from([("llama_cpp_pre".to_owned(), name.into())]))
    }
}
