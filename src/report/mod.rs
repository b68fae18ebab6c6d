//! A run on one page, or several side by side: curves, texts, data, money.
//!
//! In → the directories of runs, read as the files that `docs/formats.md` describes; out → one HTML
//! page that opens offline on any screen, or the metrics as CSV. Reading order: [`lines`] what a
//! run writes, [`records`] all of it together, [`chain`] what it was made from, [`page`] the page
//! from top to bottom, its parts (`curves`, `norms`, `data`, `goals`, `texts`, `settings`,
//! `money`), [`chart`] and [`series`] below them; [`forecast`] and [`cost`], which are pure;
//! [`mod@csv`]; [`live`], the page while it trains.
//!
//! What only the training runtime knows (schedule, number of parameters, defaults) comes as
//! [`Known`]; without it a page has no forecast and shows the whole configuration. **Invariants.**
//! A page fetches nothing and stays below 2 MB for 100,000 steps: curves are thinned with every
//! extreme kept. All text is escaped. Nothing of a run is changed. **Cost.** The run's records
//! once; the held-out documents of the mix once.

pub mod chain;
pub mod chart;
pub mod cost;
pub mod csv;
mod curves;
mod data;
pub mod forecast;
mod goals;
pub mod lines;
pub mod live;
mod money;
mod norms;
pub mod page;
pub mod records;
pub mod series;
mod settings;
mod texts;
pub mod view;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::artifact::{find, record::Kind};
use crate::base::{
    error::{Error, Result},
    io,
};

pub use cost::Outlook;
pub use money::Bill;
pub use page::render;
pub use records::Run;
pub use view::View;

/// What the training runtime knows of a run beside its records.
#[derive(Default)]
pub struct Known {
    /// Its schedule and size.
    pub outlook: Option<Outlook>,
    /// Floating-point operations that training on a token takes.
    pub flops_per_token: Option<u64>,
    /// The configuration of a run for which nothing was set.
    pub defaults: Option<Value>,
    /// Warnings for the top of the page.
    pub warnings: Vec<String>,
    /// Figures derived from the configuration, by name.
    pub numbers: Vec<(&'static str, u64)>,
}

/// A run with what is known of it.
pub struct Shown {
    /// Its records.
    pub run: Run,
    /// What the training runtime knows of it.
    pub known: Known,
}

/// Writes `report.html` of the run in `path`.
pub fn write(path: &Path, known: Known) -> Result<()> {
    let shown = Shown { run: Run::read(path)?, known };
    let html = render(&shown.run.name.clone(), &[shown], &View::default());
    io::replace(&path.join("report.html"), html.as_bytes())
}

/// The runs that `paths` mean. For a folder that is no run, those are the runs that lie the fewest
/// folders below it, ordered by path.
///
/// # Errors
/// Config: a path without a run. Damaged: a manifest that cannot be read.
pub fn runs(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let runs = if path.is_dir() { find::nearest(path, Kind::Run)? } else { Vec::new() };
        if runs.is_empty() {
            let message = format!("no run in `{}`", path.display());
            return Err(Error::config(message)
                .with_hint("name a run, as `train` writes it, or a folder with runs in it"));
        }
        found.extend(runs.into_iter().map(|(path, _)| path));
    }
    Ok(found)
}
