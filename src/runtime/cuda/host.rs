//! The host's machine as a device: kernels of `kernels/` run from their own source.
//!
//! In → what a [`Driver`] is asked for; out → the same as a GPU would give, by `kernels/prove.cpp`,
//! which the system's C++ compiler builds once a test run with the address and undefined-behaviour
//! sanitizers. Every launch is one process: it gets the allocations that its arguments point into,
//! each as an allocation of its own, so a byte too far is found, and refuses what is not the
//! kernel's own count and width of arguments, threads and shared memory. New memory holds 0xff,
//! which is NaN. Products are sums in f32 by the host's own kernels.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use half::bf16;

use super::driver::{Address, Argument, Driver, Element, Factor, Identity, Launch, Product};
use super::memory::Context;
use crate::base::error::Result;
use crate::runtime::cpu::{Matrix, Threads, matmul};

/// Bytes between the beginnings of allocations, so that an address names its allocation.
const APART: u64 = 1 << 40;

/// The machine.
#[derive(Debug)]
pub struct HostMachine {
    memory: Mutex<BTreeMap<Address, Vec<u8>>>,
    /// Kernels that ran, in order.
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
        let given: Vec<&Vec<u8>> = starts.iter().map(|start| &memory[start]).collect();
        let mut answer = &run(&request(launch, &starts, &given, self.seed))[..];
        let mut take = |length: usize| {
            let (taken, rest) = answer.split_at(length);
            answer = rest;
            taken.to_vec()
        };
        let number = |bytes: Vec<u8>| u32::from_le_bytes(bytes.try_into().unwrap()) as usize;
        for _ in 0..number(take(4)) {
            let length = number(take(4));
            take(length);
        }
        for start in starts {
            let bytes = memory.get_mut(&start).unwrap();
            *bytes = take(bytes.len());
        }
        Ok(())
    }

    fn multiply(&self, product: &Product) -> Result<()> {
        let Product { m, n, k, left, right, addend, output, element } = *product;
        let (a, b) = (self.numbers(left, m * k), self.numbers(right, k * n));
        let as_matrix = |numbers, is_transposed, rows, columns| match is_transposed {
            true => Matrix::new(numbers, columns, rows, rows).t(),
            false => Matrix::new(numbers, rows, columns, columns),
        };
        let mut sums = vec![0f32; m * n];
        if let Some(address) = addend {
            sums = self.at(address, |bytes| {
                let words = bytes[..m * n * element.width()].chunks_exact(element.width());
                words.map(|word| widened(word, element)).collect()
            });
        }
        let (a, b) = (
            as_matrix(&a[..], left.is_transposed, m, k),
            as_matrix(&b[..], right.is_transposed, k, n),
        );
        matmul(&mut sums, n, addend.is_some(), a, b, Threads::One);
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

/// The request of one launch, as `kernels/prove.cpp` reads it.
fn request(launch: &Launch, starts: &[Address], memory: &[&Vec<u8>], seed: u64) -> Vec<u8> {
    let mut request = seed.to_le_bytes().to_vec();
    let number = |request: &mut Vec<u8>, number: usize| {
        request.extend((number as u32).to_le_bytes());
    };
    number(&mut request, 0); // nothing is left out
    number(&mut request, memory.len());
    for bytes in memory {
        request.extend((bytes.len() as u64).to_le_bytes());
        request.push(1);
        request.extend(&bytes[..]);
    }
    number(&mut request, 1);
    number(&mut request, launch.entry.name.len());
    request.extend(launch.entry.name.as_bytes());
    launch.grid.iter().for_each(|count| request.extend(count.to_le_bytes()));
    request.extend(launch.entry.threads.to_le_bytes());
    request.extend(u64::from(launch.shared).to_le_bytes());
    number(&mut request, launch.arguments.len());
    for argument in &launch.arguments {
        let mut value = |bytes: &[u8]| {
            request.push(2);
            request.extend((bytes.len() as u32).to_le_bytes());
            request.extend(bytes);
        };
        match argument {
            Argument::Four(bytes) => value(bytes),
            Argument::Eight(bytes) => value(bytes),
            Argument::Sizes(bytes) => value(bytes),
            Argument::Pointer(None) => request.push(0),
            Argument::Pointer(Some(address)) => {
                let start = address / APART * APART;
                request.push(1);
                number(&mut request, starts.binary_search(&start).unwrap());
                number(&mut request, (address - start) as usize);
            }
        }
    }
    request
}

/// Runs the program on a request.
fn run(request: &[u8]) -> Vec<u8> {
    let mut process = Command::new(program())
        .env("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A fault ends the reader early: what it says is on stderr.
        scope.spawn(move || input.write_all(request).is_ok());
        process.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The program, built at its first use.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
        let program =
            std::env::temp_dir().join(format!("dataprep-host-machine-{}", std::process::id()));
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
        let output = Command::new(compiler)
            .args(["-std=c++20", "-O1", "-fno-strict-aliasing", "-Wno-unknown-pragmas"])
            .args(["-Wno-subobject-linkage", "-ffp-contract=off", "-fsanitize=address,undefined"])
            .args(["-fno-sanitize-recover=all", "-o"])
            .args([&program, &kernels.join("prove.cpp")])
            .output()
            .expect("a C++ compiler builds the kernels for the host");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        program
    })
}
