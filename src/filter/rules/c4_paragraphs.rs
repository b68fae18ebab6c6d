//! mC4's rule for pages: three paragraphs at least.
//!
//! In: lines of a document. Out: how many are long. Reference: mC4 (Xue et al. 2021, arXiv
//! 2010.11934, section 3.1) as in datatrove 0.10 (`C4ParagraphFilter` in
//! `src/datatrove/pipeline/filters/c4_filters.py`), where a line between `\n`s is a paragraph.
//! Invariant: verdict equal to datatrove's, which gives no value. Cost: one pass over long lines.

use super::{Entry, Measure, Report, RuleInfo, RuleSet};
use crate::base::config;
use crate::base::error::Result;
use crate::filter::view::View;
use crate::text::count_chars;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// The line of the registry.
pub const ENTRY: Entry = Entry {
    name: "c4_paragraphs",
    summary: "drops pages of fewer than three lines of 200 characters",
    reference: "mC4 (arXiv 2010.11934, 3.1) as in datatrove 0.10",
    rules: RULES,
    limits: None,
    build: |table| -> Result<Box<dyn RuleSet>> {
        Ok(Box::new(C4Paragraphs { config: config::parse(table, "`c4_paragraphs`")? }))
    },
};

/// The rules, as the reference calls them.
const PARAGRAPHS: &str = "c4_paragraph/< 3 paragraphs";

const RULES: &[RuleInfo] = &[RuleInfo::new(PARAGRAPHS, "min_paragraphs", "long lines")];

/// The thresholds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct C4ParagraphsConfig {
    /// Fewest long lines. mC4: 3.
    pub min_paragraphs: usize,
    /// Code points that make a line long. mC4: 200.
    pub min_paragraph_length: usize,
}

impl Default for C4ParagraphsConfig {
    fn default() -> C4ParagraphsConfig {
        C4ParagraphsConfig { min_paragraphs: 3, min_paragraph_length: 200 }
    }
}

/// mC4's rule with its thresholds.
pub struct C4Paragraphs {
    config: C4ParagraphsConfig,
}

impl RuleSet for C4Paragraphs {
    fn config(&self) -> serde_json::Value {
        serde_json::json!(self.config)
    }

    fn measure(&self, view: &mut View<'_>, report: &mut Report<'_>) -> ControlFlow<()> {
        let least = self.config.min_paragraph_length;
        let is_long = |line: &&[u8]| line.len() >= least && (count_chars(line) >= least);
        let long = view.text().as_bytes().split(|&byte| byte == b'\n').filter(is_long).count();
        let least = self.config.min_paragraphs as f64;
        report(Measure::at_least(PARAGRAPHS, long as f64, least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::rules::judge;
    use crate::filter::view::{Room, Splitter};

    #[test]
    fn three_lines_of_two_hundred_code_points_are_enough() {
        let rules = [(ENTRY.build)(Default::default()).unwrap()];
        let mut room = Room::new(Splitter::WhiteSpace);
        let line = "ü".repeat(200);
        let text = format!("{line}\n{line}\nshort\n{line}");
        assert_eq!(judge(&rules, &mut room.view(&text)), None);
        let verdict = judge(&rules, &mut room.view(&text[2..])).unwrap();
        assert_eq!((verdict.value, verdict.limit), (2.0, 3.0));
    }
}
