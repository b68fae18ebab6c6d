//! Kernels on the host: jobs of several launches, by the machine of `tests/support/`.
//!
//! In → buffers and launches; out → what the buffers hold afterwards, or the fault that was found;
//! what nobody wrote is 0xff in every byte, a NaN in every float.

use std::process::Command;

use half::bf16;

use crate::support::host_machine::{Given, Request, program};

/// A buffer of the device's memory.
#[derive(Clone, Copy)]
pub struct Buffer {
    index: usize,
    /// Bytes from its start, where a kernel is given a part of it.
    offset: usize,
}

impl Buffer {
    /// The buffer from `bytes` on.
    pub fn offset(self, bytes: usize) -> Buffer {
        Buffer { index: self.index, offset: self.offset + bytes }
    }
}

/// An argument of a kernel.
pub enum Argument {
    Null,
    Buffer(Buffer),
    Value(Vec<u8>),
}

impl From<Buffer> for Argument {
    fn from(buffer: Buffer) -> Argument {
        Argument::Buffer(buffer)
    }
}

impl From<Option<Buffer>> for Argument {
    fn from(buffer: Option<Buffer>) -> Argument {
        buffer.map_or(Argument::Null, Argument::Buffer)
    }
}

impl From<Vec<u8>> for Argument {
    fn from(bytes: Vec<u8>) -> Argument {
        Argument::Value(bytes)
    }
}

macro_rules! values {
    ($($number:ty),*) => {
        $(impl From<$number> for Argument {
            fn from(number: $number) -> Argument {
                Argument::Value(number.to_le_bytes().to_vec())
            }
        })*
    };
}
values!(i32, u32, u64, f32);

/// The arguments of a launch, in the kernel's order.
#[macro_export]
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => {
        vec![$($crate::kernels::host::Argument::from($argument)),*]
    };
}

struct Launch {
    kernel: String,
    grid: [usize; 3],
    threads: usize,
    shared: usize,
    arguments: Vec<Argument>,
}

/// Buffers, and what runs on them in turn.
#[derive(Default)]
pub struct Job {
    buffers: Vec<(usize, Option<Vec<u8>>)>,
    launches: Vec<Launch>,
}

impl Job {
    fn given(&mut self, bytes: Vec<u8>) -> Buffer {
        self.buffers.push((bytes.len(), Some(bytes)));
        Buffer { index: self.buffers.len() - 1, offset: 0 }
    }

    /// A buffer of numbers of 16 bits, which `numbers` must be exactly.
    pub fn bf16(&mut self, numbers: &[f64]) -> Buffer {
        self.given(numbers.iter().flat_map(|&x| bf16::from_f64(x).to_le_bytes()).collect())
    }

    pub fn f32(&mut self, numbers: &[f64]) -> Buffer {
        self.given(numbers.iter().flat_map(|&x| (x as f32).to_le_bytes()).collect())
    }

    pub fn i32(&mut self, numbers: &[i32]) -> Buffer {
        self.given(numbers.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    pub fn bytes(&mut self, bytes: Vec<u8>) -> Buffer {
        self.given(bytes)
    }

    /// A buffer that holds NaN until something is written.
    pub fn output(&mut self, bytes: usize) -> Buffer {
        self.buffers.push((bytes, None));
        Buffer { index: self.buffers.len() - 1, offset: 0 }
    }

    pub fn launch(
        &mut self,
        kernel: impl Into<String>,
        grid: [usize; 3],
        threads: usize,
        shared: usize,
        arguments: Vec<Argument>,
    ) {
        let kernel = kernel.into();
        self.launches.push(Launch { kernel, grid, threads, shared, arguments });
    }

    /// The kernels that are launched.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.launches.iter().map(|launch| launch.kernel.as_str())
    }

    /// Runs the launches; `seed` draws the order of blocks, warps and lanes, and the barrier or
    /// wait at `skip` (file:line) is left out.
    pub fn run(&self, seed: u64, skip: &str) -> Result<Outcome, String> {
        let buffers = self.buffers.iter().map(|(length, bytes)| (*length, bytes.as_deref()));
        let buffers: Vec<(usize, Option<&[u8]>)> = buffers.collect();
        let mut request = Request::new(seed, skip, &buffers, self.launches.len());
        for launch in &self.launches {
            let given = launch.arguments.iter().map(|argument| match argument {
                Argument::Null => Given::Null,
                Argument::Buffer(buffer) => {
                    Given::Buffer { index: buffer.index, offset: buffer.offset }
                }
                Argument::Value(bytes) => Given::Value(bytes),
            });
            let given: Vec<Given<'_>> = given.collect();
            let sizes = (launch.threads, launch.shared);
            request.launch(&launch.kernel, launch.grid, sizes, &given);
        }
        let (places, buffers) = request.run()?;
        Ok(Outcome { buffers, places })
    }
}

/// What a job left behind.
pub struct Outcome {
    pub buffers: Vec<Vec<u8>>,
    /// The barriers and waits that were reached: file:line.
    pub places: Vec<String>,
}

impl Outcome {
    pub fn bf16(&self, buffer: Buffer) -> Vec<f64> {
        let words = self.buffers[buffer.index].chunks_exact(2);
        words.map(|word| bf16::from_le_bytes(word.try_into().unwrap()).to_f64()).collect()
    }

    pub fn f32(&self, buffer: Buffer) -> Vec<f64> {
        let words = self.buffers[buffer.index].chunks_exact(4);
        words.map(|word| f64::from(f32::from_le_bytes(word.try_into().unwrap()))).collect()
    }

    pub fn words(&self, buffer: Buffer) -> Vec<u32> {
        let words = self.buffers[buffer.index].chunks_exact(4);
        words.map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
    }
}

/// How each kernel is launched: its name, threads, and bytes of shared memory unless they depend on
/// sizes.
pub fn launches() -> Vec<(String, usize, Option<usize>)> {
    let output = Command::new(program()).arg("list").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let launch = |line: &str| {
        let mut fields = line.split(' ');
        let mut next = || fields.next().unwrap().to_owned();
        (next(), next().parse().unwrap(), next().parse().ok())
    };
    text.lines().map(launch).collect()
}
