//! Connected components of the candidate graph, by union-find with min-id linking.
//!
//! In → edges between document ordinals, in any order; out → for each document the smallest
//! ordinal of its component. The root of a tree is always its smallest member (*min-id linking*),
//! so the result depends on the set of edges alone: not on their order, nor on who found them.
//! Without union by rank a find costs O(log n) amortised; path halving makes it near constant in
//! practice (Tarjan and van Leeuwen, "Worst-case analysis of set union algorithms", 1984).
//!
//! Cost: 4 bytes a document; one pass over the edges.

/// A forest over the ordinals `0..len`, where a parent is never larger than its child.
pub struct Components {
    parents: Vec<u32>,
}

impl Components {
    /// Every document alone. `len` ≤ `u32::MAX` is the caller's check.
    pub fn new(len: usize) -> Components {
        assert!(u32::try_from(len).is_ok(), "{len} documents do not fit in 32-bit ordinals");
        Components { parents: (0..len as u32).collect() }
    }

    /// The smallest ordinal of `document`'s component.
    pub fn root(&mut self, document: u32) -> u32 {
        let mut at = document;
        loop {
            let parent = self.parents[at as usize];
            if parent == at {
                return at;
            }
            let grandparent = self.parents[parent as usize];
            self.parents[at as usize] = grandparent;
            at = grandparent;
        }
    }

    /// Puts both into one component.
    pub fn union(&mut self, left: u32, right: u32) {
        let (left, right) = (self.root(left), self.root(right));
        let (root, child) = if left < right { (left, right) } else { (right, left) };
        self.parents[child as usize] = root;
    }

    /// The root of every document, by ordinal.
    pub fn into_roots(mut self) -> Vec<u32> {
        // A parent is smaller than its child, so one pass upwards flattens every path.
        for at in 0..self.parents.len() {
            self.parents[at] = self.parents[self.parents[at] as usize];
        }
        self.parents
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn roots(len: usize, edges: &[(u32, u32)]) -> Vec<u32> {
        let mut components = Components::new(len);
        for &(left, right) in edges {
            components.union(left, right);
        }
        components.into_roots()
    }

    #[test]
    fn a_chain_has_its_smallest_member_as_root() {
        let chain: Vec<(u32, u32)> = (0..99).rev().map(|at| (at + 1, at)).collect();
        assert_eq!(roots(101, &chain), [vec![0; 100], vec![100]].concat());
    }

    proptest! {
        #[test]
        fn roots_depend_on_the_set_of_edges_alone(
            edges in prop::collection::vec((0u32..60, 0u32..60), 0..80),
            shift in 0usize..80,
        ) {
            let forward = roots(60, &edges);
            let mut turned: Vec<_> = edges.iter().map(|&(left, right)| (right, left)).collect();
            turned.rotate_left(shift % (edges.len().max(1)));
            prop_assert_eq!(&forward, &roots(60, &turned));

            // Against a definition that cannot be wrong: spread minima until nothing changes.
            let mut minima: Vec<u32> = (0..60).collect();
            for _ in 0..60 {
                for &(left, right) in &edges {
                    let smaller = minima[left as usize].min(minima[right as usize]);
                    minima[left as usize] = smaller;
                    minima[right as usize] = smaller;
                }
            }
            prop_assert_eq!(forward, minima);
        }
    }
}
