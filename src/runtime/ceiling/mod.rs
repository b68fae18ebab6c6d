//! What a training step takes on a GPU at best, from formulas: no GPU is asked, none is needed.
//!
//! In → a shape, a batch, the name of a GPU; out → [`Plan`]: every kernel and product of a step
//! with the bytes it moves, its operations on the tensor cores, and its time where the one of the
//! two that takes longer runs at the GPU's ceiling; their sum, tokens a second, MFU, and the memory
//! a step holds. [`Occupancy`]: how many blocks of a kernel stand on a multiprocessor at once.
//!
//! | module | holds |
//! |---|---|
//! | `gpus` | the ceilings of each GPU, with their source |
//! | `launches` | threads, registers and shared memory by kernel, and what follows for occupancy |
//! | `costs` | bytes and operations of a step, by kernel |
//! | `plan` | both together, and memory |
//! | `shapes` | the shapes of `configs/model/`, by name |
//!
//! **Method.** A roofline (Williams, Waterman and Patterson, 2009), launch by launch: no cache is
//! counted but what a kernel's head says of it, no launch overhead, no gaps. What is measured is
//! slower; how much slower says which kernel to look at first. **Invariant.** The formulas are
//! those in the heads of `kernels/*.cu`, and the launches those that a step makes: tests hold both.

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
