//! `--smoke`: whether model, data and machine are fit to train, in about a minute.
//!
//! In → a configuration and its mix; out → [`Smoke`]: a line a check. **Checks**, each on the
//! model that would be trained, the given one where one is: the first loss against what its batch
//! can have (`first_step`; an unusual one is data as often as code, so it is said and fails
//! nothing); a gradient for every parameter; one row learned by heart; no logit that depends on a
//! later token or on another document; the same bits twice; the memory that is planned; time and
//! money. **The mask.** A row
//! of two documents of equal length goes through the model; then a token of the first document is
//! another one, and then of the second. What may not see it must have the same logits to the bit,
//! and what may see it must not, unless its projections begin at 0 or its windows do not
//! reach so far. Nothing on the disk is touched. **Cost.** Some 100 short steps.

use std::{fmt, path::Path};

use serde::Serialize;

use super::{
    config::TrainConfig,
    directory::Start,
    learner::{Beginning, Learner},
    plan::{self, Prepared, TrainOptions},
    probe::{self, Probe},
};
use crate::base::{
    config::Table,
    error::{Error, Result},
    size::{Bytes, Count},
};
use crate::runtime::{
    data::{Batch, Feed},
    first_step::{self, Expected},
    model::{Model, ModelConfig},
    optim::{adamw::AdamWConfig, clip::clip, on_device::plain_adamw},
    step::{self, StepGradients},
};

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must be.
    Pass,
    /// Not what was expected, but possibly right: the data may explain it.
    Unusual,
    /// The run would be worth nothing.
    Fail,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub check: &'static str,
    /// What it came to.
    pub verdict: Verdict,
    /// With which numbers.
    pub found: String,
}

/// All checks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Smoke {
    /// In the order they were made.
    pub checks: Vec<Check>,
    /// What the run would take in time and money.
    pub probe: Option<Probe>,
}

/// Tokens of the row that is learned by heart, the steps it gets, at which rate, and the share of
/// its first loss that it must come to. Karpathy, *A recipe for training neural networks*, 2019:
/// "overfit one batch". A fresh model of each shipped shape comes below a third in 30 steps.
const HEART_TOKENS: usize = 64;
const HEART_STEPS: usize = 80;
const HEART_RATE: f64 = 3e-3;
const HEART_SHARE: f64 = 0.5;
/// Tokens of the row that the mask is tried on.
const MASK_TOKENS: usize = 24;

/// Checks `table`'s model on the mix in directory `mix`.
///
/// # Errors
/// Config: what `train` refuses before its first step.
pub fn smoke(table: Table, mix: &Path, options: &TrainOptions) -> Result<Smoke> {
    let mut prepared = plan::prepare(table, mix, None, options)?;
    plan::in_pool(options, || checks(&mut prepared, options))
}

fn checks(prepared: &mut Prepared, options: &TrainOptions) -> Result<Smoke> {
    let Prepared { config, device, feed, memory, origin, .. } = prepared;
    // Where batches grow, a mix may have fewer rows than go through the model at once.
    let rows = config.train.micro_batch.min(feed.row_count() as usize);
    let begins = origin.initial.as_ref().map_or(Beginning::Fresh, Beginning::Weights);
    // All of the model: what adapters learn by heart says little of it.
    let whole = TrainConfig { lora: None, ..config.clone() };
    let whole = || Learner::open(&whole, begins, device).map(|learner| learner.model);
    let batch = feed.rows(0, rows)?;
    let mut learner = Learner::open(config, begins, device)?;
    let mut found = step::gradients(&learner.model, &batch, rows)?;
    let given = origin.initial.is_some();
    let mut checks = vec![first_loss(&learner.model, &batch, rows, found.loss, given)?];
    if given {
        // Behind adapters and blocks that begin at 0 there is a gradient from the second step on.
        learner.take_step(feed, &config.train, probe::STEPS)?;
        found = step::gradients(&learner.model, &batch, rows)?;
    }
    checks.push(gradients(&learner.model, &batch, rows, found));
    checks.push(by_heart(&whole()?, &batch)?);
    checks.push(mask(&whole()?, &batch)?);
    let mut twice = Vec::new();
    for _ in 0..2 {
        let mut learner = Learner::open(config, begins, device)?;
        learner.take_step(feed, &config.train, probe::STEPS)?;
        twice.push(learner.model.parameters().xxh3()?);
    }
    checks.push(Check {
        check: "the same bits twice",
        verdict: pass(twice[0] == twice[1]),
        found: format!("parameters {} and {} after a step", twice[0].short(), twice[1].short()),
    });
    checks.push(Check {
        check: "memory",
        verdict: pass(memory.total <= options.memory.0),
        found: format!("{} planned of {}", Bytes(memory.total), options.memory),
    });
    let probe = probe::measure(config, device, feed, &Start::New)?;
    Ok(Smoke { checks, probe: Some(probe) })
}

fn pass(is_right: bool) -> Verdict {
    if is_right { Verdict::Pass } else { Verdict::Fail }
}

/// The first loss, `first`. A model that is given has learned something: its loss is held against
/// that of even odds.
fn first_loss(model: &Model, batch: &Batch, rows: usize, first: f64, given: bool) -> Result<Check> {
    let (is_usual, found) = if given {
        let even = libm::log(model.config().vocab_size as f64);
        (first < even, format!("{first:.3} of the given model, {even:.3} of even odds"))
    } else {
        let Expected { loss, tolerance, .. } = Expected::of(model, batch, rows)?;
        let expected = format!("{first:.3}, expected {loss:.3} ± {tolerance:.3} from this batch");
        ((first - loss).abs() <= tolerance, expected)
    };
    let verdict = match (first.is_finite(), is_usual) {
        (false, _) => Verdict::Fail,
        (true, false) => Verdict::Unusual,
        (true, true) => Verdict::Pass,
    };
    Ok(Check { check: "loss at the start", verdict, found })
}

/// Whether every parameter has a gradient.
fn gradients(model: &Model, batch: &Batch, rows: usize, found: StepGradients) -> Check {
    let reached = first_step::check(model, batch, rows, &found);
    let found = match &reached {
        Ok(_) => format!("each of the {} parameters has one", model.parameters().len()),
        Err(error) => error.to_string(),
    };
    Check { check: "gradients", verdict: pass(reached.is_ok()), found }
}

/// Whether one short row can be learned by heart.
fn by_heart(model: &Model, batch: &Batch) -> Result<Check> {
    let row = beginning(batch, HEART_TOKENS);
    let mut optimizer = plain_adamw(model.parameters(), &AdamWConfig::default())?;
    let (mut first, mut last, mut steps) = (f64::NAN, f64::NAN, 0);
    let mut is_known = false;
    while steps < HEART_STEPS && !is_known {
        let mut found = step::gradients(model, &row, 1)?;
        last = found.loss;
        if steps == 0 {
            first = last;
        }
        clip(&mut found.gradients, 1.0)?;
        optimizer.step(&found.gradients, HEART_RATE)?;
        is_known = last <= HEART_SHARE * first;
        steps += 1;
    }
    Ok(Check {
        check: "one row by heart",
        verdict: pass(is_known),
        found: format!("loss {first:.3} → {last:.3} in {steps} steps"),
    })
}

/// The first tokens of a batch's first row, as one row.
fn beginning(batch: &Batch, tokens: usize) -> Batch {
    let length = tokens.min(batch.sequence);
    let mut row = batch.slice(0, 1);
    for column in [&mut row.inputs, &mut row.targets, &mut row.segments, &mut row.positions] {
        column.truncate(length);
    }
    row.trained.clear(); // what is only read can be learned too
    row.sequence = length;
    row
}

/// Whether a token reaches what it must not, or does not reach what it must.
fn mask(model: &Model, batch: &Batch) -> Result<Check> {
    let mut row = beginning(batch, MASK_TOKENS);
    let (length, half) = (row.sequence, row.sequence / 2);
    row.segments = (0..length).map(|at| u32::from(at >= half)).collect();
    row.positions = (0..length).map(|at| if at < half { at } else { at - half } as u32).collect();
    let vocabulary = model.config().vocab_size;
    let before = model.logits(&row)?;
    let (mut leaks, mut deaf) = (Vec::new(), Vec::new());
    for changed in [half / 2, half + (length - half) / 2] {
        let mut other = row.clone();
        other.inputs[changed] = (other.inputs[changed] + 1) % vocabulary as u32;
        let after = model.logits(&other)?;
        let is_same = |at: usize| {
            let range = at * vocabulary..(at + 1) * vocabulary;
            before[range.clone()] == after[range]
        };
        let sees = |at: usize| at >= changed && row.segments[at] == row.segments[changed];
        leaks.extend((0..length).filter(|&at| !sees(at) && !is_same(at)));
        deaf.extend((0..length).filter(|&at| sees(at) && is_same(at)));
    }
    if may_be_deaf(model.config(), length) {
        deaf.clear();
    }
    let found = match (leaks.first(), deaf.first()) {
        (Some(at), _) => format!("token {at} of the row sees what it must not"),
        (None, Some(at)) => format!("token {at} of the row does not see what it must"),
        (None, None) => "no logit of another document or of an earlier token changes".to_owned(),
    };
    let verdict = pass(length >= 4 && leaks.is_empty() && (deaf.is_empty() || vocabulary < 2));
    Ok(Check { check: "attention stays inside", verdict, found })
}

/// Whether a fresh model of this shape may rightly not see a token `length` places before: its
/// attention adds nothing yet, or its windows do not reach so far, one on top of another.
fn may_be_deaf(shape: &ModelConfig, length: usize) -> bool {
    let reach = shape.n_layer * shape.window.saturating_sub(1);
    shape.zero_init_projections || (shape.window > 0 && reach < length)
}

impl Smoke {
    /// The error of checks that failed.
    ///
    /// # Errors
    /// Failed: with their names.
    pub fn verdict(&self) -> Result<()> {
        let failed = self.checks.iter().filter(|check| check.verdict == Verdict::Fail);
        let failed: Vec<&str> = failed.map(|check| check.check).collect();
        if failed.is_empty() {
            return Ok(());
        }
        let (count, all) = (failed.len(), self.checks.len());
        let names = failed.join(", ");
        Err(Error::failed(format!("{count} of {all} checks failed: {names}")).with_hint(
            "`--set runtime.ops=composed` tells a faulty kernel; a loss that is no number wants a \
             smaller `model.init_std`",
        ))
    }
}

impl fmt::Display for Smoke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { check, verdict, found } in &self.checks {
            let verdict = match verdict {
                Verdict::Pass => "pass",
                Verdict::Unusual => "unusual",
                Verdict::Fail => "FAIL",
            };
            writeln!(f, "  {verdict:<8} {check:<24} {found}")?;
        }
        if let Some(probe) = &self.probe {
            probe.to_string().lines().try_for_each(|line| writeln!(f, "  {line}"))?;
        }
        let passed = self.checks.iter().filter(|check| check.verdict != Verdict::Fail).count();
        let (passed, all) = (Count(passed as u64), Count(self.checks.len() as u64));
        writeln!(f, "  {passed} of {all} checks passed")
    }
}
