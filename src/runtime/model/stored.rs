//! A decoder from the tensors of a file, and back to them.
//!
//! In → tensors by name, which must be exactly those of the shape; out → [`Model`]. On the way back
//! the tables lose the rows that pad them.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::Model;
use super::config::ModelConfig;
use super::counts::{TABLES, shapes};
use crate::base::error::{Error, Result};
use crate::runtime::device::Device;
use crate::runtime::value::NamedParameters;

impl Model {
    /// A decoder over given parameters, which must be those of `config`. Tables without padding, as
    /// in files, get the rows that pad them.
    pub fn from_tensors(
        config: &ModelConfig,
        mut tensors: BTreeMap<String, Tensor>,
        device: &Device,
    ) -> Result<Model> {
        config.validate()?;
        let expected = shapes(config);
        for name in TABLES {
            if let Some(table) = tensors.get_mut(name)
                && table.dims() == [config.vocab_size, config.d_model]
            {
                let missing = config.padded_vocab() - config.vocab_size;
                *table = table.pad_with_zeros(0, 0, missing)?;
            }
        }
        for (name, dims) in &expected {
            let found = tensors.get(name).map(|tensor| tensor.dims());
            if found != Some(dims) {
                return Err(Error::failed(format!(
                    "parameter `{name}` must be {dims:?}, found {found:?}"
                )));
            }
        }
        if let Some(name) = tensors.keys().find(|name| !expected.contains_key(*name)) {
            return Err(Error::failed(format!("the model has no parameter `{name}`")));
        }
        Model::with(config, NamedParameters::new(tensors), device)
    }

    /// The parameters as files hold them, adapters merged. Tables are without the rows that pad
    /// them: these belong to no token, and would take probability from real tokens in programs that
    /// read the file as it is.
    pub fn stored(&self) -> Result<BTreeMap<String, Tensor>> {
        self.cut(self.merged()?.parameters())
    }

    /// The model's own parameters as files hold them, without adapters.
    pub fn stored_frozen(&self) -> Result<BTreeMap<String, Tensor>> {
        self.cut(self.own_parameters())
    }

    fn cut(&self, parameters: &NamedParameters) -> Result<BTreeMap<String, Tensor>> {
        let named = parameters.iter().map(|(name, tensor)| {
            let stored = match TABLES.contains(&name) {
                true => tensor.narrow(0, 0, self.config.vocab_size)?,
                false => tensor.clone(),
            };
            Ok((name.to_owned(), stored))
        });
        named.collect()
    }
}
