//! Models for other tools, and of other tools, as people meet them.
//!
//! `fixtures/pretrained` holds what `transformers` saved and computed
//! (`tests/golden/make_pretrained.py`); `tests/golden/check_export.py` holds more against it live.

use std::{fs, path::Path};

use dataprep::{
    artifact::{manifest::Manifest, record::Kind},
    runtime::{data::Batch, device::Device},
    train::Trained,
};
use serde_json::Value;

use crate::{
    kept::kept,
    support::{TestDir, project},
};

/// A directory with the kept run, and what its manifests name.
fn with_run() -> TestDir {
    let directory = TestDir::new();
    directory.copy(&kept(), "kept");
    directory
}

/// The model at `path` has the logits and the greedy tokens that `transformers` recorded.
#[track_caller]
fn assert_as_recorded(path: &Path, record: &str, opener: Option<u32>) {
    let record = fs::read(project().join("fixtures/pretrained").join(record)).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let numbers = |key: &str| record[key].as_array().unwrap().iter().map(|it| it.as_f64().unwrap());
    let tokens: Vec<u32> = numbers("tokens").map(|token| token as u32).collect();
    let trained = Trained::open(path, None, &Device::cpu(), &|_| ()).unwrap();
    assert_eq!(trained.opener, opener);
    let mut encoded = vec![trained.opener.unwrap()];
    trained.tokenizer.encode("Of the cells", &mut encoded).unwrap();
    assert_eq!(encoded, tokens);
    let mut text = tokens.clone();
    let mut greedy = Vec::new();
    for at in 0..numbers("greedy").count() {
        let batch = Batch::single_document(text.clone(), text.clone());
        let logits = trained.model.logits(&batch).unwrap();
        let last = &logits[logits.len() - trained.model.config().vocab_size..];
        if at == 0 {
            let off = last.iter().zip(numbers("logits")).map(|(a, b)| (f64::from(*a) - b).abs());
            let off = off.fold(0.0, f64::max);
            assert!(off <= 1e-4, "logits are off by {off}");
            assert_eq!(last.len(), numbers("logits").count());
        }
        let best = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
        greedy.push(best as f64);
        text.push(best as u32);
    }
    assert_eq!(greedy, numbers("greedy").collect::<Vec<_>>());
}

#[test]
fn a_model_that_transformers_saved_has_its_logits_and_continues_as_it_does() {
    assert_as_recorded(&project().join("fixtures/pretrained/llama"), "llama.json", Some(0));
}

#[test]
fn an_export_a_run_and_its_checkpoint_are_one_model() {
    let directory = with_run();
    directory.dataprep("export kept/run --out model").ok();
    directory.dataprep("export kept/run/checkpoints/step-000002 --out same").ok();
    assert_eq!(directory.tree("model"), directory.tree("same"));
    assert_as_recorded(&directory.path("model"), "kept.json", Some(0));
    assert_as_recorded(&directory.path("kept/run"), "kept.json", Some(0));
    let text = |path: &str| {
        let generate = format!("generate {path} --prompt The --max-tokens 9 --temperature 0");
        directory.dataprep(&generate).ok().stdout
    };
    assert_eq!(text("model"), text("kept/run"));
    // A checkpoint that is written today is a model wherever it is copied to.
    directory.dataprep("train --data kept/mix --out run --config kept/run/config.toml -q").ok();
    directory.copy(&directory.path("run/checkpoints/step-000004"), "elsewhere");
    assert_eq!(text("elsewhere"), text("run"));
    let refused = directory.dataprep("generate elsewhere --step 4");
    assert_eq!(refused.status, 2, "{}", refused.stderr);
}

#[test]
fn an_export_is_an_artifact_like_the_others() {
    let directory = with_run();
    let before = directory.tree("kept/run");
    let dry = directory.dataprep("export kept/run --out model --dry-run").ok();
    assert!(dry.stdout.contains("weights 1 unit,") && !dry.stdout.contains("documents"), "{dry:?}");
    assert!(!directory.path("model").exists());
    directory.dataprep("export kept/run --out model").ok();
    let model = directory.tree("model");
    assert!(directory.dataprep("export kept/run --out model").ok().stdout.contains("up to date"));
    directory.dataprep("verify model").ok();
    directory.dataprep("inspect model").ok();
    let manifest = Manifest::read(&directory.path("model")).unwrap();
    assert_eq!(manifest.kind, Kind::Model);
    assert_eq!(manifest.inputs[0].stage.as_deref(), Some("train"));

    for (arguments, part) in [
        ("export kept/run --out model --dtype bf16", "`--fresh`"),
        ("export kept/run --out kept/run/model", "lies in the input"),
        ("export kept/mix --out other", "in which form"),
        ("export kept/run --out other --step 1", "found: 2"),
        ("export kept/run --out other --data kept", "`--data` says where the shards of a mix lie"),
        ("export model --out other --to gguf", "name the run that it was exported from"),
        ("export kept/run kept/run --out other", "reads one run"),
        ("export kept/run --out other --dtype q8_0", "gguf"),
        ("export kept/run --out other --dtype q4_0", "gguf"),
        ("export kept/run --out other --to onnx", "onnx"),
        ("export kept/run --out other --set shard_bytes=3", "shard_bytes"),
    ] {
        let refused = directory.dataprep(arguments);
        assert_eq!((refused.status, refused.stdout.as_str()), (2, ""), "{arguments}: {refused:?}");
        assert!(refused.stderr.contains(part), "{arguments}: {}", refused.stderr);
    }
    assert_eq!((directory.tree("model"), directory.tree("kept/run")), (model, before));
    assert!(!directory.path("other").exists() && !directory.path("other.partial").exists());

    let card = directory.read("model/README.md");
    for part in ["step | 2 of 4", "mix mix, made by `mix`", "raw file", "bits per byte"] {
        assert!(card.contains(part), "{part}: {card}");
    }
}

#[test]
fn shards_have_an_index_and_hold_the_same_model() {
    let directory = with_run();
    directory.dataprep("export kept/run --out model --set shard_bytes=4096").ok();
    let index: Value =
        serde_json::from_str(&directory.read("model/model.safetensors.index.json")).unwrap();
    let total = index["metadata"]["total_size"].as_u64().unwrap();
    assert_eq!(total, 4 * 3000, "a row a token, four bytes a number");
    assert!(!directory.path("model/model.safetensors").exists());
    assert_as_recorded(&directory.path("model"), "kept.json", Some(0));
}

#[test]
fn damage_is_named_and_nothing_is_published() {
    let directory = with_run();
    for file in ["model.safetensors", "state.json", "hashes.json"] {
        let path = directory.path("kept/run/checkpoints/step-000002").join(file);
        let whole = fs::read(&path).unwrap();
        for damaged in [whole[..whole.len() - 1].to_vec(), {
            let mut flipped = whole.clone();
            let at = whole.len() - 9;
            flipped[at] ^= 1;
            flipped
        }] {
            fs::write(&path, damaged).unwrap();
            let failed = directory.dataprep("export kept/run --out model");
            assert_eq!(failed.status, 1, "{file}: {failed:?}");
            assert!(failed.stderr.contains(file), "{}", failed.stderr);
            assert!(!directory.path("model").exists());
        }
        fs::write(&path, whole).unwrap();
    }
    directory.dataprep("export kept/run --out model").ok();
}

#[test]
fn gguf_holds_every_tensor_at_an_aligned_place() {
    let directory = with_run();
    for (dtype, width) in [("f32", 4), ("bf16", 2), ("f16", 2)] {
        directory
            .dataprep(&format!("export kept/run --out {dtype} --to gguf --dtype {dtype}"))
            .ok();
        let bytes = fs::read(directory.path(dtype).join("model.gguf")).unwrap();
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!((&bytes[..4], bytes[4], number(8)), (&b"GGUF"[..], 3, 11));
        // Of 3,000 numbers the 24 of the three norms stay F32; the tables are multiples of 32.
        let tensors = 2976 * width + 24 * 4;
        assert!(bytes.len().is_multiple_of(32) && bytes.len() > tensors, "{dtype}");
        let name = b"blk.0.attn_q.weight";
        let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
        assert_eq!((number(at + name.len() + 4), number(at + name.len() + 12)), (8, 8));
    }
    // Its split has no name in llama.cpp.
    let tokenizer = directory.read("kept/run/tokenizer.json");
    directory.write("split/tokenizer.json", tokenizer.replace("\\\\p{N}{1,3}", "\\\\p{N}{1,2}"));
    let arguments = "tokenize kept/unique --tokenizer split --out tokens";
    directory.dataprep(arguments).ok();
    directory.dataprep("mix w=tokens:1 --tokens 2k --out mix").ok();
    directory.dataprep("train --data mix --out run --config kept/run/config.toml -q").ok();
    let refused = directory.dataprep("export run --out other --to gguf");
    assert_eq!(refused.status, 2, "{refused:?}");
    assert!(refused.stderr.contains("llama.cpp cannot hold this tokenizer"), "{}", refused.stderr);
    directory.dataprep("export run --out other").ok();
}

#[test]
fn a_recipe_may_end_in_an_export() {
    let directory = with_run();
    let recipe = "out = \"runs\"\n\
        [[step]]\nname = \"model\"\nstage = \"train\"\nin = [\"kept/mix\"]\n\
        [step.set.train]\nsteps = 2\nsequence = 32\nmicro_batch = 2\nbatch_tokens = 64\n\
        [step.set.model]\nd_model = 8\nn_layer = 1\nn_head = 2\nn_kv_head = 1\nd_ff = 16\n\
        [[step]]\nname = \"hf\"\nstage = \"export\"\nin = [\"model\"]\n\
        set = { dtype = \"bf16\" }\n";
    directory.write("recipe.toml", recipe);
    directory.dataprep("run recipe.toml -q").ok();
    assert!(directory.read("runs/hf/config.json").contains("bfloat16"));
    assert!(directory.dataprep("run recipe.toml").ok().stdout.contains("up to date"));
}

#[test]
fn several_prompts_and_stop_strings_give_what_each_alone_would() {
    let directory = with_run();
    let model = project().join("fixtures/pretrained/llama");
    let generate = |more: &[&str]| {
        let mut command = directory.command("generate --json --temperature 0 --max-tokens 20");
        let output = command.arg(&model).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let stdout = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str::<Value>(stdout.lines().last().unwrap()).unwrap()
    };
    let (one, two) = (generate(&["--prompt", "The"]), generate(&["--prompt", "Of a"]));
    let both = generate(&["--prompt", "The", "--prompt", "Of a"]);
    for (at, alone) in [one.clone(), two].iter().enumerate() {
        assert_eq!(both["texts"][at]["text"], alone["text"]);
        assert_eq!((&alone["step"], &alone["stop"]), (&Value::Null, &Value::Null));
    }
    // As text: numbered, in the order of the prompts; those of a file are further ones.
    directory.write("prompts.txt", "Of a\n\nThe\n");
    let mut command = directory.command("generate --temperature 0 --max-tokens 20");
    let more = ["--prompt", "The", "--prompts", "prompts.txt"];
    let output = command.arg(&model).args(more).output().unwrap();
    let [first, second] = [0, 1].map(|at| both["texts"][at]["text"].as_str().unwrap());
    let expected = format!("[1/3] The{first}\n\n[2/3] Of a{second}\n\n[3/3] The{first}\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    // As records: each as soon as it is over, and all of them at the end.
    directory.write("prompts.jsonl", "{\"prompt\": \"Of a\"}\n{\"prompt\": \"The\\nend\"}\n");
    let mut command = directory.command("generate --json --temperature 0 --max-tokens 2");
    let output = command.arg(&model).args(["--prompts", "prompts.jsonl"]).output().unwrap();
    let records: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let field = |name: &str| records.iter().map(|it| it[name].clone()).collect::<Vec<Value>>();
    assert_eq!(field("type"), ["text", "text", "summary"]);
    assert_eq!(field("prompt")[..2], ["Of a", "The\nend"]);
    directory.write("prompts.jsonl", "{\"prompt\": 3}\n");
    let refused = directory.dataprep("generate kept/run --prompts prompts.jsonl");
    assert_eq!((refused.status, refused.stdout.as_str()), (2, ""), "{refused:?}");
    assert!(refused.stderr.contains("`prompts.jsonl`, line 1"), "{}", refused.stderr);
    let text = one["text"].as_str().unwrap();
    let stop: String = text.chars().skip(4).take(2).collect();
    let stopped = generate(&["--prompt", "The", "--stop", &stop]);
    assert_eq!(stopped["text"].as_str().unwrap(), text.split_once(&stop).unwrap().0);
    assert_eq!((stopped["stop"].as_str(), &stopped["ended"]), (Some(stop.as_str()), &false.into()));
    let refused = directory.dataprep("generate kept/run --top-p 0");
    assert_eq!((refused.status, refused.stdout.as_str()), (2, ""), "{refused:?}");
    assert!(refused.stderr.contains("`--top-p` is 0"), "{}", refused.stderr);
}
