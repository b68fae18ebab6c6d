//! Norms by layer over training: two pictures and a table.
//!
//! In → the records of `norms.jsonl`; out → HTML. A picture has one row a layer, from the embedding
//! to the head, and one column for each measured step: these lie close together at the beginning,
//! and later there are 32 to each doubling. The larger a norm, the darker its cell, on a
//! logarithmic scale over the whole picture, so a layer that grows, dies or spikes is seen at once.
//! **Invariant.** A picture has at most [`CELLS`] cells, whatever the depth; where several steps
//! share a column it shows the largest norm. Pure.

use super::{Shown, chart::short, lines::LayerNorms};
use crate::base::{
    html::{escape, put},
    size::Count,
};

/// The most cells of a picture, and the most columns, which bind where the model is shallow.
const CELLS: usize = 2_400;
const COLUMNS: usize = 96;
/// The drawing in SVG units.
const WIDTH: f64 = 640.0;
const LEFT: f64 = 84.0;
const ROW: f64 = 14.0;
/// How dark the cell of the smallest norm is, from 0 to 1.
const FAINTEST: f64 = 0.06;

/// Which of a layer's norms.
type Of = fn(&LayerNorms) -> f64;

/// The section; empty where no run has measured norms.
pub fn section(runs: &[Shown]) -> String {
    let mut html = String::new();
    for Shown { run, .. } in runs {
        let steps: Vec<&[LayerNorms]> = run.norms.chunk_by(|a, b| a.step == b.step).collect();
        let (Some(first), Some(last)) = (steps.first(), steps.last()) else { continue };
        if runs.len() > 1 {
            put(&mut html, format_args!("<h3>{}</h3>\n", escape(&run.name)));
        }
        html.push_str("<div class=\"charts\">\n");
        picture(&steps, "gradient norm", "by layer, before clipping", |it| it.gradient, &mut html);
        picture(&steps, "weight norm", "by layer", |it| it.weight, &mut html);
        html.push_str("</div>\n");
        table(first, last, &mut html);
    }
    html
}

/// Draws a picture: one row a layer, one column for one or more steps.
fn picture(steps: &[&[LayerNorms]], title: &str, what: &str, of: Of, html: &mut String) {
    let layers = steps[0];
    let columns = columns(steps, (CELLS / layers.len()).clamp(1, COLUMNS), of);
    let sizes = || columns.iter().flat_map(|(_, sizes)| sizes).copied().filter(|size| *size > 0.0);
    let (low, high) = (sizes().fold(f64::INFINITY, f64::min), sizes().fold(0.0, f64::max));
    if high == 0.0 {
        return;
    }
    let height = ROW * layers.len() as f64 + 24.0;
    put(
        html,
        format_args!(
            "<figure class=\"chart cells\">\n<figcaption>{title} <small>{what}: from {} (pale) \
             to {} (dark)</small></figcaption>\n<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-label=\"{title} {what}, steps {} to {}; the table below has the numbers\">\n",
            short(low),
            short(high),
            columns[0].0,
            columns[columns.len() - 1].0
        ),
    );
    let width = (WIDTH - LEFT) / columns.len() as f64;
    for (row, layer) in layers.iter().enumerate() {
        let y = ROW * row as f64;
        put(
            html,
            format_args!(
                "<text x=\"{}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\n",
                LEFT - 6.0,
                y + 11.0,
                escape(&layer.layer)
            ),
        );
        for (column, (_, sizes)) in columns.iter().enumerate() {
            let shade = shade(sizes.get(row).copied().unwrap_or_default(), low, high);
            let x = LEFT + width * column as f64;
            put(
                html,
                format_args!(
                    "<path class=\"cell\" opacity=\"{shade:.2}\" d=\"M{x:.1} {y}h{width:.2}v{ROW}\
                     h-{width:.2}z\"/>\n"
                ),
            );
        }
    }
    for column in (0..columns.len()).step_by((columns.len() / 6).max(1)) {
        let (x, step) = (LEFT + width * (column as f64 + 0.5), Count(columns[column].0));
        // A number under the last columns ends with the picture.
        let (x, anchor) = if x > WIDTH - 24.0 { (WIDTH, "end") } else { (x, "middle") };
        put(
            html,
            format_args!(
                "<text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"{anchor}\">{step}</text>\n",
                height - 6.0
            ),
        );
    }
    html.push_str("</svg>\n</figure>\n");
}

/// Divides the steps into at most `most` equal pieces; for each (first step, largest norm of each
/// layer).
fn columns(steps: &[&[LayerNorms]], most: usize, of: Of) -> Vec<(u64, Vec<f64>)> {
    let pieces = steps.chunks(steps.len().div_ceil(most));
    let largest = |piece: &[&[LayerNorms]], layer: usize| {
        let sizes = piece.iter().filter_map(|layers| layers.get(layer)).map(of);
        sizes.fold(0.0, f64::max)
    };
    let column = |piece: &[&[LayerNorms]]| {
        let layers = 0..piece[0].len();
        (piece[0][0].step, layers.map(|layer| largest(piece, layer)).collect())
    };
    pieces.map(column).collect()
}

/// How dark a norm is, by its logarithm: from [`FAINTEST`] to 1; 0 for a norm of zero.
fn shade(size: f64, low: f64, high: f64) -> f64 {
    if size <= 0.0 {
        return 0.0;
    }
    let range = libm::log(high / low);
    let share = if range > 0.0 { libm::log(size / low) / range } else { 1.0 };
    FAINTEST + (1.0 - FAINTEST) * share
}

/// The first norms and the latest.
fn table(first: &[LayerNorms], last: &[LayerNorms], html: &mut String) {
    put(
        html,
        format_args!(
            "<details><summary>Norms at step {} and at step {}</summary>\n<div class=\"wide\">\
             <table><thead><tr><th scope=\"col\">layer</th><th scope=\"col\">gradient at first\
             </th><th scope=\"col\">now</th><th scope=\"col\">weights at first</th>\
             <th scope=\"col\">now</th></tr></thead>\n<tbody>\n",
            Count(first[0].step),
            Count(last[0].step)
        ),
    );
    for (before, now) in first.iter().zip(last) {
        put(
            html,
            format_args!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                escape(&now.layer),
                short(before.gradient),
                short(now.gradient),
                short(before.weight),
                short(now.weight)
            ),
        );
    }
    html.push_str("</tbody></table></div></details>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn norms(step: u64, gradients: &[f64]) -> Vec<LayerNorms> {
        let layer = |(at, &gradient): (usize, &f64)| LayerNorms {
            step,
            layer: at.to_string(),
            gradient,
            weight: 1.0,
        };
        gradients.iter().enumerate().map(layer).collect()
    }

    #[test]
    fn a_column_of_several_steps_keeps_the_largest_of_each_layer() {
        let all: Vec<Vec<LayerNorms>> =
            (1..=5).map(|at| norms(at, &[at as f64, 9.0 - at as f64])).collect();
        let steps: Vec<&[LayerNorms]> = all.iter().map(Vec::as_slice).collect();
        let columns = columns(&steps, 3, |it| it.gradient);
        let expected = [(1, vec![2.0, 8.0]), (3, vec![4.0, 6.0]), (5, vec![5.0, 4.0])];
        assert_eq!(columns, expected);
    }

    #[test]
    fn shades_run_over_the_logarithm_and_nothing_is_white() {
        assert_eq!(shade(0.0, 0.1, 10.0), 0.0);
        assert_eq!(shade(0.1, 0.1, 10.0), FAINTEST);
        assert_eq!(shade(10.0, 0.1, 10.0), 1.0);
        assert!((shade(1.0, 0.1, 10.0) - (1.0 + FAINTEST) / 2.0).abs() < 1e-12);
        assert_eq!(shade(3.0, 3.0, 3.0), 1.0);
    }
}
