//! Dropout whose random draws are a function of the token's position in the training data.
//!
//! In → x [B, T, d], the share p, a [`Noise`]; out → each element dropped with probability p, the
//! others divided by 1 − p. Srivastava et al., *Dropout*, 2014. **Draws** are a hash of (seed, row
//! of the mix, site in the model, position in the row, element): the same for any micro-batch,
//! order or thread count, and a resumed run needs no state. A row of the mix is read once in a run,
//! so its number stands for the step. One XXH3 a token keys SplitMix64 (Steele et al., 2014), whose
//! 64 bits decide four elements at 16 bits each: p is rounded to 1/65,536. Backward: the same draws
//! again. Bound by memory: 8 bytes an element.

use candle_core::Tensor;
use rayon::prelude::*;

use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::base::rng;
use crate::runtime::cpu::{Elements, by_rows, tensor};
use crate::runtime::cuda::calls;
use crate::runtime::value::{Value, pulls};

/// What the draws of one call depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noise {
    /// The seed of the run.
    pub seed: u64,
    /// Index of the batch's first row in the whole training data, counted in cut rows.
    pub first_row: u64,
    /// Into how many parts a row of the data is cut.
    pub parts: u64,
    /// Which dropout of the model; no two calls of a pass share one.
    pub site: u64,
}

impl Noise {
    /// The key of the draws of token `at` of a batch whose rows have `sequence` tokens. It follows
    /// from the token's position in the uncut row, so it does not depend on how rows are cut.
    fn key(&self, at: usize, sequence: usize) -> u64 {
        let (row, position) = (self.first_row + (at / sequence) as u64, (at % sequence) as u64);
        let position = row % self.parts * sequence as u64 + position;
        let parts = [self.site, row / self.parts, position].map(u64::to_le_bytes);
        rng::hash(self.seed, "dropout", &[&parts[0], &parts[1], &parts[2]])
    }

    /// The keys of all tokens of a batch, for the kernel that draws on a GPU.
    pub fn keys(&self, rows: usize, sequence: usize) -> Vec<u64> {
        (0..rows * sequence).into_par_iter().map(|at| self.key(at, sequence)).collect()
    }
}

/// Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The smallest 16-bit draw that keeps an element, and the factor that kept elements get.
pub fn threshold(p: f64) -> (u16, f32) {
    let threshold = (p * 65_536.0).round() as u16;
    (threshold, 1.0 / (1.0 - f32::from(threshold) / 65_536.0))
}

/// Drops a share `p` (0 to below 1) of x [B, T, d].
pub fn dropout(x: &Value, p: f64, noise: Noise) -> Result<Value> {
    let (sequence, width) = (x.dims()[1], x.dims()[2]);
    let (threshold, keep) = threshold(p);
    if let Some([array]) = Value::arrays([x])? {
        let keys = array.context().words(&noise.keys(x.dims()[0], sequence))?;
        let output = calls::dropout(&array, &keys, threshold, keep)?;
        return Ok(Value::on_device(output, &[x], move |gradient, with| {
            pulls([calls::dropout(gradient, &keys, threshold, keep)?], with)
        }));
    }
    let masked = move |x: &[f32]| masked(x, (sequence, width), (threshold, keep), noise);
    if !Value::fused_on_cpu(&[x]) {
        let mask = masked(&vec![1.0; x.tensor().elem_count()]);
        let mask = tensor(mask, x.tensor().shape())?;
        let mask = mask.to_device(x.tensor().device())?.to_dtype(x.tensor().dtype())?;
        return Value::composed(&[x], |inputs| &inputs[0] * &mask);
    }
    let elements = masked(&Elements::of(x.tensor())?);
    let output = tensor(elements, x.tensor().shape())?;
    Ok(Value::result(output, &[x], move |gradient| {
        let gradient: Tensor = gradient.contiguous()?;
        let elements = masked(&Elements::of(&gradient)?);
        Ok(vec![Some(tensor(elements, gradient.shape())?)])
    }))
}

/// The elements of x after dropout.
fn masked(
    x: &[f32],
    (sequence, width): (usize, usize),
    (threshold, keep): (u16, f32),
    noise: Noise,
) -> Vec<f32> {
    let mut output = vec![0.0; x.len()];
    by_rows(&mut output, width, |first, rows| {
        for (token, output) in rows.chunks_exact_mut(width).enumerate() {
            let at = first + token;
            let mut draws = SplitMix(noise.key(at, sequence));
            let x = &x[at * width..][..width];
            for (output, x) in output.chunks_mut(4).zip(x.chunks(4)) {
                let bits = draws.next();
                for (index, (output, x)) in output.iter_mut().zip(x).enumerate() {
                    let draw = (bits >> (16 * index)) as u16;
                    *output = if draw >= threshold { x * keep } else { 0.0 };
                }
            }
        }
    });
    output
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "dropout", cases, tolerance: 1e-6 };

fn cases() -> Vec<Case> {
    let noise = Noise { seed: 3, first_row: 7, parts: 1, site: 1 };
    let run = move |inputs: &[Value]| dropout(&inputs[0], 0.25, noise);
    vec![Case::new("tokens", vec![normal("x", &[3, 7, 10])], run)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ones(rows: usize, noise: Noise, p: f64) -> Vec<f32> {
        masked(&vec![1.0; rows * 50 * 64], (50, 64), threshold(p), noise)
    }

    #[test]
    fn rows_are_dropped_alike_wherever_a_batch_is_cut() {
        let noise = Noise { seed: 1, first_row: 10, parts: 1, site: 2 };
        let (whole, size) = (ones(4, noise, 0.1), 50 * 64);
        let part = ones(2, Noise { first_row: 12, ..noise }, 0.1);
        assert_eq!(whole[2 * size..], part);
        for other in [Noise { seed: 2, ..noise }, Noise { site: 3, ..noise }] {
            assert_ne!(whole, ones(4, other, 0.1));
        }
    }

    #[test]
    fn rows_that_are_cut_are_dropped_as_whole_ones_and_no_draw_comes_twice() {
        let noise = Noise { seed: 1, first_row: 6, parts: 1, site: 2 };
        let cut = |parts: usize| {
            let noise = Noise { first_row: 6 * parts as u64, parts: parts as u64, ..noise };
            masked(&vec![1.0; 4 * 50 * 64], (50 / parts, 64), threshold(0.1), noise)
        };
        assert_eq!(cut(1), ones(4, noise, 0.1));
        assert_eq!(cut(2), cut(1));
        assert_eq!(cut(5), cut(1));
    }

    #[test]
    fn a_share_is_dropped_and_the_mean_stays() {
        let kept = ones(40, Noise { seed: 1, first_row: 0, parts: 1, site: 0 }, 0.2);
        let dropped = kept.iter().filter(|number| **number == 0.0).count() as f64;
        assert!((dropped / kept.len() as f64 - 0.2).abs() < 0.005, "{dropped}");
        let mean = kept.iter().map(|&number| f64::from(number)).sum::<f64>() / kept.len() as f64;
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }
}
