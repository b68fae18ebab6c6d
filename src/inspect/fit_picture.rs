//! The fit of tokenizers as a picture.
//!
//! A [`FitReport`] in → SVG out, which a browser shows by itself: bytes a token by source, one bar
//! a tokenizer, and the share of the text that tokens of each length cover. No script, no font.

use std::fmt::Write;

use super::fit::{FitReport, LENGTHS, TokenizerFit};

const WIDTH: f64 = 900.0;
const LEFT: f64 = 150.0;
const BAR: f64 = 14.0;
const COLORS: [&str; 6] = ["#2f6db5", "#d98324", "#4a9a57", "#9a5ab0", "#c0504d", "#777777"];

/// A text that only pictures of ours hold, so that they may be overwritten.
pub const MARK: &str = "generator: dataprep";

/// The picture.
pub fn draw(report: &FitReport) -> String {
    let fits = &report.tokenizers;
    let sources = fits[0].sources.len() + 1;
    let group = BAR * fits.len() as f64 + 12.0;
    let bars = 60.0 + 18.0 * fits.len() as f64;
    let lengths = bars + group * sources as f64 + 50.0;
    let height = lengths + 230.0;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' \
         font-family='system-ui,sans-serif' font-size='12'>\n<!-- {MARK} -->\n\
         <rect width='{WIDTH}' height='{height}' fill='white'/>\n"
    );
    text(&mut svg, 16.0, 24.0, "bytes a token, by source", "font-size='16'");
    for (index, fit) in fits.iter().enumerate() {
        let y = 44.0 + 18.0 * index as f64;
        rectangle(&mut svg, (16.0, y - 10.0, 12.0, 12.0), color(index));
        let label = format!("{} ({} entries)", fit.name, fit.vocab_size);
        text(&mut svg, 34.0, y, &label, "");
    }
    draw_sources(&mut svg, fits, bars, group);
    let title = "share of the text that tokens of each length cover, in bytes";
    text(&mut svg, 16.0, lengths, title, "font-size='16'");
    draw_lengths(&mut svg, fits, lengths + 180.0);
    svg.push_str("</svg>\n");
    svg
}

fn draw_sources(svg: &mut String, fits: &[TokenizerFit], top: f64, group: f64) {
    let value = |fit: &TokenizerFit, source: usize| {
        let fit = fit.sources.get(source).unwrap_or(&fit.total);
        (fit.name.clone(), fit.bytes_per_token.unwrap_or(0.0))
    };
    let sources = fits[0].sources.len() + 1;
    let all = fits.iter().flat_map(|fit| (0..sources).map(move |source| value(fit, source).1));
    let most = all.fold(1.0, f64::max);
    for source in 0..sources {
        let y = top + group * source as f64;
        let middle = y + BAR * fits.len() as f64 / 2.0 + 4.0;
        text(svg, LEFT - 10.0, middle, &value(&fits[0], source).0, "text-anchor='end'");
        for (index, fit) in fits.iter().enumerate() {
            let bytes = value(fit, source).1;
            let (y, width) = (y + BAR * index as f64, (WIDTH - LEFT - 70.0) * bytes / most);
            rectangle(svg, (LEFT, y, width, BAR - 2.0), color(index));
            text(svg, LEFT + width + 6.0, y + 10.0, &format!("{bytes:.2}"), "");
        }
    }
}

fn draw_lengths(svg: &mut String, fits: &[TokenizerFit], base: f64) {
    let step = (WIDTH - 60.0) / LENGTHS as f64;
    let bar = (step - 8.0) / fits.len() as f64;
    let share = |fit: &TokenizerFit, at: usize| {
        fit.bytes_by_token_length[at] as f64 / fit.total.bytes.max(1) as f64
    };
    let all = fits.iter().flat_map(|fit| (0..LENGTHS).map(move |at| share(fit, at)));
    let most = all.fold(0.01, f64::max);
    for at in 0..LENGTHS {
        let x = 30.0 + step * at as f64;
        let label = if at + 1 == LENGTHS { format!("{LENGTHS}+") } else { (at + 1).to_string() };
        text(svg, x + step / 2.0 - 4.0, base + 18.0, &label, "text-anchor='middle'");
        for (index, fit) in fits.iter().enumerate() {
            let height = 150.0 * share(fit, at) / most;
            let x = x + bar * index as f64;
            rectangle(svg, (x, base - height, bar - 1.0, height), color(index));
        }
    }
}

fn color(index: usize) -> &'static str {
    COLORS[index % COLORS.len()]
}

fn rectangle(svg: &mut String, (x, y, width, height): (f64, f64, f64, f64), fill: &str) {
    let _ = writeln!(
        svg,
        "<rect x='{x:.1}' y='{y:.1}' width='{width:.1}' height='{height:.1}' fill='{fill}'/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, text: &str, attributes: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text x='{x:.1}' y='{y:.1}' {attributes}>{text}</text>");
}
