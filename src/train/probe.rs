//! What a run will take in time and money, from a few steps that nobody keeps.
//!
//! In → a resolved configuration and its mix; out → [`Probe`]. **Method.** A fresh learner of the
//! run's shape takes [`STEPS`] steps over the mix's first rows, in whole batches of whole rows also
//! where these begin small, since most of a run is of such; the first is left out of the clock,
//! since it touches memory for the first time. FLOPs a token are PaLM's
//! (`TrainConfig::flops_per_token`); the utilisation (MFU) is their rate as a share of [`Peak`],
//! which is the most that a step of products could reach here; energy is what the processors count
//! in a run on them ([`Meter`]), where they tell. Evaluations, samples and checkpoints come on top.
//! **Cost.** So many steps, and what a peak takes. Nothing on the disk is touched.

use std::fmt;

use serde::Serialize;

use super::{
    clock,
    config::{Steps, TrainConfig},
    directory::Start,
    feed::MixFeed,
    learner::{Beginning, Learner},
};
use crate::base::{
    energy::Meter,
    error::Result,
    size::{Count, duration},
};
use crate::report::lines::Peak;
use crate::runtime::device::Device;

/// Steps of a probe, the unmeasured first one included.
pub const STEPS: u64 = 3;

/// Time and money of what is left of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Probe {
    /// Tokens trained on a second, evaluation and checkpoints left out.
    pub tokens_per_second: f64,
    /// Operations of what is left, as PaLM counts them.
    pub flops: f64,
    /// Operations a second.
    pub flops_per_second: f64,
    /// What the machine can do, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<Peak>,
    /// Model FLOPs a second, as a share of the peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mfu: Option<f64>,
    /// Until the last step.
    pub seconds: f64,
    /// When that is, in seconds since 1970.
    pub ends: f64,
    /// At `train.price_per_hour`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Energy of the processors, joules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joules: Option<f64>,
}

/// Takes the steps of a probe.
pub fn measure(
    config: &TrainConfig,
    device: &Device,
    feed: &mut MixFeed,
    start: &Start,
) -> Result<Probe> {
    let Steps::Number(steps) = config.train.steps else { panic!("steps are resolved before") };
    let done = match start {
        Start::Continues { step } | Start::StepsAside { from: step, .. } => *step,
        Start::New | Start::UpToDate => 0,
    };
    let train = &config.train;
    let whole = train.whole(feed.row_count());
    let possible = whole.step_rows().within(feed.row_count()).min(STEPS);
    let mut learner = Learner::open(config, Beginning::Fresh, device)?;
    let unmeasured = if possible == 1 { 0 } else { 1 };
    let (mut seconds, mut meter) = (0.0, None);
    for at in 0..possible {
        if at == unmeasured && device.context().is_none() {
            meter = Meter::begin();
        }
        let taken = learner.take_step(feed, &whole, steps)?;
        seconds += if at >= unmeasured { taken.timing.seconds } else { 0.0 };
    }
    let measured = whole.tokens_before(possible) - whole.tokens_before(unmeasured);
    let joules = meter.and_then(|meter| meter.joules());
    Ok(Probe::of(Rate {
        tokens_per_second: measured as f64 / seconds.max(1e-9),
        tokens_left: train.tokens_before(steps) - train.tokens_before(done.min(steps)),
        flops_per_token: config.flops_per_token(),
        peak: Peak::of(device),
        price: config.train.price_per_hour,
        joules_per_token: joules.map(|joules| joules / measured as f64),
    }))
}

/// What a probe is computed from.
pub struct Rate {
    pub tokens_per_second: f64,
    pub tokens_left: u64,
    pub flops_per_token: u64,
    /// What the machine can do.
    pub peak: Option<Peak>,
    /// Of an hour.
    pub price: Option<f64>,
    pub joules_per_token: Option<f64>,
}

impl Probe {
    /// What follows from a rate.
    pub fn of(rate: Rate) -> Probe {
        let flops_per_second = rate.tokens_per_second * rate.flops_per_token as f64;
        let seconds = rate.tokens_left as f64 / rate.tokens_per_second;
        Probe {
            tokens_per_second: rate.tokens_per_second,
            flops: rate.tokens_left as f64 * rate.flops_per_token as f64,
            flops_per_second,
            mfu: rate.peak.as_ref().map(|peak| flops_per_second / peak.flops_per_second),
            peak: rate.peak,
            seconds,
            ends: clock::wall_time() + seconds,
            cost: rate.price.map(|price| price * seconds / 3600.0),
            joules: rate.joules_per_token.map(|joules| joules * rate.tokens_left as f64),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "time {} of training steps at {} tokens/s, until {}; evaluations, samples and \
             checkpoints come on top",
            duration(self.seconds),
            Count(self.tokens_per_second as u64),
            clock::date(self.ends)
        )?;
        let rate = self.flops_per_second / 1e9;
        write!(f, "{:.2e} FLOPs (PaLM's count), {rate:.1} GFLOP/s", self.flops)?;
        if let (Some(peak), Some(mfu)) = (&self.peak, self.mfu) {
            let (share, most) = (100.0 * mfu, peak.flops_per_second / 1e9);
            write!(f, ": {share:.0}% of {} ({most:.1} GFLOP/s)", peak.of)?;
        }
        if let Some(joules) = self.joules {
            write!(f, "\nenergy {:.3} kWh of the processors", joules / 3.6e6)?;
        }
        match self.cost {
            Some(cost) => write!(f, "\ncost {cost:.2} at the price given"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_is_said_where_the_machine_tells() {
        let rate = |joules_per_token| Rate {
            tokens_per_second: 1000.0,
            tokens_left: 3_600_000,
            flops_per_token: 1,
            peak: None,
            price: Some(2.0),
            joules_per_token,
        };
        let said = Probe::of(rate(Some(0.5))).to_string();
        assert!(said.contains("energy 0.500 kWh") && said.contains("cost 2.00"), "{said}");
        assert!(!Probe::of(rate(None)).to_string().contains("energy"));
    }
}
