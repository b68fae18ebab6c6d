//! The rate that a run's model FLOPs are held against.
//!
//! In → a device; out → [`Peak`]. On the CPU it is this machine's own f32 matrix product, 1024 ×
//! 1024 × 1024 on the threads of this pool, measured once a process and number of threads; on a GPU
//! that of dense bf16 products in its data sheet ([`Gpu`]). A GPU without figures has none, and a
//! run on it no utilisation. **Cost.** On the CPU four products: a tenth of a second.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::clock::Stopwatch;
use crate::report::lines::Peak;
use crate::runtime::{
    ceiling::Gpu,
    cpu::{Matrix, Threads, matmul},
    device::Device,
};

/// Rows, columns and depth of the product that a machine is measured by, and how often.
const PRODUCT: usize = 1024;
const PRODUCTS: u32 = 3;

impl Peak {
    /// What `device` can do, where that is known.
    pub fn of(device: &Device) -> Option<Peak> {
        let Some(context) = device.context() else {
            let of = "this machine's own f32 product".to_owned();
            return Some(Peak { flops_per_second: measured(), of });
        };
        let gpu = Gpu::of_device(&context.identity().device)?;
        let of = format!("the bf16 products in the data sheet of {}", gpu.title);
        Some(Peak { flops_per_second: gpu.products, of })
    }
}

/// [`product_rate`], by threads.
fn measured() -> f64 {
    static RATES: Mutex<BTreeMap<usize, f64>> = Mutex::new(BTreeMap::new());
    let rates = || RATES.lock().unwrap_or_else(PoisonError::into_inner);
    let threads = rayon::current_num_threads();
    let known = rates().get(&threads).copied();
    // It is measured without the lock, since a thread of the pool that waits may take up other
    // work.
    let rate = known.unwrap_or_else(product_rate);
    *rates().entry(threads).or_insert(rate)
}

/// Operations a second of an f32 product on the threads of this pool.
fn product_rate() -> f64 {
    let left = vec![0.5f32; PRODUCT * PRODUCT];
    let mut output = vec![0.0f32; PRODUCT * PRODUCT];
    let matrix = Matrix::new(&left, PRODUCT, PRODUCT, PRODUCT);
    let mut product = || matmul(&mut output, PRODUCT, false, matrix, matrix.t(), Threads::All);
    product();
    let mut watch = Stopwatch::start();
    (0..PRODUCTS).for_each(|_| product());
    let operations = 2.0 * (PRODUCT as f64).powi(3) * f64::from(PRODUCTS);
    operations / watch.lap().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::cuda::host::HostMachine;

    #[test]
    fn a_processor_is_measured_and_a_gpu_without_figures_has_no_peak() {
        let peak = Peak::of(&Device::cpu()).unwrap();
        assert!(peak.flops_per_second > 1e6, "{peak:?}");
        assert_eq!(Peak::of(&Device::over(HostMachine::context(1).1)), None);
    }
}
