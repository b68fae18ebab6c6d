//! `report.html`: the run on one page.
//!
//! In → configuration and records; out → HTML that needs nothing else: the loss curve as inline
//! SVG, bits per byte by source against the unigram baseline, samples, the configuration. Pure: the
//! clock enters as one line that the caller gives, marked with `class="clocks"`.

use serde::{Deserialize, Serialize};

use super::{sample::Sample, validate::SourceEval};
use crate::base::hash::Fingerprint;
use crate::base::html::{escape, put};

/// A line of `metrics.jsonl`: one optimizer step. No clocks: equal runs, equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Optimizer steps done.
    pub step: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Mean loss of the step's batch before the update, nats a token.
    pub loss: f64,
    /// The learning rate of the update.
    pub learning_rate: f64,
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: f64,
    /// Whether the step was left out as a spike: the parameters are as before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// Every `train.hash_every` steps: XXH3-128 of the one before it and that of all parameters
    /// after this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Fingerprint>,
}

/// What the page shows.
pub struct Page<'a> {
    /// The run's name.
    pub title: &'a str,
    /// The line with clocks and places.
    pub clocks: &'a str,
    /// What must not be missed.
    pub warnings: &'a [String],
    /// Numbers that follow from the configuration.
    pub derived: &'a [(&'static str, u64)],
    /// One a step.
    pub metrics: &'a [Metric],
    /// One a source and evaluation.
    pub evals: &'a [SourceEval],
    /// All milestones.
    pub samples: &'a [Sample],
    /// `config.toml`.
    pub config: &'a str,
}

/// Points of the curve at most; more steps are averaged in equal groups.
const POINTS_MAX: usize = 600;
/// The drawing, and the room left for its labels, in SVG units.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 48.0;
const BOTTOM: f64 = 28.0;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
padding:0 1rem;color:#1a1a1a}table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;\
text-align:right}td:first-child,th:first-child{text-align:left}pre{white-space:pre-wrap;\
background:#f5f5f5;padding:.8rem;border-radius:4px}svg{width:100%;height:auto}svg text{font-size:\
12px;fill:#666}.clocks{color:#666}.warning{background:#fde7e7;color:#8a1010;padding:.6rem .8rem;\
border-radius:4px;font-weight:600}mark{background:#e3ecff}";

impl Page<'_> {
    /// The HTML.
    pub fn render(&self) -> String {
        let title = escape(self.title);
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n\
             <p class=\"clocks\">{}</p>\n",
            escape(self.clocks)
        );
        for warning in self.warnings {
            let warning = escape(warning);
            put(&mut html, format_args!("<p class=\"warning\">Warning: {warning}</p>\n"));
        }
        html.push_str("<h2>Loss</h2>\n");
        html.push_str(&curve(self.metrics));
        self.evaluations(&mut html);
        self.samples(&mut html);
        html.push_str("<h2>Numbers</h2>\n<table>\n");
        for (name, number) in self.derived {
            put(&mut html, format_args!("<tr><td>{name}</td><td>{number}</td></tr>\n"));
        }
        put(
            &mut html,
            format_args!(
                "</table>\n<h2>Configuration</h2>\n<pre>{}</pre>\n</body></html>\n",
                escape(self.config)
            ),
        );
        html
    }

    fn evaluations(&self, html: &mut String) {
        if self.evals.is_empty() {
            return;
        }
        html.push_str(
            "<h2>Bits per byte of held-out documents</h2>\n<table>\n<tr><th>source</th><th>step\
             </th><th>bits per byte</th><th>unigram baseline</th><th>nats a token</th><th>\
             documents</th></tr>\n",
        );
        for eval in self.evals.iter().rev() {
            let SourceEval { step, bits_per_byte, unigram_bits_per_byte, documents, .. } = eval;
            let nats = eval.nats / eval.tokens.max(1) as f64;
            let source = escape(&eval.source);
            put(
                html,
                format_args!(
                    "<tr><td>{source}</td><td>{step}</td><td>{bits_per_byte:.4}</td>\
                     <td>{unigram_bits_per_byte:.4}</td><td>{nats:.4}</td>\
                     <td>{documents}</td></tr>\n"
                ),
            );
        }
        html.push_str("</table>\n");
    }

    fn samples(&self, html: &mut String) {
        if self.samples.is_empty() {
            return;
        }
        html.push_str("<h2>Samples</h2>\n");
        for sample in self.samples.iter().rev() {
            let (prompt, text) = (escape(&sample.prompt), escape(&sample.text));
            let step = sample.step;
            put(html, format_args!("<p>step {step}</p>\n<pre><mark>{prompt}</mark>{text}</pre>\n"));
        }
    }
}

/// The loss over the steps, as SVG.
fn curve(metrics: &[Metric]) -> String {
    let points = averaged(metrics);
    let losses = points.iter().map(|(_, loss)| *loss);
    let low = losses.clone().fold(f64::INFINITY, f64::min).floor();
    let high = losses.fold(f64::NEG_INFINITY, f64::max).ceil().max(low + 1.0);
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return "<p>No step yet.</p>\n".to_owned();
    };
    let span = (last.0 - first.0).max(1.0);
    let x = |step: f64| LEFT + (step - first.0) / span * (WIDTH - LEFT - 12.0);
    let y = |loss: f64| 8.0 + (high - loss) / (high - low) * (HEIGHT - BOTTOM - 8.0);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n");
    let lines = (high - low) as u32;
    for line in 0..=lines {
        let loss = low + f64::from(line);
        let (at, end) = (y(loss), WIDTH - 12.0);
        put(
            &mut svg,
            format_args!(
                "<path d=\"M{LEFT} {at:.1}H{end}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{loss}</text>\n",
                LEFT - 6.0,
                at + 4.0
            ),
        );
    }
    for quarter in 0..=4 {
        let step = first.0 + span * f64::from(quarter) / 4.0;
        let (at, floor) = (x(step), HEIGHT - 8.0);
        put(
            &mut svg,
            format_args!(
                "<text x=\"{at:.1}\" y=\"{floor:.1}\" text-anchor=\"middle\">{step:.0}</text>\n"
            ),
        );
    }
    let mut path = String::new();
    for (index, (step, loss)) in points.iter().enumerate() {
        let letter = if index == 0 { 'M' } else { 'L' };
        put(&mut path, format_args!("{letter}{:.1} {:.1}", x(*step), y(*loss)));
    }
    put(
        &mut svg,
        format_args!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"#2457c5\" stroke-width=\"1.5\"/>\n</svg>\n\
             <p>last: {:.4} nats a token at step {}</p>\n",
            metrics.last().map_or(0.0, |metric| metric.loss),
            metrics.last().map_or(0, |metric| metric.step)
        ),
    );
    svg
}

/// (step, loss), averaged so that [`POINTS_MAX`] points are enough.
fn averaged(metrics: &[Metric]) -> Vec<(f64, f64)> {
    let group = metrics.len().div_ceil(POINTS_MAX).max(1);
    let mean = |metrics: &[Metric]| {
        let count = metrics.len() as f64;
        let step = metrics.iter().map(|metric| metric.step as f64).sum::<f64>() / count;
        (step, metrics.iter().map(|metric| metric.loss).sum::<f64>() / count)
    };
    metrics.chunks(group).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_records_and_runs_no_text_as_html() {
        let metrics: Vec<Metric> = (1..=5000)
            .map(|step| Metric {
                step,
                tokens: step * 8,
                loss: 9.0 / step as f64,
                learning_rate: 0.0,
                gradient_norm: 1.0,
                skipped: false,
                parameters: None,
            })
            .collect();
        let sample = Sample {
            step: 5000,
            prompt: "a".into(),
            text: "<script>".into(),
            tokens: 1,
            ended: false,
        };
        let page = Page {
            title: "run",
            clocks: "now",
            warnings: &["training <diverged>".into()],
            derived: &[("parameters", 7)],
            metrics: &metrics,
            evals: &[],
            samples: &[sample],
            config: "[train]",
        };
        let html = page.render();
        assert!(html.contains("<mark>a</mark>&lt;script&gt;") && !html.contains("<script>"));
        assert!(html.contains("class=\"warning\">Warning: training &lt;diverged&gt;"));
        assert!(html.contains("last: 0.0018 nats a token at step 5000"));
        assert!(averaged(&metrics).len() <= POINTS_MAX);
        assert!(html.len() < 40_000, "{}", html.len());
    }
}
