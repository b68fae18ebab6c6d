//! How alike two mixes are, as a table.
//!
//! In → an [`OverlapReport`]; out → a line a beginning. Pure.

use std::fmt;

use super::table::{Table, count, percent};
use crate::shards::OverlapReport;

impl fmt::Display for OverlapReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} and {}\n", self.one, self.other)?;
        let mut table = Table::new([
            "first tokens",
            "documents",
            "and",
            "in both",
            "share",
            "in order by source",
            "pairs in order",
        ]);
        for beginning in &self.beginnings {
            let overlap = &beginning.overlap;
            table.row(vec![
                count(beginning.tokens),
                count(overlap.one),
                count(overlap.other),
                count(overlap.common),
                percent(beginning.share()),
                percent(beginning.share_in_order()),
                percent(beginning.pairs_in_order),
            ]);
        }
        write!(f, "{table}")
    }
}
