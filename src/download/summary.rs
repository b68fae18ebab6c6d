//! What a person is told of a download.
//!
//! In → its manifest, and which branches have moved since; out → a line, a paragraph, a record.

use std::fmt;

use serde_json::{Value, json};

use super::source::short;
use crate::artifact::manifest::Manifest;
use crate::artifact::summary::Summary;
use crate::base::size::{Bytes, Count};

/// Files, bytes and commits.
#[derive(Debug)]
pub struct DownloadSummary {
    files: u64,
    bytes: u64,
    /// Address and commit of each.
    from: Vec<(String, Option<String>)>,
    moved: Vec<String>,
}

impl DownloadSummary {
    /// The summary of a finished download.
    pub fn new(manifest: &Manifest, moved: Vec<String>) -> DownloadSummary {
        let from = manifest.config["from"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let one = |it: &Value| (text(&it["address"]).unwrap_or_default(), text(&it["commit"]));
        DownloadSummary {
            files: manifest.files.len() as u64,
            bytes: manifest.files.iter().map(|file| file.bytes).sum(),
            from: from.iter().map(one).collect(),
            moved,
        }
    }
}

impl Summary for DownloadSummary {
    fn head(&self) -> String {
        "What was fetched".to_owned()
    }

    fn line(&self) -> String {
        format!("{}, {}", Count(self.files).of("file"), Bytes(self.bytes))
    }

    fn record(&self) -> Value {
        let from = self.from.iter();
        let from = from.map(|(address, commit)| json!({"address": address, "commit": commit}));
        json!({
            "files": self.files, "bytes": self.bytes, "from": from.collect::<Vec<_>>(),
            "moved": self.moved,
        })
    }
}

impl fmt::Display for DownloadSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (address, commit) in &self.from {
            match commit {
                Some(commit) => writeln!(f, "  {address} at {}", short(commit))?,
                None => writeln!(f, "  {address}")?,
            }
        }
        self.moved.iter().try_for_each(|moved| writeln!(f, "  {moved}"))
    }
}
