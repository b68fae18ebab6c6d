//! `dataprep classifier train`: texts that are wanted and texts that are not → a fastText model.
//!
//! In → arguments; out → the model's file and its report on a screen. What is computed lives in
//! [`crate::classifier`].

use std::io::Write;

use serde_json::json;

use super::Commands;
use super::args::ClassifierArgs;
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::progress::Progress;
use crate::base::size::Bytes;
use crate::classifier::{self, Settings};
use crate::fasttext::train::TrainSettings;
use crate::pipeline::registry;
use crate::source::{InputConfig, Inputs};

impl Commands<'_> {
    /// `classifier train`
    pub(super) fn train_classifier(&self, args: &ClassifierArgs) -> Result<()> {
        for (name, share) in [("--held-out", args.held_out), ("--keep", args.keep)] {
            if !(share > 0.0 && share < 1.0) {
                let message = format!("`{name}` is a share between 0 and 1, not {share}");
                return Err(Error::config(message));
            }
        }
        let defaults = InputConfig::default();
        let config = InputConfig {
            text_column: args.text_column.clone().unwrap_or(defaults.text_column.clone()),
            limit_documents: args.limit_documents,
            ..defaults
        };
        let open = |specs: &[String]| Inputs::open(&registry::specs(specs)?, &config);
        let (positive, negative) = (open(&args.positive)?, open(&args.negative)?);
        let settings = Settings {
            train: TrainSettings {
                dimensions: args.dimensions,
                epochs: args.epochs,
                word_ngrams: args.word_ngrams,
                seed: args.seed,
                ..TrainSettings::default()
            },
            held_out: args.held_out,
            keep: args.keep,
        };
        for notice in positive.notices().iter().chain(&negative.notices()) {
            self.printer.warning(notice);
        }
        if self.shared.dry_run {
            let bytes = Bytes(positive.text_bytes() + negative.text_bytes());
            self.printer.result(&format!("would train on {bytes} → {}", args.out.display()));
            self.printer.record(&json!({"type": "summary", "dry_run": true}));
            return Ok(());
        }
        // Where it cannot be written is known before the work; the file appears when it is whole.
        let temporary = args.out.with_added_extension("partial");
        let mut file = io::create(&temporary)?;
        let progress = Progress::new(self.printer.progress_style());
        let resources = (self.threads(), self.memory().0);
        let (model, report) =
            classifier::train(&positive, &negative, &settings, resources, &progress)?;
        let written = model.write(&mut file).and_then(|()| file.flush());
        written.map_err(Error::io("write", &temporary))?;
        io::rename(&temporary, &args.out)?;
        self.printer.result(&format!("{report}\nwrote {}", args.out.display()));
        let mut record = serde_json::to_value(&report).expect("plain data");
        record["type"] = "summary".into();
        self.printer.record(&record);
        Ok(())
    }
}
