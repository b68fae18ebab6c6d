//! What a person must know of a run before its first step.
//!
//! In → the resolved configuration, what the mix says of itself, its tokenizer; out →
//! [`Cautions`]: facts, and warnings of what is likely a mistake. A run says them as it begins,
//! `--dry-run` beside its plan. Pure.

use super::{
    companions::class_of_checkpoints,
    config::{Settings, Steps, TrainConfig},
};
use crate::base::{error::Result, size::Count};
use crate::shards::mix_record::MixRecord;
use crate::tokenizer::Tokenizer;

/// What is said before step 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cautions {
    /// Facts.
    pub notes: Vec<String>,
    /// What is likely a mistake.
    pub warnings: Vec<String>,
}

impl Cautions {
    /// Those of a run whose steps are resolved.
    ///
    /// # Errors
    /// A prompt that the tokenizer cannot encode.
    pub fn of(config: &TrainConfig, mix: &MixRecord, tokenizer: &Tokenizer) -> Result<Cautions> {
        let train = &config.train;
        let Steps::Number(steps) = train.steps else { panic!("steps are resolved before") };
        let notes = [left_over(train, steps, mix.tokens), late_milestones(train, steps)];
        let warnings = [
            class_of_checkpoints(&config.model).1,
            endless_warmup(train, steps),
            long_prompt(train, tokenizer)?,
            not_held_out(mix),
        ];
        Ok(Cautions {
            notes: notes.into_iter().flatten().collect(),
            warnings: warnings.into_iter().flatten().collect(),
        })
    }
}

/// The end of the mix that fills no whole batch.
fn left_over(train: &Settings, steps: u64, has: u64) -> Option<String> {
    let left = has - train.tokens_before(steps).min(has);
    let batch = train.tokens_at(steps);
    (left > 0 && left < batch).then(|| {
        let [left, has, batch] = [left, has, batch].map(Count);
        format!(
            "the last {left} of the mix's {has} tokens fill no whole batch of {batch} and are not \
             trained on"
        )
    })
}

/// Milestones that the run does not come to, unless it is extended.
fn late_milestones(train: &Settings, steps: u64) -> Option<String> {
    let late = train.milestones.iter().filter(|milestone| **milestone > steps);
    let late: Vec<String> = late.map(|milestone| Count(*milestone).to_string()).collect();
    (!late.is_empty()).then(|| {
        let late = late.join(", ");
        format!("`train.milestones`: the run ends with step {}, before {late}", Count(steps))
    })
}

/// A warm-up that no step follows.
fn endless_warmup(train: &Settings, steps: u64) -> Option<String> {
    let warmup = train.warmup_steps;
    (warmup >= steps).then(|| {
        let last = train.schedule().learning_rate(steps - 1, steps);
        format!(
            "the learning rate rises over {} (`train.warmup_steps`) and the run has {}: it ends at \
             {last:.2e}, where `train.learning_rate` is {}",
            Count(warmup).of("step"),
            Count(steps).of("step"),
            train.learning_rate
        )
    })
}

/// A prompt longer than what is trained on.
fn long_prompt(train: &Settings, tokenizer: &Tokenizer) -> Result<Option<String>> {
    let mut longest = 0;
    for prompt in &train.sample_prompts {
        let mut tokens = Vec::new();
        tokenizer.encode(prompt, &mut tokens)?;
        longest = longest.max(tokens.len());
    }
    Ok((longest >= train.sequence).then(|| {
        format!(
            "a prompt of `train.sample_prompts` has {longest} tokens, `train.sequence` is {}: no \
             text so long is trained on, so its continuation says little",
            train.sequence
        )
    }))
}

/// Sources of which nothing is held out.
fn not_held_out(mix: &MixRecord) -> Option<String> {
    let validated = mix.validated();
    if validated.iter().all(|source| source.tokens == 0) {
        return Some(
            "the mix holds out no document, so nothing will say how the model does on text it has \
             not seen: raise `--holdout` where the text is first read"
                .to_owned(),
        );
    }
    let without = validated.iter().filter(|source| source.documents == 0);
    let without: Vec<_> = without.map(|source| format!("`{}`", source.name)).collect();
    let names = without.join(", ");
    (!without.is_empty()).then(|| format!("no document is held out of {names}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warmup_that_no_step_follows_is_said_with_the_rate_it_ends_at() {
        let settings = Settings { learning_rate: 1e-3, warmup_steps: 40, ..Settings::default() };
        assert_eq!(endless_warmup(&settings, 41), None);
        let said = endless_warmup(&settings, 10).unwrap();
        assert!(said.contains("over 40 steps") && said.contains("ends at 2.50e-4"), "{said}");
    }

    #[test]
    fn milestones_behind_the_last_step_are_named() {
        let settings = Settings { milestones: vec![5, 10, 20, 3000], ..Settings::default() };
        let said = late_milestones(&settings, 10).unwrap();
        assert!(said.ends_with("ends with step 10, before 20, 3,000"), "{said}");
        assert_eq!(late_milestones(&settings, 3000), None);
    }
}
