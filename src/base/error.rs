//! The one error type of the library: what went wrong, where, and what to do about it.
//!
//! In → a failed operation; out → [`Error`], which knows its exit status and its hint. A message
//! says what, where, expected and found, with the value last and literals in backticks; the remedy
//! is kept apart in [`Error::hint`]. Bad *data* is no error here: readers count it as a reject
//! (see `source`). A damaged *file* is [`Error::Damaged`], which the executor collects until
//! everything else is finished. A *bug* is an assert, never an `Error`.

use std::path::{Path, PathBuf};

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error a person can act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong: usage, an unknown key, inputs that contradict. Exit status 2.
    #[error("{message}")]
    Config { message: String, hint: Option<String> },

    /// The operating system refused. Exit status 1.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },

    /// A file that is not what its format promises: truncated, bad checksum, unreadable footer.
    #[error("damaged file `{}`{}: {message}", path.display(), at(*.offset))]
    Damaged { path: PathBuf, offset: Option<u64>, message: String, of: Origin },

    /// The work was asked for correctly and failed. Exit status 1.
    #[error("{message}")]
    Failed { message: String, hint: Option<String> },

    /// Ctrl-C or SIGTERM; what is finished is kept. Exit status 130.
    #[error("interrupted; what is finished is kept, the same command continues")]
    Interrupted,

    /// The same of what keeps nothing: a server, a text. Exit status 130.
    #[error("interrupted")]
    Ended,
}

/// Where a damaged file comes from, and so what can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Somebody's data: it is fetched again, or left out.
    Input,
    /// A stage or `train` wrote it: it is made again.
    Artifact,
}

fn at(offset: Option<u64>) -> String {
    offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default()
}

impl Error {
    /// Wrong usage or configuration.
    pub fn config(message: impl Into<String>) -> Error {
        Error::Config { message: message.into(), hint: None }
    }

    /// Work that failed.
    pub fn failed(message: impl Into<String>) -> Error {
        Error::Failed { message: message.into(), hint: None }
    }

    /// A file that breaks its format's promises; `offset` in bytes where known.
    pub fn damaged(path: &Path, offset: Option<u64>, message: impl ToString) -> Error {
        let (path, message) = (path.to_owned(), message.to_string());
        Error::Damaged { path, offset, message, of: Origin::Input }
    }

    /// The same of a file that dataprep wrote, which `--skip-bad-files` cannot leave out.
    pub fn damaged_artifact(path: &Path, offset: Option<u64>, message: impl ToString) -> Error {
        let (path, message) = (path.to_owned(), message.to_string());
        Error::Damaged { path, offset, message, of: Origin::Artifact }
    }

    /// `|source| Error::io("open", path)(source)`: for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }

    /// Adds what the person can do; keeps an existing hint of other kinds of errors.
    pub fn with_hint(mut self, text: impl Into<String>) -> Error {
        if let Error::Config { hint, .. } | Error::Failed { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// Puts in front of the message where it went wrong, such as a step of a recipe.
    pub fn within(mut self, what: &str) -> Error {
        if let Error::Config { message, .. } | Error::Failed { message, .. } = &mut self {
            *message = format!("{what}: {message}");
        }
        self
    }

    /// Puts the step of a recipe in front of the message, and into every `--set` that the hint
    /// suggests.
    pub fn of_step(mut self, step: &str) -> Error {
        if let Error::Config { hint: Some(hint), .. } | Error::Failed { hint: Some(hint), .. } =
            &mut self
        {
            *hint = hint.replace("`--set ", &format!("`--set {step}."));
        }
        self.within(&format!("step `{step}`"))
    }

    /// What to try, printed after `hint:`.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Config { hint, .. } | Error::Failed { hint, .. } => hint.clone(),
            Error::Damaged { of: Origin::Artifact, .. } => Some(
                "put it back from a copy, or make it again with the command that wrote it; \
                 `dataprep verify` on its folder names everything that differs"
                    .into(),
            ),
            Error::Damaged { .. } => {
                Some("fetch the file again, or leave it out whole with `--skip-bad-files`".into())
            }
            Error::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull => {
                    Some("free space, then run the same command: finished units are kept".into())
                }
                _ => None,
            },
            Error::Interrupted | Error::Ended => None,
        }
    }

    /// 1 the work failed, 2 usage or config, 130 interrupted (docs/design.md, section 9).
    pub fn exit_status(&self) -> u8 {
        match self {
            Error::Config { .. } => 2,
            Error::Io { .. } | Error::Damaged { .. } | Error::Failed { .. } => 1,
            Error::Interrupted | Error::Ended => 130,
        }
    }
}

/// The error of an Arrow operation that fails only where arrays do not fit together. Ours all come
/// from one batch, so this is a bug.
pub fn bug(error: impl std::fmt::Display) -> Error {
    Error::failed(format!("cannot take rows of a batch: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_path_and_offset_and_keeps_its_hint_apart() {
        let error = Error::damaged(Path::new("a/b.parquet"), Some(17), "page checksum differs");
        assert_eq!(
            error.to_string(),
            "damaged file `a/b.parquet` at byte 17: page checksum differs"
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("--skip-bad-files")));
        let error = Error::damaged_artifact(Path::new("run/manifest.json"), None, "no JSON");
        assert!(error.hint().is_some_and(|hint| !hint.contains("--skip-bad-files")));
        let error = Error::config("unknown key `treads`").with_hint("did you mean `threads`?");
        assert_eq!(error.hint().as_deref(), Some("did you mean `threads`?"));
        assert_eq!(error.exit_status(), 2);
    }
}
