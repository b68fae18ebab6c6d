//! How layers of a configuration are laid over one another.
//!
//! In → two tables of keys; out → one, in which the upper one's keys win, also over their rivals.

use crate::base::config::{self, Table};

/// Keys of which one layer of a configuration sets at most one: it replaces the other's below.
const RIVALS: [[&str; 2]; 3] = [["bytes", "tokens"], ["preset", "rules"], ["tokenizer", "vocab"]];

/// Keys that had another name: the old one is taken for one version more.
const RENAMED: [(&str, &str); 1] = [("recipe", "preset")];

/// Lays `over` on `table`: its keys win, also over their rivals.
pub fn lay(table: &mut Table, mut over: Table) {
    for (old, new) in RENAMED {
        if let Some(value) = over.remove(old) {
            over.entry(new).or_insert(value);
        }
    }
    for [one, other] in RIVALS {
        for (key, rival) in [(one, other), (other, one)] {
            if over.contains_key(key) {
                table.remove(rival);
            }
        }
    }
    config::merge(table, over);
}
