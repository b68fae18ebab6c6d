//! `export`: what can be typed of it beside its input.
//!
//! In → `argv`; out → keys of the stage. What is computed lives in [`crate::export`].

use clap::Args;

use super::args::{Flags, put};
use crate::base::config::Table;

/// Flags of `export`. IN is a run, or one of its checkpoints.
#[derive(Args, Debug)]
#[command(next_help_heading = "Form")]
pub struct ExportFlags {
    /// hf: Hugging Face's form, which `transformers` reads; gguf: llama.cpp's [default: hf]
    #[arg(long, value_name = "FORM")]
    to: Option<String>,
    /// Type of the weights: f32, bf16, f16; for gguf also q8_0, q4_0 [default: f32]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
    /// The checkpoint of this step [default: the latest]
    #[arg(long, value_name = "STEP")]
    step: Option<u32>,
}

impl Flags for ExportFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "to", self.to.clone());
        put(keys, "dtype", self.dtype.clone());
        put(keys, "step", self.step.map(i64::from));
    }
}
