//! Batches and texts that begin small: how many rows a step takes, and how long they are cut.
//!
//! In → the table `[train]`, a step; out → rows, tokens. **Batch** (`batch_start` tokens at the
//! first step, `batch_tokens` from step `batch_warmup_steps` on, along a line: `StepRows`;
//! McCandlish et al., *An empirical model of large-batch training*, 2018). **Sequence**
//! (`sequence_start`, times 2 until `sequence`, by a line over `sequence_warmup_steps`; Li et al.,
//! *The stability-efficiency dilemma*, 2022): a step takes the same rows, cut into shorter ones, so
//! it sees the same tokens; what is cut off does not see what stands before it. **Invariants.**
//! Pure functions of the step: a resumed run needs nothing more. Budgets count the tokens that are
//! read. **Cost.** An addition a step of the warm-up.

use super::config::Settings;
use crate::base::{
    error::{Error, Result},
    size::Count,
};
use crate::shards::StepRows;

impl Settings {
    /// Which rows each step takes.
    pub fn step_rows(&self) -> StepRows {
        let (batch, start) = (self.batch_tokens.0, self.batch_start.0);
        StepRows::of_tokens(batch, start, self.batch_warmup_steps, self.sequence as u64)
    }

    /// Tokens of all steps before `step` (0-based).
    pub fn tokens_before(&self, step: u64) -> u64 {
        self.step_rows().before(step).saturating_mul(self.sequence as u64)
    }

    /// The most whole steps of `tokens` tokens.
    pub fn steps_within(&self, tokens: u64) -> u64 {
        self.step_rows().within(tokens / self.sequence as u64)
    }

    /// Tokens of step `step` (0-based).
    pub fn tokens_at(&self, step: u64) -> u64 {
        self.step_rows().at(step).saturating_mul(self.sequence as u64)
    }

    /// The first step (0-based) whose batch and rows are whole.
    pub fn whole_from(&self) -> u64 {
        self.batch_warmup_steps.max(self.sequence_warmup_steps)
    }

    /// The same settings with whole batches and rows from the first step on, of no more rows than
    /// the mix has (`rows`): what short tests use.
    pub fn whole(&self, rows: u64) -> Settings {
        let batch = self.rows_per_step().min(rows.max(1) as usize) * self.sequence;
        Settings {
            batch_tokens: Count(batch as u64),
            batch_start: Count(0),
            batch_warmup_steps: 0,
            sequence_start: 0,
            sequence_warmup_steps: 0,
            ..self.clone()
        }
    }

    /// Tokens that rows of step `step` (0-based) are cut to.
    pub fn sequence_at(&self, step: u64) -> usize {
        if step >= self.sequence_warmup_steps {
            return self.sequence;
        }
        let start = self.sequence_start;
        let grown = (self.sequence - start) as u128 * u128::from(step);
        let line = start + (grown / u128::from(self.sequence_warmup_steps)) as usize;
        let mut length = start;
        while 2 * length <= line {
            length *= 2;
        }
        length
    }

    /// Refuses warm-ups with only one of the two keys they need, or with rows of an impossible
    /// length.
    pub fn check_warmups(&self) -> Result<()> {
        let (batch, start) = (self.batch_tokens.0, self.batch_start.0);
        let row = self.sequence as u64;
        let is_whole = start.is_multiple_of(row) && start <= batch;
        let (whole, first) = (self.sequence, self.sequence_start.max(1));
        let doubles = whole.is_multiple_of(first) && (whole / first).is_power_of_two();
        let message = if (start > 0) != (self.batch_warmup_steps > 0) {
            "`train.batch_start` and `train.batch_warmup_steps` are given together".to_owned()
        } else if start > 0 && !is_whole {
            format!(
                "`train.batch_start` is {start}: expected a multiple of `train.sequence` ({row}), \
                 at most `train.batch_tokens` ({batch})"
            )
        } else if (self.sequence_start > 0) != (self.sequence_warmup_steps > 0) {
            "`train.sequence_start` and `train.sequence_warmup_steps` are given together".to_owned()
        } else if self.sequence_start > 0 && !doubles {
            format!(
                "`train.sequence_start` is {first}: expected `train.sequence` ({whole}) halved, \
                 again and again"
            )
        } else {
            return Ok(());
        };
        Err(Error::config(message).with_hint(
            "a batch grows from `batch_start` tokens over `batch_warmup_steps` steps, rows from \
             `sequence_start` over `sequence_warmup_steps`",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            batch_tokens: Count(256),
            sequence: 32,
            micro_batch: 4,
            batch_start: Count(64),
            batch_warmup_steps: 4,
            sequence_start: 8,
            sequence_warmup_steps: 6,
            ..Settings::default()
        }
    }

    #[test]
    fn budgets_count_the_tokens_that_are_read() {
        let settings = settings();
        assert_eq!(settings.tokens_before(4), 16 * 32);
        assert_eq!((settings.steps_within(16 * 32), settings.steps_within(16 * 32 - 1)), (4, 3));
        assert_eq!((settings.step_rows().at(1), settings.tokens_at(1)), (3, 96));
    }

    #[test]
    fn a_short_test_takes_whole_batches_of_what_there_is() {
        let settings = settings();
        assert_eq!(settings.whole_from(), 6);
        let shape = |settings: &Settings| (settings.tokens_at(0), settings.sequence_at(0));
        assert_eq!(shape(&settings.whole(100)), (256, 32));
        assert_eq!(shape(&settings.whole(3)), (96, 32));
        assert_eq!(settings.whole(100).whole_from(), 0);
    }

    #[test]
    fn rows_double_until_they_are_whole() {
        let settings = settings();
        let lengths: Vec<usize> = (0..8).map(|step| settings.sequence_at(step)).collect();
        assert_eq!(lengths, [8, 8, 16, 16, 16, 16, 32, 32]);
        assert_eq!(Settings::default().sequence_at(0), 256);
    }

    #[test]
    fn half_a_warmup_is_refused() {
        let refused = |settings: Settings| settings.check_warmups().unwrap_err().to_string();
        assert!(settings().check_warmups().is_ok());
        for (settings, part) in [
            (Settings { batch_warmup_steps: 0, ..settings() }, "given together"),
            (Settings { batch_start: Count(33), ..settings() }, "multiple of `train.sequence`"),
            (Settings { batch_start: Count(288), ..settings() }, "at most `train.batch_tokens`"),
            (Settings { sequence_start: 0, ..settings() }, "given together"),
            (Settings { sequence_start: 12, ..settings() }, "halved"),
            (Settings { sequence_start: 64, ..settings() }, "halved"),
        ] {
            assert!(refused(settings).contains(part), "{part}");
        }
    }
}
