//! The GPU's kernels, proved on the host from their own source.
//!
//! Each case runs kernels over small shapes that are no multiple of any tile and holds what they
//! wrote against a reference in f64 on the same rounded inputs: candle's plain operations with
//! candle's gradients, whose values are those of `runtime::ops` where it has the op. Then: other
//! orders of threads give the same bits, and a kernel without one of its barriers or waits fails.
//!
//! **Tolerances.** ‖found − expected‖ / ‖expected‖, at most [`ROUNDED`] where only the result is
//! rounded to bf16; see each case for what is rounded besides.

mod attention;
mod cases;
mod figures;
mod gpt2;
pub mod host;
mod instructions;
mod muon;
mod optimizer;
mod rows;

use candle_core::{DType, Device, Tensor, Var};
use dataprep::base::rng::Stream;
use dataprep::runtime::cuda::table::ENTRIES;
use half::bf16;

use cases::Case;

/// bf16 keeps 8 bits: rounding moves a number by 2⁻⁸ of itself at most, 0.0017 by the norm of many.
const ROUNDED: f64 = 2.5e-3;

/// Numbers from N(0, 1) times `scale`, as bf16 has them.
fn normal(name: &str, count: usize, scale: f64) -> Vec<f64> {
    let mut stream = Stream::new(17, name);
    (0..count).map(|_| bf16::from_f64(stream.normal() * scale).to_f64()).collect()
}

fn tensor(numbers: &[f64], dims: &[usize]) -> Tensor {
    Tensor::from_slice(numbers, dims, &Device::Cpu).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The value of `function` at `inputs`, and what `gradient` of it pulls back to each of them.
fn reference(
    inputs: &[Tensor],
    gradient: &Tensor,
    function: impl Fn(&[Tensor]) -> candle_core::Result<Tensor>,
) -> (Vec<f64>, Vec<Vec<f64>>) {
    let variables: Vec<Tensor> =
        inputs.iter().map(|input| Var::from_tensor(input).unwrap().into_inner()).collect();
    let output = function(&variables).unwrap();
    let loss = (&output * gradient).unwrap().sum_all().unwrap();
    let store = loss.backward().unwrap();
    let gradients = variables.iter().map(|variable| numbers(store.get(variable).unwrap()));
    (numbers(&output), gradients.collect())
}

fn norm(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.map(|x| x * x).sum::<f64>().sqrt()
}

/// Whether `found` is `expected` up to `tolerance` of its norm; NaN is not.
fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) -> Result<(), String> {
    assert_eq!(found.len(), expected.len(), "{what}");
    let distance = norm(found.iter().zip(expected).map(|(a, b)| a - b));
    let error = distance / norm(expected.iter().copied()).max(1e-30);
    if error <= tolerance { Ok(()) } else { Err(format!("{what}: {error:.2e} > {tolerance:.0e}")) }
}

fn all_cases() -> Vec<Case> {
    [rows::cases(), gpt2::cases(), optimizer::cases(), muon::cases(), attention::cases()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn kernels_give_the_reference() {
    let mut failures = Vec::new();
    for case in all_cases() {
        if let Err(why) = case.verdict(1, "") {
            failures.push(format!("{}: {why}", case.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_kernel_has_a_case() {
    let program = include_str!("../../kernels/prove.cpp");
    let entries = program.lines().filter_map(|line| line.trim().strip_prefix("ADD("));
    let entries: Vec<&str> = entries.filter_map(|rest| rest.split_once(',')).map(|e| e.0).collect();
    let cases = all_cases();
    let proved: Vec<&str> = cases.iter().flat_map(|case| case.job.kernels()).collect();
    let missing: Vec<&&str> = entries
        .iter()
        .filter(|name| !name.starts_with("probe_") && !proved.contains(*name))
        .collect();
    assert!(entries.len() > 30 && missing.is_empty(), "no case launches {missing:?}");
    let table = include_str!("../../kernels/registers.txt").lines().skip(2);
    let mut compiled: Vec<&str> = table.filter_map(|row| row.split(' ').next()).collect();
    let mut run = entries;
    compiled.sort_unstable();
    run.sort_unstable();
    assert_eq!(compiled, run, "kernels that nvcc compiles, and those that kernels/prove.cpp runs");
}

/// What launches are made from, and `doctor --kernels` computes occupancy from, is what the kernels
/// are compiled for.
#[test]
fn the_table_of_launches_is_that_of_the_sources() {
    let rows = ENTRIES.iter().map(|row| (row.name.to_owned(), row.threads as usize, row.shared));
    assert_eq!(rows.collect::<Vec<_>>(), host::launches());
}

/// A GPU's build compiles what `scripts/kernels.sh` looks at, with the same flags.
#[test]
fn the_build_compiles_kernels_as_they_are_checked() {
    let (build, script) =
        (include_str!("../../build.rs"), include_str!("../../scripts/kernels.sh"));
    let between = |text: &'static str, before: &str, after: &str| -> &'static str {
        let rest = text.split_once(before).unwrap_or_else(|| panic!("{before}")).1;
        rest.split_once(after).unwrap_or_else(|| panic!("{after}")).0
    };
    let targets = between(build, "const TARGETS: &str = \"", "\"");
    assert_eq!(targets, between(script, "\ntargets=(", ")"));
    let flags: Vec<&str> = between(build, "command.args([", "]")
        .split(", ")
        .map(|flag| flag.trim().trim_matches('"'))
        .collect();
    assert_eq!(flags.join(" "), between(script, "\"$nvcc\" ", " \"${code[@]}\""));
    assert!(build.contains("-gencode=arch=compute_80,code=compute_80"));
    assert!(script.contains("-gencode=arch=compute_80,code=compute_80"));
}

#[test]
fn any_order_of_threads_and_blocks_gives_the_same_bits() {
    for case in all_cases() {
        let [first, second] = [2, 3].map(|seed| case.job.run(seed, "").unwrap().buffers);
        assert!(first == second, "{}", case.name);
    }
}

/// Each barrier and each wait for copies is left out in turn; under some order of threads some
/// case must then fail.
#[test]
fn no_barrier_and_no_wait_can_be_left_out() {
    let cases = all_cases();
    let mut needed: std::collections::BTreeMap<String, bool> = Default::default();
    for case in &cases {
        for place in case.job.run(1, "").unwrap().places {
            let is_needed = needed.entry(place.clone()).or_default();
            *is_needed = *is_needed || (1..4).any(|seed| case.verdict(seed, &place).is_err());
        }
    }
    assert!(needed.len() >= 12, "few barriers are seen: {needed:?}");
    let idle: Vec<&String> = needed.iter().filter(|place| !place.1).map(|place| place.0).collect();
    assert!(idle.is_empty(), "nothing fails without these: {idle:?}");
}
