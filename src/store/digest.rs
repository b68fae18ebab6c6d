//! The hashes of a file while its bytes go by.
//!
//! In → bytes in order; out → their XXH3-128, which manifests hold, and the hash by which their
//! place calls them: sha256 of what the Hub keeps in its storage, git's sha1 (of `blob LENGTH\0`
//! and the bytes) of what it keeps in git. One pass for both; sha256 by the CPU's own instructions
//! where it has them.

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::Identity;
use crate::base::hash::{Fingerprint, Hasher};

/// Hashes in the making.
pub struct Digest {
    own: Hasher,
    theirs: Theirs,
}

enum Theirs {
    Sha256(Box<Sha256>),
    GitSha1(Box<Sha1>),
    /// The place names no hash of the bytes.
    None,
}

impl Digest {
    /// For a file of `bytes` bytes that its place names by `identity`.
    pub fn new(identity: Option<&Identity>, bytes: u64) -> Digest {
        let theirs = match identity {
            Some(Identity::Sha256(_)) => Theirs::Sha256(Box::default()),
            Some(Identity::GitSha1(_)) => {
                let head = format!("blob {bytes}\0");
                Theirs::GitSha1(Box::new(Sha1::new().chain_update(head)))
            }
            Some(Identity::Tag(_)) | None => Theirs::None,
        };
        Digest { own: Hasher::new(), theirs }
    }

    /// Appends `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.own.update(bytes);
        match &mut self.theirs {
            Theirs::Sha256(hash) => hash.update(bytes),
            Theirs::GitSha1(hash) => hash.update(bytes),
            Theirs::None => {}
        }
    }

    /// Our hash, and the one by which the place names the file, where it does.
    pub fn finish(self) -> (Fingerprint, Option<Identity>) {
        let theirs = match self.theirs {
            Theirs::Sha256(hash) => Some(Identity::Sha256(hash.finalize().into())),
            Theirs::GitSha1(hash) => Some(Identity::GitSha1(hash.finalize().into())),
            Theirs::None => None,
        };
        (self.own.finish(), theirs)
    }
}

/// The hash that hexadecimal digits stand for, told by how many there are.
pub fn identity_of(digits: &str) -> Option<Identity> {
    hash_of(digits).map(Identity::Sha256).or_else(|| hash_of(digits).map(Identity::GitSha1))
}

/// A hash of `N` bytes in hexadecimal digits.
pub fn hash_of<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N || !digits.is_ascii() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::xxh3_128;

    fn digest(identity: Option<&Identity>, pieces: &[&[u8]]) -> (Fingerprint, Option<Identity>) {
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut digest = Digest::new(identity, bytes);
        pieces.iter().for_each(|piece| digest.update(piece));
        digest.finish()
    }

    #[test]
    fn hashes_are_those_of_sha256sum_and_of_git() {
        // `printf 'hello\n' | sha256sum`, `printf 'hello\n' | git hash-object --stdin`.
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let sha256 = Identity::Sha256(hash_of(sha256).unwrap());
        let git = Identity::GitSha1(hash_of("ce013625030ba8dba906f756967f9e9ca394464a").unwrap());
        for expected in [Some(sha256), Some(git), None] {
            let (own, found) = digest(expected.as_ref(), &[b"hel", b"lo\n"]);
            assert_eq!((own, found), (xxh3_128(b"hello\n"), expected));
        }
        assert_eq!(digest(Some(&Identity::Tag("x".into())), &[b"a"]).1, None);
    }

    #[test]
    fn hexadecimal_digits_of_another_length_are_no_hash() {
        assert_eq!(hash_of::<2>("0aff"), Some([10, 255]));
        for odd in ["0af", "0aff0", "0agg", "äö"] {
            assert_eq!(hash_of::<2>(odd), None, "{odd}");
        }
    }
}
