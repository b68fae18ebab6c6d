//! `export`: what can be typed of it beside its input.
//!
//! In → `argv`; out → keys of the stage, and where the shards of a mix may lie. What is computed
//! lives in `export` (models) and [`crate::interop`] (tokens).

use std::path::PathBuf;

use clap::Args;

use super::Commands;
use super::args::{Flags, StageArgs, put};
use super::stage::flags;
use crate::base::{config::Table, error::Result};
use crate::pipeline::request::Training;

/// Flags of `export`. IN is a run or one of its checkpoints, token shards, or a mix.
#[derive(Args, Debug)]
#[command(next_help_heading = "Form")]
pub struct ExportFlags {
    /// Of a run: hf (Hugging Face's form, which `transformers` reads), gguf (llama.cpp's), peft
    /// (the adapters of a run with `[lora]`). Of shards or a mix: nanogpt, megatron, mds, litdata,
    /// hf-datasets, numpy [default: hf]
    #[arg(long, value_name = "FORM")]
    to: Option<String>,
    /// Type of a model's weights: f32, bf16, f16; for gguf also q8_0, q4_0 [default: f32]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// The checkpoint of this step [default: the latest]
    #[arg(long, value_name = "STEP")]
    step: Option<u32>,
    /// The running average of a run's weights (`train.ema`) in their place
    #[arg(long)]
    ema: bool,
    /// Tokens of a row, for a mix as mds or hf-datasets; litdata's chunks then hold whole ones
    #[arg(long, value_name = "N")]
    sequence: Option<u32>,
    /// Where else the shards of a mix may lie
    #[arg(long, value_name = "DIR")]
    data: Vec<PathBuf>,
}

impl Commands<'_> {
    /// `export`
    pub(super) fn export(&self, args: &StageArgs<ExportFlags>) -> Result<()> {
        let keys = flags(&args.flags, &args.config);
        let out = args.out.as_deref();
        let mut request = self.request("export", args.inputs.clone(), out, &args.config, keys)?;
        request.training = Training { data: args.flags.data.clone(), ..Training::default() };
        self.one(&request)
    }
}

impl Flags for ExportFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "to", self.to.clone());
        put(keys, "dtype", self.dtype.clone());
        put(keys, "ema", self.ema.then_some(true));
        put(keys, "step", self.step.map(i64::from));
        put(keys, "sequence", self.sequence.map(i64::from));
    }
}
