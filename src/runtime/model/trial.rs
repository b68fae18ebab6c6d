//! The small models that the tests of this folder use.
//!
//! In → keys that differ from the defaults; out → a model of three blocks, the same each time.

use super::{Model, ModelConfig};
use crate::runtime::device::Device;

/// A model with two query heads for each of two key heads.
pub fn model() -> Model {
    let config = ModelConfig {
        vocab_size: 131,
        d_model: 24,
        n_layer: 3,
        n_head: 4,
        n_kv_head: 2,
        d_ff: 40,
        init_std: 0.3,
        ..ModelConfig::default()
    };
    Model::new(&config, 5, &Device::cpu()).unwrap()
}

/// The same with some keys changed.
pub fn with(keys: &str) -> Model {
    let plain = toml::to_string(model().config()).unwrap();
    let mut table: toml::Table = plain.parse().unwrap();
    table.extend(keys.parse::<toml::Table>().unwrap());
    let config: ModelConfig = table.try_into().unwrap();
    Model::new(&config, 5, &Device::cpu()).unwrap()
}

/// Keys that between them reach every branch of the decoder.
pub const FORMS: [&str; 4] = [
    "",
    "window = 5\nwindow_pattern = 'SL'\nqk_norm = true\nd_head = 10",
    "positions = 'learned'\ncontext = 20\nnorm = 'layernorm'\nbias = 'all'\n\
     activation = 'gelu'",
    "logit_softcap = 2.0\nattention_softcap = 1.5\nparallel = true\nresidual_scale = 0.5\n\
     mup_base_width = 12\n\
     rope_scaling = { kind = 'linear', factor = 2.0 }",
];
