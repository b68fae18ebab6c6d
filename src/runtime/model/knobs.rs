//! The choices of a shape that are words: norm, positions, activation, biases, initialisation, type
//! of arithmetic.
//!
//! In → values of the table `[model]`; out → enums. The first of each is the default: Llama's.

use serde::{Deserialize, Serialize};

/// The norm before each branch, and before the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Root mean square, times a weight that begins at 1.
    #[default]
    RmsNorm,
    /// The same, times 1 + a weight that begins at 0: Gemma's.
    Gemma,
    /// Mean and variance, times a weight; with a bias where `bias = "all"`.
    LayerNorm,
}

/// How the model is told the position of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// Queries and keys are rotated by it.
    #[default]
    Rope,
    /// A learned row for each position is added to the embedding.
    Learned,
}

/// The activation between the two linear maps of a feed-forward layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// silu(gate) · up.
    #[default]
    SwiGlu,
    /// gelu(gate) · up.
    GeGlu,
    /// gelu(up).
    Gelu,
    /// max(up, 0)².
    Relu2,
}

impl Activation {
    /// Whether the layer has a gate beside `up`.
    pub fn is_gated(self) -> bool {
        matches!(self, Activation::SwiGlu | Activation::GeGlu)
    }
}

/// Which linear maps have a bias; all begin at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bias {
    #[default]
    None,
    /// Queries, keys and values: Qwen2's.
    Qkv,
    /// Every map but the head, and LayerNorm: GPT-2's.
    All,
}

/// How the deviation of initial weights follows from the shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// `init_std`, over √(2·n_layer) for projections into the residual stream (Radford et al.,
    /// *GPT-2*, 2019).
    #[default]
    Gpt2,
    /// `init_std` everywhere, as `transformers` initialises a Llama.
    Llama,
}

/// The type that matrix products are computed in. Parameters, moments, softmax, norms, the loss and
/// all sums are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// The device's own: f32 on a CPU, bf16 on a GPU.
    #[default]
    Auto,
    F32,
    /// Both factors rounded to bf16.
    Bf16,
}
