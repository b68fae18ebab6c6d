//! The host's instructions against PTX ISA 9.0, section 9.7.14.5: layouts of fragments, and the
//! rounding of tensor cores.

use half::bf16;

use super::host::Job;
use super::normal;
use crate::arguments;

/// (row, column) of element i of A's fragment in a lane: "Matrix Fragments for mma.m16n8k16",
/// figure for `.bf16`: row = group for a0 a1 a4 a5, group + 8 else; column from 8 for a4 on.
fn place_in_a(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane / 4, lane % 4);
    let row = if matches!(i, 0 | 1 | 4 | 5) { group } else { group + 8 };
    (row, thread * 2 + (i & 1) + if i < 4 { 0 } else { 8 })
}

/// Of B: row = thread·2 + (i & 1), from 8 for b2 and b3; column = group.
fn place_in_b(lane: usize, i: usize) -> (usize, usize) {
    ((lane % 4) * 2 + (i & 1) + if i < 2 { 0 } else { 8 }, lane / 4)
}

/// Of C: row = group for c0 and c1, group + 8 else; column = thread·2 + (i & 1).
fn place_in_c(lane: usize, i: usize) -> (usize, usize) {
    (lane / 4 + if i < 2 { 0 } else { 8 }, (lane % 4) * 2 + (i & 1))
}

/// a [16, 16] · b [16, 8] + c [16, 8] by the host's mma.
fn multiply(a: &[f64], b: &[f64], c: &[f64]) -> Vec<f64> {
    let mut job = Job::default();
    let lanes = || 0..32;
    let a: Vec<f64> = lanes()
        .flat_map(|lane| (0..8).map(move |i| place_in_a(lane, i)))
        .map(|(row, column)| a[row * 16 + column])
        .collect();
    let b: Vec<f64> = lanes()
        .flat_map(|lane| (0..4).map(move |i| place_in_b(lane, i)))
        .map(|(row, column)| b[row * 8 + column])
        .collect();
    let places: Vec<(usize, usize)> =
        lanes().flat_map(|lane| (0..4).map(move |i| place_in_c(lane, i))).collect();
    let c: Vec<f64> = places.iter().map(|(row, column)| c[row * 8 + column]).collect();
    let (a, b, c, d) = (job.bf16(&a), job.bf16(&b), job.f32(&c), job.output(512));
    job.launch("probe_multiply", [1, 1, 1], 32, 0, arguments![a, b, c, d]);
    let found = job.run(0, "").unwrap().f32(d);
    let mut product = vec![f64::NAN; 128];
    for ((row, column), found) in places.into_iter().zip(found) {
        product[row * 8 + column] = found;
    }
    product
}

#[test]
fn products_of_whole_numbers_are_exact_in_every_place() {
    let whole = |name: &str, count: usize| -> Vec<f64> {
        normal(name, count, 9.0).into_iter().map(f64::round).collect()
    };
    let (a, b, c) = (whole("a", 256), whole("b", 128), whole("c", 128));
    let found = multiply(&a, &b, &c);
    for row in 0..16 {
        for column in 0..8 {
            let sum: f64 = (0..16).map(|k| a[row * 16 + k] * b[k * 8 + column]).sum();
            assert_eq!(found[row * 8 + column], sum + c[row * 8 + column], "{row} {column}");
        }
    }
}

/// Fasi et al., *Numerical behavior of NVIDIA tensor cores*, 2021: on A100 the addends of a step
/// keep one bit below fp32's last, what is below is cut off, and the sum is rounded toward zero.
#[test]
fn sums_are_cut_off_as_tensor_cores_do() {
    let sum = |c: f64, products: &[f64]| {
        let mut a = vec![0.0; 256];
        a[..products.len()].copy_from_slice(products);
        let b: Vec<f64> = (0..128).map(|i| if i % 8 == 0 { 1.0 } else { 0.0 }).collect();
        let mut cs = vec![0.0; 128];
        cs[0] = c;
        multiply(&a, &b, &cs)[0]
    };
    let bit = |power: i32| 2f64.powi(power);
    // The extra bit of eight products adds up; one bit lower they are all lost.
    assert_eq!(sum(1.0, &[bit(-24); 8]), 1.0 + bit(-21));
    assert_eq!(sum(1.0, &[bit(-25); 8]), 1.0);
    // Toward zero, on both sides, where rounding to nearest would go up.
    assert_eq!(sum(1.0, &[bit(-23), bit(-24)]), 1.0 + bit(-23));
    assert_eq!(sum(-1.0, &[-bit(-23), -bit(-24)]), -1.0 - bit(-23));
    // The second half is a step of its own: its small products meet a small sum.
    let mut halves = [0.0; 16];
    (halves[0], halves[8]) = (-1.0, bit(-30));
    assert_eq!(sum(1.0, &halves), bit(-30));
}

/// ldmatrix, "each thread's fragment of a row": lane l holds row l / 4, columns 2·(l % 4) and the
/// next; `.trans` of the transposed matrix. Rows came by asynchronous copies of both widths.
#[test]
fn loaded_matrices_lie_as_the_table_says() {
    let matrices: Vec<f64> = (0..256).map(f64::from).collect();
    let mut job = Job::default();
    let from = job.bf16(&matrices);
    let (plain, transposed) = (job.output(512), job.output(512));
    job.launch("probe_load", [1, 1, 1], 32, 512, arguments![from, plain, transposed]);
    let outcome = job.run(0, "").unwrap();
    let (plain, transposed) = (outcome.words(plain), outcome.words(transposed));
    let pair = |a: usize, b: usize| {
        let bits = |i: usize| u32::from(bf16::from_f64(matrices[i]).to_bits());
        bits(a) | bits(b) << 16
    };
    for lane in 0..32 {
        for matrix in 0..4 {
            let (row, column) = (lane / 4, lane % 4 * 2);
            let start = matrix * 64;
            let expected = pair(start + row * 8 + column, start + row * 8 + column + 1);
            assert_eq!(plain[lane * 4 + matrix], expected, "{lane} {matrix}");
            let expected = pair(start + column * 8 + row, start + (column + 1) * 8 + row);
            assert_eq!(transposed[lane * 4 + matrix], expected, "{lane} {matrix}, transposed");
        }
    }
    // The wait; the barrier of the warp comes after it, and ldmatrix meets all lanes by itself.
    let without = job.run(0, &outcome.places[0]);
    assert!(without.is_err_and(|fault| fault.contains("waited for its copies")));
}

#[test]
fn lanes_sum_over_the_warp_and_over_groups() {
    let numbers: Vec<f64> = (0..32).map(f64::from).collect();
    let mut job = Job::default();
    let from = job.f32(&numbers);
    let (sums, groups) = (job.output(128), job.output(128));
    job.launch("probe_sums", [1, 1, 1], 32, 0, arguments![from, sums, groups]);
    let outcome = job.run(0, "").unwrap();
    assert_eq!(outcome.f32(sums), [496.0; 32]);
    for (lane, found) in outcome.f32(groups).into_iter().enumerate() {
        let first = lane / 8 * 8;
        assert_eq!(found, numbers[first..first + 8].iter().sum::<f64>(), "{lane}");
    }
}

/// What the machine itself refuses.
#[test]
fn wrong_launches_are_faults() {
    let fault = |threads: usize, bytes: usize, arguments: usize| {
        let mut job = Job::default();
        let from = job.f32(&[0.0; 32]);
        let (sums, groups) = (job.output(bytes), job.output(128));
        let mut given = arguments![from, sums, groups];
        given.truncate(arguments);
        job.launch("probe_sums", [1, 1, 1], threads, 0, given);
        job.run(0, "").err().unwrap_or_default()
    };
    assert_eq!(fault(32, 128, 3), "");
    assert!(fault(64, 128, 3).contains("other threads"));
    assert!(fault(32, 128, 2).contains("number of arguments"));
    assert!(fault(32, 124, 3).contains("heap-buffer-overflow"), "a byte too far");
}
