//! A trained model for other tools: Hugging Face's form, or llama.cpp's.
//!
//! In → a run or one of its checkpoints; out → an artifact of kind `model`: `config.json`,
//! `model.safetensors` (in shards with an index where it is large), `generation_config.json`, the
//! tokenizer's files and a model card; one `model.gguf` with the card; or the adapters of a run
//! with `[lora]` as `peft` has them. **Method.** Weights are copied tensor by tensor from the
//! checkpoint's safetensors, converted where a smaller type is asked for; names and layouts are
//! Llama's already. What the card says is read from the run's records and from the manifests that
//! lead to the raw files. **Invariants.** `transformers` gives equal logits in F32
//! (`tests/golden/check_export.py`); equal checkpoint and configuration, equal bytes. Every weight
//! is held against the checkpoint's hash before it is copied. **Cost.** One reading and one writing
//! of the weights, 4 MiB at a time.
//!
//! Reading order: [`config`] what can be asked for, `run` the stage, `weights` (safetensors) and
//! `gguf` (llama.cpp), `peft` (adapters), `facts` what is known of the model, `card` how it is
//! said.

mod card;
mod config;
mod facts;
mod gguf;
mod peft;
mod run;
mod weights;

pub use config::{ExportConfig, Form, WeightType};
pub use run::Export;
