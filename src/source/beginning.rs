//! What the beginnings of the files say before any work: another kind of file, a wrong text field.
//!
//! In → the probed files; out → an error that names file, offset, what is there and the remedy, or
//! nothing. **A file that is no JSON Lines at all** (UTF-16, one JSON array, an archive) is refused
//! at once, or left out whole with `--skip-bad-files`. **A text column is wrong** when the
//! beginnings of a source's files (1 MiB each) hold objects, and none of them has the field; where
//! one file has it, the others' objects without it are rejects like any.

use std::path::Path;

use crate::base::config::nearest;
use crate::base::error::{Error, Result};
use crate::source::config::InputConfig;
use crate::source::formats::{Beginning, objects::quoted};

/// A file, and what its beginning holds.
pub(super) struct Seen<'a> {
    pub path: &'a Path,
    /// `None` for a corpus's file.
    pub source: Option<usize>,
    pub beginning: &'a Beginning,
}

/// Refuses what the beginnings rule out. Returns the files to leave out with `--skip-bad-files`,
/// each with its offset and what is wrong.
pub(super) fn check(
    files: &[Seen<'_>],
    sources: &[String],
    config: &InputConfig,
) -> Result<Vec<(usize, u64, String)>> {
    let mut left_out = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let Beginning::Other(offset, look) = file.beginning else { continue };
        let message = format!("no documents, but {}", look.found);
        if config.skip_bad_files {
            left_out.push((index, *offset, message));
            continue;
        }
        let (path, remedy) = (file.path.display(), &look.remedy);
        return Err(Error::config(format!("`{path}:{offset}` holds {message}"))
            .with_hint(format!("{remedy}; `--skip-bad-files` leaves such files out whole")));
    }
    for (source, name) in sources.iter().enumerate() {
        let files = || files.iter().filter(|file| file.source == Some(source));
        if files().any(|file| *file.beginning == Beginning::Document) {
            continue;
        }
        let without = files().find_map(|file| match file.beginning {
            Beginning::NoText(offset, fields) => Some((file.path, *offset, fields)),
            _ => None,
        });
        if let Some((path, offset, fields)) = without {
            return Err(no_text(path, offset, fields, config.text_column_of(name)));
        }
    }
    Ok(left_out)
}

fn no_text(path: &Path, offset: u64, fields: &[String], wanted: &str) -> Error {
    let (path, fields_found) = (path.display(), quoted(fields));
    let message = format!(
        "no object at the beginning of `{path}` has the text field `{wanted}`: the one at byte \
         {offset} has {fields_found}"
    );
    let near = nearest(wanted, fields.iter().map(String::as_str));
    Error::config(message).with_hint(match near {
        Some(near) => format!("did you mean `--text-column {near}`?"),
        None => "name the field with the text: `--text-column NAME`".to_owned(),
    })
}
