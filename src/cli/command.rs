//! The commands there are: one row each, whose arguments stand in the command's own file.
//!
//! In → `argv`; out → [`Cli`]. The order of the rows is the order of the help.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[cfg(feature = "hub")]
use super::download::DownloadFlags;
#[cfg(feature = "query")]
use super::query::QueryArgs;
#[cfg(feature = "serve")]
use super::serve::ServeArgs;
#[cfg(feature = "train")]
use super::{ablate::AblateArgs, eval::EvalArgs, generate::GenerateArgs, train::TrainArgs};
use super::{
    args::{Shared, StageArgs, TextFlags},
    classifier::ClassifierCommand,
    compare::CompareArgs,
    dedup::DedupFlags,
    doctor::DoctorArgs,
    export::ExportFlags,
    filter::FilterFlags,
    gc::GcArgs,
    import::ImportFlags,
    inspect::InspectArgs,
    lineage::LineageArgs,
    mix::MixFlags,
    report::ReportArgs,
    run::RunArgs,
    runs::{NoteArgs, RunsArgs},
    tokenize::TokenizeFlags,
    tokenizer::TokenizerCommand,
    trace::TraceArgs,
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

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Fetch files of the Hub or of a web server as they are, locked by commit and hash
    #[cfg(feature = "hub")]
    Download(StageArgs<DownloadFlags>),
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
    /// Turn the tokens of other trainers (nanoGPT, llm.c, Megatron) into token shards
    Import(StageArgs<ImportFlags>),
    /// Order token shards into one training stream with exact shares
    Mix(StageArgs<MixFlags>),
    /// Train a model on a mix
    #[cfg(feature = "train")]
    Train(TrainArgs),
    /// Continue a prompt with a trained model
    #[cfg(feature = "train")]
    Generate(GenerateArgs),
    /// Answer requests as OpenAI's completions API, with a page to type into
    #[cfg(feature = "serve")]
    Serve(ServeArgs),
    /// Score a model on questions and texts, as lm-evaluation-harness does; compare two
    #[cfg(feature = "train")]
    Eval(EvalArgs),
    /// Write a trained model, token shards or a mix for other tools: transformers, llama.cpp;
    /// nanoGPT, Megatron, MosaicML Streaming, LitData, datasets, numpy
    Export(StageArgs<ExportFlags>),
    /// Run the steps of a recipe that are not up to date
    Run(RunArgs),
    /// List the outputs of a recipe that are not current any more; remove them with `--yes`
    Gc(GcArgs),
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
    /// Put runs on one page: curves, texts, data, forecast, cost; or their metrics as CSV
    Report(ReportArgs),
    /// Say which documents a step of training read, or which steps read a document
    Trace(TraceArgs),
    /// Read an artifact and what it was made from again, and name what differs
    Verify { path: PathBuf },
    /// Show what an artifact was made from, back to the source files
    Lineage(LineageArgs),
    /// Say what differs between two artifacts or runs, and what it did
    Compare(CompareArgs),
    /// Show every run of a folder, with what changed and what came of it
    Runs(RunsArgs),
    /// Train a baseline and its variants, and say which change to keep
    #[cfg(feature = "train")]
    Ablate(AblateArgs),
    /// Leave a remark or tags beside a run
    Note(NoteArgs),
    /// Ask the tables that other commands have written, in SQL
    #[cfg(feature = "query")]
    Query(QueryArgs),
    /// Say what this machine has, and what a training step takes on a GPU at best
    Doctor(DoctorArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    use crate::base::config::Table;
    use crate::cli::args::Flags;

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
