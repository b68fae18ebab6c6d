//! `mix`: what can be typed of it beside its inputs.
//!
//! In → `argv`; out → keys of the stage. What is computed lives in [`crate::mix`].

use clap::Args;

use super::Commands;
use super::args::{Flags, StageArgs, put};
use super::stage::flags;
use crate::base::{config::Table, error::Result};
use crate::mix::{MixSpec, Sweep};
use crate::pipeline::{registry, request::Request};

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
    /// concat: documents one behind the other; best_fit: moved a little, so that the rows of
    /// `--sequence` tokens cut through few of them [default: concat]
    #[arg(long, value_name = "HOW")]
    packing: Option<String>,
    /// Tokens of a row, for best_fit: the model's context
    #[arg(long, value_name = "N")]
    sequence: Option<u32>,
    /// Write the stream itself as well, in order: for disks that seek slowly, or without shards
    #[arg(long)]
    materialize: bool,
    /// Texts of your own that are scored instead of the held-out documents: a corpus, a file or a
    /// folder; runs that are validated on equal texts compare, whatever their data and tokenizer
    #[arg(long, value_name = "PATH")]
    validation: Option<String>,
    /// A mix for each share of one source, as `web=0,0.1,0.3`, into OUT/web-0.1 and so on; the
    /// others keep their weights to one another, and every source its order; 0 leaves it out
    #[arg(long, value_name = "SOURCE=SHARES")]
    sweep: Option<Sweep>,
}

impl Commands<'_> {
    /// `mix`
    pub(super) fn mix(&self, args: &StageArgs<MixFlags>) -> Result<()> {
        let Some(sweep) = &args.flags.sweep else { return self.stage("mix", args) };
        let keys = flags(&args.flags, &args.config);
        let out = args.out.as_deref();
        let request = self.request("mix", args.inputs.clone(), out, &args.config, keys)?;
        let specs: Vec<MixSpec> = registry::specs(&request.inputs)?;
        for (name, specs) in sweep.mixes(&specs)? {
            let inputs = specs.iter().map(MixSpec::to_string).collect();
            let out = request.out.join(&name);
            self.one(&Request { name, inputs, out, ..request.clone() })?;
        }
        Ok(())
    }
}

impl Flags for MixFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "tokens", self.tokens.clone());
        put(keys, "bytes", self.bytes.clone());
        put(keys, "packing", self.packing.clone());
        put(keys, "validation", self.validation.clone());
        put(keys, "sequence", self.sequence.map(i64::from));
        put(keys, "materialize", self.materialize.then_some(true));
    }
}
