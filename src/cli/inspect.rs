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
use crate::inspect::filtered::page::MARK as PAGE_MARK;
use crate::inspect::fit::{self, FitReport};
use crate::inspect::{self, OverlapReport, RawReport, Report, fit_picture, matches};
use crate::pipeline::registry;
use crate::report::{Bill, Run};
use crate::source::{InputConfig, Inputs};
use crate::store::Address;
use crate::tokenizer::{SpecialText, Tokenizer};

/// Arguments of `inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// An artifact, finished or not, or raw files; with `--on`, a tokenizer.json or a folder with
    /// one; with `--where`, a corpus or raw files
    pub path: PathBuf,
    /// How well the tokenizer fits these texts: `[NAME=]PATH`, as stages take them
    #[arg(long, value_name = "IN", num_args = 1.., group = "reads")]
    pub on: Vec<String>,
    /// With `--on`, other tokenizers to hold it against; without, another mix: how much of what a
    /// model reads first is the same, and in which order
    #[arg(long, value_name = "PATH", num_args = 1..)]
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
    /// Of a run, dollars an hour of its machine: what it cost, and what more of it would buy
    #[arg(long, value_name = "PRICE", conflicts_with = "reads", allow_hyphen_values = true)]
    pub price_per_hour: Option<f64>,
    /// Column or JSON field with the text [default: text]
    #[arg(long, value_name = "NAME")]
    pub text_column: Option<String>,
    /// Read only the first so many documents
    #[arg(long, value_name = "N", requires = "reads")]
    pub limit_documents: Option<Count>,
}

impl Commands<'_> {
    /// `inspect PATH`, with what is asked about it.
    pub(super) fn inspect(&self, args: &InspectArgs) -> Result<()> {
        match &args.condition {
            _ if !args.on.is_empty() => self.fit(args),
            Some(condition) => self.matches(condition, args),
            None if !args.against.is_empty() => self.overlaps(args),
            None if self.is_raw(args) => self.raw(args),
            None => self.artifact(&args.path, args),
        }
    }

    /// Whether the path leads to text that no stage wrote.
    fn is_raw(&self, args: &InspectArgs) -> bool {
        let is_address =
            args.path.to_str().is_some_and(|path| !matches!(Address::parse(path), Ok(None)));
        let is_there = is_address || args.path.exists();
        args.html.is_none() && is_there && !inspect::is_of_an_artifact(&args.path)
    }

    /// `inspect RAW`
    fn raw(&self, args: &InspectArgs) -> Result<()> {
        let path = args.path.display().to_string();
        let report = RawReport::new(&path, &self.open_inputs(std::slice::from_ref(&path), args)?);
        self.show(&report, &format!("{report}\n"));
        Ok(())
    }

    /// `inspect ARTIFACT`
    fn artifact(&self, path: &Path, args: &InspectArgs) -> Result<()> {
        super::report::check_price(args.price_per_hour)?;
        let mut report = inspect::inspect(path)?;
        match (&mut report, args.html.as_deref()) {
            (Report::Filter(filter), html) => {
                filter.verbose = self.shared.verbose;
                if let Some(html) = html {
                    let place = self.output_file(html, &[path.to_owned()], Some(PAGE_MARK))?;
                    io::write(&place, filter.page().as_bytes())?;
                }
            }
            (_, Some(_)) => {
                let message =
                    format!("no rules have judged in `{}`: nothing to draw", path.display());
                return Err(Error::config(message).with_hint("name what a `filter` by rules made"));
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

    /// `inspect MIX --against MIX…`
    fn overlaps(&self, args: &InspectArgs) -> Result<()> {
        for other in &args.against {
            let report = OverlapReport::read(&args.path, other)?;
            self.show(&report, &format!("{report}\n"));
        }
        Ok(())
    }

    /// `verify ARTIFACT`
    pub(super) fn verify(&self, path: &Path) -> Result<()> {
        let report = inspect::verify(path)?;
        self.show(&report, &format!("{report}\n"));
        match report.differences.len() {
            0 => Ok(()),
            count => Err(Error::failed(format!("{count} differences in `{}`", path.display()))),
        }
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
