//! What a person reads: one line a step, and the closing screen of a recipe.
//!
//! In → requests, outcomes with their summaries; out → text and JSON records. Pure: nothing here
//! writes anywhere. What a stage has to say of its work is its own [`crate::artifact::summary`].

use std::fmt::Write;

use serde_json::{Value, json};

use super::printer::Printer;
use crate::{
    artifact::{forecast::Forecast, manifest},
    pipeline::{options::Outcome, request::Request},
};

/// The request as `-v` shows it.
pub fn request(request: &Request) -> String {
    let config = toml::to_string(&request.config).unwrap_or_default();
    let inputs = request.inputs.join(" ");
    format!("{} ({}): {inputs} → {}\n{config}", request.name, request.stage, request.out.display())
}

/// One step in one line: `dedup  2,873 → 2,203 documents  …  1.9 s`.
pub fn line(request: &Request, outcome: &Outcome) -> String {
    let end = match outcome.up_to_date {
        true => "up to date".to_owned(),
        false => format!("{:.1} s", outcome.seconds),
    };
    format!("{:<10} {}  {end}", request.name, outcome.summary.line())
}

/// A bare command's result.
pub fn step(request: &Request, outcome: &Outcome) -> String {
    let mut text = line(request, outcome);
    if outcome.units_reused > 0 {
        let _ = write!(text, " ({} of {} units were there)", outcome.units_reused, outcome.units);
    }
    let _ = write!(text, "\n{}in {}", outcome.summary, request.out.display());
    text
}

/// The closing screen of `dataprep run`: under each head the steps that have something to say
/// there, by name.
pub fn closing(results: &[(&Request, Outcome)], printer: &Printer) -> String {
    let mut heads: Vec<String> = Vec::new();
    for head in results.iter().map(|(_, outcome)| outcome.summary.head()) {
        if !heads.contains(&head) {
            heads.push(head);
        }
    }
    let mut text = String::new();
    for head in heads {
        let _ = writeln!(text, "\n{}", printer.bold(&head));
        for (request, outcome) in results.iter().filter(|(_, it)| it.summary.head() == head) {
            let _ = writeln!(text, "{:<10} {}", request.name, outcome.summary.line());
            let _ = write!(text, "{}", outcome.summary);
        }
    }
    let _ = writeln!(text, "\n{}", printer.bold("Where everything lies"));
    for (request, _) in results {
        let _ = writeln!(text, "  {:<10} {}", request.name, request.out.display());
    }
    text
}

/// What is known before the work of what a step would do.
pub enum Would {
    /// It runs, since a step that it reads does.
    Run,
    /// What it reads is moved back first; whether it is up to date then is not known yet.
    Tell(Vec<String>),
    /// What it says itself.
    Do(Box<Forecast>),
}

/// What a step would do.
pub fn dry_run(request: &Request, would: &Would) -> String {
    let what = match would {
        Would::Run => format!("will run after {}", request.after.join(" and ")),
        Would::Tell(steps) => {
            let verb = if steps.len() == 1 { "is" } else { "are" };
            format!("is looked at once {} {verb} current again", steps.join(" and "))
        }
        Would::Do(forecast) => forecast.line().to_owned(),
    };
    format!("{:<10} {:<10} {what} → {}", request.name, request.stage, request.out.display())
}

/// A step as a JSON record.
pub fn record(kind: &str, request: &Request, outcome: &Outcome) -> Value {
    let mut record = json!({
        "type": kind, "step": request.name, "stage": request.stage,
        "out": request.out.to_string_lossy(), "up_to_date": outcome.up_to_date,
        "units": outcome.units, "units_reused": outcome.units_reused, "seconds": outcome.seconds,
    });
    if let (Value::Object(record), Value::Object(more)) = (&mut record, outcome.summary.record()) {
        record.extend(more);
    }
    manifest::canonical(&record)
}
