//! Data too large for the repository, which lie beside it on some machines.
//!
//! In → a place in that folder (`../shared`, or `DATAPREP_SHARED`); out → its path, or nothing and
//! a line that says which test was skipped for want of it: on the terminal, past libtest's
//! capturing, and at the end of the file `DATAPREP_SKIPPED`, which `.ci/run` shows last.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

/// The path of `place`, if it is there.
pub fn beside(place: &str) -> Option<PathBuf> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("DATAPREP_SHARED");
    let path = shared.map_or_else(|| checkout.join("../shared"), PathBuf::from).join(place);
    if path.exists() {
        return Some(path);
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("skipped: {test}, there is no `{}`\n", path.display());
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(list) = std::env::var_os("DATAPREP_SKIPPED") {
        let file = OpenOptions::new().create(true).append(true).open(list);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the list is written");
    }
    None
}
