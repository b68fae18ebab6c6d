//! What flows back through an op: gradients, their sums so far, and how an op computes those of its
//! inputs.
//!
//! In → the gradient of an op's result and, on a device or where the op adds, the gradients that
//! its inputs have from other ops; out → the gradients of its inputs. **Invariant.** Memory that is
//! added to in place is held by nothing else ([`Addend::is_own`]).

use candle_core::Tensor;

use crate::base::error::Result;
use crate::runtime::cpu::{self, Matrix, Threads, matmul, product, tensor};
use crate::runtime::cuda::{calls, memory::Array};

/// From the gradient of an op's result to those of its inputs, `None` where none flows.
pub type HostBackward = Box<dyn FnOnce(&Tensor) -> Result<Vec<Option<Tensor>>>>;

/// The same for an op that adds: it also gets the gradient that each input has from other ops, and
/// returns the sums.
pub type AddingBackward = Box<dyn FnOnce(&Tensor, Before) -> Result<Vec<Option<Addend>>>>;

/// The gradient that each input of an op has already: from other ops or, for a parameter, also from
/// earlier parts of the batch.
pub type Before = Vec<Option<Addend>>;

/// The same on a device, which also gets the gradients that inputs have from other ops.
pub type DeviceBackward = Box<dyn FnOnce(&Array, Vec<Option<Array>>) -> Result<Vec<Pull>>>;

/// The backward of an op, by where it runs.
pub enum Backward {
    Host(HostBackward),
    Adding(AddingBackward),
    Device(DeviceBackward),
}

/// The sum of a gradient on the host so far.
pub struct Addend {
    pub tensor: Tensor,
    /// Whether nothing else holds its memory, so that it may be added to in place.
    pub is_own: bool,
}

impl Addend {
    /// An addend whose memory nothing else holds.
    pub fn own(tensor: Tensor) -> Addend {
        Addend { tensor, is_own: true }
    }

    /// `before` + `found`, where nothing else holds the memory of `found`.
    pub fn plus(before: Option<Addend>, found: Tensor) -> Result<Addend> {
        match before {
            None => Ok(Addend::own(found)),
            Some(before) => before.with(&found),
        }
    }

    /// The sum with `found`, in place if nothing else holds this memory.
    pub fn with(self, found: &Tensor) -> Result<Addend> {
        let sum = match self.is_own {
            true => cpu::add_to(self.tensor, found)?,
            false => cpu::add(&self.tensor, found)?,
        };
        Ok(Addend::own(sum))
    }

    /// `before` + left · right, whose shape is `dims`. Where `before` may change in place, the
    /// product itself adds to it.
    pub fn plus_product(
        before: Option<Addend>,
        left: Matrix<'_>,
        right: Matrix<'_>,
        dims: &[usize],
    ) -> Result<Addend> {
        match before {
            Some(Addend { tensor: sum, is_own: true }) => {
                let stride = dims.last().copied().unwrap_or(1);
                cpu::change(&sum, |sum| matmul(sum, stride, true, left, right, Threads::All))?;
                Ok(Addend::own(sum))
            }
            before => Addend::plus(before, tensor(product(left, right, Threads::All), dims)?),
        }
    }
}

/// The addends of an op's `N` inputs.
pub fn addends<const N: usize>(before: Before) -> [Option<Addend>; N] {
    before.try_into().unwrap_or_else(|_| panic!("an op has {N} inputs"))
}

/// What an op's backward on a device returns for one of its inputs.
pub enum Pull {
    /// No gradient.
    None,
    /// The whole gradient so far, including what came from other ops.
    Array(Array),
    /// Nothing more: the gradient was added to the parameter's own sum.
    Summed,
}

/// The gradients of an op's inputs on a device, each added to what its input has from other ops.
pub fn pulls(
    found: impl IntoIterator<Item = Array>,
    with: Vec<Option<Array>>,
) -> Result<Vec<Pull>> {
    let found = found.into_iter().zip(with);
    found.map(|(found, with)| Ok(Pull::Array(calls::joined(found, with)?))).collect()
}

/// A gradient on its way back.
pub enum Gradient {
    Host(Addend),
    Device(Array),
    Summed,
}

impl Gradient {
    /// A gradient whose memory its op may hold too.
    pub fn shared(tensor: Tensor) -> Gradient {
        Gradient::Host(Addend { tensor, is_own: false })
    }
}
