//! Trains a decoder on a mix, and generates from any of its checkpoints.
//!
//! In → a mix and the tables `[train]`, `[model]`; out → a run: a directory with its configuration,
//! records, checkpoints and a page. Reading order: [`config`] what can be asked for; [`mod@plan`]
//! what it will take; [`mod@run`] the run itself, top to bottom; then its parts, each one thing:
//! [`layout`] what lies in a run, [`directory`] who may work in it, `origin` what it begins from,
//! `extend` more steps, `recovery` which checkpoint is sound, `replay` whether it comes out again,
//! `budget` how long, `cautions` what is said first, `warmup` what begins small, `recompute`
//! whether blocks run twice to fit, `learner` what training changes, `spikes` what it leaves out,
//! `feed` rows of the mix, [`validate`] bits per byte, [`sample`] text (`stop`: up to a stop
//! string), `health` whether it leads anywhere, `goals` whether it leads where it should, `peak`
//! what its speed is held against, `rotation` which checkpoints stay, [`milestones`] what else is
//! made of some, [`companions`] what other tools read them by, `log` with [`records`] and `events`,
//! `sessions`, [`summary`] what is written down, `known` what [`crate::report`] cannot see for its
//! page, `clock` the only clocks. Before a run: [`mod@probe`] its time and money, [`smoke`] whether
//! it is sound, [`find_lr`] at which rate. [`mod@trained`] opens what was trained, here or
//! elsewhere, and [`mod@generate`] continues prompts with it.
//!
//! **Invariants.** A run is a pure function of (config, mix, numerics): stopped, killed or
//! interrupted and resumed, it ends with the same bytes, clocks apart. The model, its gradients and
//! its optimizer are `runtime`'s; nothing here touches a tensor.

pub mod config;
pub mod run;

mod ahead;
mod amounts;
mod aside;
mod budget;
mod cautions;
mod clock;
pub mod companions;
pub mod directory;
mod events;
mod extend;
pub mod feed;
pub mod find_lr;
pub mod generate;
mod goals;
mod health;
mod heeded;
mod job;
mod known;
pub mod layout;
mod learner;
mod log;
pub mod losses;
pub mod milestones;
mod norms;
mod origin;
mod peak;
pub mod plan;
pub mod probe;
mod recompute;
pub mod records;
mod recovery;
mod replay;
mod rotation;
pub mod sample;
mod sessions;
pub mod smoke;
mod spikes;
pub mod stop;
pub mod summary;
#[cfg(test)]
mod tests;
pub mod trained;
pub mod validate;
mod warmup;

pub use config::TrainConfig;
pub use generate::{GenerateOptions, Generated, Generator};
pub use job::{HowToTrain, TrainJob};
pub use known::known;
pub use origin::{Begin, INITIALISED_FROM};
pub use plan::{TrainOptions, TrainPlan, plan};
pub use run::{Context, run};
pub use sample::Said;
pub use summary::TrainSummary;
pub use trained::Trained;

pub use crate::report::lines::{Metric, Sample, SourceEval};
