//! One training step on one GPU: the time of each kernel at its ceiling, and the memory held.
//!
//! In → [`ModelConfig`], [`Gpu`], [`Batch`] or none, [`Optimizer`]; out → [`Plan`], which shows as
//! a table. **Method.** A launch takes bytes / bandwidth or operations / products, whichever is
//! longer; a step their sum. MFU is PaLM's: 6 operations a weight and token and attention over
//! whole rows (`ModelConfig::flops_per_token`), over the GPU's rate of products. **Memory.** fp32
//! master weights, gradients and two moments (Muon: also directions in bf16), a bf16 copy of the
//! weights; for each token and block, in bf16, inputs and outputs of the norms, q, k, v and the
//! output of attention with its log-sums, the feed-forward layer before and after its activation;
//! the gradients at the widest point of one block; a chunk of logits; cuBLASLt's workspace. Without
//! a batch, rows are the largest power of two up to 64 that leaves [`FREE`] of the memory, and the
//! step has [`TOKENS`].

use std::fmt;

use serde::Serialize;

use super::costs::{self, Batch, Op, Optimizer};
use super::gpus::Gpu;
use crate::base::error::Result;
use crate::base::size::{Bytes, Count};
use crate::runtime::model::ModelConfig;

/// Tokens of a step where no batch is given: 64 rows of 1,024, as in the PyTorch baseline.
const TOKENS: usize = 65_536;
/// The most rows at once.
const ROWS: usize = 64;
/// Share of the memory that stays free: for the driver's context, fragmentation, a screen.
const FREE: f64 = 0.08;
/// Bytes of cuBLASLt's workspace (NVIDIA's recommendation for Hopper).
const WORKSPACE: u64 = 32 << 20;

/// Bytes of a step, by what holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// fp32 and bf16.
    pub weights: u64,
    pub moments: u64,
    pub gradients: u64,
    pub activations: u64,
    /// Logits, and the products' workspace.
    pub scratch: u64,
}

impl Held {
    pub fn total(&self) -> u64 {
        self.weights + self.moments + self.gradients + self.activations + self.scratch
    }

    fn of(model: &ModelConfig, batch: Batch, optimizer: Optimizer) -> Held {
        let wide = |number: usize| number as u64;
        let (d, ff, h) = (wide(model.d_model), wide(model.d_ff), wide(model.head_dim()));
        let (q, k) = (wide(model.n_head) * h, wide(model.kv_heads()) * h);
        let (n, parameters) = (batch.tokens(), model.parameter_count());
        let norms = if model.parallel { 1 } else { 2 };
        let fed = if model.activation.is_gated() { 3 * ff } else { 2 * ff };
        let normed = if model.qk_norm { q + k } else { 0 };
        let kept = 2 * (2 * norms * d + 2 * q + 2 * k + normed + fed) + 4 * wide(model.n_head);
        let passing = 2 * (fed + 3 * d);
        let moments = match optimizer {
            Optimizer::AdamW => 8 * parameters,
            // The moments have room for every parameter, also Muon's; directions are in bf16.
            Optimizer::Muon => 10 * parameters,
        };
        let chunk = n.min(costs::CHUNK as u64);
        Held {
            weights: 6 * parameters,
            moments,
            gradients: 4 * parameters,
            activations: n * (wide(model.n_layer) * kept + passing),
            scratch: 2 * chunk * wide(model.padded_vocab()) + WORKSPACE,
        }
    }
}

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub op: String,
    pub launches: u64,
    pub bytes: u64,
    pub operations: u64,
    /// Time of all launches at the ceiling.
    pub seconds: f64,
    /// `memory` or `tensor cores`.
    pub bound: &'static str,
}

/// A step at the ceiling.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    pub model: String,
    pub gpu: &'static str,
    pub bytes_per_second: f64,
    pub operations_per_second: f64,
    pub gpu_memory: u64,
    pub parameters: u64,
    pub batch: Batch,
    pub rows: Vec<Row>,
    /// Time of the step.
    pub seconds: f64,
    pub tokens_per_second: f64,
    /// By PaLM's count.
    pub mfu: f64,
    pub memory: Held,
    pub memory_total: u64,
    pub fits: bool,
}

impl Plan {
    /// The plan of a model called `name`.
    ///
    /// # Errors
    /// Config: no kernel computes this model.
    pub fn of(
        name: &str,
        model: &ModelConfig,
        gpu: &'static Gpu,
        asked: Asked,
        optimizer: Optimizer,
    ) -> Result<Plan> {
        let batch = asked.batch(model, gpu, optimizer);
        let ops = costs::ops(model, batch, optimizer)?;
        let rows: Vec<Row> = ops.iter().map(|op| row(op, gpu)).collect();
        let seconds: f64 = rows.iter().map(|row| row.seconds).sum();
        let tokens = (batch.tokens() * batch.parts as u64) as f64;
        let tokens_per_second = tokens / seconds;
        let of_token = model.flops_per_token(batch.sequence) as f64;
        let memory = Held::of(model, batch, optimizer);
        Ok(Plan {
            model: name.to_owned(),
            gpu: gpu.title,
            bytes_per_second: gpu.bandwidth,
            operations_per_second: gpu.products,
            gpu_memory: gpu.memory,
            parameters: model.parameter_count(),
            batch,
            rows,
            seconds,
            tokens_per_second,
            mfu: tokens_per_second * of_token / gpu.products,
            memory,
            memory_total: memory.total(),
            fits: memory.total() as f64 <= gpu.memory as f64 * (1.0 - FREE),
        })
    }
}

/// The parts of a batch that the user gave; the others are chosen.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub sequence: usize,
    /// Rows at once.
    pub rows: Option<usize>,
    /// Parts of a step.
    pub parts: Option<usize>,
}

impl Asked {
    fn batch(&self, model: &ModelConfig, gpu: &Gpu, optimizer: Optimizer) -> Batch {
        let of = |rows| Batch { rows, sequence: self.sequence, parts: 1 };
        let fits = |rows: &usize| {
            let held = Held::of(model, of(*rows), optimizer).total();
            held as f64 <= gpu.memory as f64 * (1.0 - FREE)
        };
        let most = (TOKENS / self.sequence).clamp(1, ROWS);
        let halves = std::iter::successors(Some(most), |rows| (*rows > 1).then_some(rows / 2));
        let rows = self.rows.unwrap_or_else(|| halves.into_iter().find(fits).unwrap_or(1));
        let parts = self.parts.unwrap_or_else(|| TOKENS.div_ceil(rows * self.sequence));
        Batch { parts, ..of(rows) }
    }
}

fn row(op: &Op, gpu: &Gpu) -> Row {
    let (mut memory, mut tensor) = (0.0, 0.0);
    for work in &op.works {
        let by_memory = work.bytes as f64 / gpu.bandwidth;
        let by_tensor = work.operations as f64 / gpu.products;
        let seconds = work.launches as f64 * by_memory.max(by_tensor);
        *(if by_memory >= by_tensor { &mut memory } else { &mut tensor }) += seconds;
    }
    Row {
        op: op.name.clone(),
        launches: op.launches(),
        bytes: op.bytes(),
        operations: op.operations(),
        seconds: memory + tensor,
        bound: if memory >= tensor { "memory" } else { "tensor cores" },
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Batch { rows, sequence, parts } = self.batch;
        writeln!(
            f,
            "{}, {} parameters, on {}: {:.2} TB/s, {:.1} TFLOP/s in bf16",
            self.model,
            Count(self.parameters),
            self.gpu,
            self.bytes_per_second / 1e12,
            self.operations_per_second / 1e12
        )?;
        writeln!(
            f,
            "a step of {} tokens: {parts} × {rows} rows of {sequence}\n",
            Count((rows * sequence * parts) as u64)
        )?;
        writeln!(
            f,
            "{:<26}{:>9}{:>10}{:>10}{:>10}{:>7}  bound by",
            "kernel or product", "launches", "GB", "TFLOP", "ms", "share"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<26}{:>9}{:>10.2}{:>10.3}{:>10.3}{:>6.1}%  {}",
                row.op,
                row.launches,
                row.bytes as f64 / 1e9,
                row.operations as f64 / 1e12,
                row.seconds * 1e3,
                100.0 * row.seconds / self.seconds,
                row.bound
            )?;
        }
        let sum = |of: fn(&Row) -> u64| self.rows.iter().map(of).sum::<u64>() as f64;
        writeln!(
            f,
            "{:<26}{:>9}{:>10.2}{:>10.3}{:>10.3}\n",
            "a step at the ceiling",
            sum(|row| row.launches),
            sum(|row| row.bytes) / 1e9,
            sum(|row| row.operations) / 1e12,
            self.seconds * 1e3
        )?;
        writeln!(
            f,
            "at best {} tokens/s, MFU {:.1}% (PaLM: 6 operations a weight, attention over whole \
             rows)",
            Count(self.tokens_per_second as u64),
            100.0 * self.mfu
        )?;
        let held = self.memory;
        writeln!(
            f,
            "memory {} of {}: weights {}, moments {}, gradients {}, activations {}, scratch {}",
            Bytes(held.total()),
            Bytes(self.gpu_memory),
            Bytes(held.weights),
            Bytes(held.moments),
            Bytes(held.gradients),
            Bytes(held.activations),
            Bytes(held.scratch)
        )?;
        match (self.fits, rows) {
            (true, _) => Ok(()),
            (false, 1) => writeln!(f, "which does not fit: this GPU does not train this shape"),
            (false, _) => writeln!(f, "which does not fit: take fewer rows at once (`--rows`)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Shape;
    use super::*;

    fn plan(shape: &str, gpu: &str, optimizer: Optimizer) -> Plan {
        let shape = Shape::named(shape).unwrap();
        let asked = Asked { sequence: shape.sequence, rows: None, parts: None };
        let gpu = Gpu::named(gpu).unwrap();
        Plan::of(shape.name, &shape.config().unwrap(), gpu, asked, optimizer).unwrap()
    }

    #[test]
    fn a_gpt2_small_on_an_h200_is_bound_as_the_sum_of_its_parts() {
        let found = plan("124m", "h200", Optimizer::AdamW);
        assert_eq!(found.batch, Batch { rows: 64, sequence: 1024, parts: 1 });
        // A token: 6 · 123.57M weights in products, 18 · 768 · 512.5 · 12 layers in attention.
        let products = found.rows.iter().map(|row| row.operations).sum::<u64>() as f64 / 65_536.0;
        assert!((products / 1e6 - 741.4 - 85.0).abs() < 2.0, "{products}");
        assert!(found.rows.iter().any(|row| row.op == "adamw" && row.bound == "memory"));
        let adamw = found.rows.iter().find(|row| row.op == "adamw").unwrap();
        assert!((adamw.seconds - 30.0 * found.parameters as f64 / 4.8e12).abs() < 1e-9);
        assert!(found.mfu > 0.4 && found.mfu < 1.0, "{}", found.mfu);
        assert!(found.fits && found.to_string().contains("at best"));
    }

    #[test]
    fn rows_are_as_many_as_fit_and_the_step_keeps_its_tokens() {
        let [large, small] = ["h200", "4070"].map(|gpu| plan("124m", gpu, Optimizer::AdamW));
        assert!(small.batch.rows < large.batch.rows);
        assert_eq!(small.batch.tokens() * small.batch.parts as u64, 65_536);
        assert!(small.fits && small.memory_total < 12 << 30);
        let none = plan("1b", "4070", Optimizer::AdamW);
        assert!(!none.fits && none.to_string().contains("does not train this shape"));
    }

    #[test]
    fn muon_costs_products_and_memory_for_directions() {
        let [adamw, muon] =
            [Optimizer::AdamW, Optimizer::Muon].map(|which| plan("124m", "h200", which));
        assert!(muon.seconds > adamw.seconds && muon.memory.moments > adamw.memory.moments);
    }
}
