//! One text before the rules: every rule with its value and limit.
//!
//! A configuration and a text in → [`Judgement`], which prints itself as a table and as JSON: what
//! `filter --try` shows. Every rule is asked, also behind one that fails. Cost: as `--annotate`.

use std::fmt;
use std::ops::ControlFlow;

use serde::Serialize;

use super::config::FilterConfig;
use super::rules::{Limit, Measure};
use super::view::Room;
use crate::base::error::Result;

/// What the rules say of a text.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// The first rule that fails, in the order of the configuration; `None` keeps the text.
    pub rule: Option<&'static str>,
    pub measures: Vec<Measured>,
    /// The text as the rules leave it, where they change it.
    pub edited: Option<String>,
}

/// One rule's value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// `filter/rule`.
    pub rule: &'static str,
    /// `null` where there was nothing to divide by.
    pub value: Option<f64>,
    pub limit: Option<f64>,
    /// `at least` or `at most`.
    pub bound: &'static str,
    pub passes: bool,
}

impl Measured {
    fn of(measure: Measure) -> Measured {
        let (bound, limit) = match measure.limit {
            Limit::AtLeast(limit) => ("at least", limit),
            Limit::AtMost(limit) => ("at most", limit),
        };
        Measured {
            rule: measure.rule,
            value: measure.value.is_finite().then_some(measure.value),
            limit: limit.is_finite().then_some(limit),
            bound,
            passes: measure.passes(),
        }
    }
}

/// Judges one text; rule sets that read columns are left out, as a text has none.
///
/// # Errors
/// Whatever is wrong with the configuration.
pub fn judge(config: FilterConfig, text: &str) -> Result<Judgement> {
    let config = config.with_recipe()?;
    let rule_sets = config.build()?;
    let mut room = Room::new(config.splitter());
    let mut view = room.view(text).complete();
    let mut measures: Vec<Measured> = Vec::new();
    for rule_set in rule_sets.iter().filter(|rule_set| rule_set.columns().is_empty()) {
        let _ = rule_set.measure(&mut view, &mut |measure| {
            measures.push(Measured::of(measure));
            ControlFlow::Continue(())
        });
    }
    let rule = measures.iter().find(|measured| !measured.passes).map(|measured| measured.rule);
    Ok(Judgement { rule, measures, edited: view.edited().map(str::to_owned) })
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.measures.iter().map(|measured| measured.rule.len()).max().unwrap_or(0);
        for Measured { rule, value, limit, bound, passes } in &self.measures {
            let mark = if *passes { " " } else { "✗" };
            let value = value.map_or_else(|| "-".to_owned(), number);
            let limit =
                limit.map_or_else(|| "no limit".into(), |n| format!("{bound} {}", number(n)));
            writeln!(f, "{mark} {rule:width$}  {value:>12}  {limit}")?;
        }
        if self.edited.is_some() {
            writeln!(f, "the rules edit the text")?;
        }
        match self.rule {
            None => write!(f, "kept"),
            Some(rule) => write!(f, "dropped by {rule}"),
        }
    }
}

/// A count as it is, a share with six decimals at most.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_shown_and_the_first_that_fails_decides() {
        let judged = judge(FilterConfig::new(["gopher_quality"]), "Too few words, and no end");
        let judged = judged.unwrap();
        assert_eq!(judged.rule, Some("quality/gopher_short_doc"));
        assert!(judged.measures.len() > 8, "{judged}");
        assert!(judged.to_string().contains("✗ quality/gopher_short_doc"), "{judged}");
        let short = judged.measures.iter().find(|one| one.rule == "quality/gopher_short_doc");
        assert_eq!(short.unwrap().value, Some(6.0), "words without the comma");
        let fineweb = FilterConfig { recipe: Some("fineweb".into()), ..FilterConfig::default() };
        let judged = judge(fineweb, "One line.\nJavaScript is off.").unwrap();
        assert!(judged.measures.len() > 20, "{judged}");
    }
}
