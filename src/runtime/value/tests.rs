//! What the tape promises.

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
