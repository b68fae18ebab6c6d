//! CUDA's libraries on this machine: found when a GPU is asked for, never before.
//!
//! In → nothing; out → both libraries opened, or an error that says which is missing and where it
//! was looked for. The binary is not linked with them, so it starts on every machine. Names,
//! folders and their order are [`crate::base::cuda`]'s. A library found by its path is opened here,
//! and the `cudarc` crate's own search by name then gets the same one.

#![allow(unsafe_code, reason = "opening a library runs its code")]

use std::path::PathBuf;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::base::cuda::{self, Names};
use crate::base::error::{Error, Result};

struct Wanted {
    /// Its name in messages.
    what: &'static str,
    names: Names,
    hint: &'static str,
}

const DRIVER: Wanted = Wanted {
    what: "NVIDIA's driver",
    names: cuda::DRIVER,
    hint: "it comes with the driver (580 or later) of a machine with an NVIDIA GPU; `nvidia-smi` \
           shows its version",
};

const PRODUCTS: Wanted = Wanted {
    what: "cuBLASLt",
    names: cuda::PRODUCTS,
    hint: "install CUDA's libraries, or name a folder that has it in DATAPREP_CUDA_LIBS: PyTorch's \
           wheels bring it in site-packages/nvidia/cu13/lib (`pip install nvidia-cublas`)",
};

/// Opens the libraries that a GPU needs.
///
/// # Errors
/// Config: one is missing; where it was looked for.
pub fn open() -> Result<()> {
    find(&DRIVER)?;
    find(&PRODUCTS)
}

fn find(wanted: &Wanted) -> Result<()> {
    let folders = cuda::folders(&std::env::var_os("DATAPREP_CUDA_LIBS").unwrap_or_default());
    let mut tried = Vec::new();
    for (file, in_folders) in cuda::attempts(wanted.names) {
        let places = folders.iter().filter(|_| in_folders).map(|folder| folder.join(file));
        for path in [PathBuf::from(file)].into_iter().chain(places) {
            // SAFETY: these are NVIDIA's libraries, whose initialisers have no demands on callers.
            match unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) } {
                Ok(library) => {
                    // Never closed: its functions are called until the process ends.
                    std::mem::forget(library);
                    return Ok(());
                }
                Err(_) => tried.push(path.display().to_string()),
            }
        }
    }
    let message = format!("{} is not on this machine: tried {}", wanted.what, tried.join(", "));
    Err(Error::config(message).with_hint(wanted.hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named_with_the_places_that_were_tried() {
        let names = Names { plain: "libdataprep-none.so", versioned: &["libdataprep-none.so.1"] };
        let nothing = Wanted { what: "Nothing", names, hint: "none" };
        let error = find(&nothing).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("Nothing is not on this machine"), "{message}");
        assert!(message.contains("/usr/local/cuda/lib64/libdataprep-none.so.1"), "{message}");
        assert_eq!(error.exit_status(), 2);
    }
}
