//! The shapes that are shipped in `configs/model/`, by name.
//!
//! In → a name; out → [`Shape`]: the configuration with the vocabulary and the row length that its
//! file states, with which it is measured.

use serde::Deserialize;

use crate::base::error::{Error, Result};
use crate::runtime::model::ModelConfig;

/// A shipped shape.
pub struct Shape {
    pub name: &'static str,
    vocabulary: usize,
    /// Tokens a row.
    pub sequence: usize,
    text: &'static str,
}

macro_rules! shape {
    ($name:literal, $vocabulary:literal, $sequence:literal) => {
        Shape {
            name: $name,
            vocabulary: $vocabulary,
            sequence: $sequence,
            text: include_str!(concat!("../../../configs/model/", $name, ".toml")),
        }
    };
}

/// All shipped shapes, including those whose heads no kernel computes, so that an error can say so.
pub const SHAPES: &[Shape] = &[
    shape!("3m", 8192, 256),
    shape!("5m", 8192, 512),
    shape!("14m", 8192, 512),
    shape!("15m", 16384, 512),
    shape!("35m", 16384, 1024),
    shape!("35m-gemma", 16384, 1024),
    shape!("35m-qwen3", 16384, 1024),
    shape!("124m", 50304, 1024),
    shape!("124m-gpt2", 50257, 1024),
    shape!("350m", 50304, 1024),
    shape!("500m", 32768, 2048),
    shape!("500m-deep", 32768, 2048),
    shape!("1b", 32000, 2048),
];

impl Shape {
    /// The shape called `name`.
    ///
    /// # Errors
    /// Config: none is called so; the hint lists them.
    pub fn named(name: &str) -> Result<&'static Shape> {
        SHAPES.iter().find(|shape| shape.name == name).ok_or_else(|| {
            let names: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
            Error::config(format!("no shape is called `{name}`")).with_hint(format!(
                "there are {}; or name a file of your own, as in `configs/model/124m.toml`",
                names.join(", ")
            ))
        })
    }

    /// Its configuration, complete.
    pub fn config(&self) -> Result<ModelConfig> {
        let config = Self::parse(self.text, self.name)?;
        Ok(ModelConfig { vocab_size: self.vocabulary, ..config })
    }

    /// The `[model]` of a file's text; `name` says whose it is.
    fn parse(text: &str, name: &str) -> Result<ModelConfig> {
        #[derive(Deserialize)]
        struct File {
            model: ModelConfig,
        }
        let wrong = |error| Error::config(format!("`{name}`: {error}"));
        Ok(toml::from_str::<File>(text).map_err(wrong)?.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_shape_is_known_by_its_name_and_is_complete() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/model");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let mut known: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
        known.sort_unstable();
        assert_eq!(known, names);
        for shape in SHAPES {
            shape.config().unwrap().validate().unwrap();
        }
        assert!(Shape::named("1t").is_err_and(|error| error.hint().unwrap().contains("500m")));
    }
}
