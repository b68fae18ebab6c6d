//! `inspect` and `verify`: what an artifact holds and whether it still does, how a tokenizer fits
//! texts, which documents a condition takes.
//!
//! In → arguments; out → words on a screen, and the one file that was asked for. What is computed
//! lives in [`crate::inspect`].

use std::path::{Path, PathBuf};

use clap::Args;

use super::Commands;
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::progress::Progress;
use crate::base::size::Count;
#[cfg(feature = "train")]
use crate::eval::{
    Subject,
    look::{self, PromptLook, TextsLook},
};
use crate::inspect::filtered::page::MARK as PAGE_MARK;
use crate::inspect::fit::{self, FitReport};
use crate::inspect::{self, RawReport, Report, RowReport, VocabularyReport, fit_picture, matches};
use crate::pipeline::registry;
use crate::report::{Bill, Run};
use crate::shards::OverlapReport;
use crate::source::{InputConfig, Inputs};
use crate::store::Address;
use crate::tokenizer::{SpecialText, Tokenizer};

/// Arguments of `inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// An artifact, finished or not, or raw files; with `--on`, a tokenizer.json or a folder with
    /// one, or a model; with `--where`, a corpus or raw files
    pub path: PathBuf,
    /// What a model makes of a text: loss by token, norms by block, what it would say after each;
    /// with `--html` also its attention
    #[cfg(feature = "train")]
    #[arg(long, value_name = "TEXT", group = "reads", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// How well the tokenizer fits these texts, or which of them a model finds hardest and easiest:
    /// `[NAME=]PATH`, as stages take them
    #[arg(long, value_name = "IN", num_args = 1.., group = "reads")]
    pub on: Vec<String>,
    /// With `--on`, other tokenizers to hold it against; without, another mix: how much of what a
    /// model reads first is the same, and in which order
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub against: Vec<PathBuf>,
    /// Draw the fit as SVG
    #[arg(long, value_name = "FILE", requires = "on")]
    pub picture: Option<PathBuf>,
    /// One HTML page: what a filter did, with histograms and documents; token shards with their
    /// lengths and vocabulary; a mix with its shares and a row; what `--prompt` shows
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["on", "condition", "row", "vocabulary", "against"])]
    pub html: Option<PathBuf>,
    /// How many documents a SQL condition on their columns takes, and the first of them, as
    /// `filter_value < 0.1 AND source = 'wiki'`
    #[arg(long = "where", value_name = "SQL", group = "reads")]
    pub condition: Option<String>,
    /// Of a run, dollars an hour of its machine: what it cost, and what more of it would buy
    #[arg(long, value_name = "PRICE", conflicts_with = "reads", allow_hyphen_values = true)]
    pub price_per_hour: Option<f64>,
    /// Column or JSON field with the text [default: text]
    #[arg(long, value_name = "NAME")]
    pub text_column: Option<String>,
    /// Of token shards: count every token, and show the entries of the vocabulary that come most
    /// and those that never do
    #[arg(long, conflicts_with_all = ["reads", "against", "html"])]
    pub vocabulary: bool,
    /// Of a mix: the text of row N as the model reads it, with its documents' borders
    #[arg(long, value_name = "N", conflicts_with_all = ["reads", "against", "html", "vocabulary"])]
    pub row: Option<u64>,
    /// Tokens of that row [default: what the mix is packed for, else 1024]
    #[arg(long, value_name = "N", conflicts_with_all = ["reads", "against", "vocabulary"])]
    pub sequence: Option<u64>,
    /// Of a mix: how much of each source this run has read
    #[arg(long, value_name = "RUN", conflicts_with_all = ["reads", "against", "html", "row"])]
    pub run: Option<PathBuf>,
    /// Read only the first so many documents
    #[arg(long, value_name = "N", requires = "reads")]
    pub limit_documents: Option<Count>,
}

impl Commands<'_> {
    /// `inspect PATH`, with what is asked about it.
    pub(super) fn inspect(&self, args: &InspectArgs) -> Result<()> {
        #[cfg(feature = "train")]
        if let Some(prompt) = &args.prompt {
            return self.look_inside(prompt, args);
        }
        self.refuse_idle_options(args)?;
        match &args.condition {
            #[cfg(feature = "train")]
            _ if self.is_about_a_model(args) => self.look_at_texts(args),
            _ if !args.on.is_empty() => self.fit(args),
            Some(condition) => self.matches(condition, args),
            None if args.vocabulary => self.vocabulary(&args.path),
            None if args.row.is_some() => self.row(args),
            None if !args.against.is_empty() => self.overlaps(args),
            None if self.is_raw(args) => {
                self.raw(args).map_err(|error| self.unless_model(error, args))
            }
            None => self.artifact(args),
        }
    }

    /// Refuses options that nothing would read, rather than pass over them.
    fn refuse_idle_options(&self, args: &InspectArgs) -> Result<()> {
        if args.sequence.is_some() && args.row.is_none() && args.html.is_none() {
            return Err(Error::config("`--sequence` is the length of a row that is shown")
                .with_hint("say which: `--row 0`"));
        }
        let reads_text = !args.on.is_empty() || args.condition.is_some() || self.is_raw(args);
        if args.text_column.is_some() && !reads_text {
            return Err(Error::config("`--text-column` is for raw files")
                .with_hint("an artifact knows its columns: leave it out"));
        }
        Ok(())
    }

    /// `inspect MODEL --prompt TEXT`
    #[cfg(feature = "train")]
    fn look_inside(&self, prompt: &str, args: &InspectArgs) -> Result<()> {
        let subject = Subject::open(&args.path)?;
        let read = std::slice::from_ref(&args.path);
        let mark = Some(look::page::MARK);
        let place = args.html.as_deref().map(|html| self.output_file(html, read, mark));
        let place = place.transpose()?;
        let seen = PromptLook::new(&subject, prompt)?;
        if let Some(place) = place {
            io::write(&place, seen.page().as_bytes())?;
        }
        for token in &seen.tokens {
            let nats = token.nats.unwrap_or(0.0);
            let note = token.nats.map_or_else(String::new, |nats| format!("{{{nats:.1}}}"));
            self.printer.shaded(&token.text, nats / look::FULL_LOSS, &note);
        }
        self.printer.raw("\n\n");
        self.show(&seen, &seen.to_string());
        Ok(())
    }

    /// Whether `--on` asks for what a model makes of texts, not for how its tokenizer fits them.
    #[cfg(feature = "train")]
    fn is_about_a_model(&self, args: &InspectArgs) -> bool {
        let is_about_fit = args.on.is_empty() || args.picture.is_some() || !args.against.is_empty();
        !is_about_fit && Subject::is_there(&args.path)
    }

    /// `inspect MODEL --on IN…`
    #[cfg(feature = "train")]
    fn look_at_texts(&self, args: &InspectArgs) -> Result<()> {
        let subject = Subject::open(&args.path)?;
        let inputs = self.open_inputs(&args.on, args)?;
        let progress = Progress::new(self.printer.progress_style());
        let resources = (self.threads(), self.memory().0);
        let report = TextsLook::new(&subject, &inputs, resources, &progress)?;
        self.show(&report, &report.to_string());
        Ok(())
    }

    /// Whether the path leads to text that no stage wrote.
    fn is_raw(&self, args: &InspectArgs) -> bool {
        let is_address =
            args.path.to_str().is_some_and(|path| !matches!(Address::parse(path), Ok(None)));
        let is_there = is_address || args.path.exists();
        args.html.is_none() && is_there && !inspect::is_of_an_artifact(&args.path)
    }

    /// What to say of a folder without text that a model lies in.
    #[cfg(feature = "train")]
    fn unless_model(&self, error: Error, args: &InspectArgs) -> Error {
        if !Subject::is_there(&args.path) {
            return error;
        }
        Error::config(format!("`{}` is a model", args.path.display()))
            .with_hint("look inside it with `--prompt TEXT`, or at texts with `--on PATH`")
    }

    #[cfg(not(feature = "train"))]
    fn unless_model(&self, error: Error, _: &InspectArgs) -> Error {
        error
    }

    /// `inspect RAW`
    fn raw(&self, args: &InspectArgs) -> Result<()> {
        let path = args.path.display().to_string();
        let report = RawReport::new(&path, &self.open_inputs(std::slice::from_ref(&path), args)?);
        self.show(&report, &format!("{report}\n"));
        Ok(())
    }

    /// `inspect ARTIFACT`
    fn artifact(&self, args: &InspectArgs) -> Result<()> {
        super::report::check_price(args.price_per_hour)?;
        let (path, html) = (args.path.as_path(), args.html.as_deref());
        let mut report = inspect::inspect(path)?;
        if let Some(run) = &args.run {
            let Report::Mix(mix) = &mut report else {
                let message = format!("`{}` is no mix, of which a run reads", path.display());
                return Err(
                    Error::config(message).with_hint("name the mix, as `--run` names the run")
                );
            };
            mix.read_by(path, run)?;
        }
        if args.price_per_hour.is_some() && !matches!(report, Report::Run(_)) {
            let message = format!("`{}` is no run: it has no price", path.display());
            return Err(Error::config(message).with_hint("leave `--price-per-hour` out"));
        }
        match (&mut report, html) {
            (Report::Filter(filter), html) => {
                filter.verbose = self.shared.verbose;
                if let Some(html) = html {
                    self.write_page(html, path, &filter.page())?;
                }
            }
            (Report::Shards(shards), Some(html)) => {
                let vocabulary = VocabularyReport::read(path)?;
                let page = inspect::shards_page(shards, &vocabulary, &path.display().to_string());
                self.write_page(html, path, &page)?;
            }
            (Report::Mix(mix), Some(html)) => {
                // Shards that moved away leave the page without a row.
                let row = RowReport::read(path, 0, args.sequence).ok();
                let page = inspect::mix_page(mix, row.as_ref(), &path.display().to_string());
                self.write_page(html, path, &page)?;
            }
            (_, Some(_)) => {
                let message = format!("there is no page of `{}`: nothing to draw", path.display());
                return Err(Error::config(message)
                    .with_hint("name what a `filter` by rules made, token shards or a mix"));
            }
            (Report::Run(run), None) => match bill(path, args.price_per_hour) {
                Ok(bill) => run.bill = Some(bill),
                // What a run is can be said without where it is going.
                Err(error) => self.printer.warning(&error.to_string()),
            },
            (_, None) => (),
        }
        self.show(&report, &format!("{report}\n"));
        Ok(())
    }

    /// Writes a page of ours where none of anybody else's lies.
    fn write_page(&self, html: &Path, read: &Path, page: &str) -> Result<()> {
        let place = self.output_file(html, &[read.to_owned()], Some(PAGE_MARK))?;
        io::write(&place, page.as_bytes())
    }

    /// `inspect SHARDS --vocabulary`
    fn vocabulary(&self, path: &Path) -> Result<()> {
        let report = VocabularyReport::read(path)?;
        self.show(&report, &format!("{report}\n"));
        Ok(())
    }

    /// `inspect MIX --row N`
    fn row(&self, args: &InspectArgs) -> Result<()> {
        let report = RowReport::read(&args.path, args.row.unwrap_or(0), args.sequence)?;
        self.show(&report, &format!("{report}\n"));
        Ok(())
    }

    /// `inspect MIX --against MIX…`
    fn overlaps(&self, args: &InspectArgs) -> Result<()> {
        for other in &args.against {
            let report = OverlapReport::read(&args.path, other, u64::MAX)?;
            self.show(&report, &format!("{report}\n"));
        }
        Ok(())
    }

    /// `verify ARTIFACT`
    pub(super) fn verify(&self, path: &Path) -> Result<()> {
        let report = inspect::verify(path)?;
        self.show(&report, &format!("{report}\n"));
        if report.is_clean() {
            return Ok(());
        }
        let count = report.differences.len();
        Err(Error::failed(format!("{count} differences in `{}`", path.display())))
    }

    /// `inspect TOKENIZER --on IN…`
    fn fit(&self, args: &InspectArgs) -> Result<()> {
        let paths = std::iter::once(&args.path).chain(&args.against);
        let tokenizers = paths
            .map(|path| {
                Ok((path.display().to_string(), self.open_tokenizer(path, SpecialText::Text)?))
            })
            .collect::<Result<Vec<(String, Tokenizer)>>>()?;
        let inputs = self.open_inputs(&args.on, args)?;
        let read = args.against.iter().chain([&args.path]).cloned();
        let read: Vec<_> =
            read.chain(inputs.files().iter().map(|file| file.path().to_owned())).collect();
        let mark = Some(fit_picture::MARK);
        let picture = args.picture.as_deref().map(|path| self.output_file(path, &read, mark));
        let picture = picture.transpose()?;
        let progress = Progress::new(self.printer.progress_style());
        let resources = (self.threads(), self.memory().0);
        let report: FitReport = fit::fit(&tokenizers, &inputs, resources, &progress)?;
        if let Some(place) = picture {
            io::write(&place, fit_picture::draw(&report).as_bytes())?;
        }
        self.show(&report, &report.to_string());
        Ok(())
    }

    /// `inspect IN --where SQL`
    fn matches(&self, condition: &str, args: &InspectArgs) -> Result<()> {
        let inputs = self.open_inputs(&[args.path.display().to_string()], args)?;
        let progress = Progress::new(self.printer.progress_style());
        let resources = (self.threads(), self.memory().0);
        let report = matches::matches(condition, &inputs, resources, &progress)?;
        self.show(&report, &format!("{report}\n"));
        Ok(())
    }

    /// Inputs to look at, read as the arguments say.
    fn open_inputs(&self, inputs: &[String], args: &InspectArgs) -> Result<Inputs> {
        let defaults = InputConfig::default();
        let config = InputConfig {
            text_column: args.text_column.clone().unwrap_or(defaults.text_column.clone()),
            limit_documents: args.limit_documents,
            condition: args.condition.clone(),
            // Beside the texts a condition's own columns are read, and no other.
            columns: Some(Vec::new()),
            ..defaults
        };
        let inputs = Inputs::open_texts(&registry::specs(inputs)?, &config)?;
        inputs.notices().iter().for_each(|notice| self.printer.warning(notice));
        Ok(inputs)
    }
}

/// Where the run in `path` is going, and what it costs.
fn bill(path: &Path, per_hour: Option<f64>) -> Result<Bill> {
    Ok(Bill::of(&Run::read(path)?, &super::report::known(path)?, per_hour))
}
