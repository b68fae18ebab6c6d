//! A fresh directory, the binary, and what to compare afterwards.

pub mod beside;
#[cfg(feature = "train")]
pub mod host_machine;
#[cfg(feature = "hub")]
pub mod hub;
pub mod memory;
#[cfg(feature = "hub")]
pub mod objects;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use dataprep::base::hash::xxh3_128;

/// A directory of its own for one test; the commands run in it.
pub struct TestDir {
    directory: tempfile::TempDir,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Run {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Fails the test with everything printed unless the command succeeded.
    #[track_caller]
    pub fn ok(self) -> Run {
        assert_eq!(self.status, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The last JSON record on stdout.
    pub fn summary(&self) -> serde_json::Value {
        serde_json::from_str(self.stdout.lines().last().unwrap_or_default()).unwrap()
    }
}

impl TestDir {
    pub fn new() -> TestDir {
        TestDir { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// How many files and folders there are, to make a name that is new.
    pub fn entries(&self) -> usize {
        fs::read_dir(self.directory.path()).unwrap().count()
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Copies a file or folder of the project here.
    pub fn copy(&self, from: &Path, name: &str) {
        if !from.is_dir() {
            return self.write(name, fs::read(from).unwrap());
        }
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_string_lossy();
            self.copy(&path, &format!("{name}/{file}"));
        }
    }

    /// Writes `documents` as JSON Lines.
    pub fn write_documents(&self, name: &str, documents: &[String]) {
        let line = |text: &String| serde_json::json!({ "text": text }).to_string() + "\n";
        self.write(name, documents.iter().map(line).collect::<String>());
    }

    /// The command that runs the binary here; `arguments` are split at white space.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dataprep"));
        command.args(arguments.split_whitespace()).current_dir(self.directory.path());
        command.env_remove("NO_COLOR").stdin(Stdio::null());
        command
    }

    /// Runs the binary here, to its end.
    pub fn dataprep(&self, arguments: &str) -> Run {
        let output = self.command(arguments).output().unwrap();
        Run {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts the binary here, silent.
    pub fn spawn(&self, arguments: &str) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Every file below `name` with the hash of its bytes, but for those that hold clocks or
    /// places.
    pub fn tree(&self, name: &str) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        collect(&self.path(name), &self.path(name), &mut files);
        files
    }

    /// A file's text with this directory's path taken out.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

/// Files that may differ between equal runs (docs/design.md, section 2.3).
fn may_differ(name: &str) -> bool {
    let clocks = ["run.json", "timing.jsonl", "report.html", ".lock", "state.json"];
    clocks.contains(&name) || name.starts_with("events.")
}

fn collect(root: &Path, directory: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // A checkpoint's state is its own: it must be equal.
        let in_checkpoint = path.components().any(|part| part.as_os_str() == "checkpoints");
        if in_checkpoint || !may_differ(&name) {
            let relative = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            files.insert(relative, xxh3_128(&fs::read(&path).unwrap()).to_string());
        }
    }
}

/// The project's folder.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Documents of a few hundred words over a small vocabulary, some of them near-copies of earlier
/// ones: enough for every stage to have something to do.
pub fn documents(count: usize, seed: u64) -> Vec<String> {
    let mut stream = dataprep::base::rng::Stream::new(seed, "test documents");
    let mut documents: Vec<String> = Vec::new();
    for index in 0..count {
        let copied = index % 5 == 4;
        let mut words: Vec<String> = match copied {
            true => documents[index - 3].split(' ').map(str::to_owned).collect(),
            false => (0..60 + stream.next_u64() % 200).map(|_| word(&mut stream)).collect(),
        };
        if index % 10 == 9 {
            let place = stream.next_u64() as usize % words.len();
            words[place] = word(&mut stream);
        }
        documents.push(words.join(" "));
    }
    documents
}

fn word(stream: &mut dataprep::base::rng::Stream) -> String {
    const COMMON: [&str; 12] =
        ["the", "of", "and", "that", "have", "with", "to", "be", "cell", "water.", "law,", "year"];
    match stream.next_u64() % 3 {
        0 => format!("term{}", stream.next_u64() % 400),
        _ => COMMON[stream.next_u64() as usize % COMMON.len()].to_owned(),
    }
}
