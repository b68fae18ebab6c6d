//! The command that measures training on a GPU, walked on the CPU with a tiny model.
//!
//! What needs PyTorch, a sanitizer of CUDA or the library's own tests says that it is skipped;
//! everything else must pass: the plan, the speed of steps, the run that is killed and continued.

use std::process::{Command, Output};

use crate::support::TestDir;

/// `tests/gpu/check.sh`, or a packed copy of it.
fn check(script: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("bash");
    command.arg(script).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.env("DATAPREP_BINARY", env!("CARGO_BIN_EXE_dataprep"));
    // A Python without packages: what PyTorch would measure here takes minutes.
    command.env("PYTHON", "python3").env("PYTHONNOUSERSITE", "1").env("PYTHONPATH", "");
    command.output().unwrap()
}

fn shown(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat()
}

#[test]
fn the_check_of_a_gpu_walks_its_steps_on_the_cpu() {
    let directory = TestDir::new();
    let pack = directory.path("pack").to_string_lossy().into_owned();
    let tiny = ["--device", "cpu", "--tiny"];
    let packed = check("tests/gpu/check.sh", &[&["pack", "--out", &pack], &tiny[..]].concat());
    assert!(packed.status.success(), "{}", shown(&packed));
    let run = check(&format!("{pack}/check.sh"), &[&["run", "--no-torch"], &tiny[..]].concat());
    let text = shown(&run);
    assert!(run.status.success(), "{text}");
    let table = directory.read("pack/out/table.md");
    for step in ["versions", "speed tiny", "resume"] {
        assert!(table.contains(&format!("| {step} | passed |")), "{table}\n{text}");
    }
    assert!(table.contains("16 steps killed at 8 and continued: equal"), "{table}");
    assert!(table.contains("| tiny | dataprep | "), "{table}");
    assert!(table.contains("| memcheck | skipped: "), "{table}");
}

#[test]
fn without_a_gpu_the_check_is_skipped() {
    let run = check("tests/gpu/check.sh", &["run"]);
    if Command::new("nvidia-smi").arg("-L").output().is_ok_and(|output| output.status.success()) {
        return;
    }
    assert!(run.status.success() && shown(&run).starts_with("skipped: no NVIDIA GPU"));
}

/// What `table.py` says of differences from the twin, nothing where they are near enough.
fn judged(differences: &str, device: &str) -> String {
    let program = format!(
        "import sys; sys.path.insert(0, 'tests/gpu'); import table\nnan = float('nan')\n\
         print(table.judged({differences}, '{device}'))"
    );
    let mut command = Command::new("python3");
    command.args(["-B", "-c", &program]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn losses_too_far_from_the_twins_fail() {
    for (differences, device) in [("[5e-4, 1e-2]", "cpu"), ("[5e-3, 5e-2]", "cuda")] {
        assert_eq!(judged(differences, device), "", "{differences} {device}");
    }
    for (differences, device, wrong) in [
        ("[]", "cpu", "no step"),
        ("[5e-3, 1e-3]", "cpu", "the first losses"),
        ("[1e-4, nan]", "cpu", "nan nats apart"),
        ("[nan]", "cuda", "the first losses"),
        ("[1e-3, 0.2]", "cuda", "losses are 2.00e-01"),
    ] {
        let found = judged(differences, device);
        assert!(found.contains(wrong), "{differences} {device}: {found}");
    }
}

#[test]
fn a_gpu_whose_figures_are_not_known_is_no_other() {
    let directory = TestDir::new();
    let out = directory.path("").to_string_lossy().into_owned();
    for (name, wanted) in [
        ("NVIDIA H200", "h200"),
        ("NVIDIA GeForce RTX 5090", "5090"),
        ("NVIDIA GeForce RTX 4070", "4070"),
        ("NVIDIA GeForce RTX 4070 Ti", "unknown"),
        ("NVIDIA H100 PCIe", "unknown"),
        ("Linux x86_64", "unknown"),
    ] {
        directory.write("gpu.txt", format!("{name}, 580.95.05, 24564 MiB\n"));
        let run =
            check("tests/gpu/check.sh", &["step", "--device", "cpu", "--out", &out, "gpu_name"]);
        assert_eq!(String::from_utf8_lossy(&run.stdout).trim(), wanted, "{name}: {}", shown(&run));
    }
}

/// A step that is over its time ends with all that it has started, also what would go on at SIGTERM
/// as a training run does to write its checkpoint; and what is to be kept is kept.
#[test]
fn a_step_of_the_check_that_is_over_its_time_leaves_nothing_running() {
    let directory = TestDir::new();
    let path = |name: &str| directory.path(name).to_string_lossy().into_owned();
    let (out, late) = (path("out"), path("late"));
    std::fs::create_dir_all(&out).unwrap();
    std::fs::create_dir_all(path("kept")).unwrap();
    std::fs::write(path("out/result.jsonl"), "").unwrap();
    let work = format!("(trap '' TERM; sleep 60; touch {late}) & wait");
    let mut command = Command::new("bash");
    let flags = ["tests/gpu/check.sh", "step", "--device", "cpu", "--out", &out];
    command.args(flags).args(["step", "stubborn", "1", "bash", "-c", &work]);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("deadline", "100");
    let start = std::time::Instant::now();
    let output = command.env("OUT", path("kept")).output().unwrap();
    assert!(start.elapsed().as_secs() < 40, "{}", shown(&output));
    assert!(shown(&output).contains("=== stubborn: over its 1 s"), "{}", shown(&output));
    assert!(directory.read("kept/result.jsonl").contains("over its 1 s"));
    assert!(directory.path("kept/logs.tar.gz").exists());
    // Whoever was killed may still be dying.
    while processes_with(&late) > 0 {
        assert!(start.elapsed().as_secs() < 40, "{} go on", processes_with(&late));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// How many processes have `argument` in their command lines.
fn processes_with(argument: &str) -> usize {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let command = |process: std::fs::DirEntry| std::fs::read(process.path().join("cmdline"));
    let commands = processes.filter_map(|process| command(process).ok());
    commands.filter(|command| String::from_utf8_lossy(command).contains(argument)).count()
}

/// What a step that was ended has left of a record, and a memory that nobody could ask for.
#[test]
fn the_table_of_the_check_survives_half_a_record() {
    let directory = TestDir::new();
    std::fs::create_dir_all(directory.path("out")).unwrap();
    let whole = r#"{"step": "status", "name": "twin", "status": "passed", "seconds": 3}"#;
    let text = [whole, r#"{"step": "speed", "si"#, r#"{"other": 1}"#, ""].join("\n");
    std::fs::write(directory.path("out/result.jsonl"), text).unwrap();
    let mut command = Command::new("python3");
    command.args(["-B", "tests/gpu/table.py", "table"]).arg(directory.path("out"));
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert!(shown(&output).contains("| twin | passed | 3 |"), "{}", shown(&output));
}
