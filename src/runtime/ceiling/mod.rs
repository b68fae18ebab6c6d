//! The best possible time of a training step on a GPU, from formulas: no GPU is needed.
//!
//! In → a shape, a batch, the name of a GPU; out → [`Plan`]: every kernel and product of a step
//! with the bytes it moves, its operations on the tensor cores, and its time if the slower of the
//! two runs at the GPU's ceiling; their sum, tokens a second, MFU, and the memory a step holds.
//! [`Occupancy`]: how many blocks of a kernel are resident on a multiprocessor at once.
//!
//! | module | holds |
//! |---|---|
//! | `gpus` | the ceilings of each GPU, with their source |
//! | `launches` | threads, registers and shared memory by kernel, and what follows for occupancy |
//! | `costs` | bytes and operations of a step, by kernel |
//! | `plan` | both together, and memory |
//! | `shapes` | the shapes of `configs/model/`, by name |
//!
//! **Method.** A roofline (Williams, Waterman and Patterson, 2009), launch by launch: caches count
//! only where a kernel's head says so; no launch overhead, no gaps. A measured step is slower; how
//! much slower says which kernel to look at first. **Invariant.** The formulas are those in the
//! heads of `kernels/*.cu`, and the launches those that a step makes: tests check both.

mod costs;
mod gpus;
mod launches;
mod plan;
mod shapes;

pub use costs::{Batch, Op, Optimizer, Work, ops};
pub use gpus::{GPUS, Gpu, Limits};
pub use launches::{Kernel, Occupancy, kernels};
pub use plan::{Asked, Held, Plan, Row};
pub use shapes::{SHAPES, Shape};
