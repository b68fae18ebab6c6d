//! A model behind HTTP: OpenAI's `/v1/completions` and `/v1/models`, and a page to type into.
//!
//! In → a trained model, an address; out → answers, until Ctrl-C. **Method.** A request becomes a
//! [`request::Asked`], or a refusal that says why; its texts take turns, token by token, with those
//! of all other requests on one [`engine`]; [`reply`] puts the results in OpenAI's form, piece by
//! piece or whole. [`http`] alone knows of connections. **Bounds.** Connections, bodies, the time
//! that either may take, texts of a request, requests that wait, and the memory of all caches: each
//! has a limit, and a request beyond it is told so (4xx). **Invariants.** An answer depends on its
//! own request alone, never on the texts that are written beside it; with `seed` the same request
//! gives the same answer, and that of `dataprep generate`. **Cost.** That of generation;
//! connections that wait cost no thread.

mod engine;
mod http;
mod reply;
mod request;
mod text;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Component, Path};
use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::size::Bytes;
use crate::runtime::device::Device;
use crate::train::Trained;
use engine::Engine;

/// *How* to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The address to listen on: the loopback address, unless another one is asked for.
    pub host: IpAddr,
    /// The port; 0 takes any free one.
    pub port: u16,
    /// The step of a run's checkpoint; the latest when absent.
    pub step: Option<u64>,
    /// `auto`, `cpu` or `cuda`.
    pub device: String,
    /// The bytes that the model and the texts in work may take together.
    pub memory: Bytes,
}

/// A loaded model, and the address that it listens on.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    service: Arc<http::Service>,
}

impl Server {
    /// Reads the model at `path` ([`Trained::open`]) and takes the address.
    ///
    /// # Errors
    /// Config: no such model, too little memory for one text. Failed: the address is taken.
    pub fn open(path: &Path, options: &ServeOptions, warn: &dyn Fn(&str)) -> Result<Server> {
        let device = Device::from_name(&options.device)?;
        let asked = SocketAddr::new(options.host, options.port);
        let taken = |error: std::io::Error| {
            Error::failed(format!("cannot listen on {asked}: {error}"))
                .with_hint("`--port` takes another one, 0 any that is free")
        };
        let listener = TcpListener::bind(asked).map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let trained = Arc::new(Trained::open(path, options.step, &device, warn)?);
        let name = name_of(path);
        let engine = Engine::start(trained.clone(), options.memory)?;
        let service = http::Service::new(name, trained, engine, options.host.is_loopback());
        Ok(Server { listener, address, service: Arc::new(service) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name by which requests call the model.
    pub fn model(&self) -> &str {
        self.service.model()
    }

    /// Answers until `stopping` returns true; texts still being written then end with an error.
    ///
    /// # Errors
    /// Failed: the system gives no sockets.
    pub fn run(self, stopping: &dyn Fn() -> bool) -> Result<()> {
        http::serve(self.listener, &self.service, stopping)
            .map_err(|error| Error::failed(format!("cannot serve: {error}")))
    }
}

/// The name by which requests call a model: the last part of its path that identifies it.
fn name_of(path: &Path) -> String {
    let last = path.components().rev().find_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    last.unwrap_or_else(|| "model".to_owned())
}

#[cfg(test)]
mod tests;
