//! From gradients to better parameters: optimizers, clipping, learning-rate schedules.
//!
//! In → [`NamedGradients`] and a learning rate; out → parameters changed in place. An optimizer is
//! one file that implements [`Optimizer`]; its state is tensors by name, so a checkpoint stores any
//! of them alike. [`config`] chooses the optimizer and the rule of each parameter. The learning
//! rate is passed in, a pure function of the step ([`schedule`]).

pub mod adamw;
pub mod average;
pub mod clip;
pub mod config;
mod each;
mod lion;
mod momentum;
mod muon;
pub mod on_device;
pub mod schedule;
mod sgd;

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::base::error::Result;
use crate::runtime::value::NamedGradients;

/// The constants of one parameter, beside the step's learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// What the learning rate is multiplied by.
    pub rate: f64,
    /// λ: the share of the parameter lost in a step is λ times the learning rate.
    pub decay: f64,
    pub beta1: f64,
    pub beta2: f64,
}

/// Changes parameters by their gradients.
pub trait Optimizer: Send {
    /// One step. A parameter without a gradient, or a gradient without a parameter, is an error.
    fn step(&mut self, gradients: &NamedGradients, learning_rate: f64) -> Result<()>;

    /// Everything that the next step depends on beside the parameters, by rising name.
    fn state(&self) -> Vec<(String, Tensor)>;

    /// Takes back what [`Optimizer::state`] gave; names and shapes must fit.
    fn load_state(&mut self, state: BTreeMap<String, Tensor>) -> Result<()>;
}
