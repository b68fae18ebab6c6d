//! The page, from top to bottom.
//!
//! In → runs with what is known of them; out → HTML. One run has everything; several share each
//! chart, a line a run, named by the one thing that differs, and keep their texts side by side.
//! Styles are `page.css`, the values under the pointer `page.js`, both in the page. Pure but for
//! the held-out texts that `texts` reads.

use super::{
    Shown, chart::short, curves, data, goals, money, norms, records::Run, settings, texts,
    view::View,
};
use crate::base::{
    html::{escape, put},
    size::{Bytes, Count, duration},
};

/// Marks a page as ours, so that it may be overwritten.
pub const MARK: &str = "name=\"generator\" content=\"dataprep\"";
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Asks the server every 3 seconds whether the page would differ, and reloads it if so.
const SCRIPT_LIVE: &str = "let seen; setInterval(async () => { try { const stamp = await (await \
    fetch('stamp')).text(); if (seen && seen !== stamp) location.reload(); seen = stamp; } \
    catch { } }, 3000);";

/// The HTML of `runs`, under a title.
pub fn render(title: &str, runs: &[Shown], view: &View) -> String {
    let title = escape(title);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta {MARK}>\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style></head>\n<body>\n<header>\
         <h1>{title}</h1>\n"
    );
    for Shown { run, known } in runs {
        put(&mut html, format_args!("<p class=\"clocks\">{}</p>\n", escape(&clocks(run))));
        for warning in &known.warnings {
            let warning = escape(warning);
            put(&mut html, format_args!("<p class=\"warning\">Warning: {warning}</p>\n"));
        }
    }
    let parts = parts(runs, view);
    html.push_str("</header>\n<nav aria-label=\"Parts of this page\">\n");
    for (id, name, _) in parts.iter().filter(|(_, _, text)| !text.is_empty()) {
        put(&mut html, format_args!("<a href=\"#{id}\">{name}</a>\n"));
    }
    html.push_str("</nav>\n<main>\n");
    for (id, name, text) in parts.iter().filter(|(_, _, text)| !text.is_empty()) {
        put(&mut html, format_args!("<section id=\"{id}\"><h2>{name}</h2>\n{text}</section>\n"));
    }
    put(&mut html, format_args!("</main>\n<script>\n{SCRIPT}</script>\n"));
    if view.live {
        put(&mut html, format_args!("<script>{SCRIPT_LIVE}</script>\n"));
    }
    html.push_str("</body></html>\n");
    html
}

/// (anchor, heading, HTML) of each part; the HTML is empty where there is nothing to say.
fn parts(runs: &[Shown], view: &View) -> Vec<(&'static str, &'static str, String)> {
    vec![
        ("summary", "Summary", summary(runs, view)),
        ("differences", "What differs", settings::differences(runs)),
        ("goals", "Goals", goals::section(runs)),
        ("validation", "Bits per byte of held-out documents", curves::validation(runs, view)),
        ("loss", "Training loss", curves::loss(runs)),
        ("machine", "Step by step", curves::machine(runs)),
        ("norms", "Layer by layer", norms::section(runs)),
        ("spikes", "Spikes", texts::spikes(runs)),
        ("samples", "Samples", texts::samples(runs)),
        ("worst", "Held-out documents that it does worst on", texts::worst(runs)),
        ("data", "Data", data::strip(runs)),
        ("lineage", "What it was made from", data::lineage(runs)),
        ("mixture", "Mixture asked and read", data::mixture(runs)),
        ("dropped", "What filters and deduplication dropped", data::dropped(runs)),
        ("evals", "Evaluations", data::evaluations(runs)),
        ("cost", "Time, money and where it is going", money::section(runs, view)),
        ("configuration", "Configuration", settings::section(runs, view)),
    ]
}

/// When a run was worked on, and on which machine.
fn clocks(run: &Run) -> String {
    let Run { name, standing, .. } = run;
    let mut text = format!("{name}: {standing}");
    if let Some(last) = run.sessions.last() {
        let device = last.numerics["device"].as_str().unwrap_or("an unknown device");
        let threads = last.numerics["threads"].as_u64().unwrap_or(0);
        let sessions = match run.sessions.len() {
            1 => "one session".to_owned(),
            count => format!("{count} sessions"),
        };
        text += &format!(
            ", {} of the machine in {sessions}, last on {} ({device}, {threads} threads)",
            duration(run.seconds()),
            last.host
        );
    }
    text
}

/// The figures that a reader wants first.
fn summary(runs: &[Shown], view: &View) -> String {
    let mut html = String::new();
    for Shown { run, known } in runs {
        if runs.len() > 1 {
            put(&mut html, format_args!("<h3>{}</h3>\n", escape(&run.name)));
        }
        html.push_str("<dl class=\"tiles\">\n");
        let mut tile = |name: &str, value: String| {
            put(&mut html, format_args!("<div><dt>{name}</dt><dd>{value}</dd></div>\n"));
        };
        let step = run.metrics.last().map_or(0, |last| last.step);
        let of = run.steps.map(|steps| format!(" <small>of {}</small>", Count(steps)));
        tile("step", format!("{}{}", Count(step), of.unwrap_or_default()));
        tile("tokens read", Count(run.tokens()).to_string());
        if let Some(outlook) = &known.outlook {
            tile("parameters", short(outlook.parameters as f64));
        }
        if let Some((_, bits)) = run.bits_per_byte().last() {
            tile("bits per byte", format!("{bits:.4}{}", against(*bits, run, view)));
        }
        if let Some(texts) = run.validation() {
            tile("over the texts", texts.short());
        }
        if let Some(last) = run.metrics.last() {
            tile("training loss", format!("{:.4}", last.loss));
        }
        let seconds = run.step_seconds();
        if seconds > 0.0 {
            tile("tokens a second", short(run.tokens() as f64 / seconds));
        }
        tile("time so far", duration(run.seconds()));
        if let Some(bytes) = run.peak_memory() {
            tile("peak memory", Bytes(bytes).to_string());
        }
        html.push_str("</dl>\n");
    }
    html
}

/// The change against the baseline, in words and colour.
fn against(bits: f64, run: &Run, view: &View) -> String {
    let Some(baseline) = &view.baseline else { return String::new() };
    let Some((_, before)) = baseline.bits_per_byte().last().copied() else { return String::new() };
    let change = bits - before;
    let name = escape(&baseline.name);
    if curves::are_other_texts(run.validation(), baseline.validation()) {
        return format!(" <small>{name} has {before:.4}, over other texts</small>");
    }
    let class = if change <= 0.0 { "better" } else { "worse" };
    format!(" <small class=\"{class}\">{change:+.4} against {name}</small>")
}
