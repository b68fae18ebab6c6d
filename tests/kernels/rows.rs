//! Kernels that work on rows: norms, rotary embedding, activations, embedding, loss, dropout.

use candle_core::{D, Device, Tensor};
use dataprep::base::rng::Stream;
use dataprep::runtime::ops;
use dataprep::runtime::value::{Form, Value};
use half::bf16;

use super::cases::Case;
use super::host::{Buffer, Job};
use super::{ROUNDED, close, gpt2, normal, numbers, reference, tensor};
use crate::arguments;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        rms_norm(70, 768, 1024, true, 0.0),
        rms_norm(3, 8, 1024, false, 1.0),
        rms_norm(66, 1992, 2048, true, 1.0),
        rms_norm(5, 4096, 4096, false, 0.0),
        rope(13, [3, 1], 64, true),
        rope(70, [2, 4], 128, true),
        rope(5, [2, 2], 64, false),
        rope(300, [5, 1], 64, true),
        embedding(),
        dropout(),
        combine(),
    ];
    for (kind, gated) in [("swiglu", true), ("geglu", true), ("relu2", false), ("gelu", false)] {
        cases.push(activation(kind, gated, 37, 88));
    }
    for (vocabulary, stride, softcap, z_weight) in
        [(4099, 4224, 0.0, 0.0), (61, 128, 15.0, 1e-2), (2048, 2048, 0.0, 1e-4)]
    {
        cases.push(cross_entropy(5, vocabulary, stride, softcap, z_weight));
    }
    cases
}

fn constant(tensor: &Tensor) -> Value {
    Value::constant(tensor, Form::Composed)
}

fn normed(x: &Tensor, weight: &Tensor, epsilon: f64) -> candle_core::Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
    x.broadcast_div(&(mean + epsilon)?.sqrt()?)?.broadcast_mul(weight)
}

/// Forward, backward and the sum of the weight's parts, with the residual and without; factors are
/// `base` and the weight.
fn rms_norm(rows: usize, d: usize, widest: usize, has_residual: bool, base: f64) -> Case {
    const EPSILON: f64 = 1e-5;
    let count = rows * d;
    let [x, residual, to_sum, to_out] =
        ["x", "residual", "to_sum", "to_out"].map(|name| normal(name, count, 1.0));
    let weight = normal("weight", d, 1.0);
    let h: Vec<f64> = if has_residual {
        x.iter().zip(&residual).map(|(x, r)| bf16::from_f64(x + r).to_f64()).collect()
    } else {
        x.clone()
    };
    let inputs = [tensor(&h, &[rows, d]), tensor(&weight, &[d])];
    let (y, mut gradients) = reference(&inputs, &tensor(&to_out, &[rows, d]), |inputs| {
        normed(&inputs[0], &(&inputs[1] + base)?, EPSILON)
    });
    let (stream, weights) = (constant(&inputs[0]), constant(&inputs[1]));
    let gain = if base == 0.0 { ops::Gain::Weight } else { ops::Gain::OnePlus };
    let op = ops::rms_norm(&stream, &weights, gain, EPSILON).unwrap();
    close("the reference", &y, &numbers(&op.detached()), 1e-12).unwrap();
    if has_residual {
        gradients[0].iter_mut().zip(&to_sum).for_each(|(to_h, g)| *to_h += g);
    }

    let mut job = Job::default();
    let (rows32, d32) = (rows as i32, d as i32);
    let last = || arguments![rows32, d32, EPSILON as f32, base as f32];
    let (x, weight) = (job.bf16(&x), job.bf16(&weight));
    let residual = has_residual.then(|| job.bf16(&residual));
    let sum = has_residual.then(|| job.output(2 * count));
    let out = job.output(2 * count);
    let mut given = arguments![x, residual, weight, sum, out];
    given.extend(last());
    job.launch(format!("rms_norm_forward_{widest}"), [rows.div_ceil(4), 1, 1], 128, 0, given);
    let blocks = rows.div_ceil(64);
    let to_sum = has_residual.then(|| job.bf16(&to_sum));
    let to_out = job.bf16(&to_out);
    let (to_x, parts) = (job.output(2 * count), job.output(4 * blocks * d));
    let to_weight = job.f32(&vec![0.5; d]);
    let mut given = arguments![sum.unwrap_or(x), weight, to_sum, to_out, to_x, parts];
    given.extend(last());
    let shared = 16 * d.next_multiple_of(256);
    job.launch(format!("rms_norm_backward_{widest}"), [blocks, 1, 1], 128, shared, given);
    let given = arguments![parts, to_weight, blocks as i32, d32, 1i32];
    job.launch("sum_parts", [d.div_ceil(32), 1, 1], 256, 1024, given);
    let to_weight_expected: Vec<f64> = gradients[1].iter().map(|g| g + 0.5).collect();
    Case::new(format!("rms_norm [{rows}, {d}], {base} and the weight"), job, move |outcome| {
        if let Some(sum) = sum {
            close("h", &outcome.bf16(sum), &h, 1e-6)?;
        }
        close("y", &outcome.bf16(out), &y, ROUNDED)?;
        close("dx", &outcome.bf16(to_x), &gradients[0], ROUNDED)?;
        close("dw", &outcome.f32(to_weight), &to_weight_expected, 1e-5)
    })
}

const THETA: f64 = 10_000.0;

/// A function of the angles of nine positions, [9, h/2], as f32 has it.
fn table(h: usize, function: fn(f64) -> f64) -> Vec<f64> {
    let speed = |i: usize| THETA.powf(-2.0 * i as f64 / h as f64);
    let angle = |at: usize| (at / (h / 2)) as f64 * speed(at % (h / 2));
    (0..9 * h / 2).map(|at| f64::from(function(angle(at)) as f32)).collect()
}

/// x [tokens, heads, h] turned by cosines and sines [tokens, 1, h/2].
fn turned(x: &Tensor, cosines: &Tensor, sines: &Tensor) -> candle_core::Result<Tensor> {
    let half = cosines.dim(2)?;
    let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let left = (a.broadcast_mul(cosines)? - b.broadcast_mul(sines)?)?;
    let right = (b.broadcast_mul(cosines)? + a.broadcast_mul(sines)?)?;
    Tensor::cat(&[left, right], D::Minus1)
}

/// Queries and keys in one launch, at positions that begin again, with QK-norm and without.
fn rope(tokens: usize, heads: [usize; 2], h: usize, has_norm: bool) -> Case {
    const EPSILON: f64 = 1e-6;
    let positions: Vec<i32> = (0..tokens as i32).map(|t| t % 9).collect();
    let (cosine, sine) = (table(h, f64::cos), table(h, f64::sin));
    let rows = |table: &[f64]| {
        let rows = positions.iter().flat_map(|&p| table[p as usize * h / 2..][..h / 2].to_vec());
        tensor(&rows.collect::<Vec<f64>>(), &[tokens, 1, h / 2])
    };
    let (cosines, sines) = (rows(&cosine), rows(&sine));
    let mut job = Job::default();
    let places = job.i32(&positions);
    let (cosine, sine) = (job.f32(&cosine), job.f32(&sine));
    let mut sides = Vec::new();
    for (side, heads) in ["q", "k"].into_iter().zip(heads) {
        let count = tokens * heads * h;
        let [x, to_y] = ["x", "to_y"].map(|name| normal(&format!("{name} {side}"), count, 1.0));
        let weight = normal(&format!("weight {side}"), h, 1.0);
        let input = tensor(&x, &[tokens, heads, h]);
        let inputs = if has_norm { vec![input, tensor(&weight, &[h])] } else { vec![input] };
        let (y, gradients) = reference(&inputs, &tensor(&to_y, &[tokens, heads, h]), |inputs| {
            let x = match inputs.get(1) {
                Some(weight) => normed(&inputs[0], weight, EPSILON)?,
                None => inputs[0].clone(),
            };
            turned(&x, &cosines, &sines)
        });
        if !has_norm {
            let positions: Vec<u32> = positions.iter().map(|&position| position as u32).collect();
            let rotation = ops::Rotation::new(&positions, h, THETA, None, &Device::Cpu).unwrap();
            let flat = constant(&inputs[0].reshape((1, tokens, heads * h)).unwrap());
            let op = ops::rope(&flat, &rotation).unwrap();
            close("the reference", &y, &numbers(&op.detached()), 1e-6).unwrap();
        }
        let (forward, backward) = (count.div_ceil(1024), count.div_ceil(16 * 1024));
        let given = [job.bf16(&x), job.bf16(&to_y)];
        let weight = has_norm.then(|| job.bf16(&weight));
        let found = [job.output(2 * count), job.output(2 * count), job.output(4 * h)];
        sides.push((given, weight, found, [forward, backward], heads as i32, y, gradients));
    }
    let [q, k] = [&sides[0], &sides[1]];
    let common = || arguments![q.0[0], k.0[0], q.1, k.1, cosine, sine, places];
    let last = |blocks: usize| arguments![tokens as i32, q.4, k.4, blocks as i32, EPSILON as f32];
    let own = arguments![q.2[0], k.2[0]];
    let given = [common(), own, last(q.3[0])].into_iter().flatten().collect();
    job.launch(format!("rope_forward_{h}"), [q.3[0] + k.3[0], 1, 1], 128, 0, given);
    let blocks = q.3[1] + k.3[1];
    let parts = has_norm.then(|| job.output(4 * blocks * h));
    let own = arguments![q.0[1], k.0[1], q.2[1], k.2[1], parts];
    let given = [common(), own, last(q.3[1])].into_iter().flatten().collect();
    job.launch(format!("rope_backward_{h}"), [blocks, 1, 1], 128, 4096, given);
    if let Some(parts) = parts {
        for (at, start) in [(0, 0), (1, sides[0].3[1])] {
            let (sum, count) = (sides[at].2[2], sides[at].3[1] as i32);
            let given = arguments![parts.offset(4 * start * h), sum, count, h as i32, 0i32];
            job.launch("sum_parts", [h.div_ceil(32), 1, 1], 256, 1024, given);
        }
    }
    let name = format!("rope {tokens} x {heads:?} x {h}, norms {has_norm}");
    Case::new(name, job, move |outcome| {
        for (_, _, [y_out, to_x, to_weight], _, _, y, gradients) in &sides {
            close("y", &outcome.bf16(*y_out), y, ROUNDED)?;
            close("dx", &outcome.bf16(*to_x), &gradients[0], ROUNDED)?;
            if has_norm {
                close("dw", &outcome.f32(*to_weight), &gradients[1], 1e-5)?;
            }
        }
        Ok(())
    })
}

fn activation(kind: &'static str, is_gated: bool, rows: usize, width: usize) -> Case {
    let halves = if is_gated { 2 } else { 1 };
    let stride = halves * width;
    let input = normal("input", rows * stride, 2.0);
    let to_out = normal("to_out", rows * width, 1.0);
    let inputs = [tensor(&input, &[rows, stride])];
    let (out, gradients) = reference(&inputs, &tensor(&to_out, &[rows, width]), |inputs| {
        let z = inputs[0].narrow(1, 0, width)?;
        match kind {
            "swiglu" => z.silu()? * inputs[0].narrow(1, width, width)?,
            "geglu" => z.gelu()? * inputs[0].narrow(1, width, width)?,
            "gelu" => z.gelu(),
            _ => z.relu()?.sqr(),
        }
    });
    let half = |at: usize| constant(&inputs[0].narrow(1, at, width).unwrap());
    let op = match kind {
        "swiglu" => ops::swiglu(&half(0), &half(width)),
        "geglu" => ops::geglu(&half(0), &half(width)),
        "gelu" => ops::gelu(&half(0)),
        _ => ops::relu2(&half(0)),
    };
    close("the reference", &out, &numbers(&op.unwrap().detached()), 1e-12).unwrap();
    let mut job = Job::default();
    let blocks = (rows * width / 8).div_ceil(256);
    let (input, to_out) = (job.bf16(&input), job.bf16(&to_out));
    let found = job.output(2 * rows * width);
    let to_input = job.output(2 * rows * stride);
    let up_of = |buffer: Buffer| is_gated.then(|| buffer.offset(2 * width));
    let (rows, width, stride) = (rows as u64, width as i32, stride as i32);
    let given = arguments![input, up_of(input), found, rows, width, stride];
    job.launch(format!("{kind}_forward"), [blocks, 1, 1], 256, 0, given);
    let own = arguments![input, up_of(input), to_out, to_input, up_of(to_input)];
    let given = own.into_iter().chain(arguments![rows, width, stride]).collect();
    job.launch(format!("{kind}_backward"), [blocks, 1, 1], 256, 0, given);
    Case::new(kind, job, move |outcome| {
        close("y", &outcome.bf16(found), &out, ROUNDED)?;
        close("dx", &outcome.bf16(to_input), &gradients[0], ROUNDED)
    })
}

/// A sum with a factor, and a multiple in place.
fn combine() -> Case {
    let count = 8 * 300;
    let [a, b] = ["a", "b"].map(|name| normal(name, count, 1.0));
    let sum: Vec<f64> = a.iter().zip(&b).map(|(a, b)| 0.75 * a + b).collect();
    let multiple: Vec<f64> = a.iter().map(|a| -1.5 * a).collect();
    let mut job = Job::default();
    let (a, b, y) = (job.bf16(&a), job.bf16(&b), job.output(2 * count));
    let grid = [count.div_ceil(2048), 1, 1];
    let given = arguments![a, b, y, count as u64, 0.75f32];
    job.launch("combine_two", grid, 256, 0, given);
    let given = arguments![a, None::<Buffer>, a, count as u64, -1.5f32];
    job.launch("combine_two", grid, 256, 0, given);
    Case::new("combine", job, move |outcome| {
        close("a sum", &outcome.bf16(y), &sum, ROUNDED)?;
        close("a multiple", &outcome.bf16(a), &multiple, ROUNDED)
    })
}

/// Ids that repeat, are absent, come last; a width that is no multiple of a warp's columns.
fn embedding() -> Case {
    let (vocabulary, d) = (11, 264);
    let ids: [u32; 9] = [3, 0, 3, 10, 3, 1, 0, 3, 7];
    let (table, to_out) = (normal("table", vocabulary * d, 1.0), normal("g", ids.len() * d, 1.0));
    let weight = tensor(&table, &[vocabulary, d]);
    let (y, gradients) =
        reference(std::slice::from_ref(&weight), &tensor(&to_out, &[ids.len(), d]), |inputs| {
            inputs[0].index_select(&Tensor::new(&ids, &Device::Cpu)?, 0)
        });
    let op = ops::embedding(&constant(&weight), &ids, 1, ids.len()).unwrap();
    close("the reference", &y, &numbers(&op.detached()), 1e-12).unwrap();
    let mut order: Vec<i32> = (0..ids.len() as i32).collect();
    order.sort_by_key(|&at| ids[at as usize]);
    let mut distinct: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    distinct.sort_unstable();
    let starts: Vec<i32> = (0..=ids.len())
        .filter(|&at| at == 0 || at == ids.len() || distinct[at] != distinct[at - 1])
        .map(|at| at as i32)
        .collect();
    distinct.dedup();

    let mut job = Job::default();
    let tokens = ids.len();
    let (table, to_out) = (job.bf16(&table), job.bf16(&to_out));
    let ids = job.i32(&ids.map(|id| id as i32));
    let (out, to_table) = (job.output(2 * tokens * d), job.f32(&vec![0.25; vocabulary * d]));
    let given = arguments![table, ids, out, tokens as u64, d as i32];
    job.launch("embedding_forward", [(tokens * d / 8).div_ceil(128), 1, 1], 128, 0, given);
    let count = distinct.len();
    let (order, starts, distinct) = (job.i32(&order), job.i32(&starts), job.i32(&distinct));
    let given = arguments![to_out, order, starts, distinct, to_table, count as i32, d as i32];
    let grid = [count.div_ceil(4), d.div_ceil(256), 1];
    job.launch("embedding_backward", grid, 128, 0, given);
    Case::new("embedding", job, move |outcome| {
        close("y", &outcome.bf16(out), &y, 0.0)?;
        let expected: Vec<f64> = gradients[0].iter().map(|g| g + 0.25).collect();
        close("dtable", &outcome.f32(to_table), &expected, 1e-6)
    })
}

/// The loss and its gradient in place; one row does not count, padded columns would win.
fn cross_entropy(
    rows: usize,
    vocabulary: usize,
    stride: usize,
    softcap: f64,
    z_weight: f64,
) -> Case {
    const SCALE: f64 = 0.125;
    let mut logits = normal("logits", rows * stride, 3.0);
    for row in logits.chunks_exact_mut(stride) {
        row[vocabulary..].fill(90.0);
    }
    let targets: Vec<i32> = (0..rows as i32)
        .map(|row| if row == 2 { -1 } else { (row * 7919 + 13) % vocabulary as i32 })
        .collect();
    let counted: Vec<f64> = targets.iter().map(|&t| f64::from(u8::from(t >= 0))).collect();
    let places: Vec<u32> = targets.iter().map(|&t| t.max(0) as u32).collect();
    let inputs = [tensor(&logits, &[rows, stride])];
    let weight = tensor(&counted.iter().map(|c| c * SCALE).collect::<Vec<f64>>(), &[rows]);
    let log_sums_of = |x: &Tensor| -> candle_core::Result<(Tensor, Tensor)> {
        let x = x.narrow(1, 0, vocabulary)?.contiguous()?;
        let z = if softcap > 0.0 { ((x / softcap)?.tanh()? * softcap)? } else { x };
        let largest = z.max_keepdim(1)?.detach();
        let sums = z.broadcast_sub(&largest)?.exp()?.sum_keepdim(1)?;
        let log_sums = (sums.log()? + largest)?.squeeze(1)?;
        Ok((z, log_sums))
    };
    let nats_of = |x: &Tensor| -> candle_core::Result<Tensor> {
        let (z, log_sums) = log_sums_of(x)?;
        let targets = Tensor::new(&*places, &Device::Cpu)?.unsqueeze(1)?;
        log_sums - z.gather(&targets, 1)?.squeeze(1)?
    };
    let (_, gradients) = reference(&inputs, &weight, |inputs| {
        let (_, log_sums) = log_sums_of(&inputs[0])?;
        nats_of(&inputs[0])? + (log_sums.sqr()? * z_weight)?
    });
    let nats = numbers(&(nats_of(&inputs[0]).unwrap() * tensor(&counted, &[rows])).unwrap());
    let log_sums = numbers(&log_sums_of(&inputs[0]).unwrap().1);

    let mut job = Job::default();
    let (logits, targets) = (job.bf16(&logits), job.i32(&targets));
    let (found, sums) = (job.output(4 * rows), job.output(4 * rows));
    let given = |writes: i32| {
        arguments![
            logits,
            targets,
            found,
            sums,
            vocabulary as i32,
            stride as i32,
            SCALE as f32,
            z_weight as f32,
            softcap as f32,
            writes
        ]
    };
    // Without a gradient first: the logits stay as they are for the second.
    job.launch("cross_entropy_rows", [rows, 1, 1], 256, 64, given(0));
    job.launch("cross_entropy_rows", [rows, 1, 1], 256, 64, given(1));
    Case::new(format!("cross_entropy of {vocabulary}"), job, move |outcome| {
        close("nats", &outcome.f32(found), &nats, 1e-6)?;
        close("log sums", &outcome.f32(sums), &log_sums, 1e-6)?;
        close("dlogits", &outcome.bf16(logits), &gradients[0], ROUNDED)
    })
}

/// Drawn numbers of rows, widths and heads; another seed in `DATAPREP_FUZZ_SEED` draws others.
#[test]
fn drawn_rows_give_the_reference() {
    let seed = std::env::var("DATAPREP_FUZZ_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut stream = Stream::new(seed, "rows of norms");
    let mut below = |end: usize| (stream.next_u64() % end as u64) as usize;
    for draw in 0..6 {
        let (rows, d, has_residual) = (1 + below(140), 8 * (1 + below(512)), below(2) == 0);
        let widest = d.next_power_of_two().max(1024);
        let heads = [1 + below(5), 1 + below(5)];
        let (tokens, h, has_norm) = (1 + below(150), [64, 128][below(2)], below(2) == 0);
        for case in [
            rms_norm(rows, d, widest, has_residual, [0.0, 1.0][below(2)]),
            gpt2::layer_norm(rows, d, widest, has_residual),
            rope(tokens, heads, h, has_norm),
        ] {
            if let Err(why) = case.verdict(draw, "") {
                panic!("{}: {why}", case.name);
            }
        }
    }
}

/// Against `ops::dropout` on the same tokens: the same elements fall.
fn dropout() -> Case {
    let (rows, sequence, width) = (3, 7, 72);
    let noise = ops::Noise { seed: 0x1234_5678_9abc_def0, first_row: 11, parts: 1, site: 3 };
    let x = normal("x", rows * sequence * width, 1.0);
    let input = constant(&tensor(&x, &[rows, sequence, width]));
    let expected = numbers(&ops::dropout(&input, 0.25, noise).unwrap().detached());
    let keys = noise.keys(rows, sequence);
    let (tokens, (threshold, factor)) = (rows * sequence, ops::threshold(0.25));
    let mut job = Job::default();
    let (x, y) = (job.bf16(&x), job.output(2 * tokens * width));
    let keys = job.bytes(keys.iter().flat_map(|key| key.to_le_bytes()).collect());
    let threshold = u32::from(threshold);
    let given = arguments![x, y, keys, tokens as u64, width as i32, threshold, factor];
    let blocks = (tokens * width / 8).div_ceil(256);
    job.launch("dropout_apply", [blocks, 1, 1], 256, 0, given);
    Case::new("dropout", job, move |outcome| {
        let found = outcome.bf16(y);
        let differs = found.iter().zip(&expected).position(|(a, b)| (*a == 0.0) != (*b == 0.0));
        close("y", &found, &expected, ROUNDED)?;
        differs.map_or(Ok(()), |at| Err(format!("element {at} fell in one of both only")))
    })
}
