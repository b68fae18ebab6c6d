//! Where a shared library lies, without loading it.
//!
//! In → the names of a library; out → [`Found`]: its path, its version, and whether dataprep would
//! open it. **Method.** Names, folders and their order come from [`crate::base::cuda`], by which a
//! build for GPUs opens the libraries. What the loader would find for a name is looked up in its
//! own order (`man 8 ld.so`): `LD_LIBRARY_PATH`, in which an empty element is the current folder,
//! the cache `/etc/ld.so.cache` (glibc's format 1.1: `elf/cache.c`, `dl-cache.h`), the system's
//! folders. After these come places where CUDA's libraries lie without the loader knowing: other
//! toolkits, the wheels of a Python environment. The version is the tail of the real file's name,
//! or else that of the wheel it came in.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::cuda::{self, Names};
use crate::base::io;
use crate::base::place;

/// A library that is looked for.
#[derive(Clone, Debug, Serialize)]
pub struct Library {
    /// The preferred name of the file; others may serve too.
    pub name: &'static str,
    pub found: Option<Found>,
    /// How to get the library if it is not found.
    pub remedy: &'static str,
}

/// Where a library was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    pub path: PathBuf,
    pub version: Option<String>,
    /// Whether dataprep opens it there.
    pub opens: bool,
}

/// Folders to look in.
pub struct Places {
    /// The folders of `LD_LIBRARY_PATH`.
    first: Vec<PathBuf>,
    /// The bytes of the loader's cache.
    cache: Vec<u8>,
    /// The system's folders.
    system: Vec<PathBuf>,
    /// Folders from which dataprep opens a library by its path.
    folders: Vec<PathBuf>,
    /// Folders that neither the loader nor dataprep searches.
    beside: Vec<PathBuf>,
}

/// The loader's own folders.
const SYSTEM: [&str; 8] = [
    "/lib64",
    "/usr/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib",
    "/usr/lib",
];

impl Places {
    /// The places that this process searches.
    pub fn here() -> Places {
        let variable = |name: &str| std::env::var_os(name).unwrap_or_default();
        Places {
            first: of_loader(&variable("LD_LIBRARY_PATH")),
            cache: io::read(Path::new("/etc/ld.so.cache")).unwrap_or_default(),
            system: SYSTEM.map(PathBuf::from).to_vec(),
            folders: cuda::folders(&variable("DATAPREP_CUDA_LIBS")),
            beside: beside(&["VIRTUAL_ENV", "CONDA_PREFIX", "CUDA_HOME", "HOME"].map(variable)),
        }
    }

    /// Where a library of these names lies, in the order in which dataprep looks for it.
    pub fn find(&self, names: Names) -> Option<Found> {
        let opened = cuda::attempts(names).find_map(|(name, in_folders)| {
            let by_path = || in_folders.then(|| file(&self.folders, name)).flatten();
            let path = self.of_loader(name).or_else(by_path)?;
            Some((name, path))
        });
        let opens = opened.is_some();
        let lies = || {
            let mut names = names.versioned.iter();
            names.find_map(|name| Some((*name, file(&self.beside, name)?)))
        };
        let (name, path) = opened.or_else(lies)?;
        Some(Found { version: version(&path, name), path, opens })
    }

    /// The file that the loader takes for a name.
    fn of_loader(&self, name: &str) -> Option<PathBuf> {
        file(&self.first, name)
            .or_else(|| cached(&self.cache, name).filter(|path| path.is_file()))
            .or_else(|| file(&self.system, name))
    }
}

/// The first file of a name.
fn file(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// The folders of `LD_LIBRARY_PATH`: none if it is empty; an empty element is the current folder.
fn of_loader(variable: &OsStr) -> Vec<PathBuf> {
    let current = |folder: PathBuf| match folder.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => folder,
    };
    let folders = std::env::split_paths(variable).map(current);
    if variable.is_empty() { Vec::new() } else { folders.collect() }
}

/// Folders of other toolkits and of Python's wheels.
fn beside([environment, conda, toolkit, home]: &[std::ffi::OsString; 4]) -> Vec<PathBuf> {
    let mut toolkits = vec![PathBuf::from(toolkit)];
    let local = io::list(Path::new("/usr/local")).unwrap_or_default();
    toolkits.extend(local.into_iter().filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cuda"))
    }));
    let absolute = |path: &PathBuf| path.is_absolute();
    let toolkits = toolkits.iter().filter(|path| absolute(path));
    let mut folders: Vec<PathBuf> = toolkits.map(|path| path.join("lib64")).collect();
    let python = [
        PathBuf::from(environment).join("lib"),
        PathBuf::from(conda).join("lib"),
        PathBuf::from(home).join(".local/lib"),
        PathBuf::from("/usr/local/lib"),
        PathBuf::from("/usr/lib"),
    ];
    for folder in python.iter().filter(|path| absolute(path)) {
        for python in io::list(folder).unwrap_or_default() {
            let name = place::name(&python);
            if name.starts_with("python3") {
                let packages = ["site-packages", "dist-packages"].map(|kind| python.join(kind));
                folders.extend(packages.iter().map(|packages| packages.join("nvidia/cu13/lib")));
            }
        }
    }
    folders
}

/// The path of a library in the loader's cache. Each entry is flags (i32), the offsets of a name
/// and of a path (u32 each, from the header on), and 12 bytes more; the header is 48 bytes.
fn cached(cache: &[u8], name: &str) -> Option<PathBuf> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    let start = cache.windows(MAGIC.len()).position(|bytes| bytes == MAGIC)?;
    let cache = &cache[start..];
    let word = |at: usize| Some(u32::from_le_bytes(cache.get(at..at + 4)?.try_into().ok()?));
    let text = |at: u32| {
        let rest = cache.get(at as usize..)?;
        std::str::from_utf8(rest.split(|byte| *byte == 0).next()?).ok()
    };
    let count = (word(20)? as usize).min(cache.len() / 24);
    (0..count).find_map(|entry| {
        let at = 48 + 24 * entry;
        let is_it = text(word(at + 4)?) == Some(name);
        is_it.then(|| text(word(at + 8)?).map(PathBuf::from)).flatten()
    })
}

/// The version in the real file's name: `libcuda.so.1` → `libcuda.so.580.95.05` is 580.95.05. For a
/// file from a wheel it is in the name of the wheel.
fn version(path: &Path, name: &str) -> Option<String> {
    let real = io::canonical(path).ok()?;
    let stem = name.split(".so").next()?;
    let file = real.file_name()?.to_string_lossy().into_owned();
    let tail = file.strip_prefix(stem)?.strip_prefix(".so.")?.to_owned();
    if tail.contains('.') {
        return Some(tail);
    }
    // SITE/nvidia/cu13/lib/FILE, beside SITE/nvidia_cublas-13.0.2.14.dist-info.
    let site = real.ancestors().nth(4)?;
    let is_cublas = stem.starts_with("libcublas");
    let wheel = io::list(site).ok()?.into_iter().find_map(|entry| {
        let name = entry.file_name()?.to_string_lossy().into_owned();
        let version = name.strip_prefix("nvidia_cublas-")?.strip_suffix(".dist-info")?;
        Some(version.to_owned())
    });
    wheel.filter(|_| is_cublas).or(Some(tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of one entry, behind the header of the older format that may stand before it.
    fn cache(name: &str, path: &str) -> Vec<u8> {
        let mut cache = b"ld.so-1.7.0\0padding.glibc-ld.so.cache1.1".to_vec();
        let strings = [name, "\0", path, "\0"].concat();
        for word in [1u32, strings.len() as u32, 0, 0, 0, 0, 0] {
            cache.extend(word.to_le_bytes());
        }
        let text = 48 + 24;
        for word in [3u32, text, text + name.len() as u32 + 1, 0, 0, 0] {
            cache.extend(word.to_le_bytes());
        }
        cache.extend(strings.bytes());
        cache
    }

    #[test]
    fn a_library_is_found_in_the_order_of_the_loader_with_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["first", "cached", "named", "beside"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::fs::write(at("cached/libcuda.so.580.95.05"), "").unwrap();
        let link = at("cached/libcuda.so.1");
        std::os::unix::fs::symlink("libcuda.so.580.95.05", &link).unwrap();
        let mut places = Places {
            first: vec![at("first")],
            cache: cache("libcuda.so.1", link.to_str().unwrap()),
            system: vec![],
            folders: vec![at("named")],
            beside: vec![at("beside")],
        };
        let version = Some("580.95.05".to_owned());
        assert_eq!(
            places.find(cuda::DRIVER),
            Some(Found { path: link.clone(), version, opens: true })
        );
        std::fs::write(at("first/libcuda.so.1"), "").unwrap();
        let found = places.find(cuda::DRIVER).unwrap();
        assert_eq!((found.path, found.version), (at("first/libcuda.so.1"), Some("1".to_owned())));
        places.cache.truncate(60);
        places.first.clear();
        assert_eq!(places.find(cuda::DRIVER), None);
        std::fs::write(at("beside/libcuda.so.1"), "").unwrap();
        assert!(places.find(cuda::DRIVER).is_some_and(|found| !found.opens));
        std::fs::write(at("named/libcuda.so.1"), "").unwrap();
        let found = places.find(cuda::DRIVER).unwrap();
        assert_eq!((found.path, found.opens), (at("named/libcuda.so.1"), true));
    }

    #[test]
    fn what_is_said_of_products_is_what_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["first", "named", "beside"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        let places = Places {
            first: vec![at("first")],
            cache: vec![],
            system: vec![],
            folders: vec![at("named")],
            beside: vec![at("beside")],
        };
        // Each place is searched before those listed after it, and its file is found once it
        // exists.
        for (file, opens) in [
            ("beside/libcublasLt.so.12", false),
            ("beside/libcublasLt.so.13", false),
            ("named/libcublasLt.so.12", true),
            ("first/libcublasLt.so.12", true),
            ("named/libcublasLt.so.13", true),
            ("first/libcublasLt.so.13", true),
            ("first/libcublasLt.so", true),
        ] {
            std::fs::write(at(file), "").unwrap();
            let found = places.find(cuda::PRODUCTS).unwrap();
            assert_eq!((found.path, found.opens), (at(file), opens));
        }
    }

    #[test]
    fn an_empty_element_is_the_current_folder_and_an_empty_variable_is_none() {
        let folders = |text: &str| of_loader(OsStr::new(text));
        assert!(folders("").is_empty());
        assert_eq!(folders("/a::/b"), ["/a", ".", "/b"].map(PathBuf::from));
    }

    #[test]
    fn a_library_of_a_wheel_has_the_version_of_its_wheel() {
        let site = tempfile::tempdir().unwrap();
        let lib = site.path().join("nvidia/cu13/lib");
        std::fs::create_dir_all(&lib).unwrap();
        std::fs::create_dir(site.path().join("nvidia_cublas-13.0.2.14.dist-info")).unwrap();
        let path = lib.join("libcublasLt.so.13");
        std::fs::write(&path, "").unwrap();
        assert_eq!(version(&path, "libcublasLt.so.13").as_deref(), Some("13.0.2.14"));
    }
}
