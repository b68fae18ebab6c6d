//! Makes a quality classifier of texts that are wanted and texts that are not.
//!
//! In → two sides of inputs, `positive` and `negative` (raw files or corpora); out → an artifact:
//! `model.bin`, a fastText model, and `report.json`, a [`Report`]: how well it does on texts that
//! were kept out of training, and the thresholds that keep a wanted share. Method: fastText's
//! supervised model with DCLM's settings (word pairs; arXiv 2406.11794, 4.4), as
//! [`crate::fasttext::train`] makes it; texts are kept out by a hash of their bytes. The lines of
//! a text are joined by spaces, as DCLM's filter does before it asks. Invariants: the model
//! depends on texts, their order and the settings; in = out + rejected + dropped (`held_out`,
//! `kept_out`), where "out" trained the model. Memory: [`Trainer::memory`] and the texts kept out;
//! refused with the number where that is more than allowed. Cost: about a core-second for each
//! million words and epoch.
//!
//! [`Trainer::memory`]: crate::fasttext::train::Trainer::memory

pub mod config;
mod report;
mod run;

pub use config::ClassifierConfig;
pub use report::{HeldOutReport, Report, ThresholdReport};
pub use run::{ClassifierTrain, MODEL, REPORT};
