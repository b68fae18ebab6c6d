//! A decoder from the tensors of a file, and as a file holds it.
//!
//! In → tensors by name, which must be exactly those of the shape; out → [`Model`]. The other way
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
    /// A decoder over given parameters, which must be those of `config`. Where tables have a row a
    /// token and no more, as in files, the rows that pad them are added.
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

    /// The parameters as files hold them: the tables without the rows that pad them, which belong
    /// to no token and would take probability from those that do wherever a file is read as it is.
    pub fn stored(&self) -> Result<BTreeMap<String, Tensor>> {
        let named = self.parameters.iter().map(|(name, tensor)| {
            let stored = match TABLES.contains(&name) {
                true => tensor.narrow(0, 0, self.config.vocab_size)?,
                false => tensor.clone(),
            };
            Ok((name.to_owned(), stored))
        });
        named.collect()
    }
}
