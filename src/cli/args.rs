//! What can be typed of every command; what only one has stands in its own file. Flags are the
//! common options; every option is also a config key.
//!
//! In → `argv`; out → [`Shared`], [`StageArgs`], [`ConfigArgs`]. A flag that is a key only fills in
//! that key ([`Flags::fill`]),
//! so that a flag, `--set`, a config file and a recipe mean the same thing.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use toml::Value;

use crate::base::{
    config::Table,
    size::{Bytes, Count},
};

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

pub(super) fn put<V: Into<Value>>(keys: &mut Table, key: &str, value: Option<V>) {
    if let Some(value) = value {
        keys.insert(key.to_owned(), value.into());
    }
}

/// Replaces `\n`, `\r`, `\t` and `\\` by what they stand for: a shell has no short way to type a
/// line end.
fn unescaped(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text.chars());
    while let Some(c) = rest.next() {
        let escaped = match (c, rest.clone().next()) {
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('r')) => Some('\r'),
            ('\\', Some('t')) => Some('\t'),
            ('\\', Some('\\')) => Some('\\'),
            _ => None,
        };
        if escaped.is_some() {
            rest.next();
        }
        out.push(escaped.unwrap_or(c));
    }
    out
}

pub(super) fn list(text: &str) -> Value {
    Value::Array(text.split(',').map(|item| Value::String(item.trim().to_owned())).collect())
}

/// How inputs of text are written, for the help of every stage that reads text.
pub const INPUTS: &str = "\
IN is [NAME=]PATH: an earlier output, a file, a folder, or a pattern, also quoted, as
'data/*.parquet' (and '**' '?' '[0-9]' '{a,b}'). What exists as written is a path. NAME is the
source; one NAME may stand before several paths. Without NAME it is the folder's name, or a file's
own unless that is a shard's (part-00000) or several files of its folder are given. Folders are
searched for Parquet, JSON Lines, JSON (an array, or objects over several lines), CSV and TSV with
a header, Arrow (.arrow .feather), WARC and WET, and, where there is none of these, text and
Markdown; all but Parquet also as .gz .zst .bz2 .xz. A .json, .csv or .tsv is read where it has the
text field. Names that begin with '_' or '.', *.tmp and *.partial are passed over, and named; such a
file is read when it is given itself. Pipes are refused.";

/// How addresses are written, for the help of `download`.
pub const ADDRESSES: &str = "\
IN is [NAME=]ADDRESS: hf://datasets/OWNER/NAME[@REVISION][/PATH], a model without 'datasets/', or
https://HOST/FILE. PATH is a file, a folder or a pattern: 'hf://datasets/o/n/sample/**/*.parquet'.
Of several addresses each folder's files go below its name; NAME is that folder. Files keep their
names. The same command continues after a kill at the byte, reads the same commit as before, and
says where a branch has moved; --fresh takes the commit of today.
HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_HUB_CACHE, HF_ENDPOINT and HF_HUB_OFFLINE mean what they mean
to huggingface_hub, whose cache is shared: what lies there is not fetched again, and what is fetched
is found there, under a second name for the same place on the disk.";

/// Flags of every stage that reads text.
#[derive(Args, Debug)]
#[command(next_help_heading = "Reading text")]
pub struct TextFlags {
    /// Column or JSON field with the text, or a list of messages (written by the key
    /// `message_template`); `content.text` is inside `content` [default: text]
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    /// Column or JSON field with the id, strings or integers; a path as well [default: id, else the
    /// hash of the text]
    #[arg(long, value_name = "NAME")]
    id_column: Option<String>,
    /// What stands between the documents of a text file, as `<|endoftext|>` or `\n\n\n` [default:
    /// nothing, a file is a document]
    #[arg(long, value_name = "TEXT")]
    separator: Option<String>,
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
    /// Store what is read of `hf://` inputs in the Hub's own cache, where Python finds it too
    #[arg(long)]
    cache: bool,
}

impl Flags for TextFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "text_column", self.text_column.clone());
        put(keys, "id_column", self.id_column.clone());
        put(keys, "separator", self.separator.as_deref().map(unescaped));
        put(keys, "columns", self.columns.as_deref().map(list));
        put(keys, "where", self.condition.clone());
        put(keys, "limit_documents", self.limit_documents.map(|count| count.0 as i64));
        put(keys, "holdout", self.holdout);
        put(keys, "max_bad", self.max_bad);
        put(keys, "skip_bad_files", self.skip_bad_files.then_some(true));
        put(keys, "cache", self.cache.then_some(true));
    }
}
