//! Time, money and where a run is going, as a page and `inspect` show them.
//!
//! In → a run, what the runtime knows of it, a price; out → [`Bill`], as data and as HTML. The
//! figures come from [`super::forecast`] and [`super::cost`].

use serde::Serialize;

use super::{
    Known, Shown,
    cost::{self, Cost, Forecast},
    data,
    forecast::{Curve, Step},
    records::Run,
    view::View,
};
use crate::base::{
    html::{escape, put},
    size::{Count, duration},
};
use crate::shards::mix_record::MixRecord;

/// The state of a run, and its forecast.
#[derive(Clone, Debug, Serialize)]
pub struct Bill {
    /// Missing before enough steps are done, and without the training runtime.
    pub forecast: Option<Forecast>,
    /// Missing without a price.
    pub cost: Option<Cost>,
    /// Parts of the training: the mix's phases, or quarters where it has only one.
    pub phases: Vec<Phase>,
}

/// A part of the training.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    pub name: String,
    pub tokens: u64,
    pub seconds: f64,
    /// The mean loss of its first and its last twentieth.
    pub first_loss: f64,
    pub last_loss: f64,
}

impl Bill {
    /// The bill of `run` at a price an hour, which defaults to the one that the run records.
    pub fn of(run: &Run, known: &Known, per_hour: Option<f64>) -> Bill {
        let curve = curve(run, known);
        let both = curve.as_ref().zip(known.outlook.as_ref());
        let per_hour = per_hour.or(run.price_per_hour);
        let training = (run.step_seconds(), run.tokens());
        Bill {
            forecast: both.map(|(curve, outlook)| cost::forecast(curve, outlook)),
            cost: per_hour.map(|price| cost::cost(price, run.seconds(), training, both)),
            phases: phases(run),
        }
    }
}

/// The fitted loss curve of a run, if it has enough steps.
pub fn curve(run: &Run, known: &Known) -> Option<Curve> {
    let outlook = known.outlook.as_ref()?;
    let peak = run.config["train"]["learning_rate"].as_f64()?;
    if peak <= 0.0 || outlook.steps == 0 {
        return None;
    }
    let steps = run.metrics.iter().map(|metric| Step {
        step: metric.step,
        loss: metric.loss,
        rate: metric.learning_rate / peak,
    });
    Curve::fit(&steps.collect::<Vec<_>>())
}

/// The phases of the mix that were read, or the quarters of what was.
fn phases(run: &Run) -> Vec<Phase> {
    let record = run.mix().and_then(|link| MixRecord::read(&link.path).ok());
    let named = record.map(|record| record.phases).unwrap_or_default();
    let spans: Vec<(String, u64, u64)> = match named.len() {
        0 | 1 => {
            let (quarter, words) = (run.tokens().div_ceil(4), ["first", "second", "third", "last"]);
            let span = |(at, word): (u64, &str)| {
                (format!("{word} quarter so far"), at * quarter, (at + 1) * quarter)
            };
            (0..).zip(words).map(span).collect()
        }
        _ => named
            .into_iter()
            .map(|phase| (phase.name, phase.first_token, phase.first_token + phase.tokens))
            .collect(),
    };
    spans.into_iter().filter_map(|(name, first, end)| phase(run, name, first, end)).collect()
}

fn phase(run: &Run, name: String, first: u64, end: u64) -> Option<Phase> {
    let from = run.metrics.partition_point(|metric| metric.tokens <= first);
    let to = run.metrics.partition_point(|metric| metric.tokens <= end);
    let metrics = &run.metrics[from..to.max(from)];
    let (start, last) = (metrics.first()?, metrics.last()?);
    let seconds = run.timing.iter().filter(|one| (start.step..=last.step).contains(&one.step));
    let part = metrics.len().div_ceil(20);
    let mean = |metrics: &[super::lines::Metric]| {
        metrics.iter().map(|metric| metric.loss).sum::<f64>() / metrics.len() as f64
    };
    Some(Phase {
        name,
        tokens: last.tokens - first.min(last.tokens),
        seconds: seconds.map(|timing| timing.seconds).sum(),
        first_loss: mean(&metrics[..part]),
        last_loss: mean(&metrics[metrics.len() - part..]),
    })
}

/// The part of the page.
pub fn section(runs: &[Shown], view: &View) -> String {
    let mut html = String::new();
    for Shown { run, known } in runs.iter().filter(|shown| !shown.run.metrics.is_empty()) {
        if runs.len() > 1 {
            put(&mut html, format_args!("<h3>{}</h3>\n", escape(&run.name)));
        }
        let bill = Bill::of(run, known, view.price_per_hour);
        html.push_str(&sentences(&bill));
        table(run, &bill, &mut html);
    }
    html
}

/// The forecast and the bill in words, a paragraph each.
fn sentences(bill: &Bill) -> String {
    let lines = bill.lines();
    lines.iter().map(|line| format!("<p>{}</p>\n", escape(line))).collect()
}

impl Bill {
    /// The forecast and the bill in words, a sentence each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(Forecast { end, steps, at_twenty, twenty_tokens }) = &self.forecast {
            let said = |estimate: &super::forecast::Estimate| {
                let half = (estimate.high - estimate.low) / 2.0;
                format!("{:.3} ± {half:.3}", estimate.loss)
            };
            lines.push(format!(
                "training loss forecast: {} nats a token at step {}, {} after 20 tokens a \
                 parameter ({} tokens); the truth is inside nine times of ten",
                said(end),
                Count(*steps),
                said(at_twenty),
                Count(*twenty_tokens)
            ));
        }
        let Some(cost) = &self.cost else { return lines };
        let mut line =
            format!("cost so far: {} at {} an hour", money(cost.so_far), money(cost.per_hour));
        if let Some(price) = cost.per_billion_tokens {
            line += &format!(", {} a billion tokens", money(price));
        }
        if let Some(price) = cost.to_finish {
            line += &format!(", {} more to the end", money(price));
        }
        lines.push(line);
        if let [(ten, gain), (hundred, more)] = cost.buys[..] {
            let mut line = format!(
                "the next {} buy {gain:.3} nats, the next {} {more:.3}, by a run so much longer",
                money(ten),
                money(hundred)
            );
            if let Some(price) = cost.per_hundredth {
                line += &format!("; the next 0.01 cost {}", money(price));
            }
            lines.push(line);
        }
        lines
    }
}

/// Dollars, with cents where they count.
fn money(dollars: f64) -> String {
    match dollars.abs() {
        0.0 => "$0".to_owned(),
        size if size >= 1000.0 => format!("${}", Count(dollars as u64)),
        size if size >= 0.1 => format!("${dollars:.2}").replace(".00", ""),
        _ => format!("${dollars:.4}"),
    }
}

/// A row a phase of training, then the steps before it.
fn table(run: &Run, bill: &Bill, html: &mut String) {
    let price = bill.cost.as_ref().map(|cost| cost.per_hour / 3600.0);
    let heads = if price.is_some() {
        "<th scope=\"col\">cost</th><th scope=\"col\">a 0.01 of loss</th>"
    } else {
        ""
    };
    put(
        html,
        format_args!(
            "<div class=\"wide\"><table><thead><tr><th scope=\"col\">phase</th><th scope=\"col\">\
             time</th><th scope=\"col\">tokens</th><th scope=\"col\">loss from</th>\
             <th scope=\"col\">to</th>{heads}</tr></thead>\n<tbody>\n"
        ),
    );
    let mut row =
        |name: &str, seconds: f64, tokens: String, from: String, to: String, gain: f64| {
            let cost = price.map_or(String::new(), |price| {
                let hundredth =
                    if gain > 0.0 { money(seconds * price * 0.01 / gain) } else { "–".into() };
                format!("<td>{}</td><td>{hundredth}</td>", money(seconds * price))
            });
            put(
                html,
                format_args!(
                    "<tr><th scope=\"row\">{}</th><td>{}</td><td>{tokens}</td><td>{from}</td>\
                 <td>{to}</td>{cost}</tr>\n",
                    escape(name),
                    duration(seconds)
                ),
            );
        };
    for phase in &bill.phases {
        let (from, to) = (format!("{:.3}", phase.first_loss), format!("{:.3}", phase.last_loss));
        let gain = phase.first_loss - phase.last_loss;
        row(&phase.name, phase.seconds, Count(phase.tokens).to_string(), from, to, gain);
    }
    let beside = (run.seconds() - run.step_seconds()).max(0.0);
    let none = || String::new();
    row("evaluation, samples, checkpoints, start", beside, none(), none(), none(), 0.0);
    for (name, seconds) in data::seconds(run) {
        row(&name, seconds, none(), none(), none(), 0.0);
    }
    html.push_str("</tbody></table></div>\n");
}
