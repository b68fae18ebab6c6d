//! Adapters in the form of `peft`: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! In → the adapters of a checkpoint, their configuration; out → tensors under `peft`'s names,
//! which are ours behind `base_model.model.`, and the bytes of its configuration.
//! `PeftModel.from_pretrained (base, DIR)` computes what the run computed
//! (`tests/golden/make_peft.py`). Pure but for the file's header.

use std::path::Path;

use serde_json::json;

use super::weights::Planned;
use crate::base::error::{Error, Result};
use crate::runtime::{
    checkpoint::TrainState,
    model::{LoraConfig, trained_shapes},
    pretrained::Class,
    tensors,
};

/// The names of the files.
pub const MODEL: &str = "adapter_model.safetensors";
pub const CONFIG: &str = "adapter_config.json";

/// What `peft` puts before the name of a module.
const PREFIX: &str = "base_model.model.";

/// The adapters of a checkpoint.
///
/// # Errors
/// Config: the run trained the whole model, or `peft`'s names of its maps are others.
pub fn adapters(state: &TrainState, class: Class) -> Result<&LoraConfig> {
    let Some(lora) = &state.lora else {
        return Err(Error::config("the run trained the whole model and has no adapters")
            .with_hint("`--to hf` writes the model; `[lora]` trains adapters"));
    };
    if class.has_our_names() {
        return Ok(lora);
    }
    let (name, _) = class.names();
    Err(Error::config(format!("`peft` has no place for these adapters: {name} joins the maps"))
        .with_hint("`--to hf` writes the model with the adapters taken up"))
}

/// The tensors of the file at `path`, by rising name.
///
/// # Errors
/// Damaged: a tensor that is missing, of another shape, or none of the adapters'.
pub fn plan(path: &Path, state: &TrainState) -> Result<Vec<Planned>> {
    let expected = trained_shapes(&state.model, state.lora.as_ref());
    let mut places = tensors::places(path)?;
    places.sort_by(|one, other| one.name.cmp(&other.name));
    let found = places.iter().map(|place| (&place.name, &place.shape));
    if !found.eq(expected.iter()) {
        let message = "its tensors are not the adapters of the run";
        return Err(Error::damaged_artifact(path, None, message));
    }
    let planned = places.into_iter().map(|place| Planned {
        name: format!("{PREFIX}{}", place.name),
        shape: place.shape.clone(),
        sources: vec![place],
        turned: false,
    });
    Ok(planned.collect())
}

/// The bytes of `adapter_config.json`; `base` is the name of the model that the run began with.
pub fn config(lora: &LoraConfig, base: Option<&str>) -> Vec<u8> {
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "target_modules": lora.targets,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "modules_to_save": null,
        "use_rslora": false,
        "use_dora": false,
    });
    let mut bytes = serde_json::to_vec_pretty(&config).expect("names and numbers are JSON");
    bytes.push(b'\n');
    bytes
}
