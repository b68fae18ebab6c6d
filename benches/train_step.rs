//! Training speed of the decoder: whole optimizer steps on random tokens.
//!
//! In → nothing, or names of shapes in `configs/model/`; out → a line a shape: tokens a second
//! (median step), milliseconds a step, CPU milliseconds of all threads in the step that took least
//! (which other programs disturb least), and the process's peak memory. Each step is what
//! `bench/baseline_torch.py` times: forward, backward, clipping, AdamW, on 8 rows of 256 tokens in
//! one micro-batch, vocabulary 8,192, f32, or products of bf16.
//!
//!     cargo bench --bench train_step            # 3m and 14m
//!     cargo bench --bench train_step -- 3m --bf16
//!     cargo bench --bench train_step -- 3m --composed

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench reads a clock")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "and prints what it found")]

use std::io::Write;
use std::time::Instant;

use dataprep::base::config;
use dataprep::base::error::Result;
use dataprep::base::rng::Stream;
use dataprep::runtime::data::Batch;
use dataprep::runtime::device::{Device, Numerics};
use dataprep::runtime::first_step::Expected;
use dataprep::runtime::model::knobs::Dtype;
use dataprep::runtime::model::{Model, ModelConfig};
use dataprep::runtime::optim::adamw::{AdamW, AdamWConfig};
use dataprep::runtime::optim::{Optimizer, clip::clip};
use dataprep::runtime::pages::KeptPages;
use dataprep::runtime::step::gradients;
use dataprep::runtime::value::Form;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const VOCABULARY: u64 = 8192;
const ROWS: usize = 8;
const SEQUENCE: usize = 256;
const SECONDS: f64 = 10.0;

#[derive(serde::Deserialize)]
struct File {
    model: ModelConfig,
}

fn main() -> Result<()> {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|name| name != "--bench").collect();
    let composed = arguments.iter().any(|argument| argument == "--composed");
    let form = if composed { Form::Composed } else { Form::Fused };
    let named: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|name| !name.starts_with("--")).collect();
    let shapes = if named.is_empty() { vec!["3m", "14m"] } else { named };
    let in_bf16 = arguments.iter().any(|argument| argument == "--bf16");
    let numerics = Numerics::of(&Device::cpu());
    let numerics = if in_bf16 { numerics.with_bf16() } else { numerics };
    let dtype = if in_bf16 { Dtype::Bf16 } else { Dtype::F32 };
    say(&format!("{} threads, {}, {form:?} ops", numerics.threads, numerics.matmul));
    for shape in shapes {
        let path = format!("{}/configs/model/{shape}.toml", env!("CARGO_MANIFEST_DIR"));
        let table = config::read(path.as_ref())?;
        let file: File = config::parse(table, "model")?;
        let vocab_size = VOCABULARY as usize;
        measure(shape, &ModelConfig { vocab_size, dtype, ..file.model }, form)?;
    }
    Ok(())
}

fn measure(name: &str, config: &ModelConfig, form: Form) -> Result<()> {
    let _pages = KeptPages::hold(); // as a run does
    let model = Model::new(config, 0, &Device::cpu())?.with_form(form);
    let mut optimizer = AdamW::new(model.parameters(), &AdamWConfig::default())?;
    let expected = Expected::of(&model, &random(0), ROWS)?.loss;
    let (mut times, mut first_loss, mut least_cpu) = (Vec::new(), 0.0, f64::INFINITY);
    let start = Instant::now();
    while times.len() < 8 || start.elapsed().as_secs_f64() < SECONDS {
        let batch = random(times.len() as u64);
        let (step, cpu) = (Instant::now(), cpu_seconds());
        let mut found = gradients(&model, &batch, ROWS)?;
        clip(&mut found.gradients, 1.0)?;
        optimizer.step(&found.gradients, 3e-4)?;
        times.push(step.elapsed().as_secs_f64());
        least_cpu = least_cpu.min(cpu_seconds() - cpu);
        if times.len() == 1 {
            first_loss = found.loss;
        }
    }
    let steps = times.len();
    let mut times = times.split_off(2); // the first steps fault in memory
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let tokens = (ROWS * SEQUENCE) as f64;
    let gigaflops = config.flops_per_token(SEQUENCE) as f64 * tokens / median / 1e9;
    say(&format!(
        "{name:>5} {:6.0} tokens/s {:7.1} ms/step (best {:.1}, CPU {:.1}) {gigaflops:5.0} GFLOP/s, \
         peak {:.2} GiB, {steps} steps, loss {first_loss:.4} (expected {:.4})",
        tokens / median,
        median * 1e3,
        times[0] * 1e3,
        least_cpu * 1e3,
        peak_gibibytes(),
        expected,
    ));
    Ok(())
}

fn random(step: u64) -> Batch {
    let mut stream = Stream::new(step, "bench tokens");
    let tokens: Vec<u32> =
        (0..=ROWS * SEQUENCE).map(|_| (stream.next_u64() % VOCABULARY) as u32).collect();
    let count = ROWS * SEQUENCE;
    Batch {
        inputs: tokens[..count].to_vec(),
        targets: tokens[1..].to_vec(),
        segments: vec![0; count],
        positions: (0..count).map(|at| (at % SEQUENCE) as u32).collect(),
        trained: Vec::new(),
        rows: ROWS,
        sequence: SEQUENCE,
        first_row: 0,
        parts: 1,
    }
}

/// Of all threads of the process so far.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Largest resident size of the process so far, where the system says.
fn peak_gibibytes() -> f64 {
    let status = dataprep::base::io::read_text("/proc/self/status".as_ref()).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kibibytes.unwrap_or(f64::NAN) / (1024.0 * 1024.0)
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
