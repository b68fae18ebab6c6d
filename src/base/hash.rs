//! XXH3: every hash that is persisted.
//!
//! In → bytes; out → [`Fingerprint`] (128 bits) or `u64`. XXH3 is specified bit for bit (xxHash
//! 0.8, Yann Collet), so a hash written by one build is the hash of every later one. Cost: one
//! pass at memory speed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3;

/// XXH3-128 of some bytes: the identity of a file, a stage's work, a document's text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// The first eight hexadecimal digits, as in `NAME@1a2b3c4d`.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 16];
        let wrong = || format!("`{text}` is no fingerprint: expected 32 hexadecimal digits");
        if text.len() != 32 || !text.is_ascii() {
            return Err(wrong());
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Fingerprint(bytes))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// XXH3-128 of `bytes`.
pub fn xxh3_128(bytes: &[u8]) -> Fingerprint {
    Fingerprint(xxh3::xxh3_128(bytes).to_be_bytes())
}

/// XXH3-64 of `bytes`, seed 0.
pub fn xxh3_64(bytes: &[u8]) -> u64 {
    xxh3::xxh3_64(bytes)
}

/// XXH3-64 of `bytes` under a seed: one hash function of a family.
pub fn xxh3_64_with_seed(bytes: &[u8], seed: u64) -> u64 {
    xxh3::xxh3_64_with_seed(bytes, seed)
}

/// XXH3-128 of bytes that arrive in pieces.
#[derive(Clone, Default)]
pub struct Hasher(Box<xxh3::Xxh3>);

impl Hasher {
    /// An empty hash.
    pub fn new() -> Hasher {
        Hasher::default()
    }

    /// Appends `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The fingerprint of everything appended; equal to [`xxh3_128`] of the whole.
    pub fn finish(&self) -> Fingerprint {
        Fingerprint(self.0.digest128().to_be_bytes())
    }
}

impl std::io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_specified_one_and_its_text_reads_back() {
        // The reference value of XXH3-128 for empty input, from the xxHash specification.
        let empty = xxh3_128(b"");
        assert_eq!(empty.to_string(), "99aa06d3014798d86001c324468d497f");
        assert_eq!(empty.to_string().parse(), Ok(empty));
        assert!("99aa".parse::<Fingerprint>().is_err());
    }

    #[test]
    fn pieces_hash_as_the_whole() {
        let mut hasher = Hasher::new();
        hasher.update(b"near ");
        hasher.update(b"duplicates");
        assert_eq!(hasher.finish(), xxh3_128(b"near duplicates"));
    }
}
