//! What a page of a run cannot see in its records: schedule, size, defaults, troubles.
//!
//! In → a run's configuration, or its directory; out → [`Known`] for [`crate::report`]. Nothing is
//! written.

use std::path::Path;

use super::{
    config::{Steps, TrainConfig},
    health::Health,
    layout,
};
use crate::base::{config, error::Result, json};
use crate::report::lines::Metric;
use crate::report::{Known, Outlook};

/// What is known of the run in `path`.
///
/// # Errors
/// Damaged: records that cannot be read. Config: a `config.toml` of no version of ours.
pub fn known(path: &Path) -> Result<Known> {
    let file = path.join(layout::CONFIG);
    if !file.is_file() {
        return Ok(Known::default());
    }
    let config = TrainConfig::parse(config::read(&file)?)?;
    let Steps::Number(steps) = config.train.steps else { return Ok(Known::default()) };
    let metrics: Vec<Metric> = json::lines(&path.join(layout::METRICS))?;
    let mut health = Health::new(config.model.vocab_size, config.train.warmup_steps);
    let troubles = health.troubles(&metrics).into_iter().map(|trouble| trouble.what);
    Ok(of(&config, steps, troubles.collect()))
}

/// What follows from a resolved configuration.
pub(super) fn of(config: &TrainConfig, steps: u64, warnings: Vec<String>) -> Known {
    let schedule = config.train.schedule();
    let peak = schedule.learning_rate;
    let rate = move |step, steps| schedule.learning_rate(step, steps) / peak;
    Known {
        outlook: Some(Outlook {
            steps,
            rate: Box::new(rate),
            rows: config.train.step_rows(),
            sequence: config.train.sequence as u64,
            parameters: config.model.parameter_count(),
        }),
        flops_per_token: Some(config.flops_per_token()),
        defaults: serde_json::to_value(TrainConfig::default()).ok(),
        warnings,
        numbers: config.derived(steps),
    }
}
