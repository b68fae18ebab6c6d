//! Tells the binary which commit it was built from, for manifests: `DATAPREP_COMMIT`. With the
//! feature `cuda`: compiles `kernels/*.cu` to one compressed fatbin a file.
//!
//! In → git's log; CUDA_HOME, or the toolkit that `scripts/cuda-toolkit.sh` makes; out →
//! `FILE.fatbin` in OUT_DIR with machine code for A100 (80), RTX 3090 (86), RTX 4090 (89), H100 and
//! H200 (90a), RTX 5090 (120), and PTX of 80 for GPUs to come. The flags are those of
//! `scripts/kernels.sh`, which holds registers and spills; they are part of a run's bits.
//! `DATAPREP_CUDA_TARGETS="90a"` compiles for fewer GPUs, for a shorter wait while a kernel is
//! changed. Without the feature: nothing.

#![allow(clippy::print_stdout, reason = "this is how cargo is told")]
#![allow(clippy::disallowed_methods, reason = "`base::io` is of the crate that this builds")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What machine code is for, as nvcc names it.
const TARGETS: &str = "80 86 89 90a 120";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    commit();
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        kernels();
    }
}

fn commit() {
    // The reflog grows with each commit; without one (a source archive) the commit is unknown.
    for file in [".git/logs/HEAD", ".git/HEAD"] {
        if Path::new(file).exists() {
            println!("cargo::rerun-if-changed={file}");
            break;
        }
    }
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let commit = output.ok().filter(|output| output.status.success());
    let commit = commit.and_then(|output| String::from_utf8(output.stdout).ok());
    let commit = commit.as_deref().map_or("unknown", str::trim);
    println!("cargo::rustc-env=DATAPREP_COMMIT={commit}");
}

fn kernels() {
    for variable in ["CUDA_HOME", "DATAPREP_CUDA_DIR", "DATAPREP_CUDA_TARGETS"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-changed=scripts/cuda-toolkit.sh");
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let nvcc = toolkit(&root).join("bin/nvcc");
    for source in sources(&root.join("kernels")) {
        let target = out.join(source.file_stem().expect("a file has a name"));
        compile(&nvcc, &source, &target.with_extension("fatbin"));
    }
}

/// The kernels, by name.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| {
        panic!("{} cannot be listed: {error}", folder.display());
    });
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut sources: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "cu")).collect();
    sources.sort();
    sources
}

/// The folder of a CUDA toolkit: what the script prints, which takes CUDA_HOME where that is set.
fn toolkit(root: &Path) -> PathBuf {
    let script = root.join("scripts/cuda-toolkit.sh");
    let hint = "the feature `cuda` needs nvcc of CUDA 13: install a toolkit and set CUDA_HOME, or \
                let scripts/cuda-toolkit.sh make one from PyPI (Linux on x86-64, python3 with pip)";
    let output = Command::new(&script)
        .output()
        .unwrap_or_else(|error| panic!("{} does not start: {error}; {hint}", script.display()));
    if !output.status.success() {
        panic!("{}\n{hint}", String::from_utf8_lossy(&output.stderr));
    }
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

fn compile(nvcc: &Path, source: &Path, target: &Path) {
    let targets = env::var("DATAPREP_CUDA_TARGETS").unwrap_or_else(|_| TARGETS.to_owned());
    let mut command = Command::new(nvcc);
    command.args(["-std=c++17", "-O3", "-fatbin", "-Xfatbin", "-compress-all", "--threads", "2"]);
    for target in targets.split_ascii_whitespace() {
        command.arg(format!("-gencode=arch=compute_{target},code=sm_{target}"));
    }
    command.arg("-gencode=arch=compute_80,code=compute_80").arg("-o").arg(target).arg(source);
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", nvcc.display()));
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        panic!("{} does not compile:\n{said}", source.display());
    }
}
