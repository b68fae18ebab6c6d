//! Presets: rule sets in an order that somebody has published, with the values they gave.
//!
//! In: a preset's name. Out: the configuration it stands for. A preset is a table like any other
//! (`--preset FILE` reads the user's own): `rules` and the thresholds that differ from a rule set's
//! defaults. Invariant: every preset here builds. Cost: none.
//!
//! What each keeps of six corpora, with examples of what goes, is in `docs/filters.md`.

use std::path::Path;

use crate::base::config::{self, Table, nearest};
use crate::base::error::{Error, Result};
use crate::filter::config::{FilterConfig, place_paths};

/// A published preset.
pub struct Preset {
    /// What `--preset` calls it.
    pub name: &'static str,
    /// What it is, and where it was published.
    pub summary: &'static str,
    /// The table.
    pub table: &'static str,
}

/// Every preset, in the order in which they are listed.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "fineweb",
        summary: "the four text filters of FineWeb in its order (arXiv 2406.17557; datatrove's \
                  `examples/fineweb.py`); languages, URLs, copies and personal data are steps of \
                  their own",
        table: "rules = ['gopher_repetition', 'gopher_quality', 'c4_quality', 'fineweb_quality']\n\
                c4_quality.filter_no_terminal_punct = false",
    },
    Preset {
        name: "fineweb-edu",
        summary: "FineWeb-Edu's step after FineWeb: an educational score of 3 or more, in the \
                  column `int_score` (arXiv 2406.17557, 4)",
        table: "rules = ['fineweb_edu']",
    },
    Preset {
        name: "gopher",
        summary: "MassiveText's repetition and quality rules (arXiv 2112.11446, A1.1)",
        table: "rules = ['gopher_repetition', 'gopher_quality']",
    },
    Preset {
        name: "c4",
        summary: "C4's lines and pages (JMLR 21, 20-074)",
        table: "rules = ['c4_quality']",
    },
    Preset {
        name: "dclm",
        summary: "DCLM-baseline's heuristics and line modifiers (arXiv 2406.11794)",
        table: "rules = ['dclm']",
    },
];

/// The configuration that a preset's name stands for.
pub fn named(name: &str) -> Result<FilterConfig> {
    let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) else {
        let error = Error::config(format!("no preset is called `{name}`"));
        return Err(match nearest(name, PRESETS.iter().map(|preset| preset.name)) {
            Some(near) => error.with_hint(format!("did you mean `{near}`?")),
            None => error.with_hint(format!("the presets are\n{}", list())),
        });
    };
    let table = preset.table.parse().expect("a preset here is a table");
    config::parse(table, &format!("the preset `{name}`"))
}

/// A published preset, or the user's own: a TOML file.
///
/// # Errors
/// [`Error::Config`] for what is neither.
pub fn open(name_or_path: &str) -> Result<FilterConfig> {
    let path = Path::new(name_or_path);
    if path.extension().is_none_or(|extension| extension != "toml") {
        return named(name_or_path);
    }
    let mut table = config::read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    place_paths(&mut table, |path| folder.join(path));
    let preset: FilterConfig = config::parse(table, &format!("the preset `{name_or_path}`"))?;
    match preset.preset {
        None => Ok(preset),
        Some(inner) => Err(Error::config(format!("`{name_or_path}` names the preset `{inner}`"))
            .with_hint("a preset lists `rules`")),
    }
}

impl FilterConfig {
    /// With the preset's rules in place of its name; thresholds given beside it win.
    ///
    /// # Errors
    /// [`Error::Config`] for a preset that nobody knows, and for rules beside one.
    pub fn with_preset(mut self) -> Result<FilterConfig> {
        let Some(name) = self.preset.take() else { return Ok(self) };
        if !self.rules.is_empty() {
            let message = format!("`preset` is `{name}`, and `rules` are given as well");
            return Err(Error::config(message).with_hint("a preset is rules: choose one of both"));
        }
        let preset = open(&name)?;
        if preset.annotate || preset.from_annotations {
            let message = format!(
                "the preset `{name}` sets `annotate` or `from_annotations`, which are no rules"
            );
            return Err(Error::config(message)
                .with_hint("leave it out, and give `--annotate` or `--from-annotations`"));
        }
        let mut thresholds: Table = preset.thresholds.into_iter().collect();
        config::merge(&mut thresholds, self.thresholds.into_iter().collect());
        let thresholds = thresholds.into_iter().collect();
        let words = self.words.or(preset.words);
        Ok(FilterConfig { rules: preset.rules, thresholds, words, ..self })
    }
}

/// One line a preset.
pub fn list() -> String {
    let line = |preset: &Preset| format!("{}: {}", preset.name, preset.summary);
    PRESETS.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_builds_and_a_misspelt_one_names_the_nearest() {
        for preset in PRESETS {
            assert!(!named(preset.name).unwrap().build().unwrap().is_empty(), "{}", preset.name);
        }
        let fineweb = named("fineweb").unwrap();
        let resolved = fineweb.resolved(&fineweb.build().unwrap());
        assert_eq!(resolved["c4_quality"]["filter_no_terminal_punct"], false);
        assert_eq!(resolved["c4_quality"]["min_sentences"], 5);
        let hint = named("finweb").unwrap_err().hint();
        assert_eq!(hint.as_deref(), Some("did you mean `fineweb`?"));
    }
}
