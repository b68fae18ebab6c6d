//! `docs/formats.md` against what is written: every file, column and key, its type, its nulls.
//!
//! In → the tables of the document and the outputs of the example of `docs/recipes.md`; out →
//! whatever one has and the other has not. A row of a table is (name, type, null, meaning);
//! `inputs[].name` is a path in JSON, `NAME` stands for any key. A key without rows below it is not
//! looked into.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use arrow::{
    datatypes::{DataType, SchemaRef},
    ipc::reader::FileReader,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::support::{TestDir, documents, hub::HubServer, project};

/// A row of a table.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    kind: String,
    null: String,
}

/// The document, cut at its headings.
struct Document {
    text: String,
}

impl Document {
    fn read() -> Document {
        Document { text: fs::read_to_string(project().join("docs/formats.md")).unwrap() }
    }

    /// The rows of all tables under the heading.
    fn rows(&self, heading: &str) -> Vec<Row> {
        let heading = format!("\n### {heading}\n");
        let (_, below) = self.text.split_once(&heading).unwrap_or_else(|| panic!("no {heading}"));
        let section = below.split("\n#").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| {
            let mut cells = line.trim().trim_matches('|').split('|').map(str::trim);
            let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?.to_owned();
            let (kind, null) = (cells.next()?.to_owned(), cells.next()?.to_owned());
            Some(Row { name, kind, null })
        });
        let rows: Vec<Row> = rows.collect();
        assert!(!rows.is_empty(), "no table under {heading}");
        rows
    }
}

/// A table's columns against its schema: all of them, in order.
fn check_columns(document: &Document, heading: &str, columns: usize, schema: &SchemaRef) {
    let rows = document.rows(heading);
    let rows = &rows[..columns.min(rows.len())];
    let name = |kind: &DataType| match kind {
        DataType::Utf8 => "string",
        DataType::Boolean => "bool",
        DataType::UInt16 => "uint16",
        DataType::UInt32 => "uint32",
        DataType::UInt64 => "uint64",
        DataType::Float64 => "double",
        DataType::List(_) => "list",
        other => panic!("no word for {other}"),
    };
    let null = |nullable: bool| if nullable { "null" } else { "–" };
    let found = schema.fields().iter().take(rows.len());
    let found =
        found.map(|f| format!("{} {} {}", f.name(), name(f.data_type()), null(f.is_nullable())));
    let said = rows.iter().map(|row| format!("{} {} {}", row.name, row.kind, row.null));
    assert_eq!(found.collect::<Vec<_>>(), said.collect::<Vec<_>>(), "docs/formats.md, {heading}");
}

/// The rows of a document as the tree of their paths.
#[derive(Default)]
struct Node {
    row: Option<Row>,
    below: BTreeMap<String, Node>,
}

impl Node {
    fn new(rows: &[Row]) -> Node {
        let mut root = Node::default();
        for row in rows {
            let path = row.name.replace("[]", ".[]");
            let leaf = path
                .split('.')
                .fold(&mut root, |node, part| node.below.entry(part.to_owned()).or_default());
            leaf.row = Some(row.clone());
        }
        root
    }

    fn is_required(&self) -> bool {
        match &self.row {
            Some(row) => !row.null.contains("absent"),
            None => self.below.values().any(Node::is_required),
        }
    }

    /// What `value` has that the rows have not, or has otherwise.
    fn check(
        &self,
        path: &str,
        value: &Value,
        seen: &mut BTreeSet<String>,
        wrong: &mut Vec<String>,
    ) {
        if let Some(row) = &self.row {
            seen.insert(row.name.clone());
            if !is_of_kind(value, row) {
                wrong.push(format!("`{path}` is {value}, said to be {}, {}", row.kind, row.null));
            }
        }
        match value {
            Value::Object(object) if !self.below.is_empty() => {
                for (key, value) in object {
                    let path = format!("{path}.{key}");
                    match self.below.get(key).or_else(|| self.below.get("NAME")) {
                        Some(node) => node.check(&path, value, seen, wrong),
                        None => wrong.push(format!("`{path}` is not said")),
                    }
                }
                let missing = self.below.iter().filter(|(key, node)| {
                    *key != "NAME" && node.is_required() && !object.contains_key(*key)
                });
                wrong.extend(missing.map(|(key, _)| format!("`{path}.{key}` is missing")));
            }
            Value::Array(values) => {
                let Some(node) = self.below.get("[]") else { return };
                values.iter().for_each(|value| node.check(path, value, seen, wrong));
            }
            _ => {}
        }
    }
}

fn is_of_kind(value: &Value, row: &Row) -> bool {
    let is_hash = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let is_one = |kind: &str| match kind {
        "integer" | "bytes" => value.is_u64(),
        "double" => value.is_number(),
        "string" => value.is_string(),
        "hash" => value.as_str().is_some_and(is_hash),
        "bool" => value.is_boolean(),
        "object" => value.is_object(),
        "list" => value.is_array(),
        other => panic!("no such type: {other}"),
    };
    (value.is_null() && row.null.contains("null")) || row.kind.split(" or ").any(is_one)
}

/// JSON values against a table: nothing unsaid, nothing said that none of them has.
fn check_json(document: &Document, heading: &str, values: &[Value]) {
    let rows = document.rows(heading);
    let node = Node::new(&rows);
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    assert!(!values.is_empty(), "nothing written for {heading}");
    values.iter().for_each(|value| node.check("", value, &mut seen, &mut wrong));
    let unseen = rows.iter().filter(|row| !seen.contains(&row.name));
    wrong.extend(unseen.map(|row| format!("`{}` is said and nowhere written", row.name)));
    assert!(wrong.is_empty(), "docs/formats.md, {heading}: {wrong:#?}");
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

/// The values of JSON files, or of the lines of JSON Lines, whose paths end so.
fn json(files: &[PathBuf], ending: impl Fn(&str) -> bool) -> Vec<Value> {
    let texts = files.iter().filter(|path| ending(&path.to_string_lossy()));
    let values = texts.flat_map(|path| {
        let text = fs::read_to_string(path).unwrap();
        match path.extension().is_some_and(|extension| extension == "jsonl") {
            true => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            false => vec![serde_json::from_str(&text).unwrap()],
        }
    });
    values.collect()
}

fn parquet_schema(path: &Path) -> SchemaRef {
    let file = fs::File::open(path).unwrap();
    ParquetRecordBatchReaderBuilder::try_new(file).unwrap().schema().clone()
}

fn arrow_schema(path: &Path) -> (SchemaRef, Value) {
    let file = FileReader::try_new(fs::File::open(path).unwrap(), None).unwrap();
    (file.schema(), serde_json::from_str(&file.custom_metadata()["dataprep"]).unwrap())
}

/// The example of `docs/recipes.md`: the block behind its heading, without the indent.
fn example() -> String {
    let text = fs::read_to_string(project().join("docs/recipes.md")).unwrap();
    let (_, below) = text.split_once("\n## A whole example\n").unwrap();
    let section = below.split("\n## ").next().unwrap_or_default();
    let lines = section.lines().filter(|line| line.is_empty() || line.starts_with("    "));
    lines.map(|line| line.trim_start_matches("    ").to_owned() + "\n").collect()
}

/// The outputs of that example, where a record is broken, and what stands after damage.
fn written() -> TestDir {
    let directory = TestDir::new();
    directory.write("recipe.toml", example());
    directory.write_documents("text/wiki/000.jsonl", &documents(120, 1));
    directory.write_documents("text/wiki/001.jsonl", &documents(90, 2));
    let line = |text: &String| serde_json::json!({"text": text, "url": "u"}).to_string() + "\n";
    let good: String = documents(110, 3).iter().map(line).collect();
    directory.write("text/web.jsonl", good + "{\"text\": null}\n");
    directory.dataprep("run recipe.toml").ok();
    let again = directory.dataprep("run recipe.toml --json").ok();
    assert_eq!(again.summary()["up_to_date"], again.summary()["steps"], "{again:?}");
    let sides = "--positive wiki=text/wiki --negative web=text/web.jsonl";
    let size = "--set buckets=1000 --set dimensions=4 --set epochs=1";
    directory.dataprep(&format!("classifier train {sides} {size} --out runs/judge")).ok();
    directory.write(
        "mix.toml",
        "bytes = '60kB'\n[[phases]]\nname = 'all'\nshare = 0.8\n\
         weights = { wiki = 0.7, web = 0.3 }\n\
         [[phases]]\nname = 'anneal'\nshare = 0.2\nweights = { wiki = 1 }\n",
    );
    let sources = "wiki=runs/tokens#wiki web=runs/tokens#web";
    directory.dataprep(&format!("mix {sources} --config mix.toml --out runs/phases")).ok();
    let packed = "mix wiki=runs/tokens#wiki:0.7 web=runs/tokens#web:0.3 --tokens 9k";
    let packed = format!("{packed} --packing best_fit --sequence 256 --materialize");
    directory.dataprep(&format!("{packed} --out runs/packed")).ok();
    // A gzip stream that ends behind its head.
    directory.write("cut.jsonl.gz", [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
    let inputs = "wiki=text/wiki cut=cut.jsonl.gz --set unit_bytes=16KiB";
    let half = format!("tokenize {inputs} --tokenizer runs/vocabulary --out half");
    assert_eq!(directory.dataprep(&half).status, 1);
    directory.dataprep(&format!("ingest {inputs} --out skipped --skip-bad-files")).ok();
    let hub = HubServer::start();
    let part = fs::read(directory.path("runs/corpus/part-00000.parquet")).unwrap();
    hub.commit("datasets/o/n", &[("text/part-00000.parquet", &part)]);
    let address = "hf://datasets/o/n@main/text";
    for command in ["download {} --out runs/fetched", "ingest n={} --out runs/remote"] {
        let mut command = directory.command(&command.replace("{}", address));
        command.env("HF_ENDPOINT", hub.endpoint()).env("HF_HOME", directory.path("hf"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    directory.copy(&project().join("fixtures/evals"), "evals");
    let eval = "eval evals/model --evals evals --tasks piqa,lambada_openai --limit 3";
    directory
        .dataprep(&format!("{eval} --on wiki=text/wiki web=text/web.jsonl --out runs/scores"))
        .ok();
    directory
}

#[test]
fn every_file_is_as_the_document_of_formats_says() {
    let (document, directory) = (Document::read(), written());
    let at = |name: &str| directory.path(name);
    let tables = [
        ("`part-*.parquet`", 4, "runs/corpus/part-00000.parquet"),
        ("`removed-*.parquet` of `filter`", 99, "runs/clean/removed-00000.parquet"),
        ("`removed-*.parquet` of `dedup`", 99, "runs/unique/removed-00000.parquet"),
        ("`histogram-*.parquet`", 99, "runs/clean/histogram-00000.parquet"),
        ("`examples-*.parquet`", 99, "runs/clean/examples-00000.parquet"),
        ("`items.parquet`", 99, "runs/scores/items.parquet"),
        ("`documents-*.parquet`", 99, "runs/scores/documents-00000.parquet"),
    ];
    for (heading, columns, file) in tables {
        check_columns(&document, heading, columns, &parquet_schema(&at(file)));
    }
    let unique = parquet_schema(&at("runs/unique/part-00000.parquet"));
    let verdicts: Vec<usize> = (unique.fields().len() - 2..unique.fields().len()).collect();
    let verdicts = std::sync::Arc::new(unique.project(&verdicts).unwrap());
    check_columns(&document, "Verdicts in `part-*.parquet`", 99, &verdicts);
    let mut footers = Vec::new();
    for file in
        ["tokens/shard-00000.arrow", "mix/order.arrow", "mix/validation.arrow", "packed/rows.arrow"]
    {
        let (schema, footer) = arrow_schema(&at(&format!("runs/{file}")));
        let name = file.rsplit('/').next().unwrap().replace("00000", "*");
        check_columns(&document, &format!("`{name}`"), 99, &schema);
        footers.push(footer);
    }
    check_json(&document, "The footer of `.arrow` files", &footers);
    let half = files(&at("half.partial"));
    check_json(&document, "`done.json`", &json(&half, |name| name.ends_with("/done.json")));

    let mut all = files(&at("runs"));
    all.extend(files(&at("skipped")));
    let in_run = |name: &str| name.contains("/runs/model/");
    let of_run = |heading: &str, file: &str| {
        let ending = |name: &str| in_run(name) && name.ends_with(&format!("/model/{file}"));
        check_json(&document, heading, &json(&all, ending));
    };
    for file in ["metrics.jsonl", "norms.jsonl", "timing.jsonl", "evals.jsonl", "samples.jsonl"] {
        of_run(&format!("`{file}`"), file);
    }
    let config = fs::read_to_string(at("runs/model/config.toml")).unwrap();
    check_json(&document, "`config.toml`", &[toml::from_str(&config).unwrap()]);
    of_run("`state.json` of a run", "state.json");
    of_run("`run.json` of a run", "run.json");
    let check = |heading: &str, ending: &dyn Fn(&str) -> bool| {
        check_json(&document, heading, &json(&all, ending));
    };
    check("`evals/step-*.jsonl`", &|name| name.contains("/evals/step-"));
    check("`state.json` of a checkpoint", &|name| {
        name.contains("/step-") && name.ends_with("/state.json")
    });
    check("`hashes.json` of a checkpoint", &|name| name.ends_with("/hashes.json"));
    check("`mix.json`", &|name| name.ends_with("/mix.json"));
    check("`rejects-*.jsonl`", &|name| name.contains("/rejects"));
    check("`scores.json`", &|name| name.ends_with("/scores.json"));
    check("`report.json`", &|name| name.ends_with("/report.json"));
    check("`manifest.json`", &|name| name.ends_with("/manifest.json"));
    check("`run.json`", &|name| name.ends_with("/run.json") && !in_run(name));
    check_annotations(&document, &parquet_schema(&at("runs/notes/part-00000.parquet")));
    check_names(&document, &all);
}

/// The columns that annotating adds stand behind the input's.
fn check_annotations(document: &Document, schema: &SchemaRef) {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let said: Vec<String> =
        document.rows("Annotations in `part-*.parquet`").into_iter().map(|row| row.name).collect();
    let added = &names[5..];
    assert_eq!(names[4], "metadata");
    assert_eq!(said, ["filter_rule", "filter_value", "filter_fails", "RULE", "text_edited"]);
    assert_eq!(
        [added[0], added[1], added[2], added[added.len() - 1]],
        ["filter_rule", "filter_value", "filter_fails", "text_edited"]
    );
    assert!(added[3..added.len() - 1].iter().all(|name| name.starts_with("quality_gopher_")));
}

/// Every file's name is said: `part-00017.parquet` as `part-*.parquet`.
fn check_names(document: &Document, files: &[PathBuf]) {
    let unsaid: BTreeSet<String> = files
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            let digit = |c: char| c.is_ascii_digit();
            match (name.find(digit), name.rfind(digit)) {
                (Some(first), Some(last)) => format!("{}*{}", &name[..first], &name[last + 1..]),
                _ => name.into_owned(),
            }
        })
        .filter(|name| !document.text.contains(name.as_str()))
        .collect();
    assert!(unsaid.is_empty(), "docs/formats.md does not name {unsaid:?}");
}
