//! The ceilings of the GPUs that kernels are compiled for.
//!
//! In → a name; out → [`Gpu`]. **Sources.** NVIDIA's data sheets (H200 SXM 2024, H100 SXM5 2023,
//! A100 80 GB SXM 2021) and the whitepapers of the GA102 (2020, table 9 of its appendix A), Ada
//! (2022, appendix A) and RTX Blackwell GPU architectures (2025, appendix A): memory bandwidth, and
//! dense bf16 products with fp32 sums.
//! No whitepaper gives the RTX 4070's rate of products: it is that of its 46 multiprocessors at
//! 2.475 GHz with Ada's 512 operations a clock, which gives the whitepaper's 165.2 for the
//! RTX 4090. Memory is the total that `nvidia-smi` shows. Limits of a multiprocessor: *CUDA C++
//! Programming Guide* 13.0, table of technical specifications by compute capability.
//!
//! An H200 was measured to give 770 to 800 TFLOP/s of its 989 in a product of 8192³.

use crate::base::error::{Error, Result};

/// What one multiprocessor holds at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub threads: usize,
    pub blocks: usize,
    /// Bytes of shared memory, and those of each block that the system reserves.
    pub shared: usize,
    pub reserved: usize,
    pub registers: usize,
}

/// A GPU.
#[derive(Clone, Copy, Debug)]
pub struct Gpu {
    /// The name a user gives.
    pub name: &'static str,
    pub title: &'static str,
    /// The target of the compiler: a column of `kernels/registers.txt`.
    pub target: &'static str,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes a second between memory and the chip.
    pub bandwidth: f64,
    /// Operations a second of dense bf16 products with fp32 sums.
    pub products: f64,
    pub multiprocessors: usize,
    pub limits: Limits,
}

const fn limits(threads: usize, blocks: usize, shared_kib: usize) -> Limits {
    Limits { threads, blocks, shared: shared_kib << 10, reserved: 1 << 10, registers: 1 << 16 }
}

const HOPPER: Limits = limits(2048, 32, 228);
const AMPERE: Limits = limits(2048, 32, 164);
const GA102: Limits = limits(1536, 16, 100);
const ADA: Limits = limits(1536, 24, 100);
const BLACKWELL: Limits = limits(1536, 24, 100);

const MIB: u64 = 1 << 20;

/// All GPUs with known figures.
pub const GPUS: &[Gpu] = &[
    Gpu {
        name: "h200",
        title: "H200 SXM",
        target: "sm_90a",
        memory: 143_771 * MIB,
        bandwidth: 4.8e12,
        products: 989.4e12,
        multiprocessors: 132,
        limits: HOPPER,
    },
    Gpu {
        name: "h100",
        title: "H100 SXM5 80 GB",
        target: "sm_90a",
        memory: 81_559 * MIB,
        bandwidth: 3.35e12,
        products: 989.4e12,
        multiprocessors: 132,
        limits: HOPPER,
    },
    Gpu {
        name: "a100",
        title: "A100 SXM 80 GB",
        target: "sm_80",
        memory: 81_920 * MIB,
        bandwidth: 2.039e12,
        products: 312e12,
        multiprocessors: 108,
        limits: AMPERE,
    },
    Gpu {
        name: "5090",
        title: "RTX 5090",
        target: "sm_120",
        memory: 32_607 * MIB,
        bandwidth: 1.792e12,
        products: 209.5e12,
        multiprocessors: 170,
        limits: BLACKWELL,
    },
    Gpu {
        name: "4090",
        title: "RTX 4090",
        target: "sm_89",
        memory: 24_564 * MIB,
        bandwidth: 1.008e12,
        products: 165.2e12,
        multiprocessors: 128,
        limits: ADA,
    },
    Gpu {
        name: "3090",
        title: "RTX 3090",
        target: "sm_86",
        memory: 24_576 * MIB,
        bandwidth: 936.2e9,
        products: 71.2e12,
        multiprocessors: 82,
        limits: GA102,
    },
    Gpu {
        name: "4070",
        title: "RTX 4070",
        target: "sm_89",
        memory: 12_282 * MIB,
        bandwidth: 504.2e9,
        products: 58.3e12,
        multiprocessors: 46,
        limits: ADA,
    },
];

/// The driver's name of a GPU, without `NVIDIA`, and ours.
const DEVICES: [(&str, &str); 7] = [
    ("H200", "h200"),
    ("H100 80GB HBM3", "h100"),
    ("A100-SXM4-80GB", "a100"),
    ("GeForce RTX 5090", "5090"),
    ("GeForce RTX 4090", "4090"),
    ("GeForce RTX 3090", "3090"),
    ("GeForce RTX 4070", "4070"),
];

impl Gpu {
    /// The GPU called `name`.
    ///
    /// # Errors
    /// Config: none is called so; the hint lists them.
    pub fn named(name: &str) -> Result<&'static Gpu> {
        GPUS.iter().find(|gpu| gpu.name == name).ok_or_else(|| {
            let names: Vec<&str> = GPUS.iter().map(|gpu| gpu.name).collect();
            Error::config(format!("no figures of a GPU `{name}`"))
                .with_hint(format!("there are figures of {}", names.join(", ")))
        })
    }

    /// The GPU of a device as a run records it, `cuda NVIDIA H200 sm_90`; `None` for an unknown GPU
    /// or a part of one.
    pub fn of_device(device: &str) -> Option<&'static Gpu> {
        let (name, _) = device.strip_prefix("cuda NVIDIA ")?.rsplit_once(" sm_")?;
        let (_, ours) = DEVICES.iter().find(|(theirs, _)| *theirs == name)?;
        Gpu::named(ours).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_found_by_its_name_and_another_name_lists_them() {
        assert_eq!(Gpu::named("3090").unwrap().title, "RTX 3090");
        let error = Gpu::named("5080").unwrap_err();
        assert!(
            error.hint().is_some_and(|hint| hint.contains("h200, h100, a100, 5090, 4090, 3090"))
        );
    }

    #[test]
    fn a_device_is_known_by_the_name_of_its_driver_and_a_part_of_one_is_another() {
        let title = |device: &str| Gpu::of_device(device).map(|gpu| gpu.title);
        assert_eq!(title("cuda NVIDIA H200 sm_90"), Some("H200 SXM"));
        assert_eq!(title("cuda NVIDIA GeForce RTX 4070 sm_89"), Some("RTX 4070"));
        for other in ["NVIDIA H200 MIG 1g.18gb", "NVIDIA GeForce RTX 4070 Ti", "AMD H200"] {
            assert_eq!(title(&format!("cuda {other} sm_90")), None, "{other}");
        }
        assert!(DEVICES.iter().all(|(_, name)| Gpu::named(name).is_ok()) && title("cpu").is_none());
    }

    #[test]
    fn products_of_consumer_cards_follow_from_their_multiprocessors_and_clocks() {
        // Operations a clock and multiprocessor with fp32 sums: 512 in GA102, Ada and Blackwell.
        let clocks = [("5090", 2.407), ("4090", 2.52), ("3090", 1.695), ("4070", 2.475)];
        for (name, gigahertz) in clocks {
            let gpu = Gpu::named(name).unwrap();
            let expected = gpu.multiprocessors as f64 * gigahertz * 1e9 * 512.0;
            assert!((gpu.products / expected - 1.0).abs() < 2e-3, "{name}: {expected:e}");
        }
    }
}
