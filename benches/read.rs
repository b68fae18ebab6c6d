//! Reading speed: documents from Parquet and JSON lines, and `ingest` of them.
//!
//! In → paths (corpora, files, directories); by default the fixtures; out → a line an input: MB of
//! text (10⁶ bytes) a second, the median of five runs, files in the page cache, for the text alone,
//! all columns, and ingest (reading all columns and writing zstd Parquet), with 1 and 2 threads.
//! The bound is zstd, which takes two thirds of the CPU time: one core of a 2-core cloud machine
//! with AVX-512 decompresses 0.67 GB/s of the wikipedia corpus and compresses 0.2 GB/s.
//!
//!     cargo bench --no-default-features --bench read -- ../shared/data/corpora/wikipedia

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench reads a clock")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "and prints what it found")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use dataprep::artifact::record::Notes;
use dataprep::artifact::stage::{Published, Stage, Unit, Work};
use dataprep::base::error::Result;
use dataprep::base::io;
use dataprep::base::progress::{Progress, Style};
use dataprep::ingest::Ingest;
use dataprep::source::{Columns, InputConfig, InputSpec, Inputs};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUNS: usize = 5;

fn main() -> Result<()> {
    let mut paths: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if paths.is_empty() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpora");
        paths = io::list(&fixtures)?.iter().map(|path| path.display().to_string()).collect();
    }
    say("input                     threads   text MB/s    all MB/s  ingest MB/s")?;
    for path in &paths {
        let specs = [InputSpec::of(path)];
        let ingest = Ingest::open(&specs, InputConfig::default())?;
        for threads in [1, 2] {
            let text = median(|work| read(ingest.inputs(), Columns::Text, work), threads)?;
            let all = median(|work| read(ingest.inputs(), Columns::All, work), threads)?;
            let written = median(|work| write(&ingest, work), threads)?;
            let name = ingest.inputs().sources().join(",");
            say(&format!("{name:<25} {threads:>7} {text:>11.0} {all:>11.0} {written:>12.0}"))?;
        }
    }
    Ok(())
}

fn read(inputs: &Inputs, columns: Columns<'_>, work: &Work<'_>) -> Result<u64> {
    let mut bytes = 0;
    for unit in 0..inputs.units().len() {
        let sum = |batch| {
            bytes += batch;
            Ok(())
        };
        inputs.read(unit, columns, work, |batch| Ok(batch.text_bytes()), sum)?;
    }
    Ok(bytes)
}

fn write(ingest: &Ingest, work: &Work<'_>) -> Result<u64> {
    let mut bytes = 0;
    for index in 0..ingest.inputs().units().len() {
        bytes += ingest.run_unit(Unit { phase: 0, index }, work)?.total().bytes_out;
    }
    Ok(bytes)
}

/// MB of text a second, the median of [`RUNS`].
fn median(run: impl Fn(&Work<'_>) -> Result<u64>, threads: usize) -> Result<f64> {
    let (progress, skipped) = (Progress::new(Style::None), BTreeSet::new());
    let mut rates = Vec::new();
    for _ in 0..RUNS {
        let directory = std::env::temp_dir().join(format!("dataprep-read-{}", std::process::id()));
        io::create_directory(&directory)?;
        let work = Work {
            spill: directory.join("spill"),
            dir: directory.clone(),
            published: Published { partial: &directory, phases: &[] },
            threads,
            memory: 4 << 30,
            skipped: &skipped,
            progress: &progress,
            notes: Mutex::new(Notes::default()),
        };
        let start = Instant::now();
        let bytes = run(&work)?;
        rates.push(bytes as f64 / 1e6 / start.elapsed().as_secs_f64());
        io::remove_directory(&directory)?;
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[RUNS / 2])
}

fn say(line: &str) -> Result<()> {
    let stdout = Path::new("stdout");
    writeln!(std::io::stdout(), "{line}").map_err(dataprep::base::error::Error::io("write", stdout))
}
