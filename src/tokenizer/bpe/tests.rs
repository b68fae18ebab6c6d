//! Pieces against their references: by hand as by the expressions themselves, by windows as by
//! hand; ids against merging by the definition.

use super::encode::{Encoder, EncoderState};
use super::pattern::{self, Pattern};
use super::piece::{Pieces, piece_of};
use super::scan::{Scanner, Scratch, Sink};
use super::simd::{Level, level};
use proptest::prelude::*;

const ALL: [Pattern; 6] = [
    Pattern::Gpt2,
    Pattern::Gpt2Digits,
    Pattern::Cl100k,
    Pattern::Cl100kEnumerated,
    Pattern::Qwen2,
    Pattern::O200k,
];

/// Pieces by Oniguruma; what no alternative matches would be a piece of its own.
fn by_regex(regex: &onig::Regex, text: &str) -> Vec<String> {
    let (mut pieces, mut from) = (vec![], 0);
    for (start, end) in regex.find_iter(text) {
        if start > from {
            pieces.push(text[from..start].to_owned());
        }
        pieces.push(text[start..end].to_owned());
        from = end;
    }
    if from < text.len() {
        pieces.push(text[from..].to_owned());
    }
    pieces
}

fn by_hand(pattern: Pattern, text: &str) -> Vec<String> {
    let (mut pieces, mut from) = (vec![], 0);
    while from < text.len() {
        let end = pattern.piece_end(text.as_bytes(), from);
        pieces.push(text[from..end].to_owned());
        from = end;
    }
    pieces
}

/// The expression of a pattern, and numbers cut out before it.
fn reference(pattern: Pattern) -> impl Fn(&str) -> Vec<String> {
    let (regex, digits) = match pattern {
        Pattern::Gpt2 => (pattern::GPT2, false),
        Pattern::Gpt2Digits => (pattern::GPT2, true),
        Pattern::Cl100k => (pattern::CL100K, false),
        Pattern::Cl100kEnumerated => (pattern::CL100K_ENUMERATED, false),
        Pattern::Qwen2 => (pattern::QWEN2, false),
        Pattern::O200k => (pattern::O200K, false),
    };
    let regex = onig::Regex::new(regex).unwrap();
    let number = onig::Regex::new(r"\p{N}|\P{N}+").unwrap();
    move |text| {
        if digits {
            let parts = by_regex(&number, text);
            parts.iter().flat_map(|part| by_regex(&regex, part)).collect()
        } else {
            by_regex(&regex, text)
        }
    }
}

type Cutter = Box<dyn Fn(&str) -> Vec<String>>;

#[derive(Default)]
struct Collected {
    pieces: Vec<String>,
    whole: String,
}

impl Sink for Collected {
    fn prefetch(&self, _: u64) {}
    fn take(&mut self, text: &[u8], pieces: &Pieces) {
        for piece in pieces.iter() {
            let bytes = piece.bytes(text);
            let again = piece_of(bytes);
            assert_eq!((piece.lo, piece.hi, piece.hash), (again.lo, again.hi, again.hash));
            let bytes = std::str::from_utf8(bytes).unwrap();
            self.pieces.push(bytes.to_owned());
            self.whole.push_str(bytes);
        }
    }
}

fn by_scanner(scanner: Scanner, scratch: &mut Scratch, text: &str) -> Vec<String> {
    let mut collected = Collected::default();
    scanner.scan(text, scratch, &mut collected);
    assert_eq!(collected.whole, text);
    collected.pieces
}

fn levels() -> Vec<Level> {
    let mut levels = vec![Level::Portable];
    #[cfg(target_arch = "x86_64")]
    {
        if level() != Level::Portable {
            levels.push(Level::Avx2);
        }
        if level() == Level::Avx512 {
            levels.push(Level::Avx512);
        }
    }
    assert_eq!(levels.last(), Some(&level()));
    levels
}

/// Characters that patterns treat in different ways, the frequent ones more often.
fn character() -> impl Strategy<Value = char> {
    let alphabet: Vec<char> = concat!(
        "    \n\n\r\t''aabstmdrevlSTMDREVL11..,((//éſ\u{85}\u{a0}\u{3000}\u{301}\u{2028}",
        "\u{2019}\u{201c}中あДд½٣ǅʰ×÷🫨𝒜\0\u{c}À—ーـאー々ª\u{200b}",
    )
    .chars()
    .collect();
    prop::sample::select(alphabet)
}

fn text(most: usize) -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => prop::collection::vec(character(), 1..6).prop_map(String::from_iter),
        2 => "[a-zA-Z]{1,12}",
        1 => "[ \n]{1,12}",
        1 => "[0-9]{1,9}",
        1 => "[ \t\r\n]{30,90}",
        1 => "[!-/]{1,70}",
        2 => "[дДñÉ中あ가]{1,40}",
        1 => "(he|I)'(s|t|re|ve|m|ll|d|S|LL|ſ)[a-z]{0,2}",
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(word, 0..most).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn pieces_by_hand_are_those_of_the_expression(text in text(12)) {
        thread_local! {
            static REFERENCES: Vec<(Pattern, Cutter)> =
                ALL.iter().map(|&p| (p, Box::new(reference(p)) as Cutter)).collect();
        }
        REFERENCES.with(|references| {
            for (pattern, reference) in references {
                assert_eq!(by_hand(*pattern, &text), reference(&text), "{pattern:?}");
            }
        });
    }

    #[test]
    fn the_scanner_cuts_as_by_hand_at_every_length_and_start(text in text(60)) {
        let mut scratch = Scratch::default();
        for pattern in ALL {
            let all = by_hand(pattern, &text);
            for level in levels() {
                let scanner = Scanner::with_level(pattern, level);
                assert_eq!(by_scanner(scanner, &mut scratch, &text), all, "{pattern:?} {level:?}");
            }
        }
    }
}

#[test]
fn every_code_point_is_cut_as_by_the_expression() {
    // Between them the two tell all classes apart. Behind the selectors nothing is assigned but
    // private use.
    for pattern in [Pattern::Gpt2, Pattern::O200k] {
        let reference = reference(pattern);
        let (mut text, mut number) = (String::new(), 0);
        for char in (0..0x34000u32).chain(0xE0000..0xE0200).filter_map(char::from_u32) {
            for context in ["a{}b", " {}a", "({}1", " {} ", "A{}B", "{}/\n"] {
                text.push_str(&context.replace("{}", &char.to_string()));
            }
            number += 1;
            if number % 64 == 0 {
                assert_eq!(by_hand(pattern, &text), reference(&text), "{pattern:?} {char:?}");
                text.clear();
            }
        }
    }
}

/// The first and last character of each run of a class, and their neighbours outside.
fn borders() -> Vec<char> {
    let class = |code: u32| super::classes::of_code(code as usize);
    let scalar = (0..0x33000u32).filter(|&code| code == 0 || class(code) != class(code - 1));
    let ends = scalar.flat_map(|code| [code.wrapping_sub(1), code]);
    let mut all: Vec<char> = ends.filter_map(char::from_u32).collect();
    all.dedup();
    all
}

#[test]
fn the_scanner_agrees_on_every_code_point() {
    let mut scratch = Scratch::default();
    let all: Vec<char> = (0..=0x10FFFFu32).filter_map(char::from_u32).collect();
    for pattern in ALL {
        for group in all.chunks(4096) {
            let text: String = group.iter().flat_map(|&c| [c, 'a', ' ', c, '1', '(', c]).collect();
            let expected = by_hand(pattern, &text);
            for level in levels() {
                let scanner = Scanner::with_level(pattern, level);
                assert_eq!(by_scanner(scanner, &mut scratch, &text), expected);
            }
        }
    }
}

#[test]
fn pairs_at_class_borders_are_cut_as_by_the_expression() {
    let borders = borders();
    // Each border beside characters of every class, among them those of the other borders nearby.
    let partners: Vec<char> = "aA1 \n\r\t'(/é中あДд½\u{301}\u{2028}ǅʰ\u{3000}s".chars().collect();
    let mut scratch = Scratch::default();
    for pattern in ALL {
        let reference = reference(pattern);
        for (group, next) in borders.chunks(16).zip(borders.chunks(16).skip(1)) {
            let mut text = String::new();
            for &char in group {
                for &other in partners.iter().chain(&next[..next.len().min(4)]) {
                    text.extend([char, other, 'x', other, char, ' ', '.', ' ']);
                }
            }
            let expected = reference(&text);
            assert_eq!(by_hand(pattern, &text), expected);
            assert_eq!(by_scanner(Scanner::new(pattern), &mut scratch, &text), expected);
        }
    }
}

#[test]
fn long_runs_are_cut_as_by_hand() {
    let mut scratch = Scratch::default();
    for unit in ["a", " ", "\n", " \n", "1", "é", "中", "!", "'s", "A", "\u{301}", "a中A", "\r\n/"]
    {
        for count in [63, 64, 65, 300, 5000] {
            let text = format!("x{} y", unit.repeat(count));
            for pattern in ALL {
                for level in levels() {
                    let scanner = Scanner::with_level(pattern, level);
                    assert_eq!(by_scanner(scanner, &mut scratch, &text), by_hand(pattern, &text));
                }
            }
        }
    }
}

#[test]
fn a_pattern_is_known_by_its_exact_expression() {
    assert_eq!(Pattern::from_regex(pattern::CL100K), Some(Pattern::Cl100k));
    assert_eq!(Pattern::from_regex(pattern::O200K), Some(Pattern::O200k));
    assert_eq!(Pattern::from_regex(&pattern::GPT2[1..]), None);
}

type Merge = (u32, u32, u32);

/// The first 256 tokens are the bytes; then what some frequent pairs make.
fn vocabulary() -> (Vec<Vec<u8>>, Vec<Merge>) {
    let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    let mut merges = vec![];
    for (left, right) in [
        (" ", "a"),
        ("a", "b"),
        ("s", "t"),
        ("l", "l"),
        ("'", "s"),
        ("\u{d0}", "\u{b4}"),
        (" a", "ab"),
        ("ll", "ll"),
        (" ", " "),
        ("  ", "  "),
        ("ab", "st"),
        ("1", "1"),
    ] {
        // A character below U+0100 stands for its byte.
        let bytes = |text: &str| text.chars().map(|char| char as u8).collect::<Vec<u8>>();
        let id = |bytes: &[u8]| tokens.iter().position(|token| token == bytes).unwrap() as u32;
        let (left, right) = (id(&bytes(left)), id(&bytes(right)));
        merges.push((left, right, tokens.len() as u32));
        tokens.push([tokens[left as usize].clone(), tokens[right as usize].clone()].concat());
    }
    tokens.push(b"dog".to_vec());
    (tokens, merges)
}

/// The leftmost pair of lowest rank, until there is none.
fn merged(piece: &[u8], merges: &[Merge]) -> Vec<u32> {
    let mut ids: Vec<u32> = piece.iter().map(|&byte| u32::from(byte)).collect();
    loop {
        let rank = |at: usize| merges.iter().position(|m| (m.0, m.1) == (ids[at], ids[at + 1]));
        let Some((rank, at)) = (1..ids.len()).filter_map(|at| Some((rank(at - 1)?, at - 1))).min()
        else {
            return ids;
        };
        ids.splice(at..at + 2, [merges[rank].2]);
    }
}

fn encoder(pattern: Option<Pattern>, ignore_merges: bool) -> Encoder {
    let (tokens, merges) = vocabulary();
    Encoder::new(pattern, &tokens, &merges, ignore_merges).unwrap()
}

proptest! {
    #[test]
    fn ids_are_those_of_the_definition_whatever_the_state_has_seen(
        texts in prop::collection::vec(text(30), 1..6)
    ) {
        let (_, merges) = vocabulary();
        for pattern in ALL {
            let (encoder, mut state) = (encoder(Some(pattern), false), EncoderState::default());
            for text in texts.iter().chain(&texts) {
                let pieces = by_hand(pattern, text);
                let expected: Vec<u32> =
                    pieces.iter().flat_map(|piece| merged(piece.as_bytes(), &merges)).collect();
                let mut ids = vec![7];
                encoder.encode(&mut state, text, &mut ids);
                assert_eq!(ids[1..], expected);
                ids.clear();
                let pieces = pieces.iter().map(|piece| piece.as_bytes());
                encoder.encode_pieces(&mut EncoderState::default(), pieces, &mut ids);
                assert_eq!(ids, expected);
            }
        }
    }
}

#[test]
fn a_piece_that_is_a_token_is_not_merged_if_merges_are_ignored() {
    let (tokens, _) = vocabulary();
    let dog = tokens.len() as u32 - 1;
    let ids = |ignore_merges| {
        let mut ids = vec![];
        let encoder = encoder(Some(Pattern::Gpt2), ignore_merges);
        encoder.encode(&mut EncoderState::default(), "dog dog\ndog", &mut ids);
        ids
    };
    let letters = b"dog".map(u32::from);
    assert_eq!(ids(true), [&[dog, 32][..], &letters, &[10, dog]].concat());
    assert!(!ids(false).contains(&dog));
}

#[test]
fn no_text_has_no_ids() {
    let mut ids = vec![];
    encoder(Some(Pattern::Cl100k), false).encode(&mut EncoderState::default(), "", &mut ids);
    encoder(None, false).encode_pieces(&mut EncoderState::default(), [&b""[..]], &mut ids);
    assert!(ids.is_empty());
}
