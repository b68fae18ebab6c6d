//! A piece of work that is ready to run, whichever stage it is of.
//!
//! In → what [`super::registry`] has opened; out → an [`Outcome`], or a [`Forecast`] of one. Work
//! has one of three shapes: units of a stage, a stage and then another one over its output (no
//! stage calls another), and work that writes in place.

#![expect(clippy::disallowed_types, reason = "an outcome says how long it took")]

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    execute,
    kept::Kept,
    memory,
    options::{Listener, Options, Outcome},
    output, up_to_date,
};
use crate::artifact::{
    forecast::Forecast,
    in_place::{InPlace, Resources},
    manifest::Manifest,
    stage::Stage,
};
use crate::base::{error::Result, io, place};

/// Work that is ready to run, and what it reads.
pub struct Job {
    pub work: Work,
    /// Paths as they were given: what is written must not overlap them.
    pub reads: Vec<PathBuf>,
}

/// The shapes of work.
pub enum Work {
    /// Units of a stage, published by the executor.
    Units(Box<dyn Stage>),
    /// A stage, and then another one made from its output.
    Chain(Chain),
    /// Work that writes in place.
    InPlace(Box<dyn InPlace>),
}

/// Opens a stage over what another one has made.
pub type Then = Box<dyn Fn(&Path) -> Result<Box<dyn Stage>>>;

/// A stage whose output lies in the output of another one, which reads it.
pub struct Chain {
    pub first: Box<dyn Stage>,
    /// The folder in OUT that the first output ends up in.
    pub place: &'static str,
    /// Opens the second stage over the first one's output, wherever that lies.
    pub then: Then,
}

impl Job {
    /// Brings `out` up to date.
    pub fn run(&self, out: &Path, options: &Options, listener: Listener<'_>) -> Result<Outcome> {
        let out = &place::output_directory(out, &self.reads)?;
        match &self.work {
            Work::Units(stage) => execute::execute(&**stage, out, options, listener),
            Work::Chain(chain) => chain.run(out, options, listener),
            Work::InPlace(work) => {
                let start = Instant::now();
                let done = work.run(out, &resources(options, listener))?;
                Ok(Outcome {
                    manifest: Manifest::read(out)?,
                    up_to_date: done.up_to_date,
                    units: 0,
                    units_reused: 0,
                    seconds: start.elapsed().as_secs_f64(),
                    notices: Vec::new(),
                    summary: done.summary,
                })
            }
        }
    }

    /// What [`Job::run`] would do; whatever it would refuse is refused here.
    pub fn forecast(
        &self,
        out: &Path,
        options: &Options,
        listener: Listener<'_>,
    ) -> Result<Forecast> {
        let out = &place::output_directory(out, &self.reads)?;
        match &self.work {
            Work::Units(stage) => forecast(&**stage, out, options),
            Work::Chain(chain) => chain.forecast(out, options),
            Work::InPlace(work) => work.forecast(out, &resources(options, listener)),
        }
    }
}

fn resources<'a>(options: &Options, listener: Listener<'a>) -> Resources<'a> {
    Resources {
        threads: options.threads,
        memory: options.memory.0,
        fresh: options.fresh,
        progress: listener.progress,
        say: listener.say,
        warn: listener.warn,
    }
}

fn forecast(stage: &dyn Stage, out: &Path, options: &Options) -> Result<Forecast> {
    let fingerprint = execute::fingerprint(stage);
    let standing = up_to_date::check(stage, out, fingerprint)?.is_some() && !options.fresh;
    let is_kept = || Kept::beside(out).find(stage, fingerprint).map(|found| found.is_some());
    if !standing && options.keeps && !options.fresh && is_kept()? {
        let needs = stage.needs(options.threads);
        let forecast = Forecast::of_stage(stage, fingerprint, needs, false)?;
        return Ok(forecast.coming_back());
    }
    if !standing {
        output::refuse_foreign(out, fingerprint, options.replace || options.fresh)?;
        memory::threads(stage, options.threads, options.memory)?;
    }
    Forecast::of_stage(stage, fingerprint, stage.needs(options.threads), standing)
}

impl Chain {
    fn run(&self, out: &Path, options: &Options, listener: Listener<'_>) -> Result<Outcome> {
        let first = self.first_output(out, options, listener)?;
        let second = (self.then)(&first)?;
        let outcome = execute::execute(&*second, out, options, listener)?;
        // It lies in OUT now; what a kill may have left beside it is not needed.
        let beside = beside(out, self.place);
        let is_ours =
            Manifest::read_if_known(&beside)?.is_some_and(|it| it.kind == self.first.kind());
        if is_ours && let Some(folder) = beside.parent() {
            io::remove_directory(folder)?;
        }
        Ok(outcome)
    }

    /// Where the first output lies: in OUT if that one is up to date, else beside it.
    fn first_output(
        &self,
        out: &Path,
        options: &Options,
        listener: Listener<'_>,
    ) -> Result<PathBuf> {
        if !options.fresh
            && let Some(inside) = self.standing(out)?
        {
            return Ok(inside);
        }
        if let Some(inside) = self.kept(out, options)? {
            return Ok(inside);
        }
        let fingerprint = execute::fingerprint(&*self.first);
        output::refuse_foreign(out, fingerprint, options.replace || options.fresh)?;
        let beside = beside(out, self.place);
        // A half-done first output is ours to discard, whatever it was made for.
        let options = Options { replace: true, keeps: false, ..options.clone() };
        let outcome = execute::execute(&*self.first, &beside, &options, listener)?;
        outcome.summary.alarms().iter().for_each(|alarm| (listener.warn)(alarm));
        Ok(beside)
    }

    /// The first output, where it lies in an output of the store and is up to date.
    fn kept(&self, out: &Path, options: &Options) -> Result<Option<PathBuf>> {
        if !options.keeps || options.fresh {
            return Ok(None);
        }
        for output in Kept::beside(out).outputs()? {
            if let Some(inside) = self.standing(&output)? {
                return Ok(Some(inside));
            }
        }
        Ok(None)
    }

    /// The first output, where it lies in OUT and is up to date.
    fn standing(&self, out: &Path) -> Result<Option<PathBuf>> {
        let inside = out.join(self.place);
        let fingerprint = execute::fingerprint(&*self.first);
        let found = up_to_date::check_inside(&*self.first, &inside, out, fingerprint)?;
        Ok(found.map(|_| inside))
    }

    /// The forecast of the second stage once the first output is made; before that, what the first
    /// stage takes, and the text that both read.
    fn forecast(&self, out: &Path, options: &Options) -> Result<Forecast> {
        if !options.fresh
            && let Some(inside) = self.standing(out)?
        {
            return forecast(&*(self.then)(&inside)?, out, options);
        }
        let fingerprint = execute::fingerprint(&*self.first);
        output::refuse_foreign(out, fingerprint, options.replace || options.fresh)?;
        memory::threads(&*self.first, options.threads, options.memory)?;
        let mut needs = self.first.needs(options.threads);
        // The second stage writes about what a corpus of the same text would take.
        needs.disk += self.first.text().map_or(0, |text| text.needs(options.threads).disk);
        Forecast::of_stage(&*self.first, fingerprint, needs, false)
    }
}

/// Where the first output of a chain is made before it moves into OUT. The folder has a name that
/// no person would give, and in it the output has the name that it will have in OUT, so that no
/// manifest holds OUT's name.
pub(super) fn beside(out: &Path, place: &str) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".dataprep-first");
    out.with_file_name(name).join(place)
}
