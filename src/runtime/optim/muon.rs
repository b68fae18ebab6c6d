//! Muon: momentum, made orthogonal. For the matrices of the blocks.
//!
//! In → gradients of matrices, learning rate η; out → parameters changed in place. Jordan et al.,
//! *Muon*, 2024, with the arithmetic of `torch.optim.Muon`, in f32 where that has bf16:
//! m ← m + (1−μ)(g − m); u = g + μ(m − g) (Nesterov) or m; p ← p·(1 − η·λ) − η·s·O(u), where O is
//! the nearest half-orthogonal matrix (every singular value 1), found by a polynomial in products
//! alone: X ← aX + (bA + cA²)X with A = XXᵀ, on the transpose where rows exceed columns.
//! **Coefficients.** `newton-schulz`: Jordan's (3.4445, −4.7750, 2.0315), five times, singular
//! values within about 0.3 of 1. `polar-express`: a triple for each round, optimal for the result
//! of the round before (Amsel et al., *The Polar Express*, 2025; numbers of nanochat's `optim.py`).
//! **Rates** s, of a matrix with A outputs and B inputs: see [`Scale`]. **Cost.** Some 5·(4·m²·n +
//! 2·m³) operations a matrix of m ≤ n; keeps m.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{
    Optimizer,
    each::each,
    momentum::{Momentum, Slot, Slots},
};
use crate::runtime::cpu::{Elements, Matrix, Threads, kernel, matmul, tensor};
use crate::runtime::cuda::updates::Rounds;

/// Which polynomials make a matrix orthogonal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coefficients {
    #[default]
    NewtonSchulz,
    PolarExpress,
}

/// What the learning rate is multiplied by, for a matrix of A outputs and B inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// 0.2·√max(A, B): a step as large as AdamW's, so its rate can be used (Liu et al.,
    /// *Moonlight*, 2025; `match_rms_adamw` in torch).
    #[default]
    MatchRmsAdamw,
    /// √max(1, A/B): Jordan's; a rate of about 0.02 for all widths (`original` in torch).
    Original,
    /// √(A/B): the spectral norm's own (Bernstein, *Deriving Muon*, 2025).
    Spectral,
}

impl Scale {
    /// The factor of a matrix [outputs, inputs].
    pub fn of(self, outputs: usize, inputs: usize) -> f64 {
        let (a, b) = (outputs as f64, inputs as f64);
        match self {
            Scale::MatchRmsAdamw => 0.2 * a.max(b).sqrt(),
            Scale::Original => (a / b).max(1.0).sqrt(),
            Scale::Spectral => (a / b).sqrt(),
        }
    }
}

/// The constants of Muon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonConfig {
    /// μ: decay of the mean of gradients.
    pub momentum: f64,
    pub nesterov: bool,
    pub coefficients: Coefficients,
    /// Rounds of the polynomial.
    pub iterations: usize,
    pub scale: Scale,
}

impl MuonConfig {
    /// The triple of a round, counted from 0.
    fn triple(&self, round: usize) -> [f32; 3] {
        match self.coefficients {
            Coefficients::NewtonSchulz => JORDAN,
            Coefficients::PolarExpress => POLAR_EXPRESS[round.min(POLAR_EXPRESS.len() - 1)],
        }
    }

    /// The same constants for a device.
    pub fn rounds(&self) -> Rounds {
        Rounds {
            momentum: self.momentum,
            nesterov: self.nesterov,
            is_polar: self.coefficients == Coefficients::PolarExpress,
            triples: (0..self.iterations).map(|round| self.triple(round)).collect(),
        }
    }
}

/// Muon over `slots`, all matrices; their rules hold rates and decays.
pub fn muon(slots: Slots, config: MuonConfig) -> Box<dyn Optimizer> {
    let step = move |slot: &Slot, gradient: &Tensor, rate: f64| {
        let momentum = config.momentum as f32;
        each(&slot.momentum, gradient, |mean, gradient| towards(mean, gradient, 1.0 - momentum))?;
        let (outputs, inputs) = slot.parameter.dims2()?;
        let mut direction = Elements::of(&slot.momentum)?.to_vec();
        if config.nesterov {
            ahead(&mut direction, &Elements::of(gradient)?, momentum);
        }
        orthogonal(&mut direction, outputs, inputs, &config);
        let decay = (1.0 - rate * slot.rule.decay) as f32;
        let rate = (rate * config.scale.of(outputs, inputs)) as f32;
        let direction = tensor(direction, (outputs, inputs))?;
        each(&slot.parameter, &direction, |parameter, it| update(parameter, it, decay, rate))
    };
    Box::new(Momentum::new(slots, step))
}

/// Jordan's triple.
const JORDAN: [f32; 3] = [3.4445, -4.7750, 2.0315];

/// The triples of the Polar Express for a lower bound of 1e-3 and a safety factor; the last one
/// serves for all later rounds.
const POLAR_EXPRESS: [[f32; 3]; 5] = [
    [8.156_55, -22.483_29, 15.878_77],
    [4.042_93, -2.808_92, 0.500_02],
    [3.891_67, -2.772_48, 0.506_06],
    [3.285_75, -2.368_13, 0.464_49],
    [2.346_54, -1.709_78, 0.423_24],
];

/// Replaces `x` [rows, columns] by a matrix with the same singular vectors and singular values near
/// 1.
fn orthogonal(x: &mut [f32], rows: usize, columns: usize, config: &MuonConfig) {
    let (small, large) = (rows.min(columns), rows.max(columns));
    let mut wide = match rows > columns {
        true => transposed(x, rows, columns),
        false => x.to_vec(),
    };
    let squares: f64 = wide.iter().map(|&number| f64::from(number) * f64::from(number)).sum();
    let norm = squares.sqrt();
    let inverse = match config.coefficients {
        Coefficients::NewtonSchulz => 1.0 / norm.max(1e-7),
        Coefficients::PolarExpress => 1.0 / (norm * 1.01 + 1e-6),
    };
    times(&mut wide, inverse as f32);
    let (mut gram, mut mix) = (vec![0.0; small * small], vec![0.0; small * small]);
    let mut next = vec![0.0; small * large];
    for round in 0..config.iterations {
        let [a, b, c] = config.triple(round);
        let x = Matrix::new(&wide, small, large, large);
        matmul(&mut gram, small, false, x, x.t(), Threads::All);
        let square = Matrix::new(&gram, small, small, small);
        matmul(&mut mix, small, false, square, square, Threads::All);
        blend(&mut mix, &gram, c, b);
        let mix = Matrix::new(&mix, small, small, small);
        matmul(&mut next, large, false, mix, x, Threads::All);
        blend(&mut next, &wide, 1.0, a);
        std::mem::swap(&mut wide, &mut next);
    }
    match rows > columns {
        true => x.copy_from_slice(&transposed(&wide, columns, rows)),
        false => x.copy_from_slice(&wide),
    }
}

fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let at = |index: usize| x[(index % rows) * columns + index / rows];
    (0..rows * columns).map(at).collect()
}

kernel! {
    /// mean ← mean + share·(gradient − mean).
    fn towards(mean: &mut [f32], gradient: &[f32], share: f32) {
        for (mean, gradient) in mean.iter_mut().zip(gradient) {
            *mean += (gradient - *mean) * share;
        }
    }
}

kernel! {
    /// mean ← gradient + momentum·(mean − gradient).
    fn ahead(mean: &mut [f32], gradient: &[f32], momentum: f32) {
        for (mean, gradient) in mean.iter_mut().zip(gradient) {
            *mean = gradient + (*mean - gradient) * momentum;
        }
    }
}

kernel! {
    fn times(x: &mut [f32], factor: f32) {
        for number in x.iter_mut() {
            *number *= factor;
        }
    }
}

kernel! {
    /// x ← own·x + factor·other.
    fn blend(x: &mut [f32], other: &[f32], own: f32, factor: f32) {
        for (x, other) in x.iter_mut().zip(other) {
            *x = *x * own + other * factor;
        }
    }
}

kernel! {
    fn update(parameter: &mut [f32], direction: &[f32], decay: f32, rate: f32) {
        for (parameter, direction) in parameter.iter_mut().zip(direction) {
            *parameter = *parameter * decay - rate * direction;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(coefficients: Coefficients) -> MuonConfig {
        let scale = Scale::Original;
        MuonConfig { momentum: 0.95, nesterov: true, coefficients, iterations: 5, scale }
    }

    /// Σ of squared singular values, and of their fourth powers: all 1 gives (rank, rank).
    fn moments(x: &[f32], rows: usize, columns: usize) -> (f64, f64) {
        let dot = |i: usize, j: usize| -> f64 {
            (0..columns)
                .map(|c| f64::from(x[i * columns + c]) * f64::from(x[j * columns + c]))
                .sum()
        };
        let gram = (0..rows).flat_map(|i| (0..rows).map(move |j| (i, j)));
        let fourth = gram.map(|(i, j)| dot(i, j) * dot(i, j)).sum();
        ((0..rows).map(|i| dot(i, i)).sum(), fourth)
    }

    #[test]
    fn singular_values_come_near_one_for_wide_and_tall_matrices() {
        let mut stream = crate::base::rng::Stream::new(1, "muon");
        for (rows, columns) in [(8, 20), (20, 8), (12, 12)] {
            let drawn: Vec<f32> = (0..rows * columns).map(|_| stream.normal() as f32).collect();
            for (coefficients, within) in
                [(Coefficients::NewtonSchulz, 0.25), (Coefficients::PolarExpress, 0.05)]
            {
                let mut x = drawn.clone();
                orthogonal(&mut x, rows, columns, &config(coefficients));
                let (second, fourth) = moments(&x, rows, columns);
                let rank = rows.min(columns) as f64;
                assert!((second / rank - 1.0).abs() < within, "{coefficients:?} {second} {rank}");
                let spread = fourth / rank - (second / rank) * (second / rank);
                assert!(spread.abs() < within, "{coefficients:?}: {spread}");
            }
        }
    }

    #[test]
    fn rates_are_those_of_their_names() {
        assert_eq!(Scale::MatchRmsAdamw.of(400, 100), 4.0);
        assert_eq!((Scale::Original.of(400, 100), Scale::Original.of(100, 400)), (2.0, 1.0));
        assert_eq!(Scale::Spectral.of(100, 400), 0.5);
    }
}
