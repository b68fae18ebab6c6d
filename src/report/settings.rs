//! The configurations of a page: what differs from the default, the baseline, one another.
//!
//! In → resolved configurations; out → tables of the keys that differ, the rest folded away; and
//! what to call each of several runs. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Shown, view::View};
use crate::base::{
    html::{escape, put},
    size::Count,
};

/// Keys that say how a run is watched, not what it is.
const APART: [&str; 4] =
    ["train.log_every", "train.on_divergence", "train.price_per_hour", "train.goal"];

/// A configuration as dotted keys.
fn flat(config: &Value) -> BTreeMap<String, String> {
    let mut keys = BTreeMap::new();
    fill("", config, &mut keys);
    keys
}

fn fill(prefix: &str, value: &Value, keys: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                let dot = if prefix.is_empty() { "" } else { "." };
                fill(&format!("{prefix}{dot}{key}"), value, keys);
            }
        }
        Value::Null => {}
        Value::String(text) => {
            keys.insert(prefix.to_owned(), text.clone());
        }
        // `6e-4` and `0.0006` are one number, and so are 1 and 1.0.
        Value::Number(number) => {
            let text = number.as_f64().map_or(number.to_string(), |number| number.to_string());
            keys.insert(prefix.to_owned(), text);
        }
        other => {
            keys.insert(prefix.to_owned(), other.to_string());
        }
    }
}

/// The keys in which not all of `configs` agree, those of [`APART`] left out.
fn differing(configs: &[BTreeMap<String, String>]) -> Vec<String> {
    let keys: BTreeSet<&String> = configs.iter().flat_map(BTreeMap::keys).collect();
    let differs = |key: &&String| {
        let first = configs.first().and_then(|config| config.get(*key));
        configs.iter().any(|config| config.get(*key) != first) && !APART.contains(&key.as_str())
    };
    keys.into_iter().filter(differs).cloned().collect()
}

/// A run's configuration with the mix that it reads as one more key.
fn whole(shown: &Shown) -> BTreeMap<String, String> {
    let mut keys = flat(&shown.run.config);
    if let Some(mix) = shown.run.manifest.inputs.first() {
        let fingerprint = mix.fingerprint.map_or(String::new(), |found| found.short());
        keys.insert("mix".to_owned(), format!("{} {fingerprint}", mix.name));
    }
    keys
}

/// A name for each run, with the value of the only key that differs, if there is just one.
pub fn names(runs: &[Shown]) -> Vec<String> {
    let configs: Vec<_> = runs.iter().map(whole).collect();
    let differing = if runs.len() > 1 { differing(&configs) } else { Vec::new() };
    let name = |(shown, config): (&Shown, &BTreeMap<String, String>)| match &differing[..] {
        [key] => {
            let value = config.get(key).map_or("–", String::as_str);
            format!("{}: {key} {value}", shown.run.name)
        }
        _ => shown.run.name.clone(),
    };
    runs.iter().zip(&configs).map(name).collect()
}

/// A table of the keys in which several runs differ, one column a run.
pub fn differences(runs: &[Shown]) -> String {
    if runs.len() < 2 {
        return String::new();
    }
    let configs: Vec<_> = runs.iter().map(whole).collect();
    let keys = differing(&configs);
    if keys.is_empty() {
        return "<p>Nothing: configuration and mix are the same.</p>\n".to_owned();
    }
    let heads: Vec<&str> = runs.iter().map(|shown| shown.run.name.as_str()).collect();
    let note = match keys.len() {
        1 => String::new(),
        count => format!(
            "<p class=\"note\">{count} keys differ at once: what follows cannot be put down to one \
             of them.</p>\n"
        ),
    };
    note + &table(&heads, rows(&configs))
}

/// A row for each key that differs, a cell for each of `configs`.
fn rows(configs: &[BTreeMap<String, String>]) -> Vec<(String, Vec<String>)> {
    let row = |key: String| {
        let cells = configs.iter().map(|config| config.get(&key).cloned().unwrap_or_default());
        let cells = cells.collect();
        (key, cells)
    };
    differing(configs).into_iter().map(row).collect()
}

/// A table of what differs from the baseline, or else from the defaults; the whole is folded below.
pub fn section(runs: &[Shown], view: &View) -> String {
    let mut html = String::new();
    for shown in runs {
        let Shown { run, known } = shown;
        if runs.len() > 1 {
            put(&mut html, format_args!("<h3>{}</h3>\n", escape(&run.name)));
        }
        let mine = flat(&run.config);
        let against = match (&view.baseline, &known.defaults) {
            (Some(baseline), _) => Some((baseline.name.as_str(), flat(&baseline.config))),
            (None, Some(defaults)) => Some(("default", flat(defaults))),
            (None, None) => None,
        };
        if let Some((name, other)) = against {
            let both = [mine, other];
            html.push_str(&table(&["this run", name], rows(&both)));
        }
        if !known.numbers.is_empty() {
            html.push_str("<details><summary>Numbers that follow</summary>\n");
            let numbers = known
                .numbers
                .iter()
                .map(|(name, count)| ((*name).to_owned(), vec![Count(*count).to_string()]));
            html.push_str(&table(&["number"], numbers.collect()));
            html.push_str("</details>\n");
        }
        put(
            &mut html,
            format_args!(
                "<details><summary>The whole configuration</summary>\n<pre>{}</pre></details>\n",
                escape(&run.config_text)
            ),
        );
    }
    html
}

fn table(heads: &[&str], rows: Vec<(String, Vec<String>)>) -> String {
    let mut html = "<div class=\"wide\"><table><thead><tr><th scope=\"col\">key</th>".to_owned();
    for head in heads {
        put(&mut html, format_args!("<th scope=\"col\">{}</th>", escape(head)));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for (key, cells) in rows {
        put(&mut html, format_args!("<tr><th scope=\"row\">{}</th>", escape(&key)));
        for cell in cells {
            put(&mut html, format_args!("<td>{}</td>", escape(&cell)));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_numbers_written_differently_are_equal() {
        let a = flat(&json!({"train": {"steps": 1, "rate": 6e-4, "list": [1], "log_every": 1}}));
        let b =
            flat(&json!({"train": {"steps": 1.0, "rate": 0.0006, "list": [2], "log_every": 2}}));
        assert_eq!(differing(&[a, b]), ["train.list"]);
    }
}
