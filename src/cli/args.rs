//! What can be typed. Flags are the common options; every option is also a config key.
//!
//! In → `argv`; out → [`Cli`]. A flag that is a key only fills in that key ([`Flags::fill`]),
//! so that a flag, `--set`, a config file and a recipe mean the same thing.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use toml::Value;

use crate::base::{
    config::Table,
    size::{Bytes, Count},
};

/// From raw Parquet to a trained small language model: deterministic, resumable, one binary.
#[derive(Parser, Debug)]
#[command(name = "dataprep", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "Every stage continues after a kill when the same command runs again, and \
    says `up to date`\nwhen there is nothing to do. Exit status: 0 done, 1 the work failed, 2 \
    usage or config, 130\ninterrupted (what is finished is kept).")]
pub struct Cli {
    #[command(flatten)]
    pub shared: Shared,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "How to run (never changes a result)")]
pub struct Shared {
    /// Worker threads [default: the cores there are]
    #[arg(short = 'j', long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Memory to stay within, as `8GiB` [default: half of what the machine or its container has]
    #[arg(long, global = true, value_name = "SIZE")]
    pub memory: Option<Bytes>,
    /// Where what does not fit the memory goes while a step runs [default: beside OUT]
    #[arg(long, global = true, value_name = "DIR")]
    pub temp_dir: Option<PathBuf>,
    /// Do the work again, even if it is up to date; replace an OUT of another config
    #[arg(long, global = true)]
    pub fresh: bool,
    /// Say what would be done, and do nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Say less: no summary; twice: errors only
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub quiet: u8,
    /// Say more: the settings of each step, and the numbers that training derives from them
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Results as JSON Lines on stdout, the last of type `summary`
    #[arg(long, global = true)]
    pub json: bool,
    /// How to show progress on stderr [default: a bar on a terminal, nothing elsewhere]
    #[arg(long, global = true, value_enum)]
    pub progress: Option<ProgressStyle>,
    /// When to use colour; `NO_COLOR` is honoured
    #[arg(long, global = true, value_enum, default_value = "auto")]
    pub color: Color,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProgressStyle {
    Auto,
    Plain,
    Json,
    None,
}

/// When colour is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Read text from Parquet and JSON Lines into one clean corpus
    Ingest(StageArgs<TextFlags>),
    /// Drop documents that fail rules, and say which rule and value it was
    Filter(StageArgs<FilterFlags>),
    /// Make a quality classifier for `filter --rules classifier`
    Classifier {
        #[command(subcommand)]
        command: ClassifierCommand,
    },
    /// Drop exact and near duplicates, each verified and with the document it copies named
    Dedup(StageArgs<DedupFlags>),
    /// Learn a vocabulary
    Tokenizer {
        #[command(subcommand)]
        command: TokenizerCommand,
    },
    /// Turn text into token shards, with a tokenizer that is given or trained first
    Tokenize(StageArgs<TokenizeFlags>),
    /// Order token shards into one training stream with exact shares
    Mix(StageArgs<MixFlags>),
    /// Train a model on a mix
    #[cfg(feature = "train")]
    Train(TrainArgs),
    /// Continue a prompt with a trained model
    #[cfg(feature = "train")]
    Generate(GenerateArgs),
    /// Run the steps of a recipe that are not up to date
    Run(RunArgs),
    /// Start a project: a commented recipe, `dataprep.toml`
    Init {
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Write a completion script: `source <(dataprep completions bash)`
    Completions { shell: clap_complete::Shell },
    /// Write the manual: `dataprep manual | man -l -`
    Manual,
    /// Show what is in an artifact, or how well a tokenizer fits a text
    Inspect(InspectArgs),
    /// Read an artifact and what it was made from again, and name what differs
    Verify { path: PathBuf },
}

/// `dataprep classifier …`
#[derive(Subcommand, Debug)]
pub enum ClassifierCommand {
    /// Train a fastText model on texts that are wanted against texts that are not
    Train(ClassifierArgs),
}

/// Arguments of `classifier train`.
#[derive(Args, Debug)]
pub struct ClassifierArgs {
    /// Directory to write; appears when it is complete
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub flags: ClassifierFlags,
}

/// Flags of `classifier train`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Classifier")]
pub struct ClassifierFlags {
    /// Texts that are wanted: `[NAME=]PATH`; without `--positive` and `--negative`, the step of
    /// this stage in `dataprep.toml` runs
    #[arg(long, value_name = "IN", num_args = 1..)]
    positive: Vec<String>,
    /// Texts that are not
    #[arg(long, value_name = "IN", num_args = 1..)]
    negative: Vec<String>,
    /// Share of the texts kept out of training, to measure the model on [default: 0.2]
    #[arg(long, value_name = "SHARE")]
    held_out: Option<f64>,
    /// Share of the pool to keep: thresholds for it are reported [default: 0.1]
    #[arg(long, value_name = "SHARE")]
    keep: Option<f64>,
    /// Visits to each text [default: 5]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Numbers in a word's vector [default: 100]
    #[arg(long, value_name = "N")]
    dimensions: Option<u32>,
    /// Longest word n-gram [default: 2]
    #[arg(long, value_name = "N")]
    word_ngrams: Option<u32>,
    #[command(flatten)]
    text: TextFlags,
}

impl Flags for ClassifierFlags {
    fn fill(&self, keys: &mut Table) {
        let texts = |side: &[String]| (!side.is_empty()).then(|| side.to_vec());
        put(keys, "positive", texts(&self.positive));
        put(keys, "negative", texts(&self.negative));
        put(keys, "held_out", self.held_out);
        put(keys, "keep", self.keep);
        put(keys, "epochs", self.epochs.map(i64::from));
        put(keys, "dimensions", self.dimensions.map(i64::from));
        put(keys, "word_ngrams", self.word_ngrams.map(i64::from));
        self.text.fill(keys);
    }
}

/// `dataprep tokenizer …`
#[derive(Subcommand, Debug)]
pub enum TokenizerCommand {
    /// Train a byte-level BPE
    Train(Box<StageArgs<VocabFlags>>),
    /// Write a tokenizer for tools that do not read `tokenizer.json`
    Export(ExportArgs),
}

/// Arguments of `tokenizer export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// A tokenizer.json, or a folder with one
    pub path: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// File to write
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
}

/// Formats of `tokenizer export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A tiktoken rank file: base64 of each token and its rank
    Tiktoken,
    /// tokenizer.json with merges as "left right", as readers older than tokenizers 0.20 need
    MergesAsText,
}

/// Arguments of `inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// An artifact, finished or not, or raw files; with `--on`, a tokenizer.json or a folder with
    /// one; with `--where`, a corpus or raw files
    pub path: PathBuf,
    /// How well the tokenizer fits these texts: `[NAME=]PATH`, as stages take them
    #[arg(long, value_name = "IN", num_args = 1.., group = "reads")]
    pub on: Vec<String>,
    /// Other tokenizers to hold it against
    #[arg(long, value_name = "PATH", num_args = 1.., requires = "on")]
    pub against: Vec<PathBuf>,
    /// Draw the fit as SVG
    #[arg(long, value_name = "FILE", requires = "on")]
    pub picture: Option<PathBuf>,
    /// What a filter did, as one HTML page: histograms with their limits, documents beside them
    #[arg(long, value_name = "FILE", conflicts_with = "reads")]
    pub html: Option<PathBuf>,
    /// How many documents a SQL condition on their columns takes, and the first of them, as
    /// `filter_value < 0.1 AND source = 'wiki'`
    #[arg(long = "where", value_name = "SQL", group = "reads")]
    pub condition: Option<String>,
    /// Column or JSON field with the text [default: text]
    #[arg(long, value_name = "NAME")]
    pub text_column: Option<String>,
    /// Read only the first so many documents
    #[arg(long, value_name = "N", requires = "reads")]
    pub limit_documents: Option<Count>,
}

/// Arguments of every stage.
#[derive(Args, Debug)]
pub struct StageArgs<F: Flags> {
    /// Inputs; without any, the step of this stage in `dataprep.toml` runs
    #[arg(value_name = "IN")]
    pub inputs: Vec<String>,
    /// Directory to write; appears when it is complete
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub flags: F,
}

/// Where keys come from besides flags.
#[derive(Args, Debug, Default)]
pub struct ConfigArgs {
    /// Read keys from a TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Set any key: `--set unit_bytes=64MiB`; wins over `--config`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Seed of every random choice (the key `seed`)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=SEED_MAX))]
    pub seed: Option<u64>,
}

/// The largest seed: it is a key, and TOML's integers end here.
const SEED_MAX: u64 = i64::MAX as u64;

/// Flags that fill in keys.
pub trait Flags: Args {
    /// Adds the given flags to `keys`.
    fn fill(&self, keys: &mut Table);
}

fn put<V: Into<Value>>(keys: &mut Table, key: &str, value: Option<V>) {
    if let Some(value) = value {
        keys.insert(key.to_owned(), value.into());
    }
}

fn list(text: &str) -> Value {
    Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect())
}

/// How inputs of text are written, for the help of every stage that reads text.
pub const INPUTS: &str = "\
IN is [NAME=]PATH: an earlier output, a file, a folder, or a pattern, also quoted, as
'data/*.parquet' (and '**' '?' '[0-9]' '{a,b}'). What exists as written is a path. NAME is the
source; one NAME may stand before several paths. Without NAME it is the folder's name, or a file's
own unless that is a shard's (part-00000) or several files of its folder are given. Folders are
searched for Parquet and JSON Lines (plain, .gz, .zst; a .json where its beginning has the text
field). Names that begin with '_' or '.', *.tmp and *.partial are passed over, and named; such a
file is read when it is given itself. Pipes are refused.";

/// Flags of every stage that reads text.
#[derive(Args, Debug)]
#[command(next_help_heading = "Reading text")]
pub struct TextFlags {
    /// Column or JSON field with the text [default: text]
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    /// Column or JSON field with the id, strings or integers [default: id, else the hash of the
    /// text]
    #[arg(long, value_name = "NAME")]
    id_column: Option<String>,
    /// Keep only these columns beside id and text, as `url,score`; `text` keeps no other
    /// [default: all]
    #[arg(long, value_name = "A,B")]
    columns: Option<String>,
    /// Take only documents for which this SQL condition on their columns holds, as
    /// `int_score >= 3 AND language = 'en'` (fields of JSON Lines: `metadata.url`)
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
    /// Read only the first so many documents
    #[arg(long, value_name = "N")]
    limit_documents: Option<Count>,
    /// Share of documents held out for validation, decided by their text [default: 0.005]
    #[arg(long, value_name = "SHARE")]
    holdout: Option<f64>,
    /// Share of a source's documents that may be unreadable, exactly; 0: none [default: 0.01, and a
    /// hundred documents however few there are]
    #[arg(long, value_name = "SHARE")]
    max_bad: Option<f64>,
    /// Leave damaged files, and such as hold no text, out whole, and list them
    #[arg(long)]
    skip_bad_files: bool,
}

impl Flags for TextFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "text_column", self.text_column.clone());
        put(keys, "id_column", self.id_column.clone());
        put(keys, "columns", self.columns.as_deref().map(list));
        put(keys, "where", self.condition.clone());
        put(keys, "limit_documents", self.limit_documents.map(|count| count.0 as i64));
        put(keys, "holdout", self.holdout);
        put(keys, "max_bad", self.max_bad);
        put(keys, "skip_bad_files", self.skip_bad_files.then_some(true));
    }
}

/// Flags of `filter`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Rules")]
pub struct FilterFlags {
    /// Published rules in their order: fineweb, fineweb-edu, gopher, c4 or dclm; or a TOML file
    /// with your own
    #[arg(long, value_name = "NAME|FILE")]
    recipe: Option<String>,
    /// Rule sets in their order, as `gopher_quality,fineweb_quality`. Thresholds are keys:
    /// `--set gopher_quality.min_words=20`
    #[arg(long, value_name = "A,B")]
    rules: Option<String>,
    /// Drop nothing; add what every rule measured, and the first that fails, as columns
    #[arg(long)]
    annotate: bool,
    /// Judge an annotated corpus by what was measured then, under other limits:
    /// `--set gopher_quality.min_words=30`
    #[arg(long, conflicts_with_all = ["recipe", "rules", "annotate"])]
    from_annotations: bool,
    /// List every rule with its limit and its source, and the recipes
    #[arg(long, conflicts_with_all = ["inputs", "out", "recipe", "rules", "annotate"])]
    pub list: bool,
    /// Judge one text, a file or `-`, and show every rule with its value and limit
    #[arg(long = "try", value_name = "FILE|-", conflicts_with_all = ["inputs", "out", "annotate"])]
    pub trial: Option<PathBuf>,
    #[command(flatten)]
    text: TextFlags,
}

impl Flags for FilterFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "recipe", self.recipe.clone());
        put(keys, "rules", self.rules.as_deref().map(list));
        put(keys, "annotate", self.annotate.then_some(true));
        put(keys, "from_annotations", self.from_annotations.then_some(true));
        self.text.fill(keys);
    }
}

/// Flags of `dedup`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Duplicates")]
pub struct DedupFlags {
    /// exact (equal but for case and white space), minhash (nearly equal), or both; empty texts
    /// are no duplicates of each other [default: exact,minhash]
    #[arg(long, value_name = "A,B")]
    method: Option<String>,
    /// Words a shingle: runs of letters, digits and `_`, lower-cased; in scripts without spaces
    /// between words (Chinese, Japanese, Thai, Khmer, Burmese, …) each letter is one [default: 5]
    #[arg(long, value_name = "N")]
    ngram: Option<u32>,
    /// Bands of a signature [default: 14]
    #[arg(long, value_name = "N")]
    bands: Option<u32>,
    /// Rows a band [default: 8]
    #[arg(long, value_name = "N")]
    rows: Option<u32>,
    /// Exact Jaccard from which a candidate is dropped, or `off` [default: 0.8]
    #[arg(long, value_name = "SHARE")]
    verify: Option<String>,
    /// Which copy stays: first, longest, or the greatest of a column of numbers or times,
    /// max:COLUMN (of JSON Lines: max:metadata.FIELD) [default: first]
    #[arg(long, value_name = "POLICY")]
    keep: Option<String>,
    #[command(flatten)]
    text: TextFlags,
}

impl Flags for DedupFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "method", self.method.as_deref().map(list));
        put(keys, "ngram", self.ngram.map(i64::from));
        put(keys, "bands", self.bands.map(i64::from));
        put(keys, "rows", self.rows.map(i64::from));
        let number = |text: &String| text.parse().map_or(Value::from(text.as_str()), Value::Float);
        put(keys, "verify", self.verify.as_ref().map(number));
        put(keys, "keep", self.keep.clone());
        self.text.fill(keys);
    }
}

/// Flags of `tokenizer train`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Vocabulary")]
pub struct VocabFlags {
    /// Entries: special tokens, 256 bytes and merges, as `32k`; several, as `8k,16k,32k`, are one
    /// training and a folder each
    #[arg(long, value_name = "N")]
    vocab: Option<String>,
    /// How text is cut before merging: cl100k (GPT-4), llama3, gpt2, qwen2, o200k (GPT-4o), smollm,
    /// or a regular expression [default: cl100k]
    #[arg(long, value_name = "NAME|REGEX")]
    pattern: Option<String>,
    /// Train on this share of the documents, chosen by their text [default: 1]
    #[arg(long, value_name = "SHARE")]
    sample: Option<f64>,
    #[command(flatten)]
    text: TextFlags,
}

impl Flags for VocabFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "vocab", self.vocab.clone());
        put(keys, "pattern", self.pattern.clone());
        put(keys, "sample", self.sample);
        self.text.fill(keys);
    }
}

/// Flags of `tokenize`. IN may be `-`: text from stdin is cut and shown.
#[derive(Args, Debug)]
#[command(next_help_heading = "Tokenizer")]
pub struct TokenizeFlags {
    /// A tokenizer.json, or a folder with one; instead of `--vocab`
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    #[command(flatten)]
    vocab: VocabFlags,
}

impl Flags for TokenizeFlags {
    fn fill(&self, keys: &mut Table) {
        let path = self.tokenizer.as_ref().map(|path| path.to_string_lossy().into_owned());
        put(keys, "tokenizer", path);
        self.vocab.fill(keys);
    }
}

/// Flags of `mix`. IN is `name=SHARDS[#source]:WEIGHT`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Shares")]
pub struct MixFlags {
    /// Tokens of the whole mix, as `1B`, or `all`: the most that repeats no source
    #[arg(long, value_name = "N")]
    tokens: Option<String>,
}

impl Flags for MixFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "tokens", self.tokens.clone());
    }
}

/// Arguments of `train`.
#[cfg(feature = "train")]
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// The mix; without it, the step of this stage in `dataprep.toml` runs
    #[arg(long, value_name = "MIX")]
    pub data: Vec<PathBuf>,
    /// The run's directory
    #[arg(long, short, value_name = "RUN")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub config: ConfigArgs,
    /// auto, or cpu [default: auto]
    #[arg(long)]
    pub device: Option<String>,
    /// Continue also with another `train.steps`: a `wsd` run from the last checkpoint before its
    /// decay, while the finished one steps aside; a cosine run from its end, where the rate jumps
    #[arg(long)]
    pub resume: bool,
    /// Stop after this step, counted from the beginning, with a checkpoint; 0: the initial weights
    #[arg(long, value_name = "STEP")]
    pub stop_after: Option<u64>,
}

/// Arguments of `generate`.
#[cfg(feature = "train")]
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// A run, or one of its checkpoints
    pub run: PathBuf,
    /// Text to continue
    #[arg(long, default_value = "")]
    pub prompt: String,
    /// Tokens at most
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub max_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token
    #[arg(long, default_value_t = 0.8, value_name = "T", allow_hyphen_values = true)]
    pub temperature: f64,
    /// Makes the draws; another seed, another text
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// The checkpoint of this step [default: the latest]
    #[arg(long, value_name = "STEP")]
    pub step: Option<u64>,
    /// auto, or cpu
    #[arg(long, default_value = "auto")]
    pub device: String,
}

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The recipe [default: dataprep.toml]
    pub recipe: Option<PathBuf>,
    /// Begin with this step; earlier ones are taken as they are
    #[arg(long, value_name = "STEP")]
    pub from: Option<String>,
    /// Write to this directory instead of the recipe's `out`
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Set a key of a step: `--set model.train.steps=100`
    #[arg(long = "set", value_name = "STEP.KEY=VALUE")]
    pub set: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_fill_in_the_keys_of_their_stage() {
        let line = "dataprep dedup a --out b --keep longest --verify 0.7 --text-column body";
        let Command::Dedup(args) = Cli::parse_from(line.split(' ')).command else { panic!() };
        let mut keys = Table::new();
        args.flags.fill(&mut keys);
        let expected = "keep = 'longest'\nverify = 0.7\ntext_column = 'body'";
        assert_eq!(keys, expected.parse::<Table>().unwrap());
    }
}
