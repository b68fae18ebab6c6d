//! The stage: shards or a mix → files for another trainer, one unit a split.
//!
//! In → an opened artifact; phase `tokens`: a unit for the training split, and one for the held-out
//! documents if there are any. Each writes its files from beginning to end.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    config::{TokenExportConfig, TokenForm},
    forms::{Target, Writer, card},
    read::{Split, Tokens},
};
use crate::{
    artifact::{
        counts::Counts,
        manifest::Manifest,
        record::{FileCounts, InputRecord, Kind},
        stage::{Needs, Phase, Plan, Publish, Stage, Unit, UnitPlan, Work},
        summary::Summary,
    },
    base::{
        error::{Error, Result},
        io,
        size::Count,
    },
};

const README: &str = "README.md";

/// The block length in the printed line that says how LitData reads the tokens, where no `sequence`
/// was asked for; LitData cuts chunks at any length.
const BLOCK_SHOWN: u64 = 1024;

/// `export` of shards or a mix.
pub struct TokenExport {
    config: TokenExportConfig,
    tokens: Tokens,
    input: InputRecord,
    splits: Vec<Split>,
}

impl TokenExport {
    /// Opens the artifact; `data`: where else the shards of a mix may lie.
    ///
    /// # Errors
    /// [`Error::Config`] for what the form cannot hold.
    pub fn open(path: &Path, config: TokenExportConfig, data: &[PathBuf]) -> Result<TokenExport> {
        config.check()?;
        let tokens = Tokens::open(path, data)?;
        let form = config.to.name();
        if config.to.needs_end_of_text() && tokens.end_of_text().is_none() {
            let message =
                format!("the shards have no end-of-text, and `{form}` has no other border");
            return Err(Error::config(message)
                .with_hint("tokenize with `--set end_of_text=TOKEN`, or write `--to numpy`"));
        }
        let is_mix = matches!(tokens, Tokens::Mix(_));
        if !is_mix && !data.is_empty() {
            return Err(Error::config("`--data` says where the shards of a mix lie")
                .with_hint("these are shards: leave it out"));
        }
        match (is_mix && config.to.has_samples(), config.sequence) {
            (true, None) => {
                let message = format!("`{form}` of a mix holds rows: how long is one?");
                return Err(Error::config(message)
                    .with_hint("say it as the model's context, `--sequence 1024`"));
            }
            (false, Some(_)) if config.to.has_samples() => {
                let message = "shards are written document by document, not in rows";
                return Err(Error::config(message)
                    .with_hint("leave `--sequence` out, or make a `mix` and name that"));
            }
            _ => (),
        }
        let mut splits = vec![Split::Training];
        if tokens.size(Split::Validation).0 > 0 {
            splits.push(Split::Validation);
        }
        Ok(TokenExport { config, tokens, input: InputRecord::artifact(path)?, splits })
    }

    fn target<'a>(&'a self, split: Split, directory: &'a Path) -> Target<'a> {
        let (documents, tokens) = self.tokens.size(split);
        let is_stream = self.is_stream(split);
        let ends = !is_stream && self.tokens.end_of_text().is_some();
        Target {
            directory,
            split,
            width: self.tokens.width(),
            documents,
            tokens: if ends { tokens + documents } else { tokens },
            config: &self.config,
            rows: is_stream && self.config.sequence.is_some(),
        }
    }

    /// Whether a split is the training stream of a mix.
    fn is_stream(&self, split: Split) -> bool {
        split == Split::Training && matches!(self.tokens, Tokens::Mix(_))
    }

    fn write(&self, split: Split, work: &Work<'_>) -> Result<()> {
        let target = self.target(split, &work.dir);
        let width = target.width.bytes();
        let written = match Writer::create(target)? {
            Writer::Pieces(mut writer) => {
                self.tokens.pieces(split, work.threads, |piece| {
                    work.advance(piece.tokens.len() as u64 * width);
                    writer.append(piece)
                })?;
                writer.finish()?
            }
            Writer::Samples(mut writer) => {
                let sequence = self.config.sequence;
                self.tokens.samples(split, sequence, work.threads, |sample| {
                    work.advance(sample.tokens.len() as u64 * width);
                    writer.push(sample)
                })?;
                writer.finish()?
            }
        };
        for file in written {
            let counts = FileCounts {
                rows: None,
                documents: Some(file.documents),
                tokens: Some(file.tokens),
            };
            work.describe(&file.name, counts);
        }
        Ok(())
    }
}

impl Stage for TokenExport {
    fn name(&self) -> &'static str {
        "export"
    }

    fn kind(&self) -> Kind {
        Kind::Tokens
    }

    fn version(&self) -> u32 {
        1
    }

    fn config(&self) -> Value {
        let mut config = serde_json::to_value(&self.config).expect("plain data");
        let (name, id) = self.tokens.end_of_text().unzip();
        config["end_of_text"] = name.into();
        config["end_of_text_id"] = id.into();
        config["vocab_size"] = self.tokens.vocab_size().ok().into();
        config
    }

    fn inputs(&self) -> Vec<InputRecord> {
        vec![self.input.clone()]
    }

    fn needs(&self, _threads: usize) -> Needs {
        let width = self.tokens.width().bytes();
        let targets = self.splits.iter().map(|&split| self.target(split, Path::new("")));
        let (documents, tokens) = targets.fold((0, 0), |(documents, tokens), target| {
            (documents + target.documents, tokens + target.tokens)
        });
        let memory = self.config.shard_bytes.0 * 2 + documents * 4 + self.tokens.window_bytes();
        Needs { documents: Some(documents), memory, disk: tokens * width, fetches: None }
    }

    fn plan(&self) -> Result<Plan> {
        let width = self.tokens.width().bytes();
        let bytes = |&split: &Split| self.tokens.size(split).1 * width;
        let tokens = Phase {
            name: "tokens",
            units: self.splits.iter().map(|split| UnitPlan::single(bytes(split))).collect(),
            publish: Publish::AsIs,
            counts: false,
        };
        let card = Phase {
            name: "card",
            units: vec![UnitPlan::single(0)],
            publish: Publish::AsIs,
            counts: false,
        };
        let has_card = self.config.to == TokenForm::HfDatasets;
        let phases = if has_card { vec![tokens, card] } else { vec![tokens] };
        Ok(Plan { phases, holdout: None })
    }

    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts> {
        match unit.phase {
            0 => self.write(self.splits[unit.index], work)?,
            1 => {
                let is_mix = matches!(self.tokens, Tokens::Mix(_));
                let card = card(self.splits.len() > 1, is_mix);
                io::write(&work.path(README), card.as_bytes())?;
            }
            phase => panic!("phase {phase} of 2"),
        }
        Ok(Counts::default())
    }

    fn summary(&self, manifest: &Manifest, out: &Path) -> Result<Box<dyn Summary>> {
        let [training, validation] = [Split::Training, Split::Validation].map(|split| {
            let is_written = self.splits.contains(&split);
            let target = self.target(split, Path::new(""));
            if is_written { (target.documents, target.tokens) } else { (0, 0) }
        });
        let (to, width) = (self.config.to, super::forms::dtype(self.tokens.width()));
        let fingerprint = manifest.fingerprint.to_string();
        let out = out.to_owned();
        let sequence = self.config.sequence;
        Ok(Box::new(TokenExportSummary {
            to,
            sequence,
            training,
            validation,
            width,
            fingerprint,
            out,
        }))
    }
}

/// What was written.
#[derive(Debug)]
struct TokenExportSummary {
    to: TokenForm,
    /// Tokens of a row, where they were asked for.
    sequence: Option<u64>,
    training: (u64, u64),
    validation: (u64, u64),
    width: &'static str,
    fingerprint: String,
    out: PathBuf,
}

impl Summary for TokenExportSummary {
    fn head(&self) -> String {
        "What other tools can read".to_owned()
    }

    fn line(&self) -> String {
        let [(documents, tokens), (_, held_out)] = [self.training, self.validation]
            .map(|(documents, tokens)| (Count(documents).of("document"), Count(tokens)));
        format!("{documents}, {tokens} tokens; validation {held_out} tokens")
    }

    fn record(&self) -> Value {
        json!({
            "documents": self.training.0, "tokens": self.training.1,
            "validation_documents": self.validation.0, "validation_tokens": self.validation.1,
            "fingerprint": self.fingerprint,
        })
    }
}

impl fmt::Display for TokenExportSummary {
    /// Shows how the files are opened.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (out, width) = (self.out.display(), self.width);
        match self.to {
            TokenForm::Nanogpt => {
                writeln!(f, "  np.memmap(\"{out}/train.bin\", dtype=np.{width}, mode=\"r\")")
            }
            TokenForm::Megatron => writeln!(f, "  IndexedDataset(\"{out}/train\")"),
            TokenForm::Mds => writeln!(f, "  StreamingDataset(local=\"{out}\", split=\"train\")"),
            TokenForm::Litdata => writeln!(
                f,
                "  StreamingDataset(\"{out}/train\", item_loader=TokensLoader(block_size={}))",
                self.sequence.unwrap_or(BLOCK_SHOWN)
            ),
            TokenForm::HfDatasets => writeln!(f, "  load_dataset(\"{out}\")"),
            TokenForm::Numpy => writeln!(f, "  np.load(\"{out}/train.npy\", mmap_mode=\"r\")"),
        }
    }
}
