//! From the dots of the output rows to scores of labels: softmax, logistic, hierarchical softmax.
//!
//! In → one dot a label (or tree node); out → candidates for the best labels. Facts from fastText's
//! `loss.cc`: softmax subtracts the maximum; one-vs-all and negative sampling put each dot through
//! a table of 513 sigmoids over [-8, 8]; hierarchical softmax goes down a Huffman tree of the label
//! counts, left by 1 - f and right by f, and never below a branch whose score is less than that of
//! the threshold or of the worst kept; a score is ln(p + 1e-5), so a reported probability is
//! p + 1e-5 and may exceed 1. Exponentials and logarithms are a software `libm`'s in 64 bits,
//! rounded to 32 where fastText has 32, so scores have the same bits on every machine.
//! Cost: an exponential and a logarithm a label; down the tree one of each a node that is visited.

use super::best::{Best, Candidate};

/// Added to a probability before its logarithm (`std_log` in fastText's `loss.cc`).
const LOG_OFFSET: f64 = 1e-5;

/// `SIGMOID_TABLE_SIZE` and `MAX_SIGMOID` of fastText's `loss.cc`.
const SIGMOID_STEPS: usize = 512;
const SIGMOID_LIMIT: f32 = 8.0;

/// Count of a tree node that does not exist yet, in fastText's `buildTree`.
pub const UNBUILT: i64 = 1_000_000_000_000_000;

/// ln(probability + 1e-5).
fn log(probability: f32) -> f32 {
    libm::log(f64::from(probability) + LOG_OFFSET) as f32
}

/// The reported probability of a score.
pub fn probability(score: f32) -> f32 {
    libm::exp(f64::from(score)) as f32
}

/// How a model turns its dots into scores.
#[derive(Clone, Debug)]
pub enum Loss {
    Softmax,
    /// One-vs-all and negative sampling: a sigmoid each.
    Logistic(Box<[f32; SIGMOID_STEPS + 1]>),
    Hierarchical(Tree),
}

/// Fills a vector with the probabilities of a softmax over `dots`, in place.
pub fn softmax(dots: &mut [f32]) {
    let maximum = dots.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0f32;
    for dot in dots.iter_mut() {
        *dot = libm::exp(f64::from(*dot - maximum)) as f32;
        total += *dot;
    }
    for dot in dots.iter_mut() {
        *dot /= total;
    }
}

impl Loss {
    /// Sigmoids by table.
    pub fn logistic() -> Loss {
        let mut table = Box::new([0.0; SIGMOID_STEPS + 1]);
        for (step, value) in table.iter_mut().enumerate() {
            let x = (step * 16) as f32 / SIGMOID_STEPS as f32 - SIGMOID_LIMIT;
            *value = (1.0 / (1.0 + f64::from(libm::exp(f64::from(-x)) as f32))) as f32;
        }
        Loss::Logistic(table)
    }

    /// Scores all labels into `best`, leaving out those with a probability below `threshold`.
    pub fn score(&self, dots: &mut [f32], threshold: f32, best: &mut Best) {
        match self {
            Loss::Hierarchical(tree) => tree.score(dots, threshold, best),
            Loss::Softmax => {
                softmax(dots);
                rank(dots, threshold, best);
            }
            Loss::Logistic(table) => {
                for dot in dots.iter_mut() {
                    *dot = sigmoid(table, *dot);
                }
                rank(dots, threshold, best);
            }
        }
    }
}

fn sigmoid(table: &[f32; SIGMOID_STEPS + 1], x: f32) -> f32 {
    if x < -SIGMOID_LIMIT {
        0.0
    } else if x > SIGMOID_LIMIT {
        1.0
    } else {
        table[((x + SIGMOID_LIMIT) * SIGMOID_STEPS as f32 / SIGMOID_LIMIT / 2.0) as usize]
    }
}

fn rank(probabilities: &[f32], threshold: f32, best: &mut Best) {
    for (label, &probability) in (0u32..).zip(probabilities) {
        if probability < threshold {
            continue;
        }
        let score = log(probability);
        if !best.refuses(score) {
            best.add(Candidate { score, label });
        }
    }
}

/// The Huffman tree of the labels: leaves 0 to `labels - 1`, then inner nodes, the root last.
#[derive(Clone, Debug)]
pub struct Tree {
    labels: usize,
    /// (left, right) of each inner node.
    children: Vec<(u32, u32)>,
}

impl Tree {
    /// From label counts, most frequent first; their sum must be below [`UNBUILT`].
    ///
    /// At each step the two rarest of the next leaf and the next inner node are joined, the leaf
    /// only if it is strictly rarer; the first of them is the left child.
    pub fn new(counts: &[i64]) -> Tree {
        let labels = counts.len();
        let mut totals = counts.to_vec();
        totals.resize(2 * labels - 1, UNBUILT);
        let (mut leaves, mut node) = (labels, labels);
        let mut children = Vec::with_capacity(labels - 1);
        for built in labels..2 * labels - 1 {
            let mut next = || {
                if leaves > 0 && totals[leaves - 1] < totals[node] {
                    leaves -= 1;
                    leaves
                } else {
                    node += 1;
                    node - 1
                }
            };
            let (left, right) = (next(), next());
            totals[built] = totals[left] + totals[right];
            children.push((left as u32, right as u32));
        }
        Tree { labels, children }
    }

    fn score(&self, dots: &[f32], threshold: f32, best: &mut Best) {
        let least = log(threshold);
        let mut open = vec![(2 * self.labels - 2, 0.0f32)];
        while let Some((node, score)) = open.pop() {
            if score < least || best.refuses(score) {
                continue;
            }
            if node < self.labels {
                best.add(Candidate { score, label: node as u32 });
                continue;
            }
            let (left, right) = self.children[node - self.labels];
            let exponential = libm::exp(f64::from(-dots[node - self.labels])) as f32;
            let share = (1.0 / f64::from(1.0 + exponential)) as f32;
            open.push((right as usize, score + log(share)));
            open.push((left as usize, score + log((1.0 - f64::from(share)) as f32)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_joins_the_rarest_and_gives_frequent_labels_short_paths() {
        let tree = Tree::new(&[10, 3, 2, 1]);
        assert_eq!(tree.children, [(3, 2), (4, 1), (5, 0)]);
        assert!(Tree::new(&[7]).children.is_empty());
    }

    #[test]
    fn a_tree_as_deep_as_its_labels_needs_no_deep_stack() {
        let counts: Vec<i64> = (0..200_000).rev().map(|label| i64::from(label < 1)).collect();
        let mut best = Best::default();
        best.start(1);
        Tree::new(&counts).score(&vec![0.0; counts.len()], 0.0, &mut best);
        assert!(best.finish().len() <= 1);
    }

    #[test]
    fn probabilities_below_the_threshold_are_left_out() {
        let mut best = Best::default();
        best.start(9);
        Loss::Softmax.score(&mut [0.0, 3.0, 1.0], 0.1, &mut best);
        let labels: Vec<u32> = best.finish().iter().map(|candidate| candidate.label).collect();
        assert_eq!(labels, [1, 2]);
    }

    #[test]
    fn a_sigmoid_is_read_from_the_table_at_both_ends() {
        let Loss::Logistic(table) = Loss::logistic() else { unreachable!() };
        assert_eq!(sigmoid(&table, 0.0), 0.5);
        assert_eq!(sigmoid(&table, 9.0), 1.0);
        assert_eq!(sigmoid(&table, 8.0), table[SIGMOID_STEPS]);
        assert_eq!(sigmoid(&table, -8.0), table[0]);
    }
}
