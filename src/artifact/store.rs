//! Where an output lies that is not current: `.store/NAME@1a2b3c4d`, beside where it was made.
//!
//! In → what a reader's `run.json` says of an input, and the fingerprint that was read; out → the
//! places where that input may stand now. An output keeps its `run.json` when it moves into the
//! store, so its relative places are as seen from the place that it left. No place is a promise:
//! the manifest there says what it is. Cost: none, no file is looked at.

use std::path::{Path, PathBuf};

use crate::base::hash::Fingerprint;

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

/// Where an input of `reader` may stand: as seen from it, from the place that it left where it lies
/// in a store itself, and absolute.
pub fn recorded(reader: &Path, relative: Option<&str>, absolute: Option<&str>) -> Vec<PathBuf> {
    let seen = relative.map(|relative| reader.join(relative));
    let left = relative.filter(|_| holds(reader)).map(|it| reader.join("..").join(it));
    [seen, left, absolute.map(PathBuf::from)].into_iter().flatten().collect()
}

/// The same places, then those that the input has in the stores beside them.
pub fn with_kept(mut places: Vec<PathBuf>, fingerprint: Option<Fingerprint>) -> Vec<PathBuf> {
    let kept = |fingerprint| places.iter().filter_map(move |it| place(it, fingerprint)).collect();
    let kept: Vec<PathBuf> = fingerprint.map(kept).unwrap_or_default();
    places.extend(kept);
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::hash::xxh3_128;

    #[test]
    fn an_input_is_looked_for_where_it_lay_and_in_the_stores_beside() {
        let fingerprint = xxh3_128(b"mix");
        let short = fingerprint.short();
        let of = |reader: &str| -> Vec<String> {
            let places = recorded(Path::new(reader), Some("../mix"), Some("/was/mix"));
            let places = with_kept(places, Some(fingerprint));
            places.iter().map(|place| place.to_string_lossy().into_owned()).collect()
        };
        let beside = |folder: &str| format!("{folder}/.store/mix@{short}");
        let current = ["/p/run/../mix", "/was/mix"];
        assert_eq!(of("/p/run")[..2], current);
        assert_eq!(of("/p/run")[2..], [beside("/p/run/.."), beside("/was")]);
        let stored = of("/p/.store/run@1");
        assert_eq!(stored[1], "/p/.store/run@1/../../mix");
        assert_eq!(stored[4], beside("/p/.store/run@1/../.."));
    }
}
