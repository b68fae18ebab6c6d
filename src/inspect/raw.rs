//! What raw files hold, before anything reads them: sources, sizes, documents, columns.
//!
//! In → opened inputs; out → [`RawReport`]. Footers and sizes alone: no text is read, so the
//! documents of JSON Lines are not counted.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::table::{Table, count};
use crate::artifact::stage::Fetches;
use crate::base::size::Bytes;
use crate::source::Inputs;

/// Raw files, or a folder of them.
#[derive(Clone, Debug, Serialize)]
pub struct RawReport {
    /// As it was given.
    pub path: String,
    pub sources: BTreeMap<String, RawSource>,
    /// In the order of their first appearance.
    pub columns: Vec<RawColumn>,
    /// What was passed over, and what is odd about the columns.
    pub notices: Vec<String>,
    /// What reading them fetches, where they lie elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetches: Option<Fetches>,
}

/// The files of one source.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RawSource {
    pub files: u64,
    pub bytes: u64,
    /// Bytes of text, estimated: the footer's size of the column, or that of the file.
    pub text_bytes: u64,
    /// `None` where only reading tells.
    pub documents: Option<u64>,
}

/// A column beside text and id.
#[derive(Clone, Debug, Serialize)]
pub struct RawColumn {
    pub name: String,
    /// Its types, and how many files have it so.
    pub types: BTreeMap<String, u64>,
}

impl RawReport {
    /// Of inputs that were opened at `path`.
    pub fn new(path: &str, inputs: &Inputs) -> RawReport {
        let mut sources: BTreeMap<String, RawSource> = BTreeMap::new();
        let mut columns: Vec<RawColumn> = Vec::new();
        for file in inputs.files() {
            let name = file.source.map_or("", |source| inputs.sources()[source].as_str());
            let empty = RawSource { documents: Some(0), ..RawSource::default() };
            let own = sources.entry(name.to_owned()).or_insert(empty);
            own.files += 1;
            own.bytes += file.bytes;
            own.text_bytes += file.text_bytes();
            own.documents = own.documents.zip(file.documents()).map(|(sum, more)| sum + more);
            for (name, kind) in file.columns() {
                let place = columns.iter().position(|known| known.name == *name);
                let place = place.unwrap_or_else(|| {
                    columns.push(RawColumn { name: name.clone(), types: BTreeMap::new() });
                    columns.len() - 1
                });
                *columns[place].types.entry(kind.to_string()).or_default() += 1;
            }
        }
        let notices = inputs.notices();
        let fetches = inputs.fetches();
        RawReport { path: path.to_owned(), sources, columns, notices, fetches }
    }
}

impl fmt::Display for RawReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RawReport { path, sources, columns, notices, fetches } = self;
        writeln!(f, "{path}: raw files\n")?;
        let mut table = Table::new(["source", "files", "size", "text, about", "documents"]);
        for (name, source) in sources {
            table.row(vec![
                name.clone(),
                count(source.files),
                Bytes(source.bytes).to_string(),
                Bytes(source.text_bytes).to_string(),
                source.documents.map_or_else(|| "not counted".to_owned(), count),
            ]);
        }
        writeln!(f, "{table}\n")?;
        let files: u64 = sources.values().map(|source| source.files).sum();
        for RawColumn { name, types } in columns {
            let one = |(kind, having): (&String, &u64)| match *having == files {
                true => kind.clone(),
                false => format!("{kind} in {} of {} files", count(*having), count(files)),
            };
            let types: Vec<String> = types.iter().map(one).collect();
            writeln!(f, "  column {name}: {}", types.join(", "))?;
        }
        for notice in notices {
            writeln!(f, "  {notice}")?;
        }
        if let Some(fetches) = fetches {
            writeln!(f, "  a stage that reads all of it {fetches}")?;
        }
        write!(
            f,
            "\n`--where \"length(text) > 0\"` counts the documents and shows the first; `dataprep \
             ingest` makes a corpus of them"
        )
    }
}
