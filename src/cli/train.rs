//! `train`: a mix → a model, step by step.
//!
//! In → arguments; out → the run and its summary. What is computed lives in [`crate::train`].

use std::path::PathBuf;

use clap::Args;

use super::Commands;
use super::args::ConfigArgs;
use crate::base::config::Table;
use crate::base::error::Result;
use crate::pipeline::request::Training;

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
    /// auto, or cpu [default: auto]
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
    /// Stop after this step, counted from the beginning, with a checkpoint; 0: the initial weights
    #[arg(long, value_name = "STEP")]
    pub stop_after: Option<u64>,
}

impl Commands<'_> {
    /// `train`
    pub(super) fn train(&self, args: &TrainArgs) -> Result<()> {
        let mut keys = Table::new();
        if let Some(seed) = args.config.seed {
            let train = Table::from_iter([("seed".to_owned(), (seed as i64).into())]);
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
        let out = args.out.as_deref();
        let mut request = self.request("train", inputs, out, &args.config, keys)?;
        request.training = Training {
            device: args.device.clone(),
            resume: args.resume,
            stop_after: args.stop_after,
            data: args.data.iter().skip(1).cloned().collect(),
        };
        self.one(&request)
    }
}
