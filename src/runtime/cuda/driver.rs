//! What a device does for us: memory, launches of kernels, products of matrices.
//!
//! In → addresses and launches; out → work that was queued, in order. Everything above this trait
//! is the same for a GPU (`gpu`) and for the host's machine of `tests/kernels/`, which runs the
//! kernels' own source with the very launches that come through here.
//!
//! **Invariants.** One queue: later work sees the results of earlier work. A launch fits its row of
//! [`super::table::ENTRIES`], or it is a bug and panics before it starts.

use std::fmt::Debug;

use super::table::{Entry, Width, entry};
use crate::base::error::Result;

/// An address in the device's memory.
pub type Address = u64;

/// A device.
pub trait Driver: Send + Sync + Debug {
    /// Allocates `bytes` of uninitialised memory, aligned to 256 bytes.
    fn allocate(&self, bytes: usize) -> Result<Address>;

    /// Frees memory once everything queued before has run.
    fn free(&self, address: Address);

    /// Fills memory with zeros.
    fn clear(&self, address: Address, bytes: usize) -> Result<()>;

    /// Copies to the device; `bytes` may be changed as soon as this returns.
    fn write(&self, address: Address, bytes: &[u8]) -> Result<()>;

    /// Waits for everything that was queued, and copies from the device.
    fn read(&self, address: Address, bytes: &mut [u8]) -> Result<()>;

    /// Queues a kernel.
    fn launch(&self, launch: &Launch) -> Result<()>;

    /// Queues a product of matrices.
    fn multiply(&self, product: &Product) -> Result<()>;

    /// What the bits of a run depend on: the kind of device, and the library for products.
    fn identity(&self) -> Identity;
}

/// The device and library that a run records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `cuda`, with the name and the generation of the device.
    pub device: String,
    /// Library for products of matrices, with its version.
    pub matmul: String,
}

/// One argument of a kernel, in the width that the kernel takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Argument {
    /// An address, or null.
    Pointer(Option<Address>),
    /// `int`, `uint32_t`, `float`.
    Four([u8; 4]),
    /// `size_t`, `uint64_t`.
    Eight([u8; 8]),
    /// `attention::Sizes`.
    Sizes([u8; 36]),
}

impl Argument {
    fn width(&self) -> Width {
        match self {
            Argument::Pointer(_) => Width::Pointer,
            Argument::Four(_) => Width::Four,
            Argument::Eight(_) => Width::Eight,
            Argument::Sizes(_) => Width::Sizes,
        }
    }
}

impl From<i32> for Argument {
    fn from(number: i32) -> Argument {
        Argument::Four(number.to_le_bytes())
    }
}

impl From<u32> for Argument {
    fn from(number: u32) -> Argument {
        Argument::Four(number.to_le_bytes())
    }
}

impl From<f32> for Argument {
    fn from(number: f32) -> Argument {
        Argument::Four(number.to_le_bytes())
    }
}

impl From<u64> for Argument {
    fn from(number: u64) -> Argument {
        Argument::Eight(number.to_le_bytes())
    }
}

/// One launch: a kernel, its grid and its arguments.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The kernel's row.
    pub entry: &'static Entry,
    /// Number of blocks in each dimension.
    pub grid: [u32; 3],
    /// Bytes of shared memory for each block.
    pub shared: u32,
    /// In the kernel's order.
    pub arguments: Vec<Argument>,
}

impl Launch {
    /// `name` on `grid` blocks; `shared`: bytes of shared memory if the kernel's row has none.
    ///
    /// # Panics
    /// If the arguments do not fit the kernel's row, shared memory is given twice or not at all, or
    /// the grid is out of range.
    pub fn new(
        name: &str,
        grid: [usize; 3],
        shared: Option<usize>,
        arguments: Vec<Argument>,
    ) -> Launch {
        let entry = entry(name);
        let widths: Vec<Width> = arguments.iter().map(Argument::width).collect();
        assert_eq!(widths, entry.arguments, "arguments of {name}");
        let shared = match (entry.shared, shared) {
            (Some(bytes), None) | (None, Some(bytes)) => bytes,
            (row, said) => panic!("shared bytes of {name}: {row:?} and {said:?}"),
        };
        let limits = [i32::MAX as usize, 65_535, 65_535];
        let fits = grid.iter().zip(limits).all(|(count, limit)| (1..=limit).contains(count));
        assert!(fits, "{name} cannot run on {grid:?} blocks");
        let grid = grid.map(|count| count as u32);
        Launch { entry, grid, shared: shared as u32, arguments }
    }
}

/// Type of a matrix's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    Bf16,
    F32,
    /// Integers of 32 bits.
    I32,
    /// Numbers or integers of 64 bits.
    Word64,
}

impl Element {
    /// Bytes of one element.
    pub fn width(self) -> usize {
        match self {
            Element::Bf16 => 2,
            Element::F32 | Element::I32 => 4,
            Element::Word64 => 8,
        }
    }
}

/// A factor of a product, rows one after the other in memory, in bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    pub address: Address,
    /// Whether memory holds its transpose.
    pub is_transposed: bool,
}

/// output [m, n] = scale · left [m, k] · right [k, n], plus a multiple of what `addend` holds, plus
/// `bias` in each row; sums in fp32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub left: Factor,
    pub right: Factor,
    /// 1 unless stated otherwise.
    pub scale: f32,
    /// A matrix like the output and its factor; may be the output itself.
    pub addend: Option<(Address, f32)>,
    /// `[n]`, of the output's type.
    pub bias: Option<Address>,
    pub output: Address,
    /// Type of addend and output: bf16 or f32.
    pub element: Element,
}
