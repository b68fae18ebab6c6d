//! The only clocks of training.
//!
//! Out → seconds for `timing.jsonl`, wall times for `events.*` and `run.json`. None of it reaches a
//! file that equal runs share.

#![expect(clippy::disallowed_types, reason = "the clock of `timing.jsonl`")]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Measures one span after another.
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Seconds since the start or the last lap.
    pub fn lap(&mut self) -> f64 {
        let now = Instant::now();
        (now - std::mem::replace(&mut self.0, now)).as_secs_f64()
    }
}
