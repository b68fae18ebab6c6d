//! What a person must not miss: a source that lost most of its documents.
//!
//! In: the counts of a finished run. Out: one sentence for each such source, in name order, with
//! the reason that took the most. Invariant: a function of the counts alone.

use crate::base::counts::Counts;

/// A source that loses more than this share raises the alarm: a choice of ours. Of clean prose the
/// rule sets take a few percent, of source code nearly all, for which they were not made.
pub const ALARM_SHARE: f64 = 0.5;

/// The alarms of a run; empty when every source kept at least half.
pub fn alarms(counts: &Counts) -> Vec<String> {
    let lost = counts.sources.iter().filter_map(|(name, source)| {
        let (dropped, read) = (source.dropped_total(), source.documents_in);
        let share = dropped as f64 / read as f64;
        // Ties go to the reason that sorts first.
        let most = source.dropped.iter().rev().max_by_key(|(_, count)| **count)?;
        let reason = format!("`{}` alone took {}", most.0, most.1);
        (share > ALARM_SHARE).then(|| match source.documents_out {
            0 => format!("`{name}` keeps none of its {read} documents: {reason}"),
            out => format!("`{name}` keeps only {out} of its {read} documents: {reason}"),
        })
    });
    lost.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_loses_most_is_named_with_the_reason_that_took_most() {
        let mut counts = Counts::default();
        for (name, read, dropped) in [
            ("code", 10, [("a/x", 3), ("a/y", 4)]),
            ("empty", 4, [("a/x", 2), ("a/y", 2)]),
            ("wiki", 10, [("a/x", 5), ("a/y", 0)]),
        ] {
            let source = counts.source(name);
            source.documents_in = read;
            source.documents_out = read - dropped.iter().map(|(_, count)| count).sum::<u64>();
            for (reason, count) in dropped.into_iter().filter(|(_, count)| *count > 0) {
                source.dropped.insert(reason.to_owned(), count);
            }
        }
        counts.source("nothing read");
        assert_eq!(
            alarms(&counts),
            [
                "`code` keeps only 3 of its 10 documents: `a/y` alone took 4",
                "`empty` keeps none of its 4 documents: `a/x` alone took 2"
            ]
        );
    }
}
