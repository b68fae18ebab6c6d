//! Queries, keys and values on a device: norms and rotations of heads, and attention.
//!
//! In → arrays of heads; out → arrays, forward and backward, as in [`super::calls`], whose rules
//! hold here too. **Cost.** Queries and keys are read once and written once before attention, whose
//! scores are never in memory (`kernels/rope.cu`, `kernels/attention_forward.cu`).

use super::calls::{EIGHT, add_parts, arguments, line, threads_of, width};
use super::driver::{Argument, Element};
use super::memory::Array;
use super::table::PLACED;
use crate::base::error::Result;

/// Cosines and sines of the rotary embedding by position, and the position of each token.
#[derive(Clone, Debug)]
pub struct Turns {
    /// [positions, h/2].
    pub cosine: Array,
    /// Of the same shape.
    pub sine: Array,
    /// `[tokens]`.
    pub positions: Array,
}

/// How queries and keys are normed and rotated.
#[derive(Clone, Debug)]
pub struct Placed {
    pub turns: Turns,
    pub norms: Option<HeadNorms>,
}

/// RMSNorms of heads before their rotation.
#[derive(Clone, Debug)]
pub struct HeadNorms {
    /// Weights of queries and of keys, `[h]`.
    pub gains: [Array; 2],
    /// Whether they are trained.
    pub trained: [bool; 2],
    pub epsilon: f64,
}

impl Placed {
    /// Elements of a head.
    fn h(&self) -> usize {
        2 * width(&self.turns.cosine)
    }

    /// The arguments that both passes take: weights of the norms, cosines, sines and positions.
    fn common(&self) -> Vec<Argument> {
        let Turns { cosine, sine, positions } = &self.turns;
        let [q, k] = [0, 1].map(|at| self.norms.as_ref().map(|norms| &norms.gains[at]));
        arguments![q, k, cosine, sine, positions]
    }

    /// Size arguments for `heads`, [.., heads·h] each; the first `q_blocks` blocks are for queries.
    fn sizes(&self, heads: &[Array; 2], q_blocks: usize) -> Vec<Argument> {
        let [q, k] = heads.each_ref().map(|heads| (width(heads) / self.h()) as i32);
        let epsilon = self.norms.as_ref().map_or(0.0, |norms| norms.epsilon as f32);
        let tokens = self.turns.positions.count() as i32;
        arguments![tokens, q, k, q_blocks as i32, epsilon]
    }

    /// Queries and keys, normed and rotated by their tokens' positions.
    pub fn forward(&self, heads: &[Array; 2]) -> Result<[Array; 2]> {
        let [q, k] = heads;
        let (q_out, k_out) = (q.like(q.dims())?, k.like(k.dims())?);
        let name = format!("rope_forward_{}", self.h());
        let [q_blocks, k_blocks] = [q, k].map(|x| threads_of(&name, x.count() / EIGHT)[0]);
        let given = [arguments![q, k], self.common(), arguments![&q_out, &k_out]];
        let given = given.into_iter().flatten().chain(self.sizes(heads, q_blocks)).collect();
        q.context().launch(&name, line(q_blocks + k_blocks), given)?;
        Ok([q_out, k_out])
    }

    /// The gradients of queries and keys; those of the weights go to their sums. `heads` are the
    /// inputs of the norms, where there are norms.
    pub fn backward(
        &self,
        heads: Option<&[Array; 2]>,
        gradients: &[Array; 2],
    ) -> Result<[Array; 2]> {
        let ([to_q_out, to_k_out], context) = (gradients, gradients[0].context());
        let (to_q, to_k) = (to_q_out.like(to_q_out.dims())?, to_k_out.like(to_k_out.dims())?);
        let blocks = gradients.each_ref().map(|x| x.count().div_ceil(PLACED));
        let trained = self.norms.as_ref().map_or([false; 2], |norms| norms.trained);
        let parts = trained
            .contains(&true)
            .then(|| context.array(&[blocks[0] + blocks[1], self.h()], Element::F32));
        let parts = parts.transpose()?;
        let [q, k] = [0, 1].map(|at| heads.map(|heads| &heads[at]));
        let given = [
            arguments![q, k],
            self.common(),
            arguments![to_q_out, to_k_out, &to_q, &to_k, parts.as_ref()],
            self.sizes(gradients, blocks[0]),
        ];
        let name = format!("rope_backward_{}", self.h());
        let given = given.into_iter().flatten().collect();
        context.launch(&name, line(blocks[0] + blocks[1]), given)?;
        if let (Some(parts), Some(norms)) = (parts, &self.norms) {
            for (at, start) in [(0, 0), (1, blocks[0])] {
                if trained[at] {
                    let own = parts.part(start * self.h(), &[blocks[at], self.h()]);
                    add_parts(&own, norms.gains[at].sum())?;
                }
            }
        }
        Ok([to_q, to_k])
    }
}

/// Sizes of one call of attention.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    pub rows: usize,
    /// Queries of a row.
    pub tokens: usize,
    /// Keys before the first query's own.
    pub before: usize,
    pub heads: usize,
    pub key_heads: usize,
    /// Elements of a head.
    pub h: usize,
    /// c of c·tanh(score/c); 0: scores as they are.
    pub softcap: f32,
}

impl Heads {
    fn argument(&self) -> Argument {
        let (wide, narrow) = (self.heads * self.h, self.key_heads * self.h);
        let sizes = [self.tokens, self.heads, self.key_heads, wide, narrow, narrow];
        let mut bytes = [0; 36];
        for (place, size) in bytes.chunks_exact_mut(4).zip(sizes) {
            place.copy_from_slice(&(size as i32).to_le_bytes());
        }
        bytes[24..28].copy_from_slice(&(1.0 / (self.h as f32).sqrt()).to_le_bytes());
        bytes[28..32].copy_from_slice(&(self.before as i32).to_le_bytes());
        bytes[32..].copy_from_slice(&self.softcap.to_le_bytes());
        Argument::Sizes(bytes)
    }

    fn name(&self, pass: Pass) -> String {
        format!("attention_{}_{}", pass.name(), self.h)
    }

    /// Launches a pass with a block for 64 tokens of each of `heads` heads, on all rows of `arrays`
    /// ([rows, ..] each), [`MOST_ROWS`] rows a launch.
    fn launch(&self, pass: Pass, heads: usize, arrays: &[&Array]) -> Result<()> {
        for start in (0..self.rows).step_by(MOST_ROWS) {
            let rows = MOST_ROWS.min(self.rows - start);
            let part = |array: &&Array| {
                let each = array.count() / self.rows;
                Argument::from(&array.part(start * each, &[rows, each]))
            };
            let mut given: Vec<Argument> = arrays.iter().map(part).collect();
            given.push(self.argument());
            let grid = [self.tokens.div_ceil(TILE), heads, rows];
            arrays[0].context().launch(&self.name(pass), grid, given)?;
        }
        Ok(())
    }
}

/// The largest third dimension of a grid (CUDA's programming guide, technical specifications).
const MOST_ROWS: usize = 65_535;

#[derive(Clone, Copy)]
enum Pass {
    Forward,
    Delta,
    Keys,
    Queries,
}

impl Pass {
    fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::Delta => "delta",
            Pass::Keys => "keys",
            Pass::Queries => "queries",
        }
    }
}

/// Queries, or keys, that a block of attention works on.
const TILE: usize = 64;

/// What the backward of attention reads: q, k, v, first keys, output, log-sums.
pub struct Attended {
    pub q: Array,
    pub k: Array,
    pub v: Array,
    pub first: Array,
    /// [B, T, H·h].
    pub output: Array,
    /// [B, H, T].
    pub log_sums: Array,
    pub heads: Heads,
}

/// softmax(q·kᵀ/√h)·v over the keys from `first` [B, T] to each query's own; scores are bent before
/// the softmax where there is a softcap.
pub fn attention(q: &Array, k: &Array, v: &Array, first: Array, heads: Heads) -> Result<Attended> {
    let (context, Heads { rows, tokens, heads: count, .. }) = (q.context(), heads);
    let output = q.like(q.dims())?;
    let log_sums = context.array(&[rows, count, tokens], Element::F32)?;
    heads.launch(Pass::Forward, count, &[q, k, v, &first, &output, &log_sums])?;
    let (q, k, v) = (q.clone(), k.clone(), v.clone());
    Ok(Attended { q, k, v, first, output, log_sums, heads })
}

impl Attended {
    /// The gradients of q, k, v.
    ///
    /// # Panics
    /// With keys from a cache, where nothing is trained.
    pub fn backward(&self, gradient: &Array) -> Result<[Array; 3]> {
        let Attended { q, k, v, first, output, log_sums, heads } = self;
        let Heads { rows, tokens, before, heads: count, key_heads, h, .. } = *heads;
        assert_eq!(before, 0, "no gradient flows behind a cache");
        let context = q.context();
        let delta = log_sums.like(log_sums.dims())?;
        let [to_q, to_k, to_v] = [q, k, v].map(|array| array.like(array.dims()));
        let (to_q, to_k, to_v) = (to_q?, to_k?, to_v?);
        let lines = rows * tokens * count;
        let given = arguments![gradient, output, &delta, lines as u64, tokens as i32, count as i32];
        let blocks = line(lines.div_ceil(128 / (h / EIGHT)));
        context.launch(&heads.name(Pass::Delta), blocks, given)?;
        let read = [q, k, v, gradient, log_sums, &delta, first];
        heads.launch(Pass::Keys, key_heads, &[&read[..], &[&to_k, &to_v]].concat())?;
        heads.launch(Pass::Queries, count, &[&read[..], &[&to_q]].concat())?;
        Ok([to_q, to_k, to_v])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::runtime::cuda::calls;
    use crate::runtime::cuda::driver::{Address, Driver, Identity, Launch, Product};
    use crate::runtime::cuda::memory::Context;

    /// A device that only records launches.
    #[derive(Debug, Default)]
    struct Recorder {
        next: Mutex<Address>,
        launches: Mutex<Vec<Launch>>,
    }

    impl Driver for Recorder {
        fn allocate(&self, bytes: usize) -> Result<Address> {
            let mut next = self.next.lock().unwrap();
            *next += bytes as Address;
            Ok(*next - bytes as Address)
        }

        fn free(&self, _: Address) {}

        fn clear(&self, _: Address, _: usize) -> Result<()> {
            Ok(())
        }

        fn write(&self, _: Address, _: &[u8]) -> Result<()> {
            Ok(())
        }

        fn read(&self, _: Address, _: &mut [u8]) -> Result<()> {
            Ok(())
        }

        fn launch(&self, launch: &Launch) -> Result<()> {
            self.launches.lock().unwrap().push(launch.clone());
            Ok(())
        }

        fn multiply(&self, _: &Product) -> Result<()> {
            Ok(())
        }

        fn identity(&self) -> Identity {
            Identity { device: String::new(), matmul: String::new() }
        }
    }

    /// The first argument of a launch, as bytes from `start`.
    fn offset(launch: &Launch, start: &Array) -> u64 {
        match launch.arguments[0] {
            Argument::Pointer(Some(address)) => address - start.address(),
            other => panic!("{other:?} is no address"),
        }
    }

    #[test]
    fn more_rows_than_a_grid_has_layers_are_attended_in_turn() {
        let recorder = Arc::new(Recorder::default());
        let context = Context::new(recorder.clone());
        let (rows, tokens) = (70_000, 8);
        let heads = Heads { rows, tokens, before: 0, heads: 2, key_heads: 1, h: 64, softcap: 0.0 };
        let array = |width: usize| context.array(&[rows, tokens, width], Element::Bf16).unwrap();
        let (q, k, v, to_out) = (array(128), array(64), array(64), array(128));
        let first = context.array(&[rows * tokens], Element::I32).unwrap();
        let attended = attention(&q, &k, &v, first, heads).unwrap();
        attended.backward(&to_out).unwrap();
        let launches = recorder.launches.lock().unwrap();
        let passes = launches.iter().filter(|launch| launch.entry.name != "attention_delta_64");
        let found: Vec<(&str, [u32; 3], u64)> =
            passes.map(|it| (it.entry.name, it.grid, offset(it, &q))).collect();
        let behind = 65_535 * 8 * 128 * 2;
        let of = |name, heads| [(name, [1, heads, 65_535], 0), (name, [1, heads, 4_465], behind)];
        let expected = [
            of("attention_forward_64", 2),
            of("attention_keys_64", 1),
            of("attention_queries_64", 2),
        ];
        assert_eq!(found, expected.concat());
    }

    #[test]
    fn a_bias_has_a_gradient_of_more_rows_than_a_grid_has_lines() {
        let recorder = Arc::new(Recorder::default());
        let context = Context::new(recorder.clone());
        let rows = 65_536 * 128;
        let gradient = context.array(&[1, rows, 8], Element::Bf16).unwrap();
        let sum = context.array(&[8], Element::F32).unwrap();
        let bias = context.array(&[8], Element::Bf16).unwrap().with_sum(sum);
        calls::bias_backward(&bias, &gradient).unwrap();
        assert_eq!(recorder.launches.lock().unwrap()[0].grid, [65_536, 1, 1]);
    }
}
