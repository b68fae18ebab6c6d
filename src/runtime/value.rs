//! Values: tensors with a tape behind them, and gradients by parameter name.
//!
//! In → candle tensors; out → [`NamedGradients`]. A [`Value`] is deliberately no candle tensor: a
//! plain candle call on an activation would compute the right number and silently lose its
//! gradient, so only `runtime::ops` can reach the tensor inside, and each op defines its backward.
//!
//! **Method.** Reverse mode (Griewank and Walther, *Evaluating Derivatives*, 2008, chapter 3). Each
//! op adds a node holding its inputs' nodes and a closure from the gradient of its result to those
//! of its inputs. Nodes are numbered as they are made, so every consumer has a higher number than
//! what it reads: the backward pass takes the highest pending node, whose gradient is complete.
//! A closure is consumed by its call, so saved tensors are freed as the pass goes, and the first
//! gradient of a node is moved in, not added to zeros. An op may take the gradient that an input
//! already has from other ops and add to it, in place where nothing else holds that memory
//! ([`Value::adding`]). A parameter's gradient from earlier parts of a batch is such a sum too
//! ([`GradientSums`]).
//!
//! **On a GPU** a value holds an [`Array`] instead of a tensor, the tape is the same, and ops have
//! a branch for it: their backward gets the gradients that their inputs have from other ops and
//! adds to them in the same launch; gradients of parameters are summed where the parameters live.
//!
//! A sum on a device is computed only when it is read, so that a norm that reads it first can
//! compute it in its own launch ([`Value::added`]).
//!
//! **Invariants.** Contributions to one gradient are added in a fixed order; every trainable
//! parameter gets a gradient, or [`GradientSums::add`] names it. **Cost.** Nothing beyond the ops
//! themselves.

mod gradient;
mod pass;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use candle_core::{DType, Device, Tensor, Var};

use crate::base::error::Result;
use crate::runtime::cuda::calls;
use crate::runtime::cuda::memory::Array;
pub use crate::runtime::named::{NamedGradients, NamedParameters};
pub(in crate::runtime) use gradient::{Addend, Before, Pull, addends, pulls};
use gradient::{Backward, Gradient};
use pass::{ByName, gradients_of, on_host, pulled};
pub use pass::{GradientSums, backward};

/// Which form of each op runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Our own kernels where the op has one for the device and type.
    #[default]
    Fused,
    /// As `Fused`, with the factors of matrix products rounded to bf16; all else stays f32.
    Bf16,
    /// Plain candle operations with candle's own gradient: the definition of right, and slow.
    Composed,
}

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

/// What a value holds.
#[derive(Clone)]
enum Data {
    Host(Tensor),
    Device(Array),
    /// A sum of two arrays of these dimensions, computed when somebody reads it.
    Added(Vec<usize>, Rc<RefCell<Added>>),
    /// A number that is a sum over an array, computed when somebody asks for it.
    Sum(Array, Rc<dyn Fn() -> Result<f64>>),
}

/// A sum on a device, before and after it is computed.
enum Added {
    Parts([Array; 2]),
    Whole(Array),
}

/// A tensor that remembers how it was made, where a gradient must flow back through it.
#[derive(Clone)]
pub struct Value {
    data: Data,
    node: Option<Rc<Node>>,
    form: Form,
}

impl Value {
    /// A value that no gradient reaches.
    pub fn constant(tensor: &Tensor, form: Form) -> Value {
        Value { data: Data::Host(tensor.clone()), node: None, form }
    }

    /// The same on a device.
    pub fn constant_on_device(array: Array) -> Value {
        Value { data: Data::Device(array), node: None, form: Form::Fused }
    }

    /// A trainable leaf; its gradient comes out of [`backward`] under `name`.
    pub fn parameter(name: &str, tensor: &Tensor, form: Form) -> Value {
        let node = Some(Node::new(Kind::Parameter(name.to_owned())));
        Value { data: Data::Host(tensor.clone()), node, form }
    }

    /// The same on a device, where the array is in bf16 and carries the sum of its gradients.
    pub fn parameter_on_device(name: &str, array: Array) -> Value {
        let node = Some(Node::new(Kind::Parameter(name.to_owned())));
        Value { data: Data::Device(array), node, form: Form::Fused }
    }

    /// Sizes of the dimensions, outermost first.
    pub fn dims(&self) -> &[usize] {
        match &self.data {
            Data::Host(tensor) => tensor.dims(),
            Data::Device(array) => array.dims(),
            Data::Added(dims, _) => dims,
            Data::Sum(..) => &[],
        }
    }

    /// The number in a value of one element.
    pub fn scalar(&self) -> Result<f64> {
        if let Data::Sum(_, sum) = &self.data {
            return sum();
        }
        Ok(self.read()?.flatten_all()?.to_dtype(DType::F64)?.get(0)?.to_scalar::<f64>()?)
    }

    /// The tensor, cut off from the tape: for reading results, never for computing on.
    ///
    /// # Panics
    /// On a device: there reading can fail, so use [`Value::read`].
    pub fn detached(&self) -> Tensor {
        self.tensor().detach()
    }

    /// The same, copied to the host in f32 where it is on a device.
    pub fn read(&self) -> Result<Tensor> {
        match &self.data {
            Data::Host(tensor) => Ok(tensor.detach()),
            _ => {
                let array = self.behind()?;
                Ok(Tensor::from_vec(array.numbers()?, array.dims(), &Device::Cpu)?)
            }
        }
    }

    /// The last `count` rows of [1, T, d] on a device, cut off from the tape.
    ///
    /// # Panics
    /// On the host.
    pub(in crate::runtime) fn last_rows(&self, count: usize) -> Result<Value> {
        let array = self.array()?.expect("rows of a value on a device");
        let (rows, width) = (array.dims()[1], array.dims()[2]);
        let rows = array.part((rows - count) * width, &[1, count, width]);
        Ok(Value::constant_on_device(rows))
    }

    /// The tensor inside, for ops only.
    pub(in crate::runtime) fn tensor(&self) -> &Tensor {
        match &self.data {
            Data::Host(tensor) => tensor,
            _ => panic!("an operation of the host was given a value {:?} on a device", self.dims()),
        }
    }

    /// The array inside, for the device branch of ops only; a sum not computed yet is computed.
    fn array(&self) -> Result<Option<Array>> {
        match &self.data {
            Data::Device(array) => Ok(Some(array.clone())),
            Data::Added(_, sum) => {
                let mut sum = sum.borrow_mut();
                let whole = match &*sum {
                    Added::Whole(array) => return Ok(Some(array.clone())),
                    Added::Parts([one, other]) => calls::combined(one, Some(other), 1.0)?,
                };
                *sum = Added::Whole(whole.clone());
                Ok(Some(whole))
            }
            Data::Host(_) | Data::Sum(..) => Ok(None),
        }
    }

    /// The arrays inside, where the first of `inputs` is on a device.
    ///
    /// # Panics
    /// Where the others are not.
    pub(in crate::runtime) fn arrays<const N: usize>(
        inputs: [&Value; N],
    ) -> Result<Option<[Array; N]>> {
        let mut arrays = Vec::with_capacity(N);
        for value in inputs {
            match value.array()? {
                None if arrays.is_empty() => return Ok(None),
                array => arrays.push(array.expect("all inputs of an op are on a device")),
            }
        }
        Ok(Some(arrays.try_into().expect("as many arrays as inputs")))
    }

    /// The array of a value on a device; for a number, the array that it is summed over.
    ///
    /// # Panics
    /// On the host.
    fn behind(&self) -> Result<Array> {
        match &self.data {
            Data::Sum(array, _) => Ok(array.clone()),
            _ => Ok(self.array()?.expect("a value on a device")),
        }
    }

    /// The parts of a sum on a device that is not computed yet.
    pub(in crate::runtime) fn parts(&self) -> Option<[Array; 2]> {
        let Data::Added(_, sum) = &self.data else { return None };
        match &*sum.borrow() {
            Added::Parts(parts) => Some(parts.clone()),
            Added::Whole(_) => None,
        }
    }

    /// Sets `whole`, which another op has computed, as the sum of the parts.
    ///
    /// # Panics
    /// On a value that is not a sum on a device.
    pub(in crate::runtime) fn take_whole(&self, whole: Array) {
        let Data::Added(_, sum) = &self.data else { panic!("{:?} is no sum", self.dims()) };
        *sum.borrow_mut() = Added::Whole(whole);
    }

    /// Whether a gradient flows back through this value.
    pub(in crate::runtime) fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// Whether matrix products round it to bf16.
    pub(in crate::runtime) fn in_bf16(&self) -> bool {
        self.form == Form::Bf16
    }

    /// Whether all of `inputs` ask for fused forms and are f32 on the CPU, which those need.
    pub(in crate::runtime) fn fused_on_cpu(inputs: &[&Value]) -> bool {
        inputs.iter().all(|value| {
            value.form != Form::Composed
                && value.tensor().dtype() == DType::F32
                && value.tensor().device().is_cpu()
        })
    }

    /// The result of an op: `backward` maps its gradient to one for each input, in their order.
    pub(in crate::runtime) fn result(
        tensor: Tensor,
        inputs: &[&Value],
        backward: impl FnOnce(&Tensor) -> Result<Vec<Option<Tensor>>> + 'static,
    ) -> Value {
        Value::made(Data::Host(tensor), inputs, || Backward::Host(Box::new(backward)))
    }

    /// The same, but `backward` also gets the gradient that each input already has from other ops,
    /// and returns the sums.
    pub(in crate::runtime) fn adding(
        tensor: Tensor,
        inputs: &[&Value],
        backward: impl FnOnce(&Tensor, Before) -> Result<Vec<Option<Addend>>> + 'static,
    ) -> Value {
        Value::made(Data::Host(tensor), inputs, || Backward::Adding(Box::new(backward)))
    }

    /// The result of an op on a device.
    pub(in crate::runtime) fn on_device(
        array: Array,
        inputs: &[&Value],
        backward: impl FnOnce(&Array, Vec<Option<Array>>) -> Result<Vec<Pull>> + 'static,
    ) -> Value {
        Value::made(Data::Device(array), inputs, || Backward::Device(Box::new(backward)))
    }

    /// The sum of two arrays, computed by whatever reads it first.
    pub(in crate::runtime) fn added(
        parts: [Array; 2],
        inputs: &[&Value],
        backward: impl FnOnce(&Array, Vec<Option<Array>>) -> Result<Vec<Pull>> + 'static,
    ) -> Value {
        let dims = parts[0].dims().to_vec();
        let data = Data::Added(dims, Rc::new(RefCell::new(Added::Parts(parts))));
        Value::made(data, inputs, || Backward::Device(Box::new(backward)))
    }

    /// The two results of an op on a device; `backward` is called once, with the gradients of both.
    ///
    /// # Panics
    /// In the backward pass, if only one of them contributes to the loss.
    pub(in crate::runtime) fn two_on_device(
        arrays: [Array; 2],
        inputs: &[&Value],
        backward: impl FnOnce([Array; 2], Vec<Option<Array>>) -> Result<Vec<Pull>> + 'static,
    ) -> [Value; 2] {
        // The op's node has a lower number than those of its results, so both have left their
        // gradients here before its turn comes; the gradient on the tape only triggers it.
        let gradients: Rc<[RefCell<Option<Array>>; 2]> = Rc::default();
        let found = gradients.clone();
        let op = Value::on_device(arrays[0].clone(), inputs, move |_, with| {
            let found = [0, 1].map(|at| found[at].take().expect("both results take part"));
            backward(found, with)
        });
        let [one, other] = arrays;
        [(0, one), (1, other)].map(|(at, array)| {
            let gradients = gradients.clone();
            Value::on_device(array, &[&op], move |gradient, _| {
                gradients[at].replace(Some(gradient.clone()));
                Ok(vec![Pull::Array(gradient.clone())])
            })
        })
    }

    /// The result of an op on a device that is one number: `sum` computes it from `array`, which
    /// `backward` gets in place of the gradient 1.
    pub(in crate::runtime) fn sum_on_device(
        array: Array,
        sum: impl Fn() -> Result<f64> + 'static,
        inputs: &[&Value],
        backward: impl FnOnce(&Array, Vec<Option<Array>>) -> Result<Vec<Pull>> + 'static,
    ) -> Value {
        let data = Data::Sum(array, Rc::new(sum));
        Value::made(data, inputs, || Backward::Device(Box::new(backward)))
    }

    fn made(data: Data, inputs: &[&Value], backward: impl FnOnce() -> Backward) -> Value {
        let form = inputs.first().map(|value| value.form).unwrap_or_default();
        if !inputs.iter().any(|value| value.is_tracked()) {
            return Value { data, node: None, form };
        }
        let inputs = inputs.iter().map(|value| value.node.clone()).collect();
        let backward = RefCell::new(Some(backward()));
        let node = Some(Node::new(Kind::Operation { inputs, backward }));
        Value { data, node, form }
    }

    /// The result of `forward` on `inputs`, of which the tape keeps only the inputs: the backward
    /// pass runs `forward` again and goes back through it at once.
    ///
    /// # Panics
    /// Where the result is a number on a device, which can only be the end of a tape.
    pub(in crate::runtime) fn recomputed(
        inputs: &[&Value],
        forward: impl Fn(&[Value]) -> Result<Value> + 'static,
    ) -> Result<Value> {
        let leaf = |value: &Value, node| Value { data: value.data.clone(), node, form: value.form };
        let saved: Vec<Value> = inputs.iter().map(|value| leaf(value, None)).collect();
        let tracked: Vec<bool> = inputs.iter().map(|value| value.is_tracked()).collect();
        let output = forward(&saved)?.data;
        // `sums`: the gradients that inputs have from other ops, by the index of the input.
        let again = move |gradient: Gradient, mut sums: ByName| -> Result<_> {
            let parameter = |at: usize| Node::new(Kind::Parameter(at.to_string()));
            let node = |at: usize| tracked[at].then(|| parameter(at));
            let leaves: Vec<Value> =
                (0..saved.len()).map(|at| leaf(&saved[at], node(at))).collect();
            let mut found = gradients_of(&forward(&leaves)?, gradient, &mut sums)?;
            found.append(&mut sums);
            Ok((0..saved.len()).map(move |at| found.remove(&at.to_string())))
        };
        match output {
            Data::Host(tensor) => Ok(Value::adding(tensor, inputs, move |gradient, before| {
                let before = before.into_iter().enumerate();
                let sums =
                    before.filter_map(|(at, it)| Some((at.to_string(), Gradient::Host(it?))));
                let found = again(Gradient::shared(gradient.clone()), sums.collect())?;
                Ok(found.map(on_host).collect())
            })),
            Data::Sum(..) => panic!("a number on a device is not made again"),
            data => Ok(Value::made(data, inputs, || {
                Backward::Device(Box::new(move |gradient, with| {
                    let found = again(Gradient::Device(gradient.clone()), ByName::new())?;
                    found.zip(with).map(|(found, with)| pulled(found, with)).collect()
                }))
            })),
        }
    }

    /// An op out of plain candle calls, with candle's own gradient: the reference form of every op.
    pub(in crate::runtime) fn composed(
        inputs: &[&Value],
        function: impl FnOnce(&[Tensor]) -> candle_core::Result<Tensor>,
    ) -> Result<Value> {
        let mut tensors = Vec::with_capacity(inputs.len());
        for value in inputs {
            let tensor = value.tensor().detach();
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

impl NamedParameters {
    /// The parameter called `name` as a leaf of one pass.
    ///
    /// # Panics
    /// Where there is none.
    pub fn leaf(&self, name: &str, form: Form, is_trained: bool) -> Value {
        if let Some(resident) = &self.resident {
            let array = resident.parameter(name, is_trained);
            return match is_trained {
                true => Value::parameter_on_device(name, array),
                false => Value::constant_on_device(array),
            };
        }
        match is_trained {
            true => Value::parameter(name, &self.tensors[name], form),
            false => Value::constant(&self.tensors[name], form),
        }
    }
}

#[cfg(test)]
mod tests;
