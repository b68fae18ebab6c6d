//! Parameters and their gradients, by name.
//!
//! In → tensors; out → the tensors as the last step left them, hashes, gradients by name.
//! **Invariants.** Iteration is by rising name, so its order is always the same. **Cost.** Nothing
//! beyond the tensors; where they live on a device, a copy of them when one is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use crate::base::error::Result;
use crate::base::hash::{Fingerprint, Hasher};
use crate::runtime::cuda::memory::Context;
use crate::runtime::cuda::resident::Resident;

/// The trainable tensors by name, in the order of their names.
///
/// Where they live on a device, the tensors here are a copy, updated when one is read after a step.
#[derive(Clone, Debug)]
pub struct NamedParameters {
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) resident: Option<Arc<Resident>>,
}

impl NamedParameters {
    /// Takes each tensor under its name; names are unique by construction of the map.
    pub fn new(tensors: BTreeMap<String, Tensor>) -> NamedParameters {
        NamedParameters { tensors, resident: None }
    }

    /// The same parameters, moved to a device.
    pub fn placed_on(self, context: &Arc<Context>) -> Result<NamedParameters> {
        let resident = Some(Arc::new(Resident::new(context, &self.tensors)?));
        Ok(NamedParameters { resident, ..self })
    }

    /// The parameters on the device, unless they live on the host.
    pub fn resident(&self) -> Option<&Arc<Resident>> {
        self.resident.as_ref()
    }

    /// The same parameters, never to be changed again, which takes less memory on a device.
    pub fn frozen(self) -> NamedParameters {
        let tensors = self.tensors().clone();
        let resident = self.resident.map(|resident| Arc::new(resident.frozen()));
        NamedParameters { tensors, resident }
    }

    /// The tensors as of the last step.
    ///
    /// # Panics
    /// Where the device fails, after which nothing on it can be used.
    fn tensors(&self) -> &BTreeMap<String, Tensor> {
        if let Some(resident) = &self.resident
            && let Err(error) = resident.refresh(&self.tensors)
        {
            panic!("the parameters cannot be read from the device: {error}");
        }
        &self.tensors
    }

    /// Sets the sums of gradients to zero where they are kept with the parameters, on a device.
    pub fn clear_gradients(&self) -> Result<()> {
        self.resident.as_ref().map_or(Ok(()), |resident| resident.clear_gradients())
    }

    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors().get(name)
    }

    /// Names and tensors, by rising name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors().iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Names, rising.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Number of elements over all tensors.
    pub fn count(&self) -> u64 {
        self.tensors.values().map(|tensor| tensor.elem_count() as u64).sum()
    }

    /// xxh3-128 over names and little-endian f32 bytes: equal parameters, equal fingerprint.
    pub fn xxh3(&self) -> Result<Fingerprint> {
        let mut hasher = Hasher::new();
        for (name, tensor) in self.iter() {
            hasher.update(name.as_bytes());
            for numbers in tensor.flatten_all()?.to_vec1::<f32>()?.chunks(HASHED_AT_ONCE) {
                let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
                hasher.update(&bytes);
            }
        }
        Ok(hasher.finish())
    }
}

/// Numbers whose bytes are copied at once to be hashed.
const HASHED_AT_ONCE: usize = 16 * 1024;

/// A gradient for each parameter, by the parameter's name.
#[derive(Clone, Debug, Default)]
pub struct NamedGradients {
    pub(super) tensors: BTreeMap<String, Tensor>,
    /// The parameters on a device where gradients are summed instead.
    pub(super) resident: Option<Arc<Resident>>,
}

impl NamedGradients {
    /// The gradient of the parameter called `name`, where they are on the host.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Names and gradients, by rising name, where they are on the host.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The parameters on the device where they are summed, unless on the host.
    pub fn resident(&self) -> Option<&Arc<Resident>> {
        self.resident.as_ref()
    }

    /// The same on the host.
    pub fn on_host(&self) -> Result<NamedGradients> {
        match &self.resident {
            Some(resident) => {
                let mut tensors = resident.gradients_on_host()?;
                tensors.extend(self.tensors.clone());
                Ok(NamedGradients { tensors, resident: None })
            }
            None => Ok(self.clone()),
        }
    }

    /// Sets the gradient of the parameter called `name`.
    pub fn insert(&mut self, name: &str, gradient: Tensor) {
        self.tensors.insert(name.to_owned(), gradient);
    }
}
