//! What a model makes of one text.
//!
//! In → a model, a prompt; out → [`PromptLook`]. **Method.** The prompt follows the model's opener.
//! The loss of a token is given all tokens before it. The logit lens shows the likeliest next
//! tokens of the model cut off after each block, with the whole model's final norm and head
//! (nostalgebraist, 2020). Among equally likely tokens the lower id comes first. **Cost.** A pass a
//! block.

use std::fmt;

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::eval::Subject;
use crate::eval::scores::write_table;
use crate::runtime::data::Batch;
use crate::runtime::model::{Look, Model};
use crate::tokenizer::Tokenizer;

/// Guesses kept at each token.
const GUESSES: usize = 5;
/// Guesses shown on the screen.
const GUESSES_SHOWN: usize = 3;

/// A text, and what the model computed while it read it.
#[derive(Clone, Debug, Serialize)]
pub struct PromptLook {
    /// `step-000500`, or `model`.
    pub model: String,
    pub prompt: String,
    /// The mean over the tokens after the opener.
    pub nats_per_token: Option<f64>,
    pub bits_per_byte: Option<f64>,
    pub tokens: Vec<TokenLook>,
    /// The state before the first block (index 0), then after each block.
    pub layers: Vec<LayerLook>,
    /// Attention weights, n_layer × n_head × (T · T); shown only on the page.
    #[serde(skip)]
    pub attention: Vec<Vec<Vec<f32>>>,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenLook {
    pub id: u32,
    /// Its text; bytes that are not valid UTF-8 by themselves are shown as U+FFFD.
    pub text: String,
    /// −ln of its probability; `None` for the first token.
    pub nats: Option<f64>,
}

/// The state after a number of blocks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerLook {
    /// The number of blocks before it.
    pub blocks: usize,
    /// The norm of the activations at each token.
    pub norms: Vec<f64>,
    /// The likeliest next tokens at each token; empty before the first block.
    pub lens: Vec<Vec<Guess>>,
}

/// A token that may come next.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Guess {
    pub id: u32,
    pub text: String,
    pub probability: f64,
}

impl PromptLook {
    /// Reads the model and the prompt.
    ///
    /// # Errors
    /// Config: a prompt longer than the model reads. Damaged: the model's files.
    pub fn new(subject: &Subject, prompt: &str) -> Result<PromptLook> {
        let mut ids = match subject.before.is_empty() {
            true => vec![subject.prefix],
            false => subject.before.clone(),
        };
        let opener = ids.len();
        subject.tokenizer.encode(prompt, &mut ids)?;
        if ids.len() > subject.length {
            let message = format!("the prompt has {} tokens with its opener", ids.len());
            let hint = format!("the model reads {} at once", subject.length);
            return Err(Error::config(message).with_hint(hint));
        }
        let model = subject.load()?;
        let Look { norms, attention } = model.look(&ids)?;
        let mut layers = Vec::with_capacity(norms.len());
        let mut nats = Vec::new();
        for (blocks, norms) in norms.into_iter().enumerate() {
            let norms = norms.into_iter().map(f64::from).collect();
            let mut lens = Vec::new();
            if blocks > 0 {
                let logits = logits(&model.first_blocks(blocks)?, &ids)?;
                lens = logits.iter().map(|row| guesses(row, &subject.tokenizer)).collect();
                // The lens after the last block is the model's own prediction.
                nats = ids[1..].iter().zip(&logits).map(|(&id, row)| row.nats(id)).collect();
            }
            layers.push(LayerLook { blocks, norms, lens });
        }
        let nats = std::iter::once(None).chain(nats.into_iter().map(Some));
        let tokens: Vec<TokenLook> = ids
            .iter()
            .zip(nats)
            .map(|(&id, nats)| {
                let text = subject.tokenizer.decode_text(&[id]);
                TokenLook { id, text, nats }
            })
            .collect();
        let own: f64 = tokens[opener..].iter().filter_map(|token| token.nats).sum();
        let count = (tokens.len() - opener) as f64;
        let bits = own / std::f64::consts::LN_2;
        Ok(PromptLook {
            model: subject.name.clone(),
            prompt: prompt.to_owned(),
            nats_per_token: (count > 0.0).then(|| own / count),
            bits_per_byte: (!prompt.is_empty()).then(|| bits / prompt.len() as f64),
            tokens,
            layers,
            attention,
        })
    }
}

/// The logits at one token, with what turns them into probabilities.
struct Row {
    logits: Vec<f32>,
    log_sum: f64,
}

impl Row {
    fn nats(&self, id: u32) -> f64 {
        self.log_sum - f64::from(self.logits[id as usize])
    }
}

fn logits(model: &Model, ids: &[u32]) -> Result<Vec<Row>> {
    let batch = Batch::single_document(ids.to_vec(), ids.to_vec());
    let all = model.logits(&batch)?;
    let row = |logits: &[f32]| {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&it| libm::exp(f64::from(it - largest))).sum();
        Row { logits: logits.to_vec(), log_sum: f64::from(largest) + libm::log(sum) }
    };
    Ok(all.chunks_exact(model.config().vocab_size).map(row).collect())
}

fn guesses(row: &Row, tokenizer: &Tokenizer) -> Vec<Guess> {
    let falls = |a: &u32, b: &u32| {
        row.logits[*b as usize].total_cmp(&row.logits[*a as usize]).then(a.cmp(b))
    };
    let mut ids: Vec<u32> = (0..row.logits.len() as u32).collect();
    if ids.len() > GUESSES {
        ids.select_nth_unstable_by(GUESSES, falls);
        ids.truncate(GUESSES);
    }
    ids.sort_unstable_by(falls);
    let guess = |id| {
        let (text, probability) = (tokenizer.decode_text(&[id]), libm::exp(-row.nats(id)));
        Guess { id, text, probability }
    };
    ids.into_iter().map(guess).collect()
}

impl fmt::Display for PromptLook {
    /// A line of figures, a row a layer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(nats), Some(bits)) = (self.nats_per_token, self.bits_per_byte) {
            writeln!(f, "{nats:.3} nats a token, {bits:.3} bits a byte\n")?;
        }
        let head = ["blocks", "norm", "first", "last", "what would come next after so many blocks"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for layer in &self.layers {
            let mean = layer.norms.iter().sum::<f64>() / layer.norms.len() as f64;
            let of = |norm: Option<&f64>| format!("{:.1}", norm.copied().unwrap_or(0.0));
            let guesses = layer.lens.last().into_iter().flatten().take(GUESSES_SHOWN);
            let guesses = guesses.map(|it| format!("{:?} {:.0}%", it.text, 100.0 * it.probability));
            rows.push(vec![
                layer.blocks.to_string(),
                format!("{mean:.1}"),
                of(layer.norms.first()),
                of(layer.norms.last()),
                guesses.collect::<Vec<_>>().join("  "),
            ]);
        }
        write_table(f, &rows)
    }
}
