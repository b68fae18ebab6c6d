//! Which rows of a mix a step of training takes.
//!
//! In → rows of a full batch, and of the first one where batches grow, or the table `[train]` that
//! says both; out → the rows of a step, and of all before it. A batch grows linearly, in whole
//! rows; each step takes the rows after those of the step before, so that rows come in the same
//! order as without growth, none is left out and none is read twice. Pure. **Cost.** An addition a
//! step of the growth.

use serde_json::Value;

/// How many rows steps take; steps are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepRows {
    /// Rows of a full batch.
    pub full: u64,
    /// Rows of the first step, at most `full`.
    pub start: u64,
    /// Steps until a batch is full; 0: it always is.
    pub growth: u64,
}

impl StepRows {
    /// Converts batches from tokens to rows of `sequence` tokens; `start`, `growth`: 0 where
    /// batches do not grow.
    pub fn of_tokens(batch: u64, start: u64, growth: u64, sequence: u64) -> StepRows {
        let full = (batch / sequence).max(1);
        StepRows { full, start: (start / sequence).min(full), growth }
    }

    /// A run's steps and its sequence length T, from its resolved table `[train]`; `None` where
    /// that names no batch.
    pub fn of_config(train: &Value) -> Option<(StepRows, u64)> {
        let number = |key: &str| train[key].as_u64();
        let sequence = number("sequence").filter(|sequence| *sequence > 0)?;
        let (start, growth) = (number("batch_start"), number("batch_warmup_steps"));
        let (start, growth) = (start.unwrap_or(0), growth.unwrap_or(0));
        let rows = StepRows::of_tokens(number("batch_tokens")?, start, growth, sequence);
        Some((rows, sequence))
    }

    /// Rows of step `step`.
    pub fn at(self, step: u64) -> u64 {
        if step >= self.growth {
            return self.full;
        }
        let grown = u128::from(self.full - self.start) * u128::from(step) / u128::from(self.growth);
        self.start + grown as u64
    }

    /// Rows of all steps before `step`.
    pub fn before(self, step: u64) -> u64 {
        let small = step.min(self.growth);
        let rows: u64 = (0..small).map(|step| self.at(step)).sum();
        rows.saturating_add((step - small).saturating_mul(self.full))
    }

    /// How many whole steps `rows` rows make, which is also the step that row `rows` belongs to.
    pub fn within(self, rows: u64) -> u64 {
        let (mut step, mut left) = (0, rows);
        while step < self.growth {
            match left.checked_sub(self.at(step)) {
                Some(rest) => (step, left) = (step + 1, rest),
                None => return step,
            }
        }
        step + left / self.full
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_batch_grows_along_a_line_and_every_row_has_its_step() {
        let growing = StepRows { full: 8, start: 2, growth: 4 };
        assert_eq!((0..6).map(|step| growing.at(step)).collect::<Vec<_>>(), [2, 3, 5, 6, 8, 8]);
        let before: Vec<u64> = (0..7).map(|step| growing.before(step)).collect();
        assert_eq!(before, [0, 2, 5, 10, 16, 24, 32]);
        for row in 0..40 {
            let step = growing.within(row);
            assert!(growing.before(step) <= row && growing.before(step + 1) > row);
        }
        let plain = StepRows { full: 8, start: 0, growth: 0 };
        assert_eq!((plain.before(5), plain.within(47)), (40, 5));
        assert_eq!(plain.before(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_configuration_says_its_rows() {
        let of = |train: Value| StepRows::of_config(&train);
        let plain = json!({"batch_tokens": 256, "sequence": 32});
        assert_eq!(of(plain), Some((StepRows { full: 8, start: 0, growth: 0 }, 32)));
        let growing = json!({"batch_tokens": 256, "sequence": 32, "batch_start": 64,
            "batch_warmup_steps": 4});
        assert_eq!(of(growing), Some((StepRows { full: 8, start: 2, growth: 4 }, 32)));
        assert_eq!(of(json!({"batch_tokens": 256, "sequence": 0})), None);
        assert_eq!(of(Value::Null), None);
    }
}
