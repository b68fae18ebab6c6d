//! What goes back through an op: gradients, what they come to so far, and how an op makes those of
//! its inputs.
//!
//! In → the gradient of an op's result, and on a device or where an op adds, what its inputs have
//! from elsewhere; out → the gradients of its inputs. **Invariant.** What is added to in place is
//! held by nobody else ([`Addend::is_own`]).

use candle_core::Tensor;

use crate::base::error::Result;
use crate::runtime::cpu::{self, Matrix, Threads, matmul, product, tensor};
use crate::runtime::cuda::{calls, memory::Array};

/// From the gradient of an op's result to those of its inputs, `None` where none flows.
pub type HostBackward = Box<dyn FnOnce(&Tensor) -> Result<Vec<Option<Tensor>>>>;

/// The same of an op that adds: it also gets what each input has from elsewhere, and gives back the
/// sums.
pub type AddingBackward = Box<dyn FnOnce(&Tensor, Before) -> Result<Vec<Option<Addend>>>>;

/// What each input of an op has from elsewhere.
pub type Before = Vec<Option<Addend>>;

/// The same on a device. It also gets what each input has from elsewhere, and gives back the sums.
pub type DeviceBackward = Box<dyn FnOnce(&Array, Vec<Option<Array>>) -> Result<Vec<Pull>>>;

/// How an op goes back, by where it is.
pub enum Backward {
    Host(HostBackward),
    Adding(AddingBackward),
    Device(DeviceBackward),
}

/// What a gradient on the host comes to so far.
pub struct Addend {
    pub tensor: Tensor,
    /// Whether nobody else holds its memory, so that it may be added to in place.
    pub is_own: bool,
}

impl Addend {
    /// One in memory that nobody else holds.
    pub fn own(tensor: Tensor) -> Addend {
        Addend { tensor, is_own: true }
    }

    /// `found`, which nobody else holds, and what came before it.
    pub fn plus(before: Option<Addend>, found: Tensor) -> Result<Addend> {
        match before {
            None => Ok(Addend::own(found)),
            Some(before) => before.with(&found),
        }
    }

    /// The sum with `found`: in place, if nobody else holds this one.
    pub fn with(self, found: &Tensor) -> Result<Addend> {
        let sum = match self.is_own {
            true => cpu::add_to(self.tensor, found)?,
            false => cpu::add(&self.tensor, found)?,
        };
        Ok(Addend::own(sum))
    }

    /// The sum with left · right, whose shape is `dims`; in place, as above, by the product itself.
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

/// Those of an op's inputs, one each.
pub fn addends<const N: usize>(before: Before) -> [Option<Addend>; N] {
    before.try_into().unwrap_or_else(|_| panic!("an op has {N} inputs"))
}

/// What a device's op does to the gradient of one of its inputs.
pub enum Pull {
    /// Nothing.
    None,
    /// This is all of it, with what came from elsewhere.
    Array(Array),
    /// It is in the parameter's own sum.
    Summed,
}

/// The gradients of an op's inputs on a device, each with what its input has from elsewhere.
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
    /// One that its op may hold too.
    pub fn shared(tensor: Tensor) -> Gradient {
        Gradient::Host(Addend { tensor, is_own: false })
    }
}
