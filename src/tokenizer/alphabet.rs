//! The byte-level alphabet: each byte as one printable character.
//!
//! Bytes in ↔ characters out, both ways exact. Hugging Face's byte-level files write tokens in this
//! alphabet, so that any byte string is text (`openai/gpt-2`, `bytes_to_unicode`): the printable
//! bytes of Latin-1 stand for themselves, the other 68 are U+0100 and following, in byte order.
//! The ids of the 256 initial tokens follow these characters' code points, not the bytes.

/// Whether a byte stands for itself.
const fn is_printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// Bytes that do not stand for themselves.
const SHIFTED: usize = 68;

const CHARACTERS: [char; 256] = {
    let mut characters = ['\0'; 256];
    let (mut byte, mut shifted) = (0usize, 0u32);
    while byte < 256 {
        characters[byte] = if is_printable(byte as u8) {
            byte as u8 as char
        } else {
            shifted += 1;
            match char::from_u32(0xFF + shifted) {
                Some(character) => character,
                None => panic!("0x100 to 0x143 are characters"),
            }
        };
        byte += 1;
    }
    assert!(shifted as usize == SHIFTED);
    characters
};

const SHIFTED_BYTES: [u8; SHIFTED] = {
    let mut bytes = [0; SHIFTED];
    let (mut byte, mut shifted) = (0usize, 0);
    while byte < 256 {
        if !is_printable(byte as u8) {
            bytes[shifted] = byte as u8;
            shifted += 1;
        }
        byte += 1;
    }
    bytes
};

/// The 256 characters, by byte.
pub fn characters() -> impl Iterator<Item = char> {
    CHARACTERS.into_iter()
}

/// The byte a character stands for, if it is one of the 256.
fn byte_of(character: char) -> Option<u8> {
    match u8::try_from(u32::from(character)) {
        Ok(byte) => is_printable(byte).then_some(byte),
        Err(_) => SHIFTED_BYTES.get(u32::from(character) as usize - 256).copied(),
    }
}

/// The bytes a token stands for, if all its characters are of the alphabet.
pub fn exact_bytes_of(token: &str) -> Option<Vec<u8>> {
    token.chars().map(byte_of).collect()
}

/// The bytes a token stands for; a token with any other character stands for its own text, as in
/// Hugging Face's `ByteLevel` decoder.
pub fn bytes_of(token: &str) -> Vec<u8> {
    exact_bytes_of(token).unwrap_or_else(|| token.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    #[test]
    fn each_byte_has_its_own_character_and_comes_back() {
        for byte in 0..=255u8 {
            assert_eq!(byte_of(CHARACTERS[usize::from(byte)]), Some(byte));
        }
        assert_eq!(byte_of('\u{144}'), None);
        assert_eq!(byte_of(' '), None);
        assert_eq!(byte_of('語'), None);
    }

    #[test]
    fn the_characters_are_those_of_hugging_face() {
        assert_eq!(CHARACTERS[usize::from(b' ')], 'Ġ');
        assert_eq!(CHARACTERS[usize::from(b'\n')], 'Ċ');
        let theirs = ByteLevel::alphabet();
        assert_eq!(theirs.len(), 256);
        assert!(characters().all(|character| theirs.contains(&character)));
    }
}
