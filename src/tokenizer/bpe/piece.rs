//! A piece of a text, and its key: what the scanner makes and the table finds.
//!
//! In: the bytes of a piece. Out: a key of sixteen bytes and the hash where a search for it starts.
//! Method: a piece of up to 15 bytes is its own key, with its length in the top byte; a longer one
//! has a hash for a key, and whoever finds it compares the bytes. Invariant: keys of short pieces
//! are equal where the pieces are. Cost: two multiplications for a short piece.

/// A batch is handed over when it has this many pieces.
pub(super) const FULL: usize = 256;
/// Most pieces in a batch: a window or a rare stretch may go beyond `FULL` by up to 64.
pub const MOST: usize = FULL + 64;
/// `Piece::hi` of a piece longer than 15 bytes: above all lengths, and never in a slot of
/// the table, so that comparing keys alone finds short pieces only.
pub const LONG_PIECE: u64 = u64::MAX;

/// A piece of the text and its key: up to 15 bytes as they are (padded with 0) with the length in
/// the top byte of `hi`; a longer one as hash (`lo`) and [`LONG_PIECE`] (`hi`).
#[derive(Clone, Copy, Default, Debug)]
pub struct Piece {
    /// First eight bytes, or the hash.
    pub lo: u64,
    /// The other seven and the length, or `LONG_PIECE`.
    pub hi: u64,
    /// Where the search in the table starts.
    pub hash: u64,
    /// First byte in the text that is handed over with the batch.
    pub at: u32,
    /// Length in bytes.
    pub length: u32,
}

impl Piece {
    /// Length in bytes.
    #[inline(always)]
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// The piece's bytes; `text` as handed over with its batch.
    #[inline(always)]
    pub fn bytes<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.at as usize..self.at as usize + self.length()]
    }
}

/// The pieces of a batch, in order.
#[repr(align(64))]
pub struct Pieces {
    /// `lo` and `hi` of each.
    pub(super) keys: [[u64; 2]; MOST],
    pub(super) hashes: [u64; MOST],
    /// Where each piece starts, then where the last one ends; then room for what listing writes
    /// beyond that.
    pub(super) starts: [u32; MOST + 64],
    pub(super) number: usize,
}

impl Pieces {
    /// No pieces.
    pub(super) fn new() -> Pieces {
        Pieces { keys: [[0; 2]; MOST], hashes: [0; MOST], starts: [0; MOST + 64], number: 0 }
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        self.number
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.number == 0
    }

    /// `lo` and `hi` of all pieces.
    #[inline(always)]
    pub fn keys(&self) -> &[[u64; 2]] {
        &self.keys[..self.number]
    }

    /// Hashes of all pieces.
    #[inline(always)]
    pub fn hashes(&self) -> &[u64] {
        &self.hashes[..self.number]
    }

    /// One piece.
    #[inline(always)]
    pub fn get(&self, index: usize) -> Piece {
        let ([lo, hi], hash) = (self.keys()[index], self.hashes()[index]);
        let (at, end) = (self.starts[index], self.starts[index + 1]);
        Piece { lo, hi, hash, at, length: end - at }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Piece> + '_ {
        (0..self.number).map(|index| self.get(index))
    }
}

/// A piece that was cut elsewhere and begins its text.
pub fn piece_of(bytes: &[u8]) -> Piece {
    let length = u32::try_from(bytes.len()).expect("a piece is shorter than 4 GiB");
    if bytes.len() > 15 {
        let hash = hash_long(bytes);
        return Piece { lo: hash, hi: LONG_PIECE, hash, at: 0, length };
    }
    let mut sixteen = [0; 16];
    sixteen[..bytes.len()].copy_from_slice(bytes);
    sixteen[15] = length as u8;
    let sixteen = u128::from_le_bytes(sixteen);
    let (lo, hi) = (sixteen as u64, (sixteen >> 64) as u64);
    Piece { lo, hi, hash: mix(lo, hi), at: 0, length }
}

/// Multipliers of [`mix`]: odd numbers without a pattern, the fractions of the golden ratio and of
/// √3 (as in splitmix64 and PCG's streams); any such numbers would do.
pub const FACTORS: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xBB67_AE85_84CA_A73B];

/// The hash of a short key: a sum of products, rotated so that its well-mixed upper half becomes
/// the lower one. Vector units compute it as well as scalar ones.
#[inline(always)]
pub fn mix(lo: u64, hi: u64) -> u64 {
    let sum = lo.wrapping_mul(FACTORS[0]).wrapping_add(hi.wrapping_mul(FACTORS[1]));
    sum.rotate_left(32)
}

/// The hash of more than 15 bytes.
#[inline]
pub fn hash_long(bytes: &[u8]) -> u64 {
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
    let folded = |lo: u64, hi: u64| {
        let product = u128::from(lo ^ FACTORS[0]) * u128::from(hi ^ FACTORS[1]);
        product as u64 ^ (product >> 64) as u64
    };
    let last = bytes.len() - 16;
    let mut hash = folded(word(last), word(last + 8) ^ bytes.len() as u64);
    let mut at = 0;
    while at < last {
        hash = folded(word(at) ^ hash, word(at + 8));
        at += 16;
    }
    hash
}
