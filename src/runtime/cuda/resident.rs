//! A model's parameters on a device: fp32 to change, bf16 to compute with, fp32 sums of gradients.
//!
//! In → tensors by name on the host; out → [`Array`]s by name, and the tensors again as steps have
//! left them. Three flat buffers in the order of names; each parameter begins at a multiple of
//! [`APART`] elements, zeros between, so one kernel walks over all of them.
//!
//! **Cost.** 10 bytes a parameter, beside the optimizer's 8. A copy back moves 4 bytes a parameter
//! and happens when somebody reads a tensor after a step: a checkpoint, a hash.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use candle_core::{Device, Tensor};

use super::calls::arguments;
use super::driver::Element;
use super::memory::{Array, Context};
use super::table::SQUARES;
use crate::base::error::{Error, Result};

/// Elements between the beginnings of parameters: 256 bytes of bf16, which products like best.
const APART: usize = 128;

/// Where a parameter lies.
#[derive(Clone, Debug)]
pub struct Place {
    pub start: usize,
    pub dims: Vec<usize>,
}

/// Parameters on a device.
#[derive(Debug)]
pub struct Resident {
    places: BTreeMap<String, Place>,
    /// The parameters, f32.
    pub master: Array,
    /// The same, rounded to bf16.
    pub shadow: Array,
    /// The sum of this step's gradients, f32.
    pub gradients: Array,
    /// [clip, norm, finite]: what the step is clipped by.
    pub norm: Array,
    squares: Array,
    /// Whether `norm` is of the present gradients.
    is_measured: Mutex<bool>,
    /// Whether the device has newer parameters than the host.
    is_newer: AtomicBool,
}

impl Resident {
    /// Places `tensors`, f32 on the host, on the device.
    pub fn new(context: &Arc<Context>, tensors: &BTreeMap<String, Tensor>) -> Result<Resident> {
        let (mut places, mut length) = (BTreeMap::new(), 0);
        for (name, tensor) in tensors {
            let place = Place { start: length, dims: tensor.dims().to_vec() };
            places.insert(name.clone(), place);
            length += tensor.elem_count().next_multiple_of(APART);
        }
        let mut numbers = Vec::with_capacity(length);
        for (tensor, place) in tensors.values().zip(places.values()) {
            numbers.resize(place.start, 0.0);
            numbers.extend(tensor.flatten_all()?.to_vec1::<f32>()?);
        }
        numbers.resize(length, 0.0);
        let dims = [length];
        Ok(Resident {
            places,
            master: context.floats(&dims, &numbers)?,
            shadow: context.rounded(&dims, &numbers)?,
            gradients: context.zeros(&dims, Element::F32)?,
            norm: context.zeros(&[3], Element::F32)?,
            squares: context.array(&[length.div_ceil(SQUARES)], Element::Word64)?,
            is_measured: Mutex::new(false),
            is_newer: AtomicBool::new(false),
        })
    }

    /// The device.
    pub fn context(&self) -> &Arc<Context> {
        self.master.context()
    }

    /// Where each parameter lies, by rising name.
    pub fn places(&self) -> &BTreeMap<String, Place> {
        &self.places
    }

    /// The parameter called `name`, in bf16, with the sum of its gradients.
    ///
    /// # Panics
    /// Where there is none.
    pub fn parameter(&self, name: &str) -> Array {
        let place = self.places.get(name);
        let Place { start, dims } = place.unwrap_or_else(|| panic!("no parameter `{name}`"));
        self.shadow.part(*start, dims).with_sum(self.gradients.part(*start, dims))
    }

    /// Begins the sums of a step's gradients.
    pub fn clear_gradients(&self) -> Result<()> {
        *self.measured() = false;
        self.gradients.clear()
    }

    fn measured(&self) -> std::sync::MutexGuard<'_, bool> {
        self.is_measured.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Measures the global norm of the gradients and what clips it to `largest` (0: nothing), on
    /// the device alone.
    fn queue_norm(&self, largest: f64) -> Result<()> {
        let (context, count) = (self.context(), self.gradients.count());
        let blocks = count.div_ceil(SQUARES);
        let given = arguments![&self.gradients, &self.squares, count as u64];
        context.launch("square_sums", [blocks, 1, 1], 64, given)?;
        let given = arguments![&self.squares, &self.norm, blocks as i32, largest as f32];
        context.launch("clip_factor", [1, 1, 1], 64, given)?;
        *self.measured() = true;
        Ok(())
    }

    /// The global norm of the gradients, which the next step clips to `largest` (0: not at all).
    ///
    /// # Errors
    /// Failed: it is no finite number.
    pub fn clip(&self, largest: f64) -> Result<f64> {
        self.queue_norm(largest)?;
        let found = self.norm.numbers()?;
        if found[2] == 0.0 {
            return Err(Error::failed("the gradient is not finite")
                .with_hint("lower the learning rate, or lengthen its warm-up"));
        }
        Ok(f64::from(found[1]))
    }

    /// The same without waiting, where nobody has asked for the norm of these gradients.
    pub fn ensure_measured(&self) -> Result<()> {
        let is_measured = *self.measured();
        if is_measured { Ok(()) } else { self.queue_norm(0.0) }
    }

    /// The sums of gradients as tensors on the host, by name.
    pub fn gradients_on_host(&self) -> Result<BTreeMap<String, Tensor>> {
        self.tensors(&self.gradients.numbers()?)
    }

    /// A flat buffer of the host, cut into tensors.
    pub fn tensors(&self, numbers: &[f32]) -> Result<BTreeMap<String, Tensor>> {
        let cut = self.places.iter().map(|(name, Place { start, dims })| {
            let part = &numbers[*start..][..dims.iter().product()];
            Ok((name.clone(), Tensor::from_slice(part, &**dims, &Device::Cpu)?))
        });
        cut.collect()
    }

    /// The tensors put into a flat buffer of the host, zeros between.
    pub fn flat(&self, tensors: &BTreeMap<String, Tensor>) -> Result<Vec<f32>> {
        let mut numbers = vec![0.0; self.master.count()];
        for (name, Place { start, .. }) in &self.places {
            if let Some(tensor) = tensors.get(name) {
                let part = tensor.flatten_all()?.to_vec1::<f32>()?;
                numbers[*start..][..part.len()].copy_from_slice(&part);
            }
        }
        Ok(numbers)
    }

    /// Says that the device has changed the parameters.
    pub fn changed(&self) {
        self.is_newer.store(true, Ordering::SeqCst);
    }

    /// Copies the parameters back into `tensors`, in place, where the device has newer ones.
    pub fn refresh(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        if !self.is_newer.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        for (name, now) in self.tensors(&self.master.numbers()?)? {
            if let Some(tensor) = tensors.get(&name) {
                tensor.slice_set(&now, 0, 0)?;
            }
        }
        Ok(())
    }
}
