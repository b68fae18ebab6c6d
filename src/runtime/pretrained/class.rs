//! Which class of `transformers` computes a shape exactly, and the names of its tensors there.
//!
//! In → [`ModelConfig`]; out → [`Class`], or every reason why none does; a tensor's name and those
//! of ours that it is made of. Llama's, Qwen's and Gemma's names are ours. GPT-2's are its own, and
//! its matrices are transposed ([inputs, outputs], `Conv1D`), those of queries, keys and values
//! joined in one. What only affects training (dropout, z-loss, initial weights) does not count.

use crate::runtime::model::{
    ModelConfig, PLACES,
    knobs::{Activation, Bias, Norm, Positions},
};

/// A class of `transformers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Gemma,
    Gpt2,
}

impl Class {
    /// The class for `model`.
    ///
    /// # Errors
    /// Every property of the shape that no class has.
    pub fn of(model: &ModelConfig) -> Result<Class, Vec<String>> {
        let reasons: Vec<String> = unheld(model).into_iter().map(str::to_owned).collect();
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let candidates =
            [Class::Llama, Class::Mistral, Class::Qwen2, Class::Qwen3, Class::Gemma, Class::Gpt2];
        let found = candidates.into_iter().find(|class| class.holds(model));
        found.ok_or_else(|| {
            let ModelConfig { norm, positions, activation, bias, .. } = model;
            vec![format!(
                "no class has `norm` {norm:?}, `positions` {positions:?}, `activation` \
                 {activation:?}, `bias` {bias:?}, `qk_norm` {} and `window` {} together",
                model.qk_norm, model.window
            )]
        })
    }

    /// Whether the class's tensors are those of our checkpoints, unchanged.
    pub fn has_our_names(self) -> bool {
        self != Class::Gpt2
    }

    /// Its name, and its `model_type`.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Class::Llama => ("LlamaForCausalLM", "llama"),
            Class::Mistral => ("MistralForCausalLM", "mistral"),
            Class::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
            Class::Qwen3 => ("Qwen3ForCausalLM", "qwen3"),
            Class::Gemma => ("GemmaForCausalLM", "gemma"),
            Class::Gpt2 => ("GPT2LMHeadModel", "gpt2"),
        }
    }

    fn holds(self, model: &ModelConfig) -> bool {
        let ModelConfig { norm, positions, activation, bias, qk_norm, window, .. } = *model;
        if self == Class::Gpt2 {
            let own_heads = model.kv_heads() == model.n_head;
            let own_width = model.n_head * model.head_dim() == model.d_model;
            return (norm, positions) == (Norm::LayerNorm, Positions::Learned)
                && (activation, bias) == (Activation::Gelu, Bias::All)
                && (own_heads && own_width && model.tied && !qk_norm && window == 0)
                && !model.scale_embedding;
        }
        if self == Class::Gemma {
            return (norm, positions) == (Norm::Gemma, Positions::Rope)
                && (activation, bias) == (Activation::GeGlu, Bias::None)
                && (model.tied && model.scale_embedding && !qk_norm && window == 0);
        }
        let like_llama = (norm, positions) == (Norm::RmsNorm, Positions::Rope)
            && activation == Activation::SwiGlu
            && !model.scale_embedding;
        like_llama
            && match self {
                Class::Llama => bias != Bias::Qkv && !qk_norm && window == 0,
                Class::Mistral => {
                    let all = model.window_pattern.is_empty();
                    bias == Bias::None && !qk_norm && window > 0 && all
                }
                Class::Qwen2 => bias == Bias::Qkv && !qk_norm && model.d_head == 0,
                Class::Qwen3 => bias == Bias::None && qk_norm,
                Class::Gemma | Class::Gpt2 => false,
            }
    }

    /// The tensors of a shape in this class: the class's name of each, our tensors that it is made
    /// of, concatenated along the rows, and whether the result is then transposed.
    pub fn tensors(self, ours: impl Iterator<Item = String>) -> Vec<(String, Vec<String>, bool)> {
        if self != Class::Gpt2 {
            return ours.map(|name| (name.clone(), vec![name], false)).collect();
        }
        let mut tensors: Vec<_> = ours.filter_map(|name| of_gpt2(&name)).collect();
        tensors.sort();
        tensors
    }
}

/// What the shape computes and no class does.
fn unheld(model: &ModelConfig) -> Vec<&'static str> {
    let all = [
        (model.logit_softcap > 0.0, "`logit_softcap` bends the logits"),
        (model.attention_softcap > 0.0, "`attention_softcap` bends attention's scores"),
        (model.parallel, "`parallel` blocks share one norm"),
        (![0.0, 1.0].contains(&model.residual_scale), "`residual_scale` weighs the branches"),
        (model.width_ratio() != 1.0, "`mup_base_width` scales the logits"),
        (model.activation == Activation::Relu2, "`activation` is relu2"),
    ];
    all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, reason)| reason).collect()
}

/// GPT-2's tensor whose first part is ours; `None` where ours is a later part of one.
fn of_gpt2(name: &str) -> Option<(String, Vec<String>, bool)> {
    let whole =
        |theirs: &str| Some((format!("transformer.{theirs}"), vec![name.to_owned()], false));
    match name {
        "model.embed_tokens.weight" => return whole("wte.weight"),
        PLACES => return whole("wpe.weight"),
        _ => {}
    }
    if let Some(end) = name.strip_prefix("model.norm.") {
        return whole(&format!("ln_f.{end}"));
    }
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, end) = part.rsplit_once('.')?;
    let theirs = match part {
        "input_layernorm" => "ln_1",
        "post_attention_layernorm" => "ln_2",
        "self_attn.q_proj" => "attn.c_attn",
        "self_attn.o_proj" => "attn.c_proj",
        "mlp.up_proj" => "mlp.c_fc",
        "mlp.down_proj" => "mlp.c_proj",
        _ => return None,
    };
    let sources = match part {
        "self_attn.q_proj" => ["q_proj", "k_proj", "v_proj"]
            .map(|of| format!("model.layers.{layer}.self_attn.{of}.{end}"))
            .to_vec(),
        _ => vec![name.to_owned()],
    };
    let turned = end == "weight" && !theirs.starts_with("ln_");
    Some((format!("transformer.h.{layer}.{theirs}.{end}"), sources, turned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::model::shapes;

    fn shape(text: &str) -> ModelConfig {
        let config: ModelConfig = toml::from_str(text).unwrap();
        let config = ModelConfig { vocab_size: 99, ..config };
        config.validate().unwrap();
        config
    }

    const GPT2: &str = "norm = 'layernorm'\npositions = 'learned'\ncontext = 64\nbias = 'all'\n\
                        activation = 'gelu'\nn_kv_head = 0";

    #[test]
    fn each_preset_family_has_its_class_and_what_has_none_says_why() {
        for (text, class) in [
            ("", Class::Llama),
            ("bias = 'all'\ntied = false", Class::Llama),
            ("window = 8", Class::Mistral),
            ("bias = 'qkv'\nwindow = 8\nwindow_pattern = 'LS'", Class::Qwen2),
            ("qk_norm = true\nd_head = 48", Class::Qwen3),
            ("norm = 'gemma'\nactivation = 'geglu'\nscale_embedding = true", Class::Gemma),
            (GPT2, Class::Gpt2),
            ("dropout = 0.1\nz_loss = 1e-4\nzero_init_projections = true", Class::Llama),
        ] {
            assert_eq!(Class::of(&shape(text)), Ok(class), "{text}");
        }
        for (text, part) in [
            ("logit_softcap = 30.0\nparallel = true", "parallel"),
            ("activation = 'relu2'", "relu2"),
            ("norm = 'layernorm'", "LayerNorm"),
            ("residual_scale = 0.5", "residual_scale"),
        ] {
            let reasons = Class::of(&shape(text)).unwrap_err().join("; ");
            assert!(reasons.contains(part), "{reasons}");
        }
    }

    #[test]
    fn gpt2_has_every_tensor_of_ours_once() {
        let ours = shapes(&shape(GPT2));
        let theirs = Class::Gpt2.tensors(ours.keys().cloned());
        let mut used: Vec<&String> = theirs.iter().flat_map(|(_, sources, _)| sources).collect();
        used.sort();
        assert!(used.iter().copied().eq(ours.keys()));
        // wte, wpe, ln_f twice; twelve a block.
        assert_eq!(theirs.len(), 4 + 12 * 6);
        let turned = theirs.iter().filter(|(_, _, turned)| *turned).count();
        assert_eq!(turned, 4 * 6);
    }
}
