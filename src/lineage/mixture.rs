//! What two mixes are made of, compared as a whole: sources, shares, phases.
//!
//! In → the configurations of two mixes; out → the [`Change`]s of their mixtures, also in words.
//! **Method.** Shares are relative: moving one source's share moves others' weights, and adding a
//! source brings four keys, so all of that is one change of the mixture. Weights are compared by
//! the shares that they amount to; sources are matched by name, and a source of another name that
//! reads the same documents has been renamed. Where only one weight was changed, its key says more.
//! The order of the sources decides between documents of one place, and is a difference of its own.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// Tables of a mix's configuration that are compared here.
pub const TABLES: [&str; 2] = ["sources.", "phases."];

/// Shares closer than this are equal: weights are decimals of six digits.
const EQUAL: f64 = 1e-9;

/// Shares that a sentence lists.
const SHOWN: usize = 6;

/// What a mix reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Mixture {
    /// The sources by their names: which of the shards that the mix reads, which source of these.
    pub sources: BTreeMap<String, Selection>,
    /// The phases in order; a mix without phases has a single one, without a name.
    pub phases: Vec<Phase>,
}

/// The documents that a source takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Selection {
    /// The name of the shards, where both mixes read shards of the same names; else none.
    pub shards: Option<String>,
    /// One source of the shards; `None` for all.
    pub source: Option<String>,
}

/// A mixture over a part of the stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    pub name: String,
    /// Its share of the stream, 0 to 1.
    pub share: f64,
    /// For each source that it reads, the share of the phase, 0 to 1.
    pub shares: BTreeMap<String, f64>,
}

/// One change between two mixtures.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// One weight alone, by its key.
    Weight { key: String, from: String, to: String },
    /// Weights, by key, that come to the same shares.
    Weights { from: BTreeMap<String, String>, to: BTreeMap<String, String> },
    /// Sources, or shares.
    Mixture { from: Box<Mixture>, to: Box<Mixture> },
    /// The order of the sources that both have.
    Order,
}

/// The differences between two mixtures, each given as its configuration and the names of the
/// shards that it reads, which the configuration refers to by index.
pub fn differences(from: (&Value, &[String]), to: (&Value, &[String])) -> Vec<Change> {
    let sorted = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    let named = sorted(from.1) == sorted(to.1);
    let of = |(config, names)| Mixture::of(config, if named { names } else { &[] });
    let (a, b) = (of(from), of(to));
    let (from, to) = (from.0, to.0);
    let mut found = Vec::new();
    match only_weight(from, to).filter(|_| a.sources == b.sources) {
        Some(what) => found.push(what),
        None if a.is_written_as(&b) && weights(from) != weights(to) => {
            found.push(Change::Weights { from: weights(from), to: weights(to) });
        }
        None if !a.is_written_as(&b) => {
            found.push(Change::Mixture { from: Box::new(a), to: Box::new(b) });
        }
        None => {}
    }
    let order = |config: &Value, other: &Value| -> Vec<String> {
        let others = names(other);
        names(config).into_iter().filter(|name| others.contains(name)).collect()
    };
    if order(from, to) != order(to, from) {
        found.push(Change::Order);
    }
    found
}

/// The one weight that differs between two configurations that are equal elsewhere.
fn only_weight(from: &Value, to: &Value) -> Option<Change> {
    let (a, b) = (weights(from), weights(to));
    let mut moved = a.iter().filter(|(key, weight)| b.get(*key) != Some(*weight));
    let (key, before) = moved.next()?;
    let is_alone = moved.next().is_none() && a.keys().eq(b.keys());
    is_alone.then(|| Change::Weight {
        key: key.clone(),
        from: before.clone(),
        to: b.get(key).cloned().unwrap_or_default(),
    })
}

/// Every weight in its written form, by its key: `sources.wiki.weight`, `phases.main.share`.
fn weights(config: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut put = |key: String, weight: &Value| {
        if let Some(weight) = weight.as_str() {
            found.insert(key, weight.to_owned());
        }
    };
    for source in list(config, "sources") {
        put(format!("sources.{}.weight", name(source)), &source["weight"]);
    }
    for phase in list(config, "phases") {
        put(format!("phases.{}.share", name(phase)), &phase["share"]);
        for (source, weight) in phase["weights"].as_object().into_iter().flatten() {
            put(format!("phases.{}.weights.{source}", name(phase)), weight);
        }
    }
    found
}

fn list<'a>(config: &'a Value, key: &str) -> &'a [Value] {
    config[key].as_array().map_or(&[], Vec::as_slice)
}

fn name(table: &Value) -> &str {
    table["name"].as_str().unwrap_or_default()
}

fn names(config: &Value) -> Vec<String> {
    list(config, "sources").iter().map(|source| name(source).to_owned()).collect()
}

/// The share of each in their sum.
fn parts(weights: impl Iterator<Item = (String, f64)>) -> BTreeMap<String, f64> {
    let weights: BTreeMap<String, f64> = weights.collect();
    let sum: f64 = weights.values().sum();
    weights.into_iter().map(|(name, weight)| (name, weight / sum)).collect()
}

/// A weight as the stage writes it: a decimal number as text.
fn weight(value: &Value) -> Option<f64> {
    value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_f64())
}

impl Mixture {
    fn of(config: &Value, shards: &[String]) -> Mixture {
        let sources = list(config, "sources");
        let selection = |source: &Value| Selection {
            shards: source["shards"]
                .as_u64()
                .and_then(|at| shards.get(usize::try_from(at).ok()?))
                .cloned(),
            source: source["source"].as_str().map(str::to_owned),
        };
        let selected = sources.iter().map(|it| (name(it).to_owned(), selection(it)));
        let own = |source: &Value| Some((name(source).to_owned(), weight(&source["weight"])?));
        let only = Phase {
            name: String::new(),
            share: 1.0,
            shares: parts(sources.iter().filter_map(own)),
        };
        let asked = list(config, "phases");
        let whole: f64 = asked.iter().filter_map(|phase| weight(&phase["share"])).sum();
        let phase = |phase: &Value| Phase {
            name: name(phase).to_owned(),
            share: weight(&phase["share"]).unwrap_or(0.0) / whole,
            shares: parts(
                phase["weights"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter_map(|(source, value)| Some((source.clone(), weight(value)?))),
            ),
        };
        let phases = asked.iter().map(phase).collect::<Vec<_>>();
        let phases = if phases.is_empty() { vec![only] } else { phases };
        Mixture { sources: selected.collect(), phases }
    }

    /// Whether both take the same documents in the same shares, under the same names.
    fn is_written_as(&self, other: &Mixture) -> bool {
        self.sources == other.sources
            && self.phases.len() == other.phases.len()
            && self.phases.iter().zip(&other.phases).all(|(a, b)| {
                a.name == b.name
                    && (a.share - b.share).abs() < EQUAL
                    && changed(&a.shares, &b.shares).is_empty()
            })
    }
}

/// (source, share before, share after) of those whose share moved; 0: not read.
type Moved<'a> = (&'a str, f64, f64);

fn changed<'a>(from: &'a BTreeMap<String, f64>, to: &'a BTreeMap<String, f64>) -> Vec<Moved<'a>> {
    let new = to.keys().filter(|name| !from.contains_key(*name));
    let both = from.keys().chain(new).map(|name| {
        let share = |side: &BTreeMap<String, f64>| side.get(name).copied().unwrap_or(0.0);
        (name.as_str(), share(from), share(to))
    });
    both.filter(|(_, from, to)| (from - to).abs() >= EQUAL).collect()
}

/// The only source whose share moved while the others kept their proportions. Between two sources
/// that both mixes read, it cannot be said which one moved.
fn moved_alone<'a>(
    from: &'a BTreeMap<String, f64>,
    to: &'a BTreeMap<String, f64>,
) -> Option<Moved<'a>> {
    let moved = changed(from, to);
    let without = |side: &BTreeMap<String, f64>, name: &str| {
        let others = side.iter().filter(|(other, _)| *other != name);
        parts(others.map(|(name, share)| (name.clone(), *share)))
    };
    let mut alone = moved.into_iter().filter(|(name, _, _)| {
        let (a, b) = (without(from, name), without(to, name));
        a.keys().eq(b.keys()) && !a.is_empty() && changed(&a, &b).is_empty()
    });
    let first = alone.next()?;
    alone.next().is_none().then_some(first)
}

/// Writes what became of a mixture: `tech 10.0% → 30.0%, the others in their proportions`.
pub fn write(f: &mut fmt::Formatter<'_>, from: &Mixture, to: &Mixture) -> fmt::Result {
    let mut said: Vec<String> = Vec::new();
    let mut renamed: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, selection) in &from.sources {
        match to.sources.get(name) {
            Some(other) if other == selection => {}
            Some(_) => said.push(format!("{name} takes other documents")),
            None => {
                let mut as_well = to.sources.iter().filter(|(other, _)| {
                    !from.sources.contains_key(*other) && to.sources[*other] == *selection
                });
                if let Some((other, _)) = as_well.next() {
                    renamed.insert(name, other);
                    said.push(format!("{name} is called {other}"));
                }
            }
        }
    }
    let called = |shares: &BTreeMap<String, f64>| -> BTreeMap<String, f64> {
        let new =
            |name: &String| renamed.get(name.as_str()).map_or(name.clone(), |it| (*it).into());
        shares.iter().map(|(name, share)| (new(name), *share)).collect()
    };
    let named = |mixture: &Mixture| -> Vec<String> {
        mixture.phases.iter().map(|phase| phase.name.clone()).collect()
    };
    match named(from) == named(to) {
        true => {
            for (a, b) in from.phases.iter().zip(&to.phases) {
                let of = if a.name.is_empty() { String::new() } else { format!("{}: ", a.name) };
                if (a.share - b.share).abs() >= EQUAL {
                    said.push(format!("{of}{} → {} of all", percent(a.share), percent(b.share)));
                }
                let moved = shares_in_words(&called(&a.shares), &b.shares);
                said.extend(moved.map(|moved| format!("{of}{moved}")));
            }
        }
        false => said.push(format!("{} → {}", whole(from), whole(to))),
    }
    write!(f, "{}", said.join("; "))
}

fn shares_in_words(from: &BTreeMap<String, f64>, to: &BTreeMap<String, f64>) -> Option<String> {
    let moved = changed(from, to);
    let said =
        |(name, from, to): &Moved<'_>| format!("{name} {} → {}", percent(*from), percent(*to));
    if let Some(one) = moved_alone(from, to).filter(|_| moved.len() > 2) {
        return Some(format!("{}, the others in their proportions", said(&one)));
    }
    let first: Vec<String> = moved.iter().take(SHOWN).map(said).collect();
    let more = moved.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!first.is_empty()).then(|| format!("{}{more}", first.join(", ")))
}

/// As `main 80.0% (wiki 70.0%, web 30.0%), anneal 20.0% (web 100.0%)`; a single phase as its
/// shares.
fn whole(mixture: &Mixture) -> String {
    let shares = |phase: &Phase| {
        let each = phase.shares.iter().map(|(name, share)| format!("{name} {}", percent(*share)));
        each.collect::<Vec<_>>().join(", ")
    };
    let phase = |phase: &Phase| match phase.name.as_str() {
        "" => shares(phase),
        name => format!("{name} {} ({})", percent(phase.share), shares(phase)),
    };
    mixture.phases.iter().map(phase).collect::<Vec<_>>().join(", ")
}

/// As `30.0%`, with more digits for small shares: `0.0125%`.
fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    match percent > 0.0 && percent < 0.1 {
        true => format!("{percent:.4}%"),
        false => format!("{percent:.1}%"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(sources: &[(&str, &str)]) -> Value {
        let source = |(name, weight): &(&str, &str)| {
            let source = format!("of-{name}");
            json!({"name": name, "shards": 0, "source": source, "weight": weight})
        };
        json!({"tokens": 24, "sources": sources.iter().map(source).collect::<Vec<_>>()})
    }

    fn shards(names: &[&str]) -> Vec<String> {
        names.iter().map(|it| (*it).to_owned()).collect()
    }

    fn said(from: &Value, to: &Value) -> Vec<String> {
        let tokens = shards(&["tokens"]);
        let one = |change: Change| match change {
            Change::Mixture { from, to } => {
                struct Words<'a>(&'a Mixture, &'a Mixture);
                impl fmt::Display for Words<'_> {
                    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write(f, self.0, self.1)
                    }
                }
                Words(&from, &to).to_string()
            }
            Change::Weight { key, from, to } => format!("{key} {from} {to}"),
            Change::Weights { .. } => "written otherwise".to_owned(),
            Change::Order => "reordered".to_owned(),
        };
        differences((from, &tokens), (to, &tokens)).into_iter().map(one).collect()
    }

    #[test]
    fn a_mixture_is_one_thing_however_many_weights_it_is_written_in() {
        let three = config(&[("wiki", "0.36"), ("web", "0.54"), ("tech", "0.1")]);
        let more = config(&[("wiki", "0.28"), ("web", "0.42"), ("tech", "0.3")]);
        assert!(said(&three, &three).is_empty());
        assert_eq!(said(&three, &more), ["tech 10.0% → 30.0%, the others in their proportions"]);
        let two = config(&[("wiki", "0.4"), ("web", "0.6")]);
        assert_eq!(said(&two, &three), ["tech 0.0% → 10.0%, the others in their proportions"]);
        assert_eq!(said(&three, &two), ["tech 10.0% → 0.0%, the others in their proportions"]);
        let turned = config(&[("wiki", "0.6"), ("web", "0.4")]);
        assert_eq!(said(&two, &turned), ["web 60.0% → 40.0%, wiki 40.0% → 60.0%"]);
        let one = config(&[("wiki", "0.5"), ("web", "0.6")]);
        assert_eq!(said(&two, &one).len(), 1);
        assert!(said(&two, &one)[0].starts_with("sources.wiki.weight"));
    }

    #[test]
    fn what_is_written_otherwise_renamed_or_turned_round_is_called_so() {
        let two = config(&[("wiki", "0.4"), ("web", "0.6")]);
        assert_eq!(said(&two, &config(&[("wiki", "4"), ("web", "6")])), ["written otherwise"]);
        assert_eq!(said(&two, &config(&[("web", "0.6"), ("wiki", "0.4")])), ["reordered"]);
        let mut renamed = two.clone();
        renamed["sources"][0]["name"] = json!("en");
        assert_eq!(said(&two, &renamed), ["wiki is called en"]);
        let mut other = two.clone();
        other["sources"][0]["source"] = json!("books");
        assert_eq!(said(&two, &other), ["wiki takes other documents"]);
        // The place of shards in the list is no difference by itself; which shards they are is.
        let mut second = two.clone();
        second["sources"][0]["shards"] = json!(1);
        let (ab, ba) = (shards(&["a", "b"]), shards(&["b", "a"]));
        let turned = differences((&two, &ab), (&second, &ba));
        assert_eq!(turned.len(), 1, "{turned:?}"); // web's index stayed: it reads b now
        second["sources"][1]["shards"] = json!(1);
        second["sources"][0]["shards"] = json!(1);
        assert!(differences((&two, &ab), (&second, &ba)).is_empty());
        assert_eq!(differences((&two, &ab), (&second, &ab)).len(), 1);
    }

    #[test]
    fn phases_are_compared_phase_by_phase_where_they_have_the_same_names() {
        let phases = |anneal: &str, web: &str| {
            let mut config = config(&[]);
            config["sources"] = json!([{"name": "wiki"}, {"name": "web"}]);
            config["phases"] = json!([
                {"name": "main", "share": "0.8", "weights": {"wiki": "1"}},
                {"name": "anneal", "share": anneal, "weights": {"wiki": "0.5", "web": web}}]);
            config
        };
        let base = phases("0.2", "0.5");
        let said_of = |to: &Value| said(&base, to).join("|");
        assert!(said_of(&phases("0.2", "1.5")).starts_with("phases.anneal.weights.web"));
        let both = said_of(&phases("0.8", "1.5"));
        assert!(
            both.contains("main: 80.0% → 50.0% of all; anneal: 20.0% → 50.0% of all"),
            "{both}"
        );
        assert!(both.contains("anneal: web 50.0% → 75.0%, wiki 50.0% → 25.0%"), "{both}");
        let mut single = config(&[("wiki", "0.4"), ("web", "0.6")]);
        for source in single["sources"].as_array_mut().unwrap() {
            source.as_object_mut().unwrap().retain(|key, _| key == "name" || key == "weight");
        }
        let said = said_of(&single);
        assert!(said.starts_with("main 80.0% (wiki 100.0%), anneal 20.0% ("), "{said}");
        assert!(said.ends_with(" → web 60.0%, wiki 40.0%"), "{said}");
    }
}
