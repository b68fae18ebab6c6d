//! How each kernel is launched, and how many of its blocks are resident on a multiprocessor.
//!
//! In → the rows of `cuda::table`, `kernels/registers.txt`, a GPU; out → [`Occupancy`]. **Method.**
//! The rules of NVIDIA's occupancy calculator for compute capability 8.0 to 12.0: registers are
//! allocated to a warp in units of 256, warps to a multiprocessor in fours; shared memory in units
//! of 128 bytes, with 1 KiB for each block on top. **Invariant.** Threads and shared memory are
//! those of real launches, which `kernels/prove.cpp` checks.

use serde::Serialize;

use super::gpus::Gpu;
use crate::runtime::cuda::calls::norm_shared;
use crate::runtime::cuda::table::{ENTRIES, Entry};
use crate::runtime::model::{
    ModelConfig,
    knobs::{Activation, Bias, Norm, Positions},
};

/// Threads of a warp.
const WARP: usize = 32;

/// A kernel of a training step.
#[derive(Clone, Copy, Debug)]
pub struct Kernel(&'static Entry);

/// Every kernel of a training step, by name.
pub fn kernels() -> impl Iterator<Item = Kernel> {
    ENTRIES.iter().filter(|entry| entry.file != "probe").map(Kernel)
}

/// The compiler's report of registers, by kernel and target.
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
    /// Bytes of shared memory for each block.
    pub shared: usize,
    /// Blocks resident at once.
    pub blocks: usize,
    /// Warps resident at once, and the most that a multiprocessor can hold.
    pub warps: usize,
    pub most_warps: usize,
    /// The resource that limits the number of blocks.
    pub limit: &'static str,
}

impl Kernel {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    fn threads(&self) -> usize {
        self.0.threads as usize
    }

    /// Whether a step of `model` may launch it: the sizes and kinds in its name are the model's.
    pub fn serves(&self, model: &ModelConfig) -> bool {
        let (start, end) = self.name().rsplit_once('_').unwrap_or((self.name(), ""));
        let fits =
            |width: usize, widest: usize| width <= widest && (widest == 1024 || width > widest / 2);
        let activation = match model.activation {
            Activation::SwiGlu => "swiglu",
            Activation::GeGlu => "geglu",
            Activation::Relu2 => "relu2",
            Activation::Gelu => "gelu",
        };
        let h = model.head_dim();
        match (start, end.parse::<usize>()) {
            ("rms_norm_forward" | "rms_norm_backward", Ok(widest)) => {
                let of_stream = model.norm != Norm::LayerNorm && fits(model.d_model, widest);
                // Norms of heads with RoPE are in the launch of the rotation.
                let of_heads = model.qk_norm && model.positions != Positions::Rope;
                of_stream || (of_heads && fits(h, widest))
            }
            ("layer_norm_forward" | "layer_norm_backward", Ok(widest)) => {
                model.norm == Norm::LayerNorm && fits(model.d_model, widest)
            }
            ("rope_forward" | "rope_backward", Ok(of)) => {
                model.positions == Positions::Rope && of == h
            }
            (_, Ok(of)) => of == h,
            ("swiglu" | "geglu" | "relu2" | "gelu", _) => start == activation,
            // Products and norms add their biases; only maps with an adapter launch `bias_forward`.
            ("bias", _) => end == "backward" && model.bias != Bias::None,
            _ => true,
        }
    }

    /// The widest model it serves if its name has a width; 1,024 for kernels of any width.
    pub fn widest(&self) -> usize {
        let width = self.name().split_once("_norm_").and_then(|(_, name)| name.rsplit('_').next());
        width.and_then(|width| width.parse().ok()).unwrap_or(1024)
    }

    /// Bytes of shared memory of a block in a model of this width.
    fn shared_bytes(&self, width: usize) -> usize {
        self.0.shared.unwrap_or_else(|| norm_shared(width))
    }

    /// How it fills a multiprocessor of `gpu`; `None` where no register count is known.
    pub fn occupancy(&self, gpu: &Gpu, width: usize) -> Option<Occupancy> {
        let registers = registers(self.name(), gpu.target)?;
        let shared = self.shared_bytes(width);
        let limits = gpu.limits;
        let warps = self.threads() / WARP;
        let of_warp = (registers * WARP).next_multiple_of(256);
        let by_registers = limits.registers / of_warp / 4 * 4 / warps;
        let of_block = (shared + limits.reserved).next_multiple_of(128);
        let by = [
            ("registers", by_registers),
            ("shared memory", limits.shared / of_block),
            ("threads", limits.threads / self.threads()),
            ("blocks", limits.blocks),
        ];
        let (limit, blocks) = by.into_iter().min_by_key(|(_, blocks)| *blocks)?;
        Some(Occupancy {
            kernel: self.name(),
            threads: self.threads(),
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
        let kernel = kernels().find(|kernel| kernel.name() == name).unwrap();
        kernel.occupancy(Gpu::named(gpu).unwrap(), 768).unwrap()
    }

    #[test]
    fn registers_bound_attention_on_a_large_gpu_and_shared_memory_on_a_small_one() {
        // 158 registers: 5,120 a warp, 12 warps of 65,536, so three blocks of four; 40,960 + 1,024
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
        assert_eq!(occupancy("rms_norm_backward_1024", "3090").shared, 12_288);
    }

    #[test]
    fn a_model_launches_the_kernels_of_its_width_and_heads() {
        let of = |keys: &str| -> Vec<&str> {
            let model: ModelConfig = toml::from_str(keys).unwrap();
            let served = kernels().filter(|kernel| kernel.serves(&model));
            served.map(|kernel| kernel.name()).collect()
        };
        let small = of("d_model = 768\nn_head = 12\nn_kv_head = 12");
        assert!(small.contains(&"rms_norm_forward_1024") && small.contains(&"adamw"));
        assert!(small.contains(&"attention_keys_64") && small.contains(&"swiglu_backward"));
        let large = of("d_model = 1280\nn_head = 10\nn_kv_head = 10\nactivation = 'relu2'");
        let no = ["geglu_forward", "swiglu_forward", "bias_forward", "layer_norm_forward_2048"];
        assert!(large.contains(&"rms_norm_backward_2048") && large.contains(&"rope_forward_128"));
        assert!(no.iter().all(|name| !large.contains(name)) && large.contains(&"relu2_forward"));
        let other = of("d_model = 768\nn_head = 12\nn_kv_head = 12\nnorm = 'layernorm'\n\
                        bias = 'all'\nactivation = 'gelu'\npositions = 'learned'");
        let yes = ["layer_norm_backward_1024", "bias_backward", "gelu_forward"];
        assert!(yes.iter().all(|name| other.contains(name)) && !other.contains(&"bias_forward"));
        assert!(other.iter().all(|name| !name.starts_with("rope_") && !name.starts_with("rms_")));
    }

    #[test]
    fn a_block_of_every_kernel_stands_on_every_gpu_at_its_widest() {
        for gpu in super::super::GPUS {
            for kernel in kernels() {
                let found = kernel.occupancy(gpu, kernel.widest());
                let blocks = found.map(|found| found.blocks);
                assert!(blocks.is_some_and(|it| it > 0), "{} {}", kernel.name(), gpu.name);
            }
        }
    }
}
