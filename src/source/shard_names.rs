//! Whether a file's name is that of a part of a data set.
//!
//! In → the stem of a name; out → whether it says which part it is and nothing of what it holds, so
//! that the source is named after the folder. The words are those that Spark, Hugging Face, Dolma,
//! FineWeb and DCLM give to their files. Pure.

/// Words of the names that writers give to the parts of one data set: Spark, Hugging Face, Dolma,
/// FineWeb, DCLM. A number or a long hexadecimal word may stand beside each.
const SHARD_WORDS: [&str; 21] = [
    "part",
    "parts",
    "shard",
    "chunk",
    "split",
    "file",
    "batch",
    "block",
    "segment",
    "data",
    "train",
    "test",
    "validation",
    "valid",
    "val",
    "dev",
    "of",
    "processed",
    "snappy",
    "gz",
    "",
];

/// Whether a stem names a part of something: it has a number, and else only words of
/// [`SHARD_WORDS`]; or `17-of-64` stands in it.
pub(super) fn is_shard(stem: &str) -> bool {
    let stem = stem.to_ascii_lowercase();
    let words: Vec<&str> = stem.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let counted = words
        .windows(3)
        .any(|words| is_number(words[0]) && words[1] == "of" && is_number(words[2]));
    let is_hash = |word: &str| {
        let hexadecimal = word.bytes().all(|byte| byte.is_ascii_hexdigit());
        word.len() >= 4 && hexadecimal && word.contains(|c: char| c.is_ascii_digit())
    };
    let is_shards_own = |word: &&str| {
        SHARD_WORDS.contains(&word.trim_end_matches(|c: char| c.is_ascii_digit())) || is_hash(word)
    };
    let has_number = words.iter().any(|word| word.ends_with(|c: char| c.is_ascii_digit()));
    counted || (stem.is_ascii() && has_number && words.iter().all(is_shards_own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_shards_are_no_names_of_sources() {
        for shard in [
            "000_00000",
            "part-00000",
            "train-00000-of-00014",
            "train-00000-of-00014-a1b2c3d4e5f6a7b8",
            "shard_00000000_processed",
            "0000",
            "c4-train.00000-of-01024",
            "part-00000-6f1e2b3c-1a2b-4c3d-9e8f-0123456789ab-c000.snappy",
            "data_3",
        ] {
            assert!(is_shard(shard), "{shard}");
        }
        for name in
            ["c4", "wiki", "wiki-2024", "wikitext-103", "train", "books3", "gpt2", "データ1"]
        {
            assert!(!is_shard(name), "{name}");
        }
    }
}
