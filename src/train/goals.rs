//! `[[train.goal]]`: what a run should have come to on its way, checked as it goes.
//!
//! In → goals with the step, the share of the steps or the tokens at which they are due, and what a
//! run has recorded; out → a [`Verdict`] each. **Method.** A goal is judged after its step, by the
//! latest bits per byte up to there or by the smoothed training loss, which progress shows too. A
//! goal with `stop = true` is an off-ramp: where it is missed, the run ends there. Goals are no
//! part of what is computed, so they stand outside the fingerprint, and a run may be given others
//! when it goes on. **Invariants.** A verdict is a pure function of the goal, the steps, the
//! metrics and the evaluations up to its step: a resumed run has those of one that never stopped.
//! What cannot be checked is refused before a run begins.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::base::{
    error::{Error, Result},
    size::Count,
};
use crate::report::lines::{Metric, Verdict};
use crate::shards::StepRows;

/// Weight of the newest loss in the smoothed one.
const SMOOTHING: f64 = 0.05;

/// A goal as it is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// What messages call it.
    pub name: String,
    /// When it is due.
    pub at: At,
    /// At most so many bits per byte over all held-out documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_byte: Option<f64>,
    /// Or a smoothed training loss of at most so many nats a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Whether the run ends there if it is missed.
    #[serde(default)]
    pub stop: bool,
}

/// When a goal is due: `200` steps, `"20%"` of the steps, `"100M tokens"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// After so many steps.
    Steps(u64),
    /// After this share of the run's steps, in percent, rounded up.
    Percent(f64),
    /// After the first step with which so many tokens are read.
    Tokens(u64),
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            At::Steps(steps) => serializer.serialize_u64(*steps),
            At::Percent(percent) => serializer.collect_str(&format_args!("{percent}%")),
            At::Tokens(tokens) => serializer.collect_str(&format_args!("{tokens} tokens")),
        }
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "`at` is a step as 200, a share as \"20%\" or an amount as \"100M tokens\""
        )]
        enum Written {
            Number(u64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(steps) => return Ok(At::Steps(steps)),
            Written::Text(text) => text,
        };
        let percent = text.strip_suffix('%').and_then(|share| share.trim().parse::<f64>().ok());
        let tokens = text.strip_suffix("tokens").and_then(|count| count.trim().parse().ok());
        match (percent.filter(|share| *share > 0.0 && *share <= 100.0), tokens) {
            (Some(percent), _) => Ok(At::Percent(percent)),
            (None, Some(Count(tokens))) => Ok(At::Tokens(tokens)),
            (None, None) => Err(D::Error::custom(format!(
                "`at` is `{text}`: expected a step as 200, a share as \"20%\" or an amount as \
                 \"100M tokens\""
            ))),
        }
    }
}

/// The goals of a run over a number of steps.
pub struct Goals {
    /// Each with its step, by rising steps.
    due: Vec<(u64, Goal)>,
}

impl Goal {
    /// The step after which it is due, of a run over `steps` of so many rows of `sequence` tokens.
    fn step(&self, steps: u64, rows: StepRows, sequence: u64) -> u64 {
        match self.at {
            At::Steps(step) => step,
            At::Percent(percent) => (steps as f64 * percent / 100.0).ceil() as u64,
            At::Tokens(tokens) => {
                let within = rows.within(tokens / sequence);
                within + u64::from(rows.before(within).saturating_mul(sequence) < tokens)
            }
        }
    }

    /// The figure that it is judged by, and what is wanted of it.
    fn wanted(&self) -> (&'static str, f64) {
        match (self.bits_per_byte, self.loss) {
            (Some(bits), _) => ("bits_per_byte", bits),
            (None, loss) => ("loss", loss.unwrap_or(f64::NAN)),
        }
    }

    fn judge(&self, step: u64, bits_per_byte: Option<f64>, loss: Option<f64>) -> Option<Verdict> {
        let (by, wanted) = self.wanted();
        let found = if by == "loss" { loss } else { bits_per_byte }?;
        let met = found <= wanted;
        let (name, by) = (self.name.clone(), by.to_owned());
        Some(Verdict { name, step, by, wanted, found, met, ended: self.stop && !met })
    }
}

/// Checks goals by themselves: each has a name of its own, and one figure, in range.
///
/// # Errors
/// Config: the goal, and what is wrong with it.
pub fn check(goals: &[Goal]) -> Result<()> {
    for (index, goal) in goals.iter().enumerate() {
        let (is_named, name) = (!goal.name.trim().is_empty(), &goal.name);
        let is_known = goals[..index].iter().any(|other| other.name == *name);
        let one = goal.bits_per_byte.is_some() != goal.loss.is_some();
        let (by, wanted) = goal.wanted();
        let message = if !is_named {
            "a goal of `train.goal` has no name".to_owned()
        } else if is_known {
            format!("two goals of `train.goal` are called `{name}`")
        } else if !one {
            format!("the goal `{name}` wants `bits_per_byte` or `loss`, one of them")
        } else if !(wanted > 0.0 && wanted.is_finite()) {
            format!("`{by}` of the goal `{name}` is {wanted}: expected a number above 0")
        } else {
            continue;
        };
        return Err(Error::config(message).with_hint(
            "as in `[[train.goal]]`, `name = \"proof\"`, `at = \"20%\"`, `bits_per_byte = 1.4`",
        ));
    }
    Ok(())
}

impl Goals {
    /// The goals of a run over `steps` of so many rows of `sequence` tokens.
    pub fn of(goals: &[Goal], steps: u64, rows: StepRows, sequence: u64) -> Goals {
        let due = goals.iter().map(|goal| (goal.step(steps, rows, sequence), goal.clone()));
        let mut due: Vec<(u64, Goal)> = due.collect();
        due.sort_by_key(|(step, _)| *step);
        Goals { due }
    }

    /// Refuses goals that a run over `steps` will have no figure for. `first`: the step after which
    /// it evaluates for the first time; `validates`: whether documents are held out.
    ///
    /// # Errors
    /// Config: a goal behind the last step, or before the first; one in bits per byte before the
    /// first evaluation, or without one.
    pub fn check(&self, steps: u64, first: u64, validates: bool) -> Result<()> {
        for (step, goal) in &self.due {
            let (name, step) = (&goal.name, *step);
            let is_measured = goal.bits_per_byte.is_some();
            let (message, hint) = if step == 0 || step > steps {
                (
                    format!(
                        "the goal `{name}` is due after step {}, and the run has {}",
                        Count(step),
                        Count(steps)
                    ),
                    "a share, as `at = \"20%\"`, is inside any run".to_owned(),
                )
            } else if is_measured && !validates {
                (
                    format!("the goal `{name}` is in bits per byte, and nothing is held out"),
                    "give it `loss`, or hold out text where it is first read".to_owned(),
                )
            } else if is_measured && step < first {
                (
                    format!(
                        "the goal `{name}` is due after step {}, before the first evaluation, \
                         after step {}",
                        Count(step),
                        Count(first)
                    ),
                    format!("`train.eval_every = {step}` evaluates by then"),
                )
            } else {
                continue;
            };
            return Err(Error::config(message).with_hint(hint));
        }
        Ok(())
    }

    /// Whether one is due after `step`.
    pub fn is_due(&self, step: u64) -> bool {
        self.due.iter().any(|(due, _)| *due == step)
    }

    /// The verdicts on those that are due up to `step`: from the metrics, and the (step, bits per
    /// byte) of the evaluations.
    pub fn judged(&self, step: u64, metrics: &[Metric], evals: &[(u64, f64)]) -> Vec<Verdict> {
        let due = self.due.iter().filter(|(due, _)| *due <= step);
        let judge = |(due, goal): &(u64, Goal)| {
            let bits = evals.iter().rev().find(|(step, _)| step <= due).map(|(_, bits)| *bits);
            goal.judge(*due, bits, smoothed(metrics, *due))
        };
        due.filter_map(judge).collect()
    }
}

/// The smoothed loss after `step`, over the steps that counted.
fn smoothed(metrics: &[Metric], step: u64) -> Option<f64> {
    let counted = metrics.iter().take_while(|metric| metric.step <= step);
    counted
        .filter(|metric| !metric.skipped)
        .fold(None, |smoothed, metric| Some(smooth(smoothed, metric.loss)))
}

/// The smoothed loss after one more step.
pub fn smooth(smoothed: Option<f64>, loss: f64) -> f64 {
    let smoothed = smoothed.unwrap_or(loss);
    smoothed + SMOOTHING * (loss - smoothed)
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { name, step, by, wanted, found, met, ended } = self;
        let unit = if by == "loss" { "nats a token" } else { "bits per byte" };
        let verdict = if *met { "met" } else { "missed" };
        write!(
            f,
            "goal `{name}` {verdict} after step {}: {found:.4} {unit}, wanted {wanted} or less",
            Count(*step)
        )?;
        match ended {
            true => write!(f, "; the run ends here, as its `stop = true` asks"),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Read {
        goal: Vec<Goal>,
    }

    fn read(goals: &str) -> std::result::Result<Read, toml::de::Error> {
        toml::from_str(goals)
    }

    /// Of a run over 40 steps of 4 rows of 32 tokens.
    fn goals(read: &Read) -> Goals {
        Goals::of(&read.goal, 40, StepRows::of_tokens(128, 0, 0, 32), 32)
    }

    fn goal(keys: &str) -> String {
        format!("[[goal]]\nname = \"g\"\n{keys}\n")
    }

    #[test]
    fn a_goal_is_due_after_steps_a_share_or_tokens_and_is_written_as_it_was_read() {
        for (at, step) in [
            ("7", 7),
            ("\"20%\"", 8),
            ("\"51%\"", 21),
            ("\"100%\"", 40),
            ("\"128 tokens\"", 1),
            ("\"1k tokens\"", 8),
            ("\"1.1k tokens\"", 9),
        ] {
            let asked = read(&goal(&format!("at = {at}\nloss = 3.0"))).unwrap();
            assert_eq!(goals(&asked).due[0].0, step, "{at}");
            let written = toml::to_string(&asked).unwrap();
            assert_eq!(read(&written).unwrap(), asked, "{written}");
        }
        for at in ["\"20\"", "\"0%\"", "\"101%\"", "\"soon\"", "-1", "2.5"] {
            assert!(read(&goal(&format!("at = {at}\nloss = 3.0"))).is_err(), "{at}");
        }
        assert!(read(&goal("at = 5\nloss = 3.0\nstops = true")).is_err());
    }

    #[test]
    fn what_nothing_can_judge_is_refused_with_what_would_be_right() {
        let refused = |text: &str, validates: bool| {
            let asked = read(text).unwrap();
            let checked = check(&asked.goal).and(goals(&asked).check(40, 10, validates));
            checked.map_err(|error| format!("{error} {}", error.hint().unwrap_or_default()))
        };
        let bits = |at: &str| goal(&format!("at = {at}\nbits_per_byte = 1.5"));
        assert_eq!(refused(&bits("10"), true), Ok(()));
        for (goals, validates, part) in [
            (bits("41"), true, "the run has 40"),
            (bits("0"), true, "the run has 40"),
            (bits("9"), true, "before the first evaluation, after step 10 `train.eval_every = 9`"),
            (bits("10"), false, "nothing is held out"),
            (goal("at = 5"), true, "one of them"),
            (goal("at = 5\nloss = 1.0\nbits_per_byte = 1.0"), true, "one of them"),
            (goal("at = 5\nloss = -1.0"), true, "expected a number above 0"),
            (bits("10") + &bits("20"), true, "two goals"),
            (goal("at = 5\nloss = 1.0").replace("\"g\"", "\" \""), true, "has no name"),
        ] {
            let found = refused(&goals, validates).unwrap_err();
            assert!(found.contains(part), "{part}: {found}");
        }
    }

    #[test]
    fn goals_are_judged_by_what_stood_then() {
        let asked = read(
            "[[goal]]\nname = \"proof\"\nat = 20\nbits_per_byte = 2.0\nstop = true\n\
             [[goal]]\nname = \"smoke\"\nat = 2\nloss = 4.0\n",
        );
        let goals = goals(&asked.unwrap());
        let metric = |step: u64, loss: f64, skipped| Metric {
            step,
            tokens: step * 128,
            loss,
            learning_rate: 1e-3,
            gradient_norm: 1.0,
            skipped,
            parameters: None,
        };
        let metrics = [metric(1, 4.0, false), metric(2, 90.0, true), metric(3, 9.0, false)];
        let evals = [(10, 2.5), (20, 2.25), (30, 1.0)];
        assert!(goals.is_due(2) && !goals.is_due(3));
        assert!(goals.judged(1, &metrics, &evals).is_empty());
        let smoke = goals.judged(2, &metrics, &evals);
        assert_eq!((smoke.len(), smoke[0].found, smoke[0].met), (1, 4.0, true));
        let all = goals.judged(40, &metrics, &evals);
        assert_eq!((&all[0], all[1].found, all[1].ended), (&smoke[0], 2.25, true));
        let said = all[1].to_string();
        assert!(said.starts_with("goal `proof` missed after step 20: 2.2500 bits per byte"));
    }
}
