//! One step of a recipe, or one bare command: whichever stage it is.
//!
//! In → a [`Request`]; out → a [`StepResult`]. Most stages go straight to the executor. Two have a
//! way of their own: `tokenize --vocab` is two stages laid one after the other (no stage calls
//! another), and `train` writes its run in place.

use crate::artifact::record::Kind;
use std::path::{Path, PathBuf};

use super::{
    execute::{self, Options, Outcome},
    publish,
    recipe::Request,
    registry::{self, Opened},
    up_to_date,
};
use crate::artifact::{manifest::Manifest, stage::Stage};
use crate::base::{
    config::{self, Table},
    error::{Error, Result},
    io,
    progress::Progress,
    size::{Bytes, Count},
};
use crate::tokenize::{Tokenize, TokenizeConfig};
use crate::tokenizer::{TokenizerConfig, TokenizerTrain, vocabulary_shortfall, vocabulary_sizes};

/// What a step did.
pub enum StepResult {
    /// A stage of units.
    Stage(Box<Outcome>),
    #[cfg(feature = "train")]
    Train(Box<crate::train::TrainSummary>),
}

impl StepResult {
    /// What a stage of units did.
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            StepResult::Stage(outcome) => Some(outcome),
            #[cfg(feature = "train")]
            StepResult::Train(_) => None,
        }
    }

    /// Whether there was nothing to do.
    pub fn is_up_to_date(&self) -> bool {
        match self {
            StepResult::Stage(outcome) => outcome.up_to_date,
            #[cfg(feature = "train")]
            StepResult::Train(summary) => summary.up_to_date,
        }
    }
}

/// *How* to run, for every stage.
pub struct Runner<'a> {
    pub options: Options,
    pub progress: &'a Progress,
    /// Facts worth a line on stderr.
    pub say: &'a (dyn Fn(&str) + Sync),
    /// What must not be missed while a step runs.
    pub warn: &'a (dyn Fn(&str) + Sync),
    /// `train`'s own: device, resume, stop-after, places of moved shards.
    pub training: Training,
}

/// *How* to train.
#[derive(Clone, Debug, Default)]
pub struct Training {
    pub device: Option<String>,
    pub resume: bool,
    pub stop_after: Option<u64>,
    pub data: Vec<PathBuf>,
}

impl Runner<'_> {
    /// Brings the step's output up to date.
    pub fn run(&self, request: &Request) -> Result<StepResult> {
        match request.stage.as_str() {
            "tokenize" => self.tokenize(request).map(Box::new).map(StepResult::Stage),
            #[cfg(feature = "train")]
            "train" => self.train(request),
            stage => {
                let entry = registry::find(stage)?;
                let open = entry.open.expect("stages with a way of their own are named above");
                let outcome = self.execute(open(request)?, &request.out)?;
                Ok(StepResult::Stage(Box::new(outcome)))
            }
        }
    }

    fn execute(&self, opened: Opened, out: &Path) -> Result<Outcome> {
        let mut options = self.options.clone();
        (options.max_bad, options.skip_bad_files) = (opened.max_bad, opened.skip_bad_files);
        execute::execute(opened.stage.as_ref(), out, &options, self.progress)
    }

    /// `tokenizer = PATH` applies a tokenizer; `vocab` trains one first, which then lies in
    /// OUT/tokenizer like any other.
    fn tokenize(&self, request: &Request) -> Result<Outcome> {
        let (own, vocabulary) = Vocabulary::of(request)?;
        match vocabulary {
            Vocabulary::Given(path) => self.encode(&own, &path),
            Vocabulary::Train => {
                let trained = self.train_tokenizer(&own)?;
                let sizes = vocabulary_sizes(&Manifest::read(&trained)?);
                let mut outcome = self.encode(&applied(&own), &trained)?;
                outcome.notices.extend(vocabulary_shortfall(&sizes));
                // The tokenizer lies in OUT; what a kill may have left beside it is not needed.
                let beside = beside_tokenizer(&request.out);
                if Manifest::stands_in(&beside) && Manifest::read(&beside)?.kind == Kind::Tokenizer
                {
                    io::remove_directory(&beside)?;
                }
                Ok(outcome)
            }
        }
    }

    /// Encodes with the tokenizer at `path`; shards that no mix takes are warned of first.
    fn encode(&self, request: &Request, tokenizer: &Path) -> Result<Outcome> {
        let (stage, max_bad, skip_bad_files) = open_tokenize(request, tokenizer)?;
        stage.missing_end_of_text().iter().for_each(|warning| (self.warn)(warning));
        let opened = Opened { stage: Box::new(stage), max_bad, skip_bad_files };
        self.execute(opened, &request.out)
    }

    /// Where the trained tokenizer lies: in OUT if that one is up to date, else beside it.
    fn train_tokenizer(&self, request: &Request) -> Result<PathBuf> {
        let (specs, input, own) = registry::input_and_own::<TokenizerConfig>(&training(request))?;
        let (max_bad, skip_bad_files) = (input.max_bad, input.skip_bad_files);
        if own.vocab.as_ref().is_some_and(|sizes| sizes.0.len() > 1) {
            let message = "text is encoded with one vocabulary, and `vocab` lists several";
            return Err(Error::config(message).with_hint(
                "`dataprep tokenizer train` makes all of them; then `--tokenizer OUT/SIZE`",
            ));
        }
        let stage = TokenizerTrain::open(&specs, input, own)?;
        let inside = request.out.join("tokenizer");
        let fingerprint = execute::fingerprint(&stage);
        let standing = up_to_date::check_inside(&stage, &inside, &request.out, fingerprint)?;
        if standing.is_some() && !self.options.fresh {
            return Ok(inside);
        }
        publish::refuse_foreign(&request.out, fingerprint, self.replaces())?;
        let beside = beside_tokenizer(&request.out);
        let mut options = self.options.clone();
        // Half of an earlier training is ours to discard, whatever it was about.
        (options.max_bad, options.skip_bad_files, options.replace) =
            (max_bad, skip_bad_files, true);
        execute::execute(&stage as &dyn Stage, &beside, &options, self.progress)?;
        Ok(beside)
    }

    fn replaces(&self) -> bool {
        self.options.replace || self.options.fresh
    }

    #[cfg(feature = "train")]
    fn train(&self, request: &Request) -> Result<StepResult> {
        let [mix] = request.inputs.as_slice() else {
            let message = format!("`train` reads one mix, given are {}", request.inputs.len());
            return Err(Error::config(message));
        };
        let options = crate::train::TrainOptions {
            device: self.training.device.clone().unwrap_or_else(|| "auto".to_owned()),
            threads: Some(self.options.threads),
            memory: self.options.memory,
            resume: self.training.resume,
            stop_after: self.training.stop_after,
            fresh: self.options.fresh,
            data: self.training.data.clone(),
        };
        let cx = crate::train::Context {
            progress: self.progress,
            say: self.say,
            warn: self.warn,
            interrupted: &crate::base::interrupt::requested,
        };
        let (config, mix) = (request.config.clone(), Path::new(mix));
        let summary = crate::train::run(config, mix, &request.out, &options, &cx)?;
        Ok(StepResult::Train(Box::new(summary)))
    }
}

/// Where `tokenize` has its vocabulary from.
enum Vocabulary {
    /// A `tokenizer.json` or its folder.
    Given(PathBuf),
    /// It is trained first, by the request's keys.
    Train,
}

impl Vocabulary {
    /// The request without `tokenizer`, and what that key or `vocab` ask for.
    fn of(request: &Request) -> Result<(Request, Vocabulary)> {
        let mut own = request.clone();
        let vocab = own.config.contains_key("vocab");
        let given = own.config.remove("tokenizer");
        match (given.as_ref().and_then(toml::Value::as_str), vocab) {
            (Some(path), false) => Ok((own, Vocabulary::Given(path.into()))),
            (None, true) => Ok((own, Vocabulary::Train)),
            (Some(_), true) => {
                let message = "`vocab` trains a tokenizer, `tokenizer` names one";
                Err(Error::config(message).with_hint("give one of them"))
            }
            (None, false) => {
                let message = "which tokenizer? neither `vocab` nor `tokenizer` is set";
                Err(Error::config(message)
                    .with_hint("`--vocab 32000` trains one, `--tokenizer FILE` applies one"))
            }
        }
    }
}

/// The request without the keys of training: what applies the tokenizer.
fn applied(request: &Request) -> Request {
    let (training, applying) =
        (config::fields::<TokenizerConfig>(), config::fields::<TokenizeConfig>());
    without(request, training, applying)
}

/// The request without the keys of applying: what trains the tokenizer.
fn training(request: &Request) -> Request {
    let (training, applying) =
        (config::fields::<TokenizerConfig>(), config::fields::<TokenizeConfig>());
    without(request, applying, training)
}

/// The request without the keys that are in the first list only.
fn without(request: &Request, keys: &[&str], kept: &[&str]) -> Request {
    let mut own = request.clone();
    for key in keys.iter().filter(|key| !kept.contains(key)) {
        own.config.remove(*key);
    }
    own
}

/// Where a tokenizer is trained before it moves into OUT; no name that a person would give.
fn beside_tokenizer(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".dataprep-tokenizer");
    out.with_file_name(name)
}

/// The stage, `max_bad` and `skip_bad_files`.
fn open_tokenize(request: &Request, tokenizer: &Path) -> Result<(Tokenize, f64, bool)> {
    let (specs, input, own) = registry::input_and_own::<TokenizeConfig>(request)?;
    let (max_bad, skip_bad_files) = (input.max_bad, input.skip_bad_files);
    Ok((Tokenize::open(&specs, input, own, tokenizer)?, max_bad, skip_bad_files))
}

/// What a step would do, without doing it; `None` while its inputs are not made yet.
pub fn dry_run(request: &Request, threads: usize) -> Result<Option<serde_json::Value>> {
    let missing = |input: &String| {
        let path = input.split_once('=').map_or(input.as_str(), |(_, path)| path);
        let path = path.split(['#', ':']).next().unwrap_or(path);
        !Path::new(path).exists()
    };
    let entry = registry::find(&request.stage)?;
    if entry.inputs(request).iter().any(missing) {
        return Ok(None);
    }
    let stage = match entry.open {
        Some(open) => open(request)?.stage,
        None if request.stage == "tokenize" => return dry_run_tokenize(request, threads),
        None => return Ok(Some(serde_json::json!({"stage": request.stage}))),
    };
    dry_run_stage(stage.as_ref(), &request.out, threads).map(Some)
}

fn dry_run_stage(stage: &dyn Stage, out: &Path, threads: usize) -> Result<serde_json::Value> {
    let standing = up_to_date::check(stage, out, execute::fingerprint(stage))?;
    let mut plan = execute::dry_run(stage, threads)?;
    plan.insert("up_to_date", standing.is_some().into());
    Ok(serde_json::to_value(plan).expect("plain data"))
}

/// With a tokenizer it is a stage like others; before one is trained, what training it takes and
/// the text to encode.
fn dry_run_tokenize(request: &Request, threads: usize) -> Result<Option<serde_json::Value>> {
    let (own, vocabulary) = Vocabulary::of(request)?;
    if let Vocabulary::Given(path) = &vocabulary {
        let (stage, ..) = open_tokenize(&own, path)?;
        return dry_run_stage(&stage, &request.out, threads).map(Some);
    }
    let (specs, input, config) = registry::input_and_own::<TokenizerConfig>(&training(&own))?;
    let training = TokenizerTrain::open(&specs, input, config)?;
    let inside = request.out.join("tokenizer");
    let fingerprint = execute::fingerprint(&training);
    if up_to_date::check_inside(&training, &inside, &request.out, fingerprint)?.is_some() {
        let (stage, ..) = open_tokenize(&applied(&own), &inside)?;
        return dry_run_stage(&stage, &request.out, threads).map(Some);
    }
    let text = training.inputs().needs(threads);
    let mut plan = execute::dry_run(&training, threads)?;
    let mut needs = training.needs(threads);
    needs.disk += text.disk;
    plan.insert("needs", serde_json::json!(needs));
    Ok(Some(serde_json::to_value(plan).expect("plain data")))
}

/// A dry run's plan in two lines: what is read by which phase, and what it takes.
pub fn dry_run_lines(plan: &serde_json::Value) -> String {
    if plan["up_to_date"] == true {
        return "up to date".to_owned();
    }
    let Some(phases) = plan["phases"].as_array() else { return "would run".to_owned() };
    let phases = phases.iter().map(|phase| {
        let bytes = Bytes(phase["bytes"].as_u64().unwrap_or(0));
        format!("{} {} units, {bytes}", phase["name"].as_str().unwrap_or(""), phase["units"])
    });
    let phases = phases.collect::<Vec<_>>().join("; ");
    let needs = &plan["needs"];
    let documents = match needs["documents"].as_u64() {
        Some(documents) => format!("{} documents", Count(documents)),
        None => "documents are counted as they are read".to_owned(),
    };
    let bytes = |key: &str| Bytes(needs[key].as_u64().unwrap_or(0));
    format!(
        "{} inputs: {phases}\n    {documents}; takes up to {} of memory and about {} of disk",
        plan["inputs"],
        bytes("memory"),
        bytes("disk"),
    )
}

/// A table with one key.
pub fn single(key: &str, value: impl Into<toml::Value>) -> Table {
    Table::from_iter([(key.to_owned(), value.into())])
}
