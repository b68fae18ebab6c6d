//! The charts of a page: validation, loss, and what the machine did step by step.
//!
//! In → the records of one run or several; out → figures and tables. One run is drawn in the
//! colours of its sources, several in one colour each. x is the number of tokens trained on, which
//! runs of any batch size share. The steps at which a session resumed are marked.

use std::collections::BTreeMap;

use super::{
    Known, Shown,
    chart::{Chart, Line, Stroke},
    forecast,
    lines::{Metric, SourceEval, Timing},
    money,
    records::Run,
    series::{self, Point},
    settings,
    view::View,
};
use crate::base::{
    hash::Fingerprint,
    html::{escape, put},
    size::Count,
};

/// The window of a smoothed curve is this part of the steps: a hundredth.
const SMOOTHED: f64 = 100.0;

/// Bits per byte by source over tokens, the unigram baselines dashed, and the latest as a table.
pub fn validation(runs: &[Shown], view: &View) -> String {
    let mut html = String::new();
    match runs {
        [Shown { run, .. }] => {
            let mut chart = Chart::new("by source", "tokens", "bits per byte");
            for (color, source) in sources(run).into_iter().enumerate() {
                chart.lines.extend(of_source(run, &source, &source, color));
            }
            chart.marks = resumes(run);
            html.push_str(&chart.figure());
        }
        _ => {
            html.push_str("<div class=\"charts\">\n");
            let mut names: Vec<String> = Vec::new();
            for source in runs.iter().flat_map(|shown| sources(&shown.run)) {
                if !names.contains(&source) {
                    names.push(source);
                }
            }
            for source in names {
                let mut chart = Chart::new(&source, "tokens", "bits per byte");
                chart.small = true;
                for (color, (shown, name)) in named(runs).enumerate() {
                    chart.lines.extend(of_source(&shown.run, &source, &name, color));
                }
                html.push_str(&chart.figure());
            }
            html.push_str("</div>\n");
        }
    }
    if validated_differently(runs) {
        html.push_str(
            "<p class=\"warning\">These runs are validated on different texts, so their bits per \
             byte do not compare: <code>dataprep compare</code> takes the documents that they \
             share.</p>\n",
        );
    }
    for Shown { run, .. } in runs {
        table(run, view, &mut html);
    }
    html
}

/// Whether two figures are over different texts; false where either does not say, as earlier builds
/// do not.
pub fn are_other_texts(one: Option<Fingerprint>, other: Option<Fingerprint>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

/// Whether two of the runs were scored on different texts, as far as they say.
fn validated_differently(runs: &[Shown]) -> bool {
    let mut texts = runs.iter().filter_map(|shown| shown.run.validation());
    let first = texts.next();
    texts.any(|one| Some(one) != first)
}

/// One source's curve, and its unigram line.
fn of_source(run: &Run, source: &str, name: &str, color: usize) -> Vec<Line> {
    let evals = || run.evals.iter().filter(|eval| eval.source == source);
    let line = |stroke, points: Vec<Point>, name: String| Line { name, points, stroke, color };
    let measured = evals().map(|eval| (run.tokens_at(eval.step) as f64, eval.bits_per_byte));
    let unigram = evals().map(|eval| (run.tokens_at(eval.step) as f64, eval.unigram_bits_per_byte));
    vec![
        line(Stroke::Solid, measured.collect(), name.to_owned()),
        line(Stroke::Dashed, unigram.collect(), name.to_owned()),
    ]
}

fn sources(run: &Run) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for eval in &run.evals {
        if !names.contains(&eval.source) {
            names.push(eval.source.clone());
        }
    }
    names
}

/// The latest evaluation of a run, a row a source.
fn table(run: &Run, view: &View, html: &mut String) {
    let Some(last) = run.evals.last().map(|eval| eval.step) else { return };
    let baseline = view.baseline.as_ref();
    let before: BTreeMap<&str, &SourceEval> = baseline
        .into_iter()
        .flat_map(|run| run.evals.iter().map(|eval| (eval.source.as_str(), eval)))
        .collect();
    let over = run
        .validation()
        .map_or(String::new(), |texts| format!(", over the texts {}", texts.short()));
    put(
        html,
        format_args!(
            "<div class=\"wide\"><table><caption>{}, step {}{over}; dashed: a model that knows \
             only how often each token occurs; kept: the documents that the recipe would keep\
             </caption>\n<thead><tr><th scope=\"col\">source</th><th scope=\"col\">documents</th>\
             <th scope=\"col\">bytes</th><th scope=\"col\">unigram</th><th scope=\"col\">first</th>\
             <th scope=\"col\">now</th>{}<th scope=\"col\">kept</th><th scope=\"col\">of the kept\
             </th></tr></thead>\n<tbody>\n",
            escape(&run.name),
            Count(last),
            if before.is_empty() { "" } else { "<th scope=\"col\">against the baseline</th>" }
        ),
    );
    for eval in run.evals.iter().filter(|eval| eval.step == last) {
        let first = run.evals.iter().find(|first| first.source == eval.source).unwrap_or(eval);
        let kept = eval.kept_bits_per_byte.map_or("–".to_owned(), |bits| format!("{bits:.4}"));
        let change = match before.get(eval.source.as_str()) {
            Some(before) if are_other_texts(before.validation, eval.validation) => {
                "<td>other texts</td>".to_owned()
            }
            Some(before) => {
                let before = before.bits_per_byte;
                let change = eval.bits_per_byte - before;
                let class = if change <= 0.0 { "better" } else { "worse" };
                format!("<td class=\"{class}\">{change:+.4}</td>")
            }
            None if before.is_empty() => String::new(),
            None => "<td>–</td>".to_owned(),
        };
        put(
            html,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{:.4}</td><td>{:.4}</td>\
                 <td>{:.4}</td>{change}<td>{}</td><td>{kept}</td></tr>\n",
                escape(&eval.source),
                Count(eval.documents),
                Count(eval.bytes),
                eval.unigram_bits_per_byte,
                first.bits_per_byte,
                eval.bits_per_byte,
                Count(eval.kept_documents)
            ),
        );
    }
    html.push_str("</tbody></table></div>\n");
}

/// The training loss, raw and smoothed, linear and logarithmic, with where it is going.
pub fn loss(runs: &[Shown]) -> String {
    let mut chart = Chart::new("loss of each step's batch", "tokens", "nats a token");
    for (color, (shown, name)) in named(runs).enumerate() {
        let points = of_metric(&shown.run, |metric| metric.loss);
        let smoothed = series::smooth(&points, points.len() as f64 / SMOOTHED);
        let line = |name: String, points, stroke| Line { name, points, stroke, color };
        let raw = if runs.len() > 1 { name.clone() } else { "raw".to_owned() };
        let name = if runs.len() > 1 { name } else { "smoothed".to_owned() };
        chart.lines.push(line(raw, points, Stroke::Faint));
        chart.lines.push(line(name, smoothed, Stroke::Solid));
    }
    if let [Shown { run, known }] = runs {
        chart.marks = resumes(run);
        for spike in &run.spikes {
            let tokens = run.tokens_at(spike.step) as f64;
            chart.marks.push((tokens, format!("a spike at step {}", Count(spike.step))));
        }
        chart.band = ahead(run, known);
        if !chart.band.is_empty() {
            let points = chart.band.iter().map(|(x, low, high)| (*x, (low + high) / 2.0)).collect();
            let (name, stroke) = ("forecast, nine times of ten".to_owned(), Stroke::Dashed);
            chart.lines.push(Line { name, points, stroke, color: 0 });
        }
    }
    let linear = chart.figure();
    if linear.is_empty() {
        return linear;
    }
    chart.logarithmic = true;
    format!(
        "<fieldset class=\"switch\"><input type=\"radio\" name=\"scale\" id=\"as-linear\" \
         class=\"as-linear\" checked><label for=\"as-linear\">linear</label><input type=\"radio\" \
         name=\"scale\" id=\"as-log\" class=\"as-log\"><label for=\"as-log\">logarithmic</label>\n\
         <div class=\"linear\">{linear}</div>\n<div class=\"log\">{}</div></fieldset>\n",
        chart.figure()
    )
}

/// (tokens, low, high) of the steps to come.
fn ahead(run: &Run, known: &Known) -> Vec<(f64, f64, f64)> {
    let (Some(outlook), Some(curve)) = (&known.outlook, money::curve(run, known)) else {
        return Vec::new();
    };
    let done = run.metrics.last().map_or(0, |last| last.step);
    if done >= outlook.steps {
        return Vec::new();
    }
    const POINTS: u64 = 64;
    let rate = |step| (outlook.rate)(step, outlook.steps);
    let whole = forecast::area(&outlook.rate, outlook.steps);
    let left: f64 = whole - curve.area();
    let ahead: Vec<f64> =
        (0..POINTS).map(|at| rate(done + (outlook.steps - done) * at / POINTS)).collect();
    let all: f64 = ahead.iter().sum();
    let mut area = curve.area();
    let at = |(at, rate): (usize, &f64)| {
        area += left.max(0.0) * rate / all.max(f64::MIN_POSITIVE);
        let step = done + (outlook.steps - done) * (at as u64 + 1) / POINTS;
        let estimate = curve.at(area, *rate);
        (outlook.tokens_before(step) as f64, estimate.low, estimate.high)
    };
    ahead.iter().enumerate().map(at).collect()
}

/// Small charts: gradient, learning rate, speed, loader, memory, utilisation of the machine.
pub fn machine(runs: &[Shown]) -> String {
    type Of = fn(&Timing) -> f64;
    type OfMetric = fn(&Metric) -> f64;
    let metrics: [(&str, &str, OfMetric); 2] = [
        ("gradient norm", "before clipping", |metric| metric.gradient_norm),
        ("learning rate", "", |metric| metric.learning_rate),
    ];
    let timings: [(&str, &str, Of); 3] = [
        ("throughput", "tokens a second", |timing| timing.tokens_per_second),
        ("waiting for data", "% of a step", |timing| {
            100.0 * timing.feed_seconds / timing.seconds.max(f64::MIN_POSITIVE)
        }),
        ("memory", "GiB", |timing| {
            timing.memory.map_or(f64::NAN, |bytes| bytes as f64 / (1u64 << 30) as f64)
        }),
    ];
    let mut html = "<div class=\"charts\">\n".to_owned();
    for (title, unit, of) in metrics {
        html.push_str(&multiple(runs, title, unit, &|shown| of_metric(&shown.run, of)));
    }
    for (title, unit, of) in timings {
        html.push_str(&multiple(runs, title, unit, &|shown| of_timing(&shown.run, of)));
    }
    let flops = |shown: &Shown| {
        let a_token = shown.known.flops_per_token.map_or(f64::NAN, |flops| flops as f64 / 1e12);
        let speed = of_timing(&shown.run, |timing| timing.tokens_per_second);
        speed.into_iter().map(|(x, speed)| (x, speed * a_token)).collect()
    };
    html.push_str(&multiple(runs, "model FLOPs", "TFLOP a second", &flops));
    let title = "model FLOP utilisation";
    html.push_str(&multiple(runs, title, "% of the peak", &utilisation));
    html.push_str("</div>\n");
    html.push_str(&peaks(runs));
    match html.contains("<svg") {
        true => html,
        false => String::new(),
    }
}

/// The model FLOPs of each step as a share of its machine's peak, in percent; empty where that is
/// not known.
fn utilisation(shown: &Shown) -> Vec<Point> {
    let Shown { run, known } = shown;
    let a_token = known.flops_per_token.map_or(f64::NAN, |flops| flops as f64);
    let share = |timing: &Timing| {
        let peak = run.peak_at(timing.step).map_or(f64::NAN, |peak| peak.flops_per_second);
        (run.tokens_at(timing.step) as f64, 100.0 * timing.tokens_per_second * a_token / peak)
    };
    run.timing.iter().map(share).collect()
}

/// A note on how FLOPs are counted, and which peak they are a share of.
fn peaks(runs: &[Shown]) -> String {
    let mut said: Vec<String> = Vec::new();
    for session in runs.iter().flat_map(|shown| &shown.run.sessions) {
        let Some(peak) = &session.peak else { continue };
        let of =
            if session.host.is_empty() { String::new() } else { format!(" ({})", session.host) };
        let rate = peak.flops_per_second / 1e9;
        let line = format!("{}{of}, {rate:.1} GFLOP a second", peak.of);
        if !said.contains(&line) {
            said.push(line);
        }
    }
    match said.is_empty() {
        true => String::new(),
        false => format!(
            "<p class=\"note\">FLOPs are PaLM's: 6 a matrix element and token, and 12 a layer, \
             head, element of a head and place of the row; the peak is that of {}.</p>\n",
            escape(&said.join("; "))
        ),
    }
}

fn multiple(
    runs: &[Shown],
    title: &str,
    unit: &'static str,
    of: &dyn Fn(&Shown) -> Vec<Point>,
) -> String {
    let mut chart = Chart::new(title, "tokens", unit);
    chart.small = true;
    for (color, (shown, name)) in named(runs).enumerate() {
        let points = of(shown);
        let name = if runs.len() > 1 { name } else { title.to_owned() };
        chart.lines.push(Line { name, points, stroke: Stroke::Solid, color });
    }
    if let [Shown { run, .. }] = runs {
        chart.marks = resumes(run);
    }
    chart.figure()
}

/// The runs, each with the name that tells it apart.
fn named(runs: &[Shown]) -> impl Iterator<Item = (&Shown, String)> {
    runs.iter().zip(settings::names(runs))
}

fn of_metric(run: &Run, of: fn(&Metric) -> f64) -> Vec<Point> {
    run.metrics.iter().map(|metric| (metric.tokens as f64, of(metric))).collect()
}

fn of_timing(run: &Run, of: fn(&Timing) -> f64) -> Vec<Point> {
    run.timing.iter().map(|timing| (run.tokens_at(timing.step) as f64, of(timing))).collect()
}

/// Where a process resumed the run.
fn resumes(run: &Run) -> Vec<(f64, String)> {
    let sessions = run.sessions.iter().filter(|session| session.from_step > 0);
    let mark = |session: &super::records::Session| {
        let tokens = run.tokens_at(session.from_step) as f64;
        (tokens, format!("resumed after step {} on {}", Count(session.from_step), session.host))
    };
    sessions.map(mark).collect()
}
