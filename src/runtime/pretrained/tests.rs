//! Directories as other tools write them, whole and damaged.

use serde_json::{Value, json};

use super::*;
use crate::runtime::model::ModelConfig;
use crate::runtime::tensors::write_tensors;

fn shape() -> ModelConfig {
    ModelConfig {
        vocab_size: 61,
        d_model: 16,
        n_layer: 2,
        n_head: 2,
        n_kv_head: 1,
        d_ff: 24,
        rope_theta: 5e5,
        norm_eps: 1e-6,
        tied: false,
        init_std: 0.1,
        ..ModelConfig::default()
    }
}

/// A directory with `model`, as an export writes it.
fn directory_of(model: &Model) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    io::write(
        &path.join(CONFIG),
        &config_json(Class::of(model.config()).unwrap(), model.config(), 32, 0, "float32"),
    )
    .unwrap();
    io::write(&path.join(TOKENIZER), b"{}").unwrap();
    let class = Class::of(model.config()).unwrap();
    let stored = model.stored().unwrap();
    let theirs =
        class.tensors(stored.keys().cloned()).into_iter().map(|(name, sources, turned)| {
            let sources: Vec<_> = sources.iter().map(|source| &stored[source]).collect();
            let whole = candle_core::Tensor::cat(&sources, 0).unwrap();
            (name, if turned { whole.t().unwrap().contiguous().unwrap() } else { whole })
        });
    write_tensors(path, WEIGHTS, &theirs.collect()).unwrap();
    directory
}

fn error_of(directory: &Path) -> Error {
    match open(directory, &Device::cpu()) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[test]
fn a_shape_and_its_numbers_come_back() {
    let gpt2 = "norm = 'layernorm'\npositions = 'learned'\ncontext = 32\nbias = 'all'\n\
                activation = 'gelu'\nn_kv_head = 0";
    for text in [
        "tied = false",
        "",
        gpt2,
        "qk_norm = true\nd_head = 12\nn_kv_head = 1",
        "norm = 'gemma'\nactivation = 'geglu'\nscale_embedding = true\nd_head = 12",
        "window = 8\nn_kv_head = 1",
        "bias = 'qkv'\nwindow = 8\nwindow_pattern = 'SL'",
        "bias = 'all'\nrope_scaling = { kind = 'llama3', factor = 8.0, low_frequency = 1.0, \
         high_frequency = 4.0, original_context = 64 }",
    ] {
        let sizes = "vocab_size = 61\nd_model = 16\nn_layer = 2\nn_head = 2\nd_ff = 24\n";
        let kv = if text.contains("n_kv_head") { "" } else { "n_kv_head = 1\n" };
        let mut config: ModelConfig = toml::from_str(&format!("{sizes}{kv}{text}")).unwrap();
        config.n_kv_head = config.kv_heads();
        config.validate().unwrap();
        let model = Model::new(&config, 3, &Device::cpu()).unwrap();
        let directory = directory_of(&model);
        if Class::of(&config) == Ok(Class::Gpt2) {
            config.n_kv_head = 0;
        }
        let read = open(directory.path(), &Device::cpu()).unwrap();
        let expected = Description { model: config, context: 32, opener: Some(0), ends: vec![0] };
        assert_eq!(read.description, expected);
        let fingerprints = [&model, &read.model].map(|it| it.parameters().xxh3().unwrap());
        assert_eq!(fingerprints[0], fingerprints[1]);
    }
}

#[test]
fn shards_are_read_by_their_index_and_by_nothing_outside() {
    let model = Model::new(&shape(), 3, &Device::cpu()).unwrap();
    let directory = directory_of(&model);
    let path = directory.path();
    let (mut one, mut two) = (model.stored().unwrap(), model.stored().unwrap());
    one.retain(|name, _| name.contains("layers"));
    two.retain(|name, _| !name.contains("layers"));
    let map = |names: [(&std::collections::BTreeMap<_, _>, &str); 2]| {
        let entries = names.into_iter().flat_map(|(tensors, file)| {
            tensors.keys().map(move |name: &String| (name.clone(), json!(file)))
        });
        json!({ "weight_map": entries.collect::<serde_json::Map<_, _>>() }).to_string()
    };
    io::remove_file(&path.join(WEIGHTS)).unwrap();
    assert!(error_of(path).to_string().contains(INDEX));
    write_tensors(path, "a.safetensors", &one).unwrap();
    write_tensors(path, "b.safetensors", &two).unwrap();
    let index = map([(&one, "a.safetensors"), (&two, "b.safetensors")]);
    io::write(&path.join(INDEX), index.as_bytes()).unwrap();
    let read = open(path, &Device::cpu()).unwrap();
    assert_eq!(read.model.parameters().xxh3().unwrap(), model.parameters().xxh3().unwrap());
    for wrong in ["../a.safetensors", "c.safetensors"] {
        let index = map([(&one, wrong), (&two, "b.safetensors")]);
        io::write(&path.join(INDEX), index.as_bytes()).unwrap();
        assert!(error_of(path).to_string().contains(wrong));
    }
    io::write(&path.join(INDEX), b"[]").unwrap();
    assert!(matches!(error_of(path), Error::Damaged { .. }));
}

/// The configuration of [`shape`] with some keys changed; null stands for a key left out.
fn with(changes: &[(&str, Value)]) -> Vec<u8> {
    let mut config: Value =
        serde_json::from_slice(&config_json(Class::Llama, &shape(), 32, 0, "float32")).unwrap();
    for (key, value) in changes {
        config[*key] = value.clone();
    }
    config.to_string().into_bytes()
}

#[test]
fn defaults_are_those_of_transformers() {
    let taken_out = [
        ("num_key_value_heads", Value::Null),
        ("head_dim", Value::Null),
        ("rope_theta", Value::Null),
        ("rope_parameters", Value::Null),
        ("rms_norm_eps", Value::Null),
        ("tie_word_embeddings", Value::Null),
        ("max_position_embeddings", Value::Null),
        ("eos_token_id", json!([1, 2])),
        ("bos_token_id", Value::Null),
    ];
    let read = config::parse(&with(&taken_out), Path::new("config.json")).unwrap();
    assert_eq!((read.model.kv_heads(), read.model.rope_theta), (2, 1e4));
    assert_eq!((read.model.norm_eps, read.model.tied, read.context), (1e-6, false, 2048));
    assert_eq!((read.opener, read.ends), (None, vec![1, 2]));
    // RoPE's base only under its old key, and only under its new one.
    for (key, other) in [("rope_theta", "rope_parameters"), ("rope_parameters", "rope_theta")] {
        let changes = [(other, Value::Null)];
        let read = config::parse(&with(&changes), Path::new("config.json")).unwrap();
        assert_eq!(read.model.rope_theta, 5e5, "{key}");
    }
}

/// Changed keys, and parts of the refusal.
type Case<'a> = (&'a [(&'a str, Value)], &'a [&'a str]);

#[test]
fn what_cannot_be_held_exactly_is_refused_key_by_key() {
    let mistral =
        [("model_type", json!("mistral")), ("architectures", json!(["MistralForCausalLM"]))];
    let wide = [&mistral[..], &[("sliding_window", Value::Null)]].concat();
    assert!(config::parse(&with(&wide), Path::new("config.json")).is_ok());
    let cases: &[Case] = &[
        (&[("model_type", json!("gemma2"))], &["gemma2", "branches"]),
        (&[("model_type", json!("mamba"))], &["mamba"]),
        (&[("model_type", Value::Null)], &["model_type"]),
        (&[("architectures", json!(["LlamaForSequenceClassification"]))], &["architectures"]),
        (&[("hidden_act", json!("gelu"))], &["hidden_act", "gelu"]),
        (&mistral, &["sliding_window"]),
        (&[("rope_scaling", json!({"type": "yarn", "factor": 2.0}))], &["rope_scaling", "yarn"]),
        (
            &[("rope_parameters", json!({"rope_type": "llama3", "rope_theta": 5e5}))],
            &["rope_scaling", "llama3"],
        ),
        (&[("quantization_config", json!({"quant_method": "gptq"}))], &["gptq"]),
        // Every reason at once.
        (
            &[("attention_bias", json!(true)), ("hidden_act", json!("gelu"))],
            &["attention_bias", "hidden_act"],
        ),
    ];
    for (changes, parts) in cases {
        let error = config::parse(&with(changes), Path::new("config.json")).unwrap_err();
        assert_eq!(error.exit_status(), 2, "{error}");
        for part in *parts {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }
    for bytes in [&b""[..], b"[]", b"{\"model_type\": \"llama\"}", b"{"] {
        let error = config::parse(bytes, Path::new("config.json")).unwrap_err();
        assert!(error.to_string().contains("config.json"), "{error}");
    }
    let error =
        config::parse(&with(&[("num_attention_heads", json!(0))]), Path::new("c")).unwrap_err();
    assert!(error.to_string().contains("n_head"), "{error}");
}

#[test]
fn weights_that_are_not_the_shapes_are_named() {
    let model = Model::new(&shape(), 3, &Device::cpu()).unwrap();
    let directory = directory_of(&model);
    let path = directory.path();
    let mut fewer = model.stored().unwrap();
    fewer.remove("model.norm.weight");
    write_tensors(path, WEIGHTS, &fewer).unwrap();
    assert!(error_of(path).to_string().contains("model.norm.weight"));
    let tied = ModelConfig { tied: true, ..shape() };
    write_tensors(path, WEIGHTS, &model.stored().unwrap()).unwrap();
    io::write(&path.join(CONFIG), &config_json(Class::Llama, &tied, 32, 0, "float32")).unwrap();
    let error = error_of(path);
    assert!(error.to_string().contains("lm_head.weight"), "{error}");
    assert!(error.hint().unwrap().contains("tie_word_embeddings"));
    // A head that repeats the embedding says nothing new.
    let mut same = model.stored().unwrap();
    same.insert("lm_head.weight".into(), same["model.embed_tokens.weight"].clone());
    same.insert(
        "model.layers.0.self_attn.rotary_emb.inv_freq".into(),
        same["model.norm.weight"].clone(),
    );
    write_tensors(path, WEIGHTS, &same).unwrap();
    assert!(open(path, &Device::cpu()).is_ok());
    io::remove_file(&path.join(TOKENIZER)).unwrap();
    assert!(error_of(path).to_string().contains("tokenizer.json"));
    io::remove_file(&path.join(CONFIG)).unwrap();
    assert!(!stands_in(path) && error_of(path).hint().unwrap().contains("dataprep export"));
}

#[test]
fn every_class_has_the_logits_of_transformers() {
    let classes = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/pretrained/classes");
    let mut seen = 0;
    for path in io::list(&classes).unwrap() {
        let directory = tempfile::tempdir().unwrap();
        for file in io::list(&path).unwrap() {
            let name = file.file_name().unwrap();
            io::write(&directory.path().join(name), &io::read(&file).unwrap()).unwrap();
        }
        io::write(&directory.path().join(TOKENIZER), b"{}").unwrap();
        let read = open(directory.path(), &Device::cpu()).unwrap();
        let facts: Value =
            serde_json::from_slice(&io::read(&path.join("logits.json")).unwrap()).unwrap();
        let tokens = facts["tokens"].as_array().unwrap().iter();
        let tokens: Vec<u32> = tokens.map(|token| token.as_u64().unwrap() as u32).collect();
        let batch = crate::runtime::data::Batch::single_document(tokens.clone(), tokens);
        let found = read.model.logits(&batch).unwrap();
        let expected = facts["logits"].as_array().unwrap().iter();
        let expected = expected.flat_map(|row| row.as_array().unwrap().iter().map(|x| x.as_f64()));
        let off = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b.unwrap()).abs());
        let off = off.fold(0.0, f64::max);
        assert!(off <= 1e-4, "{}: logits are off by {off}", path.display());
        // A model that can be read has a class to be written in.
        let name = read.description.model;
        assert!(Class::of(&name).is_ok(), "{name:?}");
        seen += 1;
    }
    assert_eq!(seen, 7);
}
