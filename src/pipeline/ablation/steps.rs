//! The steps of one trial: what is left out, the budget, the seed, and where each step lies.
//!
//! In → a recipe with a variant's keys laid over it; out → requests whose outputs lie at
//! `OUT/steps/HASH/NAME`, the run at `OUT/runs/VARIANT.sSEED.HASH`. A step's hash is over what is
//! asked of it and the hashes of the steps it reads. A step that is left out is replaced, where it
//! was read, by what it reads itself; how the text is read (its columns, the share held out) goes
//! on to its reader. Pure: nothing is opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::artifact::record::Kind;
use crate::base::config::{self, Table};
use crate::base::error::{Error, Result};
use crate::base::hash::xxh3_128;
use crate::base::size::Count;
use crate::base::spec::{Form, Spec};
use crate::pipeline::milestones;
use crate::pipeline::recipe::Recipe;
use crate::pipeline::registry;
use crate::pipeline::request::Request;
use crate::source::InputConfig;
use crate::train::{TrainConfig, config::Settings};

/// Keys of reading text that are a step's own even so.
const OWN: [&str; 2] = ["unit_bytes", "columns"];

/// Digits of a hash in a folder's name.
const DIGITS: usize = 10;

/// Resolves the steps of the trial called `run`, without those that are skipped.
///
/// # Errors
/// Config: a step to leave out that there is not, or that is not between texts; no training.
pub fn resolve(
    recipe: Recipe,
    skips: &[String],
    run: &str,
    seed: u64,
    tokens: Option<Count>,
    out: &Path,
) -> Result<Vec<Request>> {
    let mut requests = recipe.requests;
    for skip in skips {
        requests = without(requests, skip)?;
    }
    let last = requests.iter().rposition(|request| request.stage == "train");
    let last = last.ok_or_else(|| {
        Error::config("the recipe trains nothing").with_hint("an ablation needs a step `train`")
    })?;
    let mut requests = needed(requests, last);
    train(requests.last_mut().expect("the training is needed"), seed, tokens)?;
    place(&mut requests, run, out);
    let checked = Recipe { out: out.to_owned(), requests };
    checked.check(0)?;
    Ok(checked.requests)
}

/// The step, and all that it reads.
fn needed(requests: Vec<Request>, last: usize) -> Vec<Request> {
    let mut names = vec![requests[last].name.clone()];
    for request in requests[..=last].iter().rev() {
        if names.contains(&request.name) {
            names.extend(request.after.iter().cloned());
        }
    }
    requests.into_iter().filter(|request| names.contains(&request.name)).collect()
}

/// The table `[train]` that a training is asked for with.
///
/// # Errors
/// Config: a key of it.
pub fn settings(request: &Request) -> Result<Settings> {
    let mut config = request.config.clone();
    milestones::remove(&mut config);
    Ok(TrainConfig::parse(config)?.train)
}

/// Lays the budget and the seed on the training.
fn train(request: &mut Request, seed: u64, tokens: Option<Count>) -> Result<()> {
    let mut keys = Table::new();
    keys.insert("seed".to_owned(), i64::try_from(seed).unwrap_or(i64::MAX).into());
    if let Some(tokens) = tokens {
        let train = settings(request)?;
        let steps = train.steps_within(tokens.0);
        if steps == 0 {
            let first = Count(train.tokens_at(0));
            let message = format!("{tokens} tokens are less than a step's {first}");
            return Err(Error::config(message));
        }
        keys.insert("steps".to_owned(), i64::try_from(steps).unwrap_or(i64::MAX).into());
    }
    let over = Table::from_iter([("train".to_owned(), toml::Value::Table(keys))]);
    registry::lay(&mut request.config, over);
    Ok(())
}

/// The steps without one of them.
fn without(requests: Vec<Request>, name: &str) -> Result<Vec<Request>> {
    let Some(at) = requests.iter().position(|request| request.name == name) else {
        let names: Vec<&str> = requests.iter().map(|it| it.name.as_str()).collect();
        return Err(Error::config(format!("there is no step `{name}` to leave out"))
            .with_hint(format!("steps: {}", names.join(", "))));
    };
    let mut requests = requests;
    let gone = requests.remove(at);
    let entry = registry::find(&gone.stage)?;
    if entry.takes != Kind::Corpus || entry.makes != Kind::Corpus {
        return Err(Error::config(format!(
            "`{name}` cannot be left out: others read what it makes"
        ))
        .with_hint("steps from text to text can"));
    }
    for request in requests.iter_mut().filter(|request| request.after.contains(&gone.name)) {
        bypass(request, &gone)?;
    }
    Ok(requests)
}

/// Lets a step read what `gone` reads.
fn bypass(request: &mut Request, gone: &Request) -> Result<()> {
    let form = registry::find(&request.stage)?.form();
    let mut inputs = Vec::new();
    for input in &request.inputs {
        let spec = Spec::parse(input, form, |place| Path::new(place) == gone.out);
        match (Path::new(spec.place) == gone.out, spec.name) {
            (false, _) => inputs.push(input.clone()),
            (true, None) => inputs.extend(gone.inputs.iter().cloned()),
            (true, Some(name)) => {
                let message = format!("`{}` cannot be left out: it is read as `{name}`", gone.name);
                return Err(Error::config(message));
            }
        }
    }
    request.inputs = inputs;
    let at = request.after.iter().position(|name| *name == gone.name).expect("it is read");
    request.after.splice(at..=at, gone.after.iter().cloned());
    let carried = config::fields::<InputConfig>().iter().filter(|key| !OWN.contains(key));
    for key in carried {
        let Some(value) = gone.config.get(*key) else { continue };
        match request.config.get(*key) {
            None => drop(request.config.insert((*key).to_owned(), value.clone())),
            Some(own) if own == value => {}
            Some(own) => {
                let message = format!(
                    "without `{}` `{}` would have to read with two values of `{key}`: {value} and \
                     {own}",
                    gone.name, request.name
                );
                return Err(Error::config(message));
            }
        }
    }
    Ok(())
}

/// Gives every step its place, and its readers that place.
fn place(requests: &mut [Request], run: &str, out: &Path) {
    let mut places: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let count = requests.len();
    for (at, request) in requests.iter_mut().enumerate() {
        let old = request.out.clone();
        follow(request, &places);
        let asked = serde_json::json!([
            request.stage,
            request.inputs,
            request.config,
            out.to_string_lossy()
        ]);
        let hash = xxh3_128(asked.to_string().as_bytes()).to_string();
        let new = match at + 1 == count {
            true => out.join("runs").join(format!("{run}.{}", &hash[..DIGITS])),
            false => out.join("steps").join(&hash[..DIGITS]).join(&request.name),
        };
        request.out.clone_from(&new);
        places.insert(old, new);
    }
}

/// Rewrites what a step reads to where that lies now.
fn follow(request: &mut Request, places: &BTreeMap<PathBuf, PathBuf>) {
    let Ok(entry) = registry::find(&request.stage) else { return };
    let moved = |place: &str| places.get(Path::new(place)).map(|it| it.to_string_lossy());
    let rewrite = |input: &str, form: Form| {
        let spec = Spec::parse(input, form, |place| moved(place).is_some());
        match moved(spec.place) {
            Some(place) => Spec { place: &place, ..spec }.to_string(),
            None => input.to_owned(),
        }
    };
    for input in &mut request.inputs {
        *input = rewrite(input, entry.form());
    }
    for side in entry.sides {
        let listed = request.config.get_mut(*side).and_then(toml::Value::as_array_mut);
        for value in listed.into_iter().flatten() {
            if let toml::Value::String(input) = value {
                *input = rewrite(input, Form::Text);
            }
        }
    }
    for path in (entry.paths)() {
        if let Some(value) = path.value_mut(&mut request.config)
            && let Some(place) = moved(value)
        {
            *value = place.into_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::request::Training;

    #[test]
    fn a_budget_of_tokens_leaves_the_evaluations_of_milestones_as_they_are() {
        let config = "[train]\nbatch_tokens = 2048\n[train.evals]\ntasks = ['piqa']";
        let mut request = Request {
            name: "train".to_owned(),
            stage: "train".to_owned(),
            inputs: Vec::new(),
            out: PathBuf::new(),
            config: config.parse().unwrap(),
            after: Vec::new(),
            newest: false,
            training: Training::default(),
        };
        train(&mut request, 1, Some(Count(10_000))).unwrap();
        let table = &request.config["train"];
        assert_eq!(table["steps"].as_integer(), Some(4));
        assert!(table.get("evals").is_some());
    }
}
