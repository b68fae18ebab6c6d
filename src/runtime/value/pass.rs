//! The backward pass: from the gradient of a result to those of the leaves behind it.
//!
//! In → a value and its gradient, the sums that leaves already have; out → the gradient of each
//! leaf, by name. **Method.** The pending node with the highest number goes next: all ops that read
//! its result have gone before, so its gradient is complete. **Invariant.** A gradient is the sum
//! of its parts in the order of the pass, added to what earlier parts of the batch have left.

use std::collections::BTreeMap;
use std::rc::Rc;

use candle_core::{Device, Tensor};

use super::gradient::{Addend, Backward, Gradient, Pull};
use super::{Data, Kind, NamedGradients, NamedParameters, Node, Value};
use crate::base::error::{Error, Result};
use crate::runtime::cuda::{calls, memory::Array};

/// Gradients on their way back, by the number of the node that each belongs to.
type Pending = BTreeMap<u64, (Rc<Node>, Gradient)>;

/// Gradients of leaves, by their names.
pub type ByName = BTreeMap<String, Gradient>;

/// The gradients of a batch, summed in place over its parts.
#[derive(Default)]
pub struct GradientSums {
    named: ByName,
}

impl GradientSums {
    /// Adds the gradient of `loss`, a single number, with respect to each of `parameters`.
    ///
    /// The tape is consumed: a second call on the same loss fails. A parameter that the loss does
    /// not depend on is an error naming it, since it would silently stay at its initial value.
    pub fn add(&mut self, loss: &Value, parameters: &NamedParameters) -> Result<()> {
        let one = match &loss.data {
            Data::Host(tensor) => Gradient::Host(Addend::own(tensor.ones_like()?)),
            _ => Gradient::Device(loss.behind()?),
        };
        let mut found = gradients_of(loss, one, &mut self.named)?;
        for name in parameters.names() {
            if !found.contains_key(name) {
                return Err(Error::failed(format!("no gradient reaches the parameter `{name}`"))
                    .with_hint("it takes no part in the loss: a bug in the model or in an op"));
            }
        }
        self.named.append(&mut found);
        Ok(())
    }

    /// The sums; those on a device stay beside the parameters there.
    pub fn finish(self, parameters: &NamedParameters) -> Result<NamedGradients> {
        let mut tensors = BTreeMap::new();
        for (name, gradient) in self.named {
            let tensor = match gradient {
                Gradient::Summed => continue,
                Gradient::Host(Addend { tensor, .. }) => tensor,
                Gradient::Device(array) => {
                    assert!(!parameters.tensors.contains_key(&name), "`{name}` was not summed");
                    Tensor::from_vec(array.numbers()?, array.dims(), &Device::Cpu)?
                }
            };
            tensors.insert(name, tensor);
        }
        Ok(NamedGradients { tensors, resident: parameters.resident.clone() })
    }
}

/// The gradient of `loss` with respect to each of `parameters`, as [`GradientSums::add`] makes it.
pub fn backward(loss: &Value, parameters: &NamedParameters) -> Result<NamedGradients> {
    let mut sums = GradientSums::default();
    sums.add(loss, parameters)?;
    sums.finish(parameters)
}

/// Propagates `gradient` of `output` back to the leaves: their gradients by name, each added to
/// what `sums` had under that name.
pub fn gradients_of(output: &Value, gradient: Gradient, sums: &mut ByName) -> Result<ByName> {
    let mut named = ByName::new();
    let mut pending = Pending::new();
    if let Some(node) = &output.node {
        pending.insert(node.order, (node.clone(), gradient));
    }
    while let Some((_, (node, gradient))) = pending.pop_last() {
        match &node.kind {
            Kind::Parameter(name) => {
                let before = named.remove(name).or_else(|| sums.remove(name));
                named.insert(name.clone(), joined(before, gradient)?);
            }
            Kind::Operation { inputs, backward } => {
                let backward = backward
                    .borrow_mut()
                    .take()
                    .ok_or_else(|| Error::failed("the tape of this loss was used already"))?;
                pull(&mut pending, sums, inputs, backward, &gradient)?;
            }
        }
    }
    Ok(named)
}

/// The gradient of a leaf on the host.
pub fn on_host(found: Option<Gradient>) -> Option<Addend> {
    found.map(|gradient| match gradient {
        Gradient::Host(addend) => addend,
        _ => panic!("a leaf and its gradient are not in one place"),
    })
}

/// The gradient of a leaf on a device, added to what its input has from other ops.
pub fn pulled(found: Option<Gradient>, with: Option<Array>) -> Result<Pull> {
    Ok(match (found, with) {
        (None, with) => with.map_or(Pull::None, Pull::Array),
        (Some(Gradient::Device(array)), with) => Pull::Array(calls::joined(array, with)?),
        (Some(Gradient::Summed), _) => Pull::Summed,
        (Some(Gradient::Host(_)), _) => panic!("a leaf and its gradient are not in one place"),
    })
}

/// The sum of two contributions to one gradient.
fn joined(one: Option<Gradient>, other: Gradient) -> Result<Gradient> {
    match (one, other) {
        (None, other) => Ok(other),
        (Some(Gradient::Host(one)), Gradient::Host(other)) => {
            Ok(Gradient::Host(one.with(&other.tensor)?))
        }
        (Some(Gradient::Device(one)), Gradient::Device(other)) => {
            Ok(Gradient::Device(calls::joined(other, Some(one))?))
        }
        (Some(Gradient::Summed), Gradient::Summed) => Ok(Gradient::Summed),
        _ => panic!("a gradient comes from the host and from a device, or was not added to"),
    }
}

/// Runs the backward of one op and passes its results on to the inputs' nodes.
fn pull(
    pending: &mut Pending,
    sums: &mut ByName,
    inputs: &[Option<Rc<Node>>],
    backward: Backward,
    gradient: &Gradient,
) -> Result<()> {
    let found: Vec<Option<Gradient>> = match (backward, gradient) {
        (Backward::Host(backward), Gradient::Host(gradient)) => {
            let found = backward(&gradient.tensor)?.into_iter();
            found.map(|gradient| gradient.map(Gradient::shared)).collect()
        }
        (Backward::Adding(backward), Gradient::Host(gradient)) => {
            let from_elsewhere = inputs.iter().map(|input| taken(pending, sums, input.as_ref()?));
            let before = from_elsewhere.map(|found| match found? {
                Gradient::Host(addend) => Some(addend),
                _ => panic!("an op and a gradient of its input are not in one place"),
            });
            let found = backward(&gradient.tensor, before.collect())?.into_iter();
            found.map(|gradient| gradient.map(Gradient::Host)).collect()
        }
        (Backward::Device(backward), Gradient::Device(gradient)) => {
            let from_elsewhere = inputs.iter().map(|input| array_taken(pending, input.as_ref()?));
            let pulls = backward(gradient, from_elsewhere.collect())?.into_iter();
            let found = pulls.map(|pull| match pull {
                Pull::None => None,
                Pull::Array(array) => Some(Gradient::Device(array)),
                Pull::Summed => Some(Gradient::Summed),
            });
            found.collect()
        }
        _ => panic!("an op and its gradient are not in one place"),
    };
    assert_eq!(found.len(), inputs.len(), "one gradient an input of the op");
    for (input, gradient) in inputs.iter().zip(found) {
        let (Some(input), Some(gradient)) = (input, gradient) else { continue };
        let before = pending.remove(&input.order).map(|(_, before)| before);
        let sum = joined(before, gradient)?;
        pending.insert(input.order, (input.clone(), sum));
    }
    Ok(())
}

/// Takes the gradient that a node has so far: from this pass or, for a leaf, from earlier ones.
fn taken(pending: &mut Pending, sums: &mut ByName, node: &Rc<Node>) -> Option<Gradient> {
    match (pending.remove(&node.order), &node.kind) {
        (Some((_, gradient)), _) => Some(gradient),
        (None, Kind::Parameter(name)) => sums.remove(name),
        (None, Kind::Operation { .. }) => None,
    }
}

/// The same on a device; `None` where the gradient is not an array.
fn array_taken(pending: &mut Pending, node: &Rc<Node>) -> Option<Array> {
    match pending.remove(&node.order)? {
        (_, Gradient::Device(array)) => Some(array),
        other => {
            pending.insert(node.order, other);
            None
        }
    }
}
