//! The tree of an ablation as a picture.
//!
//! In → an [`Outcome`]; out → SVG that needs nothing else: a box a variant under the one that it
//! changes, with its change, bits per byte, the difference with its interval and the verdict; green
//! is kept, red is worse, grey is lost in the noise. Pure.

use super::tree::{Branch, Outcome};
use crate::base::html::{escape, put};
use crate::compare::Call;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 62.0;
const INDENT: f64 = 36.0;
const GAP: f64 = 12.0;
/// Characters that fit a line of a box.
const CHARACTERS: usize = 92;

/// A text that only pictures of ours hold, so that they may be overwritten.
pub const MARK: &str = "aria-label=\"ablation\"";

/// The picture.
pub fn draw(outcome: &Outcome) -> String {
    let variants = &outcome.variants;
    let depth = |mut index: usize| {
        let mut depth = 0;
        while let Some(from) = variants[index].from {
            (index, depth) = (from, depth + 1);
        }
        depth
    };
    let mut order = Vec::new();
    children(variants, None, &mut order);
    let deepest = order.iter().map(|index| depth(*index)).max().unwrap_or(0);
    let width = WIDTH + INDENT * deepest as f64 + 16.0;
    let height = (HEIGHT + GAP) * order.len() as f64 + 16.0;
    let mut svg = String::new();
    put(
        &mut svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" {MARK} role=\"img\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
             font-family=\"system-ui,sans-serif\" font-size=\"12\" fill=\"currentColor\">\n"
        ),
    );
    let place = |index: usize| {
        let row = order.iter().position(|it| *it == index).unwrap_or(0);
        (8.0 + INDENT * depth(index) as f64, 8.0 + (HEIGHT + GAP) * row as f64)
    };
    for index in &order {
        let (x, y) = place(*index);
        if let Some(from) = variants[*index].from {
            let (left, top) = place(from);
            let (left, middle) = (left + INDENT / 2.0, y + HEIGHT / 2.0);
            put(
                &mut svg,
                format_args!(
                    "<path d=\"M{left:.0} {:.0} V{middle:.0} H{x:.0}\" fill=\"none\" \
                     stroke=\"currentColor\" stroke-opacity=\"0.5\"/>\n",
                    top + HEIGHT
                ),
            );
        }
        draw_box(&mut svg, &variants[*index], x, y);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Variants in the order of a walk down the tree.
fn children(variants: &[Branch], from: Option<usize>, order: &mut Vec<usize>) {
    for (index, variant) in variants.iter().enumerate() {
        if variant.from == from {
            order.push(index);
            children(variants, Some(index), order);
        }
    }
}

fn draw_box(svg: &mut String, branch: &Branch, x: f64, y: f64) {
    let call = branch.verdict.as_ref().map(|verdict| verdict.call);
    let (color, word) = match (call, branch.kept) {
        (Some(Call::Better), Some(true)) => ("#4a9a57", "kept"),
        (Some(Call::Worse), _) => ("#c0504d", "reverted"),
        (Some(_), _) => ("#777777", "reverted"),
        (None, _) => ("#2f6db5", ""),
    };
    put(
        svg,
        format_args!(
            "<g><title>{}</title><rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" rx=\"5\" fill=\"{color}\" fill-opacity=\"0.12\" \
             stroke=\"{color}\"/>\n",
            escape(&branch.change)
        ),
    );
    let bits = branch.bits_per_byte.map_or("not run yet".to_owned(), |it| {
        let texts = if branch.other_texts { " (other texts)" } else { "" };
        format!("{it:.4} bits per byte{texts}, {} of {} runs", branch.runs.len(), branch.seeds)
    });
    let verdict = branch.verdict.as_ref().map_or(String::new(), |it| format!("{word}: {it}"));
    let lines = [(15.0, "600", format!("{} · {bits}", branch.name)), (33.0, "400", verdict)];
    let change = (51.0, "400", branch.change.clone());
    for (down, weight, line) in lines.into_iter().chain([change]) {
        let cut: String = line.chars().take(CHARACTERS).collect();
        let (x, y) = (x + 8.0, y + down);
        put(
            svg,
            format_args!(
                "<text x=\"{x:.0}\" y=\"{y:.0}\" font-weight=\"{weight}\">{}</text>\n",
                escape(&cut)
            ),
        );
    }
    svg.push_str("</g>\n");
}
