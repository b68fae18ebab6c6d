//! How a product is cut into tasks for threads.
//!
//! In → sizes of a product and of its tiles, what it costs to pack each factor; out → a grid of
//! tasks, and the rows and columns of each. **Invariant.** Cuts lie between tiles, and no element
//! belongs to two tasks. The bits of an element do not depend on the cut.

use std::ops::Range;

use rayon::prelude::*;

/// One side of a product.
#[derive(Clone, Copy)]
pub struct Side {
    /// Rows or columns of the product.
    pub size: usize,
    /// Rows or columns of a tile.
    pub tile: usize,
    /// What its factor costs to pack, relative to the other's.
    pub cost: usize,
}

impl Side {
    /// Piece `at` of `pieces`, cut between tiles.
    fn cut(self, pieces: usize, at: usize) -> Range<usize> {
        let tiles = self.size.div_ceil(self.tile);
        let border = |at: usize| (tiles * at / pieces * self.tile).min(self.size);
        border(at)..border(at + 1)
    }
}

/// Runs `body` on the rows and columns of each task.
pub fn run(
    rows: Side,
    columns: Side,
    threads: usize,
    body: impl Fn(Range<usize>, Range<usize>) + Sync,
) {
    let (across, along) = grid(rows, columns, threads);
    let task = |task: usize| {
        let (rows, columns) = (rows.cut(across, task / along), columns.cut(along, task % along));
        if !rows.is_empty() && !columns.is_empty() {
            body(rows, columns);
        }
    };
    match across * along {
        1 => task(0),
        tasks => (0..tasks).into_par_iter().with_max_len(1).for_each(task),
    }
}

/// The number of pieces of the rows and of the columns: two tasks a thread, so that others take
/// over from a thread that is held up, and as little packed again as possible.
fn grid(rows: Side, columns: Side, threads: usize) -> (usize, usize) {
    let tasks = if threads == 1 { 1 } else { 2 * threads };
    let most_across = rows.size.div_ceil(rows.tile);
    let most_along = columns.size.div_ceil(columns.tile);
    let grids = (1..=tasks).map(|across| (across.min(most_across), tasks.div_ceil(across)));
    let grids = grids.map(|(across, along)| (across, along.min(most_along)));
    let cost = |&(across, along): &(usize, usize)| {
        let missing = tasks.saturating_sub(across * along);
        (missing, across * columns.cost + along * rows.cost)
    };
    grids.min_by_key(cost).unwrap_or((1, 1))
}
