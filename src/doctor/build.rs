//! This binary: version, commit, features, target.

use std::fmt;

use serde::Serialize;

/// Features of `Cargo.toml`, and whether they are on.
const FEATURES: [(&str, bool); 6] = [
    ("train", cfg!(feature = "train")),
    ("cuda", cfg!(feature = "cuda")),
    ("serve", cfg!(feature = "serve")),
    ("hub", cfg!(feature = "hub")),
    ("cloud", cfg!(feature = "cloud")),
    ("query", cfg!(feature = "query")),
];

/// What was compiled.
#[derive(Clone, Debug, Serialize)]
pub struct Build {
    pub version: &'static str,
    pub commit: &'static str,
    pub features: Vec<&'static str>,
    pub architecture: &'static str,
    pub system: &'static str,
    pub optimised: bool,
}

impl Build {
    /// Of this process.
    pub fn this() -> Build {
        let on = FEATURES.iter().filter(|(_, is_on)| *is_on);
        Build {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("DATAPREP_COMMIT"),
            features: on.map(|(name, _)| *name).collect(),
            architecture: std::env::consts::ARCH,
            system: std::env::consts::OS,
            optimised: !cfg!(debug_assertions),
        }
    }

    /// Whether a feature is on.
    pub fn has(&self, feature: &str) -> bool {
        self.features.contains(&feature)
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.optimised { "" } else { ", with debug assertions" };
        let features = match self.features.is_empty() {
            true => "none".to_owned(),
            false => self.features.join(" "),
        };
        writeln!(
            f,
            "dataprep {} ({}) for {} {}{how}\nfeatures    {features}",
            self.version, self.commit, self.system, self.architecture
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A feature that is added to `Cargo.toml` shows here.
    #[test]
    fn every_feature_of_the_crate_is_listed() {
        let manifest = include_str!("../../Cargo.toml");
        let features = manifest.split_once("[features]\n").unwrap().1;
        let features = features.split("\n[").next().unwrap().lines();
        let mut names: Vec<&str> = features
            .filter_map(|line| line.split_once(" = [").map(|(name, _)| name))
            .filter(|name| !["default"].contains(name))
            .collect();
        let mut known: Vec<&str> = FEATURES.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, names);
        assert_eq!(Build::this().has("train"), cfg!(feature = "train"));
    }
}
