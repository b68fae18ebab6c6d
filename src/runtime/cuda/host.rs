//! The host's machine as a device: kernels of `kernels/` run from their own source.
//!
//! In → calls of a [`Driver`]; out → the same results as a GPU would give, by the program of
//! `tests/support/host_machine.rs`. Every launch is one process. It gets the allocations that its
//! arguments point into, each as an allocation of its own, so an access out of bounds is found, and
//! it refuses a launch whose arguments, threads or shared memory are not those of the kernel. New
//! memory holds 0xff, which is NaN. Products are sums in f32 by the host's own kernels.

#[path = "../../../tests/support/host_machine.rs"]
mod machine;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use half::bf16;

use machine::{Given, Request};

use super::driver::{Address, Argument, Driver, Element, Factor, Identity, Launch, Product};
use super::memory::Context;
use crate::base::error::Result;
use crate::runtime::cpu::{Matrix, Threads, matmul};

/// Bytes between the starts of allocations, so that an address identifies its allocation.
const APART: u64 = 1 << 40;

/// The machine.
#[derive(Debug)]
pub struct HostMachine {
    memory: Mutex<BTreeMap<Address, Vec<u8>>>,
    /// Names of the kernels that ran, in order; a product is `product`.
    pub launched: Mutex<Vec<&'static str>>,
    /// Draws the order of blocks, warps and lanes.
    seed: u64,
}

impl HostMachine {
    /// A device whose threads run in an order drawn from `seed`.
    pub fn context(seed: u64) -> (Arc<HostMachine>, Arc<Context>) {
        let (memory, launched) = (Mutex::default(), Mutex::default());
        let machine = Arc::new(HostMachine { memory, launched, seed });
        (machine.clone(), Context::new(machine))
    }

    fn memory(&self) -> MutexGuard<'_, BTreeMap<Address, Vec<u8>>> {
        self.memory.lock().unwrap()
    }

    /// Runs `change` on the bytes from `address` on.
    fn at<T>(&self, address: Address, change: impl FnOnce(&mut [u8]) -> T) -> T {
        let start = address / APART * APART;
        let mut memory = self.memory();
        let bytes = memory.get_mut(&start).expect("an address of memory that is there");
        change(&mut bytes[(address - start) as usize..])
    }

    fn numbers(&self, factor: Factor, count: usize) -> Vec<f32> {
        self.at(factor.address, |bytes| {
            let words = bytes[..2 * count].chunks_exact(2);
            words.map(|word| bf16::from_le_bytes([word[0], word[1]]).to_f32()).collect()
        })
    }
}

impl Driver for HostMachine {
    fn allocate(&self, bytes: usize) -> Result<Address> {
        let mut memory = self.memory();
        let address = memory.last_key_value().map_or(APART, |(last, _)| last + APART);
        memory.insert(address, vec![0xff; bytes]);
        Ok(address)
    }

    fn free(&self, address: Address) {
        assert!(self.memory().remove(&address).is_some(), "memory is given back once");
    }

    fn clear(&self, address: Address, bytes: usize) -> Result<()> {
        self.at(address, |memory| memory[..bytes].fill(0));
        Ok(())
    }

    fn write(&self, address: Address, bytes: &[u8]) -> Result<()> {
        self.at(address, |memory| memory[..bytes.len()].copy_from_slice(bytes));
        Ok(())
    }

    fn read(&self, address: Address, bytes: &mut [u8]) -> Result<()> {
        self.at(address, |memory| bytes.copy_from_slice(&memory[..bytes.len()]));
        Ok(())
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        self.launched.lock().unwrap().push(launch.entry.name);
        let mut memory = self.memory();
        let mut starts: Vec<Address> = Vec::new();
        for argument in &launch.arguments {
            if let Argument::Pointer(Some(address)) = argument {
                starts.push(address / APART * APART);
            }
        }
        starts.sort_unstable();
        starts.dedup();
        let given = starts.iter().map(|start| (memory[start].len(), Some(&memory[start][..])));
        let given: Vec<(usize, Option<&[u8]>)> = given.collect();
        let request = request(launch, &starts, &given, self.seed);
        let (_, buffers) = request.run().unwrap_or_else(|fault| panic!("{fault}"));
        for (start, bytes) in starts.into_iter().zip(buffers) {
            *memory.get_mut(&start).unwrap() = bytes;
        }
        Ok(())
    }

    fn multiply(&self, product: &Product) -> Result<()> {
        let Product { m, n, k, left, right, scale, addend, bias, output, element } = *product;
        self.launched.lock().unwrap().push("product");
        let (a, b) = (self.numbers(left, m * k), self.numbers(right, k * n));
        let as_matrix = |numbers, is_transposed, rows, columns| match is_transposed {
            true => Matrix::new(numbers, columns, rows, rows).t(),
            false => Matrix::new(numbers, rows, columns, columns),
        };
        let (a, b) = (
            as_matrix(&a[..], left.is_transposed, m, k),
            as_matrix(&b[..], right.is_transposed, k, n),
        );
        let mut sums = vec![0f32; m * n];
        matmul(&mut sums, n, false, a, b, Threads::One);
        if let Some((address, factor)) = addend {
            let width = element.width();
            let added: Vec<f32> = self.at(address, |bytes| {
                bytes[..m * n * width].chunks_exact(width).map(|it| widened(it, element)).collect()
            });
            sums.iter_mut().zip(added).for_each(|(sum, x)| *sum = scale * *sum + factor * x);
        } else {
            sums.iter_mut().for_each(|sum| *sum *= scale);
        }
        if let Some(address) = bias {
            let width = element.width();
            let numbers: Vec<f32> = self.at(address, |bytes| {
                bytes[..n * width].chunks_exact(width).map(|it| widened(it, element)).collect()
            });
            let columns = numbers.iter().cycle();
            sums.iter_mut().zip(columns).for_each(|(sum, bias)| *sum += bias);
        }
        let bytes: Vec<u8> = match element {
            Element::Bf16 => sums.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
            _ => sums.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        self.write(output, &bytes)
    }

    fn identity(&self) -> Identity {
        let device = "cuda on the host's machine".to_owned();
        Identity { device, matmul: "plain".to_owned() }
    }
}

fn widened(word: &[u8], element: Element) -> f32 {
    match element {
        Element::Bf16 => bf16::from_le_bytes([word[0], word[1]]).to_f32(),
        _ => f32::from_le_bytes(word.try_into().unwrap()),
    }
}

/// The request of one launch.
fn request(
    launch: &Launch,
    starts: &[Address],
    memory: &[(usize, Option<&[u8]>)],
    seed: u64,
) -> Request {
    let given = launch.arguments.iter().map(|argument| match argument {
        Argument::Four(bytes) => Given::Value(bytes),
        Argument::Eight(bytes) => Given::Value(bytes),
        Argument::Sizes(bytes) => Given::Value(bytes),
        Argument::Pointer(None) => Given::Null,
        Argument::Pointer(Some(address)) => {
            let start = address / APART * APART;
            let index = starts.binary_search(&start).unwrap();
            Given::Buffer { index, offset: (address - start) as usize }
        }
    });
    let given: Vec<Given<'_>> = given.collect();
    let mut request = Request::new(seed, "", memory, 1);
    let sizes = (launch.entry.threads as usize, launch.shared as usize);
    request.launch(launch.entry.name, launch.grid.map(|count| count as usize), sizes, &given);
    request
}
