//! Every kernel that is launched, and the form of its launches.
//!
//! In → a name; out → its [`Entry`]: the file that holds it, threads in a block, shared memory if
//! it is a constant, and the width of each argument. The host's machine of `tests/kernels/` refuses
//! a launch that differs from the kernel's source, so a wrong row fails there. Tests check that
//! these are exactly the kernels that nvcc compiles (`kernels/registers.txt`).

/// The width of a kernel's argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Pointer,
    Four,
    Eight,
    /// `attention::Sizes`: 36 bytes.
    Sizes,
}

use Width::{Eight as E, Four as F, Pointer as P, Sizes as S};

/// A kernel.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in its module.
    pub name: &'static str,
    /// `kernels/FILE.cu`.
    pub file: &'static str,
    /// Threads in a block.
    pub threads: u32,
    /// Bytes of shared memory for each block; `None` if they depend on sizes.
    pub shared: Option<usize>,
    /// Its arguments.
    pub arguments: &'static [Width],
}

const fn row(
    name: &'static str,
    file: &'static str,
    threads: u32,
    shared: Option<usize>,
    arguments: &'static [Width],
) -> Entry {
    Entry { name, file, threads, shared, arguments }
}

/// Elements that one block of an optimizer updates: `optimizer::CHUNK`, `muon::CHUNK`.
pub const CHUNK: usize = 16 * 1024;

/// Elements whose squares one block sums: `optimizer::SQUARES`.
pub const SQUARES: usize = 32 * 1024;

/// Rows of a block in the backward of a norm: `rms::BACKWARD_ROWS`.
pub const NORM_ROWS: usize = 64;

/// Elements of queries or of keys that a block of RoPE's backward works on: eight for each of 128
/// threads, `rope::BACKWARD_ROUNDS` times.
pub const PLACED: usize = 16 * 8 * 128;

/// Rows and columns of a block in the backward of a bias: `bias::ROWS`, `bias::COLUMNS`.
pub const BIAS_BLOCK: [usize; 2] = [128, 256];

/// Every kernel, by name.
pub const ENTRIES: &[Entry] = &[
    row("adamw", "optimizer", 256, Some(0), &[P, P, P, P, P, P, P, P]),
    row("attention_delta_128", "attention_backward", 128, Some(0), &[P, P, P, E, F, F]),
    row("attention_delta_64", "attention_backward", 128, Some(0), &[P, P, P, E, F, F]),
    row("attention_forward_128", "attention_forward", 128, Some(81_920), &[P, P, P, P, P, P, S]),
    row("attention_forward_64", "attention_forward", 128, Some(40_960), &[P, P, P, P, P, P, S]),
    row(
        "attention_keys_128",
        "attention_backward",
        128,
        Some(66_048),
        &[P, P, P, P, P, P, P, P, P, S],
    ),
    row(
        "attention_keys_64",
        "attention_backward",
        128,
        Some(50_176),
        &[P, P, P, P, P, P, P, P, P, S],
    ),
    row(
        "attention_queries_128",
        "attention_backward",
        128,
        Some(65_536),
        &[P, P, P, P, P, P, P, P, S],
    ),
    row(
        "attention_queries_64",
        "attention_backward",
        128,
        Some(49_152),
        &[P, P, P, P, P, P, P, P, S],
    ),
    row("average_towards", "optimizer", 256, Some(0), &[P, P, P, E, F]),
    row("bias_backward", "bias", 256, Some(8192), &[P, P, F, F]),
    row("bias_forward", "bias", 256, Some(0), &[P, P, P, E, F]),
    row("clip_factor", "optimizer", 256, Some(64), &[P, P, F, F]),
    row("combine_two", "combine", 256, Some(0), &[P, P, P, E, F]),
    row("cross_entropy_rows", "cross_entropy", 256, Some(64), &[P, P, P, P, F, F, F, F, F, F]),
    row("dropout_apply", "dropout", 256, Some(0), &[P, P, P, E, F, F, F]),
    row("embedding_backward", "embedding", 128, Some(0), &[P, P, P, P, P, F, F]),
    row("embedding_forward", "embedding", 128, Some(0), &[P, P, P, E, F]),
    row("geglu_backward", "activation", 256, Some(0), &[P, P, P, P, P, E, F, F]),
    row("geglu_forward", "activation", 256, Some(0), &[P, P, P, E, F, F]),
    row("gelu_backward", "activation", 256, Some(0), &[P, P, P, P, P, E, F, F]),
    row("gelu_forward", "activation", 256, Some(0), &[P, P, P, E, F, F]),
    row("layer_norm_backward_1024", "layer_norm", 128, None, &[P, P, P, P, P, P, F, F, F]),
    row("layer_norm_backward_2048", "layer_norm", 128, None, &[P, P, P, P, P, P, F, F, F]),
    row("layer_norm_backward_4096", "layer_norm", 128, None, &[P, P, P, P, P, P, F, F, F]),
    row("layer_norm_forward_1024", "layer_norm", 128, Some(0), &[P, P, P, P, P, P, F, F, F]),
    row("layer_norm_forward_2048", "layer_norm", 128, Some(0), &[P, P, P, P, P, P, F, F, F]),
    row("layer_norm_forward_4096", "layer_norm", 128, Some(0), &[P, P, P, P, P, P, F, F, F]),
    row("lion", "optimizer", 256, Some(0), &[P, P, P, P, P, P, P]),
    row("muon_inverses", "muon", 256, Some(64), &[P, P, P, P]),
    row("muon_momentum", "muon", 256, Some(64), &[P, P, P, P, P, P]),
    row("muon_scale", "muon", 256, Some(0), &[P, P, P, P, P, P, P]),
    row("muon_update", "muon", 256, Some(0), &[P, P, P, P, P, P, P]),
    row("probe_load", "probe", 32, Some(512), &[P, P, P]),
    row("probe_multiply", "probe", 32, Some(0), &[P, P, P, P]),
    row("probe_sums", "probe", 32, Some(0), &[P, P, P]),
    row("relu2_backward", "activation", 256, Some(0), &[P, P, P, P, P, E, F, F]),
    row("relu2_forward", "activation", 256, Some(0), &[P, P, P, E, F, F]),
    row("rms_norm_backward_1024", "rms_norm", 128, None, &[P, P, P, P, P, P, F, F, F, F]),
    row("rms_norm_backward_2048", "rms_norm", 128, None, &[P, P, P, P, P, P, F, F, F, F]),
    row("rms_norm_backward_4096", "rms_norm", 128, None, &[P, P, P, P, P, P, F, F, F, F]),
    row("rms_norm_forward_1024", "rms_norm", 128, Some(0), &[P, P, P, P, P, F, F, F, F]),
    row("rms_norm_forward_2048", "rms_norm", 128, Some(0), &[P, P, P, P, P, F, F, F, F]),
    row("rms_norm_forward_4096", "rms_norm", 128, Some(0), &[P, P, P, P, P, F, F, F, F]),
    row(
        "rope_backward_128",
        "rope",
        128,
        Some(4096),
        &[P, P, P, P, P, P, P, P, P, P, P, P, F, F, F, F, F],
    ),
    row(
        "rope_backward_64",
        "rope",
        128,
        Some(4096),
        &[P, P, P, P, P, P, P, P, P, P, P, P, F, F, F, F, F],
    ),
    row("rope_forward_128", "rope", 128, Some(0), &[P, P, P, P, P, P, P, P, P, F, F, F, F, F]),
    row("rope_forward_64", "rope", 128, Some(0), &[P, P, P, P, P, P, P, P, P, F, F, F, F, F]),
    row("sgd", "optimizer", 256, Some(0), &[P, P, P, P, P, P, P]),
    row("square_sums", "optimizer", 256, Some(64), &[P, P, E]),
    row("sum_parts", "rms_norm", 256, Some(1024), &[P, P, F, F, F]),
    row("swiglu_backward", "activation", 256, Some(0), &[P, P, P, P, P, E, F, F]),
    row("swiglu_forward", "activation", 256, Some(0), &[P, P, P, E, F, F]),
];

/// The row of `name`.
///
/// # Panics
/// Where there is none.
pub fn entry(name: &str) -> &'static Entry {
    match ENTRIES.binary_search_by_key(&name, |entry| entry.name) {
        Ok(at) => &ENTRIES[at],
        Err(_) => panic!("no kernel is called {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_kernels_that_are_compiled_and_none_else() {
        let table = include_str!("../../../kernels/registers.txt").lines().skip(2);
        let mut compiled: Vec<&str> = table.filter_map(|row| row.split(' ').next()).collect();
        compiled.sort_unstable();
        let rows: Vec<&str> = ENTRIES.iter().map(|entry| entry.name).collect();
        assert_eq!(rows, compiled);
    }

    #[test]
    fn sizes_that_the_host_counts_by_are_those_of_the_source() {
        let optimizer = include_str!("../../../kernels/optimizer.cu");
        assert!(optimizer.contains("constexpr int CHUNK = 16 * 1024;"));
        assert!(optimizer.contains("constexpr int SQUARES = 32 * 1024;"));
        let norms = include_str!("../../../kernels/norm_rows.cuh");
        assert!(norms.contains("constexpr int BACKWARD_ROWS = 64;"));
        let rope = include_str!("../../../kernels/rope.cu");
        assert!(rope.contains("constexpr int THREADS = 128;"));
        assert!(rope.contains("constexpr int BACKWARD_ROUNDS = 16;"));
        let bias = include_str!("../../../kernels/bias.cu");
        assert!(bias.contains("constexpr int ROWS = 128, COLUMNS = 256;"));
        let muon = include_str!("../../../kernels/muon.cu");
        assert!(muon.contains("constexpr int CHUNK = 16 * 1024;"));
    }

    #[test]
    #[should_panic(expected = "no kernel is called")]
    fn an_unknown_kernel_is_a_bug() {
        entry("attention");
    }
}
