//! Training and generation as people meet them: refused before any work, damaged, extended.

mod memory;

use dataprep::{
    runtime::{data::Batch, device::Device, tensors},
    train::Trained,
};

use crate::{
    determinism::{RECIPE, with_recipe},
    support::{Run, TestDir},
};

/// A model of some thousand parameters, and few steps.
const SMALL: &str = "--set model.d_model=32 --set model.n_layer=1 --set model.n_head=2 \
    --set model.n_kv_head=1 --set model.d_ff=48 --set train.sequence=64 \
    --set train.micro_batch=4 --set train.batch_tokens=256 --set train.warmup_steps=2 \
    --set train.checkpoint_every=5 --set train.sample_tokens=8";

/// A directory with a mix of 24,000 tokens.
fn with_mix() -> TestDir {
    let directory = with_recipe(RECIPE);
    directory.dataprep("run recipe.toml -q").ok();
    directory
}

fn train(directory: &TestDir, more: &str) -> Run {
    train_to(directory, "run", more)
}

fn train_to(directory: &TestDir, out: &str, more: &str) -> Run {
    directory.dataprep(&format!("train --data runs/mix --out {out} {SMALL} {more}"))
}

#[track_caller]
fn assert_refused(run: &Run, parts: &[&str]) {
    assert_eq!(run.status, 2, "{}", run.stderr);
    assert_eq!(run.stdout, "", "something was done");
    for part in parts {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
}

#[test]
fn what_cannot_be_trained_is_refused_by_the_keys_that_were_typed() {
    let directory = with_mix();
    for (sets, parts) in [
        ("--set train.decay_fraction=2.0", &["`train.decay_fraction` is 2"][..]),
        ("--set train.learning_rate_min=-1.0", &["`train.learning_rate_min` is -1"]),
        ("--set train.epsilon=0.0", &["`train.epsilon` is 0"]),
        ("--set train.weight_decay=1000.0", &["`train.weight_decay` is 1000"]),
        ("--set train.micro_batch=4294967296", &["`train.micro_batch` is 4294967296"]),
        ("--set train.sequence=4294967296", &["`train.sequence` is 4294967296"]),
        ("--set train.steps=1000000000000", &["256,000,000,000,000 tokens", "the mix has"]),
        ("--set train.nonsense=1", &["unknown key `nonsense`"]),
        ("--seed 18446744073709551615", &["18446744073709551615", "9223372036854775807"]),
        ("--set train.batch_tokens=256k --set train.steps=all", &["lower `train.batch_tokens`"]),
        (
            "--set model.d_model=1048576",
            &["training needs", "allowed", "`model.d_model`", "--memory"],
        ),
        ("--memory 20MiB", &["training needs", "20.0 MiB are allowed", "process"]),
    ] {
        assert_refused(&train(&directory, sets), parts);
        assert!(!directory.path("run").exists(), "{sets}");
    }
    let refused = train(&directory, "--set train.batch_tokens=256k --set train.steps=all");
    assert!(!refused.stderr.contains("steps = \"all\""), "{}", refused.stderr);
    // A smaller part of a batch is offered where it fits.
    let wide = "--threads 2 --set train.batch_tokens=16384 --set train.micro_batch=256";
    let tight = format!("{wide} --memory {}B", planned(&directory, wide) * 9 / 10);
    assert_refused(&train(&directory, &tight), &["`train.micro_batch = "]);
}

/// The memory that a dry run of `train` plans, in bytes.
fn planned(directory: &TestDir, sets: &str) -> u64 {
    let plan = train(directory, &format!("{sets} --dry-run --json")).ok();
    let records = plan.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
    let plan: serde_json::Value =
        records.into_iter().find(|it: &serde_json::Value| it["type"] == "plan").unwrap();
    plan["plan"]["memory"]["total"].as_u64().unwrap()
}

#[test]
fn a_dry_run_says_what_the_run_would_warn_of_and_what_adapters_train() {
    let directory = with_mix();
    let odd = "--set train.steps=2 --set train.milestones=[9] --set lora.rank=4";
    let base = train_to(&directory, "base", "--set train.steps=2").ok();
    assert!(base.stderr.contains("the learning rate rises over 2 steps"), "{}", base.stderr);
    let plan = train(&directory, &format!("{odd} --init-from base --dry-run")).ok();
    let shown = format!("{}{}", plan.stdout, plan.stderr);
    for part in [
        "warning: the learning rate rises over 2 steps",
        "the run ends with step 2, before 9",
        " of adapters, which alone are trained",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!directory.path("run").exists());
}

#[test]
fn memory_that_is_planned_is_memory_that_is_taken() {
    let directory = with_mix();
    directory
        .dataprep("mix a=runs/tokens#a:1 --set tokens=200k --set epochs_max=1000 --out long")
        .ok();
    // Steps enough for the allocator to stand as it will, threads as many on every machine.
    let wide = "--data long --threads 2 --set model.d_model=128 --set model.n_layer=4 \
                --set train.micro_batch=64 --set train.batch_tokens=8192 --set train.steps=16 \
                --json";
    let train = |more: &str| directory.dataprep(&format!("train --out run {SMALL} {more}"));
    let taken = train(wide).ok().summary()["peak_memory"].as_u64().unwrap();
    std::fs::remove_dir_all(directory.path("run")).unwrap();
    let wide = wide.replace("--json", "--set train.recompute=false");
    let with = |memory: u64| train(&format!("{wide} --memory {memory}B"));
    assert_refused(&with(taken * 8 / 10), &["training needs"]);
    with(taken * 12 / 10).ok();
}

#[test]
fn blocks_run_again_where_a_run_would_not_fit_otherwise_and_the_plan_says_what_that_costs() {
    let directory = with_mix();
    let wide = "--threads 2 --set model.d_model=128 --set model.n_layer=8 \
                --set train.micro_batch=64 --set train.batch_tokens=8192 --set train.steps=2";
    let tight = format!("--memory {}B", planned(&directory, wide) * 8 / 10);
    let text = train(&directory, &format!("{wide} {tight} --dry-run")).ok();
    let shown = format!("{}{}", text.stdout, text.stderr);
    assert!(shown.contains("blocks run again in the backward pass"), "{shown}");
    assert!(shown.contains("MiB, about +") && shown.contains("% tokens/s"), "{shown}");
    train(&directory, &format!("{wide} {tight}")).ok();
    let never = format!("{wide} {tight} --set train.recompute=false");
    let refused = train_to(&directory, "none", &never);
    assert_refused(&refused, &["training needs", "`train.recompute = \"auto\"`"]);
    // The same run, whether or not it fits.
    let again = train(&directory, &format!("{wide} --json")).ok();
    assert_eq!(again.summary()["up_to_date"], true);
}

/// Prompts and their answers, of which there are four.
fn pairs() -> Vec<(String, &'static str)> {
    let words = [
        "salt", "iron", "moon", "bird", "glass", "river", "stone", "bread", "cloud", "grass",
        "paper", "horse", "light", "water", "field", "night", "music", "smoke", "apple", "chair",
    ];
    let answers = ["A", "B", "C", "D"];
    let pair = |(at, word): (usize, &&str)| (format!("{word}: "), answers[(at * 7 + at / 3) % 4]);
    words.iter().enumerate().map(pair).collect()
}

#[test]
fn adapters_learn_the_answer_to_each_prompt_and_are_merged_and_exported() {
    let directory = with_mix();
    let lines = pairs().into_iter().map(|(prompt, completion)| {
        serde_json::json!({"prompt": prompt, "completion": completion}).to_string() + "\n"
    });
    directory.write("pairs.jsonl", lines.collect::<String>());
    // Embeddings that tell tokens apart from the beginning: they stand still under the adapters.
    let base = "--set model.d_model=64 --set model.n_layer=2 --set model.init_std=0.3 \
        --set train.learning_rate=0.005 --set train.steps=40";
    train_to(&directory, "base", base).ok();
    directory
        .dataprep(
            "tokenize pairs.jsonl --tokenizer runs/tokens/tokenizer --set loss_on=answers \
             --holdout 0 --out chat",
        )
        .ok();
    directory
        .dataprep("mix chat=chat:1 --set tokens=40k --set epochs_max=1000 --out chat-mix")
        .ok();
    let tuning = "train --data chat-mix --out tuned --init-from base --set lora.rank=16 \
        --set lora.alpha=32.0 --set train.steps=150 --set train.batch_tokens=256 \
        --set train.micro_batch=4 --set train.sequence=64 --set train.learning_rate=0.004 \
        --set train.warmup_steps=5 --set train.weight_decay=0.0 --set train.checkpoint_every=60";
    let targets = r#"["q_proj","k_proj","v_proj","o_proj","gate_proj","up_proj","down_proj"]"#;
    directory.dataprep(&format!("{tuning} --set lora.targets={targets}")).ok();
    let answers = |model: &str| -> Vec<String> {
        let trained = open(&directory, model);
        pairs().iter().map(|(prompt, _)| answer(&trained, prompt)).collect()
    };
    let right = |answers: &[String]| {
        answers.iter().zip(pairs()).filter(|(answer, (_, right))| answer == right).count()
    };
    // One answer for every prompt is right seven times at the most.
    let tuned = answers("tuned");
    assert!(right(&tuned) >= 18, "{tuned:?}");
    assert!(right(&answers("base")) <= 7);
    directory.dataprep("export tuned --out merged").ok();
    assert_eq!(answers("merged"), tuned);
    directory.dataprep("export tuned --to peft --out adapter").ok();
    let refused = directory.dataprep("export base --to peft --out none");
    assert_refused(&refused, &["has no adapters"]);
    assert_merged(&directory);
}

fn open(directory: &TestDir, model: &str) -> Trained {
    Trained::open(&directory.path(model), None, &Device::cpu(), &|_| ()).unwrap()
}

/// The likeliest token behind the prompt.
fn answer(trained: &Trained, prompt: &str) -> String {
    let mut tokens = vec![trained.opener.unwrap()];
    trained.tokenizer.encode(prompt, &mut tokens).unwrap();
    let logits = trained.model.logits(&Batch::single_document(tokens.clone(), tokens)).unwrap();
    let last = &logits[logits.len() - trained.model.config().vocab_size..];
    let best = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
    trained.tokenizer.decode_text(&[best as u32])
}

/// What `merged` holds is `base` and the adapters of `adapter` together.
#[track_caller]
fn assert_merged(directory: &TestDir) {
    let read = |path: &str| tensors::read_tensors(&directory.path(path), &Device::cpu()).unwrap();
    let (merged, adapter) =
        (read("merged/model.safetensors"), read("adapter/adapter_model.safetensors"));
    let base = open(directory, "base").model.stored().unwrap();
    let config: serde_json::Value =
        serde_json::from_str(&directory.read("adapter/adapter_config.json")).unwrap();
    assert_eq!((config["r"].as_u64(), config["lora_alpha"].as_f64()), (Some(16), Some(32.0)));
    assert_eq!(config["base_model_name_or_path"], "base");
    assert_eq!((base.len(), adapter.len()), (merged.len(), 2 * 2 * 7));
    for (name, merged) in merged {
        let map = format!("base_model.model.{}", name.trim_end_matches(".weight"));
        let part = |part: &str| adapter.get(&format!("{map}.lora_{part}.weight"));
        let expected = match part("B").zip(part("A")) {
            Some((up, down)) => (&base[&name] + (up.matmul(down).unwrap() * 2.0).unwrap()).unwrap(),
            None => base[&name].clone(),
        };
        let off = (expected - merged).unwrap().abs().unwrap().flatten_all().unwrap();
        let off = off.max(0).unwrap().to_scalar::<f32>().unwrap();
        assert!(off < 1e-6, "{name} is off by {off}");
    }
}

#[test]
fn a_folder_that_is_refused_is_left_as_it_was() {
    let directory = with_mix();
    directory.write("own/notes.txt", "mine");
    let refused = directory.dataprep(&format!("train --data runs/mix --out own {SMALL}"));
    assert_refused(&refused, &["notes.txt"]);
    let left: Vec<_> = std::fs::read_dir(directory.path("own")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_damaged_checkpoint_is_named_and_what_cannot_go_on_is_not_touched() {
    let directory = with_mix();
    train(&directory, "--set train.steps=20").ok();
    let whole = directory.tree("run");
    std::fs::remove_dir_all(directory.path("run")).unwrap();
    train(&directory, "--set train.steps=20 --stop-after 12").ok();
    let flip = |file: &str| {
        let path = directory.path(file);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    };
    flip("run/checkpoints/step-000012/optimizer.safetensors");
    let resumed = train(&directory, "--set train.steps=20 -q").ok();
    assert!(resumed.stderr.contains("step-000012/optimizer.safetensors"), "{}", resumed.stderr);
    assert_eq!(directory.tree("run"), whole);
    directory.dataprep("verify run").ok();

    for step in ["10", "15", "20"] {
        flip(&format!("run/checkpoints/step-0000{step}/model.safetensors"));
    }
    let failed = train(&directory, "--set train.steps=20");
    assert_eq!(failed.status, 1);
    assert!(failed.stderr.contains("--fresh"), "{}", failed.stderr);
    assert!(!failed.stderr.contains("--skip-bad-files"), "{}", failed.stderr);
    let verified = directory.dataprep("verify run");
    assert_eq!(verified.status, 1);
    assert!(verified.stdout.contains("step-000020/model.safetensors"), "{}", verified.stdout);
    let generated = directory.dataprep("generate run --prompt hello --step 20");
    assert_eq!((generated.status, generated.stdout.as_str()), (1, ""));
    assert!(!generated.stderr.contains("--skip-bad-files"), "{}", generated.stderr);
}

#[test]
fn generation_prints_its_prompt_only_when_it_will_work() {
    let directory = with_mix();
    train(&directory, "--set train.steps=6").ok();
    for (arguments, part) in [
        ("--temperature nan", "`--temperature` is NaN"),
        ("--temperature -1", "`--temperature` is -1"),
        ("--step 3", "found: 5, 6"),
        ("--device tpu", "unknown device"),
    ] {
        let run = directory.dataprep(&format!("generate run --prompt hello {arguments}"));
        assert_refused(&run, &[part]);
    }
    let run = directory.dataprep("generate run --prompt hello --max-tokens 3").ok();
    assert!(run.stdout.starts_with("hello"), "{}", run.stdout);
}

#[test]
fn a_run_says_what_became_of_the_one_before_and_what_it_read() {
    let directory = with_mix();
    let stopped = train(&directory, "--set train.steps=20 --stop-after 3").ok();
    assert!(stopped.stdout.contains("stopped before its first evaluation"), "{}", stopped.stdout);
    assert!(!stopped.stdout.contains("bits per byte"), "{}", stopped.stdout);
    assert!(stopped.stdout.contains("768 of the mix's"), "{}", stopped.stdout);
    let other = train(&directory, "--set train.steps=5 --stop-after 0").ok();
    assert!(other.stderr.contains("run@"), "{}", other.stderr);
    assert!(other.stderr.contains("it differs in `train.steps`"), "{}", other.stderr);
    assert!(directory.path("run/checkpoints/step-000000/model.safetensors").is_file());
    directory.dataprep("generate run --max-tokens 2").ok();
}

#[test]
fn training_that_leads_nowhere_cannot_be_missed() {
    let directory = with_mix();
    let wild = "--set train.learning_rate=10.0 --set train.clip_norm=0.0 --set train.steps=40";
    let run = train(&directory, wild).ok();
    for text in [&run.stdout, &run.stderr, &directory.read("run/report.html")] {
        assert!(text.contains("training diverged"), "{text}");
    }
    let stop = format!("{wild} --set train.on_divergence=stop --fresh");
    let stopped = train(&directory, &stop);
    assert_eq!(stopped.status, 1, "{}", stopped.stderr);
    assert!(stopped.stderr.contains("training diverged"), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("`train.learning_rate` (10)"), "{}", stopped.stderr);
}

#[test]
fn a_longer_wsd_run_goes_on_from_before_its_decay_and_a_cosine_run_says_that_its_rate_jumps() {
    let directory = with_mix();
    let wsd = "--set train.schedule=wsd --set train.keep=1 --set train.eval_every=4";
    train(&directory, &format!("{wsd} --set train.steps=30")).ok();
    let longer = directory.tree("run");
    std::fs::remove_dir_all(directory.path("run")).unwrap();
    train(&directory, &format!("{wsd} --set train.steps=20")).ok();
    assert!(directory.path("run/checkpoints/step-000016").is_dir());
    let finished = directory.tree("run");
    let run = train(&directory, &format!("{wsd} --set train.steps=30 --resume")).ok();
    assert!(run.stderr.contains("goes on from step 16"), "{}", run.stderr);
    assert_eq!(directory.tree("run"), longer);
    let aside = std::fs::read_dir(directory.path("")).unwrap().find_map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.starts_with("run@").then_some(name)
    });
    assert_eq!(directory.tree(&aside.unwrap()), finished);

    std::fs::remove_dir_all(directory.path("run")).unwrap();
    train(&directory, "--set train.steps=10").ok();
    let run = train(&directory, "--set train.steps=20 --resume").ok();
    assert!(run.stderr.contains("learning rate goes from"), "{}", run.stderr);
}

#[test]
fn a_plan_says_time_and_money_and_a_budget_is_steps_in_other_words() {
    let directory = with_mix();
    let planned = train(&directory, "--set train.tokens=5k --price-per-hour 2.5 --dry-run").ok();
    for part in ["`train.tokens` = 5,000: 19 steps", "tokens/s", "FLOPs", "cost 0.0", "f32 product"]
    {
        assert!(planned.stdout.contains(part), "{part}: {}", planned.stdout);
    }
    assert!(!directory.path("run").exists());
    let refused = train(&directory, "--set train.tokens=5k --set train.steps=5");
    assert_refused(&refused, &["`train.steps` and `train.tokens`"]);
    assert_refused(&train(&directory, "--set train.flops=10"), &["less than one step"]);
    directory.write("budget.toml", "[train]\nsteps = 7\n");
    let below = "--config budget.toml --set train.tokens=2560 --price-per-hour 2.5";
    train(&directory, below).ok();
    assert!(directory.read("run/config.toml").contains("steps = 10\n"));
    assert!(directory.read("run/run.json").contains("\"price_per_hour\": 2.5"));
    assert!(!directory.read("run/config.toml").contains("price"));
    let again = train(&directory, "--set train.steps=10").ok();
    assert!(again.stdout.contains("up to date"), "{}", again.stdout);
}

#[test]
fn a_smoke_test_and_a_range_test_train_nothing() {
    let directory = with_mix();
    let sets = SMALL;
    let smoke = directory.dataprep(&format!("train --data runs/mix {sets} --smoke --json")).ok();
    for check in ["loss at the start", "one row by heart", "attention stays inside", "memory"] {
        assert!(smoke.stdout.contains(check), "{check}: {}", smoke.stdout);
    }
    assert!(!smoke.stdout.contains("\"fail\""), "{}", smoke.stdout);
    let curve = format!("train --data runs/mix {sets} --find-lr curve.svg");
    let test = directory.dataprep(&curve).ok();
    assert!(test.stdout.contains("a rate to start from"), "{}", test.stdout);
    assert!(directory.read("curve.svg").contains("<svg"));
    let wrong = directory.dataprep(&format!("train --data runs/mix {sets} --find-lr curve.png"));
    assert_refused(&wrong, &["neither .svg nor .json"]);
}

#[test]
fn a_full_disk_keeps_the_last_checkpoint_and_the_run_goes_on_when_there_is_room() {
    let directory = with_mix();
    train(&directory, "--set train.steps=20").ok();
    let whole = directory.tree("run");
    std::fs::remove_dir_all(directory.path("run")).unwrap();
    train(&directory, "--set train.steps=20 --stop-after 10").ok();
    // No file may grow beyond 64 KiB: the next checkpoint's tensors do not fit.
    let command = format!(
        "trap '' XFSZ; ulimit -f 64; exec {} train --data runs/mix --out run {SMALL} \
         --set train.steps=20",
        env!("CARGO_BIN_EXE_dataprep")
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &command])
        .current_dir(directory.path(""))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(".safetensors"), "{stderr}");
    assert!(directory.path("run/checkpoints/step-000010/model.safetensors").is_file());
    let left: Vec<String> = std::fs::read_dir(directory.path("run/checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.iter().all(|name| !name.contains(".tmp-")), "{left:?}");
    train(&directory, "--set train.steps=20").ok();
    assert_eq!(directory.tree("run"), whole);
}
