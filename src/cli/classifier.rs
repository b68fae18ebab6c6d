//! `classifier train`: texts that are wanted and texts that are not → a classifier.
//!
//! In → arguments, the inputs among them as keys; out → the stage's output and its summary. What is
//! computed lives in [`crate::classifier`].

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Commands;
use super::args::{ConfigArgs, Flags, TextFlags, put};
use super::stage::flags;
use crate::base::config::Table;
use crate::base::error::Result;

/// `dataprep classifier …`
#[derive(Subcommand, Debug)]
pub enum ClassifierCommand {
    /// Train a fastText model on texts that are wanted against texts that are not
    Train(ClassifierArgs),
}

/// Arguments of `classifier train`.
#[derive(Args, Debug)]
pub struct ClassifierArgs {
    /// Directory to write; appears when it is complete
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub flags: ClassifierFlags,
}

/// Flags of `classifier train`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Classifier")]
pub struct ClassifierFlags {
    /// Texts that are wanted: `[NAME=]PATH`; without `--positive` and `--negative`, the step of
    /// this stage in `dataprep.toml` runs
    #[arg(long, value_name = "IN", num_args = 1..)]
    positive: Vec<String>,
    /// Texts that are not
    #[arg(long, value_name = "IN", num_args = 1..)]
    negative: Vec<String>,
    /// Share of the texts kept out of training, to measure the model on [default: 0.2]
    #[arg(long, value_name = "SHARE")]
    held_out: Option<f64>,
    /// Share of the pool to keep: thresholds for it are reported [default: 0.1]
    #[arg(long, value_name = "SHARE")]
    keep: Option<f64>,
    /// Visits to each text [default: 5]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Numbers in a word's vector [default: 100]
    #[arg(long, value_name = "N")]
    dimensions: Option<u32>,
    /// Longest word n-gram [default: 2]
    #[arg(long, value_name = "N")]
    word_ngrams: Option<u32>,
    #[command(flatten)]
    text: TextFlags,
}

impl Flags for ClassifierFlags {
    fn fill(&self, keys: &mut Table) {
        let texts = |side: &[String]| (!side.is_empty()).then(|| side.to_vec());
        put(keys, "positive", texts(&self.positive));
        put(keys, "negative", texts(&self.negative));
        put(keys, "held_out", self.held_out);
        put(keys, "keep", self.keep);
        put(keys, "epochs", self.epochs.map(i64::from));
        put(keys, "dimensions", self.dimensions.map(i64::from));
        put(keys, "word_ngrams", self.word_ngrams.map(i64::from));
        self.text.fill(keys);
    }
}

impl Commands<'_> {
    /// `classifier train`, whose inputs are keys.
    pub(super) fn classifier(&self, args: &ClassifierArgs) -> Result<()> {
        let keys = flags(&args.flags, &args.config);
        let out = args.out.as_deref();
        let request = self.request("classifier", Vec::new(), out, &args.config, keys)?;
        self.one(&request)
    }
}
