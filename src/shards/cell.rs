//! The draw of a document, and the cell it falls into.
//!
//! In → a document's id; out → 64 bits that depend on nothing else, and their upper eight, its
//! *cell*. A shard keeps each cell's documents together and a mix reads a source cell by cell, so
//! that where a document stands is a function of its own identity, and yet each block is decoded
//! once an epoch: other documents may come, go or change their tokens, and none of these moves.
//!
//! 256 cells: a reader holds a 256th of a source, which is 8 MB of a billion tokens and 8 GB of a
//! trillion, and the 2²⁶ tokens that a writer sorts at once come to 2¹⁸ tokens a cell, a block.
//! More cells would leave blocks too small to compress, fewer too much to hold. Cost: 10 ns a
//! document.

use crate::base::hash::xxh3_64_with_seed;

/// Cells of a source.
pub const CELLS: usize = 256;

/// Seed of the draw: its own, so that the draw is independent of those that hold documents out or
/// choose them for validation. Never changes: shards are sorted by it.
const SEED: u64 = u64::from_le_bytes(*b"dp cells");

/// The document's draw.
pub fn draw(id: &str) -> u64 {
    xxh3_64_with_seed(id.as_bytes(), SEED)
}

/// The cell of a draw.
pub fn cell(draw: u64) -> u8 {
    (draw >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draw_is_fixed_for_ever() {
        assert_eq!((draw("a"), cell(draw("a"))), (FIRST, (FIRST >> 56) as u8));
    }

    const FIRST: u64 = 7887863398689831079;

    #[test]
    fn cells_are_evenly_filled() {
        let mut documents = [0u32; CELLS];
        for id in 0..256_000 {
            documents[usize::from(cell(draw(&id.to_string())))] += 1;
        }
        // A thousand a cell; the standard deviation is 32.
        assert!(documents.iter().all(|&count| (850..1150).contains(&count)), "{documents:?}");
    }
}
