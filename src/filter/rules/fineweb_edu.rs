//! FineWeb-Edu's rule: an educational score that somebody else has written beside the text.
//!
//! In: a column of numbers. Out: its value. Reference: FineWeb-Edu (arXiv 2406.17557, section 4)
//! keeps documents whose `int_score`, the classifier's `score` rounded and held within 0 to 5, is 3
//! or more. With `column = "score"` and `min_score = 2.5` the unrounded score decides.
//! Invariant: null and NaN never pass. Cost: a comparison.

use super::{Column, ColumnKind, Entry, Measure, Report, RuleInfo, RuleSet, check_limits};
use crate::base::config;
use crate::base::error::Result;
use crate::filter::view::View;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// The line of the registry.
pub const ENTRY: Entry = Entry {
    name: "fineweb_edu",
    summary: "drops documents whose score, in a column of theirs, is low, null or NaN",
    reference: "FineWeb-Edu (arXiv 2406.17557, 4)",
    rules: RULES,
    limits: None,
    build: |table| Ok(Box::new(FinewebEdu::new(config::parse(table, "`fineweb_edu`")?)?)),
};

/// The rules, as the reference calls them.
const SCORE: &str = "fineweb_edu/score";

const RULES: &[RuleInfo] = &[RuleInfo::new(SCORE, "min_score", "the score")];

/// Which column, and how much.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FinewebEduConfig {
    /// The column that holds the score.
    pub column: String,
    /// Least score. FineWeb-Edu: 3.
    pub min_score: f64,
}

impl Default for FinewebEduConfig {
    fn default() -> FinewebEduConfig {
        FinewebEduConfig { column: "int_score".into(), min_score: 3.0 }
    }
}

/// FineWeb-Edu's rule with its threshold.
pub struct FinewebEdu {
    config: FinewebEduConfig,
}

impl FinewebEdu {
    /// Checks the limit.
    pub fn new(config: FinewebEduConfig) -> Result<FinewebEdu> {
        check_limits("fineweb_edu", &[("min_score", config.min_score)])?;
        Ok(FinewebEdu { config })
    }
}

impl RuleSet for FinewebEdu {
    fn config(&self) -> serde_json::Value {
        serde_json::json!(self.config)
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column { name: self.config.column.clone(), kind: ColumnKind::Number }]
    }

    fn measure(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let score = view.number_of(&self.config.column).unwrap_or(f64::NAN);
        report(Measure::at_least(SCORE, score, self.config.min_score))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::rules::judge;
    use crate::filter::view::ColumnValue;
    use crate::filter::view::{Room, Splitter};

    #[test]
    fn three_is_enough_and_nothing_is_not() {
        let rules = [(ENTRY.build)(Default::default()).unwrap()];
        for (score, kept) in
            [(Some(3.0), true), (Some(2.9), false), (None, false), (Some(f64::NAN), false)]
        {
            let columns = [
                ("score", ColumnValue::Number(Some(5.0))),
                ("int_score", ColumnValue::Number(score)),
            ];
            let mut room = Room::new(Splitter::WhiteSpace);
            let verdict = judge(&rules, &mut room.view("").with_columns(&columns));
            assert_eq!(verdict.is_none(), kept, "{score:?}");
        }
    }
}
