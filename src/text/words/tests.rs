//! Words and sentences against the reference's own, and what holds for any text.
//!
//! `fixtures/filter/words.jsonl` is written by `tests/golden/make_words.py`.

use super::chunk::Lists;
use super::phrases::{Phrases, Room};
use super::*;
use crate::text::is_white_space;
use proptest::prelude::*;
use serde_json::Value;

thread_local! {
    static WORDS: Words = Words::new();
}

fn split(text: &str) -> Vec<Span> {
    let mut out = Vec::new();
    WORDS.with(|words| words.split(&mut WordsState::default(), text, &mut out));
    out
}

fn texts(text: &str, spans: &[Span]) -> Vec<String> {
    spans.iter().map(|span| span.of(text).to_owned()).collect()
}

fn sentences(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    WORDS.with(|words| words.sentences(text, &split(text), |span| found.push(span)));
    texts(text, &found)
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

#[test]
fn words_and_sentences_are_the_references() {
    let mut cases = 0;
    for line in include_str!("../../../fixtures/filter/words.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let text = case["text"].as_str().unwrap();
        assert_eq!(texts(text, &split(text)), strings(&case["words"]), "{text:?}");
        assert_eq!(sentences(text), strings(&case["sentences"]), "{text:?}");
        cases += 1;
    }
    assert!(cases > 150, "{cases}");
}

#[test]
fn a_chunk_met_before_is_cut_the_same() {
    let words = Words::new();
    let (mut state, mut out) = (WordsState::default(), Vec::new());
    for line in include_str!("../../../fixtures/filter/words.jsonl").lines().chain(["x):) x):)"]) {
        for _ in 0..2 {
            words.split(&mut state, line, &mut out);
            assert_eq!(out, split(line), "{line}");
        }
    }
}

#[test]
fn the_letters_that_the_reference_takes_out_leave_the_words_in_place() {
    assert_eq!(texts("a IS_ALPHA b", &split("a IS_ALPHA b")), ["a", "b"]);
    let text = "IS_ALPHAIS_ALPHAa xIS_ALPHAy (IS_ALPHA) zzIS_ALPHA.";
    let words = texts(text, &split(text));
    assert_eq!(words, ["a", "xIS_ALPHAy", "(", ")", "zz", "."]);
    assert_eq!(texts("IS_ALPHA=3", &split("IS_ALPHA=3")), ["IS_ALPHA=3"]);
    assert_eq!(sentences("Yes. IS_ALPHA No. IS_ALPHA").len(), 2);
}

#[test]
fn two_megabytes_of_anything_take_linear_time() {
    let words = Words::new();
    let (mut state, mut out) = (WordsState::default(), Vec::new());
    for piece in [
        "a",
        ".",
        "!",
        "'",
        "-",
        "(",
        "\n",
        " ",
        "\u{301}",
        "\u{1f600}",
        "\u{3000}",
        "日",
        "…",
        "1.",
        "a.",
        "a@",
        "@",
        ":",
        "http://",
        "a.b",
        "a-",
        "1km",
        ":)",
        ": ) ",
        "x):",
        "a.m.-",
        "IS_ALPHA ",
        "Hi. ",
        ".\n",
        "e.g.,",
        "><(((*",
        "a\u{a0}",
        "°c.",
    ] {
        let text = piece.repeat(2_000_000 / piece.len());
        words.split(&mut state, &text, &mut out);
        assert!(out.is_sorted_by(|a, b| a.end <= b.start));
        let mut reached = 0;
        words.sentences(&text, &out, |sentence| {
            assert_eq!(sentence.start, reached);
            reached = sentence.end;
        });
        assert_eq!(reached as usize, text.len());
    }
}

/// What the last pass does, for the whole text at once, as the reference writes it.
fn retokenise(text: &str, words: &[Span]) -> Vec<Span> {
    let all: Vec<&[&str]> = exceptions::PHRASES.to_vec();
    let close =
        |pair: &[Span]| matches!(&text[pair[0].end as usize..pair[1].start as usize], "" | " ");
    let mut found = Vec::new();
    for at in 0..words.len() {
        for phrase in &all {
            let here = words.get(at..at + phrase.len()).unwrap_or_default();
            let equal = here.iter().map(|word| word.of(text)).eq(phrase.iter().copied());
            if equal && here.windows(2).all(close) {
                found.push((at, phrase.len()));
            }
        }
    }
    found.sort_by_key(|&(at, length)| (std::cmp::Reverse(length), at));
    let (mut seen, mut heads) = (vec![false; words.len()], vec![0; words.len()]);
    for (at, length) in found {
        if !seen[at] && !seen[at + length - 1] {
            heads[at] = length;
        }
        seen[at..at + length].fill(true);
    }
    let (mut out, mut at) = (Vec::new(), 0);
    while at < words.len() {
        let whole = words[at].start..words[at + heads[at].max(1) - 1].end;
        let whole = Span { start: whole.start, end: whole.end };
        match WORDS.with(|words| words.specials.find(whole.of(text).as_bytes())) {
            Some(cuts) if heads[at] > 0 => whole.cut(cuts, |span| out.push(span)),
            _ => out.extend_from_slice(&words[at..at + heads[at].max(1)]),
        }
        at += heads[at].max(1);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn words_make_up_the_chunks(
        text in concat!(
            "([a-z]{1,9}|[A-Z]{1,3}|[0-9.,']{1,3}|\\PC|[-:;()=/_\"…—’]|e\\.g\\.|",
            "[ \n\u{a0}\u{2003}]){0,40}"
        )
    ) {
        let found = split(&text);
        let mut chunks = String::new();
        let mut previous = 0;
        for word in &found {
            prop_assert!(word.start < word.end && previous <= word.start);
            prop_assert!(!word.of(&text).contains(is_white_space));
            let gap = &text[previous as usize..word.start as usize];
            prop_assert!(gap.chars().all(is_white_space), "{:?}", gap);
            chunks.push_str(word.of(&text));
            previous = word.end;
        }
        chunks.extend(text[previous as usize..].chars().filter(|&char| !is_white_space(char)));
        prop_assert_eq!(chunks, text.replace(is_white_space, ""));
        let cut = sentences(&text);
        prop_assert_eq!(cut.concat(), text.clone());
        prop_assert!(cut.len() == 1 || cut.iter().all(|sentence| !sentence.is_empty()));
    }

    #[test]
    fn where_a_text_begins_makes_no_difference(
        text in "([a-zA-Z]{1,12}[,.']?|[0-9é(—]{1,3}|\u{2003}| ){1,20}", before in 1..130usize
    ) {
        let moved = format!("{}{text}", " ".repeat(before));
        let expected: Vec<Span> = split(&text).into_iter().map(|word| Span {
            start: word.start + before as u32,
            end: word.end + before as u32,
        }).collect();
        prop_assert_eq!(split(&moved), expected);
    }

    #[test]
    fn quick_chunks_are_cut_by_the_rules(word in "[a-zA-Z]{0,11}[ -~]?") {
        prop_assume!(!word.is_empty() && !word.contains(' '));
        let chunk = Span { start: 0, end: word.len() as u32 };
        let (mut out, mut suffixes) = (Vec::new(), Vec::new());
        let mut lists = Lists { words: &mut out, suffixes: &mut suffixes };
        WORDS.with(|words| words.cut(&word, chunk, &mut lists));
        out.extend(suffixes.into_iter().rev());
        prop_assert_eq!(split(&word), out);
    }

    #[test]
    fn the_last_pass_around_its_places_equals_that_of_the_whole(
        text in "(:|\\)|-|'|\\(| |\n|D|8|o|\\.|_|<|>|3|it|'s|Mr){1,30}"
    ) {
        WORDS.with(|words| {
            // Every character a word, or `it`, `'s`, `Mr`: as if all had been cut apart.
            let mut cut = Vec::new();
            let mut at = 0;
            while let Some(char) = text[at..].chars().next() {
                let long = ["it", "'s", "Mr"].iter().any(|long| text[at..].starts_with(long));
                let end = at + if long { 2 } else { char.len_utf8() };
                if !is_white_space(char) {
                    cut.push(Span { start: at as u32, end: end as u32 });
                }
                at = end;
            }
            let phrases = Phrases::new(&words.specials);
            let mut room = Room::default();
            let opens = |at: &usize| {
                let pairs = cut[*at..].windows(2);
                let end = at + 1 + pairs.take_while(|pair| pair[0].end == pair[1].start).count();
                phrases.open_here(&text, &cut[*at..end])
            };
            room.candidates.extend((0..cut.len()).filter(opens).map(|at| at as u32));
            let mut found = cut.clone();
            phrases.apply(&words.specials, &text, &mut found, &mut room);
            prop_assert_eq!(texts(&text, &found), texts(&text, &retokenise(&text, &cut)));
            Ok(())
        })?;
    }
}
