//! The two files of a tokenizer in Hugging Face format.
//!
//! Out: `tokenizer_config.json` as `transformers` reads it (class `PreTrainedTokenizerFast`).
//! In: what a `tokenizer.json` asks for ([`split_regex`] says whether pieces can be encoded one by
//! one), and the end-of-text token that a `tokenizer_config.json` names. Values in, values out.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::split;

/// The vocabulary, the merges, the split.
pub const TOKENIZER_JSON: &str = "tokenizer.json";
/// The roles of special tokens.
pub const TOKENIZER_CONFIG_JSON: &str = "tokenizer_config.json";

/// `transformers`' value for "no limit": `int(1e30)`.
const NO_LENGTH_LIMIT: &str = "1000000000000000019884624838656";

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

#[derive(Serialize)]
struct AddedTokenJson<'a> {
    content: &'a str,
    lstrip: bool,
    normalized: bool,
    rstrip: bool,
    single_word: bool,
    special: bool,
}

/// The bytes of a `tokenizer_config.json` for special tokens with ids from 0; `end_of_text` opens
/// and ends a document.
pub fn tokenizer_config_json(special_tokens: &[String], end_of_text: Option<&str>) -> Vec<u8> {
    let added = special_tokens.iter().enumerate().map(|(id, content)| {
        let token = AddedTokenJson {
            content,
            lstrip: false,
            normalized: false,
            rstrip: false,
            single_word: false,
            special: true,
        };
        (id, token)
    });
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

/// The split pattern of a plain byte-level BPE: pieces are cut by it and encoded alone. `None` for
/// whatever asks for more (a normalizer, other pre-tokenizers, added tokens that text may spell):
/// the `tokenizers` crate encodes that as a whole.
pub fn split_regex(tokenizer: &Value) -> Option<&str> {
    let is_plain = tokenizer["normalizer"].is_null()
        && tokenizer["model"]["type"].as_str().is_none_or(|kind| kind == "BPE")
        && added_tokens(tokenizer).all(|token| token["special"] == true);
    is_plain.then_some(())?;
    let pre_tokenizer = &tokenizer["pre_tokenizer"];
    match pre_tokenizer["pretokenizers"].as_array().map(Vec::as_slice) {
        None if is_byte_level(pre_tokenizer, true) => Some(split::GPT2),
        Some([cut, bytes]) if is_byte_level(bytes, false) => {
            let is_isolated = cut["type"] == "Split"
                && cut["behavior"] == "Isolated"
                && cut["invert"].as_bool() != Some(true);
            cut["pattern"]["Regex"].as_str().filter(|_| is_isolated)
        }
        _ => None,
    }
}

fn is_byte_level(pre_tokenizer: &Value, use_regex: bool) -> bool {
    pre_tokenizer["type"] == "ByteLevel"
        && pre_tokenizer["add_prefix_space"] == false
        && pre_tokenizer["use_regex"].as_bool().unwrap_or(true) == use_regex
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

    #[test]
    fn only_a_plain_byte_level_file_is_encoded_by_pieces() {
        let mut file = json!({
            "normalizer": null,
            "added_tokens": [{"content": "<|endoftext|>", "special": true}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
            "model": {"type": "BPE"},
        });
        assert_eq!(split_regex(&file), Some(split::GPT2));
        file["pre_tokenizer"]["add_prefix_space"] = json!(true);
        assert_eq!(split_regex(&file), None);
        file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        ]});
        assert_eq!(split_regex(&file), Some("x+"));
        file["added_tokens"][0]["special"] = json!(false);
        assert_eq!(split_regex(&file), None);
        file["added_tokens"] = json!([]);
        file["normalizer"] = json!({"type": "NFC"});
        assert_eq!(split_regex(&file), None);
    }
}
