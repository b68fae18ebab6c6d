//! The operations of the model on arrays of a device: which kernels, on what grid, with which
//! arguments; those of attention's heads are in [`super::heads`].
//!
//! In → arrays; out → arrays, forward and backward. Each file of `runtime::ops` calls its own pair
//! and knows the tape; nothing here does. Gradients of parameters go to the parameter's own sum
//! ([`Array::sum`]) in fp32; those of activations are bf16. Where an input already has a gradient
//! from other ops (`with`), products and norms add theirs to it in the same launch.
//!
//! **Invariants.** Grids follow from shapes alone, so a kernel gives equal bits for equal inputs on
//! every GPU of one architecture; those of a product are its library's choice, by version and GPU
//! (`gemm`). Rows that a kernel reads with 16-byte instructions are a multiple of 8 elements wide,
//! which `runtime::model` checks before anything is placed on a device.

use super::driver::{Argument, Element, Factor, Product};
use super::memory::Array;
use super::table::{BIAS_BLOCK, NORM_ROWS, entry};
use crate::base::error::Result;

/// The arguments of a launch, in the kernel's order.
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => {
        vec![$($crate::runtime::cuda::driver::Argument::from($argument)),*]
    };
}
pub(crate) use arguments;

/// Elements that a thread of an element-wise kernel works on.
pub(super) const EIGHT: usize = 8;

pub(super) fn line(blocks: usize) -> [usize; 3] {
    [blocks, 1, 1]
}

/// The grid of the kernel `name` that has a thread for each of `pieces`.
pub(super) fn threads_of(name: &str, pieces: usize) -> [usize; 3] {
    line(pieces.div_ceil(entry(name).threads as usize))
}

/// Size of the last dimension.
pub(super) fn width(array: &Array) -> usize {
    *array.dims().last().expect("an array has a dimension")
}

fn factor(array: &Array, is_transposed: bool) -> Factor {
    assert_eq!(array.element(), Element::Bf16, "factors of a product are bf16");
    Factor { address: array.address(), is_transposed }
}

/// output = factor·a + b.
pub fn combined(a: &Array, b: Option<&Array>, factor: f32) -> Result<Array> {
    let output = a.like(a.dims())?;
    combine(a, b, &output, factor)?;
    Ok(output)
}

fn combine(a: &Array, b: Option<&Array>, output: &Array, factor: f32) -> Result<()> {
    let grid = threads_of("combine_two", a.count() / EIGHT);
    let given = arguments![a, b, output, a.count() as u64, factor];
    a.context().launch("combine_two", grid, given)
}

/// Copies numbers into an existing array.
pub fn copy(from: &Array, to: &Array) -> Result<()> {
    combine(from, None, to, 1.0)
}

/// The gradient, added to the one from other ops where there is one.
pub fn joined(gradient: Array, with: Option<Array>) -> Result<Array> {
    match with {
        Some(with) => combined(&gradient, Some(&with), 1.0),
        None => Ok(gradient),
    }
}

/// x [.., I] · weightᵀ of weight [O, I], plus `bias` of O where there is one: [.., O].
pub fn linear(x: &Array, weight: &Array, bias: Option<&Array>) -> Result<Array> {
    let (outputs, inputs) = (weight.dims()[0], weight.dims()[1]);
    let mut dims = x.dims().to_vec();
    *dims.last_mut().expect("x has dimensions") = outputs;
    let output = x.like(&dims)?;
    x.context().multiply(&Product {
        m: x.count() / inputs,
        n: outputs,
        k: inputs,
        left: factor(x, false),
        right: factor(weight, true),
        scale: 1.0,
        addend: None,
        bias: bias.map(Array::address),
        output: output.address(),
        element: Element::Bf16,
    })?;
    Ok(output)
}

/// Adds gradientᵀ · x to the sum of `weight`.
pub fn linear_to_weight(x: &Array, weight: &Array, gradient: &Array) -> Result<()> {
    let (outputs, inputs) = (weight.dims()[0], weight.dims()[1]);
    let sum = weight.sum().address();
    x.context().multiply(&Product {
        m: outputs,
        n: inputs,
        k: x.count() / inputs,
        left: factor(gradient, true),
        right: factor(x, false),
        scale: 1.0,
        addend: Some((sum, 1.0)),
        bias: None,
        output: sum,
        element: Element::F32,
    })
}

/// gradient · weight, of the shape `dims`, plus `with`.
pub fn linear_to_x(
    dims: &[usize],
    weight: &Array,
    gradient: &Array,
    with: Option<&Array>,
) -> Result<Array> {
    let output = gradient.like(dims)?;
    to_x(&output, weight, gradient, with)?;
    Ok(output)
}

/// The same without `with`, into an existing array.
pub fn linear_into_x(output: &Array, weight: &Array, gradient: &Array) -> Result<()> {
    to_x(output, weight, gradient, None)
}

fn to_x(output: &Array, weight: &Array, gradient: &Array, with: Option<&Array>) -> Result<()> {
    let (outputs, inputs) = (weight.dims()[0], weight.dims()[1]);
    gradient.context().multiply(&Product {
        m: output.count() / inputs,
        n: inputs,
        k: outputs,
        left: factor(gradient, false),
        right: factor(weight, false),
        scale: 1.0,
        addend: with.map(|with| (with.address(), 1.0)),
        bias: None,
        output: output.address(),
        element: Element::Bf16,
    })
}

/// The row width of the narrowest kernel that takes rows of `d` elements.
fn widest(d: usize) -> usize {
    let fits = [1024, 2048, 4096].into_iter().find(|widest| d <= *widest);
    fits.unwrap_or_else(|| panic!("no norm of {d} elements"))
}

/// Which norm.
#[derive(Clone, Copy, Debug)]
pub enum Norm {
    /// x / √(mean(x²) + ε) · weight.
    Rms,
    /// The same with 1 + weight.
    OnePlus,
    /// (x − mean) / √(variance + ε) · weight.
    Layer,
}

impl Norm {
    /// Its kernel of a pass over rows of `d` elements.
    fn name(self, pass: &str, d: usize) -> String {
        let kind = match self {
            Norm::Rms | Norm::OnePlus => "rms",
            Norm::Layer => "layer",
        };
        format!("{kind}_norm_{pass}_{}", widest(d))
    }

    /// The kernel's arguments after the sizes.
    fn constants(self, epsilon: f64) -> Vec<Argument> {
        match self {
            Norm::Rms => arguments![epsilon as f32, 0f32],
            Norm::OnePlus => arguments![epsilon as f32, 1f32],
            Norm::Layer => arguments![epsilon as f32],
        }
    }
}

/// The weight of a norm, and the bias of a LayerNorm that has one.
#[derive(Clone, Debug)]
pub struct Gains {
    pub weight: Array,
    pub bias: Option<Array>,
}

/// The norm of each run of as many elements as the weight has.
pub fn norm(kind: Norm, x: &Array, gains: &Gains, epsilon: f64) -> Result<Array> {
    let output = x.like(x.dims())?;
    norm_forward(kind, (x, None), gains, (None, &output), epsilon)?;
    Ok(output)
}

/// x + residual, and the norm of it, in one launch.
pub fn add_norm(
    kind: Norm,
    x: &Array,
    residual: &Array,
    gains: &Gains,
    epsilon: f64,
) -> Result<(Array, Array)> {
    let (sum, output) = (x.like(x.dims())?, x.like(x.dims())?);
    norm_forward(kind, (x, Some(residual)), gains, (Some(&sum), &output), epsilon)?;
    Ok((sum, output))
}

fn norm_forward(
    kind: Norm,
    (x, residual): (&Array, Option<&Array>),
    Gains { weight, bias }: &Gains,
    (sum, output): (Option<&Array>, &Array),
    epsilon: f64,
) -> Result<()> {
    let d = weight.count();
    let rows = x.count() / d;
    let mut given = arguments![x, residual, weight];
    match kind {
        Norm::Layer => given.push(bias.as_ref().into()),
        Norm::Rms | Norm::OnePlus => assert!(bias.is_none(), "an RMSNorm has no bias"),
    }
    given.extend(arguments![sum, output]);
    given.extend(arguments![rows as i32, d as i32]);
    given.extend(kind.constants(epsilon));
    let name = kind.name("forward", d);
    // One warp for each row.
    x.context().launch(&name, threads_of(&name, 32 * rows), given)
}

/// The gradient of x plus `with`; that of the weight goes to its sum where it is trained.
pub fn norm_backward(
    kind: Norm,
    (x, weight): (&Array, &Array),
    gradient: &Array,
    with: Option<&Array>,
    epsilon: f64,
    is_trained: bool,
) -> Result<Array> {
    let d = weight.count();
    let rows = x.count() / d;
    let (blocks, to_x) = (rows.div_ceil(NORM_ROWS), x.like(x.dims())?);
    let context = x.context();
    let parts = context.array(&[blocks, d], Element::F32)?;
    let mut given = arguments![x, weight, with, gradient, &to_x, &parts];
    given.extend(arguments![rows as i32, d as i32]);
    given.extend(kind.constants(epsilon));
    let name = kind.name("backward", d);
    context.launch_with(&name, line(blocks), norm_shared(d), given)?;
    if is_trained {
        add_parts(&parts, weight.sum())?;
    }
    Ok(to_x)
}

/// Bytes of shared memory of a norm's backward: a float for each of four warps and each element of
/// a row, whose length is rounded up to a multiple of 256.
pub fn norm_shared(d: usize) -> usize {
    4 * 4 * d.next_multiple_of(256)
}

/// Adds the sum of `parts` [count, width] to `sum`.
pub(super) fn add_parts(parts: &Array, sum: &Array) -> Result<()> {
    let (count, width) = (parts.dims()[0], parts.dims()[1]);
    let given = arguments![parts, sum, count as i32, width as i32, 1i32];
    parts.context().launch("sum_parts", line(width.div_ceil(32)), given)
}

/// x [.., width] plus `numbers` [width].
pub fn bias(x: &Array, numbers: &Array) -> Result<Array> {
    let (output, width) = (x.like(x.dims())?, numbers.count());
    let given = arguments![x, numbers, &output, (x.count() / width) as u64, width as i32];
    let grid = threads_of("bias_forward", x.count() / EIGHT);
    x.context().launch("bias_forward", grid, given)?;
    Ok(output)
}

/// Adds the gradient's rows to the sum of `numbers`.
pub fn bias_backward(numbers: &Array, gradient: &Array) -> Result<()> {
    let (context, width) = (gradient.context(), numbers.count());
    let rows = gradient.count() / width;
    let [tall, wide] = BIAS_BLOCK;
    let grid = [rows.div_ceil(tall), width.div_ceil(wide), 1];
    let parts = context.array(&[grid[0], width], Element::F32)?;
    let given = arguments![gradient, &parts, rows as i32, width as i32];
    context.launch("bias_backward", grid, given)?;
    add_parts(&parts, numbers.sum())
}

/// An activation of the feed-forward layer.
#[derive(Clone, Copy, Debug)]
pub enum Activation {
    SwiGlu,
    GeGlu,
    Relu2,
    Gelu,
}

impl Activation {
    fn name(self, pass: &str) -> String {
        let name = match self {
            Activation::SwiGlu => "swiglu",
            Activation::GeGlu => "geglu",
            Activation::Relu2 => "relu2",
            Activation::Gelu => "gelu",
        };
        format!("{name}_{pass}")
    }
}

/// The activation of z, times `up` where it is gated.
pub fn activation(kind: Activation, z: &Array, up: Option<&Array>) -> Result<Array> {
    let (output, width) = (z.like(z.dims())?, width(z));
    let rows = z.count() / width;
    let given = arguments![z, up, &output, rows as u64, width as i32, width as i32];
    let name = kind.name("forward");
    z.context().launch(&name, threads_of(&name, z.count() / EIGHT), given)?;
    Ok(output)
}

/// The gradients of z and of `up`.
pub fn activation_backward(
    kind: Activation,
    z: &Array,
    up: Option<&Array>,
    gradient: &Array,
) -> Result<(Array, Option<Array>)> {
    let (to_z, width) = (z.like(z.dims())?, width(z));
    let to_up = up.map(|up| up.like(up.dims())).transpose()?;
    let rows = z.count() / width;
    let mut given = arguments![z, up, gradient, &to_z, to_up.as_ref()];
    given.extend(arguments![rows as u64, width as i32, width as i32]);
    let name = kind.name("backward");
    z.context().launch(&name, threads_of(&name, z.count() / EIGHT), given)?;
    Ok((to_z, to_up))
}

/// Rows `ids` of `table` [V, d], in the shape `dims`.
pub fn embedding(table: &Array, ids: &Array, dims: &[usize]) -> Result<Array> {
    let (output, d) = (table.like(dims)?, table.dims()[1]);
    let given = arguments![table, ids, &output, ids.count() as u64, d as i32];
    let grid = threads_of("embedding_forward", output.count() / EIGHT);
    table.context().launch("embedding_forward", grid, given)?;
    Ok(output)
}

/// Rows `places` of x [.., d], as [places, d].
pub fn picked(x: &Array, places: &[u32]) -> Result<Array> {
    let d = width(x);
    let rows = x.part(0, &[x.count() / d, d]);
    embedding(&rows, &x.context().integers(places)?, &[places.len(), d])
}

/// An array of the shape `dims` with the rows of `gradient` [places, d] at the indices `places`,
/// zeros elsewhere.
pub fn spread(gradient: &Array, places: &[u32], dims: &[usize]) -> Result<Array> {
    let (d, context) = (width(gradient), gradient.context());
    // The rows, and behind them a row of zeros, which all other places read.
    let table = context.zeros(&[places.len() + 1, d], Element::Bf16)?;
    copy(gradient, &table.part(0, gradient.dims()))?;
    let rows = dims.iter().product::<usize>() / d;
    let mut sources = vec![places.len() as u32; rows];
    for (source, place) in (0..).zip(places) {
        sources[*place as usize] = source;
    }
    embedding(&table, &context.integers(&sources)?, dims)
}

/// Adds the gradient's rows to the sum of `table`; rows of equal ids in the order of tokens.
pub fn embedding_backward(table: &Array, ids: &[u32], gradient: &Array) -> Result<()> {
    let (context, d) = (table.context(), table.dims()[1]);
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|at| ids[*at as usize]);
    let mut starts: Vec<u32> = Vec::new();
    let mut distinct: Vec<u32> = Vec::new();
    for (at, token) in order.iter().enumerate() {
        let id = ids[*token as usize];
        if distinct.last() != Some(&id) {
            starts.push(at as u32);
            distinct.push(id);
        }
    }
    starts.push(ids.len() as u32);
    let count = distinct.len();
    let whole = [order, starts, distinct].concat();
    let bytes: Vec<u8> = whole.iter().flat_map(|number| number.to_le_bytes()).collect();
    let sent = context.given(&[whole.len()], Element::I32, &bytes)?;
    let (order, starts) = (sent.part(0, &[ids.len()]), sent.part(ids.len(), &[count + 1]));
    let distinct = sent.part(ids.len() + count + 1, &[count]);
    let sum = table.sum();
    let given = arguments![gradient, &order, &starts, &distinct, sum, count as i32, d as i32];
    let grid = [count.div_ceil(4), d.div_ceil(256), 1];
    context.launch("embedding_backward", grid, given)
}

/// How logits become a loss.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// Rows of the head that stand for tokens.
    pub vocabulary: usize,
    /// c of c·tanh(logit/c); 0: none.
    pub softcap: f64,
    pub z_loss: f64,
    /// What the sum of losses is multiplied by.
    pub scale: f64,
}

/// Writes nats and log-sums of each row of `logits` [rows, Vₚ]; with `writes`, replaces the logits
/// by their gradient.
pub fn cross_entropy(
    logits: &Array,
    targets: &Array,
    [nats, log_sums]: [&Array; 2],
    loss: Loss,
    writes: bool,
) -> Result<()> {
    let (rows, stride) = (logits.dims()[0], logits.dims()[1] as i32);
    let Loss { vocabulary, softcap, z_loss, scale } = loss;
    let mut given = arguments![logits, targets, nats, log_sums, vocabulary as i32, stride];
    given.extend(arguments![scale as f32, z_loss as f32, softcap as f32, i32::from(writes)]);
    logits.context().launch("cross_entropy_rows", line(rows), given)
}

/// Dropout of x [tokens.., width], drawn from the tokens' `keys`.
pub fn dropout(x: &Array, keys: &Array, threshold: u16, keep: f32) -> Result<Array> {
    let (output, tokens) = (x.like(x.dims())?, keys.count());
    let width = x.count() / tokens;
    let mut given = arguments![x, &output, keys, tokens as u64, width as i32];
    given.extend(arguments![u32::from(threshold), keep]);
    let grid = threads_of("dropout_apply", x.count() / EIGHT);
    x.context().launch("dropout_apply", grid, given)?;
    Ok(output)
}
