//! From gradients to better parameters: optimizers, clipping, learning-rate schedules.
//!
//! In → [`NamedGradients`] and a learning rate; out → parameters changed in place. An optimizer is
//! one file that implements [`Optimizer`]; its state is tensors by name, so a checkpoint stores any
//! of them alike. The learning rate is passed in, a pure function of the step ([`schedule`]).

pub mod adamw;
pub mod average;
pub mod clip;
pub mod schedule;

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::base::error::Result;
use crate::runtime::value::NamedGradients;

/// Changes parameters by their gradients.
pub trait Optimizer: Send {
    /// One step. A parameter without a gradient, or a gradient without a parameter, is an error.
    fn step(&mut self, gradients: &NamedGradients, learning_rate: f64) -> Result<()>;

    /// Everything but the parameters that the next step depends on, by rising name.
    fn state(&self) -> Vec<(String, Tensor)>;

    /// Takes back what [`Optimizer::state`] gave; names and shapes must fit.
    fn load_state(&mut self, state: BTreeMap<String, Tensor>) -> Result<()>;
}
