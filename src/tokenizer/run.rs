//! The stage: documents → word counts → `tokenizer.json`, `tokenizer_config.json`.
//!
//! In: the inputs' texts. Phase `count`, one unit a part of the inputs: pieces of the documents
//! that are not held out, counted into `words` (sorted, so equal documents give equal bytes);
//! parallel over row groups and units. Phase `merge`, one unit: all tables summed, then learned.
//! Invariant: in = out + rejected + dropped (`held_out`), where "out" trained the vocabulary.
//! Memory: the table of distinct pieces, then [`learn::MEMORY_PER_BYTE`] for each of their bytes;
//! refused with the number when that is more than allowed.

use std::path::PathBuf;

use rayon::ThreadPoolBuilder;
use serde_json::Value;

use super::config::TokenizerConfig;
use super::format::{self, TOKENIZER_CONFIG_JSON, TOKENIZER_JSON};
use super::learn::{self, learn};
use super::split::{self, Splitter};
use super::words::{self, WordCounts};
use crate::base::counts::{Counts, SourceCounts};
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::stage::{InputRecord, Needs, Phase, Plan, Publish, Stage, Unit, UnitPlan, Work};
use crate::source::{Batch, Columns, InputConfig, InputSpec, Inputs};

/// The file of a counting unit.
const WORDS: &str = "words";

/// The reason documents are left out for.
const HELD_OUT: &str = "held_out";

/// `tokenizer train` with its opened inputs.
pub struct TokenizerTrain {
    inputs: Inputs,
    config: TokenizerConfig,
    splitter: Splitter,
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
        let splitter = Splitter::new(split::regex_of(&config.pattern)?)?;
        Ok(TokenizerTrain { inputs: Inputs::open(specs, &input)?, config, splitter })
    }

    /// What is read.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Counts the pieces of one unit's documents.
    fn count(&self, unit: usize, work: &Work<'_>) -> Result<Counts> {
        let mut words = WordCounts::default();
        let mut trained: Vec<SourceCounts> = vec![SourceCounts::default(); self.sources()];
        let map = |batch: Batch| self.count_batch(&batch);
        let sink = |(source, counts, more): (usize, SourceCounts, WordCounts)| {
            trained[source].add(&counts);
            words.absorb(more);
            work.require_memory(words.memory(), "the table of distinct words")
        };
        let mut counts = self.inputs.read(unit, Columns::Text, work, map, sink)?;
        for (name, trained) in self.inputs.sources().iter().zip(&trained) {
            if trained != &SourceCounts::default() {
                let counts = counts.source(name);
                counts.add(trained);
                counts.held_out = 0; // none of those "out" is
            }
        }
        words.write(&work.path(WORDS))?;
        Ok(counts)
    }

    fn sources(&self) -> usize {
        self.inputs.sources().len()
    }

    /// What one batch adds: its source, what happened to its documents, its pieces.
    fn count_batch(&self, batch: &Batch) -> Result<(usize, SourceCounts, WordCounts)> {
        let mut counts = SourceCounts::default();
        let mut words = WordCounts::default();
        for (text, held_out) in batch.texts().iter().zip(batch.held_out()) {
            let text = text.expect("a null text is a reject, which no batch holds");
            if held_out == Some(true) {
                counts.drop_document(HELD_OUT);
                continue;
            }
            counts.documents_out += 1;
            counts.bytes_out += text.len() as u64;
            self.splitter.pieces(text, |piece| {
                words.add(piece, 1);
                Ok(())
            })?;
        }
        Ok((batch.source, counts, words))
    }

    /// Sums the tables and learns the merges.
    fn merge(&self, work: &Work<'_>) -> Result<Counts> {
        let mut words = WordCounts::default();
        for unit in 0..work.published.units("count") {
            words.read(&work.published.dir("count", unit).join(WORDS))?;
            work.require_memory(words.memory(), "the table of distinct words")?;
        }
        if words.is_empty() {
            let message = "there is no text to train a tokenizer on";
            let hint = "every document was empty, held out (`holdout`) or rejected";
            return Err(Error::failed(message).with_hint(hint));
        }
        let needed = words.memory() + words.piece_bytes() * learn::MEMORY_PER_BYTE;
        work.require_memory(needed, &format!("learning from {} distinct words", words.len()))?;
        let pool = ThreadPoolBuilder::new().num_threads(work.threads).build();
        let pool = pool.map_err(|error| Error::failed(format!("no threads: {error}")))?;
        let file = pool.install(|| learn(&words, &self.config))?;
        io::write(&work.path(TOKENIZER_JSON), &file)?;
        let TokenizerConfig { special_tokens, end_of_text, .. } = &self.config;
        let roles = format::tokenizer_config_json(special_tokens, end_of_text.as_deref());
        io::write(&work.path(TOKENIZER_CONFIG_JSON), &roles)?;
        work.advance(self.inputs.text_bytes());
        let mut counts = Counts::default();
        counts.add_extra("distinct_words", words.len() as u64);
        counts.add_extra("vocabulary", learn::vocabulary_size(&file));
        Ok(counts)
    }
}

impl Stage for TokenizerTrain {
    fn name(&self) -> &'static str {
        "tokenizer"
    }

    fn version(&self) -> u32 {
        1
    }

    fn config(&self) -> Value {
        let mut config = self.inputs.config_json();
        let own = serde_json::to_value(&self.config).expect("the configuration is plain data");
        if let (Value::Object(all), Value::Object(own)) = (&mut config, own) {
            all.extend(own);
            all.insert("unicode_version".into(), split::UNICODE_VERSION.into());
        }
        config
    }

    fn inputs(&self) -> Vec<InputRecord> {
        self.inputs.records()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.inputs.paths()
    }

    fn notices(&self) -> Vec<String> {
        self.inputs.notices()
    }

    fn needs(&self, threads: usize) -> Needs {
        let words = words::bytes_expected(self.inputs.text_bytes());
        let reading = self.inputs.needs(threads);
        let memory = reading.memory.max(words * learn::MEMORY_PER_BYTE);
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
}
