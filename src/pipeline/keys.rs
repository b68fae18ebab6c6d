//! Keys: how layers of a configuration are laid over one another, and how a help lists them.
//!
//! In → two tables of keys; out → one, in which the upper one's keys win, also over their rivals.
//! In → a stage's keys and their defaults; out → a line a key.

use crate::base::config::{self, Table};

/// Keys of which one layer of a configuration sets at most one: it replaces the other's below.
const RIVALS: [[&str; 2]; 3] = [["bytes", "tokens"], ["preset", "rules"], ["tokenizer", "vocab"]];

/// The same, of the table `[train]`: how long a run is.
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

/// Every key as it is typed, with its default where it has one: `mix.seed = 0`; `tables`: the keys
/// of those that are tables.
pub fn lines(
    keys: &[&str],
    defaults: &Table,
    tables: &[(&'static str, Vec<&'static str>)],
) -> Vec<String> {
    let line = |name: &&str| {
        let value = defaults.get(*name);
        match tables.iter().find(|(table, _)| table == name) {
            Some((_, keys)) => table_lines(name, keys, value.and_then(toml::Value::as_table)),
            None => value.map_or(vec![(*name).to_owned()], |value| value_lines(name, value)),
        }
    };
    keys.iter().flat_map(line).collect()
}

/// The keys of a table, also those that are not written where they have not been set.
fn table_lines(name: &str, keys: &[&str], defaults: Option<&Table>) -> Vec<String> {
    let line = |key: &&str| {
        let name = format!("{name}.{key}");
        match defaults.and_then(|defaults| defaults.get(*key)) {
            Some(value) => value_lines(&name, value),
            None => vec![name],
        }
    };
    keys.iter().flat_map(line).collect()
}

fn value_lines(name: &str, value: &toml::Value) -> Vec<String> {
    match value {
        toml::Value::Table(table) if !table.is_empty() => {
            let line = |(key, value)| value_lines(&format!("{name}.{key}"), value);
            table.iter().flat_map(line).collect()
        }
        toml::Value::Table(_) => vec![name.to_owned()],
        value => vec![format!("{name} = {value}")],
    }
}
