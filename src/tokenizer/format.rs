//! The two files of a tokenizer in Hugging Face format.
//!
//! Out: `tokenizer.json`, byte for byte as the Python package `tokenizers` 0.23 saves it (merges as
//! pairs, or as `"left right"`, which readers older than its version 0.20 need), and
//! `tokenizer_config.json` as `transformers` reads it (class `PreTrainedTokenizerFast`). In: the
//! end-of-text token that a `tokenizer_config.json` names. Values in, values out.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::split::{Cut, GPT2};

/// The vocabulary, the merges, the split.
pub const TOKENIZER_JSON: &str = "tokenizer.json";
/// The roles of special tokens.
pub const TOKENIZER_CONFIG_JSON: &str = "tokenizer_config.json";

/// `transformers`' value for "no limit": `int(1e30)`.
const NO_LENGTH_LIMIT: &str = "1000000000000000019884624838656";

/// A vocabulary as it is written.
pub struct VocabularyFile<'a> {
    /// Each id's name: special tokens as they are, others in the byte-level alphabet.
    pub names: &'a [String],
    /// Left, right and merged id by rank.
    pub merges: &'a [(u32, u32, u32)],
    /// The special tokens; their ids are their places in `names`.
    pub special: &'a [String],
    /// How text becomes pieces.
    pub cuts: &'a [Cut],
}

/// The bytes of a `tokenizer.json`.
pub fn tokenizer_json(file: &VocabularyFile<'_>) -> Vec<u8> {
    let name = |id: u32| file.names[id as usize].as_str();
    let added = file.special.iter().map(|content| {
        let id = file.names.iter().position(|name| name == content).expect("it is in `names`");
        AddedTokenJson { id: Some(id), ..AddedTokenJson::special(content) }
    });
    let json = TokenizerJson {
        version: "1.0",
        truncation: (),
        padding: (),
        added_tokens: added.collect(),
        normalizer: (),
        pre_tokenizer: pre_tokenizer(file.cuts),
        post_processor: (),
        decoder: PartJson::byte_level(true, true),
        model: ModelJson {
            kind: "BPE",
            dropout: (),
            unk_token: (),
            continuing_subword_prefix: (),
            end_of_word_suffix: (),
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            vocab: VocabJson(file.names),
            merges: file.merges.iter().map(|merge| (name(merge.0), name(merge.1))).collect(),
        },
    };
    serde_json::to_vec_pretty(&json).expect("text and numbers are JSON")
}

/// A `tokenizer.json` with its merges as `"left right"`, for readers that know no other form.
///
/// # Errors
/// The name of a token that holds a space, so that the form cannot tell where it ends.
pub fn with_merges_as_text(tokenizer_json: &Value) -> Result<Vec<u8>, String> {
    let mut file = tokenizer_json.clone();
    let merges = file["model"]["merges"].as_array_mut().into_iter().flatten();
    for merge in merges {
        let Some((left, right)) = merge[0].as_str().zip(merge[1].as_str()) else { continue };
        if let Some(name) = [left, right].into_iter().find(|name| name.contains(' ')) {
            return Err(name.to_owned());
        }
        *merge = format!("{left} {right}").into();
    }
    Ok(serde_json::to_vec_pretty(&file).expect("it was JSON before"))
}

/// The cuts as pre-tokenizers. GPT-2's is `ByteLevel`'s own, which readers know best.
fn pre_tokenizer(cuts: &[Cut]) -> PartJson<'_> {
    let own = matches!(cuts.last(), Some(Cut::Regex(regex)) if regex == GPT2);
    let before = if own { &cuts[..cuts.len() - 1] } else { cuts };
    let bytes = PartJson::byte_level(false, own);
    if before.is_empty() {
        return bytes;
    }
    let split = |regex, behavior, invert| PartJson::Split {
        pattern: PatternJson { regex },
        behavior,
        invert,
    };
    let parts = before.iter().map(|cut| match cut {
        Cut::Regex(regex) => split(regex, "Isolated", false),
        Cut::Matches(regex) => split(regex, "Removed", true),
        Cut::Digits { individual } => PartJson::Digits { individual_digits: *individual },
    });
    PartJson::Sequence { pretokenizers: parts.chain([bytes]).collect() }
}

#[derive(Serialize)]
struct TokenizerJson<'a> {
    version: &'static str,
    truncation: (),
    padding: (),
    added_tokens: Vec<AddedTokenJson<'a>>,
    normalizer: (),
    pre_tokenizer: PartJson<'a>,
    post_processor: (),
    decoder: PartJson<'a>,
    model: ModelJson<'a>,
}

/// A pre-tokenizer or a decoder.
#[derive(Serialize)]
#[serde(tag = "type")]
enum PartJson<'a> {
    Sequence { pretokenizers: Vec<PartJson<'a>> },
    Split { pattern: PatternJson<'a>, behavior: &'static str, invert: bool },
    Digits { individual_digits: bool },
    ByteLevel { add_prefix_space: bool, trim_offsets: bool, use_regex: bool },
}

impl PartJson<'_> {
    /// Offsets are trimmed by default there; they never change ids.
    fn byte_level(add_prefix_space: bool, use_regex: bool) -> Self {
        PartJson::ByteLevel { add_prefix_space, trim_offsets: true, use_regex }
    }
}

#[derive(Serialize)]
struct PatternJson<'a> {
    #[serde(rename = "Regex")]
    regex: &'a str,
}

#[derive(Serialize)]
struct ModelJson<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    dropout: (),
    unk_token: (),
    continuing_subword_prefix: (),
    end_of_word_suffix: (),
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: VocabJson<'a>,
    merges: Vec<(&'a str, &'a str)>,
}

/// Names with their ids, in the order of the ids.
struct VocabJson<'a>(&'a [String]);

impl Serialize for VocabJson<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().enumerate().map(|(id, name)| (name, id)))
    }
}

#[derive(Serialize)]
struct TokenizerConfigJson<'a> {
    add_prefix_space: bool,
    added_tokens_decoder: BTreeMap<usize, AddedTokenJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bos_token: Option<&'a str>,
    clean_up_tokenization_spaces: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    eos_token: Option<&'a str>,
    model_max_length: Box<RawValue>,
    tokenizer_class: &'static str,
}

/// The order of the keys is the Python package's.
#[derive(Serialize)]
struct AddedTokenJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    content: &'a str,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

impl AddedTokenJson<'_> {
    /// A control token, matched as it is.
    fn special(content: &str) -> AddedTokenJson<'_> {
        AddedTokenJson {
            id: None,
            content,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: true,
        }
    }
}

/// The bytes of a `tokenizer_config.json` for special tokens with ids from 0; `end_of_text` opens
/// and ends a document.
pub fn tokenizer_config_json(special_tokens: &[String], end_of_text: Option<&str>) -> Vec<u8> {
    let added = special_tokens.iter().map(|token| AddedTokenJson::special(token)).enumerate();
    let config = TokenizerConfigJson {
        add_prefix_space: false,
        added_tokens_decoder: added.collect(),
        bos_token: end_of_text,
        clean_up_tokenization_spaces: false,
        eos_token: end_of_text,
        model_max_length: RawValue::from_string(NO_LENGTH_LIMIT.into()).expect("a number is JSON"),
        tokenizer_class: "PreTrainedTokenizerFast",
    };
    let mut bytes = serde_json::to_vec_pretty(&config).expect("text and numbers are JSON");
    bytes.push(b'\n');
    bytes
}

/// The `eos_token` of a `tokenizer_config.json`: a string, or an object with its `content`.
pub fn end_of_text(tokenizer_config: &Value) -> Option<&str> {
    let token = tokenizer_config.get("eos_token")?;
    token.as_str().or_else(|| token.get("content")?.as_str())
}

fn added_tokens(tokenizer: &Value) -> impl Iterator<Item = &Value> {
    tokenizer["added_tokens"].as_array().into_iter().flatten()
}

/// The contents of the special added tokens, in the file's order.
pub fn special_tokens(tokenizer: &Value) -> Vec<String> {
    added_tokens(tokenizer)
        .filter(|token| token["special"] == true)
        .filter_map(|token| token["content"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_roles_file_names_the_end_of_text_and_leaves_spaces_alone() {
        let bytes = tokenizer_config_json(&["<|endoftext|>".into()], Some("<|endoftext|>"));
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(end_of_text(&value), Some("<|endoftext|>"));
        assert_eq!(value["clean_up_tokenization_spaces"], false);
        assert_eq!(value["added_tokens_decoder"]["0"]["content"], "<|endoftext|>");
        assert!(String::from_utf8(bytes).unwrap().contains(NO_LENGTH_LIMIT));
    }

    #[test]
    fn an_end_of_text_may_be_an_object() {
        assert_eq!(end_of_text(&json!({"eos_token": {"content": "</s>"}})), Some("</s>"));
        assert_eq!(end_of_text(&json!({"eos_token": null})), None);
    }
}
