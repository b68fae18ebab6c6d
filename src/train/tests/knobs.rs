//! Runs of other shapes and optimizers: resumed, planned, warned of.

use super::*;
use crate::train::config::TrainConfig;

/// Keys of GPT-2's form.
const GPT2: [&str; 6] = [
    "model.norm=layernorm",
    "model.positions=learned",
    "model.context=32",
    "model.activation=gelu",
    "model.bias=all",
    "model.n_kv_head=0",
];

#[test]
fn a_stopped_run_ends_bitwise_the_same_with_every_optimizer_and_dropout() {
    let bench = Bench::new();
    for kind in ["muon", "lion", "sgd"] {
        let kind_is = format!("optimizer.kind={kind}");
        let sets = [kind_is.as_str(), "model.dropout=0.2", "train.learning_rate=3e-3"];
        bench.train(&format!("{kind}-whole"), &sets, &options()).unwrap();
        let halves = format!("{kind}-halves");
        bench.train(&halves, &sets, &stop_after(7)).unwrap();
        bench.train(&halves, &sets, &options()).unwrap();
        assert_eq!(bench.manifest(&format!("{kind}-whole")), bench.manifest(&halves), "{kind}");
    }
}

#[test]
fn dropout_is_the_same_for_any_micro_batch() {
    let bench = Bench::new();
    let losses = |name: &str, micro_batch: &str| {
        bench.train(name, &["model.dropout=0.3", micro_batch], &options()).unwrap();
        bench.metrics(name).iter().map(|metric| metric.loss).collect::<Vec<_>>()
    };
    let (four, one) = (losses("four", "train.micro_batch=4"), losses("one", "train.micro_batch=1"));
    let plain = {
        bench.train("plain", &[], &options()).unwrap();
        bench.metrics("plain")[0].loss
    };
    assert!((four[0] - plain).abs() > 1e-4, "dropout changes the loss");
    for (four, one) in four.iter().zip(&one) {
        assert!((four - one).abs() < 1e-3, "{four} {one}");
    }
}

#[test]
fn every_form_trains_samples_and_takes_its_configuration_back() {
    let bench = Bench::new();
    let forms: [(&str, &[&str]); 4] = [
        ("gpt2", &GPT2),
        ("qwen3", &["model.qk_norm=true", "model.d_head=12", "model.window=8"]),
        ("gemma", &["model.norm=gemma", "model.activation=geglu", "model.scale_embedding=true"]),
        (
            "own",
            &[
                "model.parallel=true",
                "model.activation=relu2",
                "model.logit_softcap=15.0",
                "model.z_loss=1e-4",
                "model.residual_scale=0.7",
                "model.zero_init_projections=true",
                "model.mup_base_width=16",
            ],
        ),
    ];
    for (name, sets) in forms {
        let summary = bench.train(name, sets, &options()).unwrap();
        let losses: Vec<f64> = bench.metrics(name).iter().map(|metric| metric.loss).collect();
        assert!(losses[19] < losses[0] - 0.3, "{name}: {losses:?}");
        let unheld = summary.warnings.iter().any(|warning| warning.contains("`export`"));
        assert_eq!(unheld, name == "own", "{name}: {:?}", summary.warnings);
        let config = bench.path(name).join(layout::CONFIG);
        let table: Table = io::read_text(&config).unwrap().parse().unwrap();
        let again = bench.train_table(name, table, &options(), &|| false).unwrap();
        assert!(again.up_to_date, "{name}");
        let companion = bench.path(name).join("checkpoints/step-000020/config.json");
        assert_eq!(companion.is_file(), ["qwen3", "gemma"].contains(&name), "{name}");
    }
}

#[test]
fn what_cannot_be_is_refused_before_any_work() {
    let bench = Bench::new();
    for (sets, part) in [
        (&["model.positions=learned", "model.context=16"][..], "train.sequence"),
        (&["optimizer.nesterov=true"], "optimizer.nesterov"),
        (&["model.activation=relu"], "activation"),
        (&["model.fit_params=1"], "fit_params"),
    ] {
        let message = bench.train("refused", sets, &options()).unwrap_err().to_string();
        assert!(message.contains(part), "{sets:?}: {message}");
        assert!(!bench.path("refused").exists());
    }
}

#[test]
fn a_size_is_solved_for_and_stands_in_the_configuration_as_a_width() {
    let bench = Bench::new();
    bench.train("fitted", &["model.fit_params=60k", "model.n_layer=3"], &stop_after(1)).unwrap();
    let text = io::read_text(&bench.path("fitted").join(layout::CONFIG)).unwrap();
    let config: TrainConfig = toml::from_str(&text).unwrap();
    let share = config.model.parameter_count() as f64 / 60e3;
    assert!((0.8..1.2).contains(&share), "{share}");
    assert!(!text.contains("fit_params") && config.model.n_layer == 3);
}
