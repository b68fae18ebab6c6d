//! Muon's passes over several matrices, around the products that cuBLASLt does.

use half::bf16;

use super::cases::Case;
use super::host::{Buffer, Job};
use super::{ROUNDED, close, normal};
use crate::arguments;

const CHUNK: usize = 16 * 1024;
const MOMENTUM: f64 = 0.95;

pub fn cases() -> Vec<Case> {
    vec![steps(true, false, 0.37), steps(false, true, 1.0), zero(), broken()]
}

/// Elements of each matrix and its share of the rate; places begin at multiples of 8.
const MATRICES: [(usize, f64); 4] = [(2 * CHUNK + 13, 2.0), (6, 0.5), (CHUNK, 1.0), (35, 4.0)];

struct Flat {
    chunks: Vec<u8>,
    matrices: Vec<u8>,
    count: usize,
    /// The matrix of each element, where there is one.
    elements: Vec<Option<usize>>,
}

fn flat() -> Flat {
    let mut flat = Flat { chunks: vec![], matrices: vec![], count: 0, elements: vec![] };
    for (matrix, (length, scale)) in MATRICES.into_iter().enumerate() {
        let start = flat.elements.len();
        let pieces = length.div_ceil(CHUNK);
        let words = [flat.count as u32, pieces as u32, (scale as f32).to_bits(), 0];
        flat.matrices.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        for offset in (0..length).step_by(CHUNK) {
            flat.chunks.extend(((start + offset) as u64).to_le_bytes());
            flat.chunks.extend(((length - offset).min(CHUNK) as u32).to_le_bytes());
            flat.chunks.extend((matrix as u32).to_le_bytes());
        }
        flat.count += pieces;
        flat.elements.extend(vec![Some(matrix); length]);
        flat.elements.resize(flat.elements.len().next_multiple_of(8), None);
    }
    flat
}

fn step(job: &mut Job, nesterov: bool, polar: bool) -> Buffer {
    let numbers = [MOMENTUM, 0.99, 0.01].map(|number| (number as f32).to_bits());
    let words = numbers.into_iter().chain([u32::from(nesterov), u32::from(polar)]);
    job.bytes(words.flat_map(|word| word.to_le_bytes()).collect())
}

/// One step in f64, with what stands for the orthogonal matrix drawn.
fn steps(nesterov: bool, polar: bool, clip: f64) -> Case {
    let flat = flat();
    let draw = |name: &str, scale: f64| -> Vec<f64> {
        let drawn = normal(name, flat.elements.len(), scale);
        drawn.iter().zip(&flat.elements).map(|(x, e)| e.map_or(0.0, |_| *x)).collect()
    };
    let [p, m, g, o] = ["p", "m", "g", "o"].map(|name| draw(name, 1.0));
    let clipped: Vec<f64> = g.iter().map(|g| g * clip).collect();
    let pairs = m.iter().zip(&clipped);
    let moved: Vec<f64> = pairs.map(|(m, g)| m + (1.0 - MOMENTUM) * (g - m)).collect();
    let pairs = moved.iter().zip(&clipped);
    let mut x: Vec<f64> =
        pairs.map(|(m, g)| if nesterov { g + MOMENTUM * (m - g) } else { *m }).collect();
    let mut squares = [0.0; MATRICES.len()];
    for (x, matrix) in x.iter().zip(&flat.elements) {
        matrix.iter().for_each(|&matrix| squares[matrix] += x * x);
    }
    let inverse = |norm: f64| 1.0 / if polar { norm * 1.01 + 1e-6 } else { norm };
    let inverses = squares.map(|squares| inverse(squares.sqrt()));
    let mut updated = p.clone();
    for (i, matrix) in flat.elements.iter().enumerate() {
        let Some(matrix) = *matrix else { continue };
        x[i] *= inverses[matrix];
        updated[i] = p[i] * 0.99 - 0.01 * MATRICES[matrix].1 * o[i];
    }

    let mut job = Job::default();
    let (parameters, means, gradients) = (job.f32(&p), job.f32(&m), job.f32(&g));
    let nothing = vec![0.0; flat.elements.len()];
    let (o, scaled, shadow) = (job.bf16(&o), job.bf16(&nothing), job.bf16(&nothing));
    let (chunks, matrices) = (job.bytes(flat.chunks), job.bytes(flat.matrices));
    let step = step(&mut job, nesterov, polar);
    let norm = job.f32(&[clip, 1.0, 1.0]);
    let (parts, factors) = (job.output(8 * flat.count), job.output(4 * MATRICES.len()));
    let grid = [flat.count, 1, 1];
    let given = arguments![means, gradients, parts, chunks, step, norm];
    job.launch("muon_momentum", grid, 256, 64, given);
    let given = arguments![parts, matrices, factors, step];
    job.launch("muon_inverses", [MATRICES.len(), 1, 1], 256, 64, given);
    let given = arguments![means, gradients, scaled, chunks, factors, step, norm];
    job.launch("muon_scale", grid, 256, 0, given);
    let given = arguments![parameters, o, shadow, chunks, matrices, step, norm];
    job.launch("muon_update", grid, 256, 0, given);
    let name = format!("muon, nesterov {nesterov}, polar {polar}, clip {clip}");
    Case::new(name, job, move |outcome| {
        close("m", &outcome.f32(means), &moved, 1e-6)?;
        close("factors", &outcome.f32(factors), &inverses, 1e-6)?;
        close("x", &outcome.bf16(scaled), &x, ROUNDED)?;
        close("p", &outcome.f32(parameters), &updated, 1e-6)?;
        close("shadow", &outcome.bf16(shadow), &updated, ROUNDED)
    })
}

/// One matrix of eight elements, whose gradient is `gradient` and everything else 1.
struct Small {
    job: Job,
    means: Buffer,
    parameters: Buffer,
    scaled: Buffer,
    factors: Buffer,
}

fn small(mean: f64, gradient: f64, finite: f64) -> Small {
    let mut job = Job::default();
    let (means, gradients) = (job.f32(&[mean; 8]), job.f32(&[gradient; 8]));
    let (parameters, scaled) = (job.f32(&[1.0; 8]), job.bf16(&[1.0; 8]));
    let shadow = job.bf16(&[1.0; 8]);
    let mut chunk = 0u64.to_le_bytes().to_vec();
    chunk.extend([8u32.to_le_bytes(), 0u32.to_le_bytes()].concat());
    let matrix = [0u32, 1, 1f32.to_bits(), 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    let (chunks, matrices) = (job.bytes(chunk), job.bytes(matrix));
    let step = step(&mut job, true, false);
    let norm = job.f32(&[1.0, 1.0, finite]);
    let (parts, factors) = (job.f32(&[0.0; 2]), job.output(4));
    let grid = [1, 1, 1];
    let given = arguments![means, gradients, parts, chunks, step, norm];
    job.launch("muon_momentum", grid, 256, 64, given);
    job.launch("muon_inverses", grid, 256, 64, arguments![parts, matrices, factors, step]);
    let given = arguments![means, gradients, scaled, chunks, factors, step, norm];
    job.launch("muon_scale", grid, 256, 0, given);
    let given = arguments![parameters, scaled, shadow, chunks, matrices, step, norm];
    job.launch("muon_update", grid, 256, 0, given);
    Small { job, means, parameters, scaled, factors }
}

/// A matrix without a gradient has a norm of 0 and stays finite.
fn zero() -> Case {
    let Small { job, parameters, scaled, factors, .. } = small(0.0, 0.0, 1.0);
    Case::new("muon, a gradient of zeros", job, move |outcome| {
        close("factor", &outcome.f32(factors), &[1e7], 1e-6)?;
        close("x", &outcome.bf16(scaled), &[0.0; 8], 0.0)?;
        close("p", &outcome.f32(parameters), &[f64::from(0.99f32); 8], 0.0)
    })
}

/// A gradient that is no number changes nothing.
fn broken() -> Case {
    let Small { job, means, parameters, scaled, .. } = small(1.0, f64::NAN, 0.0);
    Case::new("muon, a gradient that is no number", job, move |outcome| {
        close("m", &outcome.f32(means), &[1.0; 8], 0.0)?;
        close("x", &outcome.bf16(scaled), &[bf16::from_f64(1.0).to_f64(); 8], 0.0)?;
        close("p", &outcome.f32(parameters), &[1.0; 8], 0.0)
    })
}
