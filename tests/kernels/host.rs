//! Kernels on the host: builds `kernels/prove.cpp` with the system's C++ compiler, runs launches.
//!
//! In → buffers and launches; out → what the buffers hold afterwards, or the fault that the host's
//! machine or a sanitizer found. Built once a test run, with the address and undefined-behaviour
//! sanitizers; what nobody wrote is 0xff in every byte, a NaN in every float.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use half::bf16;

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

    fn request(&self, seed: u64, skip: &str) -> Vec<u8> {
        let mut request = seed.to_le_bytes().to_vec();
        let number = |request: &mut Vec<u8>, number: usize| {
            request.extend((number as u32).to_le_bytes());
        };
        let text = |request: &mut Vec<u8>, text: &[u8]| {
            request.extend((text.len() as u32).to_le_bytes());
            request.extend(text);
        };
        text(&mut request, skip.as_bytes());
        number(&mut request, self.buffers.len());
        for (length, contents) in &self.buffers {
            request.extend((*length as u64).to_le_bytes());
            request.push(u8::from(contents.is_some()));
            request.extend(contents.iter().flatten());
        }
        number(&mut request, self.launches.len());
        for launch in &self.launches {
            text(&mut request, launch.kernel.as_bytes());
            launch.grid.iter().for_each(|&count| number(&mut request, count));
            number(&mut request, launch.threads);
            request.extend((launch.shared as u64).to_le_bytes());
            number(&mut request, launch.arguments.len());
            for argument in &launch.arguments {
                match argument {
                    Argument::Null => request.push(0),
                    Argument::Buffer(buffer) => {
                        request.push(1);
                        number(&mut request, buffer.index);
                        number(&mut request, buffer.offset);
                    }
                    Argument::Value(bytes) => {
                        request.push(2);
                        text(&mut request, bytes);
                    }
                }
            }
        }
        request
    }

    /// Runs the launches; `seed` draws the order of blocks, warps and lanes, and the barrier or
    /// wait at `skip` (file:line) is left out.
    pub fn run(&self, seed: u64, skip: &str) -> Result<Outcome, String> {
        let mut process = Command::new(program())
            .env("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        let request = self.request(seed, skip);
        // A fault ends the reader early: what it says is on stderr.
        let writer = std::thread::spawn(move || input.write_all(&request).is_ok());
        let output = process.wait_with_output().unwrap();
        writer.join().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let mut rest = &output.stdout[..];
        let mut take = |length: usize| {
            let (taken, left) = rest.split_at(length);
            rest = left;
            taken.to_vec()
        };
        let number = |bytes: Vec<u8>| u32::from_le_bytes(bytes.try_into().unwrap()) as usize;
        let mut places = Vec::new();
        for _ in 0..number(take(4)) {
            let length = number(take(4));
            places.push(String::from_utf8(take(length)).unwrap());
        }
        let buffers = self.buffers.iter().map(|(length, _)| take(*length)).collect();
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

/// The program, built at its first use from what lies in `kernels/`.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let kernels = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kernels");
        let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("prove-{}", std::process::id()));
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
        let output = Command::new(&compiler)
            .args(["-std=c++20", "-O1", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror"])
            .args(["-Wno-unknown-pragmas", "-Wno-subobject-linkage", "-ffp-contract=off"])
            .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-o"])
            .arg(&program)
            .arg(kernels.join("prove.cpp"))
            .output()
            .unwrap_or_else(|error| {
                panic!("the C++ compiler `{compiler}` does not start: {error}")
            });
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        program
    })
}
