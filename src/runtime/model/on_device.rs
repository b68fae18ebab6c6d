//! Which shapes of a decoder run on a GPU, and moving their parameters there.
//!
//! In → a shape, parameters, a device; out → the parameters on that device. A shape that has no
//! kernel is refused here, before any work, by the key that is at fault.

use super::ModelConfig;
use super::knobs::Dtype;
use crate::base::error::{Error, Result};
use crate::runtime::device::Device;
use crate::runtime::ops::Tables;
use crate::runtime::value::NamedParameters;

/// The widest norm that has a kernel.
const WIDEST_NORM: usize = 4096;

/// The parameters on `device`, and what else the model keeps there.
pub fn placed(
    config: &ModelConfig,
    parameters: NamedParameters,
    device: &Device,
) -> Result<(NamedParameters, Option<Tables>)> {
    let Some(context) = device.context() else { return Ok((parameters, None)) };
    check(config)?;
    Ok((moved(parameters, device)?, Some(Tables::new(context))))
}

/// The parameters on `device`.
pub fn moved(parameters: NamedParameters, device: &Device) -> Result<NamedParameters> {
    match device.context() {
        Some(context) => parameters.placed_on(context),
        None => Ok(parameters),
    }
}

/// Refuses ranks whose rows are not whole 16-byte vectors, on a GPU.
pub fn check_rank(rank: usize, device: &Device) -> Result<()> {
    match device.context() {
        Some(_) if !rank.is_multiple_of(8) => {
            let message = format!("`lora.rank` has no kernel on a GPU for {rank}");
            Err(Error::config(message).with_hint("a multiple of 8, or `--device cpu`"))
        }
        _ => Ok(()),
    }
}

/// Refuses a shape that has no kernel, naming the key.
///
/// # Errors
/// Config: the shape has a part that only the CPU computes.
pub fn check(config: &ModelConfig) -> Result<()> {
    let h = config.head_dim();
    let faults = [
        (!matches!(h, 64 | 128), "d_head", format!("heads of {h} elements: 64 or 128")),
        (config.dtype == Dtype::F32, "dtype", "products of f32".to_owned()),
        (
            !config.d_model.is_multiple_of(8) || config.d_model > WIDEST_NORM,
            "d_model",
            format!("{} elements: a multiple of 8 up to {WIDEST_NORM}", config.d_model),
        ),
        (
            !config.d_ff.is_multiple_of(8),
            "d_ff",
            format!("{} elements: a multiple of 8", config.d_ff),
        ),
    ];
    match faults.into_iter().find(|(is_at_fault, ..)| *is_at_fault) {
        Some((_, key, what)) => {
            Err(Error::config(format!("`model.{key}` has no kernel on a GPU for {what}"))
                .with_hint("`--device cpu` runs every shape; docs/kernels.md lists the kernels"))
        }
        None => Ok(()),
    }
}
