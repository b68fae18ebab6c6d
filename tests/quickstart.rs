//! The quickstart's own data: stored output hashes, and the first steps of its loss curve.

use std::collections::BTreeMap;

use dataprep::artifact::manifest::Manifest;

use crate::support::{TestDir, project};

/// (stage, stage version) → the identity of what it writes in the quickstart. When one changes,
/// either the change is a mistake or the stage's version must rise with it.
const STORED: &str = include_str!("quickstart.json");

#[test]
fn outputs_change_only_with_their_stage_version_and_the_loss_falls_as_stored() {
    let directory = TestDir::new();
    // The recipe's paths are relative to it: a copy of its steps before the training, whole.
    let recipe = std::fs::read_to_string(project().join("pipelines/quickstart.toml")).unwrap();
    let (data_steps, _) = recipe.rsplit_once("[[step]]").unwrap();
    directory.write("pipelines/quickstart.toml", data_steps);
    std::os::unix::fs::symlink(project().join("fixtures"), directory.path("fixtures")).unwrap();
    directory.dataprep("run pipelines/quickstart.toml --out runs").ok();
    let mut found = BTreeMap::new();
    for step in ["prose", "manuals", "dedup", "tokens", "mix"] {
        let manifest = Manifest::read(&directory.path("runs").join(step)).unwrap();
        let key = format!("{step} ({} version {})", manifest.stage, manifest.stage_version);
        found.insert(key, manifest.files_identity().to_string());
    }
    let stored: serde_json::Value = serde_json::from_str(STORED).unwrap();
    let outputs = serde_json::to_value(&found).unwrap();
    assert_eq!(outputs, stored["outputs"], "found: {outputs:#}");
    #[cfg(feature = "train")]
    loss_curve(&directory, &stored);
}

/// Losses of the first 20 steps, each within 1%: another CPU sums in another order, and 20 steps
/// let that grow, but not so far.
#[cfg(feature = "train")]
fn loss_curve(directory: &TestDir, stored: &serde_json::Value) {
    let config = project().join("configs/train/quickstart.toml");
    let command = format!("train --data runs/mix --out runs/model --config {}", config.display());
    directory.dataprep(&format!("{command} --stop-after 20")).ok();
    let metrics = directory.read("runs/model/metrics.jsonl");
    let losses: Vec<f64> = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64())
        .collect::<Option<_>>()
        .unwrap();
    let stored = stored["losses"].as_array().unwrap();
    assert_eq!(losses.len(), stored.len(), "{losses:?}");
    for (step, (found, stored)) in losses.iter().zip(stored).enumerate() {
        let stored = stored.as_f64().unwrap();
        assert!((found - stored).abs() < 0.01 * stored, "step {}: {losses:?}", step + 1);
    }
}
