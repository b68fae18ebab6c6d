//! The token that opens every text: what a tokenizer's files say, and files that say it.
//!
//! In → `tokenizer.json` and `tokenizer_config.json`; out → the token that `transformers` puts
//! before a text, if any; or the same files changed so that it puts a given token there. So other
//! tools feed a model of ours as it was trained: each document is opened by end-of-text.
//! Reference: the post-processors of Hugging Face's `tokenizers` 0.23 (`TemplateProcessing`,
//! `RobertaProcessing`, `BertProcessing`, `Sequence`), and the keys `add_bos_token`, `bos_token`.
//! Ids of the text itself stay as they are. Values in, values out.

use serde_json::{Value, json};

use crate::base::error::{Error, Result};

/// The token that a tokenizer puts before every text.
pub fn opener(tokenizer: &Value, config: &Value) -> Option<String> {
    if let Some(token) = of_processor(&tokenizer["post_processor"]) {
        return Some(token);
    }
    let named = &config["bos_token"];
    let name = named.as_str().or_else(|| named["content"].as_str())?;
    (config["add_bos_token"] == true).then(|| name.to_owned())
}

fn of_processor(processor: &Value) -> Option<String> {
    match processor["type"].as_str()? {
        "TemplateProcessing" => {
            let first = processor["single"].as_array()?.first()?;
            let id = first["SpecialToken"]["id"].as_str()?;
            let token = processor["special_tokens"][id]["tokens"].as_array()?.first()?;
            Some(token.as_str()?.to_owned())
        }
        "RobertaProcessing" | "BertProcessing" => Some(processor["cls"][0].as_str()?.to_owned()),
        "Sequence" => processor["processors"].as_array()?.iter().find_map(of_processor),
        _ => None,
    }
}

/// The bytes of a `tokenizer.json` that puts `token` before every text, and nothing behind it.
///
/// # Errors
/// [`Error::Failed`] for what is no JSON object.
pub fn with_opener(tokenizer_json: &[u8], (token, id): (&str, u32)) -> Result<Vec<u8>> {
    let mut file: Value = serde_json::from_slice(tokenizer_json)
        .map_err(|error| Error::failed(format!("the tokenizer is no JSON: {error}")))?;
    if !file.is_object() {
        return Err(Error::failed("the tokenizer is no JSON object"));
    }
    let special = |type_id: u32| json!({ "SpecialToken": { "id": token, "type_id": type_id } });
    let text = |name: &str, type_id: u32| json!({ "Sequence": { "id": name, "type_id": type_id } });
    let template = json!({
        "type": "TemplateProcessing",
        "single": [special(0), text("A", 0)],
        "pair": [special(0), text("A", 0), special(1), text("B", 1)],
        "special_tokens": { token: { "id": token, "ids": [id], "tokens": [token] } },
    });
    // Processors that trim offsets stay; those that add other tokens go.
    let mut kept = trimming(&file["post_processor"]);
    file["post_processor"] = match kept.is_empty() {
        true => template,
        false => {
            kept.push(template);
            json!({ "type": "Sequence", "processors": kept })
        }
    };
    Ok(serde_json::to_vec_pretty(&file).expect("it was JSON before"))
}

/// The parts of a post-processor that add no token.
fn trimming(processor: &Value) -> Vec<Value> {
    match processor["type"].as_str() {
        Some("ByteLevel") => vec![processor.clone()],
        Some("Sequence") => {
            let parts = processor["processors"].as_array().into_iter().flatten();
            parts.flat_map(trimming).collect()
        }
        _ => Vec::new(),
    }
}

/// The bytes of a `tokenizer_config.json` in which `token` opens and ends a text of up to `context`
/// tokens; `config_json`: the one that there was.
///
/// # Errors
/// [`Error::Failed`] for what is no JSON object.
pub fn config_with_opener(
    config_json: Option<&[u8]>,
    token: &str,
    context: usize,
) -> Result<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(config_json.unwrap_or(b"{}"))
        .map_err(|error| Error::failed(format!("the tokenizer's configuration: {error}")))?;
    let Some(keys) = config.as_object_mut() else {
        return Err(Error::failed("the tokenizer's configuration is no JSON object"));
    };
    keys.insert("add_bos_token".into(), true.into());
    keys.insert("add_eos_token".into(), false.into());
    keys.insert("bos_token".into(), token.into());
    keys.insert("clean_up_tokenization_spaces".into(), false.into());
    keys.insert("eos_token".into(), token.into());
    keys.insert("model_max_length".into(), context.into());
    keys.insert("pad_token".into(), token.into());
    keys.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    let mut bytes = serde_json::to_vec_pretty(&config).expect("it was JSON before");
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(processor: Value) -> Value {
        let file = json!({ "post_processor": processor, "model": { "vocab": { "b": 0 } } });
        let bytes = with_opener(&serde_json::to_vec(&file).unwrap(), ("<end>", 7)).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn what_is_put_before_a_text_is_read_back_whatever_stood_there() {
        let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false });
        let cls = json!({ "type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 1] });
        let sequence = json!({ "type": "Sequence", "processors": [bytes.clone(), cls.clone()] });
        for (before, opener_before, parts) in [
            (Value::Null, None, 0),
            (bytes, None, 2),
            (cls, Some("<s>"), 0),
            (sequence, Some("<s>"), 2),
            (opened(Value::Null)["post_processor"].clone(), Some("<end>"), 0),
        ] {
            let file = json!({ "post_processor": before });
            assert_eq!(opener(&file, &Value::Null).as_deref(), opener_before);
            let file = opened(before);
            assert_eq!(opener(&file, &Value::Null).as_deref(), Some("<end>"));
            let found = file["post_processor"]["processors"].as_array().map_or(0, Vec::len);
            assert_eq!(found, parts);
        }
    }

    #[test]
    fn a_configuration_may_ask_for_the_opener_too() {
        let asks = |add: bool| json!({ "add_bos_token": add, "bos_token": { "content": "<s>" } });
        assert_eq!(opener(&Value::Null, &asks(true)).as_deref(), Some("<s>"));
        assert_eq!(opener(&Value::Null, &asks(false)), None);
        let written = config_with_opener(Some(b"{\"own\": 1}"), "<end>", 64).unwrap();
        let written: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(opener(&Value::Null, &written).as_deref(), Some("<end>"));
        assert_eq!((&written["own"], &written["model_max_length"]), (&json!(1), &json!(64)));
        assert!(config_with_opener(Some(b"[]"), "<end>", 64).is_err());
        assert!(with_opener(b"[]", ("<end>", 0)).is_err());
        assert!(with_opener(b"{", ("<end>", 0)).is_err());
    }
}
