//! `train`: a mix → a model, step by step; and what is looked at before it.
//!
//! In → arguments; out → the run and its summary, or the lines of `--smoke` and `--find-lr`, which
//! write no run. What is computed lives in [`crate::train`].

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Commands;
use super::args::ConfigArgs;
use crate::base::config::Table;
use crate::base::error::{Error, Result};
use crate::base::io;
use crate::base::progress::Progress;
use crate::pipeline::milestones;
use crate::pipeline::request::{Request, Training};
use crate::train::{self, TrainOptions};

/// Arguments of `train`.
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
    /// auto, cpu, or cuda [default: auto]
    #[arg(long)]
    pub device: Option<String>,
    /// Solve the model's width for so many parameters (`35M`), at its depth and proportions
    #[arg(long, value_name = "N")]
    pub fit_params: Option<String>,
    /// Blocks of the model
    #[arg(long, value_name = "BLOCKS")]
    pub depth: Option<u32>,
    /// Continue also with another `train.steps`: a `wsd` run from the last checkpoint before its
    /// decay, while the finished one steps aside; a cosine run from its end, where the rate jumps
    #[arg(long)]
    pub resume: bool,
    /// Train the last stretch of a standing run again first, and compare it bit for bit
    #[arg(long)]
    pub verify: bool,
    /// Go back to this checkpoint of a standing run; later ones are put aside
    #[arg(long, value_name = "STEP")]
    pub from_step: Option<u64>,
    /// Stop after this step, counted from the beginning, with a checkpoint; 0: the initial weights
    #[arg(long, value_name = "STEP")]
    pub stop_after: Option<u64>,
    /// Begin with the parameters of a run, a checkpoint or a model in Hugging Face's form
    #[arg(long, value_name = "MODEL")]
    pub init_from: Option<PathBuf>,
    /// Begin as a branch: with parameters, moments, place and records of another run's checkpoint,
    /// and a schedule of its own
    #[arg(long, value_name = "CHECKPOINT")]
    pub branch: Option<PathBuf>,
    /// What an hour of this machine costs: prices the plan, and stands in `run.json`
    #[arg(long, value_name = "PRICE")]
    pub price_per_hour: Option<f64>,
    /// Check model, data and machine in about a minute, and train nothing
    #[arg(long, conflicts_with_all = ["find_lr", "resume", "verify", "from_step", "branch"])]
    pub smoke: bool,
    /// Try learning rates from 1e-6 to 1 on the model as it begins, and train nothing; with FILE
    /// the curve goes there, as .svg or .json
    #[arg(long, value_name = "FILE", num_args = 0..=1,
        conflicts_with_all = ["resume", "verify", "from_step", "branch"])]
    pub find_lr: Option<Option<PathBuf>>,
}

impl Commands<'_> {
    /// `train`
    pub(super) fn train(&self, args: &TrainArgs) -> Result<()> {
        let mut train = Table::new();
        if let Some(seed) = args.config.seed {
            train.insert("seed".to_owned(), (seed as i64).into());
        }
        if let Some(price) = args.price_per_hour {
            train.insert("price_per_hour".to_owned(), price.into());
        }
        let mut keys = Table::new();
        if !train.is_empty() {
            keys.insert("train".into(), train.into());
        }
        let depth = args.depth.map(|depth| ("n_layer".to_owned(), i64::from(depth).into()));
        let size = args.fit_params.clone().map(|size| ("fit_params".to_owned(), size.into()));
        let model = Table::from_iter(depth.into_iter().chain(size));
        if !model.is_empty() {
            keys.insert("model".into(), model.into());
        }
        let mix = args.data.first().map(|path| path.to_string_lossy().into_owned());
        let inputs = mix.into_iter().collect();
        let looks = args.smoke || args.find_lr.is_some();
        let out = args.out.as_deref().or(looks.then_some(Path::new("")));
        let mut request = self.request("train", inputs, out, &args.config, keys)?;
        request.training = Training {
            device: args.device.clone(),
            resume: args.resume || args.from_step.is_some() || args.verify,
            stop_after: args.stop_after,
            data: args.data.iter().skip(1).cloned().collect(),
            init_from: args.init_from.clone(),
            branch: args.branch.clone(),
            from_step: args.from_step,
            verify: args.verify,
        };
        match (&args.find_lr, args.smoke) {
            (Some(file), _) => self.find_lr(&request, file.as_deref()),
            (None, true) => self.smoke(&request),
            (None, false) => self.one(&request),
        }
    }

    /// `train --smoke`
    fn smoke(&self, request: &Request) -> Result<()> {
        let (table, mix, options) = self.look(request)?;
        let smoke = train::smoke::smoke(table, &mix, &options)?;
        for check in &smoke.checks {
            let mut record = serde_json::to_value(check).expect("plain data");
            record["type"] = "check".into();
            self.printer.record(&record);
        }
        self.show(&smoke, &smoke.to_string());
        smoke.verdict()
    }

    /// `train --find-lr`
    fn find_lr(&self, request: &Request, file: Option<&Path>) -> Result<()> {
        let (table, mix, options) = self.look(request)?;
        let ending = file.and_then(|file| file.extension()).map(|ending| ending.to_string_lossy());
        let is_json = match (file, ending.as_deref()) {
            (None, _) | (Some(_), Some("svg")) => false,
            (Some(_), Some("json")) => true,
            (Some(file), _) => {
                let message = format!("`{}` is neither .svg nor .json", file.display());
                return Err(Error::config(message).with_hint("give `--find-lr curve.svg`"));
            }
        };
        let file = file.map(|file| self.output_file(file, &[], None)).transpose()?;
        let progress = Progress::new(self.printer.progress_style());
        let test = train::find_lr::find_lr(table, &mix, &options, &progress)?;
        if let Some(file) = file {
            let text = match is_json {
                true => json!(test).to_string() + "\n",
                false => test.svg(),
            };
            io::write(&file, text.as_bytes())?;
            self.printer.notice(&format!("the curve is in {}", file.display()));
        }
        self.show(&test, &test.to_string());
        Ok(())
    }

    /// The configuration, the mix and how to compute on it, for what trains no run and so
    /// evaluates none.
    fn look(&self, request: &Request) -> Result<(Table, PathBuf, TrainOptions)> {
        let [mix] = request.inputs.as_slice() else {
            return Err(Error::config("which mix? `--data MIX` is missing"));
        };
        let asked = &request.training;
        let options = TrainOptions {
            device: asked.device.clone().unwrap_or_else(|| "auto".to_owned()),
            threads: Some(self.threads()),
            memory: self.memory(),
            resume: false,
            stop_after: None,
            fresh: self.shared.fresh,
            begin: train::Begin { init_from: asked.init_from.clone(), ..train::Begin::default() },
            data: asked.data.clone(),
        };
        let mut table = request.config.clone();
        milestones::take(&mut table)?;
        Ok((table, PathBuf::from(mix), options))
    }
}
