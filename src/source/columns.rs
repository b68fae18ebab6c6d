//! Columns of every type, read as a whole: which are ids, which unite, which step aside.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryArray, Int32Array};
use arrow::datatypes::Int64Type;

use super::tests::{config, parquet, read, read_units, strings};
use super::{Columns, InputSpec, Inputs};

#[test]
fn an_id_column_that_is_no_id_steps_aside_and_its_values_are_kept() {
    use arrow::array::{FixedSizeBinaryArray, Float64Array, ListArray, StructArray, UInt64Array};
    use arrow::datatypes::{DataType, Field};
    let directory = tempfile::tempdir().unwrap();
    let bytes: Vec<&[u8]> = vec![b"0123456789abcdef", b"fedcba9876543210"];
    let fields: arrow::datatypes::Fields = vec![Field::new("a", DataType::Int32, true)].into();
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    let lists = [Some(vec![Some(1)]), None];
    let columns: [ArrayRef; 5] = [
        Arc::new(Float64Array::from(vec![Some(1.0), None])),
        Arc::new(FixedSizeBinaryArray::try_from_iter(bytes.iter()).unwrap()),
        Arc::new(BinaryArray::from_vec(bytes)),
        Arc::new(StructArray::new(fields, vec![numbers], None)),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
    ];
    for (index, ids) in columns.into_iter().enumerate() {
        let path = directory.path().join(format!("{index}.parquet"));
        let texts = strings(["one".to_owned(), "two".to_owned()]);
        parquet(&path, vec![("id", ids), ("text", texts)], 10);
        let inputs = Inputs::open(&[InputSpec::named("s", &path)], &config(|_| ())).unwrap();
        let notices = inputs.notices().join("; ");
        assert!(notices.contains("`id` holds") && notices.contains("hashes"), "{notices}");
        let found = read_units(&inputs, Columns::All, 1, &BTreeSet::new()).unwrap();
        let hash = |text: &str| crate::base::hash::xxh3_128(text.as_bytes()).to_string();
        assert_eq!(found.ids(), [hash("one"), hash("two")]);
        assert!(found.batches[0].column_by_name("id_original").is_some());
        // Asked for by name it is an error, whose hint says what to do.
        let error = read(&path, &config(|c| c.id_column = Some("id".into()))).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("leave `--id-column` out")));
    }
    let path = directory.path().join("u.parquet");
    let ids: ArrayRef = Arc::new(UInt64Array::from(vec![1, u64::MAX]));
    let texts = strings(["one".to_owned(), "two".to_owned()]);
    parquet(&path, vec![("id", ids.clone()), ("text", texts), ("hash", ids)], 10);
    let found = read(&path, &config(|_| ())).unwrap();
    assert_eq!(found.ids(), ["1", "18446744073709551615"]);
    let hashes = found.batches[0].column_by_name("hash").unwrap();
    assert_eq!(hashes.as_primitive::<arrow::datatypes::UInt64Type>().value(1), u64::MAX);
}

#[test]
fn columns_that_do_not_fit_stop_only_who_keeps_them_and_the_hint_works() {
    let directory = tempfile::tempdir().unwrap();
    let texts = || strings(["one".to_owned()]);
    let number: ArrayRef = Arc::new(Int32Array::from(vec![3]));
    let columns = |score| vec![("text", texts()), ("url", texts()), ("score", score)];
    parquet(&directory.path().join("a.parquet"), columns(number.clone()), 10);
    parquet(&directory.path().join("b.parquet"), columns(texts()), 10);
    let mut both = columns(number.clone());
    both.extend([("source", texts()), ("source_original", texts())]);
    parquet(&directory.path().join("c.parquet"), both, 10);
    let specs = [InputSpec::named("s", directory.path())];
    let inputs = Inputs::open_texts(&specs, &config(|_| ())).unwrap();
    let found = read_units(&inputs, Columns::Text, 1, &BTreeSet::new()).unwrap();
    assert_eq!(found.documents.len(), 3);
    let error = Inputs::open(&specs, &config(|_| ())).err().expect("score does not fit");
    let hint = error.hint().unwrap_or_default();
    let names = hint.split("`--columns ").nth(1).and_then(|rest| rest.split('`').next());
    let names = names.expect(&hint).split(',').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names, ["url"]);
    let config = config(|c| c.columns = Some(names));
    assert_eq!(read(directory.path(), &config).unwrap().documents.len(), 3);
}
