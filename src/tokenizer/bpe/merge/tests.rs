//! Every path of merging against the plain definition, on vocabularies that trainers never make.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

type Merges = Vec<(u32, u32, u32)>;

/// The definition: look for the lowest rank, the leftmost place; merge; again.
fn plain(tokens: &[Vec<u8>], merges: &Merges, piece: &[u8]) -> Vec<u32> {
    let rank: HashMap<(u32, u32), usize> =
        merges.iter().enumerate().map(|(rank, merge)| ((merge.0, merge.1), rank)).collect();
    let id = |byte: &u8| tokens.iter().position(|token| token[..] == [*byte]).map(|id| id as u32);
    let mut ids: Vec<u32> = piece.iter().filter_map(id).collect();
    let best = |ids: &[u32]| {
        let places = ids.windows(2).enumerate();
        places.filter_map(|(at, two)| rank.get(&(two[0], two[1])).map(|rank| (*rank, at))).min()
    };
    while let Some((rank, at)) = best(&ids) {
        ids.splice(at..at + 2, [merges[rank].2]);
    }
    ids
}

/// A vocabulary over `a` to `d`, where the list may name any pair in any order, and twice.
fn vocabulary() -> impl Strategy<Value = (Vec<Vec<u8>>, Merges)> {
    let pairs = prop::collection::vec((any::<u16>(), any::<u16>()), 0..40);
    (pairs, prop::collection::vec(any::<u16>(), 40), 0..4u8).prop_map(|(pairs, order, missing)| {
        let mut tokens: Vec<Vec<u8>> = vec![vec![], b"a".into(), b"b".into(), b"c".into()];
        tokens.push(if missing == 0 { vec![] } else { b"d".into() });
        let mut merges = Vec::new();
        for (left, right) in pairs {
            let pick = |number: u16| 1 + u32::from(number) % (tokens.len() as u32 - 1);
            let (left, right) = (pick(left), pick(right));
            let bytes = [&tokens[left as usize][..], &tokens[right as usize]].concat();
            if bytes.len() > 12
                || tokens[left as usize].is_empty()
                || tokens[right as usize].is_empty()
            {
                continue;
            }
            let known = tokens.iter().position(|token| *token == bytes);
            let made = known.unwrap_or_else(|| {
                tokens.push(bytes);
                tokens.len() - 1
            });
            merges.push((left, right, made as u32));
        }
        if missing > 1 {
            let mut keyed: Vec<_> = merges.iter().copied().zip(order).collect();
            keyed.sort_by_key(|entry| entry.1);
            merges = keyed.into_iter().map(|entry| entry.0).collect();
        }
        (tokens, merges)
    })
}

fn check(tokens: &[Vec<u8>], merges: &Merges, piece: &[u8]) {
    let expected = plain(tokens, merges, piece);
    let ranks = Ranks::new(tokens, merges).unwrap();
    let mut scratch = MergeScratch::default();
    let mut out = vec![7];
    ranks.merge(&mut scratch, piece, &mut out);
    assert_eq!(out[1..], expected);
    let known: Vec<u8> =
        piece.iter().copied().filter(|&b| ranks.byte_symbol[usize::from(b)] != EDGE).collect();
    // Each method on the whole piece, twice with the same scratch.
    for _ in 0..2 {
        out.clear();
        ranks.merge_by_heap(&mut scratch, &known, &mut out);
        assert_eq!(out, expected, "heap");
        if ranks.ordered {
            out.clear();
            ranks.merge_by_buckets(&mut scratch, &known, &mut out);
            assert_eq!(out, expected, "buckets");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_vocabulary_merges_as_defined(
        (tokens, merges) in vocabulary(), piece in "[a-d]{0,200}", run in "(a{0,20}b{0,3}){0,9}",
        short in "[a-c]{0,14}",
    ) {
        check(&tokens, &merges, piece.as_bytes());
        check(&tokens, &merges, run.as_bytes());
        check(&tokens, &merges, short.as_bytes());
    }
}

fn letters(letters: &[u8]) -> Vec<Vec<u8>> {
    letters.iter().map(|&letter| vec![letter]).collect()
}

#[test]
fn every_length_around_the_borders_of_the_methods_merges_as_defined() {
    let mut tokens = letters(b"ab");
    tokens.extend([b"aa".to_vec(), b"ab".to_vec(), b"aaaa".to_vec(), b"aab".to_vec()]);
    let merges = vec![(0, 0, 2), (0, 1, 3), (2, 2, 4), (2, 1, 5)];
    for length in (1..70).chain([1000, 10_000]) {
        for last in [b'a', b'b'] {
            let mut piece = vec![b'a'; length];
            piece[length - 1] = last;
            piece[length / 2] = last;
            if length < 100 {
                check(&tokens, &merges, &piece);
            }
            let mut out = Vec::new();
            let ranks = Ranks::new(&tokens, &merges).unwrap();
            ranks.merge(&mut MergeScratch::default(), &piece, &mut out);
            let bytes: Vec<u8> = out.iter().flat_map(|&id| tokens[id as usize].clone()).collect();
            assert_eq!(bytes, piece);
        }
    }
}

#[test]
fn a_byte_without_a_token_vanishes_and_its_neighbours_meet() {
    let mut tokens = letters(b"ab");
    tokens.push(b"ab".to_vec());
    check(&tokens, &vec![(0, 1, 2)], b"axb");
    let mut out = Vec::new();
    let ranks = Ranks::new(&tokens, &[(0, 1, 2)]).unwrap();
    ranks.merge(&mut MergeScratch::default(), b"axxb", &mut out);
    assert_eq!(out, [2]);
}

#[test]
fn a_pair_listed_twice_counts_at_its_last_place() {
    let mut tokens = letters(b"abc");
    tokens.extend([b"ab".to_vec(), b"bc".to_vec()]);
    check(&tokens, &vec![(0, 1, 3), (1, 2, 4), (0, 1, 3)], b"abc");
    check(&tokens, &vec![(0, 1, 3), (1, 2, 4)], b"abc");
}

#[test]
fn a_merge_before_the_one_that_makes_its_part_is_not_lost() {
    let mut tokens = letters(b"abc");
    tokens.extend([b"ab".to_vec(), b"abc".to_vec(), b"ca".to_vec()]);
    let merges = vec![(3, 2, 4), (2, 0, 5), (0, 1, 3)];
    assert!(!Ranks::new(&tokens, &merges).unwrap().ordered);
    check(&tokens, &merges, b"abcabccab");
    check(&tokens, &merges, &b"abc".repeat(40));
}

#[test]
fn parts_that_no_piece_can_hold_are_left_out() {
    let mut tokens = letters(b"ab");
    tokens.extend([b"xy".to_vec(), b"axy".to_vec(), b"ab".to_vec()]);
    check(&tokens, &vec![(0, 2, 3), (0, 1, 4)], b"abxyab");
}
