//! Attention: forward, the three kernels of the backward, against softmax written out.
//!
//! Tolerances: the weights are rounded to bf16 before the second product, and so are P and dS in
//! the backward, beside the rounding of the results: 0.0027 by norm as it is.

use candle_core::{D, Device, Tensor};
use dataprep::base::rng::Stream;
use dataprep::runtime::ops::{self, Visible};
use dataprep::runtime::value::{Form, Value};

use super::cases::Case;
use super::host::{Buffer, Job};
use super::{close, normal, numbers, reference, tensor};
use crate::arguments;

/// Elements of one head, then bytes of shared memory: forward, keys, queries.
const SHARED: [(usize, [usize; 3]); 2] =
    [(64, [40_960, 50_176, 49_152]), (128, [81_920, 66_048, 65_536])];

pub fn cases() -> Vec<Case> {
    let shape = |batch, tokens, heads, key_heads, h| Shape { batch, tokens, heads, key_heads, h };
    vec![
        case("one document", shape(1, 150, 2, 1, 64), &[], 1000),
        case("documents", shape(2, 203, 2, 2, 64), &[1, 64, 90, 130, 202, 203, 300], 1000),
        case("a window", shape(1, 230, 1, 1, 64), &[100], 70),
        case("a window, an odd length", shape(1, 231, 1, 1, 64), &[100], 70),
        case("shorter than a tile", shape(2, 5, 3, 1, 64), &[7], 1000),
        case("whole tiles", shape(1, 128, 1, 1, 64), &[], 1000),
        case("wide heads", shape(1, 150, 2, 1, 128), &[31, 97], 1000),
        case("wide heads in whole tiles", shape(1, 128, 1, 1, 128), &[], 1000),
        bent("a softcap", shape(2, 150, 2, 1, 64), &[31, 97, 200], 1000, 1.5),
        bent("a softcap, wide heads", shape(1, 150, 2, 1, 128), &[], 70, 0.5),
    ]
}

#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    tokens: usize,
    heads: usize,
    key_heads: usize,
    h: usize,
}

/// Every token's document: a new one begins at each of `cuts`, and with each row.
fn documents(shape: Shape, cuts: &[usize]) -> Vec<u32> {
    let tokens = 0..shape.batch * shape.tokens;
    tokens.map(|at| cuts.iter().filter(|&&cut| cut <= at).count() as u32).collect()
}

/// The first key that each query sees.
fn first_keys(shape: Shape, documents: &[u32], window: usize) -> Vec<i32> {
    let mut first = Vec::new();
    for row in documents.chunks_exact(shape.tokens) {
        for (at, document) in row.iter().enumerate() {
            let start = row.iter().position(|other| other == document).unwrap();
            first.push(start.max((at + 1).saturating_sub(window)) as i32);
        }
    }
    first
}

/// Output [B, T, H·h] and ln Σ exp [B, H, T].
fn attended(
    inputs: &[Tensor],
    shape: Shape,
    first: &[i32],
    softcap: f64,
) -> candle_core::Result<(Tensor, Tensor)> {
    let Shape { batch, tokens, heads, key_heads, h } = shape;
    let by_head = |x: &Tensor, heads: usize| {
        x.reshape((batch, tokens, heads, h))?.transpose(1, 2)?.contiguous()
    };
    let shared = |x: &Tensor| -> candle_core::Result<Tensor> {
        let shape = (batch, key_heads, heads / key_heads, tokens, h);
        let x = by_head(x, key_heads)?.unsqueeze(2)?.broadcast_as(shape)?;
        x.reshape((batch, heads, tokens, h))
    };
    let (q, k, v) = (by_head(&inputs[0], heads)?, shared(&inputs[1])?, shared(&inputs[2])?);
    let mask: Vec<f64> = (0..batch * tokens * tokens)
        .map(|at| {
            let (row, key) = (at / tokens, at % tokens);
            let is_seen = key >= first[row] as usize && key <= row % tokens;
            if is_seen { 0.0 } else { f64::NEG_INFINITY }
        })
        .collect();
    let mask = Tensor::from_vec(mask, (batch, 1, tokens, tokens), &Device::Cpu)?;
    let scores = (q.matmul(&k.t()?.contiguous()?)? * (1.0 / (h as f64).sqrt()))?;
    let scores = if softcap > 0.0 { ((scores / softcap)?.tanh()? * softcap)? } else { scores };
    let scores = scores.broadcast_add(&mask)?;
    let largest = scores.max_keepdim(D::Minus1)?.detach();
    let weights = scores.broadcast_sub(&largest)?.exp()?;
    let sums = weights.sum_keepdim(D::Minus1)?;
    let log_sums = (sums.log()? + largest)?.squeeze(3)?;
    let output = weights.broadcast_div(&sums)?.matmul(&v)?;
    Ok((output.transpose(1, 2)?.reshape((batch, tokens, heads * h))?, log_sums))
}

/// The q, k or v part of rows of a fused product.
fn part(fused: &[f64], width: usize, start: usize, length: usize) -> Vec<f64> {
    fused.chunks_exact(width).flat_map(|row| row[start..start + length].to_vec()).collect()
}

fn case(name: &str, shape: Shape, cuts: &[usize], window: usize) -> Case {
    bent(name, shape, cuts, window, 0.0)
}

/// The same with scores that are bent to below `softcap`, unless it is 0.
fn bent(name: &str, shape: Shape, cuts: &[usize], window: usize, softcap: f64) -> Case {
    let Shape { batch, tokens, heads, key_heads, h } = shape;
    let (wide, narrow, rows) = (heads * h, key_heads * h, batch * tokens);
    let width = wide + 2 * narrow;
    let documents = documents(shape, cuts);
    let first = first_keys(shape, &documents, window);
    let fused = normal("qkv", rows * width, 1.0);
    let to_out = normal("to_out", rows * wide, 1.0);
    let places = [(0, wide), (wide, narrow), (wide + narrow, narrow)];
    let inputs = places.map(|(start, length)| {
        tensor(&part(&fused, width, start, length), &[batch, tokens, length])
    });
    let (out, gradients) = reference(&inputs, &tensor(&to_out, &[batch, tokens, wide]), |inputs| {
        Ok(attended(inputs, shape, &first, softcap)?.0)
    });
    let log_sums = numbers(&attended(&inputs, shape, &first, softcap).unwrap().1);
    if window >= tokens {
        let [q, k, v] = inputs.each_ref().map(|x| Value::constant(x, Form::Composed));
        let visible = Visible::in_segments(&documents, batch, tokens);
        let op = ops::attention(&q, &k, &v, &visible, heads, key_heads, softcap).unwrap();
        close("the reference", &out, &numbers(&op.detached()), 1e-12).unwrap();
    }
    let (job, found, behind) = launches((shape, softcap), places, [&fused, &to_out], &first);
    let name = format!("attention, {name} [{batch}, {tokens}, {heads}/{key_heads}, {h}]");
    Case::new(name, job, move |outcome| {
        close("out", &outcome.bf16(found[0]), &out, 4e-3)?;
        close("log sums", &outcome.f32(found[1]), &log_sums, 1e-5)?;
        if let Some((before, [late, late_sums])) = behind {
            close("out behind a cache", &outcome.bf16(late), &out[before * wide..], 4e-3)?;
            let rows = log_sums.chunks_exact(tokens);
            let last: Vec<f64> = rows.flat_map(|row| row[before..].to_vec()).collect();
            close("log sums behind a cache", &outcome.f32(late_sums), &last, 1e-5)?;
        }
        let gradient = outcome.bf16(found[2]);
        for (((start, length), expected), what) in
            places.iter().zip(&gradients).zip(["q", "k", "v"])
        {
            let found = part(&gradient, width, *start, *length);
            close(&format!("d{what}"), &found, expected, 6e-3)?;
        }
        Ok(())
    })
}

/// Keys before the queries of a late launch, its output and its log-sums.
type Behind = (usize, [Buffer; 2]);

/// The four launches on q, k, v inside one fused product; the output, log-sums and its gradient. Of
/// one row also what its last queries give behind the keys of the others.
fn launches(
    (shape, softcap): (Shape, f64),
    places: [(usize, usize); 3],
    [fused, to_out]: [&[f64]; 2],
    first: &[i32],
) -> (Job, [Buffer; 3], Option<Behind>) {
    let Shape { batch, tokens, heads, key_heads, h } = shape;
    let rows = batch * tokens;
    let width = places[2].0 + places[2].1;
    let sizes_of = |before: usize| {
        let mut sizes = Vec::new();
        for size in [tokens - before, heads, key_heads, width, width, width] {
            sizes.extend((size as i32).to_le_bytes());
        }
        sizes.extend((1.0 / (h as f32).sqrt()).to_le_bytes());
        sizes.extend((before as i32).to_le_bytes());
        sizes.extend((softcap as f32).to_le_bytes());
        sizes
    };
    let sizes = sizes_of(0);
    let (_, shared) = SHARED.iter().find(|row| row.0 == h).unwrap();
    let mut job = Job::default();
    let fused = job.bf16(fused);
    let [q, k, v] = places.map(|(start, _)| fused.offset(2 * start));
    let (to_out, first) = (job.bf16(to_out), job.i32(first));
    let out = job.output(2 * rows * heads * h);
    let statistics = [0, 1].map(|_| job.output(4 * rows * heads));
    let [log_sums, delta] = statistics;
    let gradient = job.output(2 * rows * width);
    let at = |place: usize| gradient.offset(2 * places[place].0);
    let tiles = tokens.div_ceil(64);
    let grid = [tiles, heads, batch];
    let given = arguments![q, k, v, first, out, log_sums, sizes.clone()];
    job.launch(format!("attention_forward_{h}"), grid, 128, shared[0], given);
    let count = rows * heads;
    let given = arguments![to_out, out, delta, count as u64, tokens as i32, heads as i32];
    let blocks = count.div_ceil(128 / (h / 8));
    job.launch(format!("attention_delta_{h}"), [blocks, 1, 1], 128, 0, given);
    let given = arguments![q, k, v, to_out, log_sums, delta, first, at(1), at(2), sizes.clone()];
    let key_grid = [tiles, key_heads, batch];
    job.launch(format!("attention_keys_{h}"), key_grid, 128, shared[1], given);
    let given = arguments![q, k, v, to_out, log_sums, delta, first, at(0), sizes];
    job.launch(format!("attention_queries_{h}"), grid, 128, shared[2], given);
    // Most keys lie before them: one query, or some over an edge of tiles.
    let late = [1, 40][tokens % 2];
    let behind = (batch == 1 && late < tokens).then(|| {
        let before = tokens - late;
        let found = [job.output(2 * late * heads * h), job.output(4 * late * heads)];
        let (q, first) = (q.offset(2 * before * width), first.offset(4 * before));
        let given = arguments![q, k, v, first, found[0], found[1], sizes_of(before)];
        let grid = [late.div_ceil(64), heads, 1];
        job.launch(format!("attention_forward_{h}"), grid, 128, shared[0], given);
        (before, found)
    });
    (job, [out, log_sums, gradient], behind)
}

/// Drawn shapes, documents and windows; another seed in `DATAPREP_FUZZ_SEED` draws others.
#[test]
fn drawn_shapes_give_the_reference() {
    let seed = std::env::var("DATAPREP_FUZZ_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut stream = Stream::new(seed, "shapes of attention");
    let mut below = |end: usize| (stream.next_u64() % end as u64) as usize;
    for draw in 0..8 {
        // Queries that see one key alone have gradients of 0, where there is nothing to compare.
        let (batch, tokens, key_heads) = (1 + below(2), 16 + below(190), 1 + below(2));
        let heads = key_heads * (1 + below(3));
        let shape = Shape { batch, tokens, heads, key_heads, h: [64, 128][below(2)] };
        let cuts: Vec<usize> = (0..below(6)).map(|_| below(batch * tokens)).collect();
        let window = [8 + below(tokens), 1000][below(2)];
        let softcap = [0.0, 0.5 + below(40) as f64][below(2)];
        let case = bent("drawn", shape, &cuts, window, softcap);
        if let Err(why) = case.verdict(draw, "") {
            panic!("{}: {why}; cuts {cuts:?}, window {window}, cap {softcap}", case.name);
        }
    }
}
