//! What a step is counted to take, held against what the thread that computes it holds.

use dataprep::{
    base::config,
    runtime::{data::Batch, device::Device, model::Model, optim::clip::clip, step, value::Form},
    train::{TrainConfig, config::Ops, plan::step_memory},
};

use crate::support::memory::most_held;

/// A shape whose tape is the most of it, small enough for kernels that nobody optimised.
const SMALL: &str = "[train]\nsteps = 1\nsequence = 64\nmicro_batch = 4\nbatch_tokens = 256\n\
    [model]\nvocab_size = 128\nd_model = 32\nn_layer = 4\nn_head = 2\nn_kv_head = 1\nd_ff = 80\n";

const ALL_MAPS: &str = r#"["q_proj","k_proj","v_proj","o_proj","gate_proj","up_proj","down_proj"]"#;

fn small(sets: &str) -> TrainConfig {
    let mut table = SMALL.parse().unwrap();
    sets.split_whitespace().for_each(|set| config::set(&mut table, set).unwrap());
    TrainConfig::parse(table).unwrap()
}

/// Rows of one document each.
fn batch(rows: usize, sequence: usize) -> Batch {
    let tokens: Vec<u32> = (0..rows * sequence + 1).map(|at| (at * at * 7 % 128) as u32).collect();
    let inputs = tokens[..rows * sequence].to_vec();
    let mut batch = Batch::single_document(inputs, tokens[1..].to_vec());
    (batch.rows, batch.sequence) = (rows, sequence);
    batch.positions = (0..rows * sequence).map(|at| (at % sequence) as u32).collect();
    batch
}

/// A step of `config`, from a fresh model and optimizer on.
fn take_step(config: &TrainConfig) {
    let train = &config.train;
    let mut model = Model::new(&config.model, 1, &Device::cpu()).unwrap();
    if let Some(lora) = &config.lora {
        model = model.with_lora(lora, 1).unwrap();
    }
    let form = match config.runtime.ops {
        Ops::Fused => Form::Fused,
        Ops::Composed => Form::Composed,
    };
    let model = model.with_form(form).with_recompute(train.recompute.blocks());
    let mut optimizer = config.build_optimizer(&model).unwrap();
    let batch = batch(train.rows_per_step(), train.sequence);
    let mut found = step::gradients(&model, &batch, train.micro_batch).unwrap();
    clip(&mut found.gradients, 1e-3).unwrap();
    optimizer.step(&found.gradients, 1e-3).unwrap();
}

#[test]
fn what_is_counted_of_a_step_is_what_it_holds() {
    let lora = format!("lora.rank=16 lora.targets={ALL_MAPS}");
    let shapes = [
        "",
        "train.batch_tokens=512",
        "train.recompute=4",
        "train.recompute=2 train.batch_tokens=512",
        "train.recompute=2 train.micro_batch=1 train.batch_tokens=128",
        "train.sequence=16 train.micro_batch=1 train.batch_tokens=32",
        "lora.rank=4",
        &lora,
        &format!("{lora} train.recompute=4 train.batch_tokens=512"),
        "model.parallel=true model.dropout=0.1",
        "model.qk_norm=true model.norm=gemma model.activation=geglu",
        "model.norm=layernorm model.bias=all model.activation=gelu model.positions=learned \
         model.context=64",
        "model.tied=false model.logit_softcap=30.0 model.z_loss=1e-4",
        "model.attention_softcap=30.0 model.residual_scale=0.5",
        "model.d_ff=16",
        "model.d_ff=16 train.recompute=3",
        "model.vocab_size=2048",
        "optimizer.kind=muon",
    ];
    // What a thread allocates it is told of, so one thread does it all.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for sets in shapes {
        let config = small(sets);
        let (counted, _) = step_memory(&config, config.train.micro_batch, 1);
        let held = pool.install(|| {
            take_step(&config); // makes the buffers that a thread keeps for its products
            most_held(|| take_step(&config)).1
        });
        // Names, nodes of the tape, columns of a batch: what no shape decides.
        let least = counted.total() * 97 / 100;
        let most = counted.total() * 103 / 100 + (128 << 10);
        assert!((least..=most).contains(&held), "{sets}: {held} bytes held, counted {counted:?}");
    }
}

#[test]
fn what_the_references_of_the_operations_hold_is_counted() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for sets in [
        "model.n_layer=2 train.sequence=32",
        "model.n_layer=1 model.vocab_size=1024 model.logit_softcap=5.0",
        "model.n_layer=2 model.norm=layernorm model.bias=all model.activation=gelu",
        "model.n_layer=3 train.recompute=3",
    ] {
        let sets = format!("{sets} train.micro_batch=2 train.batch_tokens=128");
        let config = small(&(sets + " runtime.ops=composed"));
        let (counted, _) = step_memory(&config, config.train.micro_batch, 1);
        let held = pool.install(|| {
            take_step(&config);
            most_held(|| take_step(&config)).1
        });
        let off = held as f64 / counted.total() as f64;
        assert!((0.85..1.12).contains(&off), "{config:?}: {held} bytes held, counted {counted:?}");
    }
}
