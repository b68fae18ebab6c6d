//! The kernels' own source on the host: builds `kernels/prove.cpp`, asks it, reads what it says.
//!
//! In → buffers and launches; out → what the buffers hold afterwards, or the fault that the host's
//! machine or a sanitizer found. The format of a request and of its answer stands in
//! `kernels/prove.cpp`; here is the only place that writes it, for the tests of the kernels and for
//! those of what launches them. The program is built by the system's C++ compiler at its first use
//! in a process, with the address and undefined-behaviour sanitizers, into the build's own folder.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// An argument of a kernel.
#[derive(Clone, Copy)]
pub enum Given<'a> {
    Null,
    /// A buffer by its place, from a byte on.
    Buffer {
        index: usize,
        offset: usize,
    },
    Value(&'a [u8]),
}

/// What the program is asked.
pub struct Request {
    bytes: Vec<u8>,
    /// Of each buffer.
    lengths: Vec<usize>,
}

/// Barriers and waits that were reached, as file:line, and what each buffer holds.
pub type Answer = (Vec<String>, Vec<Vec<u8>>);

impl Request {
    /// `launches` launches on `buffers`: their lengths, and their bytes unless they hold 0xff.
    /// `seed` draws the order of blocks, warps and lanes; the barrier or wait at `skip` (file:line)
    /// is left out.
    pub fn new(
        seed: u64,
        skip: &str,
        buffers: &[(usize, Option<&[u8]>)],
        launches: usize,
    ) -> Request {
        let lengths = buffers.iter().map(|(length, _)| *length).collect();
        let mut request = Request { bytes: seed.to_le_bytes().to_vec(), lengths };
        request.text(skip.as_bytes());
        request.number(buffers.len());
        for (length, contents) in buffers {
            request.bytes.extend((*length as u64).to_le_bytes());
            request.bytes.push(u8::from(contents.is_some()));
            request.bytes.extend(contents.iter().copied().flatten());
        }
        request.number(launches);
        request
    }

    fn number(&mut self, number: usize) {
        self.bytes.extend((number as u32).to_le_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len());
        self.bytes.extend(text);
    }

    /// The next launch: blocks, threads a block, bytes of shared memory a block.
    pub fn launch(
        &mut self,
        kernel: &str,
        grid: [usize; 3],
        (threads, shared): (usize, usize),
        arguments: &[Given<'_>],
    ) {
        self.text(kernel.as_bytes());
        grid.into_iter().for_each(|count| self.number(count));
        self.number(threads);
        self.bytes.extend((shared as u64).to_le_bytes());
        self.number(arguments.len());
        for argument in arguments {
            match *argument {
                Given::Null => self.bytes.push(0),
                Given::Buffer { index, offset } => {
                    self.bytes.push(1);
                    self.number(index);
                    self.number(offset);
                }
                Given::Value(bytes) => {
                    self.bytes.push(2);
                    self.text(bytes);
                }
            }
        }
    }

    /// Runs the launches; the error is what the program says on stderr.
    pub fn run(&self) -> Result<Answer, String> {
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
            scope.spawn(move || input.write_all(&self.bytes).is_ok());
            process.wait_with_output().unwrap()
        });
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
        let buffers = self.lengths.iter().map(|length| take(*length)).collect();
        Ok((places, buffers))
    }
}

/// The program. It takes the place of the one that an earlier process built, so that none is left
/// behind but the last.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
        let folder = Path::new(env!("OUT_DIR"));
        let (program, own) = (
            folder.join("host-machine"),
            folder.join(format!("host-machine-{}", std::process::id())),
        );
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
        let output = Command::new(&compiler)
            .args(["-std=c++20", "-O1", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror"])
            .args(["-Wno-unknown-pragmas", "-Wno-subobject-linkage", "-ffp-contract=off"])
            .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-o"])
            .args([&own, &kernels.join("prove.cpp")])
            .output()
            .unwrap_or_else(|error| {
                panic!("the C++ compiler `{compiler}` does not start: {error}")
            });
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::rename(&own, &program).unwrap();
        program
    })
}
