//! How long a run is, in other words than steps.
//!
//! In → the table `[train]`, a shape, a mix; out → steps. `train.tokens`, `train.flops` (as PaLM
//! counts them, [`TrainConfig::flops_per_token`]) and `train.bytes` (of text, equal for every
//! vocabulary) each give the most whole steps that stay within them, so that two runs of equal cost
//! need no arithmetic. They are rivals of `train.steps`: one of a command's layers names one of
//! them. A run records the steps alone, so a run by its budget and one by its steps are the same.
//! **Cost.** Tokens and FLOPs: none. Bytes: one reading of the `bytes` of the documents up to
//! there, in the order of the mix.

use super::{
    config::{Settings, Steps, TrainConfig},
    feed::MixFeed,
};
use crate::base::{
    error::{Error, Result},
    size::{Bytes, Count},
};

/// A budget and the steps that it comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// As it was given, `train.tokens = 1,000,000`.
    pub given: String,
    /// The most whole steps within it.
    pub steps: u64,
}

/// The steps of the budget that `config` gives; `None` where it gives steps.
///
/// # Errors
/// Config: not one step fits it, or the mix has less text.
pub fn resolve(config: &TrainConfig, feed: &mut MixFeed) -> Result<Option<Budget>> {
    let Settings { tokens, flops, bytes, .. } = &config.train;
    let (given, most) = match (tokens, flops, bytes) {
        (Some(tokens), _, _) => (format!("`train.tokens` = {tokens}"), tokens.0),
        (_, Some(flops), _) => {
            let tokens = flops / config.flops_per_token() as f64;
            (format!("`train.flops` = {flops:e}"), tokens as u64)
        }
        (_, _, Some(bytes)) => {
            let given = format!("`train.bytes` = {}", Count(bytes.0));
            let (tokens, text) = feed.tokens_of_text(bytes.0)?;
            if tokens == feed.record().tokens && text < bytes.0 {
                return Err(too_little_text(&given, text));
            }
            (given, tokens)
        }
        (None, None, None) => return Ok(None),
    };
    let steps = config.train.steps_within(most);
    if steps == 0 {
        let first = config.train.tokens_at(0);
        let message = format!(
            "{given} comes to {} tokens, less than one step of {}",
            Count(most),
            Count(first)
        );
        return Err(Error::config(message).with_hint(match first < config.train.batch_tokens.0 {
            true => "give more, or lower `train.batch_start`",
            false => "give more, or lower `train.batch_tokens` with `train.micro_batch`",
        }));
    }
    Ok(Some(Budget { given, steps }))
}

fn too_little_text(given: &str, text: u64) -> Error {
    let message = format!("{given}, and the mix has {} bytes of text", Count(text));
    Error::config(message)
        .with_hint("`train.steps = \"all\"` takes what there is, or make a larger mix")
}

impl TrainConfig {
    /// Operations of one training step a token, as [`ModelConfig::flops_per_token`] counts them.
    /// Beside adapters the matrices stand still: the two operations an element are left out that
    /// would make their gradients, and the adapters' own six come on top.
    ///
    /// [`ModelConfig::flops_per_token`]: crate::runtime::model::ModelConfig::flops_per_token
    pub fn flops_per_token(&self) -> u64 {
        let all = self.model.flops_per_token(self.train.sequence);
        match self.lora {
            None => all,
            // Without a text there is no attention.
            Some(_) => all - self.model.flops_per_token(0) / 3 + 6 * self.trained_count(),
        }
    }
}

impl Settings {
    /// Replaces a budget by the steps that it came to.
    pub fn take(&mut self, budget: &Budget) {
        (self.tokens, self.flops, self.bytes) = (None, None, None);
        self.steps = Steps::Number(budget.steps);
    }

    /// Whether the budgets are inside their ranges.
    pub fn check_budgets(&self, most: u64) -> Result<()> {
        let Bytes(bytes) = self.bytes.unwrap_or(Bytes(1));
        let Count(tokens) = self.tokens.unwrap_or(Count(1));
        for (key, number) in [("bytes", bytes), ("tokens", tokens)] {
            if !(1..=most).contains(&number) {
                let message = format!("`train.{key}` is {number}: expected 1 to {most}");
                return Err(Error::config(message));
            }
        }
        let flops = self.flops.unwrap_or(1.0);
        match (1.0..=1e30).contains(&flops) {
            true => Ok(()),
            false => Err(Error::config(format!("`train.flops` is {flops}: expected 1 to 1e30"))),
        }
    }
}

/// The error of a mix that has not the tokens of so many steps.
pub(super) fn too_few_tokens(
    config: &TrainConfig,
    feed: &MixFeed,
    steps: u64,
    possible: u64,
    all: bool,
) -> Error {
    let train = &config.train;
    let (first, last) = (train.tokens_at(0), train.tokens_at(steps - 1));
    let has = Count(feed.record().tokens);
    let wanted = match train.tokens_before(steps) {
        u64::MAX => "more than 2^64".to_owned(),
        tokens => Count(tokens).to_string(),
    };
    let what = match steps {
        1 => format!("one step of {} tokens needs", Count(first)),
        _ if first == last => format!("{} steps of {} tokens need", Count(steps), Count(last)),
        _ => format!("{} steps of {} to {} tokens need", Count(steps), Count(first), Count(last)),
    };
    let error = Error::config(format!("{what} {wanted} tokens, the mix has {has}"));
    match (possible, all) {
        (0, _) if first < train.batch_tokens.0 => {
            error.with_hint("lower `train.batch_start`, or make a larger mix")
        }
        (0, _) => error.with_hint(
            "lower `train.batch_tokens`, with `train.micro_batch` or `train.sequence`, or make a \
             larger mix",
        ),
        (_, true) => error.with_hint("make a larger mix"),
        (_, false) => error.with_hint(format!(
            "it is enough for {} steps; `train.steps = \"all\"` takes them, or make a larger mix",
            Count(possible)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::model::{LoraConfig, ModelConfig};

    #[test]
    fn beside_adapters_no_gradient_of_the_model_is_counted() {
        let model = ModelConfig { vocab_size: 8192, ..ModelConfig::default() };
        let plain = TrainConfig { model, ..TrainConfig::default() };
        let adapted = TrainConfig { lora: Some(LoraConfig::default()), ..plain.clone() };
        let matrices = 6 * (192 * 192 * 2 + 2 * 96 * 192 + 3 * 192 * 512) + 8192 * 192;
        let attention = 6 * 12 * 192 * 256;
        assert_eq!(plain.flops_per_token(), 6 * matrices + attention);
        let adapters = 6 * 8 * (192 + 192 + 192 + 96);
        assert_eq!(adapted.flops_per_token(), 4 * matrices + attention + 6 * adapters);
    }
}
