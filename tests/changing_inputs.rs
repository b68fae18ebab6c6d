//! Input files that are cut, continued, edited or replaced while a stage runs or after it was
//! killed: never two states of a file in one output, and never the old one for the new.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use dataprep::{
    artifact::{
        counts::Counts,
        record::Kind,
        stage::{Plan, Published, Stage, TextInputs, Unit, Work},
    },
    base::{
        error::{Error, Result},
        progress::{Progress, Style},
        size::Bytes,
    },
    pipeline::{
        execute,
        job::Work as Shape,
        options::{Listener, Options, Outcome},
        registry,
        request::{Request, Training},
    },
};

use crate::support::{TestDir, documents};

/// Something that happens to the inputs at a known moment.
type Event<'a> = &'a (dyn Fn() -> Result<()> + Sync);

/// A stage to whose inputs something happens in the middle of one of its units.
struct Disturbed<'a> {
    stage: Box<dyn Stage>,
    at: Unit,
    /// Before the unit reads, else after.
    before: bool,
    event: Event<'a>,
    happened: AtomicBool,
}

impl Stage for Disturbed<'_> {
    fn name(&self) -> &'static str {
        self.stage.name()
    }
    fn kind(&self) -> Kind {
        self.stage.kind()
    }
    fn version(&self) -> u32 {
        self.stage.version()
    }
    fn config(&self) -> serde_json::Value {
        self.stage.config()
    }
    fn seed(&self) -> u64 {
        self.stage.seed()
    }
    fn text(&self) -> Option<&dyn TextInputs> {
        self.stage.text()
    }
    fn plan(&self) -> Result<Plan> {
        self.stage.plan()
    }
    fn run_unit(&self, unit: Unit, work: &Work<'_>) -> Result<Counts> {
        let now = unit == self.at && !self.happened.swap(true, Relaxed);
        if now && self.before {
            (self.event)()?;
        }
        let counts = self.stage.run_unit(unit, work)?;
        if now && !self.before {
            (self.event)()?;
        }
        Ok(counts)
    }
    fn finish(&self, published: &Published<'_>) -> Result<Counts> {
        self.stage.finish(published)
    }
    fn manifest_keys(
        &self,
        published: &Published<'_>,
    ) -> Result<BTreeMap<String, serde_json::Value>> {
        self.stage.manifest_keys(published)
    }
}

/// One stage over one input.
struct Job<'a> {
    directory: &'a TestDir,
    stage: &'a str,
    input: &'a str,
    keys: &'a str,
    threads: usize,
    skip_bad_files: bool,
}

impl<'a> Job<'a> {
    fn new(directory: &'a TestDir, stage: &'a str, input: &'a str) -> Job<'a> {
        let keys = match stage {
            "tokenizer" => "vocab = 300",
            "filter" => "rules = ['gopher_quality']",
            _ => "",
        };
        Job { directory, stage, input, keys, threads: 1, skip_bad_files: false }
    }

    fn threads(self, threads: usize) -> Self {
        Job { threads, ..self }
    }

    fn open(&self, out: &str) -> (Box<dyn Stage>, std::path::PathBuf) {
        let out = self.directory.path(out);
        let config = format!(
            "unit_bytes = '128KiB'\nholdout = 0\nmax_bad = 1.0\nskip_bad_files = {}\n{}",
            self.skip_bad_files, self.keys
        );
        let request = Request {
            name: self.stage.to_owned(),
            stage: self.stage.to_owned(),
            inputs: vec![self.directory.path(self.input).to_string_lossy().into_owned()],
            out: out.clone(),
            config: config.parse().unwrap(),
            after: Vec::new(),
            newest: false,
            training: Training::default(),
        };
        let job = (registry::find(self.stage).unwrap().open)(&request).unwrap();
        let Shape::Units(stage) = job.work else { panic!("`{}` has units", self.stage) };
        (stage, out)
    }

    fn execute(&self, stage: &dyn Stage, out: &Path) -> Result<Outcome> {
        let options = Options {
            threads: self.threads,
            memory: Bytes(1 << 30),
            temp_dir: None,
            fresh: false,
            replace: false,
            keeps: false,
        };
        let (progress, silent) = (Progress::new(Style::None), |_: &str| ());
        let listener = Listener { progress: &progress, say: &silent, warn: &silent };
        execute::execute(stage, out, &options, listener)
    }

    /// Runs undisturbed.
    fn run(&self, out: &str) -> Result<Outcome> {
        let (stage, out) = self.open(out);
        self.execute(stage.as_ref(), &out)
    }

    /// Runs, and lets `event` happen in one unit of the first phase, or of a later one.
    fn disturbed(
        &self,
        out: &str,
        (phase, index): (usize, usize),
        before: bool,
        event: Event<'_>,
    ) -> Result<Outcome> {
        let (stage, out) = self.open(out);
        let (at, happened) = (Unit { phase, index }, AtomicBool::new(false));
        let stage = Disturbed { stage, at, before, event, happened };
        let outcome = self.execute(&stage, &out);
        assert!(stage.happened.load(Relaxed), "unit {at:?} did not run: {:?}", outcome.err());
        outcome
    }
}

/// What a stage made of the inputs as they are, undisturbed and elsewhere.
fn fresh(job: &Job<'_>) -> BTreeMap<String, String> {
    let out = format!("fresh-{}", job.directory.entries());
    job.run(&out).unwrap();
    job.directory.tree(&out)
}

fn lines(count: usize, seed: u64) -> String {
    let texts = documents(count, seed).into_iter().enumerate();
    texts
        .map(|(id, text)| serde_json::json!({ "id": id, "text": text }).to_string() + "\n")
        .collect()
}

/// Parquet without compression or dictionary, so that a text can be edited in place.
fn parquet(count: usize, seed: u64) -> Vec<u8> {
    use arrow::array::{ArrayRef, StringArray};
    use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};
    let texts: ArrayRef = Arc::new(StringArray::from(documents(count, seed)));
    let batch = arrow::record_batch::RecordBatch::try_from_iter([("text", texts)]).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(100))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

/// A folder with `text/a.NAME` of about a megabyte, eight units or so.
fn with_input(name: &str) -> TestDir {
    let directory = TestDir::new();
    let bytes = match name {
        "a.parquet" => parquet(1000, 1),
        _ => lines(1000, 1).into_bytes(),
    };
    directory.write(&format!("text/{name}"), bytes);
    directory.write("text/b.jsonl", lines(30, 2));
    directory
}

/// Writes other letters over some of a text, in place: same size, and between the samples.
fn edit(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let third = bytes.len() / 4;
    let is_letters = |at: &usize| bytes[*at..at + 3].iter().all(u8::is_ascii_lowercase);
    let place = (third..).find(is_letters).unwrap();
    overwrite(path, place as u64, b"zzz");
}

fn overwrite(path: &Path, place: u64, bytes: &[u8]) {
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(place)).unwrap();
    file.write_all(bytes).unwrap();
}

fn message(outcome: Result<Outcome>) -> String {
    outcome.expect_err("the damage passed").to_string()
}

#[test]
fn a_file_cut_or_continued_while_it_is_read_is_damaged() {
    for (name, stage) in [("a.jsonl", "ingest"), ("a.parquet", "dedup"), ("a.jsonl", "tokenizer")] {
        for (threads, before, grow) in [(1, true, false), (2, false, false), (2, true, true)] {
            let directory = with_input(name);
            let path = directory.path(&format!("text/{name}"));
            let size = path.metadata().unwrap().len();
            let wanted = if grow { size + 9 } else { size / 3 };
            let event = || {
                File::options().write(true).open(&path).unwrap().set_len(wanted).unwrap();
                Ok(())
            };
            let job = Job::new(&directory, stage, "text").threads(threads);
            let error = message(job.disturbed("out", (0, 2), before, &event));
            let expected = format!("expected {size} bytes, found {wanted}");
            assert!(error.contains(name) && error.contains(&expected), "{stage}: {error}");
            assert!(!directory.path("out").exists());
        }
    }
}

#[test]
fn a_file_removed_while_it_is_read_is_damaged_and_can_be_left_out() {
    let directory = with_input("a.jsonl");
    let path = directory.path("text/a.jsonl");
    let event = || {
        fs::remove_file(&path).unwrap();
        Ok(())
    };
    let job = Job { skip_bad_files: true, ..Job::new(&directory, "ingest", "text") };
    let outcome = job.disturbed("out", (0, 2), true, &event).unwrap();
    assert_eq!(outcome.manifest.skipped_files, ["a.jsonl"]);
    assert_eq!(outcome.manifest.counts.documents_out, 30);
}

#[test]
fn an_edit_while_a_unit_reads_is_damage_and_the_next_run_starts_from_the_new_text() {
    for name in ["a.jsonl", "a.parquet"] {
        for threads in [1, 2] {
            let directory = with_input(name);
            let path = directory.path(&format!("text/{name}"));
            let job = Job::new(&directory, "ingest", "text").threads(threads);
            let event = || {
                edit(&path);
                Ok(())
            };
            let error = message(job.disturbed("out", (0, 5), false, &event));
            assert!(error.contains("changed while it was read: bytes"), "{error}");
            assert!(error.contains(name), "{error}");
            let outcome = job.run("out").unwrap();
            // The edit lies in what one earlier unit has read, or two that overlap.
            assert!(outcome.notices[0].contains("discarded"), "{outcome:?}");
            assert!(outcome.units_reused >= 3, "{outcome:?}");
            assert_eq!(directory.tree("out"), fresh(&job));
        }
    }
}

#[test]
fn an_edit_between_a_kill_and_the_next_run_does_the_units_again_that_read_it() {
    for (stage, name, after) in [
        ("ingest", "a.jsonl", (0, 5)),
        ("filter", "a.parquet", (0, 5)),
        ("dedup", "a.jsonl", (1, 0)),
        ("dedup", "a.jsonl", (4, 3)),
        ("tokenizer", "a.parquet", (1, 0)),
    ] {
        for threads in [1, 2] {
            let directory = with_input(name);
            let path = directory.path(&format!("text/{name}"));
            let job = Job::new(&directory, stage, "text").threads(threads);
            let killed = job.disturbed("out", after, true, &|| Err(Error::Interrupted));
            assert!(matches!(killed, Err(Error::Interrupted)), "{killed:?}");
            let modified = path.metadata().unwrap().modified().unwrap();
            edit(&path);
            // Whoever edits may put the time back; the system's own tells.
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
            let outcome = job.run("out").unwrap();
            let discarded = outcome.notices.iter().find(|notice| notice.contains("discarded"));
            let discarded = discarded.unwrap_or_else(|| panic!("{stage}: {outcome:?}"));
            assert!(discarded.contains(name) && discarded.contains("changed"), "{discarded}");
            assert!(outcome.units_reused > 0, "{stage}: {outcome:?}");
            assert_eq!(directory.tree("out"), fresh(&job), "{stage}");
            assert!(job.run("out").unwrap().up_to_date);
        }
    }
}

#[test]
fn a_file_that_was_only_touched_or_copied_back_costs_no_unit() {
    let directory = with_input("a.jsonl");
    let path = directory.path("text/a.jsonl");
    let job = Job::new(&directory, "dedup", "text");
    let copied = || {
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        Ok(())
    };
    let killed = job.disturbed("out", (2, 2), true, &|| copied().and(Err(Error::Interrupted)));
    assert!(matches!(killed, Err(Error::Interrupted)), "{killed:?}");
    copied().unwrap();
    let outcome = job.disturbed("out", (2, 4), true, &copied).unwrap();
    assert!(outcome.units_reused > 10 && outcome.notices.is_empty(), "{outcome:?}");
    assert_eq!(directory.tree("out"), fresh(&job));
}

#[test]
fn an_edit_between_phases_is_damage_in_every_stage_of_several() {
    for (stage, name, at) in [
        ("dedup", "a.jsonl", (1, 0)),
        ("dedup", "a.parquet", (3, 0)),
        ("dedup", "a.jsonl", (4, 1)),
        ("tokenizer", "a.jsonl", (1, 0)),
    ] {
        for threads in [1, 2] {
            let directory = with_input(name);
            let path = directory.path(&format!("text/{name}"));
            let event = || {
                edit(&path);
                Ok(())
            };
            let job = Job::new(&directory, stage, "text").threads(threads);
            let error = message(job.disturbed("out", at, true, &event));
            assert!(error.contains("changed while it was read: bytes"), "{stage}: {error}");
            let outcome = job.run("out").unwrap();
            assert!(outcome.units_reused > 0, "{stage}: {outcome:?}");
            assert_eq!(directory.tree("out"), fresh(&job), "{stage}");
        }
    }
}

#[test]
fn a_file_edited_between_phases_can_be_left_out_whole() {
    let directory = with_input("a.jsonl");
    let path = directory.path("text/a.jsonl");
    let event = || {
        edit(&path);
        Ok(())
    };
    let job = Job { skip_bad_files: true, ..Job::new(&directory, "dedup", "text") };
    let outcome = job.disturbed("out", (1, 0), true, &event).unwrap();
    assert_eq!(outcome.manifest.skipped_files, ["a.jsonl"]);
    assert_eq!(outcome.manifest.counts.documents_in, 30);
}

#[test]
fn a_part_of_a_corpus_that_is_not_what_its_manifest_says_is_damaged() {
    let directory = with_input("a.jsonl");
    Job::new(&directory, "ingest", "text").run("corpus").unwrap();
    let job = Job::new(&directory, "dedup", "corpus");
    job.run("out").unwrap();
    let part = directory.path("corpus/part-00002.parquet");
    let whole = fs::read(&part).unwrap();
    let places = [whole.len() as u64 / 2, 0];
    for (place, cut) in [(places[0], None), (places[1], Some(whole.len() - 7))] {
        overwrite(&part, place, b"?");
        if let Some(bytes) = cut {
            fs::write(&part, &whole[..bytes]).unwrap();
        }
        let error = message(job.run("out"));
        assert!(error.contains("part-00002.parquet"), "{error}");
        let expected = match cut {
            None => "its content is not what the manifest beside it says".to_owned(),
            Some(bytes) => format!("expected {} bytes, found {bytes}", whole.len()),
        };
        assert!(error.contains(&expected), "{error}");
        let skipping = Job { skip_bad_files: true, ..Job::new(&directory, "dedup", "corpus") };
        let outcome = skipping.run(&format!("without-{place}")).unwrap();
        assert!(outcome.manifest.counts.documents_in > 500);
        fs::remove_dir_all(directory.path("out.partial")).unwrap();
    }
    // The same bytes at another time are what the manifest describes.
    fs::write(&part, &whole).unwrap();
    assert!(job.run("out").unwrap().up_to_date);
}

#[test]
fn a_part_of_a_corpus_edited_while_it_is_read_is_damaged() {
    let directory = with_input("a.jsonl");
    Job::new(&directory, "ingest", "text").run("corpus").unwrap();
    let part = directory.path("corpus/part-00000.parquet");
    let event = || {
        let middle = part.metadata().unwrap().len() / 2;
        overwrite(&part, middle, b"????");
        Ok(())
    };
    for at in [(0, 0), (1, 0)] {
        let job = Job::new(&directory, "tokenizer", "corpus").threads(2);
        let error = message(job.disturbed("out", at, false, &event));
        assert!(error.contains("part-00000.parquet"), "{error}");
        assert!(error.contains("not what the manifest beside it says"), "{error}");
        fs::remove_dir_all(directory.path("out.partial")).unwrap();
        fs::remove_dir_all(directory.path("corpus")).unwrap();
        Job::new(&directory, "ingest", "text").run("corpus").unwrap();
    }
}
