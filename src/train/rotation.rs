//! Which checkpoints a run keeps.
//!
//! In → the steps that have a checkpoint, the configuration, the best step; out → the steps to
//! remove. Kept are the last `train.keep` regular ones, the milestones, the best, and the one
//! before a `wsd` run decays, from which it can be made longer. A checkpoint that only a stop made
//! (`--stop-after`, Ctrl-C) goes as soon as a later one stands, so that a run that was stopped and
//! resumed ends with the files of one that never stopped. Pure.

use super::config::Extension;

/// What makes a step's checkpoint regular, and what protects it.
pub struct Rotation<'a> {
    /// `train.checkpoint_every`; 0: only at the end.
    pub every: u64,
    /// `train.keep`.
    pub keep: usize,
    /// `train.milestones`.
    pub milestones: &'a [u64],
    /// The run's last step.
    pub last: u64,
    /// Where it was extended.
    pub extended: &'a [Extension],
    /// After how many steps the learning rate begins to decay (`wsd`).
    pub decay_start: Option<u64>,
    /// The step of the best validation, among those with a checkpoint.
    pub best: Option<u64>,
}

impl Rotation<'_> {
    /// Whether the configuration asks for a checkpoint after `step`.
    pub fn is_regular(&self, step: u64) -> bool {
        let periodic = self.every > 0 && step > 0 && step.is_multiple_of(self.every);
        let extended = self.extended.iter().any(|extension| extension.at == step);
        periodic || extended || self.is_lasting(step) || self.last == step
    }

    /// Whether the configuration asks for it to stay.
    fn is_lasting(&self, step: u64) -> bool {
        self.milestones.contains(&step) || (self.decay_start == Some(step) && step > 0)
    }

    /// The steps of `standing` (rising) to remove, now that the last of them is complete.
    pub fn surplus(&self, standing: &[u64]) -> Vec<u64> {
        let Some((&newest, _)) = standing.split_last() else { return Vec::new() };
        let regular: Vec<u64> =
            standing.iter().copied().filter(|&step| self.is_regular(step)).collect();
        let recent = &regular[regular.len().saturating_sub(self.keep.max(1))..];
        let protected = |step: u64| {
            step == newest
                || recent.contains(&step)
                || self.is_lasting(step)
                || self.best == Some(step)
        };
        standing.iter().copied().filter(|&step| !protected(step)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotation(best: Option<u64>) -> Rotation<'static> {
        Rotation {
            every: 10,
            keep: 2,
            milestones: &[25],
            last: 100,
            extended: &[],
            decay_start: None,
            best,
        }
    }

    #[test]
    fn keeps_the_last_the_milestones_and_the_best() {
        let surplus = rotation(Some(10)).surplus(&[10, 20, 25, 30, 40, 50]);
        assert_eq!(surplus, [20, 30]);
    }

    #[test]
    fn a_stop_between_leaves_no_trace_once_a_later_one_stands() {
        assert_eq!(rotation(None).surplus(&[10, 20, 33]), [0u64; 0]);
        assert_eq!(rotation(None).surplus(&[20, 30, 33, 40]), [20, 33]);
        assert_eq!(rotation(None).surplus(&[20, 30, 40]), [20]);
    }

    #[test]
    fn the_checkpoint_before_a_decay_is_made_and_stays() {
        let rotation = Rotation { decay_start: Some(33), ..rotation(None) };
        assert!(rotation.is_regular(33));
        assert_eq!(rotation.surplus(&[20, 30, 33, 40, 50, 60]), [20, 30, 40]);
    }

    #[test]
    fn the_newest_always_stands() {
        let rotation = Rotation { every: 0, keep: 0, milestones: &[], ..rotation(None) };
        assert_eq!(rotation.surplus(&[7]), [0u64; 0]);
        assert_eq!(rotation.surplus(&[]), [0u64; 0]);
    }
}
