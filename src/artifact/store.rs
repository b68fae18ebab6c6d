//! Where an output lies that is not current: `.store/NAME@1a2b3c4d`, beside where it was made.
//!
//! In → what a reader's `run.json` says of an input, and the fingerprint that was read; out → the
//! places where that input may stand now. An output keeps its `run.json` when it moves into the
//! store, so its relative places are as seen from the place that it left. No place is a promise:
//! the manifest there says what it is. **Cost.** One small file at most.

use std::path::{Path, PathBuf};

use super::manifest::Manifest;
use crate::base::{hash::Fingerprint, json};

/// The folder beside the outputs.
pub const FOLDER: &str = ".store";

/// `NAME@1a2b3c4d`
pub fn name(name: &str, fingerprint: Fingerprint) -> String {
    format!("{name}@{}", fingerprint.short())
}

/// The place in the store of what was made as `out`; `None` for a path without a name.
pub fn place(out: &Path, fingerprint: Fingerprint) -> Option<PathBuf> {
    let own = out.file_name()?.to_string_lossy().into_owned();
    Some(out.with_file_name(FOLDER).join(name(&own, fingerprint)))
}

/// Whether `output` lies in a store.
pub fn holds(output: &Path) -> bool {
    output.parent().and_then(Path::file_name).is_some_and(|folder| folder == FOLDER)
}

/// An input as its reader's `run.json` names it, and where it may stand.
pub struct Recorded {
    pub name: String,
    pub places: Vec<PathBuf>,
}

/// The inputs of `reader` in the order of its manifest. Each may lie where it lay as seen from the
/// reader; as seen from the place that the reader left, where that lies in a store; and at its
/// absolute path. Empty where there is no `run.json`, or none that can be read.
pub fn recorded(reader: &Path) -> Vec<Recorded> {
    let run = json::value(&reader.join("run.json"));
    let inputs = run["inputs"].as_array().into_iter().flatten();
    let recorded = inputs.map(|input| {
        let relative = input["relative"].as_str();
        let seen = relative.map(|relative| reader.join(relative));
        let left = relative.filter(|_| holds(reader)).map(|it| reader.join("..").join(it));
        let absolute = input["absolute"].as_str().map(PathBuf::from);
        let name = input["name"].as_str().unwrap_or_default().to_owned();
        Recorded { name, places: [seen, left, absolute].into_iter().flatten().collect() }
    });
    recorded.collect()
}

/// The same places, then those that the input has in the stores beside them.
pub fn with_kept(mut places: Vec<PathBuf>, fingerprint: Option<Fingerprint>) -> Vec<PathBuf> {
    let kept = |fingerprint| places.iter().filter_map(move |it| place(it, fingerprint)).collect();
    let kept: Vec<PathBuf> = fingerprint.map(kept).unwrap_or_default();
    places.extend(kept);
    places
}

/// The artifact of this fingerprint, in the first of these places, or of the stores beside them,
/// where it stands. A manifest that cannot be read is passed over.
pub fn find(places: Vec<PathBuf>, fingerprint: Option<Fingerprint>) -> Option<(PathBuf, Manifest)> {
    with_kept(places, fingerprint).into_iter().find_map(|place| {
        let manifest = Manifest::read_if_known(&place).ok().flatten()?;
        (Some(manifest.fingerprint) == fingerprint).then_some((place, manifest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{hash::xxh3_128, io};

    #[test]
    fn an_input_is_looked_for_where_it_lay_and_in_the_stores_beside() {
        let fingerprint = xxh3_128(b"mix");
        let short = fingerprint.short();
        let directory = tempfile::tempdir().unwrap();
        let of = |name: &str| -> Vec<String> {
            let reader = directory.path().join(name);
            io::create_directory(&reader).unwrap();
            assert!(recorded(&reader).is_empty());
            let input = r#"{"name":"mix","relative":"../mix","absolute":"/was/mix"}"#;
            let run = format!(r#"{{"inputs":[{input}]}}"#);
            io::write(&reader.join("run.json"), run.as_bytes()).unwrap();
            let [Recorded { name, places }] = recorded(&reader).try_into().ok().unwrap();
            assert_eq!(name, "mix");
            let places = with_kept(places, Some(fingerprint)).into_iter();
            let root = directory.path().to_str().unwrap();
            places.map(|place| place.to_str().unwrap().replace(root, "/p")).collect()
        };
        let beside = |folder: &str| format!("{folder}/.store/mix@{short}");
        let current = of("run");
        assert_eq!(current[..2], ["/p/run/../mix", "/was/mix"]);
        assert_eq!(current[2..], [beside("/p/run/.."), beside("/was")]);
        let stored = of(".store/run@1");
        assert_eq!(stored[1], "/p/.store/run@1/../../mix");
        assert_eq!(stored[4], beside("/p/.store/run@1/../.."));
    }
}
