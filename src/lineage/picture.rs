//! A lineage as a picture.
//!
//! In → a [`Lineage`]; out → a self-contained SVG, to stand alone or inside a page: source files to
//! the left, a box for each step with the documents that went in, came out and were left out, and
//! an arrow for each input. Text takes the page's colour (`currentColor`), so the picture reads on
//! light and dark. Pure; cost: negligible.

use std::collections::BTreeMap;

use super::node::{Input, Lineage};
use super::tree::facts;
use crate::artifact::record::Kind;
use crate::base::html::{escape, put};
use crate::base::size::{Bytes, Count};

const WIDTH: f64 = 236.0;
const HEIGHT: f64 = 64.0;
const GAP_X: f64 = 46.0;
const GAP_Y: f64 = 18.0;
/// The most characters in a line of a box.
const CHARACTERS: usize = 34;

/// The label of artifacts that nothing is trained on.
const ONLY_VALIDATES: &str = "only validates";

/// A box and its place.
struct Drawn {
    x: f64,
    y: f64,
    lines: Vec<String>,
    title: String,
    is_source: bool,
}

/// The picture.
pub fn draw(lineage: &Lineage) -> String {
    let depths: Vec<usize> = (0..lineage.nodes.len()).map(|node| lineage.depth(node)).collect();
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    let mut place = |column: usize| {
        let row = rows.entry(column).or_default();
        *row += 1;
        let (x, y) = (column as f64, (*row - 1) as f64);
        (8.0 + x * (WIDTH + GAP_X), 8.0 + y * (HEIGHT + GAP_Y))
    };
    let validating = lineage.validating();
    let (mut boxes, mut arrows) = (Vec::new(), Vec::new());
    for (index, node) in lineage.nodes.iter().enumerate() {
        let column = depths[index] + 1;
        // A tokenizer or classifier leaves the first row to the text, whose arrow passes it.
        if matches!(node.kind, Some(Kind::Tokenizer | Kind::Classifier)) {
            place(column);
        }
        let (x, y) = place(column);
        let mut lines = vec![format!("{} · {}", node.name, node.stage)];
        lines.extend(validating[index].then(|| ONLY_VALIDATES.to_owned()));
        lines.extend(facts(node).into_iter().take(3 - lines.len()));
        lines.extend(node.fingerprint.map(|it| it.short()));
        let title = format!("{}\n{}", node.name, facts(node).join("\n"));
        boxes.push(Drawn { x, y, lines, title, is_source: false });
    }
    for (index, node) in lineage.nodes.iter().enumerate() {
        arrows.extend(lineage.made(index).map(|from| (from, index)));
        for (source, files, bytes, names) in sources(node.inputs.iter()) {
            let (x, y) = place(depths[index]);
            arrows.push((boxes.len(), index));
            let word = if files == 1 { "file" } else { "files" };
            let count = format!("{} {word}, {}", Count(files), Bytes(bytes));
            let mut lines = vec![source, count];
            // The raw files that a mix itself reads are validation texts.
            let validates = validating[index] || node.kind == Some(Kind::Mix);
            lines.extend(validates.then(|| ONLY_VALIDATES.to_owned()));
            boxes.push(Drawn { x, y, lines, title: names, is_source: true });
        }
    }
    render(&boxes, &arrows)
}

/// The raw files of a step by source: (source, files, bytes, their names).
fn sources<'a>(inputs: impl Iterator<Item = &'a Input>) -> Vec<(String, u64, u64, String)> {
    let mut found: Vec<(String, u64, u64, String)> = Vec::new();
    for input in inputs {
        let Input::File(record) = input else { continue };
        let source = record.source.clone().unwrap_or_else(|| record.name.clone());
        let line = format!("{} {}", record.name, record.identity);
        match found.iter_mut().find(|known| known.0 == source) {
            Some(known) => {
                known.1 += 1;
                known.2 += record.bytes;
                known.3 = format!("{}\n{line}", known.3);
            }
            None => found.push((source, 1, record.bytes, line)),
        }
    }
    found
}

fn render(boxes: &[Drawn], arrows: &[(usize, usize)]) -> String {
    let right = boxes.iter().map(|it| it.x + WIDTH).fold(0.0, f64::max) + 8.0;
    let bottom = boxes.iter().map(|it| it.y + HEIGHT).fold(0.0, f64::max) + 8.0;
    let mut svg = String::new();
    put(
        &mut svg,
        format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {right:.0} {bottom:.0}\" \
             width=\"{right:.0}\" role=\"img\" aria-label=\"lineage\" \
             font-family=\"system-ui,sans-serif\" font-size=\"11\" fill=\"currentColor\" \
             stroke-width=\"1\">\n"
        ),
    );
    for (from, to) in arrows {
        let (from, to) = (&boxes[*from], &boxes[*to]);
        let (x1, y1) = (from.x + WIDTH, from.y + HEIGHT / 2.0);
        let (x2, y2) = (to.x, to.y + HEIGHT / 2.0);
        let middle = (x1 + x2) / 2.0;
        put(
            &mut svg,
            format_args!(
                "<path d=\"M{x1:.0} {y1:.0} C{middle:.0} {y1:.0} {middle:.0} {y2:.0} {x2:.0} \
                 {y2:.0}\" fill=\"none\" stroke=\"currentColor\" stroke-opacity=\"0.45\"/>\n"
            ),
        );
    }
    for drawn in boxes {
        let Drawn { x, y, lines, title, is_source } = drawn;
        let (color, dash) = match is_source {
            true => ("#d98324", " stroke-dasharray=\"4 3\""),
            false => ("#2f6db5", ""),
        };
        put(
            &mut svg,
            format_args!(
                "<g><title>{}</title><rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"{WIDTH}\" \
                 height=\"{HEIGHT}\" rx=\"5\" fill=\"{color}\" fill-opacity=\"0.1\" \
                 stroke=\"{color}\"{dash}/>\n",
                escape(title)
            ),
        );
        for (at, line) in lines.iter().enumerate() {
            let (x, y) = (x + 8.0, y + 15.0 + 14.0 * at as f64);
            let weight = if at == 0 { " font-weight=\"600\"" } else { "" };
            let line = escape(&cut(line));
            put(&mut svg, format_args!("<text x=\"{x:.0}\" y=\"{y:.0}\"{weight}>{line}</text>\n"));
        }
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
