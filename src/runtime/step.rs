//! The gradients of one optimizer step, in micro-batches.
//!
//! In → a model and a batch; out → [`StepGradients`]. The loss is the mean over all trained targets
//! of the batch: each micro-batch is divided by the whole's count, so any cut gives the same loss
//! and gradients up to the rounding of sums. Micro-batches are added in row order; one without a
//! trained target is passed over.

use crate::base::error::{Error, Result};
use crate::runtime::data::Batch;
use crate::runtime::model::Model;
use crate::runtime::value::{GradientSums, NamedGradients};

/// What a batch says about the parameters.
pub struct StepGradients {
    /// Mean nats a token over the whole batch.
    pub loss: f64,
    /// The loss's gradient by each parameter.
    pub gradients: NamedGradients,
}

/// Loss and gradients of `batch`, `micro_batch` rows at a time (the last part may be smaller).
pub fn gradients(model: &Model, batch: &Batch, micro_batch: usize) -> Result<StepGradients> {
    assert!(micro_batch > 0 && batch.rows > 0, "{micro_batch} of {} rows at a time", batch.rows);
    // On a thread of the pool, which then computes too instead of handing over each product.
    rayon::scope(|_| accumulate(model, batch, micro_batch))
}

fn accumulate(model: &Model, batch: &Batch, micro_batch: usize) -> Result<StepGradients> {
    let tokens = batch.trained_tokens();
    if tokens == 0 {
        let [first, rows] = [batch.first_row, batch.rows as u64].map(|rows| rows / batch.parts);
        return Err(Error::failed(format!(
            "no token of the batch is trained on: its {rows} rows from {first} on hold prompts \
             alone"
        ))
        .with_hint("a new run with a larger `train.batch_tokens`, or shorter prompts"));
    }
    model.parameters().clear_gradients()?;
    let (mut total, mut sums) = (0.0, GradientSums::default());
    for first in (0..batch.rows).step_by(micro_batch) {
        let part = batch.slice(first, micro_batch.min(batch.rows - first));
        if part.trained_tokens() == 0 {
            continue;
        }
        let loss = model.loss(&part, tokens)?;
        sums.add(&loss, model.parameters())?;
        // Read the loss last: it waits for the device, so all work is queued before.
        total += loss.scalar()?;
    }
    Ok(StepGradients { loss: total, gradients: sums.finish(model.parameters())? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::device::Device;
    use crate::runtime::model::ModelConfig;
    use crate::runtime::model::knobs::Dtype;
    use crate::runtime::optim::Optimizer;
    use crate::runtime::optim::adamw::{AdamW, AdamWConfig};
    use crate::runtime::optim::clip::clip;
    use crate::runtime::value::Form;

    fn config() -> ModelConfig {
        ModelConfig {
            vocab_size: 301,
            d_model: 32,
            n_layer: 2,
            n_head: 4,
            n_kv_head: 2,
            d_ff: 48,
            ..ModelConfig::default()
        }
    }

    fn model(seed: u64) -> Model {
        Model::new(&config(), seed, &Device::cpu()).unwrap()
    }

    /// Rows of two documents each.
    fn batch(rows: usize, sequence: usize) -> Batch {
        let tokens: Vec<u32> = (0..rows * sequence + 1).map(|i| (i * i * 7 % 301) as u32).collect();
        let cut = sequence / 3;
        let column = |at: usize| (at % sequence) as u32;
        Batch {
            inputs: tokens[..rows * sequence].to_vec(),
            targets: tokens[1..].to_vec(),
            segments: (0..rows * sequence).map(|i| u32::from(i % sequence >= cut)).collect(),
            positions: (0..rows * sequence)
                .map(|i| if i % sequence >= cut { column(i) - cut as u32 } else { column(i) })
                .collect(),
            trained: Vec::new(),
            rows,
            sequence,
            first_row: 0,
            parts: 1,
        }
    }

    fn train(model: &Model, batch: &Batch, micro_batch: usize, steps: usize) -> Vec<f64> {
        let mut optimizer = AdamW::new(model.parameters(), &AdamWConfig::default()).unwrap();
        let mut losses = Vec::new();
        for _ in 0..steps {
            let mut step = gradients(model, batch, micro_batch).unwrap();
            clip(&mut step.gradients, 1.0).unwrap();
            optimizer.step(&step.gradients, 1e-2).unwrap();
            losses.push(step.loss);
        }
        losses
    }

    #[test]
    fn micro_batches_of_one_and_four_rows_train_alike() {
        let batch = batch(4, 24);
        let (one, four) = (train(&model(1), &batch, 1, 8), train(&model(1), &batch, 4, 8));
        let three = train(&model(1), &batch, 3, 8);
        for step in 0..8 {
            assert!((one[step] - four[step]).abs() < 1e-4, "{one:?} {four:?}");
            assert!((three[step] - four[step]).abs() < 1e-4, "{three:?} {four:?}");
        }
    }

    #[test]
    fn a_loss_over_some_targets_is_their_mean_and_the_others_leave_no_gradient() {
        let mut masked = batch(4, 24);
        // Rows 1 and 2 hold a prompt alone.
        masked.trained = (0..96).map(|at| at % 5 == 0 && !(24..72).contains(&at)).collect();
        let nats = model(1).nats(&masked).unwrap();
        let own = nats.iter().zip(&masked.trained).filter(|(_, trained)| **trained);
        let mean = own.clone().map(|(nats, _)| f64::from(*nats)).sum::<f64>() / own.count() as f64;
        let whole = gradients(&model(1), &masked, 4).unwrap();
        assert!((whole.loss - mean).abs() < 1e-5, "{} {mean}", whole.loss);
        let parts = gradients(&model(1), &masked, 1).unwrap();
        assert!((parts.loss - mean).abs() < 1e-5);
        let mut other = masked.clone();
        for (target, trained) in other.targets.iter_mut().zip(&masked.trained) {
            *target = if *trained { *target } else { (*target + 7) % 301 };
        }
        let numbers = |found: &StepGradients| -> Vec<Vec<f32>> {
            let all = found.gradients.iter();
            all.map(|(_, it)| it.flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        assert_eq!(numbers(&gradients(&model(1), &other, 4).unwrap()), numbers(&whole));
        masked.trained.fill(false);
        let error = gradients(&model(1), &masked, 4).err().unwrap();
        assert!(error.to_string().contains("no token of the batch is trained on"), "{error}");
    }

    #[test]
    fn training_learns_a_batch_by_heart() {
        let losses = train(&model(1), &batch(2, 24), 2, 60);
        assert!(losses[59] < 0.2 * losses[0], "{losses:?}");
    }

    #[test]
    fn equal_runs_have_equal_bits_at_any_thread_count() {
        let run = |threads: usize, dtype: Dtype| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let config = ModelConfig { dtype, ..config() };
                let model = Model::new(&config, 1, &Device::cpu()).unwrap();
                let losses = train(&model, &batch(2, 150), 1, 3);
                (losses, model.parameters().xxh3().unwrap())
            })
        };
        let found = [Dtype::F32, Dtype::Bf16].map(|dtype| {
            let found = run(2, dtype);
            assert_eq!(found, run(2, dtype));
            assert_eq!(found, run(1, dtype));
            found
        });
        assert_ne!(found[0], found[1]);
    }

    #[test]
    fn fused_and_composed_models_agree_in_loss_and_gradients() {
        let batch = batch(2, 30);
        let fused = gradients(&model(1), &batch, 2).unwrap();
        let composed = gradients(&model(1).with_form(Form::Composed), &batch, 2).unwrap();
        assert!((fused.loss - composed.loss).abs() < 1e-5);
        for (name, gradient) in composed.gradients.iter() {
            let expected = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let found = fused.gradients.get(name).unwrap().flatten_all().unwrap();
            let scale = expected.iter().fold(0.0f32, |scale, x| scale.max(x.abs()));
            for (found, expected) in found.to_vec1::<f32>().unwrap().iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-4 * scale, "{name}: {found} {expected}");
            }
        }
    }

    #[test]
    fn an_untied_head_has_a_gradient_of_its_own() {
        let config = ModelConfig { tied: false, ..config() };
        let model = Model::new(&config, 1, &Device::cpu()).unwrap();
        let first = gradients(&model, &batch(2, 24), 1).unwrap();
        assert!(first.gradients.get("lm_head.weight").is_some());
    }
}
