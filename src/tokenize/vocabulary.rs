//! The tokenizer as an input: opened, identified, and kept beside the shards.
//!
//! In: a `tokenizer.json` or its folder. Out: the opened [`Tokenizer`], its records for the
//! fingerprint, and the folder `tokenizer/`. An artifact of `tokenizer train` counts by its file
//! list and keeps its manifest; files from elsewhere count by the hash of all their bytes.

use std::path::{Path, PathBuf};

use crate::artifact::counts::Counts;
use crate::artifact::manifest::{self, Manifest};
use crate::artifact::{
    record::{InputRecord, Kind},
    stage::Work,
};
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::shards::set::TOKENIZER_DIRECTORY;
use crate::tokenizer::{SpecialText, TOKENIZER_CONFIG_JSON, TOKENIZER_JSON, Tokenizer};

/// A tokenizer and where it came from.
pub(super) struct Vocabulary {
    pub tokenizer: Tokenizer,
    /// One record for an artifact, else one for each file.
    pub records: Vec<InputRecord>,
    /// The folder, where it is an artifact.
    artifact: Option<PathBuf>,
}

impl Vocabulary {
    /// Opens a `tokenizer.json` or its folder.
    pub fn open(path: &Path, special_text: SpecialText) -> Result<Vocabulary> {
        let tokenizer = Tokenizer::open_with(path, special_text)
            .map_err(|error| hint_at_shards(error, path))?;
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let is_artifact = Manifest::stands_in(folder)
            && Manifest::read(folder)?.kind == Kind::Tokenizer
            && (path.is_dir() || path.ends_with(TOKENIZER_JSON));
        if is_artifact {
            check_unchanged(folder)?;
            let records = vec![InputRecord::artifact(folder)?];
            return Ok(Vocabulary { tokenizer, records, artifact: Some(folder.to_owned()) });
        }
        let json = if path.is_dir() { folder.join(TOKENIZER_JSON) } else { path.to_owned() };
        let roles = json.with_file_name(TOKENIZER_CONFIG_JSON);
        let mut records = vec![InputRecord::named_file(&json)?];
        if roles.is_file() {
            records.push(InputRecord::named_file(&roles)?);
        }
        Ok(Vocabulary { tokenizer, records, artifact: None })
    }

    /// Writes `tokenizer/` into the unit; `first_input` is the place of the first of
    /// [`Vocabulary::records`] among the stage's inputs.
    pub fn write(&self, first_input: usize, work: &Work<'_>) -> Result<Counts> {
        let folder = work.path(TOKENIZER_DIRECTORY);
        io::create_directory(&folder)?;
        self.tokenizer.save(&folder)?;
        if let Some(artifact) = &self.artifact {
            let manifest = io::read(&artifact.join(manifest::FILE_NAME))?;
            io::write(&folder.join(manifest::FILE_NAME), &manifest)?;
            return Ok(Counts::default());
        }
        for (offset, record) in self.records.iter().enumerate() {
            work.record_whole(first_input + offset, record);
        }
        Ok(Counts::default())
    }
}

/// A tokenizer that was edited after its stage finished is not what its manifest identifies.
fn check_unchanged(folder: &Path) -> Result<()> {
    let manifest = Manifest::read(folder)?;
    for name in [TOKENIZER_JSON, TOKENIZER_CONFIG_JSON] {
        let path = folder.join(name);
        let entry = manifest.files.iter().find(|file| file.name == name);
        let found = if path.is_file() { Some(io::hash_file(&path)?.0) } else { None };
        if entry.map(|entry| entry.xxh3) != found {
            let message = "its content is not what the manifest beside it says";
            return Err(Error::damaged_artifact(&path, None, message));
        }
    }
    Ok(())
}

/// Someone who names a folder of shards means the tokenizer in it.
fn hint_at_shards(error: Error, path: &Path) -> Error {
    let inner = path.join(TOKENIZER_DIRECTORY);
    match inner.join(TOKENIZER_JSON).is_file() {
        true => error.with_hint(format!("it has one in `{}`", inner.display())),
        false => error,
    }
}
