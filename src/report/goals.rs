//! The results of the runs' goals.
//!
//! In → the verdicts in `run.json`; out → a table, a row a goal. Pure.

use super::{Shown, lines::Verdict};
use crate::base::{
    html::{escape, put},
    size::Count,
};

/// The part of the page; empty where no goal was due.
pub fn section(runs: &[Shown]) -> String {
    let mut rows = String::new();
    for Shown { run, .. } in runs {
        for goal in &run.goals {
            let Verdict { name, step, by, wanted, found, met, ended } = goal;
            let class = if *met { "better" } else { "worse" };
            let verdict = match (met, ended) {
                (true, _) => "met",
                (false, true) => "missed; the run ended here",
                (false, false) => "missed",
            };
            let name = if runs.len() > 1 { format!("{} {name}", run.name) } else { name.clone() };
            let unit = if by == "loss" { "nats a token" } else { "bits per byte" };
            put(
                &mut rows,
                format_args!(
                    "<tr><th scope=\"row\">{}</th><td>{}</td><td>{wanted}</td><td>{found:.4}</td>\
                     <td class=\"text\">{unit}</td><td class=\"{class}\">{verdict}</td></tr>\n",
                    escape(&name),
                    Count(*step)
                ),
            );
        }
    }
    match rows.is_empty() {
        true => rows,
        false => format!(
            "<div class=\"wide\"><table><thead><tr><th scope=\"col\">goal</th><th scope=\"col\">\
             after step</th><th scope=\"col\">wanted at most</th><th scope=\"col\">found</th>\
             <th scope=\"col\" class=\"text\">of</th><th scope=\"col\">verdict</th></tr>\
             </thead>\n<tbody>\n{rows}</tbody></table></div>\n"
        ),
    }
}
