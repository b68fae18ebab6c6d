//! Optimizers on a device: AdamW, Lion and SGD in one launch for each rule, Muon in several
//! launches and products.
//!
//! In → the sums of gradients on the device, the learning rate; out → parameters changed there, and
//! their bf16 copies. The arithmetic is that of `runtime::optim`, except for Muon's rounds, which
//! are products in bf16 with sums in fp32, as in `torch.optim.Muon`; the clip factor is read on the
//! device. Moments are in flat buffers at the places of their parameters, so several optimizers
//! that each take some of the parameters share them. **Cost.** Bound by memory, 22 to 34
//! bytes a parameter, and Muon's products.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::calls::{self, arguments};
use super::driver::{Element, Factor, Product};
use super::memory::Array;
use super::resident::{Place, Resident};
use super::table::CHUNK;
use crate::base::error::Result;

/// The constants of some parameters, beside the step's learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    pub rate: f64,
    pub decay: f64,
    pub beta1: f64,
    pub beta2: f64,
}

/// Which update, element by element.
#[derive(Clone, Copy, Debug)]
pub enum Plain {
    AdamW { eps: f64 },
    Lion,
    Sgd { momentum: f64, nesterov: bool },
}

impl Plain {
    fn kernel(self) -> &'static str {
        match self {
            Plain::AdamW { .. } => "adamw",
            Plain::Lion => "lion",
            Plain::Sgd { .. } => "sgd",
        }
    }

    /// The contents of the kernel's argument `step`, at step number `steps`.
    fn numbers(self, rates: &Rates, learning_rate: f64, steps: u64) -> Vec<f64> {
        let Rates { decay, beta1, beta2, .. } = *rates;
        let rate = learning_rate * rates.rate;
        match self {
            Plain::AdamW { eps } => {
                let correction1 = 1.0 - libm::pow(beta1, steps as f64);
                let correction2 = 1.0 - libm::pow(beta2, steps as f64);
                let root = correction2.sqrt();
                vec![1.0 - rate * decay, rate / correction1, root, eps, beta1, beta2]
            }
            Plain::Lion => vec![1.0 - rate * decay, rate, beta1, beta2],
            Plain::Sgd { momentum, nesterov: true } => vec![decay, rate, momentum, momentum, 1.0],
            Plain::Sgd { momentum, nesterov: false } => vec![decay, rate, momentum, 1.0, 0.0],
        }
    }
}

/// Flat moments, which several updates may share.
#[derive(Clone)]
pub struct Moments {
    pub means: Array,
    /// Means of squares, which only AdamW has.
    pub squares: Option<Array>,
}

impl Moments {
    /// Moments of zero.
    pub fn new(resident: &Resident, has_squares: bool) -> Result<Moments> {
        let zeros = || resident.context().zeros(&[resident.length()], Element::F32);
        Ok(Moments { means: zeros()?, squares: has_squares.then(zeros).transpose()? })
    }
}

/// Parameters of one rule, cut into pieces.
struct Group {
    rates: Rates,
    bytes: Vec<u8>,
    count: usize,
}

impl Group {
    /// Adds a parameter, each of whose pieces carries `mark`.
    fn add(&mut self, place: &Place, mark: u32) {
        let length: usize = place.dims.iter().product();
        for offset in (0..length).step_by(CHUNK) {
            self.bytes.extend(((place.start + offset) as u64).to_le_bytes());
            self.bytes.extend(((length - offset).min(CHUNK) as u32).to_le_bytes());
            self.bytes.extend(mark.to_le_bytes());
            self.count += 1;
        }
    }

    fn sent(&self, resident: &Resident) -> Result<Array> {
        resident.context().given(&[2 * self.count], Element::Word64, &self.bytes)
    }
}

/// An update of some parameters, element by element.
pub struct PlainUpdate {
    kind: Plain,
    groups: Vec<(Rates, Array, usize)>,
}

impl PlainUpdate {
    /// An update of the parameters in `rules`. Those without decay join a group that has the same
    /// rates otherwise.
    pub fn new(
        resident: &Resident,
        rules: &BTreeMap<String, Rates>,
        kind: Plain,
    ) -> Result<PlainUpdate> {
        let mut groups: Vec<Group> = Vec::new();
        for decays in [true, false] {
            for (name, rates) in rules.iter().filter(|(_, rates)| (rates.decay != 0.0) == decays) {
                let serves = |group: &Group| match decays {
                    true => group.rates == *rates,
                    false => Rates { decay: 0.0, ..group.rates } == *rates,
                };
                let at = groups.iter().position(serves).unwrap_or(groups.len());
                if at == groups.len() {
                    groups.push(Group { rates: *rates, bytes: Vec::new(), count: 0 });
                }
                groups[at].add(&resident.places()[name], u32::from(decays));
            }
        }
        let sent = groups.iter().map(|it| Ok((it.rates, it.sent(resident)?, it.count)));
        Ok(PlainUpdate { kind, groups: sent.collect::<Result<_>>()? })
    }

    /// Takes step number `steps`, counted from 1.
    fn step(
        &self,
        resident: &Resident,
        moments: &Moments,
        learning_rate: f64,
        steps: u64,
    ) -> Result<()> {
        let context = resident.context();
        for (rates, chunks, count) in &self.groups {
            let numbers = self.kind.numbers(rates, learning_rate, steps);
            let numbers: Vec<f32> = numbers.into_iter().map(|number| number as f32).collect();
            let step = context.floats(&[numbers.len()], &numbers)?;
            let mut given = arguments![resident.master(), &moments.means];
            if let Plain::AdamW { .. } = self.kind {
                given.extend(arguments![moments.squares.as_ref()]);
            }
            given.extend(arguments![resident.gradients(), &resident.shadow, chunks, &step]);
            given.extend(arguments![&resident.norm]);
            context.launch(self.kind.kernel(), [*count, 1, 1], given)?;
        }
        Ok(())
    }
}

/// The constants of Muon.
#[derive(Clone, Debug)]
pub struct Rounds {
    pub momentum: f64,
    pub nesterov: bool,
    /// Whether matrices are normalised as the Polar Express does.
    pub is_polar: bool,
    /// a, b, c of x ← a·x + (b·A + c·A²)·x, round by round.
    pub triples: Vec<[f32; 3]>,
}

/// Where a matrix is in the flat buffers.
struct Matrix {
    start: usize,
    dims: [usize; 2],
}

struct MuonGroup {
    rates: Rates,
    chunks: Array,
    count: usize,
    /// First piece, pieces and scale of each matrix, as the kernels read them.
    table: Array,
    matrices: Vec<Matrix>,
}

/// Muon for some matrices.
pub struct MuonUpdate {
    rounds: Rounds,
    groups: Vec<MuonGroup>,
    /// Directions at the places of their parameters, bf16.
    directions: Array,
    /// Scratch: room for the largest matrix, and for two squares of the largest smaller side.
    next: Array,
    squares: [Array; 2],
}

impl MuonUpdate {
    /// An update of the matrices in `rules`, each with its scale.
    pub fn new(
        resident: &Resident,
        rules: &BTreeMap<String, (Rates, f64)>,
        rounds: Rounds,
    ) -> Result<MuonUpdate> {
        let context = resident.context().clone();
        let mut found: Vec<(Group, Vec<Matrix>, Vec<u8>)> = Vec::new();
        for (name, (rates, scale)) in rules {
            let place = &resident.places()[name];
            let at = found.iter().position(|(group, ..)| group.rates == *rates);
            let at = at.unwrap_or(found.len());
            if at == found.len() {
                let group = Group { rates: *rates, bytes: Vec::new(), count: 0 };
                found.push((group, Vec::new(), Vec::new()));
            }
            let (group, matrices, table) = &mut found[at];
            let first = group.count;
            group.add(place, matrices.len() as u32);
            let words = [first as u32, (group.count - first) as u32, (*scale as f32).to_bits(), 0];
            table.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            let dims = [place.dims[0], place.dims[1]];
            matrices.push(Matrix { start: place.start, dims });
        }
        let dims = || found.iter().flat_map(|(_, matrices, _)| matrices).map(|it| it.dims);
        let largest = dims().map(|[rows, columns]| rows * columns).max().unwrap_or(1);
        let side = dims().map(|[rows, columns]| rows.min(columns)).max().unwrap_or(1);
        let square = || context.array(&[side * side], Element::Bf16);
        let (next, squares) = (context.array(&[largest], Element::Bf16)?, [square()?, square()?]);
        let directions = context.zeros(&[resident.length()], Element::Bf16)?;
        let groups = found.into_iter().map(|(group, matrices, table)| {
            let (rates, count, chunks) = (group.rates, group.count, group.sent(resident)?);
            let table = context.given(&[2 * matrices.len()], Element::Word64, &table)?;
            Ok(MuonGroup { rates, chunks, count, table, matrices })
        });
        let groups = groups.collect::<Result<_>>()?;
        Ok(MuonUpdate { rounds, groups, directions, next, squares })
    }

    fn step(&self, resident: &Resident, moments: &Moments, learning_rate: f64) -> Result<()> {
        let context = resident.context();
        let (gradients, norm, means) = (resident.gradients(), &resident.norm, &moments.means);
        let x = &self.directions;
        for group in &self.groups {
            let MuonGroup { rates, chunks, count, table, matrices } = group;
            let step = &self.constants(resident, rates, learning_rate)?;
            let parts = context.array(&[*count], Element::Word64)?;
            let factors = context.array(&[matrices.len()], Element::F32)?;
            let grid = [*count, 1, 1];
            let given = arguments![means, gradients, &parts, chunks, step, norm];
            context.launch("muon_momentum", grid, given)?;
            let given = arguments![&parts, table, &factors, step];
            context.launch("muon_inverses", [matrices.len(), 1, 1], given)?;
            let given = arguments![means, gradients, x, chunks, &factors, step, norm];
            context.launch("muon_scale", grid, given)?;
            for matrix in matrices {
                self.turn(matrix)?;
            }
            let (master, shadow) = (resident.master(), &resident.shadow);
            let given = arguments![master, x, shadow, chunks, table, step, norm];
            context.launch("muon_update", grid, given)?;
        }
        Ok(())
    }

    /// The kernels' `step`.
    fn constants(&self, resident: &Resident, rates: &Rates, learning_rate: f64) -> Result<Array> {
        let Rounds { momentum, nesterov, is_polar, .. } = self.rounds;
        let rate = learning_rate * rates.rate;
        let numbers = [momentum, 1.0 - rate * rates.decay, rate].map(|it| (it as f32).to_bits());
        let words = numbers.into_iter().chain([u32::from(nesterov), u32::from(is_polar)]);
        let bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        resident.context().given(&[5], Element::I32, &bytes)
    }

    /// Runs the rounds of one matrix, whose result replaces it.
    fn turn(&self, matrix: &Matrix) -> Result<()> {
        let [rows, columns] = matrix.dims;
        let own = self.directions.part(matrix.start, &matrix.dims);
        let (mut x, mut next) = (own.clone(), self.next.part(0, &matrix.dims));
        let side = rows.min(columns);
        let [gram, mix] = self.squares.each_ref().map(|square| square.part(0, &[side, side]));
        let is_tall = rows > columns;
        let bf16 =
            |array: &Array, is_transposed| Factor { address: array.address(), is_transposed };
        for [a, b, c] in &self.rounds.triples {
            let multiply = |left, right, [m, n, k]: [usize; 3], scale, addend, output: &Array| {
                let (output, element) = (output.address(), Element::Bf16);
                own.context().multiply(&Product {
                    m,
                    n,
                    k,
                    left,
                    right,
                    scale,
                    addend,
                    bias: None,
                    output,
                    element,
                })
            };
            let sizes = [side, side, rows.max(columns)];
            // x·xᵀ, or xᵀ·x.
            let (left, right) = (bf16(&x, is_tall), bf16(&x, !is_tall));
            multiply(left, right, sizes, 1.0, None, &gram)?;
            let (square, added) = (bf16(&gram, false), Some((gram.address(), *b)));
            multiply(square, square, [side; 3], *c, added, &mix)?;
            let (left, right) = match is_tall {
                true => (bf16(&x, false), bf16(&mix, false)),
                false => (bf16(&mix, false), bf16(&x, false)),
            };
            multiply(left, right, [rows, columns, side], 1.0, Some((x.address(), *a)), &next)?;
            std::mem::swap(&mut x, &mut next);
        }
        if x.address() == own.address() { Ok(()) } else { calls::copy(&x, &own) }
    }
}

/// Updates side by side, each with parameters of its own.
pub enum Update {
    Plain(PlainUpdate),
    Muon(Box<MuonUpdate>),
}

/// Takes step number `steps`, counted from 1, of all `updates`.
pub fn step(
    resident: &Arc<Resident>,
    updates: &[Update],
    moments: &Moments,
    learning_rate: f64,
    steps: u64,
) -> Result<()> {
    resident.ensure_measured()?;
    for update in updates {
        match update {
            Update::Plain(update) => update.step(resident, moments, learning_rate, steps)?,
            Update::Muon(update) => update.step(resident, moments, learning_rate)?,
        }
    }
    resident.changed();
    Ok(())
}
