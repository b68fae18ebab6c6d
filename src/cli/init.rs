//! `dataprep init DIR`: a project to start from: a commented recipe and a `.gitignore`.
//!
//! In → a directory, which may exist; out → two files in it. Nothing that stands is overwritten.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::Commands;
use crate::base::{
    error::{Error, Result},
    io,
};
use crate::pipeline::recipe;

/// The recipe of a new project.
const RECIPE: &str = include_str!("init.toml");
/// What a project's steps write is not for its repository.
const IGNORE: &str = "/runs\n*.partial\n";

impl Commands<'_> {
    /// `init DIR`
    pub(super) fn init(&self, directory: &Path) -> Result<()> {
        let files = init(directory)?;
        let names: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
        self.printer.result(&format!("wrote {}", names.join(" and ")));
        self.printer.record(&json!({"type": "summary", "files": names}));
        Ok(())
    }
}

/// Writes the project's files; returns their paths.
fn init(directory: &Path) -> Result<Vec<PathBuf>> {
    let files = [(recipe::FILE_NAME, RECIPE), (".gitignore", IGNORE)];
    let paths = files.map(|(name, _)| directory.join(name));
    if let Some(standing) = paths.iter().find(|path| path.exists()) {
        return Err(Error::config(format!("`{}` stands already", standing.display()))
            .with_hint("choose a new directory, or change that file by hand"));
    }
    io::create_directory(directory)?;
    for (path, (_, text)) in paths.iter().zip(files) {
        io::write(path, text.as_bytes())?;
    }
    Ok(paths.to_vec())
}
