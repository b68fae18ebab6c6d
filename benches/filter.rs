//! Where the time of `filter` goes, part by part and rule by rule.
//!
//! ```text
//! cargo bench --bench filter -- [FILE.parquet|FILE.txt|FOLDER|MODEL.bin|MODEL.ftz]... [only=NAME]
//! ```
//!
//! In → texts: the column `text` of Parquet files, or a text file as one document; by default
//! `../shared/data/corpora/{wikipedia,openstax,techdocs}`, and no measurement where they are not.
//! Out → a line a part: MB of text (10⁶ bytes) and ns a document, by CPU seconds of this process,
//! the median of five runs, and how many times one scan of the text that takes: `scan` adds up all
//! bytes. Each part begins from the text (so `2-grams` has the cost of `words` in it). fastText
//! models are measured as `language`, and as `classifier` when they have two labels;
//! `benches/compare_fasttext.py` compares that with the package fastText. `only=` measures one
//! part.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a bench reads a clock")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "and prints what it found")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use arrow::datatypes::DataType;
use dataprep::base::config::Table;
use dataprep::filter::config::FilterConfig;
use dataprep::filter::presets::{self, PRESETS};
use dataprep::filter::rules::{RULE_SETS, RuleSet, judge};
use dataprep::filter::view::{Room, Splitter, View};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUNS: usize = 5;

/// Rule sets that judge by something beside the text, or by a file of the user's.
const NEED_MORE: [&str; 4] = ["fineweb_edu", "url_lists", "classifier", "language"];

type Rules = Vec<Box<dyn RuleSet>>;

fn main() {
    let arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (only, paths): (Vec<_>, Vec<_>) = arguments.partition(|a| a.starts_with("only="));
    let is_model = |path: &PathBuf| path.extension().is_some_and(|e| e == "bin" || e == "ftz");
    let (models, mut inputs): (Vec<_>, Vec<_>) =
        paths.iter().map(PathBuf::from).partition(is_model);
    if inputs.is_empty() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/corpora");
        inputs = ["wikipedia", "openstax", "techdocs"].map(|name| corpora.join(name)).into();
        inputs.retain(|path| path.exists());
    }
    let mut texts = Vec::new();
    inputs.iter().for_each(|path| read(path, &mut texts));
    if texts.is_empty() {
        println!("skipped: no texts; name Parquet files to measure");
        return;
    }
    let only = only.first().map(|only| only["only=".len()..].to_owned());
    let mut bench = Bench { texts, only, scan: f64::NAN };
    println!("{} documents, {:.1} MB", bench.texts.len(), bench.megabytes());
    println!("{:<36} {:>9} {:>12} {:>7}", "part", "MB/s", "ns/document", "scans");
    bench.scans();
    bench.parts();
    bench.rules();
    for model in &models {
        bench.model(model);
    }
}

/// The texts of a file, or of all in a folder.
fn read(path: &Path, texts: &mut Vec<String>) {
    if path.is_dir() {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "parquet"));
        files.sort();
        return files.iter().for_each(|file| read(file, texts));
    }
    if path.extension().is_none_or(|extension| extension != "parquet") {
        return texts.push(std::fs::read_to_string(path).unwrap());
    }
    let file = std::fs::File::open(path).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let mask = ProjectionMask::columns(builder.parquet_schema(), ["text"]);
    for batch in builder.with_projection(mask).build().unwrap() {
        let column = arrow::compute::cast(batch.unwrap().column(0), &DataType::LargeUtf8).unwrap();
        texts.extend(column.as_string::<i64>().iter().flatten().map(str::to_owned));
    }
}

/// CPU seconds of this process.
fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

struct Bench {
    texts: Vec<String>,
    only: Option<String>,
    /// Seconds of one scan.
    scan: f64,
}

impl Bench {
    fn megabytes(&self) -> f64 {
        self.texts.iter().map(String::len).sum::<usize>() as f64 / 1e6
    }

    /// Measures `work` on every text; its CPU seconds.
    fn time(&self, name: &str, mut work: impl FnMut(&str) -> usize) -> f64 {
        if self.only.as_ref().is_some_and(|only| only != name) {
            return f64::NAN;
        }
        let mut seconds = Vec::new();
        for _ in 0..RUNS {
            let start = cpu_seconds();
            for text in &self.texts {
                std::hint::black_box(work(text));
            }
            seconds.push(cpu_seconds() - start);
        }
        seconds.sort_by(f64::total_cmp);
        let median = seconds[RUNS / 2];
        let scan = if self.scan.is_nan() { median } else { self.scan };
        println!(
            "{name:<36} {:>9.1} {:>12.0} {:>7.1}",
            self.megabytes() / median,
            median / self.texts.len() as f64 * 1e9,
            median / scan
        );
        median
    }

    /// What one pass over the text takes at least, in three ways.
    fn scans(&mut self) {
        let sum = |text: &str| text.bytes().map(usize::from).sum();
        self.scan = self.time("scan", sum);
        self.time("scan for line feeds", |text| {
            memchr::memchr_iter(b'\n', text.as_bytes()).count()
        });
        self.time("scan as UTF-8", |text| std::str::from_utf8(text.as_bytes()).map_or(0, str::len));
    }

    /// What rules ask of a text.
    fn parts(&self) {
        let ask = |name: &str, question: &dyn Fn(&mut View<'_>) -> usize| {
            let mut room = Room::new(Splitter::reference());
            self.time(name, |text| question(&mut room.view(text)));
        };
        ask("characters", &|view| view.chars());
        ask("lines that repeat", &|view| view.duplicate_lines().copies);
        ask("paragraphs that repeat", &|view| view.duplicate_paragraphs().copies);
        ask("words", &|view| view.words().len());
        ask("words, totals", &|view| view.totals().substantial);
        ask("words, bounds of 2- to 4-grams", &|view| {
            (2..=4).map(|n| view.common_chars_bound(n)).sum()
        });
        ask("words, most common 2-gram", &|view| view.most_common(2).count);
        ask("words, most common 2- to 4-gram", &|view| {
            (2..=4).map(|n| view.most_common(n).count).sum()
        });
        ask("words, repeated 5-grams", &|view| view.repeated_chars(5));
        ask("words, repeated 5- to 10-grams", &|view| {
            (5..=10).map(|n| view.repeated_chars(n)).sum()
        });
        let mut room = Room::new(Splitter::WhiteSpace);
        self.time("white-space words", |text| room.view(text).words().len());
    }

    /// Each rule set alone, as it judges and complete; each preset so.
    fn rules(&self) {
        let sets = RULE_SETS.iter().filter(|entry| !NEED_MORE.contains(&entry.name));
        for entry in sets {
            let rules = vec![(entry.build)(Table::new()).unwrap()];
            self.judge(&format!("rules {}", entry.name), &rules);
        }
        self.judge("language, built in", &built(FilterConfig::new(["language"])));
        for preset in PRESETS.iter().filter(|preset| preset.name != "fineweb-edu") {
            let rules = built(presets::named(preset.name).unwrap());
            self.judge(&format!("preset {}", preset.name), &rules);
            self.complete(&format!("preset {}, complete", preset.name), &rules);
        }
    }

    fn judge(&self, name: &str, rules: &Rules) -> f64 {
        let mut room = Room::new(Splitter::reference());
        self.time(name, |text| usize::from(judge(rules, &mut room.view(text)).is_none()))
    }

    fn complete(&self, name: &str, rules: &Rules) {
        let mut room = Room::new(Splitter::reference());
        self.time(name, |text| {
            let (mut view, mut measures) = (room.view(text).complete(), 0);
            for rule_set in rules {
                let _ = rule_set.measure(&mut view, &mut |_| {
                    measures += 1;
                    ControlFlow::Continue(())
                });
            }
            measures
        });
    }

    /// A fastText model, as a classifier if it has two labels, else as languages.
    fn model(&self, path: &Path) {
        let mut file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
        let size = path.metadata().unwrap().len();
        let model = dataprep::fasttext::Model::read(&mut file, size).unwrap();
        let label = model.labels()[0].trim_start_matches("__label__").to_owned();
        let (set, key) = match model.labels().len() {
            2 => ("classifier", format!("label = '{label}'")),
            _ => ("language", format!("languages = ['{label}']")),
        };
        drop(model);
        let table = format!("model = '{}'\n{key}", path.display()).parse().unwrap();
        let mut config = FilterConfig::new([set]);
        config.thresholds.insert(set.into(), toml::Value::Table(table));
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        self.judge(&format!("{set} {}", name.unwrap_or_default()), &built(config));
    }
}

fn built(config: FilterConfig) -> Rules {
    config.build().unwrap()
}
