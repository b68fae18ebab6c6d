//! The binary: the allocator, then the command line.

use std::process::ExitCode;

/// A training step is mostly fresh memory: this allocator keeps its pages, which doubles the speed
/// of candle on a CPU against glibc's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    dataprep::cli::main()
}
