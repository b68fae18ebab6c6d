//! AdamW, Lion and SGD over several tensors, clipped by the global norm, and a running average, as
//! the device does them.

use super::cases::Case;
use super::host::Job;
use super::{ROUNDED, close, normal};
use crate::arguments;

const CHUNK: usize = 16 * 1024;
const SQUARES: usize = 32 * 1024;

pub fn cases() -> Vec<Case> {
    let mut cases = vec![steps(0.5), steps(1e9), broken(), average()];
    cases.extend([lion(), sgd(true), sgd(false)]);
    cases
}

/// (elements, whether it decays); places begin at multiples of 4.
const TENSORS: [(usize, bool); 4] = [(SQUARES + 7, true), (5, false), (CHUNK, true), (1, false)];

struct Flat {
    chunks: Vec<u8>,
    count: usize,
    length: usize,
    /// Whether element i belongs to a tensor, and decays.
    elements: Vec<Option<bool>>,
}

fn flat() -> Flat {
    let (mut chunks, mut count, mut elements) = (Vec::new(), 0, Vec::new());
    for (length, decays) in TENSORS {
        let start = elements.len();
        for offset in (0..length).step_by(CHUNK) {
            chunks.extend(((start + offset) as u64).to_le_bytes());
            chunks.extend(((length - offset).min(CHUNK) as u32).to_le_bytes());
            chunks.extend(u32::from(decays).to_le_bytes());
            count += 1;
        }
        elements.extend(vec![Some(decays); length]);
        elements.resize(elements.len().next_multiple_of(4), None);
    }
    Flat { chunks, count, length: elements.len(), elements }
}

/// One step in f64, with the arithmetic of torch.optim.AdamW.
fn steps(largest: f64) -> Case {
    let flat = flat();
    let (rate, epsilon, beta1, beta2, weight_decay) = (0.01, 1e-8, 0.9, 0.95, 0.1);
    let (correction1, correction2) = (1.0 - beta1 * beta1, 1.0 - beta2 * beta2);
    let draw = |name: &str, scale: f64| -> Vec<f64> {
        let drawn = normal(name, flat.length, scale);
        drawn.iter().zip(&flat.elements).map(|(x, e)| e.map_or(0.0, |_| *x)).collect()
    };
    let [p, m, g] = ["p", "m", "g"].map(|name| draw(name, 1.0));
    let v: Vec<f64> = draw("v", 1.0).iter().map(|v| v * v).collect();
    let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
    let clip = if norm > largest { largest / norm } else { 1.0 };
    let mut expected = [p.clone(), m.clone(), v.clone()];
    for i in 0..flat.length {
        let Some(decays) = flat.elements[i] else { continue };
        let g = g[i] * clip;
        let mean = beta1 * m[i] + (1.0 - beta1) * g;
        let square = beta2 * v[i] + (1.0 - beta2) * g * g;
        let decay = if decays { 1.0 - rate * weight_decay } else { 1.0 };
        let root = (square / correction2).sqrt() + epsilon;
        expected[0][i] = p[i] * decay - rate / correction1 * mean / root;
        (expected[1][i], expected[2][i]) = (mean, square);
    }
    let step =
        [1.0 - rate * weight_decay, rate / correction1, correction2.sqrt(), epsilon, beta1, beta2];
    let mut job = Job::default();
    let buffers = [&p, &m, &v].map(|numbers| job.f32(numbers));
    let g = job.f32(&g);
    let shadow = job.bf16(&vec![0.0; flat.length]);
    let (chunks, step) = (job.bytes(flat.chunks), job.f32(&step));
    let blocks = flat.length.div_ceil(SQUARES);
    let (sums, found) = (job.output(8 * blocks), job.output(12));
    job.launch("square_sums", [blocks, 1, 1], 256, 64, arguments![g, sums, flat.length as u64]);
    let given = arguments![sums, found, blocks as i32, largest as f32];
    job.launch("clip_factor", [1, 1, 1], 256, 64, given);
    let [p, m, v] = buffers;
    let given = arguments![p, m, v, g, shadow, chunks, step, found];
    job.launch("adamw", [flat.count, 1, 1], 256, 0, given);
    Case::new(format!("adamw, norm up to {largest}"), job, move |outcome| {
        close("norm", &outcome.f32(found), &[clip, norm, 1.0], 1e-6)?;
        for ((what, buffer), expected) in ["p", "m", "v"].iter().zip(buffers).zip(&expected) {
            close(what, &outcome.f32(buffer), expected, 1e-6)?;
        }
        close("shadow", &outcome.bf16(shadow), &expected[0], ROUNDED)
    })
}

/// A gradient that is no number changes nothing.
fn broken() -> Case {
    let mut job = Job::default();
    let mut gradient = vec![1.0; 8];
    gradient[5] = f64::NAN;
    let given = [1.0, 2.0, 3.0].map(|number| vec![number; 8]);
    let buffers = given.clone().map(|numbers| job.f32(&numbers));
    let (g, shadow) = (job.f32(&gradient), job.bf16(&[1.0; 8]));
    let mut chunk = 0u64.to_le_bytes().to_vec();
    chunk.extend([8u32.to_le_bytes(), 1u32.to_le_bytes()].concat());
    let (chunks, step) = (job.bytes(chunk), job.f32(&[0.9, 0.1, 1.0, 1e-8, 0.9, 0.95]));
    let (sums, found) = (job.output(8), job.output(12));
    job.launch("square_sums", [1, 1, 1], 256, 64, arguments![g, sums, 8u64]);
    job.launch("clip_factor", [1, 1, 1], 256, 64, arguments![sums, found, 1i32, 1f32]);
    let [p, m, v] = buffers;
    job.launch("adamw", [1, 1, 1], 256, 0, arguments![p, m, v, g, shadow, chunks, step, found]);
    Case::new("adamw, a gradient that is no number", job, move |outcome| {
        for (buffer, given) in buffers.iter().zip(&given) {
            close("unchanged", &outcome.f32(*buffer), given, 0.0)?;
        }
        close("finite", &outcome.f32(found)[2..], &[0.0], 0.0)
    })
}

/// One momentum a parameter: what a step makes of (p, m, g, decays), in f64 on numbers of f32.
fn momentum(
    name: &'static str,
    kernel: &'static str,
    step: &[f64],
    update: impl Fn(f64, f64, f64, bool) -> (f64, f64),
) -> Case {
    const CLIP: f64 = 0.5;
    let flat = flat();
    let draw = |name: &str| -> Vec<f64> {
        let drawn = normal(name, flat.length, 1.0);
        drawn.iter().zip(&flat.elements).map(|(x, e)| e.map_or(0.0, |_| *x)).collect()
    };
    let [p, m, g] = ["p", "m", "g"].map(draw);
    let mut expected = [p.clone(), m.clone()];
    for (i, decays) in flat.elements.iter().enumerate() {
        let Some(decays) = *decays else { continue };
        (expected[0][i], expected[1][i]) = update(p[i], m[i], g[i] * CLIP, decays);
    }
    let mut job = Job::default();
    let (p, m, g) = (job.f32(&p), job.f32(&m), job.f32(&g));
    let shadow = job.bf16(&vec![0.0; flat.length]);
    let (chunks, step, norm) = (job.bytes(flat.chunks), job.f32(step), job.f32(&[CLIP, 1.0, 1.0]));
    let given = arguments![p, m, g, shadow, chunks, step, norm];
    job.launch(kernel, [flat.count, 1, 1], 256, 0, given);
    // A gradient that is no number changes nothing.
    let broken = job.f32(&[1.0, f64::NAN, 0.0]);
    job.launch(
        kernel,
        [flat.count, 1, 1],
        256,
        0,
        arguments![p, m, g, shadow, chunks, step, broken],
    );
    Case::new(name, job, move |outcome| {
        close("p", &outcome.f32(p), &expected[0], 1e-6)?;
        close("m", &outcome.f32(m), &expected[1], 1e-6)?;
        close("shadow", &outcome.bf16(shadow), &expected[0], ROUNDED)
    })
}

fn lion() -> Case {
    // Numbers that f32 multiplies exactly, so that no sign hangs on a rounding.
    let (decay, rate, beta1, beta2) = (0.99, 0.01, 0.875, 0.9375);
    momentum("lion", "lion", &[decay, rate, beta1, beta2], move |p, m, g, decays| {
        let direction = beta1 * m + (1.0 - beta1) * g;
        let sign = if direction == 0.0 { 0.0 } else { direction.signum() };
        let kept = if decays { decay } else { 1.0 };
        (p * kept - rate * sign, beta2 * m + (1.0 - beta2) * g)
    })
}

/// The arithmetic of torch.optim.SGD.
fn sgd(nesterov: bool) -> Case {
    let (decay, rate, mu) = (0.1, 0.01, 0.9);
    let (past, own) = if nesterov { (mu, 1.0) } else { (1.0, 0.0) };
    let name = if nesterov { "sgd, Nesterov's form" } else { "sgd" };
    momentum(name, "sgd", &[decay, rate, mu, past, own], move |p, m, g, decays| {
        let g = if decays { g + decay * p } else { g };
        let m = mu * m + g;
        (p - rate * if nesterov { g + mu * m } else { m }, m)
    })
}

/// A count that is no multiple of a block's.
fn average() -> Case {
    const SHARE: f64 = 0.25;
    let count = 4 * 256 * 2 + 12;
    let [a, p] = ["a", "p"].map(|name| normal(name, count, 1.0));
    let expected: Vec<f64> = a.iter().zip(&p).map(|(a, p)| a + SHARE * (p - a)).collect();
    let mut job = Job::default();
    let (a, p, shadow) = (job.f32(&a), job.f32(&p), job.output(2 * count));
    let given = arguments![a, p, shadow, count as u64, SHARE as f32];
    job.launch("average_towards", [count.div_ceil(1024), 1, 1], 256, 0, given);
    Case::new("average", job, move |outcome| {
        close("a", &outcome.f32(a), &expected, 1e-6)?;
        close("shadow", &outcome.bf16(shadow), &expected, ROUNDED)
    })
}
