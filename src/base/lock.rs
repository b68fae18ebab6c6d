//! A kernel lock on a file: it keeps two commands on one output apart.
//!
//! In → a path; out → a [`Lock`] that falls when the process dies, however it dies. A second
//! process waits 5 seconds, since a killed one may still be dying, and is then refused by name.

#![expect(clippy::disallowed_methods, reason = "a lock is no file that anybody reads")]
#![expect(clippy::disallowed_types, reason = "the lock of an OUT is waited for a few seconds")]

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use super::error::{Error, Result};

/// How long a second command waits: a killed process may still be dying.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// A kernel lock on a file: it falls when the process dies, however it dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock file `path` (made when missing) for the work on `what`; a second process
    /// waits 5 seconds, then is refused by name.
    pub fn take(path: &Path, what: &Path) -> Result<Lock> {
        let start = Instant::now();
        loop {
            if let Some(lock) = Lock::attempt(path)? {
                return Ok(lock);
            }
            if start.elapsed() > LOCK_WAIT {
                let message = format!("another dataprep is working on `{}`", what.display());
                return Err(Error::failed(message)
                    .with_hint("wait for it to end, or choose another `--out`"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whether somebody holds the lock file `path`; nobody does where there is none.
    pub fn is_held(path: &Path) -> Result<bool> {
        let Ok(file) = File::open(path) else { return Ok(false) };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
        }
    }

    /// Takes the lock file `path`, however long somebody else holds it; `wait` is called before
    /// each further try.
    pub fn wait_for(path: &Path, mut wait: impl FnMut() -> Result<()>) -> Result<Lock> {
        loop {
            if let Some(lock) = Lock::attempt(path)? {
                return Ok(lock);
            }
            wait()?;
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// One try. The file may have been removed by its last holder between open and lock: only a
    /// lock on the file that still stands under the name counts.
    fn attempt(path: &Path) -> Result<Option<Lock>> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(Error::io("lock", path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
        }
        let locked = file.metadata().map_err(Error::io("read", path))?.ino();
        let named = fs::metadata(path).map(|metadata| metadata.ino()).ok();
        Ok((named == Some(locked)).then_some(Lock { _file: file }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_keeps_a_second_holder_out_until_it_falls() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let lock = Lock::take(&path, directory.path()).unwrap();
        assert!(Lock::attempt(&path).unwrap().is_none());
        assert!(Lock::is_held(&path).unwrap());
        drop(lock);
        assert!(Lock::attempt(&path).unwrap().is_some());
    }
}
