//! What the tables `[train]` and `[model]` take, refuse and write back.

use super::*;

fn parse(text: &str) -> Result<TrainConfig> {
    TrainConfig::parse(text.parse().unwrap())
}

#[test]
fn the_resolved_configuration_reads_back() {
    let text = "[train]\nsteps = \"20k\"\nschedule = \"wsd\"\nmilestones = [5]\n\
                [model]\nn_layer = 2";
    let config = parse(text).unwrap();
    assert_eq!(config.train.steps, Steps::Number(20_000));
    assert_eq!(parse(&toml::to_string(&config).unwrap()).unwrap(), config);
    assert_eq!(parse("[train]\nsteps = \"all\"").unwrap().train.steps, Steps::All);
}

#[test]
fn batch_arithmetic_is_refused_with_its_numbers() {
    let text = "[train]\nbatch_tokens = 3000\nmicro_batch = 4\nsequence = 256";
    let error = parse(text).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("3000") && message.contains("4 × `train.sequence` 256 = 1024"));
    assert!(error.hint().unwrap().contains("2048 or 3072"));
}

#[test]
fn unknown_and_senseless_values_are_refused_by_the_key_that_was_typed() {
    for (key, values) in [
        ("train.steps", &["0", "\"20000000T\"", "9223372036854775807"][..]),
        ("train.batch_tokens", &["0", "9223372036854775807"]),
        ("train.micro_batch", &["0", "4294967296", "9223372036854775807"]),
        ("train.sequence", &["0", "4294967296"]),
        ("train.warmup_steps", &["9223372036854775807"]),
        ("train.checkpoint_every", &["9223372036854775807"]),
        ("train.sample_tokens", &["4294967296"]),
        ("train.eval_tokens", &["\"18446744T\""]),
        ("train.milestones", &["[1, 9223372036854775807]"]),
        ("train.learning_rate", &["0", "0.0", "-1e-3", "nan", "inf", "1e4"]),
        ("train.learning_rate_min", &["-0.1", "1.5", "nan"]),
        ("train.decay_fraction", &["0.0", "1.5", "nan"]),
        ("train.epsilon", &["0", "0.0", "-1e-8", "inf", "2"]),
        ("train.weight_decay", &["-1", "1000", "nan"]),
        ("train.beta1", &["1.0", "-0.1"]),
        ("train.beta2", &["1.0", "nan"]),
        ("train.clip_norm", &["nan", "-1", "inf"]),
        ("train.sample_temperature", &["nan", "-1"]),
        ("train.keep", &["0"]),
        ("train.log_every", &["0"]),
        ("train.ema", &["1.0", "-0.1", "nan"]),
        ("train.spike_skip", &["-1", "nan"]),
        ("train.spike_window", &["0", "1"]),
        ("train.price_per_hour", &["-1", "inf"]),
        ("train.tokens", &["0", "\"20000000T\""]),
        ("train.flops", &["0", "nan", "1e31"]),
        ("train.bytes", &["0"]),
        ("train.on_divergence", &["\"panic\""]),
        ("train.step", &["1"]),
        ("model.d_model", &["0", "9223372036854775807", "100"]),
        ("model.n_layer", &["0", "4294967296"]),
        ("model.n_head", &["0", "9223372036854775807"]),
        ("model.n_kv_head", &["4", "9223372036854775807"]),
        ("model.d_ff", &["0", "9223372036854775807"]),
        ("model.rope_theta", &["1.0", "nan"]),
        ("model.norm_eps", &["0.0", "inf"]),
        ("model.init_std", &["0.0", "-1", "nan"]),
        ("model.vocab_size", &["9223372036854775807"]),
    ] {
        for value in values {
            let (table, name) = key.split_once('.').unwrap();
            let found = parse(&format!("[{table}]\n{name} = {value}"));
            let message = found.unwrap_err().to_string();
            let named = if name == "step" { "step" } else { key };
            let named = if name == "on_divergence" { name } else { named };
            assert!(message.contains(named), "{key} = {value}: {message}");
        }
    }
}

#[test]
fn a_decay_begins_at_a_phase_or_a_step_of_wsd_alone() {
    let of = |value: &str, schedule: &str| {
        parse(&format!("[train]\ndecay_from = {value}\nschedule = \"{schedule}\""))
    };
    let found = |value: &str| of(value, "wsd").unwrap().train.decay_from;
    assert_eq!(found("\"anneal\""), Some(DecayFrom::Phase("anneal".to_owned())));
    assert_eq!(found("300"), Some(DecayFrom::Step(300)));
    assert!(of("300", "cosine").unwrap_err().to_string().contains("`train.decay_from`"));
}

#[test]
fn progress_alone_leaves_the_fingerprint_alone() {
    let of = |text: &str| parse(text).unwrap().fingerprinted();
    assert_eq!(of("[train]\nlog_every = 3"), of(""));
    assert_eq!(of("[train]\nrecompute = true"), of(""));
    assert_ne!(of("[train]\nmicro_batch = 4"), of(""));
}

#[test]
fn an_extended_run_keeps_its_earlier_horizon() {
    let extended = vec![Extension { at: 20, steps: 20 }, Extension { at: 30, steps: 40 }];
    let settings = Settings { extended, ..Settings::default() };
    let horizons: Vec<u64> = [0, 19, 20, 29, 30].map(|step| settings.horizon(step, 60)).into();
    assert_eq!(horizons, [20, 20, 40, 40, 60]);
}
