//! Files with their path in every error.
//!
//! In → paths; out → handles, bytes, sorted listings. The only place (with `unit`) that names
//! `std::fs`, so that an I/O error never loses its path and durability is decided in one place.

#![expect(clippy::disallowed_methods, reason = "the home of `std::fs`")]

use std::{
    fs::{self, File},
    io::{BufWriter, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    error::{Error, Result},
    hash::{Fingerprint, Hasher},
};

/// Opens a file for reading.
pub fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(Error::io("open", path))
}

/// Creates (or empties) a file for writing, behind a 256 KiB buffer.
pub fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).map_err(Error::io("create", path))?;
    Ok(BufWriter::with_capacity(256 << 10, file))
}

/// Opens a file for appending, made when missing.
pub fn append(path: &Path) -> Result<File> {
    File::options().create(true).append(true).open(path).map_err(Error::io("open", path))
}

/// Cuts a file to `length` bytes.
pub fn truncate(path: &Path, length: u64) -> Result<()> {
    let file = File::options().write(true).open(path).map_err(Error::io("open", path))?;
    file.set_len(length).map_err(Error::io("cut", path))
}

/// A file's bytes.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io("read", path))
}

/// A file's text.
pub fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::io("read", path))
}

/// `length` bytes of a file from `start`; fewer is a damaged file, truncated.
pub fn read_range(path: &Path, start: u64, length: usize) -> Result<Vec<u8>> {
    let mut file = open(path)?;
    file.seek(SeekFrom::Start(start)).map_err(Error::io("read", path))?;
    let mut bytes = Vec::with_capacity(length);
    let found =
        file.take(length as u64).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if found < length {
        let message = format!("expected {length} bytes, found {found}");
        return Err(Error::damaged(path, Some(start), message));
    }
    Ok(bytes)
}

/// Writes a file whole and syncs it.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(Error::io("write", path))?;
    sync(path)
}

/// Replaces a file by one rename, so that a reader sees the old or the new, never a half.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    write(&temporary, bytes)?;
    rename(&temporary, path)
}

/// Waits until a file or directory is on the disk.
pub fn sync(path: &Path) -> Result<()> {
    open(path)?.sync_all().map_err(Error::io("sync", path))
}

/// Renames a file or directory.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(Error::io("rename", from))
}

/// A directory and its parents, made when missing.
pub fn create_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io("create the directory", path))
}

/// Removes a directory with everything in it; a missing one is fine.
pub fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(Error::io("remove", path)),
    }
}

/// Removes a file; a missing one is fine.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(Error::io("remove", path)),
    }
}

/// Gives a file a second name for the same bytes on the disk; copies it where the file system
/// cannot.
pub fn link_or_copy(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).map_err(Error::io("copy", from))?;
    sync(to)
}

/// Gives a file a second name under the same disk blocks; `false` where the system cannot.
pub fn link(from: &Path, to: &Path) -> bool {
    fs::hard_link(from, to).is_ok()
}

/// Makes `link` a symbolic link to `target`, which is seen from the folder of `link`. One that
/// stands already is left as it is.
pub fn link_softly(target: &Path, link: &Path) -> Result<()> {
    match std::os::unix::fs::symlink(target, link) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(Error::io("link", link)),
    }
}

/// What a symbolic link names; `None` where the path is no such link.
pub fn link_target(path: &Path) -> Option<PathBuf> {
    fs::read_link(path).ok()
}

/// Bytes that are free on the disk of a path that exists.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Size in bytes.
pub fn size(path: &Path) -> Result<u64> {
    Ok(metadata(path)?.len())
}

/// What the file system knows of a path.
pub fn metadata(path: &Path) -> Result<fs::Metadata> {
    fs::metadata(path).map_err(Error::io("read", path))
}

/// Nanoseconds since 1970 of the last change; 0 where the system does not say.
pub fn modified_nanoseconds(metadata: &fs::Metadata) -> u64 {
    let modified = metadata.modified().ok();
    let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// What the file system says of a file that tells whether it may hold other bytes than before:
/// writing sets both times, replacing changes the inode. Equal stamps are taken for equal bytes;
/// different ones mean that the bytes have to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub bytes: u64,
    /// Nanoseconds since 1970, which `touch` and `cp -p` set at will.
    pub modified_ns: u64,
    /// Nanoseconds since 1970 of the last change of the content or of its directory entry, which no
    /// program can set.
    pub changed_ns: i64,
    pub inode: u64,
}

/// The file's stamp; `None` where there is no such file.
pub fn stamp(path: &Path) -> Result<Option<Stamp>> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.map_err(Error::io("read", path))?,
    };
    Ok(Some(Stamp {
        bytes: metadata.len(),
        modified_ns: modified_nanoseconds(&metadata),
        changed_ns: metadata
            .ctime()
            .wrapping_mul(1_000_000_000)
            .wrapping_add(metadata.ctime_nsec()),
        inode: metadata.ino(),
    }))
}

/// The absolute path with links resolved.
pub fn canonical(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).map_err(Error::io("find", path))
}

/// The entries of a directory, sorted by name as bytes.
pub fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).map_err(Error::io("list", directory))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(Error::io("list", directory))?.path());
    }
    paths.sort();
    Ok(paths)
}

/// All files below a directory, sorted by path.
pub fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in list(directory)? {
        match path.is_dir() {
            true => files.extend(files_below(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}

/// XXH3-128 of a file's bytes `start..end` (the end of the file at most), read in 1 MiB pieces.
/// Also says how many bytes there were.
pub fn hash_range(path: &Path, start: u64, end: u64) -> Result<(Fingerprint, u64)> {
    let mut file = open(path)?;
    file.seek(SeekFrom::Start(start)).map_err(Error::io("read", path))?;
    let mut rest = file.take(end.saturating_sub(start));
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let count = rest.read(&mut buffer).map_err(Error::io("read", path))?;
        if count == 0 {
            return Ok((hasher.finish(), bytes));
        }
        hasher.update(&buffer[..count]);
        bytes += count as u64;
    }
}

/// XXH3-128 of a whole file, and its size.
pub fn hash_file(path: &Path) -> Result<(Fingerprint, u64)> {
    hash_range(path, 0, u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::xxh3_128;

    #[test]
    fn a_range_hashes_as_its_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        write(&path, b"0123456789").unwrap();
        assert_eq!(hash_range(&path, 2, 5).unwrap(), (xxh3_128(b"234"), 3));
        assert_eq!(hash_file(&path).unwrap(), (xxh3_128(b"0123456789"), 10));
    }

    #[test]
    fn errors_name_the_path() {
        let error = read(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
