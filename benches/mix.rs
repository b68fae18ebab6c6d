//! Mixing: how fast an order is laid and what it holds, and how fast rows are read in that order.
//!
//! In → `plan [MILLIONS…]` (by default 1 10), or `feed MIX [SEQUENCE [ROWS]]`; out → lines.
//!
//! *plan*: synthetic documents of a mean of 700 tokens, as the scan of real shards leaves them, in
//! five sources of blocks of 2¹⁸ tokens; three quarters of them are laid into `order.arrow` in a
//! temporary folder. Lines: documents a second of CPU time, bytes of memory a document at the peak
//! (what the process holds at most, less what it held before, over the documents), bytes on disk.
//! `packed`: the same with `best_fit` for rows of 2,048.
//!
//! *feed*: rows of the mix in training order with batches assembled (inputs, targets, segments,
//! positions), as the trainer takes them, in batches of eight rows: tokens a second of CPU time,
//! all threads counted, and of time. Then single rows at places drawn at random, each by a feed
//! that was just opened, with the mix's and its shards' pages given up before: the slowest and the
//! median.
//!
//!     cargo bench --bench mix -- plan 1 10 100
//!     cargo bench --bench mix -- feed runs/mix 1024

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench reads a clock")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "and prints what it found")]

use std::{path::Path, time::Instant};

use dataprep::{
    mix::order::{BlockRows, Measure, OrderConfig, SourceBlocks, interleave},
    mix::packing::Packer,
    runtime::data::Feed,
    shards::{MixRecord, order::OrderWriter},
    train::feed::MixFeed,
};
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SOURCES: u64 = 5;
/// Documents of a block of 2¹⁸ tokens.
const BLOCK_DOCUMENTS: u64 = (1 << 18) / 700;
const ROWS: usize = 8;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["feed", mix, rest @ ..] => {
            let number = |at: usize| rest.get(at).map(|text: &&str| text.parse().unwrap());
            feed(Path::new(mix), number(0).unwrap_or(1024), number(1).unwrap_or(usize::MAX));
        }
        ["plan", rest @ ..] if !rest.is_empty() => {
            rest.iter().for_each(|millions| plan(millions.parse::<u64>().unwrap() * 1_000_000));
        }
        _ => [1, 10].into_iter().for_each(|millions| plan(millions * 1_000_000)),
    }
}

/// CPU seconds of this process.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A source whose blocks hold whole cells, as shards do.
fn source(index: u64, documents: u64) -> SourceBlocks {
    let blocks = documents.div_ceil(BLOCK_DOCUMENTS);
    let block = |at: u64| {
        let count = BLOCK_DOCUMENTS.min(documents - at * BLOCK_DOCUMENTS);
        let id = |row: u64| mixed((index << 40) + at * BLOCK_DOCUMENTS + row);
        // A stretch of 2²⁶ tokens has a block a cell; the next one begins again.
        let cell = (at % 256) << 56;
        BlockRows {
            shard: (at / 256) as u32,
            first_row: (at % 256 * BLOCK_DOCUMENTS) as u32,
            decoded_bytes: 1 << 19,
            draws: (0..count).map(|row| cell | id(row) >> 8).collect(),
            lengths: (0..count).map(|row| 1 + (id(row) % 1400) as u32).collect(),
            text_bytes: Box::default(),
        }
    };
    SourceBlocks { name: format!("source {index}"), blocks: (0..blocks).map(block).collect() }
}

fn plan(documents: u64) {
    let before = status("VmRSS");
    let start = cpu();
    let each = documents / SOURCES;
    let sources: Vec<SourceBlocks> = (0..SOURCES).map(|index| source(index, each)).collect();
    let made = cpu() - start;
    let budgets = vec![vec![each * 701 * 3 / 4; SOURCES as usize]];
    let config = OrderConfig { seed: 1, measure: Measure::Tokens };
    let folder = std::env::temp_dir().join(format!("dataprep-bench-mix-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("order.arrow");
    for packs in [false, true] {
        let mut writer = OrderWriter::create(&path).unwrap();
        let mut packer = packs.then(|| Packer::new(2048));
        let start = cpu();
        let mut put = |one: dataprep::mix::order::Placed| {
            writer.push(one.shard, one.row, one.source, one.tokens)
        };
        interleave(&sources, &budgets, config, |one| match &mut packer {
            Some(packer) => packer.push(one, &mut put),
            None => put(one),
        })
        .unwrap();
        let packing = packer.map(|packer| packer.finish(&mut put).unwrap());
        let laid = writer.finish().unwrap().documents;
        let seconds = cpu() - start;
        let peak = (status("VmHWM") - before) as f64 / documents as f64;
        let disk = std::fs::metadata(&path).unwrap().len() as f64 / laid as f64;
        let how = if packs { "packed" } else { "concat" };
        let speed = laid as f64 / seconds / 1e6;
        println!(
            "plan {how} {documents:>11} documents: {speed:6.2}M documents/CPU-s, {peak:5.1} bytes \
             of memory and {disk:4.1} of disk a document (synthesis {made:.1} s)"
        );
        if let Some(packing) = packing {
            let percent = |cut: u64| 100.0 * cut as f64 / packing.documents as f64;
            let (cut, concat) = (percent(packing.cut), percent(packing.cut_by_concat));
            println!("     cut: {cut:.2}% of the documents, concatenated {concat:.2}%");
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

fn feed(mix: &Path, sequence: usize, rows_max: usize) {
    let open = || {
        let mut feed = MixFeed::open(mix, &[], sequence).unwrap();
        feed.limit(feed.window_bytes()).unwrap();
        feed
    };
    let mut feed = open();
    let rows = (feed.row_count() as usize).min(rows_max) / ROWS * ROWS;
    for pass in 0..3 {
        let (start, clock) = (cpu(), Instant::now());
        let mut sum = 0u64;
        for first in (0..rows).step_by(ROWS) {
            let batch = feed.rows(first as u64, ROWS).unwrap();
            sum += u64::from(batch.inputs[0]) + u64::from(batch.targets[batch.targets.len() - 1]);
        }
        let (seconds, wall) = (cpu() - start, clock.elapsed().as_secs_f64());
        let tokens = (rows * sequence) as f64 / 1e6;
        let (speed, rate) = (tokens / seconds, tokens / wall);
        println!("feed pass {pass}: {speed:.0}M tokens/CPU-s, {rate:.0}M tokens/s, sum {sum}");
    }
    let mut times: Vec<f64> = (0..50).map(|draw| cold_row(mix, &open, mixed(draw), rows)).collect();
    times.sort_by(f64::total_cmp);
    println!("a row cold, with opening: median {:.1} ms, slowest {:.1} ms", times[25], times[49]);
}

/// Milliseconds from nothing to a row.
fn cold_row(mix: &Path, open: &dyn Fn() -> MixFeed, draw: u64, rows: usize) -> f64 {
    let record = MixRecord::read(mix).unwrap();
    let shards = record.locate(mix, &[]).unwrap_or_default();
    let own = ["order.arrow", "rows.arrow", "mix.json", "manifest.json"].map(|name| mix.join(name));
    for path in shards.iter().chain(&own) {
        if let Ok(file) = std::fs::File::open(path) {
            let all = rustix::fs::Advice::DontNeed;
            rustix::fs::fadvise(&file, 0, None, all).unwrap();
        }
    }
    let clock = Instant::now();
    let batch = open().rows(draw % rows as u64, 1).unwrap();
    assert_eq!(batch.rows, 1);
    clock.elapsed().as_secs_f64() * 1e3
}
