//! How layers of a configuration are laid over one another.
//!
//! In → two tables of keys; out → one, in which the upper one's keys win, also over their rivals.

use crate::base::config::{self, Table};

/// Pairs of keys that exclude each other: one that an upper layer sets removes the other from the
/// layers below.
const RIVALS: [[&str; 2]; 3] = [["bytes", "tokens"], ["preset", "rules"], ["tokenizer", "vocab"]];

/// Keys of the table `[train]` that exclude each other in the same way: each says how long a run
/// is.
const BUDGETS: [&str; 4] = ["bytes", "flops", "steps", "tokens"];

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
    let given = over.get("train").and_then(toml::Value::as_table);
    if given.is_some_and(|train| BUDGETS.iter().any(|key| train.contains_key(*key)))
        && let Some(below) = table.get_mut("train").and_then(toml::Value::as_table_mut)
    {
        BUDGETS.iter().for_each(|key| drop(below.remove(*key)));
    }
    config::merge(table, over);
}
