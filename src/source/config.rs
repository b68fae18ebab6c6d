//! The keys that every stage which takes IN shares: what is text, what is an id, what is kept.
//!
//! In → TOML; out → [`InputConfig`]. `max_bad`, `skip_bad_files` and `cache` say how a run treats
//! its inputs, not what its output is, so they stay outside the fingerprint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::size::{Bytes, Count};
use crate::source::messages::Template;

/// How inputs are read. One flat table of the stage's configuration, beside the stage's own keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputConfig {
    /// Column (or JSON field) that holds the text, or a list of messages; `content.text` is the
    /// field `text` of `content`, unless there is one whose own name is `content.text`. Default
    /// `text`.
    pub text_column: String,
    /// Column (or JSON field) that holds a document's id: a string, or an integer, which is
    /// printed; a path as well. Default: `id` where there is one; without one the id is the text's
    /// hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_column: Option<String>,
    /// Keep only these columns beside id, text, source and held_out (JSON lines have one,
    /// `metadata`). Default: keep all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// Take only documents for which this SQL condition on their columns holds:
    /// `int_score >= 3 AND language = 'en'`; the others count as dropped. Default: all.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Read only this many documents, the first in input order. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_documents: Option<Count>,
    /// Share of raw documents held out for validation, 0 … 1. Default 0.005; a corpus has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holdout: Option<f64>,
    /// A longer text, or line, is rejected, and never held in memory whole. Default 128 MiB.
    pub max_document_bytes: Bytes,
    /// Bytes of text in a unit of work, about. Default: a 1024th of the inputs, 128 MiB … 2 GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_bytes: Option<Bytes>,
    /// How each message of a text that is a list of messages is written. Default
    /// `{role}: {content}` and an empty line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_template: Option<String>,
    /// What stands between the documents of a text or Markdown file. Default: nothing, a file is a
    /// document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// Exceptions for one source: `source.wiki = { text_column = "content" }`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub source: BTreeMap<String, SourceConfig>,
    /// Largest share of a source's documents that may be unreadable, taken exactly. Default: 1%, or
    /// a hundred documents where that is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bad: Option<f64>,
    /// Leave damaged files out whole, and list them, instead of failing. Default false.
    pub skip_bad_files: bool,
    /// Store what is read of `hf://` inputs in the Hub's own cache (`HF_HOME`). Default false.
    pub cache: bool,
    /// Whether a prompt with its completion, or a list of messages, says which bytes of its text
    /// are answers; set by the stage that asks for it.
    #[serde(skip)]
    pub answers: bool,
    /// Commits that an earlier run of the same work has read, by repository and revision.
    #[serde(skip)]
    pub commits: BTreeMap<String, String>,
}

/// What one source does differently.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// As [`InputConfig::text_column`], for this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_column: Option<String>,
    /// As [`InputConfig::id_column`], for this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_column: Option<String>,
    /// As [`InputConfig::message_template`], for this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_template: Option<String>,
    /// As [`InputConfig::separator`], for this source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
}

impl Default for InputConfig {
    fn default() -> InputConfig {
        InputConfig {
            text_column: "text".into(),
            id_column: None,
            columns: None,
            condition: None,
            limit_documents: None,
            holdout: None,
            max_document_bytes: Bytes(128 << 20),
            unit_bytes: None,
            message_template: None,
            separator: None,
            source: BTreeMap::new(),
            max_bad: None,
            skip_bad_files: false,
            cache: false,
            answers: false,
            commits: BTreeMap::new(),
        }
    }
}

impl InputConfig {
    /// Refuses values that no input could satisfy.
    pub fn validate(&self) -> Result<()> {
        let bad = |key: &str, value: String, hint: &str| {
            Err(Error::config(format!("`{key}` cannot be {value}")).with_hint(hint.to_owned()))
        };
        if let Some(share) = self.holdout
            && !(0.0..=1.0).contains(&share)
        {
            return bad("holdout", share.to_string(), "a share, 0 to 1: 0.005 is 0.5%");
        }
        if let Some(share) = self.max_bad
            && !(0.0..=1.0).contains(&share)
        {
            return bad("max_bad", share.to_string(), "a share, 0 to 1: 0.01 is 1%");
        }
        if self.unit_bytes.is_some_and(|bytes| bytes.0 == 0) {
            return bad("unit_bytes", "0".into(), "leave it out, or give a size as in `256MiB`");
        }
        if self.limit_documents.is_some_and(|count| count.0 == 0) {
            return bad("limit_documents", "0".into(), "leave it out to read all documents");
        }
        // One document's text must fit the 2^31 - 1 bytes that an Arrow string column can hold.
        if self.max_document_bytes.0 == 0 || self.max_document_bytes.0 > 1 << 30 {
            let value = self.max_document_bytes.0.to_string();
            return bad("max_document_bytes", value, "give 1 byte to 1 GiB, as in `128MiB`");
        }
        if self.text_column.is_empty() {
            return bad("text_column", "empty".into(), "name the column that holds the text");
        }
        let separators = self.source.values().map(|own| &own.separator).chain([&self.separator]);
        if separators.flatten().any(String::is_empty) {
            return bad("separator", "empty".into(), "leave it out to make a file a document");
        }
        self.source.keys().try_for_each(|source| self.template_of(source).map(drop))?;
        self.template_of("").map(drop)
    }

    /// The column that holds the text of `source`.
    pub fn text_column_of(&self, source: &str) -> &str {
        let own = self.source.get(source).and_then(|own| own.text_column.as_deref());
        own.unwrap_or(&self.text_column)
    }

    /// The id column asked for, for `source`; `None`: `id` where there is one.
    pub fn id_column_of(&self, source: &str) -> Option<&str> {
        let own = self.source.get(source).and_then(|own| own.id_column.as_deref());
        own.or(self.id_column.as_deref())
    }

    /// How the messages of `source` are written.
    pub fn template_of(&self, source: &str) -> Result<Template> {
        let own = self.source.get(source).and_then(|own| own.message_template.as_deref());
        let template = own.or(self.message_template.as_deref());
        template.map_or_else(|| Ok(Template::default()), Template::parse)
    }

    /// What stands between the documents of text files of `source`.
    pub fn separator_of(&self, source: &str) -> Option<&str> {
        let own = self.source.get(source).and_then(|own| own.separator.as_deref());
        own.or(self.separator.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_and_a_source_of_its_own_and_refuses_unknown_keys() {
        let config: InputConfig = toml::from_str(
            "unit_bytes = '1MiB'\nlimit_documents = '2k'\nsource.code.text_column = 'content'",
        )
        .expect("parses");
        assert_eq!(config.unit_bytes, Some(Bytes(1 << 20)));
        assert_eq!(config.limit_documents, Some(Count(2000)));
        assert_eq!(config.text_column_of("code"), "content");
        assert_eq!(config.text_column_of("wiki"), "text");
        assert!(toml::from_str::<InputConfig>("text_colunm = 'a'").is_err());
    }

    #[test]
    fn refuses_shares_and_sizes_out_of_range() {
        let config = |edit: fn(&mut InputConfig)| {
            let mut config = InputConfig::default();
            edit(&mut config);
            config.validate()
        };
        assert!(config(|_| ()).is_ok());
        assert!(config(|c| c.holdout = Some(1.5)).is_err());
        assert!(config(|c| c.max_bad = Some(f64::NAN)).is_err());
        assert!(config(|c| c.unit_bytes = Some(Bytes(0))).is_err());
        assert!(config(|c| c.max_document_bytes = Bytes(2 << 30)).is_err());
        assert!(config(|c| c.separator = Some(String::new())).is_err());
        assert!(config(|c| c.message_template = Some("{role}".into())).is_err());
        let template = |text: &str| SourceConfig {
            message_template: Some(text.into()),
            ..SourceConfig::default()
        };
        let refused = |own: SourceConfig| {
            let mut config = InputConfig::default();
            config.source.insert("chat".into(), own);
            config.validate().is_err()
        };
        assert!(refused(template("{message}")) && !refused(template("{content}")));
    }
}
