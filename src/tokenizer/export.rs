//! A tokenizer for other tools.
//!
//! A `tokenizer.json` in → a tiktoken rank file, or the same file with merges in the old form; the
//! name under which llama.cpp knows the split, and the vocabulary as it holds one. Reference:
//! openai/tiktoken (`load.py`, `src/lib.rs`): a line is `base64(token) rank`, any two neighbours
//! whose concatenation is in the table are merged by its rank, and a piece that is in the table is
//! taken as it is. So a merge list can be written as ranks only if its order is the tokens' order
//! and every token comes back from its own bytes; that is checked for each token, and the first
//! that does not is named. llama.cpp holds its splits in its code, by name
//! (`convert_hf_to_gguf_update.py`). Values in, values out.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::file::{self, BytePairFile};
use super::format;
use super::split::{self, Cut, Pattern};
use crate::base::error::{Error, Result};

/// What a tokenizer can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A tiktoken rank file.
    Tiktoken,
    /// `tokenizer.json` with merges as `"left right"`, for readers older than `tokenizers` 0.20.
    MergesAsText,
}

/// The file's bytes in another format.
///
/// # Errors
/// [`Error::Failed`] with the token or the part that the format cannot hold.
pub fn export(tokenizer_json: &[u8], format: Format) -> Result<Vec<u8>> {
    let file: Value = serde_json::from_slice(tokenizer_json)
        .map_err(|error| Error::failed(format!("the tokenizer is no JSON: {error}")))?;
    match format {
        Format::MergesAsText => format::with_merges_as_text(&file).map_err(|name| {
            Error::failed(format!("the token {name:?} holds a space, which the old form cannot"))
        }),
        Format::Tiktoken => tiktoken(&file),
    }
}

/// The name of llama.cpp's pre-tokenizer that cuts as `cuts` do, if it has one.
pub fn llama_cpp_name(cuts: &[Cut]) -> Option<&'static str> {
    match split::native(cuts)? {
        Pattern::Gpt2 => Some("gpt-2"),
        Pattern::Gpt2Digits => Some("smollm"),
        Pattern::Cl100k | Pattern::Cl100kEnumerated => Some("llama-bpe"),
        Pattern::Qwen2 => Some("qwen2"),
        Pattern::O200k => Some("gpt-4o"),
    }
}

/// A vocabulary as llama.cpp holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlamaCppVocabulary {
    /// llama.cpp's name of the split.
    pub pre: &'static str,
    /// The names of all ids, in the byte-level alphabet.
    pub tokens: Vec<String>,
    /// What each is: 1 a normal token, 3 a control token, 4 one that text may spell, 5 a hole.
    pub types: Vec<i32>,
    /// `left right`, by rank.
    pub merges: Vec<String>,
}

/// The vocabulary of a byte-level BPE for llama.cpp, with `size` ids; `added` are its added tokens
/// as [`Tokenizer::added`](super::Tokenizer::added) gives them.
///
/// # Errors
/// [`Error::Config`] with what llama.cpp cannot hold: it knows splits by name.
pub fn llama_cpp(
    tokenizer_json: &[u8],
    added: &[(u32, String, bool)],
    size: usize,
) -> Result<LlamaCppVocabulary> {
    let cannot = |why: String| {
        Error::config(format!("llama.cpp cannot hold this tokenizer: {why}")).with_hint(
            "it knows the splits gpt2, smollm, cl100k (llama3), qwen2 and o200k: train a \
             tokenizer with one of them (`--pattern`); Hugging Face's form holds any",
        )
    };
    let file: Value = serde_json::from_slice(tokenizer_json)
        .map_err(|error| Error::failed(format!("the tokenizer is no JSON: {error}")))?;
    let read =
        file::read(&file).map_err(|part| cannot(format!("{part} is not byte-level BPE's")))?;
    if read.nfc {
        return Err(cannot("the text is brought to NFC first".to_owned()));
    }
    let pre = llama_cpp_name(&read.cuts);
    let pre = pre.ok_or_else(|| cannot("its split is none that has a name there".to_owned()))?;
    let mut tokens: Vec<String> = (0..size).map(|id| format!("[PAD{id}]")).collect();
    let mut types = vec![5; size];
    let mut put = |name: &str, id: u64, kind: i32| {
        if let Some(id) = usize::try_from(id).ok().filter(|&id| id < size) {
            (tokens[id], types[id]) = (name.to_owned(), kind);
        }
    };
    for (name, id) in file["model"]["vocab"].as_object().into_iter().flatten() {
        put(name, id.as_u64().unwrap_or(u64::MAX), 1);
    }
    for (id, content, is_special) in added {
        put(content, u64::from(*id), if *is_special { 3 } else { 4 });
    }
    let name = |id: u32| tokens.get(id as usize);
    let merges = read.merges.iter().filter_map(|&(left, right, made)| {
        name(made)?;
        Some(format!("{} {}", name(left)?, name(right)?))
    });
    Ok(LlamaCppVocabulary { pre, merges: merges.collect(), tokens, types })
}

fn tiktoken(file: &Value) -> Result<Vec<u8>> {
    let read =
        file::read(file).map_err(|foreign| cannot(format!("{foreign} is not byte-level BPE's")))?;
    if read.nfc {
        return Err(cannot("the text is brought to NFC, which tiktoken does not".to_owned()));
    }
    if !matches!(read.cuts.as_slice(), [Cut::Regex(_)]) {
        return Err(cannot("its split is not one regular expression".to_owned()));
    }
    let added = file["added_tokens"].as_array().into_iter().flatten();
    if let Some(token) = added.clone().find(|token| token["special"] != true) {
        return Err(cannot(format!("the added token {} is cut out of text", token["content"])));
    }
    let special = added.filter_map(|token| {
        let id = &file["model"]["vocab"][token["content"].as_str()?];
        id.as_u64().and_then(|id| u32::try_from(id).ok())
    });
    let ranks = Ranks::new(&read, &special.collect())?;
    ranks.check_merges(&read)?;
    ranks.check_tokens(&read)?;
    let mut text = String::new();
    for (bytes, rank) in &ranks.by_rank {
        let _ = writeln!(text, "{} {rank}", STANDARD.encode(bytes));
    }
    Ok(text.into_bytes())
}

fn cannot(why: String) -> Error {
    Error::failed(format!("a tiktoken rank file cannot hold this tokenizer: {why}"))
        .with_hint("`tokenizer.json` holds it; `tokenizers` and `transformers` read that")
}

/// Tokens and their ranks, which are their ids.
struct Ranks<'a> {
    by_rank: Vec<(&'a [u8], u32)>,
    rank: HashMap<&'a [u8], u32>,
}

impl<'a> Ranks<'a> {
    /// Special tokens have no rank; tiktoken takes them apart from the table.
    fn new(file: &'a BytePairFile, special: &BTreeSet<u32>) -> Result<Ranks<'a>> {
        let tokens = file.tokens.iter().zip(0..);
        let by_rank: Vec<(&[u8], u32)> = tokens
            .map(|(bytes, id)| (bytes.as_slice(), id))
            .filter(|(bytes, id)| !bytes.is_empty() && !special.contains(id))
            .collect();
        let rank: HashMap<&[u8], u32> = by_rank.iter().copied().collect();
        match (0..=255u8).find(|byte| !rank.contains_key([*byte].as_slice())) {
            None => Ok(Ranks { by_rank, rank }),
            Some(byte) => Err(cannot(format!("the byte {byte:#04x} has no token"))),
        }
    }

    /// Checks that merges stand in the order of their tokens' ids and make no special token.
    fn check_merges(&self, file: &BytePairFile) -> Result<()> {
        let mut before = None;
        for &(_, _, id) in &file.merges {
            let token = file.tokens[id as usize].as_slice();
            if !self.rank.contains_key(token) {
                return Err(cannot(format!("merges make the special token {}", shown(token))));
            }
            if before.is_some_and(|before| before > id) {
                let why = format!("{} (id {id}) is merged out of the order of ids", shown(token));
                return Err(cannot(why));
            }
            before = Some(id);
        }
        Ok(())
    }

    /// Checks that every token longer than a byte is merged from the same two parts by ranks as by
    /// merges.
    fn check_tokens(&self, file: &BytePairFile) -> Result<()> {
        let mut splits: HashMap<u32, Vec<usize>> = HashMap::new();
        for &(left, _, made) in &file.merges {
            splits.entry(made).or_default().push(file.tokens[left as usize].len());
        }
        for (token, rank) in self.by_rank.iter().filter(|(token, _)| token.len() > 1) {
            let parts = self.parts_below(token, *rank);
            let is_merge = |left: &usize| parts == [0, *left, token.len()];
            if !splits.get(rank).is_some_and(|splits| splits.iter().any(is_merge)) {
                let why = format!("{} (id {rank}) is not what its bytes merge to", shown(token));
                return Err(cannot(why));
            }
        }
        Ok(())
    }

    /// Merges the bytes of a token by the ranks below `limit`, its own. Returns where the parts
    /// that are left begin, and the end.
    fn parts_below(&self, token: &[u8], limit: u32) -> Vec<usize> {
        let mut starts: Vec<usize> = (0..=token.len()).collect();
        loop {
            let pair = |at: usize| self.rank.get(&token[starts[at]..starts[at + 2]]).copied();
            let lowest = (0..starts.len() - 2)
                .filter_map(|at| Some((pair(at).filter(|&rank| rank < limit)?, at)))
                .min();
            match lowest {
                Some((_, at)) => starts.remove(at + 1),
                None => return starts,
            };
        }
    }
}

fn shown(token: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// All bytes, then the merges given; one special token with id 0.
    fn file(merges: &[(&str, &str)]) -> Value {
        let mut names = vec!["<s>".to_owned()];
        names.extend(super::super::alphabet::characters().map(String::from));
        for (left, right) in merges {
            names.push(format!("{left}{right}"));
        }
        let vocab: serde_json::Map<_, _> =
            names.into_iter().zip(0u32..).map(|(name, id)| (name, id.into())).collect();
        json!({
            "added_tokens": [{"content": "<s>", "special": true}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
            "model": {"type": "BPE", "vocab": vocab, "merges": merges},
        })
    }

    fn tiktoken_of(file: &Value) -> Result<String> {
        let bytes = export(&serde_json::to_vec(file).unwrap(), Format::Tiktoken)?;
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn ranks_are_ids_and_special_tokens_have_none() {
        let text = tiktoken_of(&file(&[("a", "b"), ("ab", "c")])).unwrap();
        assert_eq!(text.lines().count(), 258);
        assert_eq!(text.lines().next(), Some("AA== 1"));
        assert_eq!(text.lines().next_back(), Some("YWJj 258"));
    }

    #[test]
    fn a_token_that_ranks_cannot_make_is_named() {
        // `bc` is merged before `ab`, so that `abc` never becomes `ab` and `c`.
        let error = tiktoken_of(&file(&[("b", "c"), ("a", "b"), ("ab", "c")])).unwrap_err();
        assert!(error.to_string().contains("\"abc\" (id 259)"), "{error}");
        let mut unordered = file(&[("a", "b"), ("c", "d")]);
        unordered["model"]["merges"] = json!([["c", "d"], ["a", "b"]]);
        let error = tiktoken_of(&unordered).unwrap_err();
        assert!(error.to_string().contains("\"ab\" (id 257)"), "{error}");
        let mut digits = file(&[]);
        digits["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": true}, digits["pre_tokenizer"]]});
        assert!(tiktoken_of(&digits).unwrap_err().to_string().contains("split"));
    }

    #[test]
    fn llama_cpp_gets_names_types_and_merges_or_the_reason() {
        let of = |file: &Value, added: &[(u32, String, bool)], size: usize| {
            llama_cpp(&serde_json::to_vec(file).unwrap(), added, size)
        };
        let found = of(&file(&[("a", "b")]), &[], 260).unwrap();
        assert_eq!((found.pre, found.merges.as_slice()), ("gpt-2", &["a b".to_owned()][..]));
        assert_eq!((found.tokens[257].as_str(), found.types[257]), ("ab", 1));
        assert_eq!((found.tokens[259].as_str(), found.types[259]), ("[PAD259]", 5));
        // An id is the one that encoding gives, whatever the file says.
        let added = [(0, "<s>".to_owned(), true), (257, "<tab>".to_owned(), false)];
        let mut special = file(&[]);
        special["added_tokens"][0]["id"] = 7.into();
        let found = of(&special, &added, 258).unwrap();
        assert_eq!((found.tokens[0].as_str(), found.types[0]), ("<s>", 3));
        assert_eq!((found.tokens[257].as_str(), found.types[257]), ("<tab>", 4));
        assert_ne!(found.tokens[7], "<s>");
        for (key, value, why) in [
            ("normalizer", json!({"type": "NFC"}), "NFC"),
            ("pre_tokenizer", json!({"type": "Metaspace"}), "Metaspace"),
            (
                "pre_tokenizer",
                json!({"type": "Sequence", "pretokenizers": [
                    {"type": "Digits", "individual_digits": false},
                    {"type": "ByteLevel", "add_prefix_space": false}]}),
                "split",
            ),
        ] {
            let mut file = file(&[]);
            file[key] = value;
            let error = of(&file, &[], 257).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn the_old_form_of_merges_is_read_as_the_new_one() {
        let new = file(&[("a", "b"), ("ab", "c")]);
        let bytes = serde_json::to_vec(&new).unwrap();
        let old = export(&bytes, Format::MergesAsText).unwrap();
        let old: Value = serde_json::from_slice(&old).unwrap();
        assert_eq!(old["model"]["merges"], json!(["a b", "ab c"]));
        assert_eq!(file::read(&old), file::read(&new));
    }
}
