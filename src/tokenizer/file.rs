//! What a `tokenizer.json` asks for, as far as it is byte-level BPE.
//!
//! The file's JSON in → [`BytePairFile`] out, or the name of the first thing that is none of
//! byte-level BPE's; such a file is left to the `tokenizers` crate. Known are: no normalizer or
//! NFC; `ByteLevel`, alone or behind `Split` and `Digits`; a `BPE` model without prefixes, suffixes
//! and dropout. Field names and defaults are those of Hugging Face's `tokenizers` 0.23. Values in,
//! values out; the crate has checked the file before (merges whose parts are no tokens, say).

use std::collections::HashMap;

use serde_json::Value;

use super::alphabet;
use super::bpe::merge::TOKENS_MAX;
use super::split::{Cut, GPT2};

/// A byte-level BPE, ready to be built into an encoder.
#[derive(Debug, PartialEq, Eq)]
pub struct BytePairFile {
    /// Each id's bytes; empty for holes, and for names that are not in the byte-level alphabet.
    pub tokens: Vec<Vec<u8>>,
    /// Left, right and merged id, in the order of their ranks.
    pub merges: Vec<(u32, u32, u32)>,
    /// A piece that is a token as a whole is that token, whatever the merges say.
    pub ignore_merges: bool,
    /// The text is brought to NFC first.
    pub nfc: bool,
    /// How text becomes pieces, one cut after the other.
    pub cuts: Vec<Cut>,
}

/// What keeps a file from being read as byte-level BPE: the name of its part.
pub type Foreign = String;

/// Reads the parts that encoding needs.
///
/// # Errors
/// The name of the first part that is not byte-level BPE's.
pub fn read(file: &Value) -> Result<BytePairFile, Foreign> {
    let model = &file["model"];
    check_model(model)?;
    let vocabulary = model["vocab"].as_object().ok_or("a model without `vocab`")?;
    let mut tokens = Vec::new();
    let mut ids = HashMap::with_capacity(vocabulary.len());
    for (name, id) in vocabulary {
        let id = id.as_u64().filter(|&id| id < TOKENS_MAX as u64);
        let id = id.ok_or_else(|| format!("the id of `{name}`"))? as u32;
        if tokens.len() <= id as usize {
            tokens.resize(id as usize + 1, Vec::new());
        }
        if let Some(bytes) = alphabet::exact_bytes_of(name) {
            tokens[id as usize] = bytes;
            ids.insert(name.as_str(), id);
        }
    }
    let has_all_bytes = alphabet::characters().all(|c| ids.contains_key(c.to_string().as_str()));
    if !has_all_bytes && (model["unk_token"].is_string() || model["byte_fallback"] == true) {
        return Err("a vocabulary without all bytes, and `unk_token` or `byte_fallback`".into());
    }
    Ok(BytePairFile {
        merges: merges(&model["merges"], &ids)?,
        tokens,
        ignore_merges: model["ignore_merges"] == true,
        nfc: is_nfc(&file["normalizer"])?,
        cuts: cuts(&file["pre_tokenizer"])?,
    })
}

fn check_model(model: &Value) -> Result<(), Foreign> {
    if let Some(kind) = model["type"].as_str().filter(|kind| *kind != "BPE") {
        return Err(format!("the model `{kind}`"));
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model[key].as_str().is_some_and(|text| !text.is_empty()) {
            return Err(format!("`{key}`"));
        }
    }
    Ok(())
}

/// Merges as pairs, or as the older `"left right"`. One with a part outside the byte-level alphabet
/// is never reached from bytes.
fn merges(list: &Value, ids: &HashMap<&str, u32>) -> Result<Vec<(u32, u32, u32)>, Foreign> {
    let list = list.as_array().ok_or("a model without `merges`")?;
    let mut merges = Vec::with_capacity(list.len());
    let mut merged = String::new();
    for merge in list {
        let pair = match merge {
            Value::String(text) => text.split_once(' '),
            pair => pair[0].as_str().zip(pair[1].as_str()),
        };
        let (left, right) = pair.ok_or("a merge that is no pair")?;
        merged.clear();
        merged.push_str(left);
        merged.push_str(right);
        if let (Some(&left), Some(&right), Some(&id)) =
            (ids.get(left), ids.get(right), ids.get(merged.as_str()))
        {
            merges.push((left, right, id));
        }
    }
    Ok(merges)
}

fn kind(part: &Value) -> &str {
    part["type"].as_str().unwrap_or("null")
}

fn is_nfc(normalizer: &Value) -> Result<bool, Foreign> {
    match kind(normalizer) {
        "null" => Ok(false),
        "NFC" => Ok(true),
        "Sequence" => match normalizer["normalizers"].as_array().map(Vec::as_slice) {
            Some([]) => Ok(false),
            Some([one]) => is_nfc(one),
            _ => Err("a `Sequence` of normalizers".into()),
        },
        other => Err(format!("the normalizer `{other}`")),
    }
}

fn cuts(pre_tokenizer: &Value) -> Result<Vec<Cut>, Foreign> {
    let parts = match pre_tokenizer["pretokenizers"].as_array() {
        Some(parts) => parts.as_slice(),
        None => std::slice::from_ref(pre_tokenizer),
    };
    let (last, before) = parts.split_last().ok_or("no pre-tokenizer")?;
    let mut cuts = before.iter().map(cut).collect::<Result<Vec<Cut>, Foreign>>()?;
    match kind(last) {
        "ByteLevel" if last["add_prefix_space"] != false => {
            Err("`ByteLevel` with `add_prefix_space`".into())
        }
        "ByteLevel" => {
            if last["use_regex"].as_bool().unwrap_or(true) {
                cuts.push(Cut::Regex(GPT2.to_owned()));
            }
            Ok(cuts)
        }
        "null" => Err("no pre-tokenizer".into()),
        other => Err(format!("the pre-tokenizer `{other}` at the end")),
    }
}

fn cut(part: &Value) -> Result<Cut, Foreign> {
    match kind(part) {
        "Digits" => {
            Ok(Cut::Digits { individual: part["individual_digits"].as_bool().unwrap_or(false) })
        }
        "Split" => {
            let behavior = part["behavior"].as_str().unwrap_or("null");
            let regex =
                match (part["pattern"]["Regex"].as_str(), part["pattern"]["String"].as_str()) {
                    (Some(regex), _) => regex.to_owned(),
                    (None, Some(text)) => escaped(text),
                    (None, None) => return Err("a `Split` without a pattern".into()),
                };
            match (behavior, part["invert"] == true) {
                // Text between matches is a piece as well, so inverting changes nothing.
                ("Isolated", _) => Ok(Cut::Regex(regex)),
                ("Removed", true) => Ok(Cut::Matches(regex)),
                (_, inverted) => Err(format!("a `Split` with `{behavior}`, inverted: {inverted}")),
            }
        }
        other => Err(format!("the pre-tokenizer `{other}`")),
    }
}

/// The text as a regular expression that matches nothing else.
fn escaped(text: &str) -> String {
    let mut regex = String::new();
    for character in text.chars() {
        if character.is_ascii_punctuation() {
            regex.push('\\');
        }
        regex.push(character);
    }
    regex
}

#[cfg(test)]
mod tests {
    use super::super::split::CL100K;
    use super::*;
    use serde_json::json;

    fn file() -> Value {
        json!({
            "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
            "model": {
                "type": "BPE", "unk_token": null,
                "vocab": {"a": 1, "b": 2, "ab": 4, "Ġ": 0, "語": 5},
                "merges": [["a", "b"]],
            },
        })
    }

    #[test]
    fn tokens_are_bytes_and_holes_and_foreign_names_are_empty() {
        let read = read(&file()).unwrap();
        let expected: [&[u8]; 6] = [b" ", b"a", b"b", b"", b"ab", b""];
        assert_eq!(read.tokens, expected);
        assert_eq!(read.merges, [(1, 2, 4)]);
        assert_eq!(read.cuts, [Cut::Regex(GPT2.into())]);
        assert!(!read.nfc && !read.ignore_merges);
    }

    #[test]
    fn merges_may_be_written_the_old_way() {
        let mut old = file();
        old["model"]["merges"] = json!(["a b"]);
        assert_eq!(read(&old), read(&file()));
    }

    #[test]
    fn splits_and_digits_come_before_the_byte_level() {
        let mut file = file();
        file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true},
            {"type": "Split", "pattern": {"Regex": CL100K}, "behavior": "Removed", "invert": true},
            {"type": "Split", "pattern": {"String": "a.b"}, "behavior": "Isolated"},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        ]});
        let expected = [
            Cut::Digits { individual: true },
            Cut::Matches(CL100K.into()),
            Cut::Regex(r"a\.b".into()),
        ];
        assert_eq!(read(&file).unwrap().cuts, expected);
    }

    #[test]
    fn what_is_not_byte_level_bpe_is_named() {
        let cases = [
            ("/normalizer", json!({"type": "Lowercase"}), "Lowercase"),
            ("/pre_tokenizer", json!({"type": "Metaspace"}), "Metaspace"),
            ("/pre_tokenizer/add_prefix_space", json!(true), "add_prefix_space"),
            ("/model/type", json!("Unigram"), "Unigram"),
            ("/model/unk_token", json!("<unk>"), "unk_token"),
            ("/model", json!({"type": "BPE", "end_of_word_suffix": "</w>"}), "end_of_word_suffix"),
        ];
        for (place, value, named) in cases {
            let mut file = file();
            *file.pointer_mut(place).unwrap() = value;
            let foreign = read(&file).unwrap_err();
            assert!(foreign.contains(named), "{place}: {foreign}");
        }
    }
}
