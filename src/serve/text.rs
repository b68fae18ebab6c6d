//! One text that is being written for a client: turns → pieces of text, with probabilities.
//!
//! In → a prompt's tokens, what was asked; out → [`Piece`]s, and why the text ended. **Rules.**
//! Pieces are whole characters and never contain the beginning of a stop string. A token is scored
//! by the model's own distribution, before temperature and limits, as OpenAI's and vLLM's servers
//! do; a token that is not valid text by itself is shown as `bytes:\xe2`, OpenAI's way.

use std::fmt::Write;
use std::sync::Arc;

use rayon::prelude::*;

use super::request::Asked;
use crate::base::error::Result;
use crate::runtime::model::{Draft, Sampling, Turn};
use crate::tokenizer::Tokenizer;
use crate::train::{Trained, sample::TextStream, stop::StopFinder};

/// What a turn adds to a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    pub text: String,
    /// Tokens that were generated for it.
    pub tokens: u64,
    /// Its tokens, where they were asked for.
    pub scores: Vec<Score>,
    /// Why the text ends here, if it does: `stop` or `length`.
    pub end: Option<&'static str>,
}

/// A token, and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    pub token: String,
    /// The natural logarithm of its probability; `None` for a token with nothing before it.
    pub logprob: Option<f64>,
    /// The likeliest tokens at its position with their log-probabilities, in descending order.
    pub alternatives: Vec<(String, f64)>,
}

/// A text that is being written.
pub struct Text {
    asked: Arc<Asked>,
    prompt: Arc<[u32]>,
    /// How many of the prompt's first tokens the client did not give.
    added: usize,
    /// How many of the prompt's tokens have been read.
    read: usize,
    draft: Draft,
    characters: TextStream,
    stops: StopFinder,
    written: Vec<u32>,
}

impl Text {
    /// A text behind `prompt`, whose first `added` tokens the model's rules put there.
    pub fn new(
        trained: &Trained,
        asked: &Arc<Asked>,
        prompt: &Arc<[u32]>,
        added: usize,
        seed: u64,
    ) -> Result<Text> {
        let sampling = Sampling { seed, ..asked.sampling.clone() };
        Ok(Text {
            asked: asked.clone(),
            prompt: prompt.clone(),
            added,
            read: 0,
            draft: Draft::new(&trained.model, prompt, &sampling)?,
            characters: TextStream::default(),
            stops: StopFinder::new(&asked.stops),
            written: Vec::new(),
        })
    }

    /// Takes one turn.
    pub fn turn(&mut self, trained: &Trained) -> Result<Piece> {
        let mut piece = Piece::default();
        let scores_prompt = self.asked.echo && self.asked.logprobs.is_some();
        let is_first = self.read == 0;
        if is_first && self.asked.echo {
            piece.text = trained.tokenizer.decode_text(&self.prompt[self.added..]);
        }
        if self.asked.max_tokens == 0 && !scores_prompt {
            piece.end = Some("length");
            return Ok(piece);
        }
        let is_reading = self.read < self.prompt.len();
        let turn = self.draft.turn(&trained.model, is_reading && scores_prompt)?;
        if is_reading {
            if scores_prompt {
                self.score_prompt(trained, is_first, &turn.logits, &mut piece.scores);
            }
            self.read += turn.read;
        }
        self.take(trained, &turn, &mut piece);
        Ok(piece)
    }

    /// Whether its prompt is read, so that its next turn reads the token that it drew last.
    pub fn is_writing(&self) -> bool {
        self.read == self.prompt.len()
    }

    /// One turn of each of `texts`, all of which are writing, in one pass through the model.
    pub fn turns(trained: &Trained, texts: &mut [&mut Text]) -> Result<Vec<Piece>> {
        let mut drafts: Vec<&mut Draft> = texts.iter_mut().map(|text| &mut text.draft).collect();
        let turns = Draft::turns(&trained.model, &mut drafts)?;
        let piece = |(text, turn): (&mut &mut Text, Turn)| {
            let mut piece = Piece::default();
            text.take(trained, &turn, &mut piece);
            piece
        };
        Ok(texts.par_iter_mut().zip(turns).map(piece).collect())
    }

    /// Adds the token that a turn drew.
    fn take(&mut self, trained: &Trained, turn: &Turn, piece: &mut Piece) {
        let Some(token) = turn.token else { return };
        if self.asked.max_tokens == 0 {
            piece.end = Some("length");
            return;
        }
        let vocabulary = trained.model.config().vocab_size;
        self.push(trained, token, &turn.logits[turn.logits.len() - vocabulary..], piece);
    }

    /// Adds the scores of the prompt's tokens behind those that a turn has read.
    fn score_prompt(
        &self,
        trained: &Trained,
        is_first: bool,
        logits: &[f32],
        scores: &mut Vec<Score>,
    ) {
        let top = self.asked.logprobs.unwrap_or(0);
        let tokenizer = &trained.tokenizer;
        if is_first && self.added == 0 {
            let token = token_text(tokenizer, self.prompt[0]);
            scores.push(Score { token, logprob: None, alternatives: Vec::new() });
        }
        let rows = logits.chunks_exact(trained.model.config().vocab_size);
        for (at, logits) in (self.read + 1..).zip(rows) {
            if let Some(&token) = self.prompt.get(at).filter(|_| at >= self.added) {
                scores.push(score(tokenizer, logits, token, top));
            }
        }
    }

    /// Adds a drawn token to the text.
    fn push(&mut self, trained: &Trained, token: u32, logits: &[f32], piece: &mut Piece) {
        let tokenizer = &trained.tokenizer;
        if trained.ends.contains(&token) {
            piece.end = Some("stop");
        } else {
            let bytes = tokenizer.decode_after(&self.written, token);
            let sure = self.characters.push(&bytes);
            piece.text.push_str(&self.stops.push(&sure));
            piece.tokens = 1;
            self.written.push(token);
            if let Some(top) = self.asked.logprobs {
                piece.scores.push(score(tokenizer, logits, token, top));
            }
            piece.end = match self.stops.found() {
                Some(_) => Some("stop"),
                None => (self.written.len() == self.asked.max_tokens).then_some("length"),
            };
        }
        if piece.end.is_some() {
            let held = std::mem::take(&mut self.characters).finish();
            piece.text.push_str(&self.stops.push(&held));
            piece.text.push_str(&self.stops.finish());
        }
    }
}

/// The log-probability of `token`, and the `top` likeliest tokens (of equals the lower id first).
fn score(tokenizer: &Tokenizer, logits: &[f32], token: u32, top: usize) -> Score {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&it| libm::exp(f64::from(it - largest))).sum();
    let log_sum = f64::from(largest) + libm::log(sum);
    let logprob = |id: usize| f64::from(logits[id]) - log_sum;
    let falls = |&a: &usize, &b: &usize| logits[b].total_cmp(&logits[a]).then(a.cmp(&b));
    let mut likeliest: Vec<usize> = (0..logits.len()).collect();
    if top < likeliest.len() {
        likeliest.select_nth_unstable_by(top, falls);
        likeliest.truncate(top);
    }
    likeliest.sort_unstable_by(falls);
    let alternative = |id: usize| (token_text(tokenizer, id as u32), logprob(id));
    Score {
        token: token_text(tokenizer, token),
        logprob: Some(logprob(token as usize)),
        alternatives: likeliest.into_iter().map(alternative).collect(),
    }
}

/// The text of a single token.
fn token_text(tokenizer: &Tokenizer, token: u32) -> String {
    let bytes = tokenizer.decode(&[token]);
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let mut text = "bytes:".to_owned();
        for byte in error.as_bytes() {
            write!(text, "\\x{byte:02x}").expect("writing to a string cannot fail");
        }
        text
    })
}
