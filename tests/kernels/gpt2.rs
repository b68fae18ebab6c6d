//! Kernels of GPT-2's parts: LayerNorm and biases.

use dataprep::runtime::ops;
use dataprep::runtime::value::{Form, Value};

use super::cases::Case;
use super::host::{Buffer, Job};
use super::{ROUNDED, close, normal, numbers, reference, tensor};
use crate::arguments;

pub fn cases() -> Vec<Case> {
    vec![
        layer_norm(70, 768, 1024, true),
        layer_norm(3, 8, 1024, false),
        layer_norm(66, 1992, 2048, true),
        layer_norm(5, 4096, 4096, false),
        bias(300, 264),
        bias(5, 8),
    ]
}

/// Forward, backward and the sum of the weight's parts, with the residual and a bias and without.
/// The mean is not small, so a variance of squares would show.
pub fn layer_norm(rows: usize, d: usize, widest: usize, has_residual: bool) -> Case {
    const EPSILON: f64 = 1e-5;
    let count = rows * d;
    let x: Vec<f64> = normal("x", count, 1.0).iter().map(|x| rounded(x + 8.0)).collect();
    let [residual, to_sum, to_out] =
        ["residual", "to_sum", "to_out"].map(|name| normal(name, count, 1.0));
    let weight = normal("weight", d, 1.0);
    let h: Vec<f64> = match has_residual {
        true => x.iter().zip(&residual).map(|(x, other)| rounded(x + other)).collect(),
        false => x.clone(),
    };
    let inputs = [tensor(&h, &[rows, d]), tensor(&weight, &[d])];
    let (y, mut gradients) = reference(&inputs, &tensor(&to_out, &[rows, d]), |inputs| {
        let centred = inputs[0].broadcast_sub(&inputs[0].mean_keepdim(1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(1)? + EPSILON)?.sqrt()?;
        centred.broadcast_div(&deviation)?.broadcast_mul(&inputs[1])
    });
    let [stream, gain] = inputs.map(|input| Value::constant(&input, Form::Composed));
    let op = ops::layer_norm(&stream, &gain, EPSILON).unwrap();
    close("the reference", &y, &numbers(&op.detached()), 1e-12).unwrap();
    let bias = normal("bias", d, 1.0);
    let y: Vec<f64> = match has_residual {
        true => y.iter().enumerate().map(|(at, y)| y + bias[at % d]).collect(),
        false => y,
    };
    if has_residual {
        gradients[0].iter_mut().zip(&to_sum).for_each(|(to_h, g)| *to_h += g);
    }

    let mut job = Job::default();
    let (rows32, d32, epsilon) = (rows as i32, d as i32, EPSILON as f32);
    let (x, weight, out) = (job.bf16(&x), job.bf16(&weight), job.output(2 * count));
    let name = |pass: &str| format!("layer_norm_{pass}_{widest}");
    let residual = has_residual.then(|| job.bf16(&residual));
    let sum = has_residual.then(|| job.output(2 * count));
    let bias = has_residual.then(|| job.bf16(&bias));
    let given = arguments![x, residual, weight, bias, sum, out, rows32, d32, epsilon];
    job.launch(name("forward"), [rows.div_ceil(4), 1, 1], 128, 0, given);
    let blocks = rows.div_ceil(64);
    let (to_sum, to_out) = (has_residual.then(|| job.bf16(&to_sum)), job.bf16(&to_out));
    let (to_x, parts) = (job.output(2 * count), job.output(4 * blocks * d));
    let to_weight = job.f32(&vec![0.5; d]);
    let h_found = sum.unwrap_or(x);
    let given = arguments![h_found, weight, to_sum, to_out, to_x, parts, rows32, d32, epsilon];
    job.launch(name("backward"), [blocks, 1, 1], 128, 16 * d.next_multiple_of(256), given);
    let given = arguments![parts, to_weight, blocks as i32, d32, 1i32];
    job.launch("sum_parts", [d.div_ceil(32), 1, 1], 256, 1024, given);
    let expected: Vec<f64> = gradients[1].iter().map(|g| g + 0.5).collect();
    Case::new(format!("layer_norm [{rows}, {d}]"), job, move |outcome| {
        if let Some(sum) = sum {
            close("h", &outcome.bf16(sum), &h, 1e-6)?;
        }
        close("y", &outcome.bf16(out), &y, ROUNDED)?;
        close("dx", &outcome.bf16(to_x), &gradients[0], ROUNDED)?;
        close("dw", &outcome.f32(to_weight), &expected, 1e-5)
    })
}

fn rounded(x: f64) -> f64 {
    half::bf16::from_f64(x).to_f64()
}

/// More rows than a block of the backward has, and columns that are no multiple of its width.
fn bias(rows: usize, width: usize) -> Case {
    let count = rows * width;
    let [x, to_y] = ["x", "to_y"].map(|name| normal(name, count, 1.0));
    let numbers = normal("bias", width, 1.0);
    let y: Vec<f64> = x.iter().enumerate().map(|(at, x)| x + numbers[at % width]).collect();
    let mut sums = vec![0.25; width];
    to_y.iter().enumerate().for_each(|(at, g)| sums[at % width] += g);
    let mut job = Job::default();
    let (x, numbers, to_y) = (job.bf16(&x), job.bf16(&numbers), job.bf16(&to_y));
    let (out, to_bias): (Buffer, Buffer) = (job.output(2 * count), job.f32(&vec![0.25; width]));
    let grid = [(count / 8).div_ceil(256), 1, 1];
    let given = arguments![x, numbers, out, rows as u64, width as i32];
    job.launch("bias_forward", grid, 256, 0, given);
    let blocks = rows.div_ceil(128);
    let parts = job.output(4 * blocks * width);
    let given = arguments![to_y, parts, rows as i32, width as i32];
    job.launch("bias_backward", [blocks, width.div_ceil(256), 1], 256, 8192, given);
    let given = arguments![parts, to_bias, blocks as i32, width as i32, 1i32];
    job.launch("sum_parts", [width.div_ceil(32), 1, 1], 256, 1024, given);
    Case::new(format!("bias [{rows}, {width}]"), job, move |outcome| {
        close("y", &outcome.bf16(out), &y, ROUNDED)?;
        close("db", &outcome.f32(to_bias), &sums, 1e-6)
    })
}
