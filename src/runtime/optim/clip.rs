//! Clipping of gradients by their global norm.
//!
//! In → gradients, the largest norm allowed; out → their norm, and gradients scaled down to the
//! limit where they were above it (Pascanu et al., *On the difficulty of training recurrent neural
//! networks*, 2013). Squares are summed in f64 over blocks of fixed size, blocks in the order of
//! names: the same bits at any thread count. Bound by memory: 4 bytes an element, 12 when scaling.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::base::error::{Error, Result};
use crate::runtime::cpu::{Elements, PIECE, kernel, made, tensor};
use crate::runtime::value::NamedGradients;

/// Elements whose squares are summed on their own.
const CHUNK: usize = 16 * 1024;

/// Scales `gradients` to a norm of `max_norm` at most and returns the norm before; 0 measures only.
/// A norm that is no finite number fails: the step would destroy the model.
pub fn clip(gradients: &mut NamedGradients, max_norm: f64) -> Result<f64> {
    if let Some(resident) = gradients.resident() {
        return resident.clip(max_norm);
    }
    let mut total = 0.0;
    for (name, gradient) in gradients.iter() {
        let squares = square_sum(gradient)?;
        if !squares.is_finite() {
            return Err(Error::failed(format!("the gradient of `{name}` is not finite"))
                .with_hint("lower the learning rate, or lengthen its warm-up"));
        }
        total += squares;
    }
    let norm = total.sqrt();
    if max_norm > 0.0 && norm > max_norm {
        let factor = (max_norm / norm) as f32;
        let names: Vec<String> = gradients.iter().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            if let Some(gradient) = gradients.get(&name) {
                let scaled = scaled(gradient, factor)?;
                gradients.insert(&name, scaled);
            }
        }
    }
    Ok(norm)
}

/// The sum of a tensor's squares: the same bits at any thread count.
pub fn square_sum(gradient: &Tensor) -> Result<f64> {
    let gradient = gradient.to_dtype(DType::F32)?.to_device(&candle_core::Device::Cpu)?;
    let gradient = gradient.contiguous()?;
    let elements = Elements::of(&gradient)?;
    let sums: Vec<f64> = elements.par_chunks(CHUNK).map(squares).collect();
    Ok(sums.iter().sum())
}

fn scaled(gradient: &Tensor, factor: f32) -> Result<Tensor> {
    if !gradient.device().is_cpu() || gradient.dtype() != DType::F32 {
        return Ok((gradient * f64::from(factor))?);
    }
    let gradient = gradient.contiguous()?;
    let elements = Elements::of(&gradient)?;
    let output = made(elements.len(), PIECE, |at, output| {
        scale(output, &elements[at * PIECE..], factor);
    });
    tensor(output, gradient.shape())
}

kernel! {
    fn squares(elements: &[f32]) -> f64 {
        let mut lanes = [0.0f64; 8];
        for chunk in elements.chunks(8) {
            for (lane, element) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(*element) * f64::from(*element);
            }
        }
        lanes.iter().sum()
    }
}

kernel! {
    fn scale(output: &mut [f32], elements: &[f32], factor: f32) {
        for (output, element) in output.iter_mut().zip(elements) {
            *output = element * factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn gradients(numbers: &[f32]) -> NamedGradients {
        let mut gradients = NamedGradients::default();
        for (name, number) in ["a", "b"].iter().zip(numbers) {
            gradients.insert(name, Tensor::new(&[*number], &Device::Cpu).unwrap());
        }
        gradients
    }

    fn number(gradients: &NamedGradients, name: &str) -> f32 {
        gradients.get(name).unwrap().to_vec1::<f32>().unwrap()[0]
    }

    #[test]
    fn the_norm_is_over_all_parameters_together() {
        let mut above = gradients(&[3.0, -4.0]);
        assert_eq!(clip(&mut above, 1.0).unwrap(), 5.0);
        assert!((number(&above, "a") - 0.6).abs() < 1e-6);
        assert!((number(&above, "b") + 0.8).abs() < 1e-6);
        for limit in [5.0, 0.0] {
            let mut below = gradients(&[3.0, -4.0]);
            assert_eq!(clip(&mut below, limit).unwrap(), 5.0);
            assert_eq!(number(&below, "b"), -4.0);
        }
    }

    #[test]
    fn a_gradient_that_is_no_number_is_named() {
        let message = clip(&mut gradients(&[1.0, f32::NAN]), 1.0).unwrap_err().to_string();
        assert!(message.contains("`b`"), "{message}");
    }
}
