//! `serve`: a model behind OpenAI's completions API, until Ctrl-C.
//!
//! In → arguments; out → where it listens, as a line and as a record. What is computed lives in
//! [`crate::serve`].

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Commands;
use crate::base::error::Result;
use crate::base::interrupt;
use crate::serve::{ServeOptions, Server};

/// Arguments of `serve`.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// A run, one of its checkpoints, or a model in Hugging Face's form
    pub model: PathBuf,
    /// Where to listen; 0 takes any port that is free
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    pub port: u16,
    /// The address to listen on; any other than the loopback address lets in who can reach it:
    /// there are no passwords
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub host: IpAddr,
    /// The checkpoint of this step of a run [default: the latest]
    #[arg(long, value_name = "STEP")]
    pub step: Option<u64>,
    /// auto, cpu, or cuda
    #[arg(long, default_value = "auto")]
    pub device: String,
}

impl Commands<'_> {
    /// `serve`
    pub(super) fn serve(&self, args: &ServeArgs) -> Result<()> {
        let options = ServeOptions {
            host: args.host,
            port: args.port,
            step: args.step,
            device: args.device.clone(),
            memory: self.memory(),
        };
        let warn = |text: &str| self.printer.warning(text);
        let server = Server::open(&args.model, &options, &warn)?;
        if !args.host.is_loopback() {
            warn("whoever reaches this address can use the model: there are no passwords");
        }
        let address = format!("http://{}", server.address());
        let model = server.model();
        self.printer.result(&format!("{address}      a page to type into"));
        self.printer
            .result(&format!("{address}/v1   for clients of OpenAI's API; model `{model}`"));
        self.printer.record(&json!({"type": "serving", "address": address, "model": model}));
        server.run(&interrupt::requested)?;
        interrupt::check_end()
    }
}
