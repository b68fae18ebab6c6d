//! How a standing run goes on under what is asked for: as it is, over more steps, or not at all.
//!
//! In → the standing run's manifest, the request; out → [`Continuation`]. **More steps.** The
//! learning rate is a function of (step, `train.steps`), so another `train.steps` changes rates
//! that were already used, and how much decides what happens:
//! - `constant`, and `wsd` up to the first step of the decay: none was. The run goes on, and is
//!   from then on the run that was longer from its beginning; a `constant` one that had ended
//!   keeps the records of that end, and its configuration records the step ([`Extension`]).
//! - `wsd`, behind it: the rates of the decay were those of the shorter run. The finished run steps
//!   aside as it stands, and the longer one goes on from the last checkpoint before the decay,
//!   which `rotation` always keeps (Hu et al., *MiniCPM*, 2024, section 4.2).
//! - `cosine`, `linear`: every rate was. The run goes on from its last step, where the rate
//!   jumps: that is said with both numbers, and the run's configuration records the step
//!   ([`Extension`]).
//!
//! **Invariant.** A finished run is never lost by making it longer.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    config::{Extension, Settings, Steps, TrainConfig},
    layout::{self, CHECKPOINTS, CONTINUED, DOCUMENT_EVALS, RUN, TIMING},
    origin::{Origin, Parent},
    records,
    recovery::{self, Recovery},
};
use crate::artifact::{manifest::Manifest, record::InputRecord};
use crate::base::{
    error::{Error, Result},
    io,
    size::Count,
};
use crate::report::lines::SourceEval;
use crate::runtime::checkpoint;

/// What is asked for.
pub struct Asked<'a> {
    /// Resolved: `steps` and `vocab_size` are numbers.
    pub config: &'a TrainConfig,
    /// The token that opens every document.
    pub end_of_text: &'a str,
    /// The mix.
    pub input: InputRecord,
    /// What a new run begins from beside the mix; a standing run keeps what it began from.
    pub origin: &'a Origin,
    /// The checkpoint that a standing run goes back to.
    pub from_step: Option<u64>,
    /// The mix's `tokenizer.json`, which the run gets a copy of.
    pub tokenizer: PathBuf,
    /// Whether another `train.steps` may extend a standing run.
    pub resume: bool,
    /// Whether a standing run of equal fingerprint steps aside too.
    pub fresh: bool,
}

/// What becomes of the standing run.
pub enum Continuation {
    /// It goes on under this configuration.
    Here {
        config: Box<TrainConfig>,
        /// What a person must know of it.
        warnings: Vec<String>,
    },
    /// It steps aside as it stands, and another goes on from one of its checkpoints.
    Branch { config: Box<TrainConfig>, recovery: Box<Recovery>, why: String },
    /// It steps aside for a new one, for this reason.
    Aside(String),
}

/// Decides; reads of the run what the decision needs.
///
/// # Errors
/// Config: `--resume` was asked for, and the run cannot go on so.
pub fn continuation(out: &Path, standing: &Manifest, asked: &Asked<'_>) -> Result<Continuation> {
    let same_input = standing.inputs.first().map(InputRecord::key) == Some(asked.input.key());
    let parents = asked.origin.inputs.iter().map(InputRecord::key);
    let same_origin = asked.origin.inputs.is_empty()
        || standing.inputs.iter().skip(1).map(InputRecord::key).eq(parents);
    let same_version = CONTINUED.contains(&standing.stage_version);
    let run: Option<TrainConfig> = serde_json::from_value(standing.config.clone()).ok();
    let run = run.filter(|_| same_input && same_version && same_origin);
    if let Some(run) = &run {
        let mut config = run.clone();
        config.train.take_uncounted(&asked.config.train);
        if asked.config.asks_for(run) {
            return Ok(Continuation::Here { config: Box::new(config), warnings: Vec::new() });
        }
        config.train.steps = asked.config.train.steps;
        if asked.resume && asked.config.asks_for(&config) {
            return extended(out, standing, run, config);
        }
    }
    let what = match &run {
        Some(run) => format!("it differs in {}", differing_keys(run, asked.config).join(", ")),
        None if !same_input => "it was made from another mix".to_owned(),
        None if !same_origin => "it began from other parameters".to_owned(),
        None => format!("it was made by version {} of `train`", standing.stage_version),
    };
    if !asked.resume {
        return Ok(Continuation::Aside(what));
    }
    let message = format!("cannot resume `{}`: {what}", out.display());
    Err(Error::config(message).with_hint(match same_input {
        true => {
            "only `train.steps` may change; without `--resume` the run steps aside for a new one"
        }
        false => {
            "give the mix it was made from with `--data`; a model goes on to another mix as \
             `--out NEW --init-from RUN`, and shares that change on the way are phases of one mix; \
             without `--resume` the run steps aside for a new one"
        }
    }))
}

/// Another horizon.
fn extended(
    out: &Path,
    standing: &Manifest,
    run: &TrainConfig,
    mut config: TrainConfig,
) -> Result<Continuation> {
    let latest = checkpoint::latest(&out.join(CHECKPOINTS))?.map_or(0, |latest| latest.step);
    let (old, new) = (steps(run), steps(&config));
    if new < latest {
        let message = format!("`train.steps` is {new}, but the run has done {latest} steps");
        return Err(Error::config(message).with_hint("a run can only grow"));
    }
    let schedule = run.train.schedule();
    let Some(decay) = schedule.decay_start(old) else {
        let warnings = jump(&run.train, latest, old, new).into_iter().collect();
        if latest > 0 {
            config.train.extended.push(Extension { at: latest, steps: old });
        }
        return Ok(Continuation::Here { config: Box::new(config), warnings });
    };
    let decay = decay.min(schedule.decay_start(new).unwrap_or(decay));
    if latest <= decay {
        if latest == old && new > old {
            // The run ended here once, and the records of that end stay.
            config.train.extended.push(Extension { at: latest, steps: old });
        }
        return Ok(Continuation::Here { config: Box::new(config), warnings: Vec::new() });
    }
    let recovery = recovery::recover(out, standing, run, None, decay)?;
    let extended = run.train.extended.last().map_or(0, |extension| extension.at);
    let from = recovery.checkpoint.as_ref().map(|checkpoint| checkpoint.step);
    let Some(from) = from.filter(|&step| step >= extended) else {
        let message = format!(
            "cannot resume `{}` over {} steps: it decays from step {} on, and no checkpoint from \
             before stands",
            out.display(),
            Count(new),
            Count(decay)
        );
        return Err(Error::config(message).with_hint(
            "without `--resume` the run steps aside for one that begins anew; runs of this \
             version keep the checkpoint before their decay",
        ));
    };
    let why = format!(
        "the learning rate decayed from step {} on; the longer run goes on from step {}",
        Count(decay),
        Count(from)
    );
    Ok(Continuation::Branch { config: Box::new(config), recovery: Box::new(recovery), why })
}

/// The sentence about a rate that another horizon changes at `step`.
fn jump(train: &Settings, step: u64, old: u64, new: u64) -> Option<String> {
    let schedule = train.schedule();
    let before = schedule.learning_rate(step.checked_sub(1)?, old);
    let after = schedule.learning_rate(step, new);
    let share = (after / before - 1.0).abs();
    let kind = format!("{:?}", schedule.kind).to_ascii_lowercase();
    (share > 0.02).then(|| {
        format!(
            "a {kind} run is made longer: its learning rate goes from {before:.3e} to {after:.3e} \
             at step {}, and the loss with it; `train.schedule = \"wsd\"` makes runs that can grow \
             without",
            Count(step + 1)
        )
    })
}

fn steps(config: &TrainConfig) -> u64 {
    match config.train.steps {
        Steps::Number(steps) => steps,
        Steps::All => panic!("steps of a run are numbers"),
    }
}

/// Keys, as `train.steps`, whose values differ, in order. A key may stand on one side alone: many
/// are not written while they have their default.
fn differing_keys(run: &TrainConfig, asked: &TrainConfig) -> Vec<String> {
    let (run, asked) = (run.fingerprinted(), asked.fingerprinted());
    let mut differing = BTreeSet::new();
    for (here, there) in [(&run, &asked), (&asked, &run)] {
        for (table, values) in here.as_object().into_iter().flatten() {
            let keys = values.as_object().into_iter().flatten();
            let other = &there[table.as_str()];
            let unlike = keys.filter(|(key, value)| other.get(key.as_str()) != Some(*value));
            differing.extend(unlike.map(|(key, _)| format!("`{table}.{key}`")));
        }
    }
    differing.into_iter().collect()
}

/// What a new run shares of the run that its origin names.
///
/// # Errors
/// Config: another mix, shape, batch or optimizer. Failed: the checkpoint is damaged.
pub fn shared_past(parent: &Parent, asked: &Asked<'_>) -> Result<Recovery> {
    let Parent { run, manifest, checkpoint } = parent;
    let theirs: Option<TrainConfig> = serde_json::from_value(manifest.config.clone()).ok();
    let same_mix = manifest.inputs.first().map(InputRecord::key) == Some(asked.input.key());
    let differing = match &theirs {
        None => vec![format!("its configuration, of version {}", manifest.stage_version)],
        Some(_) if !same_mix => vec!["the mix".to_owned()],
        Some(theirs) => {
            let mut keys = differing_keys(theirs, asked.config);
            let fixed = ["`model.", "`lora.", "`train.batch", "`train.sequence", "`runtime.ops`"];
            let fixed = fixed.into_iter().chain(["`optimizer.kind`"]);
            keys.retain(|key| fixed.clone().any(|fixed| key.starts_with(fixed)));
            keys
        }
    };
    if !differing.is_empty() {
        let message = format!(
            "a branch of `{}` must be equal to it in {}",
            run.display(),
            differing.join(", ")
        );
        return Err(Error::config(message)
            .with_hint("`--init-from` takes its parameters alone, for another mix or batch"));
    }
    let theirs = theirs.expect("compared just above");
    let recovery = recovery::recover(run, manifest, &theirs, None, checkpoint.step)?;
    if recovery.checkpoint.as_ref() != Some(checkpoint) {
        return Err(Error::failed(recovery.damage.join("; ")));
    }
    Ok(recovery)
}

/// Builds beside `out` the part of the run in `from` that lies before the checkpoint to continue
/// from: checkpoints as links, records as copies. Returns the directory, to be renamed to `out`,
/// and the recovery in it.
pub fn branch(from: &Path, out: &Path, recovery: Recovery) -> Result<(PathBuf, Recovery)> {
    let chosen = recovery.checkpoint.expect("a branch begins at a checkpoint");
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".longer.tmp");
    let out = out.with_file_name(name);
    io::remove_directory(&out)?;
    io::create_directory(&out.join(CHECKPOINTS))?;
    io::create_directory(&out.join(DOCUMENT_EVALS))?;
    for standing in checkpoint::list(&from.join(CHECKPOINTS))? {
        if standing.step <= chosen.step {
            link_all(&standing.path, &out.join(CHECKPOINTS).join(checkpoint::name(standing.step)))?;
        }
    }
    for step in evaluated(&from.join(layout::EVALS), chosen.step)? {
        let file = layout::document_evals(from, step);
        if file.is_file() {
            io::link_or_copy(&file, &layout::document_evals(&out, step))?;
        }
    }
    let records = [layout::METRICS, layout::EVALS, layout::SAMPLES, layout::NORMS, layout::SPIKES];
    for name in records.into_iter().chain([TIMING, RUN]) {
        if from.join(name).is_file() {
            io::write(&out.join(name), &io::read(&from.join(name))?)?;
        }
    }
    Ok((out, Recovery { checkpoint: Some(chosen), aside: Vec::new(), ..recovery }))
}

/// Steps up to `last` that were evaluated.
fn evaluated(path: &Path, last: u64) -> Result<Vec<u64>> {
    let evals = records::read_until::<SourceEval>(path, last)?;
    let mut steps: Vec<u64> = evals.iter().map(|eval| eval.step).collect();
    steps.dedup();
    Ok(steps)
}

fn link_all(from: &Path, to: &Path) -> Result<()> {
    io::create_directory(to)?;
    for file in io::list(from)? {
        io::link_or_copy(&file, &to.join(file.file_name().unwrap_or_default()))?;
    }
    io::sync(to)
}
