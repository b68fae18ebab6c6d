//! Recipes: a TOML file of named steps, resolved into requests before anything runs.
//!
//! In → `dataprep.toml` or `pipelines/*.toml` and `--set step.key=value`; out → one [`Request`] a
//! step, in order, with every path and key resolved. A step's `in` names earlier steps or paths
//! relative to the recipe's folder, and so do its keys that name files. A recipe is **checked
//! whole** before any work: every key and value of every step, every input's grammar, what the
//! steps make and read of each other, and that what no step makes is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{
    registry::{self, StageEntry},
    request::{Request, Training},
};
use crate::artifact::record::Kind;
use crate::base::{
    config::{self, Table},
    error::{Error, Result},
    io, place,
    spec::Spec,
};
use crate::store::Address;

/// The recipe that a folder's commands run by default.
pub const FILE_NAME: &str = "dataprep.toml";

/// A recipe's steps in order.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// A step writes to `out/NAME`.
    pub out: PathBuf,
    pub requests: Vec<Request>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    out: PathBuf,
    step: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    name: String,
    stage: String,
    #[serde(rename = "in", default)]
    inputs: Vec<String>,
    #[serde(default)]
    set: Table,
    config: Option<PathBuf>,
}

impl Recipe {
    /// Reads `path`; `overrides` are `step.key=value`, `out` replaces the recipe's own.
    pub fn read(path: &Path, overrides: &[String], out: Option<&Path>) -> Result<Recipe> {
        Recipe::read_with(path, (overrides, Path::new("")), out)
    }

    /// Reads `path` with overrides whose paths are relative to a folder.
    pub fn read_with(
        path: &Path,
        (overrides, from): (&[String], &Path),
        out: Option<&Path>,
    ) -> Result<Recipe> {
        if !path.is_file() {
            let message = format!("there is no recipe `{}`", path.display());
            return Err(Error::config(message)
                .with_hint("name one, as in `dataprep run pipelines/quickstart.toml`"));
        }
        let table = config::parse_toml(&io::read_text(path)?, path)?;
        let what = format!("the recipe `{}`", path.display());
        let file: RecipeFile = config::parse(table, &what)?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let out = out.map_or_else(|| join(folder, &file.out), Path::to_owned);
        let mut recipe = Recipe { out, requests: Vec::new() };
        let overrides = overrides.iter().map(|text| Override::parse(text, &file.step, from));
        let overrides = overrides.collect::<Result<Vec<Override<'_>>>>()?;
        for step in &file.step {
            let request = recipe.resolve(step, folder, &overrides)?;
            recipe.requests.push(request);
        }
        Ok(recipe)
    }

    fn resolve(&self, step: &Step, folder: &Path, overrides: &[Override<'_>]) -> Result<Request> {
        self.check_name(&step.name)?;
        let entry = registry::find(&step.stage)?;
        let mut config = match &step.config {
            Some(path) => config::read(&join(folder, path))?,
            None => Table::new(),
        };
        registry::lay(&mut config, step.set.clone());
        let own = || overrides.iter().filter(|own| own.step == step.name);
        let replaced = own().rev().find_map(|it| Some((it.inputs.as_ref()?, it.folder)));
        let (inputs, inputs_folder) = replaced.unwrap_or((&step.inputs, folder));
        if inputs.is_empty() && !entry.lists_inputs(&config) {
            return Err(Error::config(format!("the step `{}` has no `in`", step.name)));
        }
        let mut request = Request {
            name: step.name.clone(),
            stage: step.stage.clone(),
            inputs: Vec::new(),
            out: self.out.join(&step.name),
            config,
            after: Vec::new(),
            newest: false,
            training: Training::default(),
        };
        self.resolve_keys(&mut request, entry, folder)?;
        // Paths typed with the command are relative to the current folder; names of steps stay
        // names.
        for own in own() {
            let mut over = own.keys.clone();
            for path in (entry.paths)() {
                let Some(value) = path.value_mut(&mut over) else { continue };
                let place = match self.earlier(value, path.takes, &request, entry)? {
                    Some(earlier) => {
                        request.after.push(earlier.name.clone());
                        earlier.out.clone()
                    }
                    None if own.folder == Path::new("") => continue,
                    None => join(own.folder, &value),
                };
                *value = place.to_string_lossy().into_owned();
            }
            registry::lay(&mut request.config, over);
        }
        for key in entry.sides {
            let Some(toml::Value::Array(mut listed)) = request.config.remove(*key) else {
                continue;
            };
            for input in &mut listed {
                if let toml::Value::String(input) = input {
                    *input = self.resolve_input(input, &mut request, entry, folder)?;
                }
            }
            request.config.insert((*key).to_owned(), listed.into());
        }
        for input in inputs {
            let resolved = self.resolve_input(input, &mut request, entry, inputs_folder)?;
            request.inputs.push(resolved);
        }
        // Each once, however many of its sources are read.
        let mut seen = BTreeSet::new();
        request.after.retain(|name| seen.insert(name.clone()));
        Ok(request)
    }

    fn check_name(&self, name: &str) -> Result<()> {
        if self.find(name).is_some() {
            return Err(Error::config(format!("two steps are called `{name}`")));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            let message = format!("`{name}` is no name for a step");
            return Err(Error::config(message).with_hint("use letters, digits, `-` and `_`"));
        }
        Ok(())
    }

    /// Turns the keys that name files or steps into paths.
    fn resolve_keys(&self, request: &mut Request, entry: &StageEntry, folder: &Path) -> Result<()> {
        for path in (entry.paths)() {
            let Some(value) = path.value(&request.config) else { continue };
            let place = match self.earlier(value, path.takes, request, entry)? {
                Some(earlier) => {
                    request.after.push(earlier.name.clone());
                    earlier.out.clone()
                }
                None => join(folder, value),
            };
            let value = path.value_mut(&mut request.config).expect("it was there above");
            *value = place.to_string_lossy().into_owned();
        }
        Ok(())
    }

    /// `wiki=STEP#wiki:0.3` or `wiki=../path`, with the step or the path turned into a path that
    /// can be opened.
    fn resolve_input(
        &self,
        input: &str,
        request: &mut Request,
        entry: &StageEntry,
        folder: &Path,
    ) -> Result<String> {
        let stands = |place: &str| is_address(place) || join(folder, place).exists();
        let exists = |place: &str| self.find(place).is_some() || stands(place);
        let spec = Spec::parse(input, entry.form(), exists);
        let place = match self.earlier(spec.place, Some(entry.takes), request, entry)? {
            Some(earlier) => {
                request.after.push(earlier.name.clone());
                earlier.out.clone()
            }
            None => join(folder, spec.place),
        };
        Ok(Spec { place: &place.to_string_lossy(), ..spec }.to_string())
    }

    /// The earlier step called `name`, whose output must be what is read.
    fn earlier(
        &self,
        name: &str,
        takes: Option<Kind>,
        request: &Request,
        entry: &StageEntry,
    ) -> Result<Option<&Request>> {
        let (Some(earlier), Some(takes)) = (self.find(name), takes) else { return Ok(None) };
        let made = registry::find(&earlier.stage)?.makes;
        // What reads a corpus reads raw files too, and a tokenizer may be anybody's.
        let is_raw = made == Kind::Download && matches!(takes, Kind::Corpus | Kind::Tokenizer);
        let also = takes == entry.takes && entry.also.contains(&made);
        if made == takes || is_raw || also {
            return Ok(Some(earlier));
        }
        Err(Error::config(format!(
            "the step `{}` ({}) reads {takes} there, but `{name}` ({}) makes {made}",
            request.name, entry.name, earlier.stage
        )))
    }

    /// Fails where any of the steps from `first` on cannot work, before the first of them runs.
    pub fn check(&self, first: usize) -> Result<()> {
        let steps = &self.requests[first..];
        steps.iter().enumerate().try_for_each(|(at, step)| self.check_step(step, &steps[..at]))
    }

    /// Fails where a step cannot work once the steps `before` have run.
    pub fn check_step(&self, step: &Request, before: &[Request]) -> Result<()> {
        (registry::find(&step.stage)?.check)(step).map_err(|error| error.of_step(&step.name))?;
        let reads = registry::reads(step);
        place::output_directory(&step.out, &reads)?;
        let will_stand = |path: &Path| before.iter().any(|earlier| path.starts_with(&earlier.out));
        match reads.iter().find(|path| !will_stand(path) && !stands(path)) {
            Some(missing) => Err(self.missing(missing, step)),
            None => Ok(()),
        }
    }

    /// A path that a step reads and that nobody makes.
    fn missing(&self, path: &Path, request: &Request) -> Error {
        let message = format!("step `{}`: there is nothing at `{}`", request.name, path.display());
        match self.requests.iter().find(|step| path.starts_with(&step.out)) {
            Some(step) => Error::config(message)
                .with_hint(format!("`{}` makes it: run that step first", step.name)),
            None => Error::config(message).with_hint("paths are relative to the recipe's folder"),
        }
    }

    /// The step called `name`.
    pub fn find(&self, name: &str) -> Option<&Request> {
        self.requests.iter().find(|request| request.name == name)
    }

    /// The only step of a stage, for a bare command in a folder with a recipe.
    pub fn only_step_of(&self, stage: &str) -> Result<&Request> {
        let mut of_stage = self.requests.iter().filter(|request| request.stage == stage);
        match (of_stage.next(), of_stage.next()) {
            (Some(request), None) => Ok(request),
            (None, _) => Err(Error::config(format!("the recipe has no step of stage `{stage}`"))),
            (Some(_), Some(_)) => {
                Err(Error::config(format!("the recipe has several steps of stage `{stage}`"))
                    .with_hint("run them all with `dataprep run`, or one with `--from STEP`"))
            }
        }
    }
}

/// `--set step.key=value`
struct Override<'a> {
    step: String,
    keys: Table,
    /// What the step reads instead, `step.in=["…"]`.
    inputs: Option<Vec<String>>,
    /// What its paths are relative to.
    folder: &'a Path,
}

impl Override<'_> {
    fn parse<'a>(text: &str, steps: &[Step], folder: &'a Path) -> Result<Override<'a>> {
        let wrong = || {
            Error::config(format!("`--set {text}` names no step"))
                .with_hint("write `--set step.key=value`, as in `--set model.train.steps=100`")
        };
        let (step, assignment) = text.split_once('.').ok_or_else(wrong)?;
        let names = || steps.iter().map(|step| step.name.as_str());
        if !names().any(|name| name == step) {
            return Err(match config::nearest(step, names()) {
                Some(name) => wrong().with_hint(format!("did you mean `{name}`?")),
                None => {
                    let names: Vec<&str> = names().collect();
                    wrong().with_hint(format!("steps: {}", names.join(", ")))
                }
            });
        }
        let mut keys = Table::new();
        config::set(&mut keys, assignment)?;
        let inputs = keys.remove("in").map(|value| match value {
            toml::Value::String(input) => Ok(vec![input]),
            value => value.try_into::<Vec<String>>().map_err(|_| {
                Error::config(format!("`--set {text}`: inputs are a list of texts"))
                    .with_hint(format!("as `--set '{step}.in=[\"data/wiki\", \"data/web\"]'`"))
            }),
        });
        Ok(Override { step: step.to_owned(), keys, inputs: inputs.transpose()?, folder })
    }
}

/// Whether a path is there, or a pattern or an address that may lead to some.
fn stands(path: &Path) -> bool {
    let text = path.to_string_lossy();
    path.exists() || text.contains(['*', '?', '[']) || is_address(&text)
}

/// Whether a text is an address, right or wrong: it is no path then.
fn is_address(text: &str) -> bool {
    !matches!(Address::parse(text), Ok(None))
}

/// `pipelines` and `../runs` → `runs`: what a person would type. An address stays as it is.
fn join(folder: &Path, path: impl AsRef<Path>) -> PathBuf {
    if path.as_ref().to_str().is_some_and(is_address) {
        return path.as_ref().to_owned();
    }
    place::joined(folder, path.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, overrides: &[&str]) -> Result<Recipe> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.toml");
        io::write(&path, text.as_bytes()).unwrap();
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        let mut recipe = Recipe::read(&path, &overrides, None)?;
        let prefix = format!("{}/", directory.path().display());
        for request in &mut recipe.requests {
            request.inputs.iter_mut().for_each(|input| *input = input.replace(&prefix, ""));
        }
        Ok(recipe)
    }

    const RECIPE: &str = r#"
        out = "runs"
        [[step]]
        name = "clean"
        stage = "filter"
        in = ["wiki=text/wiki"]
        set = { rules = ["gopher_quality"] }
        [[step]]
        name = "tokens"
        stage = "tokenize"
        in = ["clean"]
        set = { vocab = 4096 }
        [[step]]
        name = "mix"
        stage = "mix"
        in = ["wiki=tokens#wiki:0.5", "other=old/shards:0.5"]
    "#;

    #[test]
    fn steps_resolve_to_paths_and_overrides_reach_their_keys() {
        let recipe = read(RECIPE, &["clean.holdout=0.1"]).unwrap();
        assert_eq!(recipe.find("clean").unwrap().inputs, ["wiki=text/wiki"]);
        assert_eq!(recipe.find("tokens").unwrap().inputs, ["runs/clean"]);
        let mix = recipe.find("mix").unwrap();
        assert_eq!(mix.inputs, ["wiki=runs/tokens#wiki:0.5", "other=old/shards:0.5"]);
        assert_eq!(recipe.find("clean").unwrap().config["holdout"].as_float(), Some(0.1));
        // What a step reads is replaced whole; names of steps are steps there too.
        let recipe = read(RECIPE, &["mix.in=['wiki=tokens#wiki:1', 'web=web/shards:2']"]).unwrap();
        let mix = recipe.find("mix").unwrap();
        assert_eq!(mix.inputs, ["wiki=runs/tokens#wiki:1", "web=web/shards:2"]);
        assert_eq!(mix.after, ["tokens"]);
    }

    #[test]
    fn a_hint_that_sets_a_key_names_the_step() {
        let error = Error::config("x").with_hint("allow it with `--set epochs_max=5`");
        let error = error.of_step("mix");
        assert_eq!(error.to_string(), "step `mix`: x");
        assert_eq!(error.hint().as_deref(), Some("allow it with `--set mix.epochs_max=5`"));
    }

    #[test]
    fn wrong_recipes_fail_before_any_work() {
        let error = |text: &str, overrides: &[&str]| read(text, overrides).unwrap_err();
        let wrong = RECIPE.replace("in = [\"clean\"]", "in = [\"clean\"]\nsett = 1");
        assert!(error(&wrong, &[]).hint().unwrap().contains("set"));
        let wrong = RECIPE.replace("tokens#wiki", "clean#wiki");
        assert!(error(&wrong, &[]).to_string().contains("reads token shards"));
        let wrong = RECIPE.replace("\"filter\"", "\"fliter\"");
        assert!(error(&wrong, &[]).hint().unwrap().contains("filter"));
        assert!(error(RECIPE, &["claen.holdout=1"]).hint().unwrap().contains("clean"));
    }
}
