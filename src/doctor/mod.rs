//! The machine as dataprep sees it: what a run can use here, and what is missing for a GPU.
//!
//! In → nothing but `/proc`, `/sys`, `/dev` and the folders of libraries; out → [`Diagnosis`],
//! which prints as lines. Nothing is loaded, started or measured, so it answers even if a driver
//! hangs. **Invariant.** What cannot be read is left out; nothing here fails.

mod build;
mod cuda;
mod hardware;
mod libraries;

use std::fmt;

use serde::Serialize;

pub use build::Build;
pub use cuda::{Cuda, DRIVER};
pub use hardware::Hardware;
pub use libraries::{Found, Library};

/// Everything that is seen.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    pub build: Build,
    pub hardware: Hardware,
    pub cuda: Cuda,
}

impl Diagnosis {
    /// The diagnosis of this machine now.
    pub fn here() -> Diagnosis {
        let build = Build::this();
        let cuda = Cuda::here(build.has("cuda"));
        Diagnosis { build, hardware: Hardware::here(), cuda }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.build, self.hardware, self.cuda)
    }
}
