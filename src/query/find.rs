//! Names → tables.
//!
//! In → a folder and a name; out → the files that make up the table. A name is a path below the
//! folder: an output (`kept`), a file, or a folder with runs in it, whose table is that of `runs`.
//! An output's other tables follow a `#`: `kept#removed`, `model#evals`. **Method.** Files are
//! grouped by their name without the part number: `removed-00017.parquet` belongs to `removed`;
//! where files of two forms share such a name, the second form is named by its whole file name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::artifact::manifest::Manifest;
use crate::base::error::Result;
use crate::base::io;

/// A table and where its rows lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The table's name in a query.
    pub name: String,
    pub rows: Rows,
}

/// The forms that rows have on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Parquet of one schema.
    Parquet(Vec<PathBuf>),
    /// JSON Lines.
    Lines(Vec<PathBuf>),
    /// The documents of shards, without their tokens.
    Shards(Vec<PathBuf>),
    /// The documents that a mix validates on, without their tokens.
    Validation(PathBuf),
    /// The runs below a folder.
    Runs(PathBuf),
}

/// An output named alone means the first of these tables that it has.
const MAIN: [&str; 4] = ["documents", "metrics", "items", "validation"];

/// The table called `name`; `None` where there is none.
///
/// # Errors
/// Whatever listing a folder gives.
pub fn find(folder: &Path, name: &str) -> Result<Option<Table>> {
    let whole = folder.join(name);
    let (place, part) = match name.rsplit_once('#') {
        Some((place, part)) if !whole.exists() => (folder.join(place), Some(part)),
        _ => (whole, None),
    };
    let named = |rows| Table { name: name.to_owned(), rows };
    if place.is_file() && part.is_none() {
        return Ok(of_file(&place).map(|(_, rows)| named(rows)));
    }
    if !place.is_dir() {
        return Ok(None);
    }
    if !Manifest::stands_in(&place) {
        return Ok(part.is_none().then(|| named(Rows::Runs(place))));
    }
    let mut tables = of_output(&place)?;
    let part = part.or_else(|| MAIN.into_iter().find(|main| tables.contains_key(*main)));
    Ok(part.and_then(|part| tables.remove(part)).map(named))
}

/// Every table of the outputs in a folder, and that of its runs, by name.
///
/// # Errors
/// Whatever listing a folder gives.
pub fn list(folder: &Path) -> Result<Vec<Table>> {
    let mut found = Vec::new();
    let mut has_runs = false;
    let outputs = io::list(folder)?.into_iter().filter(|path| Manifest::stands_in(path));
    for output in outputs {
        let name = output.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let tables = of_output(&output)?;
        has_runs |= tables.contains_key("metrics");
        let main = MAIN.into_iter().find(|main| tables.contains_key(*main));
        for (part, rows) in tables {
            let name = match main == Some(part.as_str()) {
                true => name.clone(),
                false => format!("{name}#{part}"),
            };
            found.push(Table { name, rows });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if has_runs {
        found.push(Table { name: ".".to_owned(), rows: Rows::Runs(folder.to_owned()) });
    }
    Ok(found)
}

/// The tables of an output, by their names in it.
fn of_output(output: &Path) -> Result<BTreeMap<String, Rows>> {
    let mut files = io::list(output)?;
    let evaluated = output.join("evals");
    if evaluated.is_dir() {
        files.extend(io::list(&evaluated)?);
    }
    let mut tables: BTreeMap<String, Rows> = BTreeMap::new();
    for path in &files {
        let Some((name, rows)) = of_file(path) else { continue };
        let of_another_form = match tables.get_mut(&name) {
            None => {
                tables.insert(name, rows);
                None
            }
            Some(known) => known.append(rows),
        };
        if let Some(rows) = of_another_form {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            tables.insert(name, rows);
        }
    }
    Ok(tables)
}

/// The table that a file is, or is a part of.
fn of_file(path: &Path) -> Option<(String, Rows)> {
    if !path.is_file() {
        return None;
    }
    let name = path.file_name()?.to_str()?;
    let (stem, extension) = name.rsplit_once('.')?;
    let stem = match stem.rsplit_once('-') {
        Some((stem, part)) if part.bytes().all(|byte| byte.is_ascii_digit()) => stem,
        _ => stem,
    };
    let files = vec![path.to_owned()];
    Some(match (stem, extension) {
        ("part", "parquet") => ("documents".to_owned(), Rows::Parquet(files)),
        // The documents of each evaluation of a run.
        ("step", "jsonl") => ("scored".to_owned(), Rows::Lines(files)),
        (_, "parquet") => (stem.to_owned(), Rows::Parquet(files)),
        (_, "jsonl") => (stem.to_owned(), Rows::Lines(files)),
        ("shard", "arrow") => ("documents".to_owned(), Rows::Shards(files)),
        ("validation", "arrow") => (stem.to_owned(), Rows::Validation(path.to_owned())),
        _ => return None,
    })
}

impl Rows {
    /// Adds the files of another part of the same table; gives them back if they have another form,
    /// as foreign files may.
    fn append(&mut self, more: Rows) -> Option<Rows> {
        match (self, more) {
            (Rows::Parquet(files), Rows::Parquet(more))
            | (Rows::Lines(files), Rows::Lines(more))
            | (Rows::Shards(files), Rows::Shards(more)) => {
                files.extend(more);
                None
            }
            (_, more) => Some(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_grouped_by_the_name_of_their_part() {
        let directory = tempfile::tempdir().unwrap();
        let kept = directory.path().join("kept");
        io::create_directory(&kept).unwrap();
        let files = ["part-00000.parquet", "part-00001.parquet", "removed-00000.parquet", "x.txt"];
        for name in files.into_iter().chain(["manifest.json", "rejects-00001.jsonl"]) {
            io::write(&kept.join(name), b"").unwrap();
        }
        let names: Vec<String> = of_output(&kept).unwrap().into_keys().collect();
        assert_eq!(names, ["documents", "rejects", "removed"]);
        let parts = Rows::Parquet(vec![kept.join(files[0]), kept.join(files[1])]);
        let table = |name: &str| find(directory.path(), name).unwrap();
        assert_eq!(table("kept").unwrap().rows, parts);
        assert_eq!(table("kept#documents").unwrap().rows, parts);
        assert_eq!(table("kept#removed").unwrap().name, "kept#removed");
        assert!(table("kept#metrics").is_none() && table("lost").is_none());
        io::write(&kept.join("removed.jsonl"), b"{}").unwrap();
        let strange = table("kept#removed.jsonl").unwrap().rows;
        assert_eq!(strange, Rows::Lines(vec![kept.join("removed.jsonl")]));
        assert!(matches!(table("kept#removed").unwrap().rows, Rows::Parquet(_)));
    }
}
