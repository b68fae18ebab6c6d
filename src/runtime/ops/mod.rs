//! The operations of the model: one file an op, one row a file in [`OPS`].
//!
//! In → [`Value`]s; out → a [`Value`] whose tape entry knows its gradient. Each file holds the
//! `composed` form (plain candle calls with candle's own gradient: the definition of right, for any
//! device and type), a fused CPU form for f32 with its own backward, and the cases both must agree
//! on. The form is chosen by the values (`value::Form`), so the model does not say which runs.
//!
//! **Adding an op** is one file and one row; the conformance tests below walk the table: gradients
//! of the composed form against central differences in f64, value and gradients of the fused form
//! against the composed one, and the same call twice for the same bits.

pub mod add;
pub mod attention;
pub mod bias;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod geglu;
pub mod gelu;
pub mod layer_norm;
pub mod linear;
pub mod pick;
pub mod place;
pub mod relu2;
pub mod rms_norm;
pub mod rope;
pub mod scale;
pub mod swiglu;

pub use add::add;
pub use attention::{Visible, attention};
pub use bias::bias;
pub use cross_entropy::{Head, cross_entropy, nats};
pub use dropout::{Noise, dropout, threshold};
pub use embedding::embedding;
pub use geglu::geglu;
pub use gelu::gelu;
pub use layer_norm::{layer_norm, layer_norm_biased};
pub use linear::{linear, linear_apart, linear_biased};
pub use pick::pick;
pub use place::{HeadNorms, place};
pub use relu2::relu2;
pub use rms_norm::{Gain, rms_norm};
pub use rope::{RopeScaling, Rotation, Tables, rope};
pub use scale::scale;
pub use swiglu::swiglu;

use crate::base::error::Result;
use crate::base::rng::Stream;
use crate::runtime::cuda::calls::{self, Activation};
use crate::runtime::value::{Pull, Value, pulls};

/// The gated activation `kind` of `gate` and `up`; `None` where they are not on a device.
fn gated_on_device(kind: Activation, gate: &Value, up: &Value) -> Result<Option<Value>> {
    let Some([z, other]) = Value::arrays([gate, up])? else { return Ok(None) };
    let output = calls::activation(kind, &z, Some(&other))?;
    Ok(Some(Value::on_device(output, &[gate, up], move |gradient, with| {
        let (to_z, to_up) = calls::activation_backward(kind, &z, Some(&other), gradient)?;
        pulls([Some(to_z), to_up].into_iter().flatten(), with)
    })))
}

/// A norm of x with `weight`; `None` where they are not on a device. Where x is a sum that is not
/// computed yet, the norm's launch computes it too.
fn normed_on_device(
    kind: calls::Norm,
    x: &Value,
    weight: &Value,
    bias: Option<&Value>,
    epsilon: f64,
) -> Result<Option<Value>> {
    let Some([array]) = Value::arrays([weight])? else { return Ok(None) };
    let numbers = bias.map(|bias| Value::arrays([bias])).transpose()?.flatten();
    let gains = calls::Gains { weight: array, bias: numbers.map(|[numbers]| numbers) };
    let (array, output) = match x.parts() {
        Some([stream, branch]) => {
            let (sum, output) = calls::add_norm(kind, &stream, &branch, &gains, epsilon)?;
            x.take_whole(sum.clone());
            (sum, output)
        }
        None => {
            let [array] = Value::arrays([x])?.expect("a norm and its weight are in one place");
            let output = calls::norm(kind, &array, &gains, epsilon)?;
            (array, output)
        }
    };
    let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
    let trained: Vec<bool> = inputs[1..].iter().map(|it| it.is_tracked()).collect();
    Ok(Some(Value::on_device(output, &inputs, move |gradient, with| {
        if let (Some(numbers), Some(true)) = (&gains.bias, trained.get(1)) {
            calls::bias_backward(numbers, gradient)?;
        }
        let with = with.into_iter().next().flatten();
        let (of, with) = ((&array, &gains.weight), with.as_ref());
        let to_x = calls::norm_backward(kind, of, gradient, with, epsilon, trained[0])?;
        let pull = |is_trained: &bool| if *is_trained { Pull::Summed } else { Pull::None };
        Ok(std::iter::once(Pull::Array(to_x)).chain(trained.iter().map(pull)).collect())
    })))
}

/// One op as the conformance tests see it.
pub struct OpSpec {
    /// The op's file.
    pub name: &'static str,
    /// Small inputs that reach every branch.
    pub cases: fn() -> Vec<Case>,
    /// Largest |fused − composed| allowed in value and gradients, relative to the tensor's largest
    /// element: f32 sums in another order.
    pub tolerance: f64,
}

/// Calls an op on its differentiable inputs.
pub type Run = dyn Fn(&[Value]) -> Result<Value>;

/// One call of an op. Its inputs' form and type decide what runs.
pub struct Case {
    /// What sets it apart from the op's other cases.
    pub name: &'static str,
    /// The differentiable inputs.
    pub inputs: Vec<Input>,
    /// Calls the op on them.
    pub run: Box<Run>,
}

/// A named input and its numbers.
pub struct Input {
    /// The argument it is passed as.
    pub name: &'static str,
    /// Row-major numbers.
    pub numbers: Vec<f64>,
    /// Sizes of its dimensions.
    pub dims: Vec<usize>,
}

impl Case {
    /// A case from its parts.
    pub fn new(
        name: &'static str,
        inputs: Vec<Input>,
        run: impl Fn(&[Value]) -> Result<Value> + 'static,
    ) -> Case {
        Case { name, inputs, run: Box::new(run) }
    }
}

/// An input drawn from N(0, 1), the same for the same name.
pub fn normal(name: &'static str, dims: &[usize]) -> Input {
    let mut stream = Stream::new(0, name);
    let numbers = (0..dims.iter().product()).map(|_| stream.normal()).collect();
    Input { name, numbers, dims: dims.to_vec() }
}

/// Every op of the model.
pub const OPS: &[OpSpec] = &[
    add::SPEC,
    attention::SPEC,
    bias::SPEC,
    cross_entropy::SPEC,
    dropout::SPEC,
    embedding::SPEC,
    geglu::SPEC,
    gelu::SPEC,
    layer_norm::SPEC,
    linear::SPEC,
    pick::SPEC,
    place::SPEC,
    relu2::SPEC,
    rms_norm::SPEC,
    rope::SPEC,
    scale::SPEC,
    swiglu::SPEC,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::value::{Form, NamedGradients, NamedParameters, backward};
    use candle_core::{DType, Device, Tensor};

    /// Rounding error of bf16, half a unit in the last of its 8 bits, allowed for two factors and
    /// for what is computed from them.
    const ROUNDING: f64 = 5.0 / 256.0;

    fn values(inputs: &[Input], dtype: DType, form: Form) -> (Vec<Value>, NamedParameters) {
        let tensors: Vec<Tensor> = inputs
            .iter()
            .map(|input| {
                let tensor = Tensor::from_slice(&input.numbers, &*input.dims, &Device::Cpu);
                tensor.unwrap().to_dtype(dtype).unwrap()
            })
            .collect();
        let pairs = inputs.iter().zip(&tensors);
        let values = pairs.clone().map(|(i, t)| Value::parameter(i.name, t, form)).collect();
        let named = pairs.map(|(i, t)| (i.name.to_owned(), t.clone())).collect();
        (values, NamedParameters::new(named))
    }

    /// Σ wᵢ·yᵢ with fixed irregular weights: a number that every output element moves.
    fn weighted(output: &Value) -> Value {
        Value::composed(&[output], |tensors| {
            let count = tensors[0].elem_count();
            let weights: Vec<f64> =
                (0..count).map(|i| ((i * 37 + 11) % 23) as f64 - 10.5).collect();
            let weights = Tensor::from_vec(weights, tensors[0].dims(), &Device::Cpu)?;
            (&tensors[0] * weights.to_dtype(tensors[0].dtype())?)?.sum_all()
        })
        .unwrap()
    }

    fn evaluate(case: &Case, dtype: DType, form: Form) -> (Tensor, NamedGradients) {
        let (values, parameters) = values(&case.inputs, dtype, form);
        let output = (case.run)(&values).unwrap();
        let gradients = backward(&weighted(&output), &parameters).unwrap();
        (output.detached(), gradients)
    }

    fn numbers(tensor: &Tensor) -> Vec<f64> {
        tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    }

    fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
        assert_eq!(found.dims(), expected.dims(), "{what}");
        let (found, expected) = (numbers(found), numbers(expected));
        let scale = expected.iter().fold(1e-6f64, |scale, x| scale.max(x.abs()));
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let error = (found - expected).abs() / scale;
            assert!(error <= tolerance, "{what}[{i}]: {found} is not {expected}");
        }
    }

    #[test]
    fn gradients_of_composed_forms_are_the_slopes_of_their_values() {
        const STEP: f64 = 1e-5;
        for case in OPS.iter().flat_map(|op| (op.cases)()) {
            let (_, gradients) = evaluate(&case, DType::F64, Form::Composed);
            for at in 0..case.inputs.len() {
                let name = case.inputs[at].name;
                let gradient = numbers(gradients.get(name).unwrap());
                let scale = gradient.iter().fold(1.0f64, |scale, g| scale.max(g.abs()));
                // Every element of small inputs, a spread of large ones.
                for i in (0..gradient.len()).step_by(gradient.len() / 64 + 1) {
                    let mut ends = [0.0; 2];
                    for (end, sign) in ends.iter_mut().zip([1.0, -1.0]) {
                        let (mut inputs, _) = values(&case.inputs, DType::F64, Form::Composed);
                        let mut moved = case.inputs[at].numbers.clone();
                        moved[i] += sign * STEP;
                        let dims = &*case.inputs[at].dims;
                        let tensor = Tensor::from_vec(moved, dims, &Device::Cpu).unwrap();
                        inputs[at] = Value::constant(&tensor, Form::Composed);
                        *end = weighted(&(case.run)(&inputs).unwrap()).scalar().unwrap();
                    }
                    let slope = (ends[0] - ends[1]) / (2.0 * STEP);
                    let error = (slope - gradient[i]).abs() / scale;
                    assert!(error < 1e-6, "{}: d{name}[{i}] {slope} {}", case.name, gradient[i]);
                }
            }
        }
    }

    #[test]
    fn fused_forms_agree_with_composed_ones_in_value_and_gradient() {
        for op in OPS {
            for case in (op.cases)() {
                let (expected, slopes) = evaluate(&case, DType::F64, Form::Composed);
                let (found, gradients) = evaluate(&case, DType::F32, Form::Fused);
                let label = format!("{}, {}", op.name, case.name);
                assert_close(&found, &expected, op.tolerance, &label);
                for (name, slope) in slopes.iter() {
                    let label = format!("{label}: d{name}");
                    assert_close(gradients.get(name).unwrap(), slope, op.tolerance, &label);
                }
            }
        }
    }

    #[test]
    fn products_of_bf16_are_off_by_the_rounding_of_their_factors() {
        for op in OPS {
            for case in (op.cases)() {
                let (expected, slopes) = evaluate(&case, DType::F64, Form::Composed);
                let (found, gradients) = evaluate(&case, DType::F32, Form::Bf16);
                let label = format!("{}, {}", op.name, case.name);
                assert_close(&found, &expected, ROUNDING, &label);
                for (name, slope) in slopes.iter() {
                    let label = format!("{label}: d{name}");
                    assert_close(gradients.get(name).unwrap(), slope, ROUNDING, &label);
                }
                let again = evaluate(&case, DType::F32, Form::Bf16);
                assert_eq!(numbers(&found), numbers(&again.0), "{label}");
            }
        }
    }

    #[test]
    fn a_linear_map_of_numbers_that_bf16_holds_is_exact_in_bf16() {
        for mut case in (linear::SPEC.cases)() {
            for input in &mut case.inputs {
                let round = |x: &mut f64| *x = half::bf16::from_f64(*x).to_f64();
                input.numbers.iter_mut().for_each(round);
            }
            let (expected, slopes) = evaluate(&case, DType::F64, Form::Composed);
            let (found, gradients) = evaluate(&case, DType::F32, Form::Bf16);
            assert_close(&found, &expected, 1e-6, case.name);
            for (name, slope) in slopes.iter() {
                assert_close(gradients.get(name).unwrap(), slope, 1e-6, case.name);
            }
        }
    }

    #[test]
    fn the_same_call_twice_gives_the_same_bits() {
        for case in OPS.iter().flat_map(|op| (op.cases)()) {
            let (first, second) = (
                evaluate(&case, DType::F32, Form::Fused),
                evaluate(&case, DType::F32, Form::Fused),
            );
            assert_eq!(numbers(&first.0), numbers(&second.0), "{}", case.name);
            for (name, gradient) in first.1.iter() {
                assert_eq!(numbers(gradient), numbers(second.1.get(name).unwrap()), "{name}");
            }
        }
    }
}
