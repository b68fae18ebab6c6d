//! `doctor`: the machine as dataprep sees it; with `--model`, what a training step takes at best.
//!
//! In → nothing, or a shape and names of GPUs; out → lines, or tables from formulas. What is seen
//! lives in [`crate::doctor`], what is computed in `runtime::ceiling`.

use clap::Args;

use super::Commands;
use crate::base::error::Result;
use crate::doctor::Diagnosis;

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    #[cfg(feature = "train")]
    #[command(flatten)]
    pub plan: PlanArgs,
}

impl Commands<'_> {
    /// `doctor`
    pub(super) fn doctor(&self, args: &DoctorArgs) -> Result<()> {
        #[cfg(feature = "train")]
        if args.plan.is_asked()? {
            return self.plan(&args.plan);
        }
        #[cfg(not(feature = "train"))]
        let DoctorArgs {} = args;
        let diagnosis = Diagnosis::here();
        self.show(&diagnosis, &diagnosis.to_string());
        Ok(())
    }
}

#[cfg(feature = "train")]
pub use plan::PlanArgs;

#[cfg(feature = "train")]
mod plan {
    use std::path::Path;

    use clap::Args;
    use serde::Deserialize;
    use serde_json::json;

    use super::Commands;
    use crate::base::{
        config,
        error::{Error, Result},
        size::Bytes,
    };
    use crate::runtime::ceiling::{Asked, GPUS, Gpu, Occupancy, Optimizer, Plan, Shape, kernels};
    use crate::runtime::model::ModelConfig;

    /// What is computed instead of looked at.
    #[derive(Args, Debug)]
    pub struct PlanArgs {
        /// What a training step of this shape takes on a GPU at best, by kernel, and its memory:
        /// the name of one in `configs/model/`, or a TOML file
        #[arg(long, value_name = "NAME|FILE")]
        pub model: Option<String>,
        /// On which GPUs: h200, h100, a100, 5090, 4090, 3090, 4070 [default: all with `--kernels`]
        #[arg(long, value_name = "GPU,…", value_delimiter = ',')]
        pub on: Vec<String>,
        /// Registers, shared memory and occupancy of each kernel, or of those of `--model`
        #[arg(long)]
        pub kernels: bool,
        /// Rows at once [default: as many as fit, 64 at most]
        #[arg(long, value_name = "N", requires = "model", conflicts_with = "kernels")]
        pub rows: Option<usize>,
        /// Tokens a row [default: the shape's own]
        #[arg(long, value_name = "T", requires = "model", conflicts_with = "kernels")]
        pub sequence: Option<usize>,
        /// Such parts of a step [default: those of 65,536 tokens]
        #[arg(long, value_name = "N", requires = "model", conflicts_with = "kernels")]
        pub micro_batches: Option<usize>,
        /// Words of the vocabulary [default: the shape's own]
        #[arg(long, value_name = "N", requires = "model")]
        pub vocab: Option<usize>,
        /// Muon for the matrices of the blocks
        #[arg(long, requires = "model", conflicts_with = "kernels")]
        pub muon: bool,
    }

    /// A shape that was asked for.
    struct Wanted {
        name: String,
        config: ModelConfig,
        sequence: usize,
    }

    impl PlanArgs {
        /// Whether anything is to be computed.
        ///
        /// # Errors
        /// Config: GPUs are named, and nothing that is computed for them.
        pub(in crate::cli) fn is_asked(&self) -> Result<bool> {
            match self.kernels || self.model.is_some() {
                false if !self.on.is_empty() => Err(Error::config("`--on` says where, not what")
                    .with_hint("`--model NAME` plans a step there, `--kernels` shows occupancy")),
                is_asked => Ok(is_asked),
            }
        }

        fn wanted(&self) -> Result<Option<Wanted>> {
            let Some(name) = &self.model else { return Ok(None) };
            let (config, own) = if name.ends_with(".toml") {
                #[derive(Deserialize)]
                struct File {
                    model: ModelConfig,
                }
                let table = config::read(Path::new(name))?;
                (config::parse::<File>(table, name)?.model, 1024)
            } else {
                let shape = Shape::named(name)?;
                (shape.config()?, shape.sequence)
            };
            let vocab_size = self.vocab.unwrap_or(config.vocab_size);
            if vocab_size == 0 {
                return Err(Error::config(format!("`{name}` says no `model.vocab_size`"))
                    .with_hint(
                        "it comes from the tokenizer when training: give `--vocab N` here",
                    ));
            }
            let config = ModelConfig { vocab_size, ..config };
            config.validate()?; // `fitted` divides by what it refuses
            let config = config.fitted()?;
            config.validate()?;
            let sequence = self.sequence.unwrap_or(own);
            let given = [Some(sequence), self.rows, self.micro_batches];
            if let Some(0) = given.into_iter().flatten().min() {
                return Err(Error::config("rows, tokens a row and micro-batches are 1 or more"));
            }
            Ok(Some(Wanted { name: name.clone(), config, sequence }))
        }

        fn gpus(&self) -> Result<Vec<&'static Gpu>> {
            match self.on.is_empty() {
                true if self.kernels => Ok(GPUS.iter().collect()),
                true => Err(Error::config("on which GPU? `--on` is missing")
                    .with_hint("as in `dataprep doctor --model 124m --on h200,4090`")),
                false => self.on.iter().map(|name| Gpu::named(name)).collect(),
            }
        }
    }

    impl Commands<'_> {
        /// `doctor --model`, `doctor --kernels`
        pub(in crate::cli) fn plan(&self, args: &PlanArgs) -> Result<()> {
            let (wanted, gpus) = (args.wanted()?, args.gpus()?);
            if args.kernels {
                for gpu in &gpus {
                    self.kernels(wanted.as_ref(), gpu);
                }
            } else if let Some(wanted) = &wanted {
                let asked =
                    Asked { sequence: wanted.sequence, rows: args.rows, parts: args.micro_batches };
                let optimizer = if args.muon { Optimizer::Muon } else { Optimizer::AdamW };
                for (at, gpu) in gpus.iter().enumerate() {
                    let plan = Plan::of(&wanted.name, &wanted.config, gpu, asked, optimizer)?;
                    self.printer.raw(if at > 0 { "\n" } else { "" });
                    self.printer.raw(&plan.to_string());
                    let mut record = serde_json::to_value(&plan).expect("plain data");
                    record["type"] = "plan".into();
                    self.printer.record(&record);
                }
            }
            self.printer.record(&json!({"type": "summary", "gpus": gpus.len()}));
            Ok(())
        }

        fn kernels(&self, wanted: Option<&Wanted>, gpu: &Gpu) {
            let model = wanted.map(|wanted| &wanted.config);
            let served = kernels().filter(|kernel| model.is_none_or(|model| kernel.serves(model)));
            let found: Vec<Occupancy> = served
                .filter_map(|kernel| {
                    kernel.occupancy(gpu, model.map_or(kernel.widest(), |model| model.d_model))
                })
                .collect();
            self.printer.raw(&table(gpu, &found));
            for one in &found {
                let mut record = serde_json::to_value(one).expect("plain data");
                record["type"] = "kernel".into();
                record["gpu"] = gpu.name.into();
                self.printer.record(&record);
            }
        }
    }

    fn table(gpu: &Gpu, found: &[Occupancy]) -> String {
        let limits = gpu.limits;
        let mut text = format!(
            "{} ({}): {} multiprocessors, each with {} registers, {} of shared memory\n\n\
             {:<26}{:>8}{:>10}{:>12}{:>8}{:>10}  bound by\n",
            gpu.title,
            gpu.target,
            gpu.multiprocessors,
            limits.registers,
            Bytes(limits.shared as u64),
            "kernel",
            "threads",
            "registers",
            "shared",
            "blocks",
            "warps"
        );
        for one in found {
            let warps = format!("{}/{}", one.warps, one.most_warps);
            let shared = Bytes(one.shared as u64).to_string();
            text += &format!(
                "{:<26}{:>8}{:>10}{:>12}{:>8}{:>10}  {}\n",
                one.kernel, one.threads, one.registers, shared, one.blocks, warps, one.limit
            );
        }
        text + "\n"
    }
}
