//! A plan → variants and trials.
//!
//! In → the TOML of a plan, relative to its folder; out → [`Plan`]: the variants in order, the
//! baseline first, and for each of them and each seed one [`Trial`]. Everything is checked before
//! anything runs: names, keys, what a variant changes, what its steps would refuse.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Value;

use super::steps;
use crate::base::config::{self, Table};
use crate::base::error::{Error, Result};
use crate::base::size::Count;
use crate::base::{io, place};
use crate::pipeline::recipe::Recipe;
use crate::pipeline::request::Request;
use crate::train::config::Steps;

/// The name of what every variant starts from.
const BASELINE: &str = "baseline";

/// Variants of one plan at most: more is a slip in a grid.
const VARIANTS_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    recipe: PathBuf,
    out: PathBuf,
    #[serde(default = "one_seed")]
    seeds: Vec<u64>,
    tokens: Option<Count>,
    price_per_hour: Option<f64>,
    #[serde(default)]
    set: Table,
    #[serde(default)]
    variant: Vec<VariantFile>,
}

fn one_seed() -> Vec<u64> {
    vec![0]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantFile {
    name: String,
    from: Option<String>,
    #[serde(default)]
    set: Table,
    #[serde(default)]
    each: Table,
    #[serde(default)]
    skip: Vec<String>,
    #[serde(default)]
    several: bool,
}

/// A plan, resolved.
#[derive(Clone, Debug)]
pub struct Plan {
    pub out: PathBuf,
    pub price_per_hour: Option<f64>,
    /// The baseline first; a variant comes behind the one that it starts from.
    pub variants: Vec<Variant>,
    /// Variant by variant, seed by seed.
    pub trials: Vec<Trial>,
}

/// A node of the ablation's tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    pub name: String,
    /// The variant that it changes, by place; none: the baseline.
    pub from: Option<usize>,
    /// `step.key=value`, over the recipe: those that it starts from, then its own.
    pub sets: Vec<String>,
    /// Steps that are left out.
    pub skips: Vec<String>,
    /// Its own changes, in words.
    pub changes: Vec<String>,
}

/// One run to be made.
#[derive(Clone, Debug)]
pub struct Trial {
    /// `no-dedup.s1`
    pub name: String,
    /// The place of its variant.
    pub variant: usize,
    pub seed: u64,
    /// Its steps in order, the training last.
    pub requests: Vec<Request>,
}

impl Trial {
    /// The run that its last step makes.
    pub fn run(&self) -> &Path {
        &self.requests.last().expect("a trial trains").out
    }

    /// Tokens that its run reads, where its configuration says so without the mix.
    pub fn tokens(&self) -> Option<u64> {
        let train = steps::settings(self.requests.last()?).ok()?;
        match train.steps {
            Steps::Number(steps) => Some(train.tokens_before(steps)),
            Steps::All => None,
        }
    }
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// Config: whatever is wrong with it, with its recipe, or with a variant.
    pub fn read(path: &Path) -> Result<Plan> {
        let what = format!("the plan `{}`", path.display());
        let file: PlanFile =
            config::parse(config::parse_toml(&io::read_text(path)?, path)?, &what)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let (recipe, out) = (place::joined(folder, &file.recipe), place::joined(folder, &file.out));
        if file.seeds.is_empty() {
            return Err(Error::config(format!("{what} has no seed")).with_hint("seeds = [0, 1, 2]"));
        }
        let variants = variants(&file)?;
        let mut trials: Vec<Trial> = Vec::new();
        for (index, variant) in variants.iter().enumerate() {
            let within = |error: Error| error.within(&format!("variant `{}`", variant.name));
            for (at, seed) in file.seeds.iter().enumerate() {
                let name = format!("{}.s{seed}", variant.name);
                let resolved = |recipe| {
                    steps::resolve(recipe, &variant.skips, &name, *seed, file.tokens, &out)
                };
                let requests = Recipe::read_with(&recipe, (&variant.sets, folder), Some(&out))
                    .and_then(resolved)
                    .map_err(within)?;
                let trial = Trial { name: name.clone(), variant: index, seed: *seed, requests };
                let from = variant.from.filter(|_| at == 0);
                let parent = from.and_then(|from| trials.iter().find(|it| it.variant == from));
                // The name of a run ends in the hash of everything that is asked for.
                let asked = |trial: &Trial| trial.run().extension().map(|it| it.to_owned());
                if parent.is_some_and(|parent| asked(parent) == asked(&trial)) {
                    return Err(within(Error::config("it changes nothing"))
                        .with_hint("its value is the one that it starts from"));
                }
                trials.push(trial);
            }
        }
        Ok(Plan { out, price_per_hour: file.price_per_hour, variants, trials })
    }
}

/// The variants of a plan, each list of values drawn out.
fn variants(file: &PlanFile) -> Result<Vec<Variant>> {
    let base = assignments("", &file.set);
    let mut all = vec![Variant {
        name: BASELINE.to_owned(),
        from: None,
        sets: base.clone(),
        skips: Vec::new(),
        changes: Vec::new(),
    }];
    for asked in &file.variant {
        let within = |error: Error| error.within(&format!("variant `{}`", asked.name));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if asked.name.is_empty() || !asked.name.chars().all(plain) {
            return Err(Error::config(format!("`{}` is no name for a variant", asked.name))
                .with_hint("use letters, digits, `-` and `_`"));
        }
        let from = asked.from.as_deref().unwrap_or(BASELINE);
        let place = all.iter().position(|known| known.name == from).ok_or_else(|| {
            within(Error::config(format!("there is no earlier variant `{from}`")))
        })?;
        for (suffix, sets) in grid(&asked.each).map_err(within)? {
            let own: Vec<String> = assignments("", &asked.set).into_iter().chain(sets).collect();
            let left_out = asked.skip.iter().map(|step| format!("without {step}"));
            let changes: Vec<String> = own.iter().cloned().chain(left_out).collect();
            if changes.is_empty() {
                return Err(within(Error::config("it changes nothing"))
                    .with_hint("give it `set`, `each` or `skip`"));
            }
            if changes.len() > 1 && !asked.several {
                let message =
                    format!("it changes {} things: {}", changes.len(), changes.join(", "));
                return Err(within(Error::config(message)).with_hint(
                    "no effect could be laid at one door: make it several variants, one `from` \
                     another, or say `several = true`",
                ));
            }
            let name = format!("{}{suffix}", asked.name);
            if all.iter().any(|known| known.name == name) {
                return Err(Error::config(format!("two variants are called `{name}`")));
            }
            let parent = &all[place];
            let sets = parent.sets.iter().cloned().chain(own).collect();
            let skips = parent.skips.iter().chain(&asked.skip).cloned().collect();
            all.push(Variant { name, from: Some(place), sets, skips, changes });
        }
        if all.len() > VARIANTS_MAX {
            return Err(within(Error::config(format!("more than {VARIANTS_MAX} variants"))));
        }
    }
    Ok(all)
}

/// Every combination of the lists, with the end of the variant's name; one of nothing without any.
fn grid(each: &Table) -> Result<Vec<(String, Vec<String>)>> {
    let mut points: Vec<(String, Vec<String>)> = vec![(String::new(), Vec::new())];
    for (key, values) in leaves("", each) {
        let Value::Array(values) = values else {
            return Err(Error::config(format!("`each` wants a list for `{key}`"))
                .with_hint("one value goes to `set`"));
        };
        let key = &key;
        points = points
            .iter()
            .flat_map(|(name, sets)| {
                (1..).zip(values).map(move |(number, value)| {
                    let sets = sets.iter().cloned().chain([format!("{key}={value}")]);
                    (format!("{name}-{}", shown(value, number)), sets.collect())
                })
            })
            .collect();
    }
    Ok(points)
}

/// A value as the end of a name: `0.001`, `off`; of a list or a table its number among the values.
fn shown(value: &Value, number: usize) -> String {
    if value.is_array() || value.is_table() {
        return number.to_string();
    }
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    text.chars().map(plain).collect()
}

/// A table as `step.key=value` lines; a key may be written `"step.key"` too.
fn assignments(prefix: &str, table: &Table) -> Vec<String> {
    leaves(prefix, table).into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

fn leaves<'a>(prefix: &str, table: &'a Table) -> Vec<(String, &'a Value)> {
    let below =
        |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    let leaf = |(key, value): (&'a String, &'a Value)| match value {
        Value::Table(inner) => leaves(&below(key), inner),
        value => vec![(below(key), value)],
    };
    table.iter().flat_map(leaf).collect()
}
