//! Answers in OpenAI's form.
//!
//! In → [`Event`]s of a request; out → the JSON of `text_completion` objects: one for each piece of
//! a stream, or one for the whole answer. Pure.

use serde_json::{Value, json};

use super::engine::Event;
use super::text::{Piece, Score};

/// The fields that all objects of an answer share.
pub struct Form {
    /// `cmpl-7`.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    pub model: String,
    /// Whether tokens are listed.
    pub logprobs: bool,
    pub prompt_tokens: u64,
    /// The number of choices.
    pub choices: usize,
}

/// A request's answer as far as it came.
pub struct Answer {
    form: Form,
    choices: Vec<Choice>,
}

/// One text of it.
#[derive(Clone, Default)]
struct Choice {
    text: String,
    scores: Vec<Score>,
    /// Characters of the tokens listed so far.
    offset: usize,
    tokens: u64,
    end: Option<&'static str>,
}

impl Answer {
    pub fn new(form: Form) -> Answer {
        let choices = vec![Choice::default(); form.choices];
        Answer { form, choices }
    }

    /// Whether every text has ended.
    pub fn is_complete(&self) -> bool {
        self.choices.iter().all(|choice| choice.end.is_some())
    }

    /// Adds a piece to what [`Answer::whole`] returns.
    pub fn add(&mut self, choice: usize, piece: Piece) {
        let own = &mut self.choices[choice];
        own.text.push_str(&piece.text);
        own.tokens += piece.tokens;
        own.scores.extend(piece.scores);
        own.end = own.end.or(piece.end);
    }

    /// The whole answer as one object.
    pub fn whole(&self) -> Value {
        let choices = self.choices.iter().enumerate().map(|(at, choice)| {
            let logprobs = self.logprobs(&choice.scores, &mut 0);
            json!({"index": at, "text": choice.text, "logprobs": logprobs,
                "finish_reason": choice.end})
        });
        let mut whole = self.object(choices.collect());
        whole["usage"] = self.usage();
        whole
    }

    /// The object for a piece of a stream, whose text is not kept; `None` if there is nothing to
    /// show yet.
    pub fn chunk(&mut self, choice: usize, piece: &Piece) -> Option<Value> {
        let own = &mut self.choices[choice];
        own.tokens += piece.tokens;
        own.end = own.end.or(piece.end);
        if piece.text.is_empty() && piece.scores.is_empty() && piece.end.is_none() {
            return None;
        }
        let mut offset = own.offset;
        let logprobs = self.logprobs(&piece.scores, &mut offset);
        self.choices[choice].offset = offset;
        Some(self.object(vec![json!({"index": choice, "text": piece.text, "logprobs": logprobs,
            "finish_reason": piece.end})]))
    }

    /// The last piece of a stream that counts tokens.
    fn usage_chunk(&self) -> Value {
        let mut chunk = self.object(Vec::new());
        chunk["usage"] = self.usage();
        chunk
    }

    fn object(&self, choices: Vec<Value>) -> Value {
        let Form { id, created, model, .. } = &self.form;
        json!({"id": id, "object": "text_completion", "created": created, "model": model,
            "choices": choices})
    }

    fn usage(&self) -> Value {
        let completion: u64 = self.choices.iter().map(|choice| choice.tokens).sum();
        let prompt = self.form.prompt_tokens;
        json!({"prompt_tokens": prompt, "completion_tokens": completion,
            "total_tokens": prompt + completion})
    }

    fn logprobs(&self, scores: &[Score], offset: &mut usize) -> Value {
        if !self.form.logprobs {
            return Value::Null;
        }
        let mut offsets = Vec::with_capacity(scores.len());
        for score in scores {
            offsets.push(*offset);
            *offset += score.token.chars().count();
        }
        let tokens: Vec<&str> = scores.iter().map(|score| score.token.as_str()).collect();
        let logprobs: Vec<Option<f64>> = scores.iter().map(|score| score.logprob).collect();
        json!({"tokens": tokens, "token_logprobs": logprobs, "text_offset": offsets,
            "top_logprobs": scores.iter().map(alternatives).collect::<Vec<_>>()})
    }
}

/// The alternatives by their text; of two with the same text the likelier one.
fn alternatives(score: &Score) -> Value {
    if score.logprob.is_none() {
        return Value::Null;
    }
    let mut map = serde_json::Map::new();
    for (token, logprob) in &score.alternatives {
        map.entry(token.clone()).or_insert_with(|| json!(logprob));
    }
    Value::Object(map)
}

/// An event of a stream, as server-sent events carry it.
pub fn sent(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// The line that ends a stream.
pub const DONE: &str = "data: [DONE]\n\n";

/// A stream: events in, server-sent events out.
pub struct Stream {
    answer: Answer,
    usage: bool,
}

impl Stream {
    pub fn new(answer: Answer, usage: bool) -> Stream {
        Stream { answer, usage }
    }

    /// The server-sent events for one event, and whether the stream has ended.
    pub fn push(&mut self, event: &Event) -> (String, bool) {
        match event {
            Event::Piece(choice, piece) => {
                let chunk = self.answer.chunk(*choice, piece);
                let mut text = chunk.map_or_else(String::new, |chunk| sent(&chunk));
                let is_complete = self.answer.is_complete();
                if is_complete {
                    if self.usage {
                        text += &sent(&self.answer.usage_chunk());
                    }
                    text += DONE;
                }
                (text, is_complete)
            }
            Event::Failed(message) => (sent(&failed(message).json()), true),
        }
    }
}

/// An answer that could not be finished.
pub fn failed(message: &str) -> super::request::Refusal {
    super::request::Refusal::new(500, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(choices: usize) -> Answer {
        let (id, model) = ("cmpl-1".to_owned(), "m".to_owned());
        let (created, logprobs, prompt_tokens) = (5, true, 3);
        Answer::new(Form { id, created, model, logprobs, prompt_tokens, choices })
    }

    fn piece(text: &str, end: Option<&'static str>) -> Piece {
        let score = Score {
            token: text.to_owned(),
            logprob: Some(-0.5),
            alternatives: vec![(text.to_owned(), -0.5), ("x".to_owned(), -2.0)],
        };
        Piece { text: text.to_owned(), tokens: 1, scores: vec![score], end }
    }

    #[test]
    fn a_whole_answer_has_its_choices_in_order() {
        let mut answer = answer(2);
        answer.add(1, piece("b", Some("stop")));
        answer.add(0, piece("é", None));
        assert!(!answer.is_complete());
        answer.add(0, piece("a", Some("length")));
        assert!(answer.is_complete());
        let whole = answer.whole();
        assert_eq!(whole["usage"]["total_tokens"], 6);
        let first = &whole["choices"][0];
        assert_eq!((&first["text"], &first["finish_reason"]), (&json!("éa"), &json!("length")));
        assert_eq!(first["logprobs"]["text_offset"], json!([0, 1]));
        assert_eq!(first["logprobs"]["top_logprobs"][1], json!({"a": -0.5, "x": -2.0}));
        assert_eq!(whole["choices"][1]["text"], "b");
    }

    #[test]
    fn a_stream_ends_when_all_its_texts_have() {
        let mut stream = Stream::new(answer(2), true);
        let (text, done) = stream.push(&Event::Piece(0, piece("a", Some("stop"))));
        assert!(text.starts_with("data: {") && text.ends_with("}\n\n") && !done, "{text}");
        assert_eq!(stream.push(&Event::Piece(1, Piece::default())), (String::new(), false));
        let (text, done) = stream.push(&Event::Piece(1, piece("b", Some("stop"))));
        assert!(text.contains("\"total_tokens\":5") && text.ends_with(DONE) && done, "{text}");
        let (text, done) = stream.push(&Event::Failed("no".to_owned()));
        assert!(text.contains("server_error") && done, "{text}");
    }
}
