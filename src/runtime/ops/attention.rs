//! Causal attention inside documents, with grouped queries.
//!
//! In → q [B, T, H·h], k and v [B, S, K·h] with K dividing H, and which keys each query sees; out →
//! softmax(q·kᵀ/√h)·v as [B, T, H·h]. Query head i reads key head i / (H/K). Ainslie et al., *GQA*,
//! 2023. Query t sees the keys `first[t] ..= S − T + t`: S = T in training, S > T when
//! generating with a cache. The scores q·kᵀ/√h may be soft-capped ("bent") before the softmax,
//! c·tanh(score/c) (*Gemma 2*, 2024).
//!
//! **Fused form**, after Dao, *FlashAttention-2*, 2023: for each (row, key head), blocks of
//! [`BLOCK`] queries against only the keys that any of them sees, so only the scores of one block
//! exist at a time. The log-sum-exp of each query is kept and the backward recomputes its
//! probabilities: with D = Σ g·o, ds = p·(g·vᵀ − D)/√h, dq = ds·k, dk = dsᵀ·q, dv = pᵀ·g; where
//! scores are bent to b, ds has the factor 1 − (b/c)² too. Gradients of keys and values are added
//! in the order of heads, then blocks: the same bits at any thread count. **Cost.** 4·T²·H·h
//! operations a row forward, 10·T²·H·h backward, half of them skipped by causality.

use candle_core::{D, DType, Device, Tensor};

use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::runtime::cpu::{
    self, Elements, Matrix, Strip, Threads, in_strips, kernel, matmul, tensor,
};
use crate::runtime::cuda::heads::{self, Heads};
use crate::runtime::value::{Value, pulls};

/// Queries whose scores exist at once.
pub const BLOCK: usize = 64;

/// Which keys each query of a batch sees.
#[derive(Clone, Debug)]
pub struct Visible {
    rows: usize,
    queries: usize,
    keys: usize,
    /// First key that query t of row b sees, at b · queries + t; it ends at keys − queries + t.
    first: Vec<u32>,
}

impl Visible {
    /// Causal, inside runs of equal `segments` ([rows, sequence]).
    pub fn in_segments(segments: &[u32], rows: usize, sequence: usize) -> Visible {
        assert_eq!(segments.len(), rows * sequence, "one segment a token");
        let mut first = Vec::with_capacity(segments.len());
        for row in segments.chunks_exact(sequence) {
            let mut start = 0;
            for (at, segment) in row.iter().enumerate() {
                if at > 0 && row[at - 1] != *segment {
                    start = at as u32;
                }
                first.push(start);
            }
        }
        Visible { rows, queries: sequence, keys: sequence, first }
    }

    /// Causal over one document of `keys` tokens, of which the last `queries` are the queries.
    pub fn after_cache(queries: usize, keys: usize) -> Visible {
        assert!(queries <= keys, "{queries} queries cannot be the last of {keys} keys");
        Visible { rows: 1, queries, keys, first: vec![0; queries] }
    }

    /// The same, but each query sees at most the last `window` keys, its own among them; 0: all.
    pub fn within(&self, window: usize) -> Visible {
        let mut narrower = self.clone();
        if window > 0 {
            for (at, first) in narrower.first.iter_mut().enumerate() {
                let last = self.keys - self.queries + at % self.queries;
                *first = (*first).max((last + 1).saturating_sub(window) as u32);
            }
        }
        narrower
    }

    /// 0 where a query sees a key, −∞ elsewhere: [B, 1, T, S].
    fn mask(&self, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let mut mask = vec![f32::NEG_INFINITY; self.rows * self.queries * self.keys];
        for (at, (row, &first)) in mask.chunks_exact_mut(self.keys).zip(&self.first).enumerate() {
            let last = self.keys - self.queries + at % self.queries;
            row[first as usize..=last].fill(0.0);
        }
        let shape = (self.rows, 1, self.queries, self.keys);
        Tensor::from_vec(mask, shape, device)?.to_dtype(dtype)
    }
}

/// Sizes of one call.
#[derive(Clone, Copy)]
struct Sizes {
    queries: usize,
    keys: usize,
    heads: usize,
    key_heads: usize,
    h: usize,
    /// c of c·tanh(score/c); 0: scores as they are.
    softcap: f32,
    /// Whether products round to bf16.
    in_bf16: bool,
}

impl Sizes {
    fn group(&self) -> usize {
        self.heads / self.key_heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.h as f32).sqrt()
    }

    /// Scales and bends scores in place where there is a soft cap. Returns the factor that is still
    /// to be applied to them.
    fn bent(&self, scores: &mut [f32]) -> f32 {
        if self.softcap == 0.0 {
            return self.scale();
        }
        bend(scores, self.scale(), self.softcap);
        1.0
    }

    fn query_shape(&self) -> HeadShape {
        let Sizes { queries: tokens, heads, h, in_bf16, .. } = *self;
        HeadShape { tokens, heads, h, in_bf16 }
    }

    fn key_shape(&self) -> HeadShape {
        let Sizes { keys: tokens, key_heads: heads, h, in_bf16, .. } = *self;
        HeadShape { tokens, heads, h, in_bf16 }
    }

    /// The most scores that a block has.
    fn block(&self) -> usize {
        BLOCK.min(self.queries) * self.keys
    }
}

/// softmax(q·kᵀ/√h)·v over the visible keys; q has `heads` heads, k and v have `key_heads`. Scores
/// are bent to below `softcap` unless it is 0.
pub fn attention(
    q: &Value,
    k: &Value,
    v: &Value,
    visible: &Visible,
    heads: usize,
    key_heads: usize,
    softcap: f64,
) -> Result<Value> {
    let (h, softcap) = (q.dims()[2] / heads, softcap as f32);
    let (queries, keys, in_bf16) = (visible.queries, visible.keys, q.in_bf16());
    let sizes = Sizes { queries, keys, heads, key_heads, h, softcap, in_bf16 };
    assert_eq!(heads % key_heads, 0, "{heads} query heads over {key_heads} key heads");
    assert_eq!(q.dims(), [visible.rows, visible.queries, heads * h], "queries");
    assert_eq!(k.dims(), [visible.rows, visible.keys, key_heads * h], "keys");
    assert_eq!(v.dims(), k.dims(), "values");
    if let Some([queries, keys, values]) = Value::arrays([q, k, v])? {
        let first = queries.context().integers(&visible.first)?;
        let (rows, tokens) = (visible.rows, visible.queries);
        let before = sizes.keys - sizes.queries;
        let heads = Heads { rows, tokens, before, heads, key_heads, h, softcap };
        let attended = heads::attention(&queries, &keys, &values, first, heads)?;
        let output = attended.output.clone();
        return Ok(Value::on_device(output, &[q, k, v], move |gradient, with| {
            pulls(attended.backward(gradient)?, with)
        }));
    }
    if !Value::fused_on_cpu(&[q, k, v]) {
        return Value::composed(&[q, k, v], |inputs| composed(inputs, visible, sizes));
    }
    let (output, log_sums) = forward(q.tensor(), k.tensor(), v.tensor(), visible, sizes)?;
    let saved = [q.tensor().clone(), k.tensor().clone(), v.tensor().clone(), output.clone()];
    let visible = visible.clone();
    Ok(Value::result(output, &[q, k, v], move |gradient| {
        let gradients = backward(&saved, &log_sums, &gradient.contiguous()?, &visible, sizes)?;
        Ok(gradients.into_iter().map(Some).collect())
    }))
}

fn composed(inputs: &[Tensor], visible: &Visible, sizes: Sizes) -> candle_core::Result<Tensor> {
    let Sizes { queries, keys, heads, key_heads, h, softcap, .. } = sizes;
    let (rows, group) = (visible.rows, sizes.group());
    let q = inputs[0].reshape((rows, queries, key_heads, group, h))?;
    let q = q.permute((0, 2, 3, 1, 4))?; // [B, K, G, T, h]
    let q = q.reshape((rows, key_heads, group * queries, h))?; // [B, K, G·T, h]
    let k = inputs[1].reshape((rows, keys, key_heads, h))?;
    let k = k.permute((0, 2, 3, 1))?.contiguous()?; // [B, K, h, S]
    let v = inputs[2].reshape((rows, keys, key_heads, h))?;
    let v = v.transpose(1, 2)?.contiguous()?; // [B, K, S, h]
    let mut scores = (q.matmul(&k)? * (1.0 / (h as f64).sqrt()))?; // [B, K, G·T, S]
    if softcap > 0.0 {
        let softcap = f64::from(softcap);
        scores = ((scores / softcap)?.tanh()? * softcap)?; // [B, K, G·T, S]
    }
    let scores = scores.reshape((rows, heads, queries, keys))?; // [B, H, T, S]
    let scores = scores.broadcast_add(&visible.mask(scores.dtype(), scores.device())?)?;
    let shifted = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?;
    let weights = shifted.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    let weights = weights.reshape((rows, key_heads, group * queries, keys))?;
    let output = weights.matmul(&v)?.reshape((rows, heads, queries, h))?; // [B, H, T, h]
    output.transpose(1, 2)?.reshape((rows, queries, heads * h))
}

/// One block of queries of one head: where it lies, and the keys that any of them sees.
struct Block<'a> {
    first_query: usize,
    first_key: usize,
    rows: usize,
    columns: usize,
    /// The first visible key of each query.
    first: &'a [u32],
    /// Column of the first query's last visible key.
    last: usize,
}

/// The blocks of batch row `row`, by rising query.
fn blocks(visible: &Visible, row: usize) -> impl Iterator<Item = Block<'_>> {
    let first = &visible.first[row * visible.queries..][..visible.queries];
    first.chunks(BLOCK).enumerate().map(move |(index, first)| {
        let first_query = index * BLOCK;
        let first_key = first.iter().copied().min().unwrap_or(0) as usize;
        let end = visible.keys - visible.queries + first_query + first.len();
        let last = visible.keys - visible.queries + first_query - first_key;
        let (rows, columns) = (first.len(), end - first_key);
        Block { first_query, first_key, rows, columns, first, last }
    })
}

/// The memory layout of queries or keys.
#[derive(Clone, Copy)]
struct HeadShape {
    tokens: usize,
    heads: usize,
    h: usize,
    /// Whether products round them to bf16.
    in_bf16: bool,
}

/// Head `head` of the tokens from `token` on, in [.., T, heads·h] of batch row `row`.
fn head<'a>(
    elements: &'a [f32],
    row: usize,
    HeadShape { tokens, heads, h, in_bf16 }: HeadShape,
    head: usize,
    token: usize,
    rows: usize,
) -> Matrix<'a> {
    let start = ((row * tokens + token) * heads + head) * h;
    Matrix::new(&elements[start..], rows, h, heads * h).rounded(in_bf16)
}

fn forward(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    visible: &Visible,
    sizes: Sizes,
) -> Result<(Tensor, Vec<Vec<f32>>)> {
    let Sizes { queries, heads, h, .. } = sizes;
    let (qs, ks, vs) = (Elements::of(q)?, Elements::of(k)?, Elements::of(v)?);
    let tasks = (visible.rows, heads);
    let ([output], log_sums) = in_strips(tasks, [(queries, h)], |task, [mut output], buffer| {
        let (row, query_head) = (task / heads, task % heads);
        let key_head = query_head / sizes.group();
        buffer.resize(sizes.block(), 0.0);
        let mut log_sums = vec![0.0; queries];
        for block in blocks(visible, row) {
            let Block { first_query, first_key, rows, columns, .. } = block;
            let q = head(&qs, row, sizes.query_shape(), query_head, first_query, rows);
            let k = head(&ks, row, sizes.key_shape(), key_head, first_key, columns);
            let v = head(&vs, row, sizes.key_shape(), key_head, first_key, columns);
            let scores = &mut buffer[..rows * columns];
            matmul(scores, columns, false, q, k.t(), Threads::One);
            let log_sums = &mut log_sums[first_query..][..rows];
            let scale = sizes.bent(scores);
            softmax(scores, log_sums, block.first, first_key, block.last, scale);
            let weights = Matrix::new(scores, rows, columns, columns).rounded(sizes.in_bf16);
            output.product((first_query, 0), false, weights, v);
        }
        log_sums
    });
    Ok((tensor(output, q.shape())?, log_sums))
}

kernel! {
    /// c·tanh(scale·score/c) in place.
    fn bend(scores: &mut [f32], scale: f32, c: f32) {
        let inner = scale / c;
        for score in scores.iter_mut() {
            *score = c * cpu::tanh(*score * inner);
        }
    }
}

kernel! {
    /// The gradient of scores from that of bent ones, in place.
    fn straighten(to_scores: &mut [f32], bent: &[f32], scale: f32, c: f32) {
        for (to_score, bent) in to_scores.iter_mut().zip(bent) {
            let share = bent / c;
            *to_score *= scale * (1.0 - share * share);
        }
    }
}

kernel! {
    /// Scores to probabilities in place; `log_sums` gets the log-sum-exp of each query.
    fn softmax(
        scores: &mut [f32],
        log_sums: &mut [f32],
        first: &[u32],
        first_key: usize,
        last: usize,
        scale: f32,
    ) {
        let columns = scores.len() / log_sums.len();
        let rows = scores.chunks_exact_mut(columns).zip(log_sums.iter_mut()).zip(first);
        for (at, ((scores, log_sum), &first)) in rows.enumerate() {
            let (start, end) = (first as usize - first_key, last + at + 1);
            scores[..start].fill(0.0);
            scores[end..].fill(0.0);
            let visible = &mut scores[start..end];
            for score in visible.iter_mut() {
                *score *= scale;
            }
            let largest = cpu::maximum(visible);
            let sum = cpu::exp_sum(visible, largest);
            let factor = 1.0 / sum;
            for score in visible.iter_mut() {
                *score *= factor;
            }
            *log_sum = largest + cpu::ln(sum);
        }
    }
}

kernel! {
    /// Recomputes probabilities from scores and the kept log-sum-exp of each query.
    fn probabilities(
        scores: &mut [f32],
        log_sums: &[f32],
        first: &[u32],
        first_key: usize,
        last: usize,
        scale: f32,
    ) {
        let columns = scores.len() / log_sums.len();
        let rows = scores.chunks_exact_mut(columns).zip(log_sums).zip(first);
        for (at, ((scores, &log_sum), &first)) in rows.enumerate() {
            let (start, end) = (first as usize - first_key, last + at + 1);
            scores[..start].fill(0.0);
            scores[end..].fill(0.0);
            for score in scores[start..end].iter_mut() {
                *score = cpu::exp(*score * scale - log_sum);
            }
        }
    }
}

kernel! {
    /// Dot product of each pair of rows, h long and `stride` apart.
    fn row_dots(dots: &mut [f32], a: &[f32], b: &[f32], h: usize, stride: usize) {
        for (row, dot) in dots.iter_mut().enumerate() {
            let range = row * stride..row * stride + h;
            *dot = cpu::dot(&a[range.clone()], &b[range]);
        }
    }
}

kernel! {
    /// ds = p · (dp − D) · scale, in place of dp; one D a row.
    fn score_gradients(to_scores: &mut [f32], weights: &[f32], pulls: &[f32], scale: f32) {
        let columns = weights.len() / pulls.len();
        let rows = to_scores.chunks_exact_mut(columns).zip(weights.chunks_exact(columns));
        for ((to_scores, weights), pull) in rows.zip(pulls) {
            for (to_score, weight) in to_scores.iter_mut().zip(weights) {
                *to_score = weight * (*to_score - pull) * scale;
            }
        }
    }
}

/// Gradients of q, k, v; `saved` is q, k, v and the output.
fn backward(
    saved: &[Tensor; 4],
    log_sums: &[Vec<f32>],
    gradient: &Tensor,
    visible: &Visible,
    sizes: Sizes,
) -> Result<Vec<Tensor>> {
    let Sizes { queries, keys, key_heads, h, softcap, .. } = sizes;
    let group = sizes.group();
    // Probabilities, their gradients, bent scores.
    let parts = if softcap > 0.0 { 3 } else { 2 };
    let [q, k, v, output] = saved;
    let inputs = BackwardInputs {
        q: Elements::of(q)?,
        k: Elements::of(k)?,
        v: Elements::of(v)?,
        output: Elements::of(output)?,
        gradient: Elements::of(gradient)?,
        log_sums,
    };
    let shapes = [(queries, group * h), (keys, h), (keys, h)];
    let tasks = (visible.rows, key_heads);
    let ([to_q, to_k, to_v], _) = in_strips(tasks, shapes, |task, mut to, buffer| {
        let (row, key_head) = (task / key_heads, task % key_heads);
        buffer.resize(parts * sizes.block(), 0.0);
        for member in 0..group {
            for block in blocks(visible, row) {
                block_backward(&inputs, &block, sizes, (row, key_head, member), buffer, &mut to);
            }
        }
    });
    Ok(vec![tensor(to_q, q.shape())?, tensor(to_k, k.shape())?, tensor(to_v, v.shape())?])
}

struct BackwardInputs<'a> {
    q: Elements<'a>,
    k: Elements<'a>,
    v: Elements<'a>,
    output: Elements<'a>,
    gradient: Elements<'a>,
    /// The log-sum-exp of each query, in one vector for each batch row and head, ordered by row.
    log_sums: &'a [Vec<f32>],
}

/// Adds one block's part to the gradients of q (all heads that read one key head), k and v.
fn block_backward(
    inputs: &BackwardInputs<'_>,
    block: &Block<'_>,
    sizes: Sizes,
    (row, key_head, member): (usize, usize, usize),
    buffer: &mut [f32],
    [to_q, to_k, to_v]: &mut [Strip<'_>; 3],
) {
    let Sizes { queries, heads, h, softcap, in_bf16, .. } = sizes;
    let Block { first_query, first_key, rows, columns, .. } = *block;
    let (query_shape, query_head) = (sizes.query_shape(), key_head * sizes.group() + member);
    let q = head(&inputs.q, row, query_shape, query_head, first_query, rows);
    let gradient = head(&inputs.gradient, row, query_shape, query_head, first_query, rows);
    let k = head(&inputs.k, row, sizes.key_shape(), key_head, first_key, columns);
    let v = head(&inputs.v, row, sizes.key_shape(), key_head, first_key, columns);
    let mut parts = buffer.chunks_exact_mut(sizes.block());
    let mut part = || parts.next().map(|part| &mut part[..rows * columns]);
    let (Some(weights), Some(to_scores), mut bent) = (part(), part(), part()) else {
        unreachable!("the buffer has two parts or three")
    };
    let log_sums = &inputs.log_sums[row * heads + query_head][first_query..][..rows];
    matmul(weights, columns, false, q, k.t(), Threads::One);
    let scale = sizes.bent(weights);
    if let Some(bent) = &mut bent {
        bent.copy_from_slice(weights);
    }
    probabilities(weights, log_sums, block.first, first_key, block.last, scale);
    matmul(to_scores, columns, false, gradient, v.t(), Threads::One);
    let weights_t = Matrix::new(weights, rows, columns, columns).t().rounded(in_bf16);
    to_v.product((first_key, 0), true, weights_t, gradient);
    let start = ((row * queries + first_query) * heads + query_head) * h;
    let (gradient, output) = (&inputs.gradient[start..], &inputs.output[start..]);
    let mut pulls = [0.0; BLOCK];
    row_dots(&mut pulls[..rows], gradient, output, h, heads * h);
    score_gradients(to_scores, weights, &pulls[..rows], scale);
    if let Some(bent) = bent {
        straighten(to_scores, bent, sizes.scale(), softcap);
    }
    let to_scores = Matrix::new(to_scores, rows, columns, columns).rounded(in_bf16);
    to_q.product((first_query, member * h), false, to_scores, k);
    to_k.product((first_key, 0), true, to_scores.t(), q);
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "attention", cases, tolerance: 3e-5 };

fn cases() -> Vec<Case> {
    let inputs = |rows: usize, queries: usize, keys: usize, heads: usize, key_heads: usize| {
        vec![
            normal("q", &[rows, queries, heads * 4]),
            normal("k", &[rows, keys, key_heads * 4]),
            normal("v", &[rows, keys, key_heads * 4]),
        ]
    };
    vec![
        Case::new("grouped heads, three documents", inputs(2, 6, 6, 4, 2), |i| {
            let visible = Visible::in_segments(&[7, 7, 7, 7, 7, 7, 1, 1, 2, 2, 2, 1], 2, 6);
            attention(&i[0], &i[1], &i[2], &visible, 4, 2, 0.0)
        }),
        Case::new("more queries than a block", inputs(1, 150, 150, 2, 1), |i| {
            let segments: Vec<u32> = (0..150).map(|t| u32::from(t >= 70)).collect();
            let visible = Visible::in_segments(&segments, 1, 150);
            attention(&i[0], &i[1], &i[2], &visible, 2, 1, 0.0)
        }),
        Case::new("a window that blocks begin behind", inputs(1, 150, 150, 2, 1), |i| {
            let segments: Vec<u32> = (0..150).map(|t| u32::from(t >= 120)).collect();
            let visible = Visible::in_segments(&segments, 1, 150).within(9);
            attention(&i[0], &i[1], &i[2], &visible, 2, 1, 0.0)
        }),
        Case::new("a window after a cache", inputs(1, 2, 7, 2, 2), |i| {
            attention(&i[0], &i[1], &i[2], &Visible::after_cache(2, 7).within(3), 2, 2, 0.0)
        }),
        Case::new("bent scores, two documents", inputs(1, 150, 150, 4, 2), |i| {
            let segments: Vec<u32> = (0..150).map(|t| u32::from(t >= 70)).collect();
            let visible = Visible::in_segments(&segments, 1, 150);
            attention(&i[0], &i[1], &i[2], &visible, 4, 2, 1.5)
        }),
        Case::new("bent scores after a cache", inputs(1, 2, 7, 2, 2), |i| {
            attention(&i[0], &i[1], &i[2], &Visible::after_cache(2, 7), 2, 2, 0.7)
        }),
        Case::new("after a cache", inputs(1, 2, 7, 2, 2), |i| {
            attention(&i[0], &i[1], &i[2], &Visible::after_cache(2, 7), 2, 2, 0.0)
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::value::Form;

    /// Moves one token's key and value and says which outputs moved.
    fn moved_by(token: usize) -> Vec<usize> {
        let visible = Visible::in_segments(&[0, 0, 0, 1, 1], 1, 5);
        let run = |shift: f32| {
            let ramp = |offset: f32| {
                let mut numbers: Vec<f32> =
                    (0..20).map(|i| (i as f32 * 0.7 + offset).sin()).collect();
                numbers[token * 4..][..4].iter_mut().for_each(|number| *number += shift);
                let tensor = Tensor::from_vec(numbers, (1, 5, 4), &Device::Cpu).unwrap();
                Value::constant(&tensor, Form::Fused)
            };
            let q = Value::constant(&ramp(0.0).detached(), Form::Fused);
            let output = attention(&q, &ramp(1.0), &ramp(2.0), &visible, 1, 1, 0.0).unwrap();
            output.detached().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let (before, after) = (run(0.0), run(0.5));
        (0..5).filter(|t| before[t * 4..][..4] != after[t * 4..][..4]).collect()
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
        #[test]
        fn any_cut_into_documents_gives_the_reference(
            rows in 1usize..3,
            sequence in 1usize..140,
            key_heads in 1usize..3,
            group in 1usize..3,
            cuts in proptest::collection::vec(0usize..280, 0..6),
        ) {
            let heads = key_heads * group;
            let segments: Vec<u32> = (0..rows * sequence)
                .map(|at| cuts.iter().filter(|&&cut| cut <= at).count() as u32)
                .collect();
            let visible = Visible::in_segments(&segments, rows, sequence);
            let input = |name: &'static str, heads: usize| {
                let input = normal(name, &[rows, sequence, heads * 4]);
                let numbers: Vec<f32> = input.numbers.iter().map(|&x| x as f32).collect();
                Tensor::from_vec(numbers, &*input.dims, &Device::Cpu).unwrap()
            };
            let inputs = [input("q", heads), input("k", key_heads), input("v", key_heads)];
            let outputs = [Form::Fused, Form::Composed].map(|form| {
                let [q, k, v] = inputs.clone().map(|tensor| Value::constant(&tensor, form));
                let output = attention(&q, &k, &v, &visible, heads, key_heads, 0.0).unwrap();
                output.detached().flatten_all().unwrap().to_vec1::<f32>().unwrap()
            });
            for (fused, composed) in outputs[0].iter().zip(&outputs[1]) {
                proptest::prop_assert!((fused - composed).abs() < 1e-5, "{fused} {composed}");
            }
        }
    }

    #[test]
    fn a_token_reaches_later_tokens_of_its_own_document_only() {
        assert_eq!(moved_by(0), [0, 1, 2]);
        assert_eq!(moved_by(2), [2]);
        assert_eq!(moved_by(3), [3, 4]);
    }
}
