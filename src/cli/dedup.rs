//! `dedup`: what can be typed of it beside the options of every stage of text.
//!
//! In → `argv`; out → keys of the stage. What is computed lives in [`crate::dedup`].

use clap::Args;
use toml::Value;

use super::args::{Flags, TextFlags, list, put};
use crate::base::config::Table;

/// Flags of `dedup`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Duplicates")]
pub struct DedupFlags {
    /// exact (equal but for case and white space), minhash (nearly equal), or both; empty texts
    /// are no duplicates of each other [default: exact,minhash]
    #[arg(long, value_name = "A,B")]
    method: Option<String>,
    /// Words a shingle: runs of letters, digits and `_`, lower-cased; in scripts without spaces
    /// between words (Chinese, Japanese, Thai, Khmer, Burmese, …) each letter is one [default: 5]
    #[arg(long, value_name = "N")]
    ngram: Option<u32>,
    /// Bands of a signature [default: 14]
    #[arg(long, value_name = "N")]
    bands: Option<u32>,
    /// Rows a band [default: 8]
    #[arg(long, value_name = "N")]
    rows: Option<u32>,
    /// Exact Jaccard from which a candidate is dropped, or `off` [default: 0.8]
    #[arg(long, value_name = "SHARE")]
    verify: Option<String>,
    /// Which copy stays: first, longest, or the greatest of a column of numbers or times,
    /// max:COLUMN (of JSON Lines: max:metadata.FIELD) [default: first]
    #[arg(long, value_name = "POLICY")]
    keep: Option<String>,
    #[command(flatten)]
    text: TextFlags,
}

impl Flags for DedupFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "method", self.method.as_deref().map(list));
        put(keys, "ngram", self.ngram.map(i64::from));
        put(keys, "bands", self.bands.map(i64::from));
        put(keys, "rows", self.rows.map(i64::from));
        let number = |text: &String| text.parse().map_or(Value::from(text.as_str()), Value::Float);
        put(keys, "verify", self.verify.as_ref().map(number));
        put(keys, "keep", self.keep.clone());
        self.text.fill(keys);
    }
}
