//! What a run will take in time and money, from a few steps that nobody keeps.
//!
//! In → a resolved configuration and its mix; out → [`Probe`]. **Method.** A fresh learner of the
//! run's shape takes [`STEPS`] steps over the mix's first rows; the first is left out of the clock,
//! since it touches memory for the first time. FLOPs a token are PaLM's
//! (`ModelConfig::flops_per_token`); the utilisation (MFU) is their rate as a share of this
//! machine's own f32 matrix product, 1024 × 1024 × 1024 on the same threads, which is the most that
//! a step of products could reach here. Evaluations, samples and checkpoints come on top. **Cost.**
//! So many steps, and a tenth of a second of products. Nothing on the disk is touched.

use std::fmt;

use serde::Serialize;

use super::{
    clock::{self, Stopwatch},
    config::{Steps, TrainConfig},
    directory::Start,
    feed::MixFeed,
    learner::{Beginning, Learner},
};
use crate::base::{error::Result, size::Count};
use crate::runtime::{
    cpu::{Matrix, Threads, matmul},
    device::Device,
};

/// Steps of a probe, the unmeasured first one included.
pub const STEPS: u64 = 3;
/// Rows, columns and depth of the product that a machine is measured by, and how often.
const PRODUCT: usize = 1024;
const PRODUCTS: u32 = 3;

/// Time and money of what is left of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Probe {
    /// Tokens trained on a second, evaluation and checkpoints left out.
    pub tokens_per_second: f64,
    /// Operations of what is left, as PaLM counts them.
    pub flops: f64,
    /// Operations a second.
    pub flops_per_second: f64,
    /// Those of this machine's own f32 matrix product.
    pub product_flops_per_second: f64,
    /// The first as a share of the second.
    pub mfu: f64,
    /// Until the last step.
    pub seconds: f64,
    /// When that is, in seconds since 1970.
    pub ends: f64,
    /// At `train.price_per_hour`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
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
    let possible = train.step_rows().within(feed.row_count()).min(STEPS);
    let mut learner = Learner::open(config, Beginning::Fresh, device)?;
    let mut seconds = 0.0;
    for at in 0..possible {
        let taken = learner.take_step(feed, &config.train, steps)?;
        let is_measured = at > 0 || possible == 1;
        seconds += if is_measured { taken.timing.seconds } else { 0.0 };
    }
    let unmeasured = if possible == 1 { 0 } else { 1 };
    let measured = train.tokens_before(possible) - train.tokens_before(unmeasured);
    Ok(Probe::of(&Rate {
        tokens_per_second: measured as f64 / seconds.max(1e-9),
        tokens_left: train.tokens_before(steps) - train.tokens_before(done.min(steps)),
        flops_per_token: config.model.flops_per_token(config.train.sequence),
        product: product_rate(),
        price: config.train.price_per_hour,
    }))
}

/// What a probe is computed from.
pub struct Rate {
    pub tokens_per_second: f64,
    pub tokens_left: u64,
    pub flops_per_token: u64,
    /// Operations a second of the machine's product.
    pub product: f64,
    /// Of an hour.
    pub price: Option<f64>,
}

impl Probe {
    /// What follows from a rate.
    pub fn of(rate: &Rate) -> Probe {
        let flops_per_second = rate.tokens_per_second * rate.flops_per_token as f64;
        let seconds = rate.tokens_left as f64 / rate.tokens_per_second;
        Probe {
            tokens_per_second: rate.tokens_per_second,
            flops: rate.tokens_left as f64 * rate.flops_per_token as f64,
            flops_per_second,
            product_flops_per_second: rate.product,
            mfu: flops_per_second / rate.product,
            seconds,
            ends: clock::wall_time() + seconds,
            cost: rate.price.map(|price| price * seconds / 3600.0),
        }
    }
}

/// Operations a second of an f32 product on the threads of this pool.
pub fn product_rate() -> f64 {
    let left = vec![0.5f32; PRODUCT * PRODUCT];
    let mut output = vec![0.0f32; PRODUCT * PRODUCT];
    let matrix = Matrix::new(&left, PRODUCT, PRODUCT, PRODUCT);
    let mut product = || matmul(&mut output, PRODUCT, false, matrix, matrix.t(), Threads::All);
    product();
    let mut watch = Stopwatch::start();
    (0..PRODUCTS).for_each(|_| product());
    let operations = 2.0 * (PRODUCT as f64).powi(3) * f64::from(PRODUCTS);
    operations / watch.lap().max(1e-9)
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "time {} of training steps at {} tokens/s, until {}; evaluations, samples and \
             checkpoints come on top",
            clock::span(self.seconds),
            Count(self.tokens_per_second as u64),
            clock::date(self.ends)
        )?;
        write!(
            f,
            "{:.2e} FLOPs (PaLM's count), {:.1} GFLOP/s: {:.0}% of this machine's own f32 product \
             ({:.1} GFLOP/s)",
            self.flops,
            self.flops_per_second / 1e9,
            100.0 * self.mfu,
            self.product_flops_per_second / 1e9
        )?;
        match self.cost {
            Some(cost) => write!(f, "\ncost {cost:.2} at the price given"),
            None => Ok(()),
        }
    }
}
