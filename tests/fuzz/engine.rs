//! Bytes that no writer of ours made: random ones, and valid files with a few changes.
//!
//! In → valid files and a reader; out → a failed test, with the smallest bytes found, where the
//! reader panics, takes longer than [`SECONDS_MAX`], asks at once for memory out of proportion to
//! the file, or fails without naming it. A case that never ends stops the whole test process, with
//! the bytes' place in the message. Seeds are fixed, so a failure repeats; with
//! `DATAPREP_FUZZ_SECONDS=60` every reader is tried for that long instead, each round with a seed
//! of its own. Method: proptest's strategies and shrinking, without instrumentation.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use dataprep::base::error::Result;
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};

use crate::support::memory;

/// Cases of a reader in an ordinary run: each takes well below a millisecond for most readers.
const CASES: u32 = 400;
/// The longest a small file may take: a thousand times what the slowest valid one takes.
const SECONDS_MAX: u64 = 10;
/// One allocation may be so many times larger than the file …
const ALLOCATION_FACTOR: usize = 1024;
/// … or so large: fixed buffers and tables of a reader.
const ALLOCATION_FREE: usize = 64 << 20;

/// One change of a valid file.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    /// A length of 1, 2, 4 or 8 bytes, little-endian.
    Number(Index, usize, u64),
    /// A part written over another one.
    Copy(Index, Index, usize),
    /// A decimal number in a text, replaced.
    Digits(Index, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let huge = prop_oneof![
        Just(0),
        Just(1),
        Just(0x7F),
        Just(0xFF),
        Just(0xFFFF),
        Just(0x7FFF_FFFF),
        Just(0xFFFF_FFFF),
        Just(i64::MAX as u64),
        Just(u64::MAX),
        any::<u64>(),
    ];
    let digits = prop_oneof![
        Just("0"),
        Just("-1"),
        Just("1e300"),
        Just("2147483648"),
        Just("4294967296"),
        Just("9223372036854775807"),
        Just("18446744073709551615"),
        Just("99999999999999999999999"),
    ];
    let bytes = prop::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        4 => (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => (any::<Index>(), 1..200usize).prop_map(|(at, len)| Change::Remove(at, len)),
        2 => (any::<Index>(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        4 => (any::<Index>(), 0..4u32, huge)
            .prop_map(|(at, width, value)| Change::Number(at, 1 << width, value)),
        1 => (any::<Index>(), any::<Index>(), 1..200usize)
            .prop_map(|(from, to, len)| Change::Copy(from, to, len)),
        3 => (any::<Index>(), digits).prop_map(|(at, digits)| Change::Digits(at, digits)),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        let end = |at: usize, len: usize| (at + len).min(length);
        match self {
            Change::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Change::Cut(at) => bytes.truncate(at.index(length)),
            Change::Remove(at, len) => {
                let at = at.index(length);
                bytes.drain(at..end(at, *len));
            }
            Change::Insert(at, inserted) => {
                let at = at.index(length);
                bytes.splice(at..at, inserted.iter().copied());
            }
            Change::Number(at, width, value) => {
                let at = at.index(length);
                let end = end(at, *width);
                bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            }
            Change::Copy(from, to, len) => {
                let (from, to) = (from.index(length), to.index(length));
                let len = (*len).min(length - from.max(to));
                bytes.copy_within(from..from + len, to);
            }
            Change::Digits(at, digits) => {
                let is_digit = |at: &usize| bytes[*at].is_ascii_digit();
                let places: Vec<usize> = (0..length).filter(is_digit).collect();
                if !places.is_empty() {
                    let start = *at.get(&places);
                    let rest = bytes[start..].iter();
                    let len = rest.take_while(|byte| byte.is_ascii_digit()).count();
                    bytes.splice(start..start + len, digits.bytes());
                }
            }
        }
    }
}

/// Random bytes once in eight times, else a valid file with up to four changes.
pub fn bytes(valid: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changed = (any::<Index>(), prop::collection::vec(change(), 1..5));
    let changed = changed.prop_map(move |(which, changes)| {
        let mut bytes = which.get(&valid).clone();
        changes.iter().for_each(|change| change.apply(&mut bytes));
        bytes
    });
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..400), 7 => changed]
}

/// Gives `read` the path of a file `name` with changed bytes, again and again. `name` may have
/// folders; what stands beside it is the reader's business.
pub fn fuzz_file(
    folder: &Path,
    name: &str,
    valid: Vec<Vec<u8>>,
    read: impl Fn(&Path) -> Result<()>,
) {
    let path = folder.join(name);
    for valid in &valid {
        fs::write(&path, valid).unwrap();
        read(&path).unwrap_or_else(|error| panic!("the valid {name}: {error}"));
    }
    fuzz(name, bytes(valid), |bytes| {
        fs::write(&path, bytes).unwrap();
        read(&path).map_err(|error| error.to_string())
    });
}

/// Gives `read` generated values, again and again; its errors must contain `name`.
pub fn fuzz<T: std::fmt::Debug + AsRef<[u8]>>(
    name: &str,
    values: impl Strategy<Value = T>,
    read: impl Fn(&[u8]) -> std::result::Result<(), String>,
) {
    let seconds = std::env::var("DATAPREP_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let watch = Watch::start(name);
    for round in 0u32.. {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&round.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, rng);
        let result = runner.run(&values, |value| check(name, value.as_ref(), &read, &watch));
        if let Err(TestError::Fail(reason, value)) = result {
            let file = keep(name, value.as_ref());
            let text = String::from_utf8_lossy(&value.as_ref()[..value.as_ref().len().min(300)]);
            panic!("{name}, round {round}: {reason}\nkept in {}:\n{text}", file.display());
        }
        if until.is_none_or(|until| Instant::now() >= until) {
            if until.is_some() {
                println!("{name}: {} cases", (round + 1) * CASES);
            }
            return;
        }
    }
}

fn check(
    name: &str,
    bytes: &[u8],
    read: impl Fn(&[u8]) -> std::result::Result<(), String>,
    watch: &Watch,
) -> std::result::Result<(), TestCaseError> {
    let start = Instant::now();
    watch.begin(bytes);
    let (outcome, largest) = memory::largest_request(|| read(bytes));
    watch.end();
    let allowed = (bytes.len() * ALLOCATION_FACTOR).max(ALLOCATION_FREE);
    prop_assert!(largest <= allowed, "{largest} bytes asked for at once, of {}", bytes.len());
    prop_assert!(start.elapsed().as_secs() < SECONDS_MAX, "took {:?}", start.elapsed());
    if let Err(message) = outcome {
        let file = Path::new(name).file_name().unwrap().to_string_lossy();
        prop_assert!(message.contains(&*file), "an error that does not name it: {message}");
    }
    Ok(())
}

/// Writes the bytes of a failure where they can be looked at.
fn keep(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("dataprep-fuzz-{}", name.replace('/', "-")));
    fs::write(&path, bytes).unwrap();
    path
}

/// When the case that runs now began, and its bytes.
type Current = Arc<Mutex<Option<(Instant, Vec<u8>)>>>;

/// Ends the process when a case does not end: a thread cannot be stopped.
struct Watch {
    name: String,
    current: Current,
    over: Arc<AtomicBool>,
}

impl Watch {
    fn start(name: &str) -> Watch {
        let watch = Watch {
            name: name.to_owned(),
            current: Arc::default(),
            over: Arc::new(AtomicBool::new(false)),
        };
        let (name, current) = (watch.name.clone(), watch.current.clone());
        let over = watch.over.clone();
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(200));
                if let Some((start, bytes)) = &*current.lock().unwrap()
                    && start.elapsed().as_secs() > 6 * SECONDS_MAX
                {
                    let file = keep(&name, bytes);
                    eprintln!("{name}: a case does not end; kept in {}", file.display());
                    std::process::abort();
                }
            }
        });
        watch
    }

    fn begin(&self, bytes: &[u8]) {
        *self.current.lock().unwrap() = Some((Instant::now(), bytes.to_vec()));
    }

    fn end(&self) {
        *self.current.lock().unwrap() = None;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
