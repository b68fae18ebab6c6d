//! Values: tensors with a tape behind them, and gradients by parameter name.
//!
//! In → candle tensors; out → [`NamedGradients`]. A [`Value`] is deliberately no candle tensor: a
//! plain candle call on an activation would compute the right number and lose its gradient without
//! a word, so only `runtime::ops` can reach the tensor inside, and each op says what flows back.
//!
//! **Method.** Reverse mode (Griewank and Walther, *Evaluating Derivatives*, 2008, chapter 3). Each
//! op adds a node holding its inputs' nodes and a closure from the gradient of its result to those
//! of its inputs. Nodes are numbered as they are made, so every consumer has a higher number than
//! what it reads: the backward pass takes the highest pending node, whose gradient is complete.
//! A closure is consumed by its call, so saved tensors are freed as the pass goes, and the first
//! gradient of a node is moved in, not added to zeros.
//!
//! **Invariants.** Contributions to one gradient are added in a fixed order; every trainable
//! parameter gets a gradient or [`backward`] names it. **Cost.** Nothing beyond the ops themselves.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use candle_core::{DType, Tensor, Var};

use crate::base::error::{Error, Result};
use crate::base::hash::{Fingerprint, Hasher};
use crate::runtime::cpu;

/// Which form of each op runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Our own kernels where the op has one for the device and type.
    #[default]
    Fused,
    /// Plain candle operations with candle's own gradient: the definition of right, and slow.
    Composed,
}

/// From the gradient of an op's result to those of its inputs, `None` where none flows.
type Backward = Box<dyn FnOnce(&Tensor) -> Result<Vec<Option<Tensor>>>>;

enum Kind {
    Parameter(String),
    Operation { inputs: Vec<Option<Rc<Node>>>, backward: RefCell<Option<Backward>> },
}

struct Node {
    order: u64,
    kind: Kind,
}

impl Node {
    fn new(kind: Kind) -> Rc<Node> {
        thread_local!(static NEXT: Cell<u64> = const { Cell::new(0) });
        Rc::new(Node { order: NEXT.replace(NEXT.get() + 1), kind })
    }
}

/// A tensor that remembers how it was made, where a gradient must flow back through it.
#[derive(Clone)]
pub struct Value {
    tensor: Tensor,
    node: Option<Rc<Node>>,
    form: Form,
}

impl Value {
    /// A value that no gradient reaches.
    pub fn constant(tensor: &Tensor, form: Form) -> Value {
        Value { tensor: tensor.clone(), node: None, form }
    }

    /// A trainable leaf; its gradient comes out of [`backward`] under `name`.
    pub fn parameter(name: &str, tensor: &Tensor, form: Form) -> Value {
        let node = Some(Node::new(Kind::Parameter(name.to_owned())));
        Value { tensor: tensor.clone(), node, form }
    }

    /// Sizes of the dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        self.tensor.dims()
    }

    /// The number in a value of one element.
    pub fn scalar(&self) -> Result<f64> {
        Ok(self.tensor.flatten_all()?.to_dtype(DType::F64)?.get(0)?.to_scalar::<f64>()?)
    }

    /// The tensor, cut off from the tape: for reading results, never for computing on.
    pub fn detached(&self) -> Tensor {
        self.tensor.detach()
    }

    /// The tensor inside, for ops alone.
    pub(in crate::runtime) fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Whether a gradient flows back through this value.
    pub(in crate::runtime) fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// Whether all of `inputs` ask for fused forms and are f32 on the CPU, which those need.
    pub(in crate::runtime) fn fused_on_cpu(inputs: &[&Value]) -> bool {
        inputs.iter().all(|value| {
            value.form == Form::Fused
                && value.tensor.dtype() == DType::F32
                && value.tensor.device().is_cpu()
        })
    }

    /// The result of an op: `backward` maps its gradient to one gradient an input, in their order.
    pub(in crate::runtime) fn result(
        tensor: Tensor,
        inputs: &[&Value],
        backward: impl FnOnce(&Tensor) -> Result<Vec<Option<Tensor>>> + 'static,
    ) -> Value {
        let form = inputs.first().map(|value| value.form).unwrap_or_default();
        if !inputs.iter().any(|value| value.is_tracked()) {
            return Value { tensor, node: None, form };
        }
        let inputs = inputs.iter().map(|value| value.node.clone()).collect();
        let backward = RefCell::new(Some(Box::new(backward) as Backward));
        let node = Some(Node::new(Kind::Operation { inputs, backward }));
        Value { tensor, node, form }
    }

    /// What `forward` makes of `inputs`, kept by its inputs alone: nothing of it stands until the
    /// backward pass, which runs `forward` again and goes back through it at once.
    pub(in crate::runtime) fn recomputed(
        inputs: &[&Value],
        forward: impl Fn(&[Value]) -> Result<Value> + 'static,
    ) -> Result<Value> {
        let constant = |value: &&Value| Value::constant(&value.tensor, value.form);
        let output = forward(&inputs.iter().map(constant).collect::<Vec<_>>())?.tensor;
        let saved: Vec<(Tensor, Form, bool)> = inputs
            .iter()
            .map(|value| (value.tensor.clone(), value.form, value.is_tracked()))
            .collect();
        Ok(Value::result(output, inputs, move |gradient| {
            let leaves =
                saved.iter().enumerate().map(|(at, (tensor, form, tracked))| match tracked {
                    true => Value::parameter(&at.to_string(), tensor, *form),
                    false => Value::constant(tensor, *form),
                });
            let output = forward(&leaves.collect::<Vec<_>>())?;
            let mut found = gradients_of(&output, gradient.clone())?;
            Ok((0..saved.len()).map(|at| found.remove(&at.to_string())).collect())
        }))
    }

    /// An op out of plain candle calls, with candle's own gradient: the reference form of every op.
    pub(in crate::runtime) fn composed(
        inputs: &[&Value],
        function: impl FnOnce(&[Tensor]) -> candle_core::Result<Tensor>,
    ) -> Result<Value> {
        let mut tensors = Vec::with_capacity(inputs.len());
        for value in inputs {
            let tensor = value.tensor.detach();
            let tracked = value.is_tracked();
            tensors.push(if tracked { Var::from_tensor(&tensor)?.into_inner() } else { tensor });
        }
        let output = function(&tensors)?;
        let result = output.detach();
        Ok(Value::result(result, inputs, move |gradient| {
            let mut store = (output * gradient)?.sum_all()?.backward()?;
            Ok(tensors.iter().map(|tensor| store.remove(tensor)).collect())
        }))
    }
}

/// The trainable tensors by name, in the order of their names.
#[derive(Clone, Debug)]
pub struct NamedParameters(BTreeMap<String, Tensor>);

impl NamedParameters {
    /// Takes each tensor under its name; names are unique by construction of the map.
    pub fn new(tensors: BTreeMap<String, Tensor>) -> NamedParameters {
        NamedParameters(tensors)
    }

    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// Names and tensors, by rising name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Names, rising.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of elements over all tensors.
    pub fn count(&self) -> u64 {
        self.0.values().map(|tensor| tensor.elem_count() as u64).sum()
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

/// One gradient a parameter, by the parameter's name.
#[derive(Clone, Debug, Default)]
pub struct NamedGradients(BTreeMap<String, Tensor>);

impl NamedGradients {
    /// The gradient of the parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// Names and gradients, by rising name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Puts `gradient` in the place of the one called `name`.
    pub fn insert(&mut self, name: &str, gradient: Tensor) {
        self.0.insert(name.to_owned(), gradient);
    }

    /// Adds the gradients of another part of the same batch.
    pub fn add(&mut self, other: NamedGradients) -> Result<()> {
        for (name, gradient) in other.0 {
            match self.0.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(gradient);
                }
                Entry::Occupied(mut entry) => {
                    let sum = cpu::add(entry.get(), &gradient)?;
                    entry.insert(sum);
                }
            }
        }
        Ok(())
    }
}

/// The gradient of `loss`, a single number, by every one of `parameters`.
///
/// The tape is consumed: a second call on the same loss fails. A parameter that the loss does not
/// depend on is an error naming it, since it would silently stay at its initial value.
pub fn backward(loss: &Value, parameters: &NamedParameters) -> Result<NamedGradients> {
    let named = gradients_of(loss, loss.tensor.ones_like()?)?;
    for name in parameters.names() {
        if !named.contains_key(name) {
            return Err(Error::failed(format!("no gradient reaches the parameter `{name}`"))
                .with_hint("it takes no part in the loss: a bug in the model or in an op"));
        }
    }
    Ok(NamedGradients(named))
}

/// The gradients that `gradient` of `output` comes to, by the names of the leaves.
fn gradients_of(output: &Value, gradient: Tensor) -> Result<BTreeMap<String, Tensor>> {
    let mut named = BTreeMap::new();
    let mut pending: BTreeMap<u64, (Rc<Node>, Tensor)> = BTreeMap::new();
    if let Some(node) = &output.node {
        pending.insert(node.order, (node.clone(), gradient));
    }
    while let Some((_, (node, gradient))) = pending.pop_last() {
        match &node.kind {
            Kind::Parameter(name) => match named.entry(name.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(gradient);
                }
                Entry::Occupied(mut entry) => {
                    let sum = cpu::add(entry.get(), &gradient)?;
                    entry.insert(sum);
                }
            },
            Kind::Operation { inputs, backward } => {
                let backward = backward
                    .borrow_mut()
                    .take()
                    .ok_or_else(|| Error::failed("the tape of this loss was used already"))?;
                let gradients = backward(&gradient)?;
                assert_eq!(gradients.len(), inputs.len(), "one gradient an input of the op");
                push(&mut pending, inputs, gradients)?;
            }
        }
    }
    Ok(named)
}

fn push(
    pending: &mut BTreeMap<u64, (Rc<Node>, Tensor)>,
    inputs: &[Option<Rc<Node>>],
    gradients: Vec<Option<Tensor>>,
) -> Result<()> {
    for (input, gradient) in inputs.iter().zip(gradients) {
        let (Some(input), Some(gradient)) = (input, gradient) else { continue };
        match pending.entry(input.order) {
            Entry::Vacant(entry) => {
                entry.insert((input.clone(), gradient));
            }
            Entry::Occupied(mut entry) => {
                let sum = cpu::add(&entry.get().1, &gradient)?;
                entry.get_mut().1 = sum;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn scalar(number: f64) -> Tensor {
        Tensor::new(&[number], &Device::Cpu).unwrap()
    }

    #[test]
    fn a_parameter_used_twice_gets_both_contributions() {
        let x = Value::parameter("x", &scalar(3.0), Form::Composed);
        let square = Value::composed(&[&x, &x], |inputs| &inputs[0] * &inputs[1]).unwrap();
        let parameters = NamedParameters::new([("x".to_owned(), scalar(3.0))].into());
        let gradients = backward(&square, &parameters).unwrap();
        assert_eq!(gradients.get("x").unwrap().to_vec1::<f64>().unwrap(), [6.0]);
    }

    #[test]
    fn a_parameter_out_of_reach_is_named() {
        let x = Value::parameter("x", &scalar(3.0), Form::Composed);
        let loss = Value::composed(&[&x], |inputs| &inputs[0] * 2.0).unwrap();
        let tensors = [("x".to_owned(), scalar(3.0)), ("lost.weight".to_owned(), scalar(1.0))];
        let error = backward(&loss, &NamedParameters::new(tensors.into())).unwrap_err();
        assert!(error.to_string().contains("`lost.weight`"), "{error}");
    }

    #[test]
    fn a_tape_is_used_once() {
        let x = Value::parameter("x", &scalar(3.0), Form::Composed);
        let loss = Value::composed(&[&x], |inputs| &inputs[0] * 2.0).unwrap();
        let parameters = NamedParameters::new([("x".to_owned(), scalar(3.0))].into());
        assert!(backward(&loss, &parameters).is_ok());
        assert!(backward(&loss, &parameters).is_err());
    }
}
