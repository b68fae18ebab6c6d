//! How each kernel is launched, and how many of its blocks stand on a multiprocessor at once.
//!
//! In → the table [`KERNELS`], `kernels/registers.txt`, a GPU; out → [`Occupancy`]. **Method.** The
//! rules of NVIDIA's occupancy calculator for compute capability 8.0 to 9.0: registers are given to
//! a warp in units of 256, warps to a multiprocessor in fours; shared memory in units of 128 bytes,
//! with 1 KiB a block on top. **Invariant.** Threads and shared memory are those that
//! `kernels/prove.cpp` launches with: a test under `tests/kernels/` compares the two tables.

use serde::Serialize;

use super::gpus::Gpu;

/// Threads of a warp.
const WARP: usize = 32;

/// Bytes of shared memory that a block is launched with.
#[derive(Clone, Copy, Debug)]
pub enum Shared {
    Bytes(usize),
    /// 16 bytes a column of the model's width, rounded up to 256 columns: four warps' sums.
    OfWidth,
    /// With QK-norm 32 bytes a thread, without it none.
    OfNorm,
}

/// A kernel's launch.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    pub name: &'static str,
    /// Threads of a block.
    pub threads: usize,
    pub shared: Shared,
}

const fn plain(name: &'static str, threads: usize) -> Kernel {
    Kernel { name, threads, shared: Shared::Bytes(0) }
}
const fn with(name: &'static str, threads: usize, bytes: usize) -> Kernel {
    Kernel { name, threads, shared: Shared::Bytes(bytes) }
}

/// Every kernel that trains.
pub const KERNELS: &[Kernel] = &[
    with("attention_forward_64", 128, 40_960),
    with("attention_forward_128", 128, 81_920),
    plain("attention_delta_64", 128),
    plain("attention_delta_128", 128),
    with("attention_keys_64", 128, 50_176),
    with("attention_keys_128", 128, 66_048),
    with("attention_queries_64", 128, 49_152),
    with("attention_queries_128", 128, 65_536),
    plain("rms_norm_forward_1024", 128),
    plain("rms_norm_forward_2048", 128),
    plain("rms_norm_forward_4096", 128),
    Kernel { name: "rms_norm_backward_1024", threads: 128, shared: Shared::OfWidth },
    Kernel { name: "rms_norm_backward_2048", threads: 128, shared: Shared::OfWidth },
    Kernel { name: "rms_norm_backward_4096", threads: 128, shared: Shared::OfWidth },
    with("sum_parts", 256, 1024),
    plain("rope_forward_64", 128),
    plain("rope_forward_128", 128),
    Kernel { name: "rope_backward_64", threads: 128, shared: Shared::OfNorm },
    Kernel { name: "rope_backward_128", threads: 128, shared: Shared::OfNorm },
    plain("swiglu_forward", 256),
    plain("swiglu_backward", 256),
    plain("geglu_forward", 256),
    plain("geglu_backward", 256),
    plain("relu2_forward", 256),
    plain("relu2_backward", 256),
    with("cross_entropy_rows", 256, 64),
    plain("embedding_forward", 128),
    plain("embedding_backward", 128),
    plain("dropout_apply", 256),
    plain("combine_two", 256),
    with("square_sums", 256, 64),
    with("clip_factor", 256, 64),
    plain("adamw", 256),
    with("muon_momentum", 256, 64),
    with("muon_inverses", 256, 64),
    plain("muon_scale", 256),
    plain("muon_update", 256),
];

/// What the compiler says, by kernel and target.
const REGISTERS: &str = include_str!("../../../kernels/registers.txt");

/// Registers of a thread, where the table has the kernel and the target.
fn registers(kernel: &str, target: &str) -> Option<usize> {
    let mut rows = REGISTERS.lines().filter(|line| !line.starts_with('#'));
    let column = rows.next()?.split_ascii_whitespace().position(|name| name == target)?;
    let row = rows.find(|row| row.split_ascii_whitespace().next() == Some(kernel))?;
    row.split_ascii_whitespace().nth(column)?.parse().ok()
}

/// How one kernel fills a multiprocessor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Occupancy {
    pub kernel: &'static str,
    pub threads: usize,
    pub registers: usize,
    /// Bytes a block.
    pub shared: usize,
    /// Blocks that stand at once.
    pub blocks: usize,
    /// Warps that stand at once, of the most there can be.
    pub warps: usize,
    pub most_warps: usize,
    /// What allows no more blocks.
    pub limit: &'static str,
}

impl Kernel {
    /// Whether a model of this width, these heads and this activation launches it: what the name
    /// says of sizes and kinds must be the model's.
    pub fn serves(&self, width: usize, head: usize, activation: &str) -> bool {
        let (start, end) = self.name.rsplit_once('_').unwrap_or((self.name, ""));
        match (start, end.parse::<usize>()) {
            ("rms_norm_forward" | "rms_norm_backward", Ok(widest)) => {
                let smaller = match widest {
                    1024 => 0,
                    _ => widest / 2,
                };
                width > smaller && width <= widest
            }
            (_, Ok(of)) => of == head,
            ("swiglu" | "geglu" | "relu2", _) => start == activation,
            _ => true,
        }
    }

    /// The widest model it serves, where its name says so; else any width serves.
    pub fn widest(&self) -> usize {
        let width = self.name.strip_prefix("rms_norm_").and_then(|name| name.rsplit('_').next());
        width.and_then(|width| width.parse().ok()).unwrap_or(1024)
    }

    /// Bytes of shared memory of a block in a model of this width.
    pub fn shared_bytes(&self, width: usize, qk_norm: bool) -> usize {
        match self.shared {
            Shared::Bytes(bytes) => bytes,
            Shared::OfWidth => 16 * width.next_multiple_of(256),
            Shared::OfNorm if qk_norm => 32 * self.threads,
            Shared::OfNorm => 0,
        }
    }

    /// How it fills a multiprocessor of `gpu`; `None` where no register count is known.
    pub fn occupancy(&self, gpu: &Gpu, width: usize, qk_norm: bool) -> Option<Occupancy> {
        let registers = registers(self.name, gpu.target)?;
        let shared = self.shared_bytes(width, qk_norm);
        let limits = gpu.limits;
        let warps = self.threads / WARP;
        let of_warp = (registers * WARP).next_multiple_of(256);
        let by_registers = limits.registers / of_warp / 4 * 4 / warps;
        let of_block = (shared + limits.reserved).next_multiple_of(128);
        let by = [
            ("registers", by_registers),
            ("shared memory", limits.shared / of_block),
            ("threads", limits.threads / self.threads),
            ("blocks", limits.blocks),
        ];
        let (limit, blocks) = by.into_iter().min_by_key(|(_, blocks)| *blocks)?;
        Some(Occupancy {
            kernel: self.name,
            threads: self.threads,
            registers,
            shared,
            blocks,
            warps: blocks * warps,
            most_warps: limits.threads / WARP,
            limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occupancy(name: &str, gpu: &str) -> Occupancy {
        let kernel = KERNELS.iter().find(|kernel| kernel.name == name).unwrap();
        kernel.occupancy(Gpu::named(gpu).unwrap(), 768, false).unwrap()
    }

    #[test]
    fn registers_bound_attention_on_a_large_gpu_and_shared_memory_on_a_small_one() {
        // 159 registers: 5,120 a warp, 12 warps of 65,536, so three blocks of four; 40,960 + 1,024
        // bytes would let five stand.
        let found = occupancy("attention_forward_64", "h200");
        assert_eq!((found.blocks, found.warps, found.most_warps), (3, 12, 64));
        assert_eq!(found.limit, "registers");
        // 102,400 bytes hold two of 41,984.
        let found = occupancy("attention_forward_64", "3090");
        assert_eq!((found.blocks, found.limit, found.most_warps), (2, "shared memory", 48));
    }

    #[test]
    fn two_blocks_of_the_keys_pass_stand_on_a_small_gpu() {
        // 50,176 + 1,024 bytes, twice, are the 100 KiB there are.
        for gpu in ["3090", "4090"] {
            assert_eq!(occupancy("attention_keys_64", gpu).blocks, 2, "{gpu}");
        }
    }

    #[test]
    fn an_optimizer_fills_every_warp_that_there_is() {
        // 36 registers: 1,280 a warp, 48 warps at least; 256 threads, eight warps.
        let found = occupancy("adamw", "3090");
        assert_eq!((found.blocks, found.warps, found.limit), (6, 48, "registers"));
        let width = KERNELS.iter().find(|kernel| kernel.name == "rms_norm_backward_1024").unwrap();
        assert_eq!(width.shared_bytes(768, false), 12_288);
    }

    #[test]
    fn a_model_launches_the_kernels_of_its_width_and_heads() {
        let of = |width, head, kind| -> Vec<&str> {
            let served = KERNELS.iter().filter(|kernel| kernel.serves(width, head, kind));
            served.map(|kernel| kernel.name).collect()
        };
        let small = of(768, 64, "swiglu");
        assert!(small.contains(&"rms_norm_forward_1024") && small.contains(&"adamw"));
        assert!(small.contains(&"attention_keys_64") && small.contains(&"swiglu_backward"));
        let (large, no) = (of(1280, 128, "relu2"), ["geglu_forward", "swiglu_forward"]);
        assert!(large.contains(&"rms_norm_backward_2048") && large.contains(&"rope_forward_128"));
        assert!(no.iter().all(|name| !large.contains(name)) && large.contains(&"relu2_forward"));
    }

    #[test]
    fn every_kernel_has_its_registers_on_every_gpu() {
        for gpu in super::super::GPUS {
            for kernel in KERNELS {
                assert!(kernel.occupancy(gpu, 768, true).is_some(), "{} {}", kernel.name, gpu.name);
            }
        }
    }
}
