//! A model's parameters on a device: fp32 masters, bf16 copies to compute with, fp32 gradient sums.
//!
//! In → tensors by name on the host; out → [`Array`]s by name, and the tensors as steps have
//! changed them. Flat buffers in the order of names; each parameter begins at a multiple of
//! [`APART`] elements, with zeros between, so one kernel can process all of them.
//!
//! **Cost.** 6 bytes a parameter, 4 more from the first step on, beside the optimizer's state; 2
//! where parameters are frozen. Copying back moves 4 bytes a parameter and happens only when a
//! tensor is read after a step: a checkpoint, a hash.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use candle_core::{Device, Tensor};

use super::calls::arguments;
use super::driver::Element;
use super::memory::{Array, Context};
use super::table::{SQUARES, entry};
use crate::base::error::{Error, Result};

/// Parameters begin at multiples of this many elements: 256 bytes of bf16, the best alignment for
/// products.
const APART: usize = 128;

/// Where a parameter is in the flat buffers, in elements.
#[derive(Clone, Debug)]
pub struct Place {
    pub start: usize,
    pub dims: Vec<usize>,
}

/// Parameters on a device.
#[derive(Debug)]
pub struct Resident {
    places: BTreeMap<String, Place>,
    /// Elements of each flat buffer.
    length: usize,
    /// The parameters, f32; none where they are frozen.
    master: Option<Array>,
    /// The same, rounded to bf16.
    pub shadow: Array,
    /// The sum of this step's gradients, f32, from the first step on.
    gradients: OnceLock<Array>,
    /// [clip, norm, finite]: what the step is clipped by.
    pub norm: Array,
    squares: Array,
    /// Whether `norm` was computed from the current gradients.
    is_measured: Mutex<bool>,
    /// Whether the device has newer parameters than the host; locked while they are copied, so that
    /// no thread reads them half copied.
    is_newer: Mutex<bool>,
}

fn locked(flag: &Mutex<bool>) -> MutexGuard<'_, bool> {
    flag.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
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
            length,
            master: Some(context.floats(&dims, &numbers)?),
            shadow: context.rounded(&dims, &numbers)?,
            gradients: OnceLock::new(),
            norm: context.zeros(&[3], Element::F32)?,
            squares: context.array(&[length.div_ceil(SQUARES)], Element::Word64)?,
            is_measured: Mutex::new(false),
            is_newer: Mutex::new(false),
        })
    }

    /// The same parameters, frozen: they share the bf16 memory and have no fp32 masters.
    pub fn frozen(&self) -> Resident {
        Resident {
            places: self.places.clone(),
            length: self.length,
            master: None,
            shadow: self.shadow.clone(),
            gradients: OnceLock::new(),
            norm: self.norm.clone(),
            squares: self.squares.clone(),
            is_measured: Mutex::new(false),
            is_newer: Mutex::new(false),
        }
    }

    /// The device.
    pub fn context(&self) -> &Arc<Context> {
        self.shadow.context()
    }

    /// Elements of a flat buffer.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The parameters in f32.
    ///
    /// # Panics
    /// Where they are frozen.
    pub fn master(&self) -> &Array {
        self.master.as_ref().expect("parameters that may be changed")
    }

    /// The sum of this step's gradients, f32.
    ///
    /// # Panics
    /// Before [`Resident::clear_gradients`].
    pub fn gradients(&self) -> &Array {
        self.gradients.get().expect("sums of gradients, which a step begins with clearing")
    }

    /// The place of each parameter, by rising name.
    pub fn places(&self) -> &BTreeMap<String, Place> {
        &self.places
    }

    /// The parameter called `name`, in bf16; with the sum of its gradients where it `is_trained`.
    ///
    /// # Panics
    /// Where there is none.
    pub fn parameter(&self, name: &str, is_trained: bool) -> Array {
        let place = self.places.get(name);
        let Place { start, dims } = place.unwrap_or_else(|| panic!("no parameter `{name}`"));
        let array = self.shadow.part(*start, dims);
        match is_trained {
            true => array.with_sum(self.gradients().part(*start, dims)),
            false => array,
        }
    }

    /// Sets the sums of gradients to zero, at the beginning of a step.
    pub fn clear_gradients(&self) -> Result<()> {
        *locked(&self.is_measured) = false;
        if let Some(gradients) = self.gradients.get() {
            return gradients.clear();
        }
        let zeros = self.context().zeros(&[self.length], Element::F32)?;
        self.gradients.get_or_init(|| zeros);
        Ok(())
    }

    /// Queues the computation of the gradients' global norm and of the factor that clips it to
    /// `largest` (0: no clipping), without waiting for the device.
    fn queue_norm(&self, largest: f64) -> Result<()> {
        let (context, count) = (self.context(), self.length);
        let blocks = count.div_ceil(SQUARES);
        let given = arguments![self.gradients(), &self.squares, count as u64];
        context.launch("square_sums", [blocks, 1, 1], given)?;
        let given = arguments![&self.squares, &self.norm, blocks as i32, largest as f32];
        context.launch("clip_factor", [1, 1, 1], given)?;
        *locked(&self.is_measured) = true;
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

    /// Queues the norm of these gradients, without clipping, unless that was done already.
    pub fn ensure_measured(&self) -> Result<()> {
        let is_measured = *locked(&self.is_measured);
        if is_measured { Ok(()) } else { self.queue_norm(0.0) }
    }

    /// The sums of gradients as tensors on the host, by name.
    pub fn gradients_on_host(&self) -> Result<BTreeMap<String, Tensor>> {
        self.tensors(&self.gradients().numbers()?)
    }

    /// Cuts a flat buffer on the host into tensors.
    pub fn tensors(&self, numbers: &[f32]) -> Result<BTreeMap<String, Tensor>> {
        let cut = self.places.iter().map(|(name, Place { start, dims })| {
            let part = &numbers[*start..][..dims.iter().product()];
            Ok((name.clone(), Tensor::from_slice(part, &**dims, &Device::Cpu)?))
        });
        cut.collect()
    }

    /// Puts tensors into a flat buffer on the host, with zeros between.
    pub fn flat(&self, tensors: &BTreeMap<String, Tensor>) -> Result<Vec<f32>> {
        let mut numbers = vec![0.0; self.length];
        for (name, Place { start, .. }) in &self.places {
            if let Some(tensor) = tensors.get(name) {
                let part = tensor.flatten_all()?.to_vec1::<f32>()?;
                numbers[*start..][..part.len()].copy_from_slice(&part);
            }
        }
        Ok(numbers)
    }

    /// Marks the parameters on the device as newer than those on the host.
    pub fn changed(&self) {
        *locked(&self.is_newer) = true;
    }

    /// Copies the parameters back into `tensors`, in place, where the device has newer ones.
    pub fn refresh(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let mut is_newer = locked(&self.is_newer);
        if !*is_newer {
            return Ok(());
        }
        for (name, now) in self.tensors(&self.master().numbers()?)? {
            if let Some(tensor) = tensors.get(&name) {
                tensor.slice_set(&now, 0, 0)?;
            }
        }
        *is_newer = false;
        Ok(())
    }

    /// Moves these parameters towards `others` of the same places: a ← a + share·(p − a).
    pub fn move_towards(&self, others: &Resident, share: f32) -> Result<()> {
        assert_eq!(self.length, others.length, "an average has the places of its parameters");
        let (averages, count) = (self.master(), self.length as u64);
        let given = arguments![averages, others.master(), &self.shadow, count, share];
        let threads = entry("average_towards").threads as usize;
        let grid = [self.length.div_ceil(4 * threads), 1, 1];
        self.context().launch("average_towards", grid, given)?;
        self.changed();
        Ok(())
    }
}
