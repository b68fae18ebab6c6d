//! Runs a stage: plan → units → finish, continued after a kill, published by one rename.
//!
//! In → a [`Stage`] and OUT; out → OUT with its manifest, or nothing new. Beside OUT stands
//! `OUT.partial/` while the work goes on: `plan.json`, published units, killed attempts. State is
//! what is published, so running the same command again is how one resumes. A damaged input file
//! stops only the units that read it; everything else is finished before the stage fails naming
//! all of them (docs/design.md, sections 3.4 and 8). Parallel over units when there are many,
//! inside them when there are few; the bytes are the same.

#![expect(clippy::disallowed_types, reason = "`run.json` says how long it took")]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use serde_json::json;

use super::{
    kept::Kept,
    memory,
    options::{Listener, Options, Outcome},
    output::{self, Output},
    revisions,
    unchanged::Watch,
    up_to_date,
};
use crate::artifact::{
    counts::{Counts, SourceCounts},
    manifest::{self, Manifest, ManifestCounts, Tool},
    record::{InputRecord, Notes},
    stage::{Phase, Plan, Published, Stage, Tolerance, Unit, Work},
    unit,
};
use crate::base::{
    error::{Error, Result},
    hash::{Fingerprint, xxh3_64},
    interrupt, io, place,
    progress::Progress,
};
use crate::source::reject;

/// The fewest units a lane gets. With fewer, lanes would wait long for the last unit of another.
const UNITS_PER_LANE: usize = 8;

/// The fingerprint a stage's output would have.
pub fn fingerprint(stage: &dyn Stage) -> Fingerprint {
    let (config, inputs) = (stage.config(), stage.inputs());
    manifest::fingerprint(stage.name(), stage.version(), stage.seed(), &config, &inputs)
}

/// Brings `out` up to date.
pub fn execute(
    stage: &dyn Stage,
    out: &Path,
    options: &Options,
    listener: Listener<'_>,
) -> Result<Outcome> {
    let start = Instant::now();
    let fingerprint = fingerprint(stage);
    if !options.fresh
        && !output::partial(out).exists()
        && let Some(manifest) = up_to_date::check(stage, out, fingerprint)?
    {
        return unchanged(stage, out, manifest, start);
    }
    let (threads, notice) = memory::threads(stage, options.threads, options.memory)?;
    let options = &Options { threads, ..options.clone() };
    let output = Output::open(out, options.keeps)?;
    if !options.fresh {
        if let Some(manifest) = up_to_date::check(stage, out, fingerprint)? {
            output.discard()?;
            return unchanged(stage, out, manifest, start);
        }
        let kept = Kept::beside(out);
        if options.keeps
            && let Some(found) = kept.find(stage, fingerprint)?
        {
            output.refuse_foreign(fingerprint, true)?;
            kept.take(&found, out)?;
            output.discard()?;
            (listener.say)(&format!("{}: was made before, and is current again", out.display()));
            return unchanged(stage, out, Manifest::read(out)?, start);
        }
    }
    // Also with `--fresh`: what is no artifact is never replaced.
    output.refuse_foreign(fingerprint, options.replace || options.fresh)?;
    stage.warnings().iter().for_each(|warning| (listener.warn)(warning));
    let run = Run::open(stage, output, options, listener.progress, fingerprint)?;
    locked(&run.notices).extend(notice);
    run.all_phases()?;
    run.finish(start)
}

fn unchanged(stage: &dyn Stage, out: &Path, manifest: Manifest, start: Instant) -> Result<Outcome> {
    Ok(Outcome {
        summary: stage.summary(&manifest, out)?,
        manifest,
        up_to_date: true,
        units: 0,
        units_reused: 0,
        seconds: start.elapsed().as_secs_f64(),
        notices: Vec::new(),
    })
}

/// One run of a stage, under the lock.
struct Run<'a> {
    stage: &'a dyn Stage,
    output: Output,
    options: &'a Options,
    tolerance: Tolerance,
    progress: &'a Progress,
    fingerprint: Fingerprint,
    plan: Plan,
    files: Vec<PathBuf>,
    watch: Watch,
    skipped: Mutex<BTreeSet<usize>>,
    reused: AtomicUsize,
    notices: Mutex<Vec<String>>,
    phase_seconds: Mutex<Vec<(&'static str, f64)>>,
}

impl<'a> Run<'a> {
    /// Plans, and continues what an equal plan has published.
    fn open(
        stage: &'a dyn Stage,
        output: Output,
        options: &'a Options,
        progress: &'a Progress,
        fingerprint: Fingerprint,
    ) -> Result<Run<'a>> {
        let (plan, tolerance) = (stage.plan()?, stage.tolerance());
        let json = plan_json(stage, &plan, fingerprint)?;
        let notices = output.adopt_plan(&json, options.fresh || options.replace)?;
        revisions::write(output.partial(), &stage.inputs())?;
        output.remove_attempts()?;
        if let Some(directory) = &options.temp_dir {
            remove_spilled(directory, output.partial())?;
        }
        let skipped = match tolerance.skip_bad_files {
            true => output.read_skipped()?,
            false => BTreeSet::new(),
        };
        if skipped.is_empty() {
            output.forget_skipped()?;
        }
        let (watch, discarded) = Watch::resume(stage.files(), output.partial(), &plan.phases)?;
        let notices = stage.notices().into_iter().chain(notices).chain(discarded);
        Ok(Run {
            stage,
            output,
            options,
            tolerance,
            progress,
            fingerprint,
            files: stage.files().iter().map(|file| file.path().to_owned()).collect(),
            watch,
            plan,
            skipped: Mutex::new(skipped),
            reused: AtomicUsize::new(0),
            notices: Mutex::new(notices.collect()),
            phase_seconds: Mutex::default(),
        })
    }

    /// Runs the phases in order; with `--skip-bad-files`, again from the first after damage.
    fn all_phases(&self) -> Result<()> {
        let mut phase = 0;
        while phase < self.plan.phases.len() {
            let start = Instant::now();
            let mut damaged = self.phase(phase)?;
            if damaged.is_empty() {
                damaged = self.watch.damaged(&locked(&self.skipped))?;
            }
            let seconds = start.elapsed().as_secs_f64();
            locked(&self.phase_seconds).push((self.plan.phases[phase].name, seconds));
            if damaged.is_empty() {
                self.refuse_rejects_of(phase)?;
                phase += 1;
                continue;
            }
            if !self.tolerance.skip_bad_files {
                return Err(all_damaged(damaged, self.stage.text().is_some()));
            }
            self.skip(damaged)?;
            phase = 0;
        }
        Ok(())
    }

    /// Runs what is not published yet of one phase; returns the damage found on the way.
    fn phase(&self, phase: usize) -> Result<Vec<Error>> {
        let first = self.first_unit(phase);
        let units = &self.plan.phases[phase].units;
        let is_open = |index: &usize| !unit::is_published(self.output.partial(), first + index);
        let open: Vec<usize> = (0..units.len()).filter(is_open).collect();
        self.reused.fetch_add(units.len() - open.len(), Relaxed);
        if open.is_empty() {
            return Ok(Vec::new());
        }
        let task = match self.plan.phases.len() {
            1 => self.stage.name().to_owned(),
            _ => format!("{} {}", self.stage.name(), self.plan.phases[phase].name),
        };
        self.progress.begin(&task, open.iter().map(|&index| units[index].bytes).sum());
        let result = self.run_units(phase, &open);
        self.progress.end();
        result
    }

    /// Hands out units to lanes: one lane with all threads when there are few, up to one a thread
    /// when there are many.
    fn run_units(&self, phase: usize, open: &[usize]) -> Result<Vec<Error>> {
        let most = memory::lanes(self.stage, self.options.memory);
        let lanes = match self.stage.at_once() {
            Some(lanes) => open.len().clamp(1, lanes.min(most)),
            None => (open.len() / UNITS_PER_LANE).clamp(1, self.options.threads.min(most)),
        };
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let read = Mutex::new(Counts::default());
        let documents = self.stage.needs(1).documents;
        let lane = || {
            while let Some(&index) = open.get(next.fetch_add(1, Relaxed)) {
                let result = interrupt::check()
                    .and_then(|()| self.unit(phase, index, lanes))
                    .and_then(|counts| self.refuse_if_certain(counts, &read, documents));
                let Err(errors) = result.map_err(|error| match error {
                    Error::Damaged { .. } => self.all_damage(phase, index, lanes, error),
                    other => vec![other],
                }) else {
                    continue;
                };
                let stop = errors.iter().any(|error| !matches!(error, Error::Damaged { .. }));
                locked(&failed).extend(errors);
                if stop {
                    next.store(open.len(), Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            (1..lanes).for_each(|_| {
                scope.spawn(lane);
            });
            lane();
        });
        let errors = failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (damaged, mut others): (Vec<_>, Vec<_>) =
            errors.into_iter().partition(|error| matches!(error, Error::Damaged { .. }));
        if others.is_empty() { Ok(damaged) } else { Err(others.remove(0)) }
    }

    /// Does and publishes one unit.
    fn unit(&self, phase: usize, index: usize, lanes: usize) -> Result<Counts> {
        let skipped = locked(&self.skipped).clone();
        let unit = &self.plan.phases[phase].units[index];
        let files = || unit.files().filter(|file| !skipped.contains(file));
        self.watch.confirm(files())?;
        let (attempt, notes, counts) = match self.attempt(phase, index, lanes, &skipped) {
            Ok(done) => done,
            // A file that changed meanwhile explains whatever else went wrong.
            Err(error) => return self.watch.confirm(files()).and(Err(error)),
        };
        let counted = counts.clone();
        let read = self.watch.note_all(&notes.read);
        if let Err(error) = read.and_then(|()| self.watch.confirm(files())) {
            io::remove_directory(&attempt)?;
            return Err(error);
        }
        unit::publish(
            self.output.partial(),
            self.first_unit(phase) + index,
            &attempt,
            notes,
            counts,
        )?;
        Ok(counted)
    }

    /// All damaged files of a unit. It stops at the first one, so it is run on without that file,
    /// only to name the others.
    fn all_damage(&self, phase: usize, index: usize, lanes: usize, first: Error) -> Vec<Error> {
        let unit = &self.plan.phases[phase].units[index];
        let mut without = locked(&self.skipped).clone();
        let mut damaged = vec![first];
        loop {
            let Some(Error::Damaged { path, .. }) = damaged.last() else { return damaged };
            let file = self.files.iter().position(|file| file == path);
            let is_new = file
                .is_some_and(|file| unit.files().any(|read| read == file) && without.insert(file));
            if !is_new || unit.files().all(|file| without.contains(&file)) {
                return damaged;
            }
            let result = self
                .attempt(phase, index, lanes, &without)
                .and_then(|(attempt, ..)| io::remove_directory(&attempt));
            match result {
                Ok(()) => return damaged,
                Err(error) => damaged.push(error),
            }
        }
    }

    /// One attempt at one unit: its folder, filled, and what it noted and counted.
    fn attempt(
        &self,
        phase: usize,
        index: usize,
        lanes: usize,
        skipped: &BTreeSet<usize>,
    ) -> Result<(PathBuf, Notes, Counts)> {
        let attempt = unit::begin(self.output.partial(), self.first_unit(phase) + index)?;
        let work = Work {
            dir: attempt.clone(),
            spill: self.spill_folder(&attempt),
            published: Published { partial: self.output.partial(), phases: &self.plan.phases },
            threads: (self.options.threads / lanes).max(1),
            memory: self.options.memory.0 / lanes as u64,
            skipped,
            progress: self.progress,
            notes: Mutex::new(Notes::default()),
        };
        let result = self.stage.run_unit(Unit { phase, index }, &work);
        io::remove_directory(&work.spill)?;
        match result {
            Ok(counts) => {
                let notes = work.notes.into_inner().unwrap_or_else(|held| held.into_inner());
                Ok((attempt, notes, counts))
            }
            Err(error) => {
                io::remove_directory(&attempt)?;
                Err(error)
            }
        }
    }

    /// Where an attempt spills: inside itself, or in `--temp-dir` under a name that tells whose it
    /// is.
    fn spill_folder(&self, attempt: &Path) -> PathBuf {
        match &self.options.temp_dir {
            None => attempt.join("spill"),
            Some(directory) => {
                let name = place::name(attempt);
                directory.join(format!("{}{name}", spill_prefix(self.output.partial())))
            }
        }
    }

    /// Leaves damaged files out: the units that read them, and everything made from those units,
    /// run again.
    fn skip(&self, damaged: Vec<Error>) -> Result<()> {
        let mut skipped = locked(&self.skipped);
        let before = skipped.len();
        for error in damaged {
            let Error::Damaged { path, .. } = &error else { unreachable!("partitioned") };
            let Some(file) = self.files.iter().position(|file| file == path) else {
                return Err(error);
            };
            locked(&self.notices).push(format!("left out whole: {error}"));
            skipped.insert(file);
        }
        assert!(skipped.len() > before, "a skipped file was read: {skipped:?}");
        self.output.write_skipped(&skipped)?;
        for (phase, plan) in self.plan.phases.iter().enumerate() {
            for (index, unit) in plan.units.iter().enumerate() {
                let reads_inputs = phase == 0 && !unit.slices.is_empty();
                if !reads_inputs || unit.files().any(|file| skipped.contains(&file)) {
                    let number = self.first_unit(phase) + index;
                    io::remove_directory(&unit::directory(self.output.partial(), number))?;
                }
            }
        }
        Ok(())
    }

    /// Checks every record, asserts the counts, publishes.
    fn finish(self, start: Instant) -> Result<Outcome> {
        let published = Published { partial: self.output.partial(), phases: &self.plan.phases };
        let counts = self.stage.finish(&published)?;
        counts.assert_balanced(self.stage.name());
        self.refuse_too_many_rejects(&counts)?;
        let manifest = self.manifest(counts, &published)?;
        let seconds = start.elapsed().as_secs_f64();
        let phases: Vec<_> =
            locked(&self.phase_seconds).iter().map(|(name, s)| json!([name, s])).collect();
        let out = self.output.out().to_owned();
        let run =
            output::run_json(&manifest.inputs, &self.watch, &out, self.options, seconds, &phases)?;
        self.output.publish(&manifest, &run)?;
        Ok(Outcome {
            summary: self.stage.summary(&manifest, &out)?,
            manifest,
            up_to_date: false,
            units: self.plan.phases.iter().map(|phase| phase.units.len()).sum(),
            units_reused: self.reused.load(Relaxed),
            seconds,
            notices: std::mem::take(&mut *locked(&self.notices)),
        })
    }

    /// Links the files that are published and describes them.
    fn manifest(&self, counts: Counts, published: &Published<'_>) -> Result<Manifest> {
        let (files, read) = self.output.link_files(&self.plan.phases)?;
        let inputs = self.stage.inputs();
        let skipped = locked(&self.skipped);
        let name = |file: &usize| {
            let path = &self.files[*file];
            let record = inputs.iter().find(|record| record.path == *path);
            record.map_or_else(|| path.to_string_lossy().into_owned(), |record| record.name.clone())
        };
        Ok(Manifest {
            format: manifest::FORMAT,
            kind: self.stage.kind(),
            stage: self.stage.name().to_owned(),
            stage_version: self.stage.version(),
            tool: Tool::current(),
            config: self.stage.config(),
            seed: self.stage.seed(),
            files,
            counts: ManifestCounts::from(counts),
            holdout: self.plan.holdout,
            skipped_files: skipped.iter().map(name).collect(),
            read,
            fingerprint: self.fingerprint,
            ancestry: manifest::ancestry(&inputs)?,
            extra: self.stage.manifest_keys(published)?,
            inputs,
        })
    }

    /// Fails early: where footers say how many documents a source has, as soon as more of them are
    /// rejected than `max_bad` allows of all.
    fn refuse_if_certain(
        &self,
        unit: Counts,
        read: &Mutex<Counts>,
        documents: Option<u64>,
    ) -> Result<()> {
        let Some(documents) = documents else { return Ok(()) };
        let mut read = locked(read);
        read.add(&unit);
        let is_certain = |source: &SourceCounts| {
            reject::is_too_many(source.rejected_total(), documents, self.tolerance.max_bad)
        };
        match read.sources.values().any(is_certain) {
            true => self.refuse_too_many_rejects(&read),
            false => Ok(()),
        }
    }

    /// Fails where a phase that reads the inputs rejected more than `max_bad` allows, before the
    /// next phase begins.
    fn refuse_rejects_of(&self, phase: usize) -> Result<()> {
        let units = &self.plan.phases[phase].units;
        let published = Published { partial: self.output.partial(), phases: &self.plan.phases };
        let mut counts = Counts::default();
        for index in (0..units.len()).filter(|&index| !units[index].slices.is_empty()) {
            counts.add(&published.counts(self.plan.phases[phase].name, index)?);
        }
        self.refuse_too_many_rejects(&counts)
    }

    /// More documents of a source could not be read than `max_bad` allows: the stage fails.
    fn refuse_too_many_rejects(&self, counts: &Counts) -> Result<()> {
        let units: usize = self.plan.phases.iter().map(|phase| phase.units.len()).sum();
        let list = |unit| unit::directory(self.output.partial(), unit).join(reject::FILE_NAME);
        let first =
            |source: &str, reason: &str| reject::first_listed((0..units).map(list), source, reason);
        let inputs = self.stage.inputs();
        let place = |source: &str, file: &str| {
            let is_it = |input: &&InputRecord| {
                input.source.as_deref() == Some(source) && input.name == file
            };
            inputs.iter().find(is_it).map(|input| input.path.clone())
        };
        let refused = reject::refuse_too_many(counts, self.tolerance.max_bad, first, place);
        refused.or_else(|error| {
            self.output.note_failure(&error)?;
            let lists = self.output.partial().join("units/*").join(reject::FILE_NAME);
            let hint = error.hint().unwrap_or_default();
            Err(error.with_hint(format!("{hint}; `{}` lists them", lists.display())))
        })
    }

    fn first_unit(&self, phase: usize) -> usize {
        self.plan.phases[..phase].iter().map(|phase| phase.units.len()).sum()
    }
}

/// The beginning of the names of the folders in `--temp-dir` that serve one OUT. It is made from
/// where OUT lies.
fn spill_prefix(partial: &Path) -> String {
    let place = io::canonical(partial).unwrap_or_else(|_| partial.to_owned());
    format!("dataprep-{:016x}-", xxh3_64(place.as_os_str().as_encoded_bytes()))
}

/// Removes what a killed run for the same OUT has left in `--temp-dir`; its lock is ours.
fn remove_spilled(directory: &Path, partial: &Path) -> Result<()> {
    io::create_directory(directory)?;
    let prefix = spill_prefix(partial);
    for path in io::list(directory)? {
        let name = place::name(&path);
        if name.starts_with(&prefix) {
            io::remove_directory(&path)?;
        }
    }
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What will be done, by which build; equal bytes mean that published units may be kept.
fn plan_json(stage: &dyn Stage, plan: &Plan, fingerprint: Fingerprint) -> Result<String> {
    let executable = std::env::current_exe().map_err(Error::io("find", Path::new("dataprep")))?;
    let (build, _) = io::hash_file(&executable)?;
    let phases: Vec<_> = plan.phases.iter().map(phase_json).collect();
    // The files that the slices of the units index.
    let files = stage.files();
    let files: Vec<_> = files.iter().map(|f| json!({"input": f.input, "name": f.name})).collect();
    let tool = Tool::current();
    let json = json!({
        "format": manifest::FORMAT, "stage": stage.name(), "stage_version": stage.version(),
        "fingerprint": fingerprint, "config": manifest::canonical(&stage.config()),
        "seed": stage.seed(), "files": files, "phases": phases,
        "tool": {"version": tool.version, "commit": tool.commit, "build": build},
    });
    Ok(manifest::canonical(&json).to_string())
}

fn phase_json(phase: &Phase) -> serde_json::Value {
    json!({"name": phase.name, "units": phase.units})
}

/// All damaged files in one error.
fn all_damaged(damaged: Vec<Error>, may_be_skipped: bool) -> Error {
    let mut messages: Vec<String> = damaged.iter().map(Error::to_string).collect();
    messages.sort();
    messages.dedup();
    let message = match messages.len() {
        1 => messages.remove(0),
        count => format!("{count} damaged files, all else is done\n  {}", messages.join("\n  ")),
    };
    Error::failed(message).with_hint(match may_be_skipped {
        true => "fetch them again, or leave them out whole with `--skip-bad-files`",
        false => "what is finished is kept: the same command tries again",
    })
}
