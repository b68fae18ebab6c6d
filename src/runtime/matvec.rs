//! A matrix times one row, or a few: most of the work of generation.
//!
//! In → a weight [outputs, inputs], rows of inputs; out → a number for each output and row.
//! **Method.** Each output is a dot product over fixed lanes ([`super::cpu::dot`]); four are summed
//! side by side, so that they do not wait for each other, and threads take runs of the weight's
//! rows. A general matrix product packs its operands first, which costs more here than the product,
//! and leaves threads idle. **Invariants.** The same bits at any number of threads, on any
//! instruction set, and whatever rows lie beside a row. **Cost.** One read of the weight, whatever
//! the number of rows: bound by memory.

#![allow(unsafe_code, reason = "kernels for the vector units")]

use rayon::prelude::*;

use super::cpu::{self, LANES, kernel};

/// Rows that are computed side by side.
const SIDE: usize = 4;
/// Elements of a weight that a task reads, roughly: 256 KiB, some tens of microseconds.
const TASK: usize = 1 << 16;

/// `output` = `weight` · `x`, where `weight` has a row of x's length for each output.
pub fn matvec(output: &mut [f32], weight: &[f32], x: &[f32]) {
    let inputs = x.len();
    assert_eq!(weight.len(), output.len() * inputs, "a row of the weight an output");
    let rows = (TASK / inputs.max(1)).max(1).next_multiple_of(SIDE);
    if output.len() <= rows {
        return products(output, weight, x);
    }
    let tasks = output.par_chunks_mut(rows).zip(weight.par_chunks(rows * inputs));
    tasks.for_each(|(output, weight)| products(output, weight, x));
}

/// `output` [rows, outputs] = `x` [rows, inputs] · `weight`ᵀ, each row as [`matvec`] gives it.
pub fn matvecs(output: &mut [f32], weight: &[f32], x: &[f32], rows: usize) {
    if rows == 1 {
        return matvec(output, weight, x);
    }
    let (outputs, inputs) = (output.len() / rows, x.len() / rows);
    assert_eq!((rows * outputs, rows * inputs), (output.len(), x.len()), "whole rows");
    assert_eq!(weight.len(), outputs * inputs, "a row of the weight an output");
    let run = (TASK / inputs.max(1)).max(1).next_multiple_of(SIDE);
    let mut by_output = vec![0.0; output.len()]; // [outputs, rows]: what a task gives lies together
    let tasks = by_output.par_chunks_mut(run * rows).zip(weight.par_chunks(run * inputs));
    tasks.for_each(|(by_output, weight)| several(by_output, weight, x, rows));
    output.par_chunks_exact_mut(outputs).enumerate().for_each(|(row, output)| {
        for (output, rows) in output.iter_mut().zip(by_output.chunks_exact(rows)) {
            *output = rows[row];
        }
    });
}

kernel! {
    /// Fills `by_output` [outputs, rows]. Four rows of the weight stay in the cache while they are
    /// multiplied by all rows of x.
    fn several(by_output: &mut [f32], weight: &[f32], x: &[f32], rows: usize) {
        let inputs = x.len() / rows;
        let sides = by_output.chunks_mut(SIDE * rows).zip(weight.chunks(SIDE * inputs));
        for (by_output, weight) in sides {
            for (row, x) in x.chunks_exact(inputs).enumerate() {
                if weight.len() == SIDE * inputs {
                    for (side, product) in four(weight, x).into_iter().enumerate() {
                        by_output[side * rows + row] = product;
                    }
                } else {
                    for (side, weight) in weight.chunks_exact(inputs).enumerate() {
                        by_output[side * rows + row] = cpu::dot(weight, x);
                    }
                }
            }
        }
    }
}

kernel! {
    fn products(output: &mut [f32], weight: &[f32], x: &[f32]) {
        let inputs = x.len();
        let sides = output.chunks_mut(SIDE).zip(weight.chunks(SIDE * inputs));
        for (output, rows) in sides {
            match output {
                [a, b, c, d] => [*a, *b, *c, *d] = four(rows, x),
                few => {
                    for (output, row) in few.iter_mut().zip(rows.chunks_exact(inputs)) {
                        *output = cpu::dot(row, x);
                    }
                }
            }
        }
    }
}

/// The dot products of four rows with `x`, each as [`cpu::dot`] sums it.
#[inline(always)]
fn four(rows: &[f32], x: &[f32]) -> [f32; SIDE] {
    let inputs = x.len();
    let whole = inputs / LANES * LANES;
    let mut lanes = [[0.0f32; LANES]; SIDE];
    let rows: [&[f32]; SIDE] = std::array::from_fn(|row| &rows[row * inputs..][..inputs]);
    let [a, b, c, d] = rows.map(|row| row[..whole].chunks_exact(LANES));
    for ((((a, b), c), d), x) in a.zip(b).zip(c).zip(d).zip(x[..whole].chunks_exact(LANES)) {
        for lane in 0..LANES {
            lanes[0][lane] += a[lane] * x[lane];
            lanes[1][lane] += b[lane] * x[lane];
            lanes[2][lane] += c[lane] * x[lane];
            lanes[3][lane] += d[lane] * x[lane];
        }
    }
    for (lanes, row) in lanes.iter_mut().zip(rows) {
        for (lane, (a, x)) in lanes.iter_mut().zip(row[whole..].iter().zip(&x[whole..])) {
            *lane += a * x;
        }
    }
    lanes.map(cpu::sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_give_what_each_gives_alone() {
        for (outputs, inputs, rows) in [(1, 1, 2), (7, 33, 3), (1003, 150, 5), (3, 70_000, 2)] {
            let number = |i: usize| (i * 7919 % 1013) as f32 / 500.0 - 1.0;
            let weight: Vec<f32> = (0..outputs * inputs).map(number).collect();
            let x: Vec<f32> = (0..rows * inputs).map(|i| number(3 * i + 1)).collect();
            let mut expected = vec![0.0; rows * outputs];
            for (expected, x) in expected.chunks_exact_mut(outputs).zip(x.chunks_exact(inputs)) {
                matvec(expected, &weight, x);
            }
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut output = vec![f32::NAN; rows * outputs];
                pool.install(|| matvecs(&mut output, &weight, &x, rows));
                assert_eq!(output, expected, "{rows} of {outputs} by {inputs}, {threads} threads");
            }
        }
    }

    #[test]
    fn every_output_is_the_dot_product_of_its_row_at_any_number_of_threads() {
        // Rows left over behind fours, elements left over behind lanes, more rows than a task has.
        for (outputs, inputs) in [(1, 1), (4, 16), (7, 33), (1003, 150), (3, 70_000)] {
            let number = |i: usize| (i * 7919 % 1013) as f32 / 500.0 - 1.0;
            let weight: Vec<f32> = (0..outputs * inputs).map(number).collect();
            let x: Vec<f32> = (0..inputs).map(|i| number(3 * i + 1)).collect();
            let mut expected = vec![0.0; outputs];
            for (expected, row) in expected.iter_mut().zip(weight.chunks_exact(inputs)) {
                *expected = cpu::dot(row, &x);
            }
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut output = vec![f32::NAN; outputs];
                pool.install(|| matvec(&mut output, &weight, &x));
                assert_eq!(output, expected, "{outputs} of {inputs}, {threads} threads");
            }
        }
    }
}
