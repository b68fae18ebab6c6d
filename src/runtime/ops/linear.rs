//! Linear map without bias: the matrix product with a weight of shape [outputs, inputs].
//!
//! In → x [.., I], weight [O, I]; out → x · weightᵀ [.., O]. Backward: dx = g · weight,
//! dweight = gᵀ · x: one product forward and one for each gradient. Where x already has a gradient
//! from another map, or the weight one from an earlier part of the batch, the product adds to it.
//! Nothing is transposed in memory, since the kernel packs its operands anyway. A single row of
//! f32, as in generation, has a kernel of its own ([`mod@crate::runtime::matvec`]). `Form::Bf16`
//! rounds both factors of each product.

use super::{Case, OpSpec, normal};
use crate::base::error::Result;
use crate::runtime::cpu::{Elements, Matrix, Threads, product, tensor};
use crate::runtime::cuda::{calls, memory::Array};
use crate::runtime::matvec::{matvec, matvecs};
use crate::runtime::value::{Addend, Pull, Value, addends};

/// x · weightᵀ over the last dimension.
pub fn linear(x: &Value, weight: &Value) -> Result<Value> {
    let ([rows, inputs, outputs], shape) = sizes(x, weight);
    if let Some([array, matrix]) = Value::arrays([x, weight])? {
        return on_device((x, array), (weight, matrix), None);
    }
    if !Value::fused_on_cpu(&[x, weight]) {
        return Value::composed(&[x, weight], |tensors| {
            tensors[0].reshape((rows, inputs))?.matmul(&tensors[1].t()?)?.reshape(shape)
        });
    }
    let in_bf16 = weight.in_bf16();
    let output = {
        let (x, weight) = (Elements::of(x.tensor())?, Elements::of(weight.tensor())?);
        if rows == 1 && !in_bf16 {
            let mut output = vec![0.0; outputs];
            matvec(&mut output, &weight, &x);
            output
        } else {
            let weight = Matrix::new(&weight, outputs, inputs, inputs).t().rounded(in_bf16);
            let x = Matrix::new(&x, rows, inputs, inputs).rounded(in_bf16);
            product(x, weight, Threads::All)
        }
    };
    let saved = (x.tensor().clone(), weight.tensor().clone());
    let (x_tracked, weight_tracked) = (x.is_tracked(), weight.is_tracked());
    Ok(Value::adding(tensor(output, shape)?, &[x, weight], move |gradient, before| {
        let [x_before, weight_before] = addends(before);
        let gradient = gradient.contiguous()?;
        let (x, weight) = (Elements::of(&saved.0)?, Elements::of(&saved.1)?);
        let gradient = Elements::of(&gradient)?;
        let gradient = Matrix::new(&gradient, rows, outputs, outputs).rounded(in_bf16);
        let to_weight = match weight_tracked {
            true => {
                let x = Matrix::new(&x, rows, inputs, inputs).rounded(in_bf16);
                let dims = [outputs, inputs];
                Some(Addend::plus_product(weight_before, gradient.t(), x, &dims)?)
            }
            false => None,
        };
        if !x_tracked {
            return Ok(vec![None, to_weight]);
        }
        let weight = Matrix::new(&weight, outputs, inputs, inputs).rounded(in_bf16);
        let to_x = Addend::plus_product(x_before, gradient, weight, saved.0.dims())?;
        Ok(vec![Some(to_x), to_weight])
    }))
}

/// x · weightᵀ + bias over the last dimension; on a device the product adds the bias.
pub fn linear_biased(x: &Value, weight: &Value, bias: &Value) -> Result<Value> {
    if let Some([array, matrix, numbers]) = Value::arrays([x, weight, bias])? {
        return on_device((x, array), (weight, matrix), Some((bias, numbers)));
    }
    super::bias(&linear(x, weight)?, bias)
}

/// One product forward, two backward; that for x adds to the gradient x has from other ops.
fn on_device(
    (x, array): (&Value, Array),
    (weight, matrix): (&Value, Array),
    bias: Option<(&Value, Array)>,
) -> Result<Value> {
    let (bias, numbers) = bias.unzip();
    let output = calls::linear(&array, &matrix, numbers.as_ref())?;
    let (x_tracked, is_trained) = (x.is_tracked(), weight.is_tracked());
    let trained_bias = numbers.filter(|_| bias.is_some_and(Value::is_tracked));
    let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
    let count = inputs.len();
    Ok(Value::on_device(output, &inputs, move |gradient, with| {
        let mut pulls = vec![Pull::None, Pull::None];
        if let Some(numbers) = &trained_bias {
            calls::bias_backward(numbers, gradient)?;
            pulls.push(Pull::Summed);
        }
        pulls.resize_with(count, || Pull::None);
        if is_trained {
            calls::linear_to_weight(&array, &matrix, gradient)?;
            pulls[1] = Pull::Summed;
        }
        if x_tracked {
            let with = with.into_iter().next().flatten();
            let to_x = calls::linear_to_x(array.dims(), &matrix, gradient, with.as_ref())?;
            pulls[0] = Pull::Array(to_x);
        }
        Ok(pulls)
    }))
}

/// [`linear`] for a few rows that belong to separate texts: each row has the same bits as if it
/// were computed alone. No gradient flows back through it.
pub fn linear_apart(x: &Value, weight: &Value) -> Result<Value> {
    let ([rows, _, outputs], shape) = sizes(x, weight);
    if rows == 1 || !Value::fused_on_cpu(&[x, weight]) {
        return linear(x, weight);
    }
    assert!(!x.is_tracked() && !weight.is_tracked(), "texts are written, not trained on");
    let mut output = vec![0.0; rows * outputs];
    {
        let (x, weight) = (Elements::of(x.tensor())?, Elements::of(weight.tensor())?);
        matvecs(&mut output, &weight, &x, rows);
    }
    Ok(Value::result(tensor(output, shape)?, &[x, weight], |_| Ok(vec![None, None])))
}

/// Rows, inputs, outputs, and the dimensions of the product.
fn sizes(x: &Value, weight: &Value) -> ([usize; 3], Vec<usize>) {
    let (outputs, inputs) = (weight.dims()[0], weight.dims()[1]);
    let mut dims = x.dims().to_vec();
    let last = dims.last_mut().expect("x has dimensions");
    assert_eq!(*last, inputs, "the last dimension of x is the weight's inputs");
    *last = outputs;
    ([x.dims().iter().product::<usize>() / inputs, inputs, outputs], dims)
}

/// This op's row in the table.
pub const SPEC: OpSpec = OpSpec { name: "linear", cases, tolerance: 2e-5 };

fn cases() -> Vec<Case> {
    let run = |inputs: &[Value]| linear(&inputs[0], &inputs[1]);
    vec![
        Case::new("tokens", vec![normal("x", &[2, 5, 12]), normal("weight", &[9, 12])], run),
        Case::new("one row", vec![normal("x", &[1, 33]), normal("weight", &[18, 33])], run),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ops::add;
    use crate::runtime::value::{Form, NamedParameters, backward};
    use candle_core::{Device, Tensor};

    /// Gradients of a sum over x + x·b + x·a, where the result's gradient goes to three at once.
    fn gradients(form: Form) -> Vec<Vec<f32>> {
        let tensors =
            [("x", [5, 600]), ("a", [600, 600]), ("b", [600, 600])].map(|(name, dims)| {
                let numbers: Vec<f32> =
                    normal(name, &dims).numbers.iter().map(|&x| x as f32).collect();
                (name.to_owned(), Tensor::from_vec(numbers, &dims, &Device::Cpu).unwrap())
            });
        let [x, a, b] = tensors.clone().map(|(name, it)| Value::parameter(&name, &it, form));
        let one = linear(&x, &a).unwrap();
        let other = add(&x, &linear(&x, &b).unwrap()).unwrap();
        let output =
            Value::composed(&[&add(&other, &one).unwrap()], |inputs| inputs[0].sqr()?.sum_all());
        let found = backward(&output.unwrap(), &NamedParameters::new(tensors.into())).unwrap();
        let numbers = found.iter().map(|(_, it)| it.flatten_all().unwrap().to_vec1().unwrap());
        numbers.collect()
    }

    #[test]
    fn an_input_of_several_maps_has_their_sum_and_no_other_gradient_is_changed() {
        for (found, expected) in gradients(Form::Fused).iter().zip(gradients(Form::Composed)) {
            let scale = expected.iter().fold(0.0f32, |scale, x| scale.max(x.abs()));
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-5 * scale, "{found} {expected}");
            }
        }
    }
}
