//! How the values of a rule are laid out along a line, for the terminal and the page alike.
//!
//! In → bins of all sources, the limit, how many cells may stand side by side; out → [`Axis`]:
//! cells with their places in 0..1, ticks, the limit's place; then each source's bins fall into
//! the same cells. Three layouts: one cell a number for few whole numbers; sixteen equal cells for
//! shares, whose edges are edges of bins, with 0 and 1 by themselves; else octaves in equal steps,
//! so that 10 to 20 is as wide as 10,000 to 20,000, with heights
//! that make areas the counts. Invariants: a bin falls into one cell whole,
//! so no count is estimated; cells ascend and do not overlap. Cost: a few hundred operations.

use super::{Bin, Bound, Histogram, Tally};

/// Bits of a `f64` below its exponent and three bits of mantissa: eight bins an octave.
const BIN_BITS: u32 = 49;
/// Whole numbers at most that get a cell each; from here on bins hold two and more.
const WHOLE_MAX: f64 = 16.0;
/// Below this, whole numbers leave bins between them empty.
const WHOLE_GAPS: f64 = 8.0;
/// Cells of a share's axis beside those of 0 and 1.
const SHARE_CELLS: usize = 16;

/// The width of the cell of 0 with the gap behind it, in widths of a cell.
const APART: f64 = 1.5;
/// Base-2 logarithms of 1, 1 1/8, … 1 7/8: where the bins of an octave begin.
const EIGHTHS: [f64; 8] = [
    0.0,
    0.169_925_001_442_312_4,
    0.321_928_094_887_362_35,
    0.459_431_618_637_297_3,
    0.584_962_500_721_156_2,
    0.700_439_718_141_092_2,
    0.807_354_922_057_604_1,
    0.906_890_595_608_518_5,
];
/// A bar this many times as high as the next is cut.
const CUT: f64 = 3.0;
/// The height at which a cut bar is drawn, over that of the next highest.
const CUT_ROOM: f64 = 1.4;

/// What the steps of an axis are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// A cell a whole number.
    Whole,
    /// Equal steps.
    Equal,
    /// Equal factors.
    Octaves,
}

/// Values from `low` to below `high`, drawn from `left` to `right` in 0..1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    pub low: f64,
    pub high: f64,
    pub left: f64,
    pub right: f64,
}

/// The layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub steps: Steps,
    /// Never empty.
    pub cells: Vec<Cell>,
    /// Where the limit stands.
    pub limit: Option<f64>,
    /// Which side of it passes.
    pub bound: Bound,
    /// The width of an ordinary cell.
    unit: f64,
    /// The first cell holds 0 (and anything below), drawn apart.
    zero_apart: bool,
    whole: bool,
}

impl Axis {
    /// The layout of `bins` with at most about `cells_max` cells; `None` without any value.
    pub fn new(bins: &[Bin], bound: Bound, limit: Option<f64>, cells_max: usize) -> Option<Axis> {
        let last = bins.last()?;
        let whole = is_whole(bins) && limit.is_none_or(|limit| limit.fract() == 0.0);
        let top = limit.map_or(last.low, |limit| last.low.max(limit));
        let zero = bins[0].high <= 0.0;
        let mut axis = match (whole, top) {
            (true, top) if top < WHOLE_MAX && bins[0].low >= 0.0 => Axis::whole(top),
            (_, top) if top <= 1.0 && is_visible(bins, limit) => Axis::equal(bins, limit, zero),
            _ => Axis::octaves(bins, limit, zero, cells_max),
        };
        (axis.whole, axis.bound) = (whole, bound);
        if whole && axis.steps == Steps::Octaves {
            axis.close_gaps();
        }
        axis.limit = limit.map(|limit| axis.limit_place(bound, limit));
        Some(axis)
    }

    /// Cells whose limit is not placed yet.
    fn of(steps: Steps, cells: Vec<Cell>, unit: f64, zero_apart: bool) -> Axis {
        let (limit, bound, whole) = (None, Bound::AtLeast, steps == Steps::Whole);
        Axis { steps, cells, limit, bound, unit, zero_apart, whole }
    }

    fn whole(top: f64) -> Axis {
        let count = top.max(1.0).ceil() as usize + 1;
        let place = |number: usize| number as f64 / count as f64;
        let cell = |number: usize| Cell {
            low: number as f64,
            high: (number + 1) as f64,
            left: place(number),
            right: place(number + 1),
        };
        let cells = (0..count).map(cell).collect();
        let unit = 1.0 / count as f64;
        Axis::of(Steps::Whole, cells, unit, false)
    }

    fn equal(bins: &[Bin], limit: Option<f64>, zero: bool) -> Axis {
        let one = bins.iter().any(|bin| bin.low >= 1.0);
        let top = equal_top(bins, limit);
        let width = top / SHARE_CELLS as f64;
        let edges: Vec<(f64, f64)> =
            (0..=SHARE_CELLS).map(|step| (width * step as f64, step as f64)).collect();
        let mut cells = spread(&edges, zero, 1.0);
        if one {
            // Exactly 1: a place of its own, as for 0.
            let scale = 1.0 / (1.0 + cells[cells.len() - 1].right - cells[cells.len() - 2].right);
            cells.iter_mut().for_each(|cell| {
                cell.left *= scale;
                cell.right *= scale;
            });
            let left = cells[cells.len() - 1].right;
            cells.push(Cell { low: 1.0, high: edge_after(1.0), left, right: 1.0 });
        }
        let unit = cells[cells.len() - 1].right - cells[cells.len() - 1].left;
        Axis::of(Steps::Equal, cells, unit, zero)
    }

    fn octaves(bins: &[Bin], limit: Option<f64>, zero: bool, cells_max: usize) -> Axis {
        let values = bins.iter().map(|bin| bin.low).chain(limit).filter(|value| *value > 0.0);
        let slots: Vec<u64> = values.map(slot).collect();
        let (Some(first), Some(last)) = (slots.iter().min(), slots.iter().max()) else {
            return Axis::whole(1.0);
        };
        // A cell on each side, so that a limit never lies on the frame.
        let (first, last) = (first.saturating_sub(1), last + 1);
        let mut step = 1;
        while (last / step - first / step) as usize >= cells_max.max(2) {
            step *= 2;
        }
        let places = first / step..=last / step + 1;
        let edges: Vec<(f64, f64)> =
            places.map(|place| (edge(place * step), octave(place * step))).collect();
        let octaves = edges[edges.len() - 1].1 - edges[0].1;
        let unit = octaves / (edges.len() - 1) as f64;
        let apart = unit * (edges.len() as f64 / 40.0).max(1.0);
        let cells = spread(&edges, zero, apart);
        let unit = unit / (octaves + if zero { apart * APART } else { 0.0 });
        Axis::of(Steps::Octaves, cells, unit, zero)
    }

    /// Gives cells that can hold no whole number to the cell before.
    fn close_gaps(&mut self) {
        let mut closed: Vec<Cell> = Vec::with_capacity(self.cells.len());
        for cell in &self.cells {
            match closed.last_mut() {
                Some(before) if cell.low.ceil() >= cell.high && before.high == cell.low => {
                    (before.high, before.right) = (cell.high, cell.right);
                }
                _ => closed.push(*cell),
            }
        }
        self.cells = closed;
    }

    /// The cell that holds a bin.
    fn cell_of(&self, bin: &Bin) -> usize {
        if bin.high <= 0.0 {
            return 0;
        }
        let first = usize::from(self.zero_apart);
        let after = self.cells[first..].partition_point(|cell| cell.low <= bin.low);
        (first + after).saturating_sub(1).max(first).min(self.cells.len() - 1)
    }

    /// The documents of each cell.
    pub fn fill(&self, histogram: &Histogram) -> Vec<Tally> {
        let mut tallies = vec![Tally::default(); self.cells.len()];
        histogram.bins.iter().for_each(|bin| tallies[self.cell_of(bin)].add(bin.tally));
        tallies
    }

    /// Ordinary cells that would fill the line.
    pub fn length(&self) -> f64 {
        1.0 / self.unit
    }

    /// How wide a cell is beside an ordinary one; height times width is the count, so that wide
    /// cells do not seem to hold more.
    pub fn width(&self, cell: &Cell) -> f64 {
        (cell.right - cell.left) / self.unit
    }

    /// Where a value stands, in 0..1.
    pub fn place(&self, value: f64) -> f64 {
        let cells = &self.cells[usize::from(self.zero_apart)..];
        let after = cells.partition_point(|cell| cell.low <= value);
        let Some(cell) = after.checked_sub(1).map(|at| cells[at]) else {
            return cells.first().map_or(0.0, |cell| cell.left);
        };
        let within = ((value - cell.low) / (cell.high - cell.low)).clamp(0.0, 1.0);
        cell.left + within * (cell.right - cell.left)
    }

    fn limit_place(&self, bound: Bound, limit: f64) -> f64 {
        match bound {
            Bound::AtLeast if limit <= 0.0 => 0.0,
            Bound::AtMost if limit < 0.0 => 0.0,
            Bound::AtMost if self.whole => self.place(limit.floor() + 1.0),
            _ => self.place(limit),
        }
    }

    /// Places and values of the labels, left to right.
    pub fn ticks(&self) -> Vec<(f64, f64)> {
        let middle = |cell: &Cell| (cell.left + cell.right) / 2.0;
        let mut ticks: Vec<(f64, f64)> = Vec::new();
        let cells = &self.cells[usize::from(self.zero_apart)..];
        if self.zero_apart {
            ticks.push((middle(&self.cells[0]), 0.0));
        }
        match self.steps {
            Steps::Whole => ticks.extend(cells.iter().map(|cell| (middle(cell), cell.low))),
            Steps::Equal => {
                let top = cells.last().map_or(1.0, |cell| cell.high.min(1.0));
                let first = usize::from(self.zero_apart);
                let quarters = (first..=4).map(|quarter| top * quarter as f64 / 4.0);
                ticks.extend(quarters.map(|value| match cells.last() {
                    Some(cell) if cell.low == value => (middle(cell), value),
                    _ => (self.place(value), value),
                }));
            }
            Steps::Octaves => ticks.extend(round_numbers(cells).into_iter().map(|value| {
                let cell = cells.iter().find(|cell| cell.low == value);
                match cell.filter(|_| self.whole && value < WHOLE_GAPS) {
                    Some(cell) => (middle(cell), value),
                    None => (self.place(value), value),
                }
            })),
        }
        ticks
    }
}

/// What is drawn at full height: the greatest, or where that would flatten all others a
/// little more than the next; what is greater is cut there.
pub fn drawn_max(heights: impl Iterator<Item = f64>) -> f64 {
    let (mut first, mut second) = (0.0, 0.0);
    for height in heights {
        (first, second) = (height.max(first), height.min(first).max(second));
    }
    match second > 0.0 && first > CUT * second {
        true => second * CUT_ROOM,
        false if first > 0.0 => first,
        false => 1.0,
    }
}

/// Cells between edges (value, place), side by side, behind one for 0 that is `apart` wide.
fn spread(edges: &[(f64, f64)], zero: bool, apart: f64) -> Vec<Cell> {
    let before = if zero { apart * APART } else { 0.0 };
    let (first, last) = (edges[0].1, edges[edges.len() - 1].1);
    let all = before + last - first;
    let own = Cell { low: 0.0, high: 0.0, left: 0.0, right: apart / all };
    let place = |place: f64| (before + place - first) / all;
    let pairs = edges.windows(2).map(|pair| {
        let [(low, left), (high, right)] = [pair[0], pair[1]];
        Cell { low, high, left: place(left), right: place(right) }
    });
    zero.then_some(own).into_iter().chain(pairs).collect()
}

/// 1, 2, 5 and their decades, or fewer where those would crowd.
fn round_numbers(cells: &[Cell]) -> Vec<f64> {
    let (Some(first), Some(last)) = (cells.first(), cells.last()) else { return Vec::new() };
    let (low, high) = (first.low.max(1e-12), last.high.min(1e15));
    let candidates = |digits: &[u32]| -> Vec<f64> {
        let decades = (-12..=15).flat_map(|decade: i32| {
            digits.iter().map(move |digit| match decade < 0 {
                // Dividing gives the number that the decimal text means.
                true => f64::from(*digit) / 10f64.powi(-decade),
                false => f64::from(*digit) * 10f64.powi(decade),
            })
        });
        decades.filter(|value| (low..=high).contains(value)).collect()
    };
    let sets: [&[u32]; 4] = [&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[1, 2, 5], &[1, 3], &[1]];
    let fitting = sets.iter().map(|digits| candidates(digits)).find(|found| found.len() <= 9);
    fitting.unwrap_or_else(|| {
        let all = candidates(&[1]);
        let every = all.len().div_ceil(9);
        all.into_iter().step_by(every).collect()
    })
}

/// Whether all values look like whole numbers: nothing lies between the small ones.
pub fn is_whole(bins: &[Bin]) -> bool {
    let mut small = bins.iter().filter(|bin| bin.low < WHOLE_GAPS && bin.high > 0.0).peekable();
    small.peek().is_some() && small.all(|bin| bin.low >= 1.0 && bin.low.fract() == 0.0)
}

/// Whether equal steps show both the limit and the documents: neither is in the lowest eighth,
/// zeros aside.
fn is_visible(bins: &[Bin], limit: Option<f64>) -> bool {
    let eighth = equal_top(bins, limit) / 8.0;
    let count = |low: f64| -> u64 {
        let above = bins.iter().filter(|bin| bin.high > 0.0 && bin.low >= low);
        above.map(|bin| bin.tally.documents()).sum()
    };
    let seen = 2 * count(eighth) >= count(0.0);
    seen && bins.iter().all(|bin| bin.low >= 0.0) && limit.is_none_or(|limit| limit >= eighth)
}

/// The power of two up to which equal steps go; 1 at most.
fn equal_top(bins: &[Bin], limit: Option<f64>) -> f64 {
    let highs = bins.iter().map(|bin| bin.high.min(1.0));
    let most = highs.chain(limit).fold(0.0, f64::max);
    let halves = (0..12).map(|power| 1.0 / f64::from(1u32 << power));
    halves.take_while(|top| *top >= most).last().unwrap_or(1.0)
}

/// The number of a positive value's bin.
fn slot(value: f64) -> u64 {
    value.to_bits() >> BIN_BITS
}

/// Octaves up to a bin's least value.
fn octave(slot: u64) -> f64 {
    (slot / 8) as f64 + EIGHTHS[(slot % 8) as usize]
}

/// The least value of a bin.
fn edge(slot: u64) -> f64 {
    f64::from_bits(slot.min(f64::MAX.to_bits() >> BIN_BITS) << BIN_BITS)
}

fn edge_after(value: f64) -> f64 {
    edge(slot(value) + 1)
}

/// The greatest edge of a bin that is no more than a positive value.
pub fn edge_at_most(value: f64) -> f64 {
    edge(slot(value.max(0.0)))
}

/// The least edge of a bin that is no less than a positive value.
pub fn edge_at_least(value: f64) -> f64 {
    let below = edge_at_most(value);
    if below < value { edge_after(below) } else { below }
}
