//! Items and texts as tokens: what the model reads, and what it should say.
//!
//! In → an [`Item`], or a document's tokens; out → [`Tree`]s. **Method**, lm-evaluation-harness's
//! (`api/model.py`, `models/huggingface.py`, `utils.get_rolling_token_windows`). White space at the
//! end of a context moves to the continuation. Context and continuation are encoded as one text,
//! and the tokens after the first n are scored, where n is the number of tokens of the context
//! encoded alone, even if a merge spans the seam. Every text follows the model's opener; an empty
//! context is replaced by the opener. A text that is too long loses tokens at its beginning. A long
//! document is read in windows: each scores the next `stride` tokens, after as many earlier tokens
//! as fit, so every byte is scored once. A continuation longer than the model reads at once, which
//! the harness refuses, is read the same way. **Invariants.** The choices of an item share their
//! common first tokens, up to the first one that is scored. How many those are depends on the item
//! alone, and so do its scores.

use super::task::Item;
use crate::base::error::{Error, Result};
use crate::runtime::model::{Branch, Tree};
use crate::text;
use crate::tokenizer::Tokenizer;

/// How texts become tokens for one model.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    pub tokenizer: &'a Tokenizer,
    /// The tokens that precede every text.
    pub before: &'a [u32],
    /// The token that replaces an empty context.
    pub prefix: u32,
    /// Tokens that the model reads at once.
    pub length: usize,
}

/// An item as the model reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct AskedItem {
    pub trees: Vec<Tree>,
    /// For each branch of each tree, the index of the choice that it is, or is a part of;
    /// ascending.
    pub choices: Vec<usize>,
    /// Whether the beginning of a context was cut off.
    pub is_cut: bool,
}

/// A text, of whose tokens the last ones are scored.
struct Asked {
    tokens: Vec<u32>,
    targets: usize,
}

impl Asked {
    fn inputs(&self) -> &[u32] {
        &self.tokens[..self.tokens.len() - 1]
    }

    fn targets(&self) -> &[u32] {
        &self.tokens[self.tokens.len() - self.targets..]
    }

    /// The number of inputs up to and including the one that predicts the first target.
    fn context(&self) -> usize {
        self.inputs().len() + 1 - self.targets
    }
}

impl Asker<'_> {
    /// What the model reads of an item.
    ///
    /// # Errors
    /// Failed: a continuation without tokens.
    pub fn item(&self, item: &Item) -> Result<AskedItem> {
        let choices = item.choices.iter();
        let asked = choices.map(|choice| {
            let context = format!("{}{}", item.description, choice.context);
            self.ask(&context, &choice.continuation)
        });
        let asked: Vec<Asked> = asked.collect::<Result<_>>()?;
        let is_cut = asked.iter().any(|one| one.tokens.len() > self.length + 1);
        let stem = if is_cut { 0 } else { shared(&asked) };
        if stem > 0 {
            let choices = (0..asked.len()).collect();
            return Ok(AskedItem { trees: vec![tree(&asked, stem)], choices, is_cut });
        }
        let (mut trees, mut choices) = (Vec::new(), Vec::new());
        for (choice, one) in asked.iter().enumerate() {
            let first = one.tokens.len() - one.targets;
            trees.extend(self.parts(&one.tokens, first, self.length));
            choices.resize(trees.len(), choice);
        }
        Ok(AskedItem { trees, choices, is_cut })
    }

    fn ask(&self, context: &str, continuation: &str) -> Result<Asked> {
        let cut = context.trim_end_matches(text::is_white_space).len();
        let (context, moved) = context.split_at(cut);
        let continuation = format!("{moved}{continuation}");
        let encode = |text: &str, before: &[u32]| {
            let mut tokens = before.to_vec();
            self.tokenizer.encode(text, &mut tokens).map(|()| tokens)
        };
        let empty = context.is_empty() && (moved.is_empty() || self.before.is_empty());
        let (tokens, context) = match empty {
            true => (encode(&continuation, &[self.prefix])?, 1),
            false => {
                let whole = encode(&format!("{context}{continuation}"), self.before)?;
                (whole, encode(context, self.before)?.len())
            }
        };
        let targets = tokens.len().saturating_sub(context);
        if targets == 0 {
            let message = format!("`{continuation}` adds no token to its context");
            return Err(Error::failed(message));
        }
        Ok(Asked { tokens, targets })
    }

    /// The windows of a document: each of its tokens is a target once, in order.
    pub fn windows(&self, document: &[u32], stride: usize) -> Vec<Tree> {
        let all = [&[self.prefix], document].concat();
        self.parts(&all, 1, stride)
    }

    /// Trees that score the tokens from `first` on: the first tree scores as many tokens as the
    /// model reads at once, each later one `stride` tokens.
    fn parts(&self, tokens: &[u32], first: usize, stride: usize) -> Vec<Tree> {
        let (mut parts, mut scored) = (Vec::new(), first);
        while scored < tokens.len() {
            let next = if scored == first { self.length } else { stride };
            let end = tokens.len().min(scored + next);
            let inputs = &tokens[(end - 1).saturating_sub(self.length)..end - 1];
            let targets = tokens[scored..end].to_vec();
            let branch = Branch { tokens: vec![], targets };
            parts.push(Tree { stem: inputs.to_vec(), branches: vec![branch] });
            scored = end;
        }
        parts
    }
}

/// The number of first tokens that all texts share, up to the first token that is scored.
fn shared(asked: &[Asked]) -> usize {
    let Some(first) = asked.first() else { return 0 };
    let common = |one: &Asked| {
        let pairs = first.inputs().iter().zip(one.inputs());
        pairs.take_while(|(a, b)| a == b).count().min(one.context())
    };
    asked.iter().map(common).min().unwrap_or(0)
}

fn tree(asked: &[Asked], stem: usize) -> Tree {
    let branch = |one: &Asked| Branch {
        tokens: one.inputs()[stem..].to_vec(),
        targets: one.targets().to_vec(),
    };
    let branches = asked.iter().map(branch).collect();
    Tree { stem: asked[0].inputs()[..stem].to_vec(), branches }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::task::Choice;
    use proptest::prelude::*;

    fn tokenizer() -> &'static Tokenizer {
        static TOKENIZER: std::sync::OnceLock<Tokenizer> = std::sync::OnceLock::new();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tokenizer/gpt2.json");
        TOKENIZER.get_or_init(|| Tokenizer::open(std::path::Path::new(path)).unwrap())
    }

    fn asker(tokenizer: &Tokenizer, length: usize) -> Asker<'_> {
        Asker { tokenizer, before: &[7], prefix: 7, length }
    }

    fn item(pairs: &[(&str, &str)]) -> Item {
        let choice = |(context, continuation): &(&str, &str)| Choice {
            context: (*context).to_owned(),
            continuation: (*continuation).to_owned(),
            text: continuation.trim_start().to_owned(),
        };
        let choices = pairs.iter().map(choice).collect();
        Item { number: 0, description: String::new(), choices, gold: 0 }
    }

    fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        tokenizer.encode(text, &mut ids).unwrap();
        ids
    }

    /// The (inputs, targets) that the harness gives to its model, by its own rules.
    fn reference(tokenizer: &Tokenizer, context: &str, continuation: &str) -> (Vec<u32>, Vec<u32>) {
        let kept = context.trim_end_matches(text::is_white_space);
        let continuation = format!("{}{continuation}", &context[kept.len()..]);
        let whole = [vec![7], ids(tokenizer, &format!("{kept}{continuation}"))].concat();
        let context = [vec![7], ids(tokenizer, kept)].concat();
        (whole[..whole.len() - 1].to_vec(), whole[context.len()..].to_vec())
    }

    #[test]
    fn a_shared_context_is_read_once() {
        let tokenizer = tokenizer();
        let pairs =
            [("Question: Why?\nAnswer:", " yes"), ("Question: Why?\nAnswer:", " no, never")];
        let trees = asker(tokenizer, 64).item(&item(&pairs)).unwrap().trees;
        assert_eq!(trees.len(), 1);
        let context = [vec![7], ids(tokenizer, pairs[0].0)].concat();
        assert_eq!(trees[0].stem, context);
        for (branch, (context, continuation)) in trees[0].branches.iter().zip(pairs) {
            let (inputs, targets) = reference(tokenizer, context, continuation);
            assert_eq!([&trees[0].stem[..], &branch.tokens].concat(), inputs);
            assert_eq!(branch.targets, targets);
        }
        // Different contexts followed by the same scored text share the tokens that they have in
        // common.
        let pairs = [("Sarah paid so Sarah", " left."), ("Sarah paid so Maria", " left.")];
        let trees = asker(tokenizer, 64).item(&item(&pairs)).unwrap().trees;
        assert_eq!(trees[0].stem, [vec![7], ids(tokenizer, "Sarah paid so")].concat());
        assert_eq!(trees[0].branches[0].targets, trees[0].branches[1].targets);
    }

    #[test]
    fn what_is_too_long_loses_its_beginning() {
        let tokenizer = tokenizer();
        let context = "one two three four five six";
        let pairs = [(context, " a"), (context, " b c d")];
        let trees = asker(tokenizer, 5).item(&item(&pairs)).unwrap().trees;
        for (tree, (context, continuation)) in trees.iter().zip(pairs) {
            let (inputs, targets) = reference(tokenizer, context, continuation);
            let read = [&tree.stem[..], &tree.branches[0].tokens].concat();
            assert_eq!(read, inputs[inputs.len() - 5..]);
            assert_eq!(tree.branches[0].targets, targets);
            assert!(tree.branches[0].tokens.is_empty());
        }
        assert_eq!(trees.len(), 2);
        assert!(asker(tokenizer, 5).item(&item(&pairs)).unwrap().is_cut);
        assert!(!asker(tokenizer, 20).item(&item(&pairs)).unwrap().is_cut);
        // A continuation of three tokens, for a model that reads two at once.
        let asked = asker(tokenizer, 2).item(&item(&pairs)).unwrap();
        assert_eq!(asked.choices, [0, 1, 1]);
        let (inputs, targets) = reference(tokenizer, context, " b c d");
        let parts: Vec<&[u32]> = asked.trees[1..].iter().map(|it| it.stem.as_slice()).collect();
        let last = inputs.len();
        assert_eq!(parts, [&inputs[last - 3..last - 1], &inputs[last - 2..]]);
        let scored = asked.trees[1..].iter().map(|it| it.branches[0].targets.as_slice());
        assert_eq!(scored.collect::<Vec<_>>(), [&targets[..2], &targets[2..]]);
    }

    #[test]
    fn an_empty_context_is_the_prefix() {
        let tokenizer = tokenizer();
        let trees = asker(tokenizer, 9).item(&item(&[("", "abc def")])).unwrap().trees;
        assert_eq!((trees[0].stem.as_slice(), trees.len()), (&[7][..], 1));
        assert_eq!(trees[0].branches[0].targets, ids(tokenizer, "abc def"));
    }

    #[test]
    fn windows_score_every_token_once_with_what_fits_before_it() {
        let tokenizer = tokenizer();
        let document: Vec<u32> = (100..123).collect();
        for (length, stride) in [(8, 8), (8, 3), (8, 1), (30, 30), (23, 5)] {
            let windows = asker(tokenizer, length).windows(&document, stride);
            let targets: Vec<u32> =
                windows.iter().flat_map(|tree| tree.branches[0].targets.clone()).collect();
            assert_eq!(targets, document);
            for tree in &windows {
                assert!(tree.stem.len() <= length);
                let last = *tree.branches[0].targets.last().unwrap();
                let before = if last == 100 { 7 } else { last - 1 };
                assert_eq!(*tree.stem.last().unwrap(), before);
                assert!(tree.stem.len() == length || tree.stem[0] == 7);
            }
        }
        assert!(asker(tokenizer, 8).windows(&[], 8).is_empty());
        // utils.get_rolling_token_windows(list(range(100, 109)), 7, 4, 1) of lm_eval 0.4.13.
        let windows = asker(tokenizer, 4).windows(&document[..9], 4);
        let stems: Vec<&[u32]> = windows.iter().map(|tree| tree.stem.as_slice()).collect();
        let expected: [&[u32]; 3] =
            [&[7, 100, 101, 102], &[103, 104, 105, 106], &[104, 105, 106, 107]];
        assert_eq!(stems, expected);
    }

    proptest! {
        #[test]
        fn every_choice_is_asked_as_by_the_harness(
            context in "[a-c é\\n]{0,12}x[ \\n]{0,2}",
            choices in prop::collection::vec("[a-c ]{0,3}[d-fü]{1,4}", 1..5),
        ) {
            let tokenizer = tokenizer();
            let pairs: Vec<(&str, &str)> =
                choices.iter().map(|choice| (context.as_str(), choice.as_str())).collect();
            let trees = asker(tokenizer, 64).item(&item(&pairs)).unwrap().trees;
            let branches: Vec<(Vec<u32>, Vec<u32>)> = trees
                .iter()
                .flat_map(|tree| tree.branches.iter().map(|branch| {
                    ([&tree.stem[..], &branch.tokens].concat(), branch.targets.clone())
                }))
                .collect();
            let expected: Vec<_> = pairs
                .iter()
                .map(|(context, continuation)| reference(tokenizer, context, continuation))
                .collect();
            prop_assert_eq!(branches, expected);
        }
    }
}
