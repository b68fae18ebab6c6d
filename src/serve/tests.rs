//! Texts and turns without a connection: what is written, counted and bounded.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::engine::{Engine, Event, Job};
use super::request::{self, Asked};
use super::text::{Piece, Text};
use crate::base::size::Bytes;
use crate::runtime::device::Device;
use crate::runtime::model::{Sampling, generate};
use crate::train::Trained;

fn trained() -> Arc<Trained> {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/evals/model");
    Arc::new(Trained::open(Path::new(model), None, &Device::cpu(), &|_| ()).unwrap())
}

fn asked(body: &str) -> Arc<Asked> {
    Arc::new(request::parse(body.as_bytes(), "m").unwrap())
}

fn written(trained: &Trained, asked: &Arc<Asked>, prompt: &[u32]) -> Vec<Piece> {
    let mut text = Text::new(trained, asked, &prompt.into(), 0, asked.sampling.seed).unwrap();
    let mut pieces = Vec::new();
    while pieces.last().is_none_or(|piece: &Piece| piece.end.is_none()) {
        pieces.push(text.turn(trained).unwrap());
    }
    pieces
}

fn text_of(pieces: &[Piece]) -> String {
    pieces.iter().map(|piece| piece.text.as_str()).collect()
}

#[test]
fn a_text_is_what_generation_gives() {
    let trained = trained();
    let prompt = [1, 40, 50, 60];
    let asked = asked(r#"{"max_tokens": 12, "temperature": 0.9, "seed": 4, "logprobs": 2}"#);
    let pieces = written(&trained, &asked, &prompt);
    let sampling = Sampling::at(0.9, 4);
    let tokens =
        generate(&trained.model, &prompt, 12, &trained.ends, &sampling, |_| Ok(true)).unwrap();
    assert_eq!(text_of(&pieces), trained.tokenizer.decode_text(&tokens));
    assert_eq!(pieces.iter().map(|piece| piece.tokens).sum::<u64>(), tokens.len() as u64);
    for score in pieces.iter().flat_map(|piece| &piece.scores) {
        let [first, second] = &score.alternatives[..] else { panic!("{score:?}") };
        assert!(first.1 >= second.1 && score.logprob.unwrap() <= first.1 && first.1 < 0.0);
    }
}

#[test]
fn an_echo_scores_the_prompt_token_by_token() {
    let trained = trained();
    // Longer than a turn, so that its scores come in several pieces.
    let prompt: Vec<u32> = (0..200).map(|at| 20 + at % 90).collect();
    let asked = asked(r#"{"max_tokens": 0, "echo": true, "logprobs": 1}"#);
    let pieces = written(&trained, &asked, &prompt);
    assert_eq!(text_of(&pieces), trained.tokenizer.decode_text(&prompt));
    let scores: Vec<_> = pieces.iter().flat_map(|piece| &piece.scores).collect();
    assert_eq!(scores.len(), prompt.len());
    assert_eq!(scores[0].logprob, None);
    let tree = crate::runtime::model::Tree {
        stem: prompt[..199].to_vec(),
        branches: vec![crate::runtime::model::Branch {
            tokens: vec![],
            targets: prompt[1..].to_vec(),
        }],
    };
    let expected = trained.model.score(&[tree]).unwrap();
    for (score, expected) in scores[1..].iter().zip(expected) {
        let difference = score.logprob.unwrap() + f64::from(expected.nats);
        assert!(difference.abs() < 1e-3, "{score:?} is not {expected:?}");
    }
}

/// A job of one text, and who hears of it.
fn job(engine: &Engine, trained: &Trained, body: &str) -> (Job, UnboundedReceiver<Event>) {
    let asked = asked(body);
    let prompt: Arc<[u32]> = [1, 2, 3].into();
    let text = Text::new(trained, &asked, &prompt, 0, 0).unwrap();
    let (client, events) = unbounded_channel();
    let cost = engine.cost(3 + asked.max_tokens);
    (Job { texts: VecDeque::from([(0, text)]), cost, client }, events)
}

#[test]
fn who_asks_for_little_does_not_wait_for_who_asks_for_much() {
    let trained = trained();
    let engine = Engine::start(trained.clone(), Bytes(1 << 30)).unwrap();
    let (long, mut of_long) = job(&engine, &trained, r#"{"max_tokens": 5000, "logit_bias": {}}"#);
    let (short, mut of_short) = job(&engine, &trained, r#"{"max_tokens": 2}"#);
    engine.submit(long).unwrap();
    engine.submit(short).unwrap();
    while of_short.blocking_recv().is_some() {}
    // The long text is still being written when its client leaves.
    let mut seen = 0;
    while of_long.try_recv().is_ok() {
        seen += 1;
    }
    assert!(seen < 5000, "the short text waited for {seen} tokens of the long one");
    drop(of_long);
    let (next, mut of_next) = job(&engine, &trained, r#"{"max_tokens": 1}"#);
    engine.submit(next).unwrap();
    assert!(matches!(of_next.blocking_recv(), Some(Event::Piece(0, _))));
}

#[test]
fn jobs_wait_for_room_and_end_with_the_engine() {
    let trained = trained();
    let parameters = 4 * trained.model.config().parameter_count();
    let little = Engine::start(trained.clone(), Bytes(parameters)).err().unwrap();
    assert!(little.to_string().contains("--memory"), "{little}");
    let engine = Engine::start(trained.clone(), Bytes(1 << 30)).unwrap();
    // Each takes all the room, so one is at work and the other waits.
    let (mut first, mut of_first) = job(&engine, &trained, r#"{"max_tokens": 100000}"#);
    let (mut second, mut of_second) = job(&engine, &trained, r#"{"max_tokens": 100000}"#);
    (first.cost, second.cost) = (engine.room(), engine.room());
    engine.submit(first).unwrap();
    engine.submit(second).unwrap();
    assert!(matches!(of_first.blocking_recv(), Some(Event::Piece(0, _))));
    engine.close();
    let last = std::iter::from_fn(|| of_first.blocking_recv()).last();
    assert!(matches!(last, Some(Event::Failed(_))), "{last:?}");
    assert!(matches!(of_second.blocking_recv(), Some(Event::Failed(_))));
    let (late, _) = job(&engine, &trained, r#"{"max_tokens": 1}"#);
    assert_eq!(engine.submit(late), Err(super::engine::Busy::Closed));
}
