//! `mix`: what can be typed of it beside its inputs.
//!
//! In → `argv`; out → keys of the stage. What is computed lives in [`crate::mix`].

use clap::Args;

use super::args::{Flags, put};
use crate::base::config::Table;

/// Flags of `mix`. IN is `name=SHARDS[#source]:WEIGHT`; phases and limits are keys.
#[derive(Args, Debug)]
#[command(next_help_heading = "Shares")]
pub struct MixFlags {
    /// Tokens of the whole mix, as `1B`, or `all`: the most that repeats no source
    #[arg(long, value_name = "N", conflicts_with = "bytes")]
    tokens: Option<String>,
    /// Bytes of text instead, as `4GB`: every vocabulary then reads the same documents
    #[arg(long, value_name = "SIZE")]
    bytes: Option<String>,
}

impl Flags for MixFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "tokens", self.tokens.clone());
        put(keys, "bytes", self.bytes.clone());
    }
}
