//! A comparison as people read it: the sentence first, then the details.
//!
//! In → a [`Comparison`]; out → text. Pure.

use std::fmt::{self, Write};

use super::documents::{Changes, How};
use super::held_out::{Figure, HeldOut};
use super::reasons::Reasons;
use super::{Comparison, Point, Runs};
use crate::base::size::{self, Bytes, Count};
use crate::shards::overlap::Overlap;

/// Reasons that a screen lists.
const REASONS_SHOWN: usize = 8;

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} → {}", self.from.display(), self.to.display())?;
        writeln!(f, "  {}", self.sentence)?;
        if self.several {
            writeln!(
                f,
                "  warning: more than one thing differs: no effect can be laid at one door"
            )?;
        }
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        if let Some(changes) = &self.documents {
            self.write_documents(f, changes)?;
        }
        self.write_mixture(f)?;
        self.write_order(f)?;
        match &self.runs {
            Some(runs) => write_runs(f, runs),
            None => Ok(()),
        }
    }
}

impl Comparison {
    fn write_documents(&self, f: &mut fmt::Formatter<'_>, changes: &Changes) -> fmt::Result {
        writeln!(
            f,
            "\nDocuments\n  {} → {}: {} the same, {} entered, {} left, {} changed their text",
            Count(changes.from),
            Count(changes.to),
            Count(changes.same),
            Count(changes.entered),
            Count(changes.left),
            Count(changes.changed)
        )?;
        write_reasons(f, "left for", &self.left_for)?;
        write_reasons(f, "entered, once left out for", &self.entered_past)?;
        for moved in &changes.listed {
            let how = match moved.how {
                How::Entered => "+",
                How::Left => "-",
                How::Changed => "~",
            };
            let reason = moved.reason.as_ref().map_or(String::new(), |it| format!("  {it}"));
            writeln!(f, "  {how} {} ({}){reason}", moved.id, moved.source)?;
        }
        let listed = changes.listed.len() as u64;
        match (changes.entered + changes.left + changes.changed).saturating_sub(listed) {
            0 => Ok(()),
            more => writeln!(f, "    and {} more (`--list N` shows them)", Count(more)),
        }
    }

    fn write_mixture(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mixture.values().all(|(from, to)| from == to) {
            return Ok(());
        }
        writeln!(f, "\nTokens")?;
        let sum = |side: fn(&(u64, u64)) -> u64| self.mixture.values().map(side).sum::<u64>();
        let total = (sum(|it| it.0), sum(|it| it.1));
        let share = |part: u64, whole: u64| 100.0 * part as f64 / whole.max(1) as f64;
        for (source, (from, to)) in &self.mixture {
            writeln!(
                f,
                "  {source:<16} {:>15} → {:>15}   {:>5.1}% → {:>5.1}%",
                Count(*from).to_string(),
                Count(*to).to_string(),
                share(*from, total.0),
                share(*to, total.1)
            )?;
        }
        writeln!(
            f,
            "  {:<16} {:>15} → {:>15}",
            "all",
            Count(total.0).to_string(),
            Count(total.1).to_string()
        )
    }
}

impl Comparison {
    fn write_order(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(order) = &self.order else { return Ok(()) };
        writeln!(f, "\nWhat is read first")?;
        for beginning in &order.beginnings {
            let Overlap { one, other, common, .. } = beginning.overlap;
            writeln!(
                f,
                "  of the first {} tokens, {} and {} documents: {} in both ({}), {} of them in \
                 one order within their sources",
                Count(beginning.tokens),
                Count(one),
                Count(other),
                Count(common),
                percent(beginning.share()),
                percent(beginning.share_in_order())
            )?;
        }
        Ok(())
    }
}

/// A share in per cent; `none` where there is no share.
fn percent(share: Option<f64>) -> String {
    share.map_or("none".to_owned(), size::percent)
}

fn write_reasons(f: &mut fmt::Formatter<'_>, what: &str, reasons: &Reasons) -> fmt::Result {
    if reasons.is_empty() {
        return Ok(());
    }
    let mut sorted: Vec<(&String, &u64)> = reasons.iter().collect();
    sorted.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), *reason));
    let shown = sorted.iter().take(REASONS_SHOWN);
    let shown = shown.map(|(reason, count)| format!("{reason} {}", Count(**count)));
    let mut line = shown.collect::<Vec<_>>().join(", ");
    if sorted.len() > REASONS_SHOWN {
        let _ = write!(line, " and {} more reasons", sorted.len() - REASONS_SHOWN);
    }
    writeln!(f, "  {what}: {line}")
}

fn write_runs(f: &mut fmt::Formatter<'_>, runs: &Runs) -> fmt::Result {
    if !runs.at_equal_tokens.is_empty() {
        writeln!(f, "\nTraining loss, nats a token")?;
        write_points(f, "at equal tokens", &runs.at_equal_tokens)?;
        write_points(f, "at equal compute", &runs.at_equal_compute)?;
    }
    match &runs.held_out {
        Some(held_out) => write_held_out(f, held_out)?,
        None => writeln!(f, "\nNo document is held out by both: bits per byte do not compare.")?,
    }
    for evaluation in &runs.evals_text {
        writeln!(f, "\n{}", evaluation.trim_end())?;
    }
    write_costs(f, runs)?;
    if let Some(verdict) = &runs.verdict {
        writeln!(f, "\nVerdict on bits per byte: {verdict}")?;
        let alone = runs.held_out.as_ref().and_then(HeldOut::verdict_without_twins);
        if let Some(verdict) = alone {
            writeln!(f, "  without near-twins read: {verdict}")?;
        }
    }
    Ok(())
}

fn write_points(f: &mut fmt::Formatter<'_>, what: &str, points: &[Point]) -> fmt::Result {
    for point in points {
        let tokens = match point.tokens {
            (from, to) if from == to => Count(from).to_string(),
            (from, to) => format!("{} → {}", Count(from), Count(to)),
        };
        let (from, to) = point.loss;
        writeln!(f, "  {what}, {tokens}: {from:.4} → {to:.4}  {:+.4}", to - from)?;
    }
    Ok(())
}

fn write_held_out(f: &mut fmt::Formatter<'_>, held_out: &HeldOut) -> fmt::Result {
    writeln!(
        f,
        "\nBits per byte on the {} documents that both hold out (of {} and {})",
        Count(held_out.common),
        Count(held_out.documents.0),
        Count(held_out.documents.1)
    )?;
    let line = |f: &mut fmt::Formatter<'_>, name: &str, figure: &Figure| {
        writeln!(
            f,
            "  {name:<24} {:>7} documents  {:.4} → {:.4}  {:+.4} ± {:.4}",
            Count(figure.documents).to_string(),
            figure.from,
            figure.to,
            figure.difference,
            figure.standard_error
        )
    };
    for figure in &held_out.sources {
        line(f, &figure.source, figure)?;
    }
    line(f, "all", &held_out.total)?;
    match &held_out.without_twins {
        Some(figure) => line(f, "without near-twins read", figure),
        None => Ok(()),
    }
}

fn write_costs(f: &mut fmt::Formatter<'_>, runs: &Runs) -> fmt::Result {
    let (from, to) = (&runs.from, &runs.to);
    writeln!(f, "\nWhat they took (no difference by itself)")?;
    let mut line = |what: &str, from: Option<String>, to: Option<String>| match (from, to) {
        (None, None) => Ok(()),
        (from, to) => {
            let shown = |it: Option<String>| it.unwrap_or_else(|| "not recorded".to_owned());
            writeln!(f, "  {what:<14} {} → {}", shown(from), shown(to))
        }
    };
    let count = |value: f64| Count(value.round() as u64).to_string();
    line("tokens", Some(Count(from.tokens).to_string()), Some(Count(to.tokens).to_string()))?;
    if let Some((a, b)) = runs.parameters {
        line("parameters", Some(Count(a).to_string()), Some(Count(b).to_string()))?;
    }
    line("tokens/s", from.tokens_per_second.map(count), to.tokens_per_second.map(count))?;
    let seconds = |value: f64| format!("{value:.0} s");
    line("time", from.seconds.map(seconds), to.seconds.map(seconds))?;
    let memory = |value: u64| Bytes(value).to_string();
    line("memory", from.peak_memory.map(memory), to.peak_memory.map(memory))?;
    let cost = |value: f64| format!("{value:.2}");
    line("cost", from.cost.map(cost), to.cost.map(cost))
}
