//! The stages there are: what each takes and makes, its keys, how it is checked and opened.
//!
//! In → a stage's name; out → its [`StageEntry`]. A stage is added here by one row; recipes, help
//! and the command line follow. **Checked** means all that can be known without the inputs: every
//! key and its value, the grammar of every input. **Opened** means all that can be known without
//! reading text.

use std::path::{Path, PathBuf};

#[cfg(feature = "train")]
use super::milestones;
use super::{
    export, import,
    job::{self, Chain, Job, Work},
    request::Request,
    revisions,
};
#[cfg(feature = "hub")]
use super::{fetched, output};
use crate::artifact::{record::Kind, stage::Stage};
use crate::base::{
    config::{self, Table},
    error::{Error, Result},
    spec::{Form, Spec},
};
use crate::classifier::{ClassifierConfig, ClassifierTrain};
use crate::dedup::{Dedup, DedupConfig};
#[cfg(feature = "hub")]
use crate::download::{Download, DownloadConfig, Locked};
use crate::filter::{self, Filter, FilterConfig, config::OWN_KEYS, rules::RULE_SETS};
use crate::ingest::Ingest;
use crate::mix::{Mix, MixConfig, MixSpec};
use crate::source::{InputConfig, InputSpec};
#[cfg(feature = "hub")]
use crate::store::Address;
use crate::tokenize::{Tokenize, TokenizeConfig};
use crate::tokenizer::{TokenizerConfig, TokenizerTrain};

pub use super::keys::lay;

/// One stage.
pub struct StageEntry {
    pub name: &'static str,
    /// What it reads. A stage that takes a corpus takes raw files as well.
    pub takes: Kind,
    pub makes: Kind,
    /// What else it reads, where its keys say so: `export` writes models, and tokens.
    pub also: &'static [Kind],
    /// Config keys that list further inputs, written as in `in`; with one of them `in` may be
    /// missing.
    pub sides: &'static [&'static str],
    /// The names of its config keys.
    pub keys: fn() -> Vec<&'static str>,
    /// The default values of the keys that have one; a key with an empty table as its value has
    /// none.
    pub defaults: fn() -> Table,
    /// Keys that name files or artifacts: in a recipe they are relative to its folder, and may name
    /// an earlier step.
    pub paths: fn() -> Vec<PathKey>,
    /// Fails where the request cannot work, whatever its inputs are.
    pub check: fn(&Request) -> Result<()>,
    /// Opens the inputs; no text is read.
    pub open: fn(&Request) -> Result<Job>,
}

/// A key whose value is a path.
#[derive(Clone, Copy, Debug)]
pub struct PathKey {
    /// `classifier`, or `train.evals` for a table in a table; none where the key stands alone.
    pub table: Option<&'static str>,
    pub key: &'static str,
    /// What an earlier step must make to be named; `None`: a file, never a step.
    pub takes: Option<Kind>,
    /// Only a value that ends so is a path; other values are names.
    pub ending: &'static str,
}

/// The folder in the output of `tokenize` that holds a tokenizer trained for it.
const TOKENIZER: &str = "tokenizer";

/// Every stage, in the order of the flow.
pub const STAGES: &[StageEntry] = &[
    #[cfg(feature = "hub")]
    StageEntry {
        name: "download",
        takes: Kind::Download,
        makes: Kind::Download,
        also: &[],
        sides: &[],
        keys: || config::fields::<DownloadConfig>().to_vec(),
        defaults: defaults::<DownloadConfig>,
        paths: Vec::new,
        check: |request| download_config(request)?.check(),
        open: |request| {
            let locked = match request.newest {
                true => Locked::default(),
                false => Locked::read(&request.out, &output::partial(&request.out))?,
            };
            let config = download_config(request)?;
            let stage = Download::open(&request.inputs, config, &request.out, &locked)?;
            Ok(units(request, stage))
        },
    },
    StageEntry {
        name: "ingest",
        takes: Kind::Corpus,
        makes: Kind::Corpus,
        also: &[],
        sides: &[],
        keys: || text_keys(&[]),
        defaults: defaults::<InputConfig>,
        paths: Vec::new,
        check: |request| check_text(request, |NoKeys {}| Ok(())),
        open: |request| open_text(request, |specs, input, NoKeys {}| Ingest::open(specs, input)),
    },
    StageEntry {
        name: "filter",
        takes: Kind::Corpus,
        makes: Kind::Corpus,
        also: &[],
        sides: &[],
        keys: || {
            let rule_sets = RULE_SETS.iter().map(|entry| entry.name);
            text_keys(&OWN_KEYS.into_iter().chain(rule_sets).collect::<Vec<_>>())
        },
        defaults: text_defaults::<FilterConfig>,
        paths: || {
            let files = filter::config::FILES.into_iter().map(|(table, key)| {
                let takes = (table == "classifier").then_some(Kind::Classifier);
                PathKey { table: Some(table), key, takes, ending: "" }
            });
            let preset = PathKey { table: None, key: "preset", takes: None, ending: ".toml" };
            files.chain([preset]).collect()
        },
        check: |request| {
            let (input, config) = keys_of::<FilterConfig>(request)?;
            filter::config::check(config, input.condition.is_some())
        },
        open: |request| open_text(request, |specs, input, own| Filter::open(specs, &input, own)),
    },
    StageEntry {
        name: "classifier",
        takes: Kind::Corpus,
        makes: Kind::Classifier,
        also: &[],
        sides: &["positive", "negative"],
        keys: || text_keys(config::fields::<ClassifierConfig>()),
        defaults: text_defaults::<ClassifierConfig>,
        paths: Vec::new,
        check: |request| keys_of::<ClassifierConfig>(request)?.1.check(),
        open: open_classifier,
    },
    StageEntry {
        name: "dedup",
        takes: Kind::Corpus,
        makes: Kind::Corpus,
        also: &[],
        sides: &[],
        keys: || text_keys(config::fields::<DedupConfig>()),
        defaults: text_defaults::<DedupConfig>,
        paths: Vec::new,
        check: |request| check_text(request, |own: DedupConfig| own.validated().map(drop)),
        open: |request| open_text(request, |specs, input, own| Dedup::open(specs, &input, own)),
    },
    StageEntry {
        name: "tokenizer",
        takes: Kind::Corpus,
        makes: Kind::Tokenizer,
        also: &[],
        sides: &[],
        keys: || text_keys(config::fields::<TokenizerConfig>()),
        defaults: text_defaults::<TokenizerConfig>,
        paths: Vec::new,
        check: check_training,
        open: |request| open_text(request, TokenizerTrain::open),
    },
    StageEntry {
        name: "tokenize",
        takes: Kind::Corpus,
        makes: Kind::Shards,
        also: &[],
        sides: &[],
        keys: || {
            let own = ["special_text", "loss_on", "tokenizer"];
            [text_keys(config::fields::<TokenizerConfig>()), own.into()].concat()
        },
        defaults: || {
            let mut all = text_defaults::<TokenizerConfig>();
            config::merge(&mut all, defaults::<TokenizeConfig>());
            all
        },
        paths: || {
            let takes = Some(Kind::Tokenizer);
            vec![PathKey { table: None, key: "tokenizer", takes, ending: "" }]
        },
        check: |request| match Vocabulary::of(request)? {
            Vocabulary::Given(_) => check_text(&encoding(request), |TokenizeConfig { .. }| Ok(())),
            Vocabulary::Train => {
                check_text(&applying(request), |TokenizeConfig { .. }| Ok(()))?;
                check_training(&training(request)).and_then(|()| one_size(request))
            }
        },
        open: open_tokenize,
    },
    StageEntry {
        name: "import",
        takes: Kind::Tokens,
        makes: Kind::Shards,
        also: &[],
        sides: &[],
        keys: import::keys,
        defaults: Table::new,
        paths: || {
            let takes = Some(Kind::Tokenizer);
            vec![PathKey { table: None, key: "tokenizer", takes, ending: "" }]
        },
        check: import::check,
        open: |request| Ok(boxed(request, import::open(request)?)),
    },
    StageEntry {
        name: "mix",
        takes: Kind::Shards,
        makes: Kind::Mix,
        also: &[],
        sides: &[],
        keys: || config::fields::<MixConfig>().to_vec(),
        defaults: defaults::<MixConfig>,
        paths: || {
            let takes = Some(Kind::Corpus);
            vec![PathKey { table: None, key: "validation", takes, ending: "" }]
        },
        check: |request| mix_config(request)?.check(&specs::<MixSpec, _>(&request.inputs)?),
        open: |request| {
            let stage = Mix::open(&specs(&request.inputs)?, mix_config(request)?)?;
            Ok(units(request, stage))
        },
    },
    #[cfg(feature = "train")]
    StageEntry {
        name: "train",
        takes: Kind::Mix,
        makes: Kind::Run,
        also: &[],
        sides: &[],
        keys: || config::fields::<crate::train::TrainConfig>().to_vec(),
        defaults: milestones::keys,
        paths: || {
            let table = Some(milestones::TABLE);
            vec![PathKey { table, key: "evals", takes: None, ending: "" }]
        },
        check: |request| {
            let mut config = request.config.clone();
            milestones::take(&mut config)?;
            crate::train::TrainConfig::parse(config).map(drop)?;
            only_input(request).map(drop)
        },
        open: |request| {
            let mix = only_input(request)?;
            let asked = &request.training;
            let how = crate::train::HowToTrain {
                device: asked.device.clone(),
                resume: asked.resume,
                stop_after: asked.stop_after,
                data: asked.data.clone(),
                begin: crate::train::Begin {
                    init_from: asked.init_from.clone(),
                    branch: asked.branch.clone(),
                    from_step: asked.from_step,
                    verify: asked.verify,
                },
            };
            let mut config = request.config.clone();
            let evaluate = milestones::take(&mut config)?.map(milestones::evaluator);
            let work = crate::train::TrainJob::open(config, mix, how)?;
            let work = work.with_evaluations(evaluate);
            Ok(Job { work: Work::InPlace(Box::new(work)), reads: reads(request) })
        },
    },
    #[cfg(feature = "train")]
    StageEntry {
        name: "eval",
        takes: Kind::Run,
        makes: Kind::Evals,
        also: &[],
        sides: &["on"],
        keys: || text_keys(config::fields::<crate::eval::EvalConfig>()),
        defaults: text_defaults::<crate::eval::EvalConfig>,
        paths: || vec![PathKey { table: None, key: "evals", takes: None, ending: "" }],
        check: |request| {
            keys_of::<crate::eval::EvalConfig>(request)?.1.check()?;
            only_input(request).map(drop)
        },
        open: |request| {
            let (input, own) = keys_of::<crate::eval::EvalConfig>(request)?;
            let stage = crate::eval::Evaluation::open(only_input(request)?, &input, own)?;
            Ok(units(request, stage))
        },
    },
    StageEntry {
        name: "export",
        takes: Kind::Run,
        makes: Kind::Model,
        also: &[Kind::Shards, Kind::Mix],
        sides: &[],
        keys: export::keys,
        defaults: export::defaults,
        paths: Vec::new,
        check: |request| {
            export::check(request)?;
            only_input(request).map(drop)
        },
        open: |request| Ok(boxed(request, export::open(request, only_input(request)?)?)),
    },
];

/// The stage called `name`, or an error with the nearest name.
pub fn find(name: &str) -> Result<&'static StageEntry> {
    let names = || STAGES.iter().map(|entry| entry.name);
    STAGES.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let error = Error::config(format!("there is no stage `{name}`"));
        match config::nearest(name, names()) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(format!("stages: {}", names().collect::<Vec<_>>().join(", "))),
        }
    })
}

impl StageEntry {
    /// Every input of a request as it is written: those of `in`, and those that keys list.
    pub fn inputs(&self, request: &Request) -> Vec<String> {
        let listed = self.sides.iter().filter_map(|key| request.config.get(*key)?.as_array());
        let listed = listed.flatten().filter_map(|input| Some(input.as_str()?.to_owned()));
        request.inputs.iter().cloned().chain(listed).collect()
    }

    /// Whether a configuration lists inputs by keys.
    pub fn lists_inputs(&self, config: &Table) -> bool {
        self.sides.iter().any(|key| config.contains_key(*key))
    }

    /// How its inputs are written.
    pub fn form(&self) -> Form {
        if self.takes == Kind::Shards { Form::Share } else { Form::Text }
    }

    /// Every key as it is typed, with its default where it has one: `mix.seed = 0`.
    pub fn key_lines(&self) -> Vec<String> {
        let defaults = (self.defaults)();
        let line = |name: &&str| match defaults.get(*name) {
            Some(value) => value_lines(name, value),
            None => vec![(*name).to_owned()],
        };
        (self.keys)().iter().flat_map(line).collect()
    }
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

/// Parses inputs.
pub fn specs<S: std::str::FromStr<Err = E>, E: Into<Error>>(inputs: &[String]) -> Result<Vec<S>> {
    inputs.iter().map(|input| input.parse().map_err(Into::into)).collect()
}

/// The values that a configuration has when nothing is set.
fn defaults<C: Default + serde::Serialize>() -> Table {
    Table::try_from(C::default()).expect("a configuration is a table of plain values")
}

/// The same, with those of reading text.
fn text_defaults<C: Default + serde::Serialize>() -> Table {
    let mut all = defaults::<InputConfig>();
    config::merge(&mut all, defaults::<C>());
    all
}

fn text_keys(own: &[&'static str]) -> Vec<&'static str> {
    [config::fields::<InputConfig>(), own].concat()
}

/// The keys of a stage that has none of its own.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoKeys {}

/// Splits a flat table into the keys of every text stage and the stage's own.
fn keys_of<C: serde::de::DeserializeOwned>(request: &Request) -> Result<(InputConfig, C)> {
    let what = format!("the config of `{}`", request.name);
    let mut table: Table = request.config.clone();
    let known = (find(&request.stage)?.keys)();
    if known.contains(&"vocab") {
        TokenizerConfig::refuse_random(&table)?;
    }
    config::refuse_unknown(&table, &known, &what)?;
    let mut input: InputConfig = config::take(&mut table, &what)?;
    input.validate()?;
    if !request.newest {
        for out in [&job::beside(&request.out, TOKENIZER), &request.out] {
            input.commits.extend(revisions::read(out)?);
        }
    }
    Ok((input, config::parse(table, &what)?))
}

fn check_text<C: serde::de::DeserializeOwned>(
    request: &Request,
    check: impl FnOnce(C) -> Result<()>,
) -> Result<()> {
    let _: Vec<InputSpec> = specs(&request.inputs)?;
    check(keys_of::<C>(request)?.1)
}

fn open_text<S: Stage + 'static, C: serde::de::DeserializeOwned>(
    request: &Request,
    open: impl FnOnce(&[InputSpec], InputConfig, C) -> Result<S>,
) -> Result<Job> {
    let (input, own) = keys_of::<C>(request)?;
    Ok(units(request, open(&specs(&request.inputs)?, input, own)?))
}

fn units(request: &Request, stage: impl Stage + 'static) -> Job {
    boxed(request, Box::new(stage))
}

fn boxed(request: &Request, stage: Box<dyn Stage>) -> Job {
    Job { work: Work::Units(stage), reads: reads(request) }
}

/// The paths that a request names: of its inputs, and of its keys.
pub fn reads(request: &Request) -> Vec<PathBuf> {
    let Ok(entry) = find(&request.stage) else { return Vec::new() };
    let exists = |place: &str| Path::new(place).exists();
    let inputs = entry.inputs(request);
    let inputs = inputs.iter().map(|input| Spec::parse(input, entry.form(), exists).place);
    let keys = (entry.paths)();
    let keys = keys.iter().filter_map(|path| path.value(&request.config));
    inputs.chain(keys).map(PathBuf::from).collect()
}

impl PathKey {
    /// The path in a configuration.
    pub fn value<'a>(&self, config: &'a Table) -> Option<&'a str> {
        let mut table = config;
        for name in self.table.iter().flat_map(|path| path.split('.')) {
            table = table.get(name)?.as_table()?;
        }
        let value = table.get(self.key)?;
        value.as_str().filter(|path| path.ends_with(self.ending))
    }

    /// The same, to be changed.
    pub fn value_mut<'a>(&self, config: &'a mut Table) -> Option<&'a mut String> {
        let mut table = config;
        for name in self.table.iter().flat_map(|path| path.split('.')) {
            table = table.get_mut(name)?.as_table_mut()?;
        }
        match table.get_mut(self.key)? {
            toml::Value::String(path) if path.ends_with(self.ending) => Some(path),
            _ => None,
        }
    }
}

fn open_classifier(request: &Request) -> Result<Job> {
    if let Some(input) = request.inputs.first() {
        let message = format!("`{input}` is on no side of the classifier");
        return Err(Error::config(message).with_hint("list inputs under `positive` and `negative`"));
    }
    let (input, own) = keys_of::<ClassifierConfig>(request)?;
    Ok(units(request, ClassifierTrain::open(&input, own)?))
}

#[cfg(feature = "hub")]
fn download_config(request: &Request) -> Result<DownloadConfig> {
    config::parse(request.config.clone(), &format!("the config of `{}`", request.name))
}

fn mix_config(request: &Request) -> Result<MixConfig> {
    config::parse(request.config.clone(), &format!("the config of `{}`", request.name))
}

/// The one input of a stage that takes one.
fn only_input(request: &Request) -> Result<&Path> {
    let [only] = request.inputs.as_slice() else {
        let entry = find(&request.stage)?;
        let (what, hint) = match entry.takes {
            _ if !entry.also.is_empty() => {
                ("run, shards or mix", "name one, and write the others into folders of their own")
            }
            Kind::Mix => ("mix", "lay several sources together with `mix`"),
            _ => ("run", "name a run, one of its checkpoints, or (to evaluate) a model's folder"),
        };
        let (stage, given) = (&request.stage, request.inputs.len());
        let message = format!("`{stage}` reads one {what}, given are {given}");
        return Err(Error::config(message).with_hint(hint));
    };
    Ok(Path::new(only))
}

fn check_training(request: &Request) -> Result<()> {
    check_text(request, |own: TokenizerConfig| own.resolve().map(drop))
}

/// Where `tokenize` has its vocabulary from.
enum Vocabulary {
    /// A `tokenizer.json` or its folder.
    Given(PathBuf),
    /// It is trained first, by the request's keys.
    Train,
}

impl Vocabulary {
    /// What the key `tokenizer` or the key `vocab` asks for.
    fn of(request: &Request) -> Result<Vocabulary> {
        let vocab = request.config.contains_key("vocab");
        match (request.config.get("tokenizer"), vocab) {
            (Some(toml::Value::String(path)), false) => Ok(Vocabulary::Given(path.into())),
            (None, true) => Ok(Vocabulary::Train),
            (Some(_), true) => {
                let message = "`vocab` trains a tokenizer, `tokenizer` names one";
                Err(Error::config(message).with_hint("give one of them"))
            }
            (Some(other), false) => {
                let message = format!("`tokenizer` is no path but `{other}`");
                Err(Error::config(message).with_hint("name a `tokenizer.json` or its folder"))
            }
            (None, false) => {
                let message = "which tokenizer? neither `vocab` nor `tokenizer` is set";
                Err(Error::config(message)
                    .with_hint("`--vocab 32000` trains one, `--tokenizer FILE` applies one"))
            }
        }
    }
}

/// `tokenizer = PATH` applies a tokenizer; `vocab` trains one first, which then lies in
/// OUT/tokenizer like any other.
fn open_tokenize(request: &Request) -> Result<Job> {
    let reads = reads(request);
    let work = match Vocabulary::of(request)? {
        Vocabulary::Given(path) => Work::Units(open_encoding(&encoding(request), &path)?),
        Vocabulary::Train => {
            one_size(request)?;
            let training = training(request);
            let (input, own) = keys_of::<TokenizerConfig>(&training)?;
            let first = TokenizerTrain::open(&specs(&training.inputs)?, input, own)?;
            let applying = applying(request);
            let then = Box::new(move |path: &Path| open_encoding(&applying, path));
            Work::Chain(Chain { first: Box::new(first), place: TOKENIZER, then })
        }
    };
    Ok(Job { work, reads })
}

fn open_encoding(request: &Request, tokenizer: &Path) -> Result<Box<dyn Stage>> {
    let (input, own) = keys_of::<TokenizeConfig>(request)?;
    let inputs = specs(&request.inputs)?;
    #[cfg(feature = "hub")]
    if let Some(Address::Hub(at)) = Address::parse(&tokenizer.to_string_lossy())? {
        let fetched = fetched::tokenizer(&at, request)?;
        let stage = Tokenize::open(&inputs, input, own, &fetched.path)?;
        return Ok(Box::new(stage.with_origin(fetched::KEY, fetched.meaning, fetched.moved)));
    }
    Ok(Box::new(Tokenize::open(&inputs, input, own, tokenizer)?))
}

/// Refuses several sizes of vocabulary: text is encoded with one.
fn one_size(request: &Request) -> Result<()> {
    let (_, own) = keys_of::<TokenizerConfig>(&training(request))?;
    if own.vocab.as_ref().is_none_or(|sizes| sizes.0.len() <= 1) {
        return Ok(());
    }
    let message = "text is encoded with one vocabulary, and `vocab` lists several";
    Err(Error::config(message)
        .with_hint("`dataprep tokenizer train` makes all of them; then `--tokenizer OUT/SIZE`"))
}

/// The request without the key that names the tokenizer.
fn encoding(request: &Request) -> Request {
    request.without(&["tokenizer"], &[])
}

/// The request without the keys of training: what applies the tokenizer.
fn applying(request: &Request) -> Request {
    request.without(config::fields::<TokenizerConfig>(), config::fields::<TokenizeConfig>())
}

/// The request without the keys of applying: what trains the tokenizer.
fn training(request: &Request) -> Request {
    request.without(config::fields::<TokenizeConfig>(), config::fields::<TokenizerConfig>())
}
