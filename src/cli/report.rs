//! `report`: runs on one page, as CSV, or served while they train.
//!
//! In → arguments; out → one HTML file, CSV on stdout, or a server on this machine until Ctrl-C.
//! What is drawn lives in [`crate::report`].

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Commands;
use crate::base::{
    error::{Error, Result},
    interrupt, io,
};
use crate::report::{self, Known, Run, Shown, View, live::Live, page};

/// Arguments of `report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Runs, or folders with runs in them: one gets a page of its own, several share one
    #[arg(value_name = "RUN|DIR", required = true, num_args = 1..)]
    pub paths: Vec<PathBuf>,
    /// Where the page goes [default: report.html in the run, or in the folder]
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The run that bits per byte and configuration are held against
    #[arg(long, value_name = "RUN")]
    pub baseline: Option<PathBuf>,
    /// Dollars an hour of the machine [default: what the run says]
    #[arg(long, value_name = "PRICE", allow_hyphen_values = true)]
    pub price_per_hour: Option<f64>,
    /// Write the metrics as CSV on stdout instead, a row a step
    #[arg(long, conflicts_with_all = ["live", "out"])]
    pub csv: bool,
    /// Serve the page on this machine, and keep it up to date while runs train
    #[arg(long, conflicts_with = "out")]
    pub live: bool,
    /// Where `--live` listens, on 127.0.0.1; 0 takes a port that is free
    #[arg(long, value_name = "N", default_value_t = 7440, requires = "live")]
    pub port: u16,
}

impl Commands<'_> {
    /// `report`
    pub(super) fn report(&self, args: &ReportArgs) -> Result<()> {
        check_price(args.price_per_hour)?;
        let runs = report::runs(&args.paths)?;
        if args.csv {
            let runs = runs.iter().map(|run| Run::read(run)).collect::<Result<Vec<_>>>()?;
            self.printer.raw(&report::csv::csv(&runs));
            let rows: usize = runs.iter().map(|run| run.metrics.len()).sum();
            self.printer.record(&json!({"type": "summary", "runs": runs.len(), "rows": rows}));
            return Ok(());
        }
        if args.live {
            return self.serve_report(&runs, args);
        }
        self.write_report(&args.paths, Some(args))
    }

    /// Writes the page of the runs that `paths` mean.
    pub(super) fn write_report(&self, paths: &[PathBuf], args: Option<&ReportArgs>) -> Result<()> {
        let runs = report::runs(paths)?;
        let out = args.and_then(|args| args.out.clone());
        let out = out.unwrap_or_else(|| paths[0].join("report.html"));
        // A run's own page is its own to replace.
        let read: &[PathBuf] = if runs == paths { &[] } else { &runs };
        let place = self.output_file(&out, read, Some(page::MARK))?;
        let html = report_of(&runs, args)?;
        io::write(&place, html.as_bytes())?;
        self.printer.result(&format!("wrote {}", place.display()));
        // After a recipe its own summary is still to come.
        let record = if args.is_some() { "summary" } else { "report" };
        self.printer.record(&json!({"type": record, "report": place.to_string_lossy(),
            "runs": runs.len(), "bytes": html.len()}));
        Ok(())
    }

    fn serve_report(&self, runs: &[PathBuf], args: &ReportArgs) -> Result<()> {
        report_of(runs, Some(args))?; // what is wrong with it is said now
        let mut live = Live::bind(args.port)?;
        let url = format!("http://{}/", live.address()?);
        self.printer.result(&format!("{url} (Ctrl-C ends)"));
        self.printer.record(&json!({"type": "serving", "url": url}));
        live.serve(&|| report::live::stamp(runs), &|| report_of(runs, Some(args)), &|| {
            interrupt::check().is_err()
        })?;
        self.printer.record(&json!({"type": "summary", "url": url}));
        Ok(())
    }
}

/// The page of `runs`.
fn report_of(runs: &[PathBuf], args: Option<&ReportArgs>) -> Result<String> {
    let shown = runs.iter().map(|path| shown(path)).collect::<Result<Vec<_>>>()?;
    let title = match &shown[..] {
        [one] => one.run.name.clone(),
        several => format!("{} runs", several.len()),
    };
    let baseline = args.and_then(|args| args.baseline.as_deref()).map(Run::read).transpose()?;
    let price_per_hour = args.and_then(|args| args.price_per_hour);
    let live = args.is_some_and(|args| args.live);
    Ok(report::render(&title, &shown, &View { baseline, price_per_hour, live }))
}

/// A run with what the training runtime knows of it.
fn shown(path: &Path) -> Result<Shown> {
    Ok(Shown { run: Run::read(path)?, known: known(path)? })
}

#[cfg(feature = "train")]
pub(super) fn known(path: &Path) -> Result<Known> {
    crate::train::known(path)
}

#[cfg(not(feature = "train"))]
pub(super) fn known(_: &Path) -> Result<Known> {
    Ok(Known::default())
}

/// A price is an amount of money.
pub(super) fn check_price(price: Option<f64>) -> Result<()> {
    match price {
        Some(price) if !(0.0..=1e6).contains(&price) => {
            Err(Error::config(format!("`--price-per-hour` is out of range: {price}"))
                .with_hint("dollars an hour, as 2.5"))
        }
        _ => Ok(()),
    }
}
