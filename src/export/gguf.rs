//! `model.gguf`: a model with its tokenizer in one file, as llama.cpp reads it.
//!
//! In → planned tensors, the shape, the vocabulary; out → one file. The format is GGUF version 3
//! (ggml's documentation of it): a head, typed keys, the list of tensors, then their bytes, each
//! aligned to 32. **Method.** Architecture `llama`, whose rotary
//! pairs are neighbours: rows of query and key projections, and their biases, go from (i, i + h/2)
//! to (2i, 2i + 1), as llama.cpp's `convert_hf_to_gguf.py` does (`LlamaModel.permute`); `qwen2` and
//! `qwen3`, whose pairs are ours. Norms and biases stay F32. Q8_0 (ggml, `quantize_row_q8_0_ref`):
//! blocks of 32 numbers, each an i8 times a scale of F16, the largest magnitude / 127. Q4_0
//! (`quantize_row_q4_0_ref`): the same with four bits a number, the scale the number of largest
//! magnitude / −8; the tables, which such rounding hurts most, are Q8_0. A matrix whose rows are no
//! multiple of 32 is F16 instead. **Cost.** One tensor in memory.

use std::{io::Write, path::Path};

use super::{
    config::WeightType,
    weights::{Planned, Told, check_range, each_chunk},
};
use crate::base::{
    error::{Error, Result},
    io,
};
use crate::runtime::{
    model::{ModelConfig, TABLES, knobs::Bias},
    pretrained::Class,
    tensors::{ElementType, encoded},
};
use crate::tokenizer::export::LlamaCppVocabulary;

const MAGIC: &[u8; 4] = b"GGUF";
const VERSION: u32 = 3;
const ALIGNMENT: u64 = 32;
/// Numbers in a block, and the bytes of a block in Q8_0 and Q4_0: a scale and the numbers.
const BLOCK: usize = 32;
const Q8_BYTES: u64 = 34;
const Q4_BYTES: u64 = 18;

/// The metadata that the file holds beside its tensors.
pub struct Head<'a> {
    pub name: &'a str,
    pub class: Class,
    pub model: &'a ModelConfig,
    pub context: usize,
    pub end_of_text: u32,
    pub vocabulary: &'a LlamaCppVocabulary,
}

/// Writes the file.
pub fn write(
    source: &Path,
    planned: &[Planned],
    dtype: WeightType,
    head: &Head<'_>,
    out: &Path,
    told: &dyn Told,
) -> Result<()> {
    let tensors: Vec<GgufTensor> =
        planned.iter().map(|planned| GgufTensor::new(planned, dtype)).collect();
    let mut bytes = head.bytes(dtype, tensors.len());
    let mut offset = 0u64;
    for tensor in &tensors {
        tensor.describe(offset, &mut bytes);
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
    let mut file = io::create(out)?;
    let mut write = |bytes: &[u8]| file.write_all(bytes).map_err(Error::io("write", out));
    write(&bytes)?;
    for tensor in &tensors {
        let mut numbers = Vec::with_capacity(tensor.planned.numbers() as usize);
        each_chunk(source, &tensor.planned.sources[0], told, &mut |chunk| {
            numbers.extend_from_slice(chunk);
            Ok(())
        })?;
        let mut bytes = tensor.encode(&numbers, head)?;
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
        write(&bytes)?;
    }
    file.flush().map_err(Error::io("write", out))
}

/// About how many bytes the tensors take.
pub fn bytes(planned: &[Planned], dtype: WeightType) -> u64 {
    planned.iter().map(|planned| GgufTensor::new(planned, dtype).bytes()).sum()
}

/// A tensor as GGUF has it.
struct GgufTensor<'a> {
    planned: &'a Planned,
    dtype: WeightType,
}

impl<'a> GgufTensor<'a> {
    fn new(planned: &'a Planned, asked: WeightType) -> GgufTensor<'a> {
        let columns = *planned.shape.last().expect("every tensor has a dimension");
        let dtype = match asked {
            _ if planned.shape.len() == 1 => WeightType::F32,
            WeightType::Q8 | WeightType::Q4 if !columns.is_multiple_of(BLOCK) => WeightType::F16,
            WeightType::Q4 if TABLES.contains(&planned.name.as_str()) => WeightType::Q8,
            asked => asked,
        };
        GgufTensor { planned, dtype }
    }

    fn bytes(&self) -> u64 {
        let numbers = self.planned.numbers();
        let whole = |element: ElementType| numbers * element.width() as u64;
        match self.dtype {
            WeightType::Q8 => numbers / BLOCK as u64 * Q8_BYTES,
            WeightType::Q4 => numbers / BLOCK as u64 * Q4_BYTES,
            WeightType::F32 => whole(ElementType::F32),
            WeightType::F16 => whole(ElementType::F16),
            WeightType::Bf16 => whole(ElementType::Bf16),
        }
    }

    /// Its entry in the list of tensors: name, dimensions from the innermost, type, offset.
    fn describe(&self, offset: u64, bytes: &mut Vec<u8>) {
        put_text(bytes, &name(&self.planned.name));
        let shape = &self.planned.shape;
        bytes.extend((shape.len() as u32).to_le_bytes());
        for size in shape.iter().rev() {
            bytes.extend((*size as u64).to_le_bytes());
        }
        let kind: u32 = match self.dtype {
            WeightType::F32 => 0,
            WeightType::F16 => 1,
            WeightType::Q4 => 2,
            WeightType::Q8 => 8,
            WeightType::Bf16 => 30,
        };
        bytes.extend(kind.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }

    fn encode(&self, numbers: &[f32], head: &Head<'_>) -> Result<Vec<u8>> {
        let name = &self.planned.name;
        let width: usize = self.planned.shape[1..].iter().product();
        let as_neighbours = head.class == Class::Llama;
        let turned = if as_neighbours && name.contains("self_attn.q_proj.") {
            Some(permuted(numbers, head.model.n_head, width))
        } else if as_neighbours && name.contains("self_attn.k_proj.") {
            Some(permuted(numbers, head.model.kv_heads(), width))
        } else {
            None
        };
        let numbers = turned.as_deref().unwrap_or(numbers);
        if self.dtype == WeightType::F16 {
            check_range(name, numbers)?;
        }
        Ok(match (self.dtype, self.dtype.element()) {
            (_, Some(element)) => encoded(numbers, element),
            (WeightType::Q4, None) => numbers.chunks(BLOCK).flat_map(block_of_4_bits).collect(),
            (_, None) => numbers.chunks(BLOCK).flat_map(block).collect(),
        })
    }
}

/// A block of Q8_0.
fn block(numbers: &[f32]) -> Vec<u8> {
    let largest = numbers.iter().fold(0f32, |largest, number| largest.max(number.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut bytes = encoded(&[scale], ElementType::F16);
    bytes.extend(numbers.iter().map(|number| (number * inverse).round() as i8 as u8));
    bytes
}

/// A block of Q4_0: a byte holds number i in its lower half, and number i + 16 in its upper.
fn block_of_4_bits(numbers: &[f32]) -> Vec<u8> {
    let by_magnitude =
        |largest: f32, &number: &f32| if number.abs() > largest.abs() { number } else { largest };
    let scale = numbers.iter().fold(0f32, by_magnitude) / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    // Shifts −8 … 8 to 0 … 15: half a step is added, then truncated, as the reference rounds.
    let level = |number: f32| ((number * inverse + 8.5) as u8).min(15);
    let mut bytes = encoded(&[scale], ElementType::F16);
    let (low, high) = numbers.split_at(BLOCK / 2);
    bytes.extend(low.iter().zip(high).map(|(low, high)| level(*low) | level(*high) << 4));
    bytes
}

/// Interleaves the two halves of each head's rows: (i, i + h/2) become (2i, 2i + 1).
fn permuted(numbers: &[f32], heads: usize, width: usize) -> Vec<f32> {
    let mut turned = Vec::with_capacity(numbers.len());
    for head in numbers.chunks_exact(numbers.len() / heads) {
        let (first, second) = head.split_at(head.len() / 2);
        for (first, second) in first.chunks_exact(width).zip(second.chunks_exact(width)) {
            turned.extend_from_slice(first);
            turned.extend_from_slice(second);
        }
    }
    turned
}

/// Which part of the model llama.cpp's form cannot hold, although a class of `transformers` does.
pub fn unheld(class: Class, model: &ModelConfig) -> Option<String> {
    if !matches!(class, Class::Llama | Class::Qwen2 | Class::Qwen3) {
        return Some(format!("{} is not one of llama, qwen2 and qwen3", class.names().1));
    }
    let all = [
        (model.window > 0, "its architecture there has no `window`"),
        (model.bias == Bias::All, "its architecture there has no biases in every map"),
        (model.rope_scaling.is_some(), "`rope_scaling` is not written"),
    ];
    all.into_iter().find(|(is_so, _)| *is_so).map(|(_, reason)| reason.to_owned())
}

/// llama.cpp's name of a tensor of ours.
fn name(name: &str) -> String {
    let whole = match name {
        "model.embed_tokens.weight" => Some("token_embd.weight"),
        "model.norm.weight" => Some("output_norm.weight"),
        "lm_head.weight" => Some("output.weight"),
        _ => None,
    };
    if let Some(whole) = whole {
        return whole.to_owned();
    }
    let parts = [
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("self_attn.o_proj", "attn_output"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    let inside = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'));
    let (layer, part) = inside.unwrap_or_else(|| panic!("`{name}` is no tensor of Llama"));
    let (part, end) = part.rsplit_once('.').unwrap_or((part, "weight"));
    let found = parts.iter().find(|(ours, _)| *ours == part);
    let (_, theirs) = found.unwrap_or_else(|| panic!("`{name}` is no tensor of Llama"));
    format!("blk.{layer}.{theirs}.{end}")
}

/// A value of a key.
enum Entry<'a> {
    Text(&'a str),
    U32(u32),
    F32(f32),
    Bool(bool),
    Texts(&'a [String]),
    I32s(&'a [i32]),
}

impl Head<'_> {
    /// The file up to the list of tensors.
    fn bytes(&self, dtype: WeightType, tensors: usize) -> Vec<u8> {
        let model = self.model;
        let file_type = match dtype {
            WeightType::F32 => 0,
            WeightType::F16 => 1,
            WeightType::Q4 => 2,
            WeightType::Q8 => 7,
            WeightType::Bf16 => 32,
        };
        let size = |size: usize| Entry::U32(size as u32);
        let architecture = self.class.names().1;
        let mut entries = vec![
            ("general.architecture", Entry::Text(architecture)),
            ("general.type", Entry::Text("model")),
            ("general.name", Entry::Text(self.name)),
            ("general.file_type", Entry::U32(file_type)),
            ("general.quantization_version", Entry::U32(2)),
            ("llama.vocab_size", size(model.vocab_size)),
            ("llama.context_length", size(self.context)),
            ("llama.embedding_length", size(model.d_model)),
            ("llama.block_count", size(model.n_layer)),
            ("llama.feed_forward_length", size(model.d_ff)),
            ("llama.rope.dimension_count", size(model.head_dim())),
            ("llama.rope.freq_base", Entry::F32(model.rope_theta as f32)),
            ("llama.attention.head_count", size(model.n_head)),
            ("llama.attention.head_count_kv", size(model.kv_heads())),
            ("llama.attention.layer_norm_rms_epsilon", Entry::F32(model.norm_eps as f32)),
            ("tokenizer.ggml.model", Entry::Text("gpt2")),
            ("tokenizer.ggml.pre", Entry::Text(self.vocabulary.pre)),
            ("tokenizer.ggml.tokens", Entry::Texts(&self.vocabulary.tokens)),
            ("tokenizer.ggml.token_type", Entry::I32s(&self.vocabulary.types)),
            ("tokenizer.ggml.merges", Entry::Texts(&self.vocabulary.merges)),
            ("tokenizer.ggml.bos_token_id", Entry::U32(self.end_of_text)),
            ("tokenizer.ggml.eos_token_id", Entry::U32(self.end_of_text)),
            ("tokenizer.ggml.add_bos_token", Entry::Bool(true)),
            ("tokenizer.ggml.add_eos_token", Entry::Bool(false)),
            ("tokenizer.ggml.add_space_prefix", Entry::Bool(false)),
        ];
        if self.class != Class::Llama || model.d_head > 0 {
            // A head whose width does not follow from the model's.
            entries.push(("llama.attention.key_length", size(model.head_dim())));
            entries.push(("llama.attention.value_length", size(model.head_dim())));
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((tensors as u64).to_le_bytes());
        bytes.extend((entries.len() as u64).to_le_bytes());
        for (key, entry) in &entries {
            let own = key.strip_prefix("llama.").map(|key| format!("{architecture}.{key}"));
            put_text(&mut bytes, own.as_deref().unwrap_or(key));
            entry.put(&mut bytes);
        }
        bytes
    }
}

impl Entry<'_> {
    /// Writes the number of the value's type, then the value.
    fn put(&self, bytes: &mut Vec<u8>) {
        const U32: u32 = 4;
        const I32: u32 = 5;
        const F32: u32 = 6;
        const BOOL: u32 = 7;
        const TEXT: u32 = 8;
        const ARRAY: u32 = 9;
        let array = |kind: u32, length: usize, bytes: &mut Vec<u8>| {
            bytes.extend(ARRAY.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend((length as u64).to_le_bytes());
        };
        match self {
            Entry::Text(text) => {
                bytes.extend(TEXT.to_le_bytes());
                put_text(bytes, text);
            }
            Entry::U32(number) => {
                bytes.extend(U32.to_le_bytes());
                bytes.extend(number.to_le_bytes());
            }
            Entry::F32(number) => {
                bytes.extend(F32.to_le_bytes());
                bytes.extend(number.to_le_bytes());
            }
            Entry::Bool(is) => {
                bytes.extend(BOOL.to_le_bytes());
                bytes.push(u8::from(*is));
            }
            Entry::Texts(texts) => {
                array(TEXT, texts.len(), bytes);
                texts.iter().for_each(|text| put_text(bytes, text));
            }
            Entry::I32s(numbers) => {
                array(I32, numbers.len(), bytes);
                numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            }
        }
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_become_pairs_head_by_head() {
        // Two heads of four rows, two columns: row r holds (10 r, 10 r + 1).
        let rows: Vec<f32> =
            (0..8).flat_map(|r| [10.0 * r as f32, 10.0 * r as f32 + 1.0]).collect();
        let firsts: Vec<f32> = permuted(&rows, 2, 2).chunks(2).map(|row| row[0]).collect();
        assert_eq!(firsts, [0.0, 20.0, 10.0, 30.0, 40.0, 60.0, 50.0, 70.0]);
    }

    #[test]
    fn a_block_is_a_scale_and_whole_numbers_within_half_a_step() {
        let numbers: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        let bytes = block(&numbers);
        assert_eq!(bytes.len() as u64, Q8_BYTES);
        let scale = crate::runtime::tensors::floats(&bytes[..2], ElementType::F16)[0];
        for (number, byte) in numbers.iter().zip(&bytes[2..]) {
            let read = f32::from(*byte as i8) * scale;
            assert!((read - number).abs() <= scale * 0.51 + 1e-3, "{read} is not {number}");
        }
        assert_eq!(block(&[0.0; 32])[2..], [0; 32]);
    }

    #[test]
    fn a_block_of_4_bits_is_within_a_step() {
        let numbers: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        let bytes = block_of_4_bits(&numbers);
        assert_eq!(bytes.len() as u64, Q4_BYTES);
        let scale = crate::runtime::tensors::floats(&bytes[..2], ElementType::F16)[0];
        for (i, number) in numbers.iter().enumerate() {
            let byte = bytes[2 + i % 16];
            let level = if i < 16 { byte & 15 } else { byte >> 4 };
            let read = (f32::from(level) - 8.0) * scale;
            // The largest magnitude of the opposite sign has one level fewer.
            assert!((read - number).abs() <= scale.abs() * 1.01, "{read} is not {number}");
        }
        assert_eq!(block_of_4_bits(&[0.0; 32]), [&[0u8, 0x80][..], &[0x88; 16]].concat());
    }

    #[test]
    fn every_tensor_of_llama_has_its_name() {
        assert_eq!(name("model.embed_tokens.weight"), "token_embd.weight");
        assert_eq!(name("model.layers.11.mlp.down_proj.weight"), "blk.11.ffn_down.weight");
        let model = ModelConfig { vocab_size: 9, tied: false, ..ModelConfig::default() };
        let names: std::collections::BTreeSet<String> =
            crate::runtime::model::shapes(&model).keys().map(|it| name(it)).collect();
        assert_eq!(names.len(), 3 + 9 * model.n_layer);
    }
}
