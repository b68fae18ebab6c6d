//! Where tensors live, and what the bits of a run depend on besides its config and data.
//!
//! In → a name from the command line; out → [`Device`], and [`Numerics`], the record behind the
//! *numerics key*: resume is bitwise equal where it is equal, and a difference is a warning and a
//! recorded fact, never a refusal (docs/design.md, section 3.9).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::hash::xxh3_128;
use crate::runtime::cpu::{self, DEPTH, Level};
use crate::runtime::cuda::driver::Identity;
use crate::runtime::cuda::memory::Context;

/// A place for tensors and their arithmetic.
#[derive(Clone, Debug)]
pub struct Device {
    /// Where the tensor library's tensors are; with a GPU these are the copies on the host.
    candle: candle_core::Device,
    context: Option<Arc<Context>>,
}

impl Device {
    /// `auto` or `cpu`: the CPU. `cuda`, `cuda:1`: a GPU, where the build has the feature.
    ///
    /// # Errors
    /// Config: no such device, or what it needs is not on this machine.
    pub fn from_name(name: &str) -> Result<Device> {
        match name.split_once(':').map_or((name, "0"), |parts| parts) {
            ("auto" | "cpu", "0") if !name.contains(':') => Ok(Device::cpu()),
            // Digits alone: `parse` takes a sign too.
            ("cuda", number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                let number = number.parse().map_err(|_| unknown(name))?;
                Device::gpu(name, number)
            }
            _ => Err(unknown(name)),
        }
    }

    #[cfg(feature = "cuda")]
    fn gpu(_: &str, number: i32) -> Result<Device> {
        Ok(Device::over(crate::runtime::cuda::gpu::open(number)?))
    }

    #[cfg(not(feature = "cuda"))]
    fn gpu(name: &str, _: i32) -> Result<Device> {
        Err(Error::config(format!("device `{name}` is not in this build")).with_hint(
            "this binary computes on the CPU: use `--device cpu` or leave it out; docs/kernels.md \
             says how a build for GPUs is made",
        ))
    }

    /// The CPU.
    pub fn cpu() -> Device {
        Device { candle: candle_core::Device::Cpu, context: None }
    }

    /// A device behind a driver.
    pub fn over(context: Arc<Context>) -> Device {
        Device { context: Some(context), ..Device::cpu() }
    }

    /// `cpu` or `cuda`.
    pub fn name(&self) -> &'static str {
        if self.context.is_some() { "cuda" } else { "cpu" }
    }

    /// The device, unless it is the CPU.
    pub fn context(&self) -> Option<&Arc<Context>> {
        self.context.as_ref()
    }

    /// The tensor library's own handle.
    pub(in crate::runtime) fn candle(&self) -> &candle_core::Device {
        &self.candle
    }
}

fn unknown(name: &str) -> Error {
    Error::config(format!("unknown device `{name}`"))
        .with_hint("devices are `auto`, `cpu`, `cuda` and `cuda:1`, its second one")
}

/// What must be equal for a bitwise equal run, besides config and data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numerics {
    /// Kind of device: `cpu`, or `cuda` with the GPU's name.
    pub device: String,
    /// Threads of the pool that computes.
    pub threads: usize,
    /// Vector instructions of this CPU by which kernels are chosen.
    pub cpu_features: Vec<String>,
    /// The library for products of matrices, and its kernels.
    pub matmul: String,
    /// Version of the tensor library.
    pub candle: String,
    /// Type of parameters and arithmetic.
    pub dtype: String,
    /// Version, target and optimisation of this build.
    pub build: String,
}

/// Version of candle-core in `Cargo.toml`; a test compares it with `Cargo.lock`.
const CANDLE: &str = "0.11.1";

/// Version of gemm in `Cargo.toml`; a test compares it with `Cargo.lock`.
const GEMM: &str = "0.19.0";

impl Numerics {
    /// The record of this process on `device`.
    pub fn of(device: &Device) -> Numerics {
        let own = format!("blocks of {DEPTH}, fused multiply-add"); // the same bits on both
        let (cpu_features, matmul) = match Level::detected() {
            Level::Avx512 => (vec!["avx2", "fma", "avx512"], own),
            Level::Avx2 => (vec!["avx2", "fma"], own),
            Level::Baseline => (vec![], format!("gemm {GEMM} baseline")),
        };
        let optimised = if cfg!(debug_assertions) { "debug" } else { "release" };
        let host = Identity { device: device.name().to_owned(), matmul };
        let Identity { device: kind, matmul } =
            device.context().map_or(host, |context| context.identity());
        let dtype = if device.context().is_some() { "bf16, sums in f32" } else { "f32" };
        Numerics {
            device: kind,
            threads: rayon::current_num_threads(),
            cpu_features: cpu_features.into_iter().map(str::to_owned).collect(),
            matmul,
            candle: CANDLE.to_owned(),
            dtype: dtype.to_owned(),
            build: format!(
                "{} {} {} {optimised}",
                env!("CARGO_PKG_VERSION"),
                std::env::consts::ARCH,
                std::env::consts::OS,
            ),
        }
    }

    /// The same for a model whose products are in bf16 on the CPU.
    pub fn with_bf16(self) -> Numerics {
        if self.device != Device::cpu().name() {
            return self;
        }
        let matmul = format!("bf16 by {}, blocks of {DEPTH}", cpu::bf16_unit());
        Numerics { matmul, dtype: "f32, products of bf16".to_owned(), ..self }
    }

    fn fields(&self) -> [(&'static str, String); 7] {
        [
            ("device", self.device.clone()),
            ("threads", self.threads.to_string()),
            ("cpu_features", self.cpu_features.join(" ")),
            ("matmul", self.matmul.clone()),
            ("candle", self.candle.clone()),
            ("dtype", self.dtype.clone()),
            ("build", self.build.clone()),
        ]
    }

    /// The numerics key: 32 hex digits, equal where all fields are.
    pub fn key(&self) -> String {
        let text: Vec<String> =
            self.fields().iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        xxh3_128(text.concat().as_bytes()).to_string()
    }

    /// One line a field that differs from `now`'s, for the warning at resume.
    pub fn differences(&self, now: &Numerics) -> Vec<String> {
        let pairs = self.fields().into_iter().zip(now.fields());
        pairs
            .filter(|(then, now)| then != now)
            .map(|((name, then), (_, now))| format!("{name}: `{then}` then, `{now}` now"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_names_and_others_say_what_there_is() {
        assert_eq!(Device::from_name("cpu").unwrap().name(), "cpu");
        assert!(Device::from_name("auto").is_ok());
        for name in ["tpu", "", "cuda:x", "cuda:", "cuda:-1", "cuda:+1", "cpu:0", "cudax"] {
            let error = Device::from_name(name).unwrap_err();
            assert!(error.hint().is_some_and(|hint| hint.contains("`auto`")), "{name}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_for_the_cpu_says_so() {
        for name in ["cuda", "cuda:1"] {
            let error = Device::from_name(name).unwrap_err();
            assert_eq!(error.to_string(), format!("device `{name}` is not in this build"));
            assert_eq!(error.exit_status(), 2);
        }
    }

    #[test]
    fn a_changed_thread_count_changes_the_key_and_is_named() {
        let now = Numerics::of(&Device::cpu());
        let then = Numerics { threads: now.threads + 1, ..now.clone() };
        assert_ne!(now.key(), then.key());
        let differences = then.differences(&now);
        assert_eq!(differences.len(), 1);
        assert!(differences[0].starts_with("threads: "), "{differences:?}");
    }

    #[test]
    fn recorded_library_versions_are_the_locked_ones() {
        let lock = include_str!("../../Cargo.lock");
        for (name, version) in [("candle-core", CANDLE), ("gemm", GEMM)] {
            let entry = format!("name = \"{name}\"\nversion = \"{version}\"");
            assert!(lock.contains(&entry), "{name} is not {version} in Cargo.lock");
        }
    }
}
