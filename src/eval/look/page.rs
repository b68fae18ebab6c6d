//! A look inside a model, as one HTML page that needs nothing else.
//!
//! In → a [`PromptLook`]; out → a page: the text coloured by loss, norms by block and token, what
//! the model would say after each block, and the attention of each head as a picture, with a row
//! for each token that attends. Pure.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::FULL_LOSS;
use super::prompt::{Guess, PromptLook};
use crate::base::html::{escape, put};

/// Marks a page as ours, so that no other file is overwritten.
pub const MARK: &str = "<!-- dataprep: inside a model -->";

const STYLE: &str = "<style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;\
    margin:1rem auto;max-width:80rem;padding:0 1rem}.text{white-space:pre-wrap;overflow-wrap:\
    anywhere;font-size:1.1rem}.wide{overflow-x:auto}table{border-collapse:collapse}td,th{padding:\
    .1rem .4rem;white-space:pre;text-align:left;font-weight:normal}td{border:1px solid #8884}\
    figure{display:inline-block;margin:.3rem}figcaption{font-size:.8rem}canvas{width:160px;\
    height:160px;image-rendering:pixelated;border:1px solid #8888}</style>";

/// Draws the attention maps: one byte for each pair of tokens, 255 for an attention weight of 1.
const SCRIPT: &str = "<script>for(const c of document.querySelectorAll('canvas')){const b=atob(\
    c.dataset.map),n=c.width,g=c.getContext('2d'),i=g.createImageData(n,n);for(let k=0;k<b.length;\
    k++){const v=b.charCodeAt(k);i.data.set([v>127?255:2*v,v,Math.min(255,80+v),v?255:0],4*k)}\
    g.putImageData(i,0,0)}</script>";

impl PromptLook {
    /// The page.
    pub fn page(&self) -> String {
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\">\n{MARK}\n<meta charset=\"utf-8\">\n<title>Inside \
             {name}</title>\n{STYLE}\n<h1>Inside {name}</h1>\n",
            name = escape(&self.model)
        );
        self.put_text(&mut html);
        self.put_norms(&mut html);
        self.put_lens(&mut html);
        self.put_attention(&mut html);
        html.push_str(SCRIPT);
        html.push_str("\n</html>\n");
        html
    }

    fn put_text(&self, html: &mut String) {
        html.push_str("<h2>Loss, token by token</h2>\n");
        if let (Some(nats), Some(bits)) = (self.nats_per_token, self.bits_per_byte) {
            put(html, format_args!("<p>{nats:.3} nats a token, {bits:.3} bits a byte.</p>\n"));
        }
        html.push_str("<p class=\"text\">");
        for token in &self.tokens {
            let nats = token.nats.unwrap_or(0.0);
            let title = token.nats.map_or_else(|| "first".to_owned(), |it| format!("{it:.2} nats"));
            let (ground, text) = (ground("#e05020", nats / FULL_LOSS), escape(&token.text));
            put(html, format_args!("<span title=\"{title}\" style=\"{ground}\">{text}</span>"));
        }
        html.push_str("</p>\n");
    }

    fn put_norms(&self, html: &mut String) {
        html.push_str("<h2>Norm of the activations</h2>\n<div class=\"wide\"><table>\n");
        self.put_head(html);
        let norms = self.layers.iter().flat_map(|layer| &layer.norms);
        let largest = norms.copied().fold(f64::MIN_POSITIVE, f64::max);
        for layer in &self.layers {
            put(html, format_args!("<tr><th>{}</th>", layer.blocks));
            for norm in &layer.norms {
                // The square root keeps the others visible beside one outlier.
                let ground = ground("#3070d0", (norm / largest).sqrt());
                put(html, format_args!("<td style=\"{ground}\">{norm:.1}</td>"));
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</table></div>\n");
    }

    fn put_lens(&self, html: &mut String) {
        html.push_str(
            "<h2>What would come next after so many blocks</h2>\n<div class=\"wide\"><table>\n",
        );
        self.put_head(html);
        for layer in self.layers.iter().filter(|layer| !layer.lens.is_empty()) {
            put(html, format_args!("<tr><th>{}</th>", layer.blocks));
            for guesses in &layer.lens {
                let line = |it: &Guess| format!("{:?} {:.1}%", it.text, 100.0 * it.probability);
                let title = guesses.iter().map(line).collect::<Vec<_>>().join("&#10;");
                let first = guesses.first();
                let ground = ground("#30a050", first.map_or(0.0, |guess| guess.probability));
                let text = first.map_or("", |guess| guess.text.as_str());
                let (title, text) = (escape(&title).replace("&amp;#10;", "&#10;"), escape(text));
                put(html, format_args!("<td title=\"{title}\" style=\"{ground}\">{text}</td>"));
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</table></div>\n");
    }

    /// The table's head: the tokens, one a column.
    fn put_head(&self, html: &mut String) {
        html.push_str("<tr><th>blocks</th>");
        for token in &self.tokens {
            put(html, format_args!("<th>{}</th>", escape(&token.text)));
        }
        html.push_str("</tr>\n");
    }

    fn put_attention(&self, html: &mut String) {
        html.push_str(
            "<h2>Attention</h2>\n<p>A row a token that looks, from the top; a column a \
                       token that is looked at.</p>\n",
        );
        let size = self.tokens.len();
        for (block, heads) in self.attention.iter().enumerate() {
            put(html, format_args!("<h3>Block {}</h3>\n", block + 1));
            for (head, map) in heads.iter().enumerate() {
                let bytes: Vec<u8> = map.iter().map(|share| (255.0 * share) as u8).collect();
                let (head, map) = (head + 1, STANDARD.encode(bytes));
                put(
                    html,
                    format_args!(
                        "<figure><canvas width=\"{size}\" height=\"{size}\" \
                    data-map=\"{map}\"></canvas><figcaption>head {head}</figcaption></figure>\n"
                    ),
                );
            }
        }
    }
}

/// A ground that shows a share of a colour.
fn ground(colour: &str, share: f64) -> String {
    let percent = (80.0 * share.clamp(0.0, 1.0)).round();
    format!("background:color-mix(in srgb,{colour} {percent}%,transparent)")
}
