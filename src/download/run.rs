//! The files of one unit: found in the cache, fetched through it, or fetched beside OUT.
//!
//! In → the files of a unit; out → each under its name in the unit's folder, with its hash noted,
//! so that nothing reads it again. What a kill leaves stands in the cache or in
//! `OUT.partial/incoming/` under a name that the next attempt finds.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::Download;
use super::source::{Source, Wanted};
use crate::artifact::stage::Work;
use crate::base::error::Result;
use crate::base::hash::{Fingerprint, xxh3_128};
use crate::base::{interrupt, io, size::Count};
use crate::store::fetch::{self, Fetch};

/// How often the progress line is renewed, which says whether the network is waited for.
const LOOK: Duration = Duration::from_millis(500);

/// Fetches the files of a unit.
pub fn fetch(download: &Download, unit: usize, work: &Work<'_>) -> Result<()> {
    let files = &download.units[unit];
    let source = &download.sources[files[0].0];
    std::thread::scope(|scope| {
        let (done, is_done) = channel::<()>();
        scope.spawn(move || {
            while is_done.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let waiting = source.place.meter().waiting();
                let finished = || Count(download.finished.load(Relaxed)).of("file") + " done";
                work.progress.note(waiting.unwrap_or_else(finished));
                work.advance(0);
            }
        });
        let result = files.iter().try_for_each(|&(source, file)| {
            interrupt::check()?;
            let source = &download.sources[source];
            download.one(source, &source.files[file], work)
        });
        drop(done);
        result
    })
}

impl Download {
    fn one(&self, source: &Source, file: &Wanted, work: &Work<'_>) -> Result<()> {
        let target = work.path(&file.name);
        io::create_directory(target.parent().unwrap_or(&work.dir))?;
        let progress = |bytes| work.advance(bytes);
        let entry = &file.entry;
        let xxh3 = match &source.repo {
            Some(repo) if self.goes_through_cache(repo.cache_folder(), work) => {
                let stored = repo.store(entry, self.connections_each(), &progress)?;
                io::link_or_copy(&stored.path, &target)?;
                stored.xxh3
            }
            Some(repo) => match repo.cached(entry, &progress)? {
                Some(cached) => {
                    io::link_or_copy(&cached.path, &target)?;
                    cached.xxh3
                }
                None => self.beside(source, file, &target, work)?,
            },
            None => self.beside(source, file, &target, work)?,
        };
        work.hashed(&file.name, xxh3, entry.bytes);
        self.finished.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Fetches a file into `OUT.partial/incoming/`, and gives it its name from there.
    fn beside(
        &self,
        source: &Source,
        file: &Wanted,
        target: &Path,
        work: &Work<'_>,
    ) -> Result<Fingerprint> {
        let (entry, address) = (&file.entry, source.address_of(file));
        let identity = entry.identity.as_ref().map(ToString::to_string).unwrap_or_default();
        // The key has the file's own address: two files of one content may be fetched at once.
        let key = format!("{address}\0{}\0{identity}", entry.bytes);
        let (key, digits) = (xxh3_128(key.as_bytes()).short(), identity.rsplit(':').next());
        let complete = incoming(work)?.join(format!("{key}-{}", digits.unwrap_or_default()));
        let progress = |bytes| work.advance(bytes);
        let standing = match complete.is_file() {
            true => fetch::check(&complete, entry, progress)?,
            false => None,
        };
        let xxh3 = match standing {
            Some(xxh3) => xxh3,
            None => {
                let (place, connections) = (&*source.place, self.connections_each());
                let address = Path::new(&address);
                let fetch = Fetch { place, entry, address, connections, progress: &progress };
                let mut incomplete = complete.clone().into_os_string();
                incomplete.push(".incomplete");
                fetch.to(Path::new(&incomplete), &complete)?
            }
        };
        // A hard link keeps the file for the next attempt; a disk without links still has it once.
        if !io::link(&complete, target) {
            io::rename(&complete, target)?;
        }
        Ok(xxh3)
    }

    /// Whether a file of the cache can have a second name in OUT: tried once, with an empty one.
    fn goes_through_cache(&self, cache: &Path, work: &Work<'_>) -> bool {
        let probe = || -> Result<bool> {
            let from = incoming(work)?.join("probe");
            io::create_directory(cache)?;
            let to = cache.join(format!(".dataprep-probe-{}", std::process::id()));
            io::write(&from, b"")?;
            io::remove_file(&to)?;
            let linked = io::link(&from, &to);
            io::remove_file(&to)?;
            Ok(linked)
        };
        // A cache that cannot be written to is only read from.
        *self.through_cache.get_or_init(|| self.config.cache && probe().unwrap_or(false))
    }

    /// Requests at once for one file: all of them where it is the only unit.
    fn connections_each(&self) -> usize {
        let units = self.units.len().clamp(1, self.config.connections);
        self.config.connections / units
    }
}

/// The folder of files on their way into OUT; it is removed with OUT.partial.
fn incoming(work: &Work<'_>) -> Result<PathBuf> {
    let folder = work.published.partial.join("incoming");
    io::create_directory(&folder)?;
    Ok(folder)
}
