//! Recipes: a TOML file of named steps, resolved into requests before anything runs.
//!
//! In → `dataprep.toml` or `pipelines/*.toml` and `--set step.key=value`; out → one [`Request`] a
//! step, in order, with every path and key resolved. A step's `in` names earlier steps or paths
//! relative to the recipe's folder. Whether a step can read what an earlier one makes is checked
//! here, so that a wrong recipe fails before any work.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::registry::{self, Kind};
use crate::base::{
    config::{self, Table},
    error::{Error, Result},
    io,
};

/// The recipe that a folder's commands run by default.
pub const FILE_NAME: &str = "dataprep.toml";

/// A stage to run, with everything resolved.
#[derive(Clone, Debug)]
pub struct Request {
    /// The step's name, or the stage's for a bare command.
    pub name: String,
    pub stage: String,
    /// As on the command line: `[NAME=]PATH`, `name=SHARDS[#source]:WEIGHT`.
    pub inputs: Vec<String>,
    pub out: PathBuf,
    pub config: Table,
}

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
        for step in &file.step {
            let request = recipe.resolve(step, folder)?;
            recipe.requests.push(request);
        }
        recipe.apply(overrides)?;
        Ok(recipe)
    }

    fn resolve(&self, step: &Step, folder: &Path) -> Result<Request> {
        if self.find(&step.name).is_some() {
            return Err(Error::config(format!("two steps are called `{}`", step.name)));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if step.name.is_empty() || !step.name.chars().all(plain) {
            let message = format!("`{}` is no name for a step", step.name);
            return Err(Error::config(message).with_hint("use letters, digits, `-` and `_`"));
        }
        let entry = registry::find(&step.stage)?;
        let mut config = match &step.config {
            Some(path) => config::read(&join(folder, path))?,
            None => Table::new(),
        };
        registry::lay(&mut config, step.set.clone());
        if step.inputs.is_empty() && !entry.lists_inputs(&config) {
            return Err(Error::config(format!("the step `{}` has no `in`", step.name)));
        }
        if step.stage == "filter" {
            let place = |path: &Path| match path.to_str().and_then(|name| self.find(name)) {
                Some(earlier) => earlier.out.clone(),
                None => join(folder, path),
            };
            crate::filter::config::place_paths(&mut config, place);
        }
        for key in entry.sides {
            let listed = config.get_mut(*key).and_then(toml::Value::as_array_mut);
            for input in listed.into_iter().flatten() {
                if let toml::Value::String(input) = input {
                    *input = self.resolve_input(input, entry, &step.name, folder)?;
                }
            }
        }
        let resolve = |input: &String| self.resolve_input(input, entry, &step.name, folder);
        let inputs = step.inputs.iter().map(resolve).collect::<Result<_>>()?;
        if let Some(toml::Value::String(tokenizer)) = config.get_mut("tokenizer") {
            let path = match self.find(tokenizer) {
                Some(earlier) => earlier.out.clone(),
                None => join(folder, Path::new(tokenizer)),
            };
            *tokenizer = path.to_string_lossy().into_owned();
        }
        let (name, stage) = (step.name.clone(), step.stage.clone());
        Ok(Request { out: self.out.join(&name), name, stage, inputs, config })
    }

    /// `wiki=STEP#wiki:0.3` or `wiki=../path` with the step or the path made whole.
    fn resolve_input(
        &self,
        input: &str,
        entry: &registry::StageEntry,
        step: &str,
        folder: &Path,
    ) -> Result<String> {
        let (name, rest) = match input.split_once('=') {
            Some((name, rest)) if !name.contains('/') => (format!("{name}="), rest),
            _ => (String::new(), input),
        };
        let end = match entry.takes {
            Kind::Shards => rest.find('#').or_else(|| rest.rfind(':')).unwrap_or(rest.len()),
            _ => rest.len(),
        };
        let (place, suffix) = rest.split_at(end);
        let place = match self.find(place) {
            Some(earlier) => {
                let made = registry::find(&earlier.stage)?.makes;
                if made != entry.takes {
                    return Err(Error::config(format!(
                        "the step `{step}` ({}) reads {}, but `{place}` ({}) makes {made}",
                        entry.name, entry.takes, earlier.stage
                    )));
                }
                earlier.out.clone()
            }
            None => join(folder, Path::new(place)),
        };
        Ok(format!("{name}{}{suffix}", place.display()))
    }

    /// Applies `step.key=value` to the named steps.
    fn apply(&mut self, overrides: &[String]) -> Result<()> {
        for text in overrides {
            let wrong = || {
                Error::config(format!("`--set {text}` names no step"))
                    .with_hint("write `--set step.key=value`, as in `--set model.train.steps=100`")
            };
            let (step, assignment) = text.split_once('.').ok_or_else(wrong)?;
            let names: Vec<_> = self.requests.iter().map(|r| r.name.clone()).collect();
            let found = self.requests.iter_mut().find(|request| request.name == step);
            let Some(request) = found else {
                return Err(match config::nearest(step, names.iter().map(String::as_str)) {
                    Some(name) => wrong().with_hint(format!("did you mean `{name}`?")),
                    None => wrong().with_hint(format!("steps: {}", names.join(", "))),
                });
            };
            config::set(&mut request.config, assignment)?;
        }
        Ok(())
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

/// `pipelines` and `../runs` → `runs`: what a person would type.
fn join(folder: &Path, path: &Path) -> PathBuf {
    let mut joined = if folder == Path::new(".") { PathBuf::new() } else { folder.to_owned() };
    for part in path.components() {
        let named = matches!(joined.components().next_back(), Some(Component::Normal(_)));
        match part {
            // A folder that is a link has another parent than its name says.
            Component::ParentDir if named && !joined.is_symlink() => {
                joined.pop();
            }
            Component::CurDir => {}
            part => joined.push(part),
        }
    }
    if joined.as_os_str().is_empty() { PathBuf::from(".") } else { joined }
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
