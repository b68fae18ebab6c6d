//! Several texts at once.
//!
//! In → prompts; out → their tokens, as they come. **Method.** Rounds: each text in work reads one
//! piece of its prompt, or the token that it drew last; those that read one token go through the
//! model in one pass, which reads the weights once for all of them. A text that ends gives its
//! place to the next prompt. **Invariants.** A text has the same tokens as if it were generated
//! alone. **Cost.** Up to [`IN_WORK`] texts for little more than one, as long as reading the
//! weights takes longer than multiplying with them; a cache of keys and values a text in work.

use rayon::prelude::*;

use super::generate::{Draft, Turn};
use super::{Model, Sampling};
use crate::base::error::Result;

/// Texts in work at once: with more of them the products take longer than reading the weights.
const IN_WORK: usize = 16;

/// What is asked of each text.
pub struct Asked<'a> {
    /// Tokens at most; fewer where learned positions end.
    pub max_tokens: usize,
    /// Tokens that close a document.
    pub ends: &'a [u32],
    /// How tokens are drawn.
    pub sampling: &'a Sampling,
}

/// What happens to a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It has one more token, which closes no document.
    Token(u32),
    /// It is over.
    End,
}

/// A text in work.
struct Text {
    prompt: usize,
    draft: Draft,
    /// Tokens that may still come.
    room: usize,
}

/// Continues `prompts` side by side. `on_event` is called for each token as it is drawn, with the
/// index of its prompt, and ends the text by returning `false`; the last event of a text is its
/// end.
pub fn generate_all(
    model: &Model,
    prompts: &[Vec<u32>],
    asked: &Asked<'_>,
    mut on_event: impl FnMut(usize, Event) -> Result<bool>,
) -> Result<()> {
    let mut waiting = prompts.iter().enumerate();
    let mut texts: Vec<Text> = Vec::new();
    loop {
        while texts.len() < IN_WORK
            && let Some((prompt, tokens)) = waiting.next()
        {
            let draft = Draft::new(model, tokens, asked.sampling)?;
            // Generated tokens are read too, except for the last one.
            let longest = model.config().longest();
            let room = longest.map(|longest| (longest + 1).saturating_sub(tokens.len()));
            let room = room.map_or(asked.max_tokens, |room| room.min(asked.max_tokens));
            match room {
                0 => _ = on_event(prompt, Event::End)?,
                room => texts.push(Text { prompt, draft, room }),
            }
        }
        if texts.is_empty() {
            return Ok(());
        }
        // Enter the thread pool once a round, so that the loops inside need not enter it each.
        let turns = rayon::scope(|_| round(model, &mut texts))?;
        for (text, turn) in texts.iter_mut().zip(turns) {
            match turn.token {
                None => {}
                Some(token) if asked.ends.contains(&token) => text.room = 0,
                Some(token) => {
                    text.room -= 1;
                    if !on_event(text.prompt, Event::Token(token))? {
                        text.room = 0;
                    }
                }
            }
        }
        for text in texts.extract_if(.., |text| text.room == 0) {
            on_event(text.prompt, Event::End)?;
        }
    }
}

/// A turn of each text, in their order.
fn round(model: &Model, texts: &mut [Text]) -> Result<Vec<Turn>> {
    let (mut writing, reading): (Vec<_>, Vec<_>) = texts
        .iter_mut()
        .map(|text| &mut text.draft)
        .enumerate()
        .partition(|(_, it)| it.reads_one());
    let read = reading.into_par_iter().map(|(at, draft)| Ok((at, draft.turn(model, false)?)));
    let mut turns = read.collect::<Result<Vec<_>>>()?;
    if !writing.is_empty() {
        let mut drafts: Vec<&mut Draft> =
            writing.iter_mut().map(|(_, draft)| &mut **draft).collect();
        let written = Draft::turns(model, &mut drafts)?;
        turns.extend(writing.iter().map(|(at, _)| *at).zip(written));
    }
    turns.sort_by_key(|(at, _)| *at);
    Ok(turns.into_iter().map(|(_, turn)| turn).collect())
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::runtime::model::KvCache;
    use crate::runtime::model::trial::{FORMS, model, with};

    /// One prompt continued; `on_token` ends the text by `false`.
    pub fn generate(
        model: &Model,
        prompt: &[u32],
        max_tokens: usize,
        ends: &[u32],
        sampling: &Sampling,
        mut on_token: impl FnMut(u32) -> Result<bool>,
    ) -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        let asked = Asked { max_tokens, ends, sampling };
        generate_all(model, &[prompt.to_vec()], &asked, |_, event| {
            let Event::Token(token) = event else { return Ok(false) };
            tokens.push(token);
            on_token(token)
        })?;
        Ok(tokens)
    }

    /// More than are in work at once, of lengths that are read in one turn and in several.
    fn prompts() -> Vec<Vec<u32>> {
        let length = |at: u32| if at == 3 { 300 } else { 1 + at * 5 % 13 };
        (0..IN_WORK as u32 + 5)
            .map(|at| (0..length(at)).map(|i| (at * 29 + i * 31) % 131).collect())
            .collect()
    }

    #[test]
    fn texts_side_by_side_are_those_that_each_gives_alone() {
        for keys in [FORMS[0], FORMS[1], FORMS[3]] {
            let (model, prompts) = (with(keys), prompts());
            for sampling in [Sampling::at(0.0, 0), Sampling::at(1.0, 7)] {
                let alone = |prompt: &Vec<u32>| {
                    generate(&model, prompt, 9, &[5, 6], &sampling, |_| Ok(true)).unwrap()
                };
                let expected: Vec<Vec<u32>> = prompts.iter().map(alone).collect();
                for threads in [1, 3] {
                    let pool =
                        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let mut found: Vec<Vec<u32>> = vec![Vec::new(); prompts.len()];
                    let mut ended = BTreeMap::new();
                    let asked = Asked { max_tokens: 9, ends: &[5, 6], sampling: &sampling };
                    let mut on_event = |text: usize, event| {
                        assert!(!ended.contains_key(&text), "{text} ended before");
                        match event {
                            Event::Token(token) => found[text].push(token),
                            Event::End => assert_eq!(ended.insert(text, ()), None),
                        }
                        Ok(true)
                    };
                    let events: &mut (dyn FnMut(usize, Event) -> Result<bool> + Send) =
                        &mut on_event;
                    pool.install(|| generate_all(&model, &prompts, &asked, events)).unwrap();
                    assert_eq!(ended.len(), prompts.len());
                    assert_eq!(found, expected, "{keys}, {threads} threads");
                }
            }
        }
    }

    #[test]
    fn the_logits_beside_others_are_those_alone_to_the_last_bit() {
        let model = model();
        let texts: Vec<Vec<u32>> =
            (1..6).map(|at| (0..at * 7).map(|i| i * 17 % 131).collect()).collect();
        let read = |text: &Vec<u32>| {
            let mut cache = KvCache::new(&model);
            model.generate_step(text, &mut cache).unwrap();
            cache
        };
        let alone: Vec<f32> = texts
            .iter()
            .flat_map(|text| model.generate_step(&[9], &mut read(text)).unwrap())
            .collect();
        let mut drafts: Vec<Draft> = texts
            .iter()
            .map(|text| {
                let text = [text.as_slice(), &[9]].concat();
                let mut draft = Draft::new(&model, &text, &Sampling::at(0.0, 0)).unwrap();
                draft.read_all_but_one(&model).unwrap();
                draft
            })
            .collect();
        let mut drafts: Vec<&mut Draft> = drafts.iter_mut().collect();
        let together = Draft::turns(&model, &mut drafts).unwrap();
        let together: Vec<f32> = together.into_iter().flat_map(|turn| turn.logits).collect();
        assert_eq!(together, alone);
    }

    #[test]
    fn an_error_of_the_reader_ends_all_texts() {
        let asked = Asked { max_tokens: 9, ends: &[], sampling: &Sampling::at(0.0, 0) };
        let mut events = 0;
        let stopped = generate_all(&model(), &prompts(), &asked, |_, _| {
            events += 1;
            if events == 3 { Err(crate::base::error::Error::failed("enough")) } else { Ok(true) }
        });
        assert!(stopped.unwrap_err().to_string().contains("enough"));
        assert_eq!(events, 3);
    }
}
