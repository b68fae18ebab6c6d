//! A running average of a model's parameters.
//!
//! In → the parameters after a step; out → their exponential moving average, in a model of its own:
//! a ← a + (1 − β)·(p − a), β the smaller of the configured decay and (1 + t) / (10 + t) after t
//! steps, so that early parameters do not weigh too long (TensorFlow's
//! `ExponentialMovingAverage` with `num_updates`). **Invariants.** Element by element: the same
//! bits at any thread count; β is a function of the step, so a resumed run needs nothing but the
//! average itself. **Cost.** Bound by memory, 12 bytes a parameter; keeps 4. On a GPU it is
//! one kernel, which rounds the average to bf16 too.

use candle_core::{CpuStorage, InplaceOp2, Layout};
use rayon::prelude::*;

use crate::base::error::{Error, Result};
use crate::runtime::cpu::kernel;
use crate::runtime::device::Device;
use crate::runtime::model::Model;
use crate::runtime::value::NamedParameters;

/// Elements one task works on.
const CHUNK: usize = 16 * 1024;

/// Moves `average` towards `parameters`, of the same names and shapes, after `steps` steps.
pub fn update(
    average: &NamedParameters,
    parameters: &NamedParameters,
    decay: f64,
    steps: u64,
) -> Result<()> {
    let early = (1.0 + steps as f64) / (10.0 + steps as f64);
    let share = (1.0 - decay.min(early)) as f32;
    if let (Some(average), Some(parameters)) = (average.resident(), parameters.resident()) {
        return average.move_towards(parameters, share);
    }
    let share = Towards { share };
    for (name, parameter) in parameters.iter() {
        let missing = || Error::failed(format!("the average has no parameter `{name}`"));
        average.get(name).ok_or_else(missing)?.inplace_op2(parameter, &share)?;
    }
    Ok(())
}

/// A model with copies of the same parameters: the start of an average.
pub fn copy(model: &Model, device: &Device) -> Result<Model> {
    let tensors = model.parameters().iter();
    let copied = tensors.map(|(name, tensor)| Ok((name.to_owned(), tensor.copy()?)));
    Model::from_tensors(model.config(), copied.collect::<Result<_>>()?, device)
}

/// a ← a + share·(p − a).
struct Towards {
    share: f32,
}

impl InplaceOp2 for Towards {
    fn name(&self) -> &'static str {
        "average_towards"
    }

    fn cpu_fwd(
        &self,
        average: &mut CpuStorage,
        average_layout: &Layout,
        parameter: &CpuStorage,
        parameter_layout: &Layout,
    ) -> candle_core::Result<()> {
        let strided = || candle_core::Error::Msg("an average of strided tensors".to_owned());
        let (from, to) = average_layout.contiguous_offsets().ok_or_else(strided)?;
        let (start, end) = parameter_layout.contiguous_offsets().ok_or_else(strided)?;
        let parameter = &parameter.as_slice::<f32>()?[start..end];
        let CpuStorage::F32(average) = average else {
            candle_core::bail!("an average is kept in f32")
        };
        average[from..to]
            .par_chunks_mut(CHUNK)
            .zip(parameter.par_chunks(CHUNK))
            .for_each(|(average, parameter)| towards(average, parameter, self.share));
        Ok(())
    }
}

kernel! {
    fn towards(average: &mut [f32], parameter: &[f32], share: f32) {
        for (average, parameter) in average.iter_mut().zip(parameter) {
            *average += share * (parameter - *average);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device as CandleDevice, Tensor};

    fn named(numbers: &[f32]) -> NamedParameters {
        let tensor = Tensor::from_slice(numbers, numbers.len(), &CandleDevice::Cpu).unwrap();
        NamedParameters::new([("w".to_owned(), tensor)].into())
    }

    #[test]
    fn an_average_follows_its_parameters_faster_at_first() {
        let (average, parameters) = (named(&[0.0, 4.0]), named(&[1.0, 2.0]));
        let numbers = || average.get("w").unwrap().to_vec1::<f32>().unwrap();
        update(&average, &parameters, 0.9, 1).unwrap(); // β = 2 / 11
        let expected = [9.0 / 11.0, 4.0 - 18.0 / 11.0];
        numbers().iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-6));
        let before = numbers();
        update(&average, &parameters, 0.9, 1000).unwrap();
        let after = before[0] + 0.1 * (1.0 - before[0]);
        assert!((numbers()[0] - after).abs() < 1e-6);
        assert!(update(&NamedParameters::new([].into()), &parameters, 0.9, 1).is_err());
    }
}
