//! CUDA: the driver, the GPUs, the libraries that training opens, and how to get those missing.
//!
//! **What is needed.** The driver, [`DRIVER`] or later (kernels and PTX of CUDA 13.0), which brings
//! `libcuda.so.1`; and `libcublasLt.so.13` (or `.12`) for matrix products. Nothing else of a
//! toolkit: not libcudart, libcublas, libnvrtc or cuDNN.

use std::{fmt, path::Path};

use serde::Serialize;

use super::libraries::{Found, Library, Places};
use crate::base::cuda::{self, Names};
use crate::base::io;
use crate::base::place;

/// The oldest driver that loads code of CUDA 13.0 (NVIDIA's *CUDA Toolkit Release Notes* 13.0,
/// table 3).
pub const DRIVER: u32 = 580;

/// What was found of CUDA.
#[derive(Clone, Debug, Serialize)]
pub struct Cuda {
    pub in_build: bool,
    /// The version of the kernel's driver.
    pub driver: Option<String>,
    pub gpus: Vec<String>,
    pub libraries: Vec<Library>,
}

const INSTALL_DRIVER: &str = "install NVIDIA's driver, 580 or later; in a container, start it with \
    `--gpus all`";
const INSTALL_CUBLAS: &str = "install it with `pip install nvidia-cublas==13.*` or from NVIDIA's \
    packages (`libcublas-13-0`)";

impl Cuda {
    /// What this machine has; `in_build` says whether this binary has kernels.
    pub fn here(in_build: bool) -> Cuda {
        let places = Places::here();
        let library = |names: Names, remedy| Library {
            name: names.versioned[0],
            found: places.find(names),
            remedy,
        };
        let libraries =
            vec![library(cuda::DRIVER, INSTALL_DRIVER), library(cuda::PRODUCTS, INSTALL_CUBLAS)];
        let version = io::read_text(Path::new("/proc/driver/nvidia/version")).unwrap_or_default();
        // A sandbox may hide `/proc/driver`; then the name of the driver's library tells its
        // version.
        let of_library = libraries[0].found.as_ref().and_then(|found| found.version.clone());
        let driver = driver_version(&version).or(of_library.filter(|text| text.contains('.')));
        Cuda { in_build, driver, gpus: gpus(), libraries }
    }

    /// What stands between this binary and a GPU, one line each.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if !self.in_build {
            missing.push("this binary has no kernels: build it with `--features cuda`".to_owned());
        }
        if self.gpus.is_empty() {
            missing.push("no NVIDIA GPU is seen".to_owned());
        }
        for library in &self.libraries {
            match &library.found {
                None => missing.push(format!("no {}: {}", library.name, library.remedy)),
                Some(Found { opens: false, path, .. }) => missing.push(format!(
                    "{} lies where nobody looks for it: set DATAPREP_CUDA_LIBS={}",
                    library.name,
                    path.parent().unwrap_or(path).display()
                )),
                Some(found) if is_too_old(found) => missing.push(format!(
                    "{} is what the loader gives for `{}`, and 12.0 or later is needed: take its \
                     folder out of LD_LIBRARY_PATH, or the link away",
                    found.path.display(),
                    cuda::PRODUCTS.plain
                )),
                Some(_) => {}
            }
        }
        let major =
            self.driver.as_ref().and_then(|version| version.split('.').next()?.parse().ok());
        if let Some(old) = major.filter(|major: &u32| *major < DRIVER) {
            missing.push(format!(
                "the driver is {old}, and kernels of CUDA 13.0 need {DRIVER} or later: update it"
            ));
        }
        missing
    }
}

/// Whether it is a cuBLASLt that is too old, and refused when it is opened.
fn is_too_old(found: &Found) -> bool {
    let is_plain = found.path.file_name().is_some_and(|name| name == cuda::PRODUCTS.plain);
    let major = found.version.as_ref().and_then(|version| version.split('.').next()?.parse().ok());
    is_plain && major.is_some_and(|major: usize| major < cuda::PRODUCTS_VERSION / 10_000)
}

/// The version in the text of `/proc/driver/nvidia/version`.
fn driver_version(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
    let is_version = |word: &&str| {
        word.contains('.') && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    line.split_ascii_whitespace().find(is_version).map(str::to_owned)
}

/// The GPUs that the driver lists, else those that have a device file.
fn gpus() -> Vec<String> {
    let listed = io::list(Path::new("/proc/driver/nvidia/gpus")).unwrap_or_default();
    let model = |folder: &std::path::PathBuf| {
        let text = io::read_text(&folder.join("information")).ok()?;
        let line = text.lines().find(|line| line.starts_with("Model:"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let models: Vec<String> = listed.iter().filter_map(model).collect();
    if !models.is_empty() {
        return models;
    }
    let devices = io::list(Path::new("/dev")).unwrap_or_default();
    let name = |path: &std::path::PathBuf| path.file_name()?.to_str().map(str::to_owned);
    let is_gpu = |name: &String| {
        let number = name.strip_prefix("nvidia");
        name == "dxg" || number.is_some_and(|rest| rest.parse::<u32>().is_ok())
    };
    devices.iter().filter_map(name).filter(is_gpu).map(|name| format!("/dev/{name}")).collect()
}

impl fmt::Display for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gpus.is_empty() {
            true => writeln!(f, "GPU         none")?,
            false => writeln!(f, "GPU         {}", self.gpus.join(", "))?,
        }
        let driver = self.driver.as_deref().unwrap_or("none");
        writeln!(f, "driver      {driver} (wanted: {DRIVER} or later)")?;
        for library in &self.libraries {
            match &library.found {
                Some(Found { path, version, .. }) => {
                    let version = version.as_deref().unwrap_or("of unknown version");
                    let name = place::name(path);
                    writeln!(f, "library     {name} {version}, {}", path.display())?;
                }
                None => writeln!(f, "library     {} missing", library.name)?,
            }
        }
        let missing = self.missing();
        if missing.is_empty() {
            return writeln!(f, "\n`train --device cuda` has what it needs");
        }
        writeln!(f, "\n`train --device cuda` does not run here:")?;
        missing.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_both_kinds_of_driver_is_read() {
        let closed =
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 2024\n";
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release \
                    Build  (root@host)\nGCC version:  gcc version 12.2.0\n";
        assert_eq!(driver_version(closed).as_deref(), Some("535.183.01"));
        assert_eq!(driver_version(open).as_deref(), Some("580.95.05"));
        assert_eq!(driver_version(""), None);
    }

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        let at = |path: &str, opens| {
            Some(Found { path: path.into(), version: Some("13.0.2.14".to_owned()), opens })
        };
        let library = |name, found| Library { name, found, remedy: INSTALL_CUBLAS };
        let mut cuda = Cuda {
            in_build: true,
            driver: Some("580.95.05".to_owned()),
            gpus: vec!["NVIDIA H200".to_owned()],
            libraries: vec![library("libcublasLt.so.13", at("/a/libcublasLt.so.13", true))],
        };
        assert!(cuda.missing().is_empty() && cuda.to_string().contains("has what it needs"));
        cuda.driver = Some("550.54.14".to_owned());
        cuda.libraries[0].found = at("/venv/lib/libcublasLt.so.13", false);
        let shown = cuda.to_string();
        assert!(shown.contains("the driver is 550") && shown.contains("580 or later: update it"));
        assert!(!shown.contains("CUDA_HOME"), "{shown}");
        assert!(shown.contains("DATAPREP_CUDA_LIBS=/venv/lib\n"), "{shown}");
        let old =
            Found { version: Some("11.8".to_owned()), ..at("/a/libcublasLt.so", true).unwrap() };
        cuda.libraries[0].found = Some(old);
        assert!(cuda.to_string().contains("12.0 or later is needed"), "{cuda}");
        cuda.libraries[0].found = None;
        cuda.in_build = false;
        let shown = cuda.to_string();
        assert!(shown.contains("pip install nvidia-cublas"), "{shown}");
        assert!(shown.contains("--features cuda"), "{shown}");
    }
}
