//! The file of a fastText model: named directly, or in the artifact that `classifier train` made.
//!
//! In: a path. Out: the path of the model's file. Invariant: a model in an artifact has the size
//! that its manifest records, so that a truncated file is found before it judges.

use std::path::{Path, PathBuf};

use crate::artifact::manifest::Manifest;
use crate::base::error::{Error, Result};
use crate::base::io;

/// The endings of models' file names.
const ENDINGS: [&str; 2] = [".bin", ".ftz"];

/// The file behind the key `key`, whose value is `path`.
///
/// # Errors
/// [`Error::Config`] for a path that does not exist and a directory that holds no model,
/// [`Error::Damaged`] for a model of another size than its manifest says.
pub fn file(path: &Path, key: &str) -> Result<PathBuf> {
    if !path.exists() {
        let message = format!("`{key}` names `{}`, which does not exist", path.display());
        return Err(Error::config(message).with_hint(
            "name a fastText model (`.bin`, `.ftz`), or what `dataprep classifier train` made",
        ));
    }
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let manifest = Manifest::read(path)?;
    let is_model = |name: &str| ENDINGS.iter().any(|ending| name.ends_with(ending));
    let Some(entry) = manifest.files.iter().find(|entry| is_model(&entry.name)) else {
        let message = format!("`{key}` names `{}`, which holds no model", path.display());
        return Err(Error::config(message).with_hint(format!(
            "it was made by `{}`; `dataprep classifier train` makes a model",
            manifest.stage
        )));
    };
    let file = path.join(&entry.name);
    if !file.is_file() || io::size(&file)? != entry.bytes {
        let message = format!("its manifest says {} bytes", entry.bytes);
        return Err(Error::damaged(&file, None, message));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_model_is_refused_with_what_would_be_one() {
        let directory = tempfile::tempdir().unwrap();
        let error = file(&directory.path().join("nothing"), "language.model").unwrap_err();
        assert!(error.to_string().contains("`language.model` names"), "{error}");
        assert!(error.hint().unwrap().contains("classifier train"));
        let error = file(directory.path(), "classifier.model").unwrap_err();
        assert!(error.to_string().contains("is no artifact"), "{error}");
        let single = directory.path().join("lid.bin");
        io::write(&single, b"bytes").unwrap();
        assert_eq!(file(&single, "language.model").unwrap(), single);
    }
}
