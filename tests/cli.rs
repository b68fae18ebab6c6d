//! What a person types and reads.

#[cfg(feature = "train")]
use crate::support::project;
use crate::support::{TestDir, documents};

fn snapshot(run: &crate::support::Run) -> String {
    format!("status {}\n--- stdout\n{}--- stderr\n{}", run.status, run.stdout, run.stderr)
}

#[test]
fn errors_say_what_is_wrong_and_what_to_do() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(5, 1));
    let run = directory.dataprep("dedup text/a.jsonl --out x --set verfy=0.5");
    insta::assert_snapshot!(snapshot(&run), @r"
    status 2
    --- stdout
    --- stderr
    error: unknown key `verfy` in the config of `dedup`
    hint: did you mean `verify`?
    ");
    let run = directory.dataprep("run");
    insta::assert_snapshot!(snapshot(&run), @r"
    status 2
    --- stdout
    --- stderr
    error: there is no recipe `dataprep.toml`
    hint: name one, as in `dataprep run pipelines/quickstart.toml`
    ");
    let run = directory.dataprep("inspect nowhere");
    assert_eq!((run.status, run.stdout.as_str()), (2, ""));
    assert!(run.stderr.contains("nothing at `nowhere`"), "{}", run.stderr);
}

#[test]
fn a_filter_says_what_it_dropped_and_why() {
    let directory = TestDir::new();
    let mut texts = documents(20, 1);
    texts.extend(["too short".to_owned(), "also too short".to_owned()]);
    directory.write_documents("text/a.jsonl", &texts);
    let run = directory.dataprep("filter text/a.jsonl --out clean --rules gopher_quality").ok();
    let printed = run.stdout.lines().skip(1).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(printed, @r"
      a         22 →        20  quality/gopher_short_doc 2
    in clean
    ");
}

#[test]
fn json_ends_with_a_summary() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(20, 1));
    let run = directory.dataprep("dedup text --out unique --json").ok();
    let summary = run.summary();
    assert_eq!(summary["type"], "summary");
    assert_eq!(summary["counts"]["in"], 20);
    assert!(summary["units"].is_u64() && summary["units_reused"].is_u64());
    let failed = directory.dataprep("dedup nowhere --out x --json");
    assert_eq!(failed.summary()["type"], "error");
}

#[test]
fn a_folder_with_a_recipe_runs_its_steps_by_name() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(30, 1));
    let recipe = "out = 'runs'\n[[step]]\nname = 'unique'\nstage = 'dedup'\nin = ['text']\n";
    directory.write("dataprep.toml", recipe);
    directory.dataprep("dedup").ok();
    assert!(directory.path("runs/unique/manifest.json").is_file());
    assert!(directory.dataprep("run").ok().stdout.contains("up to date"));
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(30, 1));
    let run = directory.dataprep("dedup text --out unique --dry-run").ok();
    assert!(run.stdout.contains("sign 1 unit,"), "{}", run.stdout);
    assert!(run.stdout.contains("documents are counted as they are read"), "{}", run.stdout);
    assert!(!directory.path("unique").exists() && !directory.path("unique.partial").exists());
    directory.dataprep("ingest text --out corpus").ok();
    for command in ["dedup corpus --out x", "tokenize corpus --out x --vocab 300"] {
        let run = directory.dataprep(&format!("{command} --dry-run --json")).ok();
        let plan: serde_json::Value =
            serde_json::from_str(run.stdout.lines().next().unwrap()).unwrap();
        let needs = &plan["plan"]["needs"];
        assert_eq!(needs["documents"], 30, "{command}");
        assert!(needs["memory"].as_u64() > Some(0), "{command}: {needs}");
        assert!(needs["disk"].as_u64() > Some(0), "{command}: {needs}");
    }
}

#[cfg(feature = "train")]
#[test]
fn every_recipe_and_config_of_the_project_is_valid() {
    let directory = TestDir::new();
    for folder in ["pipelines", "pipelines/claims"] {
        for entry in std::fs::read_dir(project().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let is_plan = text.lines().any(|line| line.starts_with("recipe = "));
            let command = match is_plan {
                true => format!("ablate {} --dry-run", path.display()),
                false => format!("run {} --out runs --dry-run", path.display()),
            };
            if path.extension().is_some_and(|extension| extension == "toml") {
                directory.dataprep(&command).ok();
            }
        }
    }
    for entry in std::fs::read_dir(project().join("configs/train")).unwrap() {
        let table = dataprep::base::config::read(&entry.unwrap().path()).unwrap();
        dataprep::train::TrainConfig::parse(table).unwrap();
    }
}

#[test]
fn the_help_of_a_stage_names_all_its_keys() {
    let directory = TestDir::new();
    for stage in dataprep::pipeline::registry::STAGES {
        let command = match stage.name {
            name @ ("classifier" | "tokenizer") => format!("{name} train"),
            name => name.to_owned(),
        };
        let help = directory.dataprep(&format!("{command} --help")).ok().stdout;
        let keys = (stage.keys)();
        assert!(!keys.is_empty(), "{}", stage.name);
        let missing: Vec<_> = keys.iter().filter(|key| !help.contains(**key)).collect();
        assert!(missing.is_empty(), "{}: {missing:?}", stage.name);
        let unique: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(unique.len(), keys.len(), "{} has a key twice", stage.name);
    }
}

#[cfg(feature = "train")]
#[test]
fn the_help_of_train_names_what_is_off_unless_it_is_asked_for() {
    let help = TestDir::new().dataprep("train --help").ok().stdout;
    for key in [
        "train.tokens",
        "train.ema",
        "train.recompute",
        "train.evals",
        "model.qk_norm",
        "model.rope_scaling",
        "optimizer.kind",
        "optimizer.groups",
        "lora.rank",
    ] {
        assert!(help.lines().any(|line| line.trim() == key), "{key}: {help}");
    }
    assert!(help.contains("train.keep = 3") && !help.contains("train.extended"), "{help}");
}

#[test]
fn completions_and_the_manual_know_every_command() {
    let directory = TestDir::new();
    let manual = directory.dataprep("manual").ok().stdout;
    for shell in ["bash", "zsh", "fish"] {
        let script = directory.dataprep(&format!("completions {shell}")).ok().stdout;
        assert!(script.contains("tokenize") && script.contains("dry-run"), "{shell}");
    }
    for stage in dataprep::pipeline::registry::STAGES {
        assert!(manual.contains(stage.name), "{}", stage.name);
    }
    assert!(manual.contains("unit_bytes"), "keys are part of the manual");
}

#[cfg(feature = "train")]
#[test]
fn a_new_project_has_a_valid_recipe_and_is_never_overwritten() {
    let directory = TestDir::new();
    directory.dataprep("init project").ok();
    directory.write_documents("project/text/a.jsonl", &documents(30, 1));
    directory.dataprep("run project/dataprep.toml --dry-run").ok();
    let again = directory.dataprep("init project");
    assert_eq!(again.status, 2, "{}", again.stderr);
}

#[test]
fn memory_that_is_not_enough_is_refused_before_the_work_with_the_number_that_is() {
    let directory = TestDir::new();
    directory.write_documents("text/a.jsonl", &documents(400, 1));
    for command in ["ingest text", "filter text --rules gopher_quality", "dedup text"] {
        let refused = directory.dataprep(&format!("{command} --out out --memory 20MiB"));
        assert_eq!(refused.status, 2, "{}", refused.stderr);
        assert!(refused.stderr.contains("allowed are 20.0 MiB"), "{}", refused.stderr);
        assert!(!directory.path("out.partial").exists());
        let hint = refused.stderr.split("`--memory ").nth(1).expect("a hint with the number");
        let enough = hint.split('`').next().unwrap();
        directory.dataprep(&format!("{command} --out out --threads 8 --memory {enough}")).ok();
        std::fs::remove_dir_all(directory.path("out")).unwrap();
    }
}

#[test]
fn doctor_says_what_the_machine_has_and_is_no_failure_without_a_gpu() {
    let directory = TestDir::new();
    let run = directory.dataprep("doctor").ok();
    for word in ["processor", "memory", "disk", "GPU", "driver", "libcublasLt.so.13"] {
        assert!(run.stdout.contains(word), "{word}: {}", run.stdout);
    }
    let summary = directory.dataprep("doctor --json").ok().summary();
    assert_eq!(summary["build"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(summary["hardware"]["cores"].as_u64().unwrap() > 0);
    assert!(summary["cuda"]["libraries"].as_array().unwrap().len() >= 2);
}

#[cfg(feature = "train")]
#[test]
fn doctor_plans_a_step_on_a_gpu_that_is_not_here() {
    let directory = TestDir::new();
    let run = directory.dataprep("doctor --model 124m --on h200,3090").ok();
    assert!(run.stdout.contains("124m, 123,587,328 parameters, on H200 SXM"), "{}", run.stdout);
    assert!(run.stdout.contains("attention_keys_64") && run.stdout.contains("RTX 3090"));
    let run = directory.dataprep("doctor --model 124m --on h200 --rows 8 --json").ok();
    let plan: serde_json::Value = serde_json::from_str(run.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&plan["type"], &plan["batch"]["rows"]), (&"plan".into(), &8.into()));
    directory.dataprep("doctor --model 124m-gpt2 --on 5090 --muon").ok();
    directory.dataprep("doctor --model 35m-gemma --on h200").ok();
    assert!(plan["rows"].as_array().unwrap().len() > 20 && plan["seconds"].as_f64().unwrap() > 0.0);
    let kernels = directory.dataprep("doctor --kernels --model 500m --on 4090").ok().stdout;
    assert!(kernels.contains("rms_norm_forward_2048") && !kernels.contains("geglu"), "{kernels}");
    // A width is solved for a shape that can be, never for one without heads.
    directory.write("odd.toml", "[model]\nvocab_size = 100\nn_head = 0\nfit_params = \"1M\"\n");
    for (command, wanted) in [
        ("doctor --model odd.toml --on h200", "`model.n_head` must be 1 to"),
        ("doctor --model 124m", "`--on` is missing"),
        ("doctor --model 124m --on tpu", "no figures of a GPU `tpu`"),
        ("doctor --model gpt5 --on h200", "no shape is called `gpt5`"),
        ("doctor --model 3m --on h200", "`model.d_head` has no kernel"),
        ("doctor --on h200", "`--on` says where"),
        ("doctor --kernels --model 124m --on h200 --rows 4", "'--kernels' cannot be used with"),
        ("doctor --kernels --model 124m --on h200 --muon", "'--kernels' cannot be used with"),
        ("doctor --model 124m --on h200 --rows 0", "1 or more"),
    ] {
        let run = directory.dataprep(command);
        assert_eq!(run.status, 2, "{command}");
        assert!(run.stderr.contains(wanted), "{command}: {}", run.stderr);
    }
}
