//! Tells the binary which commit it was built from, for manifests: `DATAPREP_COMMIT`.

#![allow(clippy::print_stdout, reason = "this is how cargo is told")]

use std::{path::Path, process::Command};

fn main() {
    // The reflog grows with each commit; without one (a source archive) the commit is unknown.
    for file in [".git/logs/HEAD", ".git/HEAD"] {
        if Path::new(file).exists() {
            println!("cargo::rerun-if-changed={file}");
            break;
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let commit = output.ok().filter(|output| output.status.success());
    let commit = commit.and_then(|output| String::from_utf8(output.stdout).ok());
    let commit = commit.as_deref().map_or("unknown", str::trim);
    println!("cargo::rustc-env=DATAPREP_COMMIT={commit}");
}
