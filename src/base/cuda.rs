//! CUDA's libraries: by which names they are asked for, in which folders, in which order.
//!
//! In → nothing, or `DATAPREP_CUDA_LIBS`; out → names, folders. Written once for the code that
//! opens a library and for `doctor`, which says without opening it what would be opened. **Order.**
//! Name by name: the plain one only where the loader looks, since the crate that calls CUDA asks
//! the loader for it first and takes what it gives; the others where the loader looks, then in the
//! folders of `DATAPREP_CUDA_LIBS` (`a:b`), then in [`FOLDERS`].

use std::ffi::OsStr;
use std::path::PathBuf;

/// Where toolkits, containers and WSL put libraries that the loader may not know of.
pub const FOLDERS: [&str; 3] =
    ["/usr/local/cuda/lib64", "/usr/local/nvidia/lib64", "/usr/lib/wsl/lib"];

/// The names of a library.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Without a version.
    pub plain: &'static str,
    /// With one, the best first.
    pub versioned: &'static [&'static str],
}

/// The driver's.
pub const DRIVER: Names = Names { plain: "libcuda.so", versioned: &["libcuda.so.1"] };

/// That of matrix products.
pub const PRODUCTS: Names =
    Names { plain: "libcublasLt.so", versioned: &["libcublasLt.so.13", "libcublasLt.so.12"] };

/// The oldest version of [`PRODUCTS`] that is called rightly, as `cublasLtGetVersion` counts it.
pub const PRODUCTS_VERSION: usize = 120_000;

/// The folders that `named` lists, empty ones left out, then [`FOLDERS`].
pub fn folders(named: &OsStr) -> Vec<PathBuf> {
    let named = std::env::split_paths(named).filter(|folder| !folder.as_os_str().is_empty());
    named.chain(FOLDERS.map(PathBuf::from)).collect()
}

/// The names that are tried in turn, each with whether the folders are tried for it after the
/// loader.
pub fn attempts(names: Names) -> impl Iterator<Item = (&'static str, bool)> {
    let versioned = names.versioned.iter().map(|name| (*name, true));
    std::iter::once((names.plain, false)).chain(versioned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_folders_come_before_the_usual_ones_and_empty_ones_are_none() {
        let found = folders(OsStr::new(":/a::/b:"));
        let expected = ["/a", "/b"].into_iter().chain(FOLDERS);
        assert_eq!(found, expected.map(PathBuf::from).collect::<Vec<PathBuf>>());
        assert_eq!(folders(OsStr::new("")).len(), FOLDERS.len());
    }

    #[test]
    fn the_plain_name_is_asked_of_the_loader_alone() {
        let tried: Vec<(&str, bool)> = attempts(PRODUCTS).collect();
        let versioned = [("libcublasLt.so.13", true), ("libcublasLt.so.12", true)];
        assert_eq!((tried[0], &tried[1..]), (("libcublasLt.so", false), &versioned[..]));
    }
}
