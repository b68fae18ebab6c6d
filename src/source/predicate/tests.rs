//! Verdicts against DuckDB's (`tests/golden/make_predicates.py`), the laws of three-valued logic,
//! slices, and the words of every error.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, DictionaryArray, Float32Array, Float64Array,
    Int8Array, Int64Array, LargeStringArray, ListArray, NullArray, StringArray, StringViewArray,
    StructArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Field, Int32Type, Schema};
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use serde_json::Value;

use super::{Predicate, ValueKind, check_column, column};
use crate::base::error::Error;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

fn parse(sql: &str, records: &RecordBatch) -> Predicate {
    Predicate::parse(sql, &records.schema())
        .unwrap_or_else(|error| panic!("{sql}: {error}; {:?}", error.hint()))
}

/// `T` where the condition passes, `F` where its negation does, `U` where neither.
fn verdicts(sql: &str, records: &RecordBatch) -> String {
    let select = |sql: &str| {
        let selected = parse(sql, records).select(records).unwrap();
        assert_eq!(selected.null_count(), 0);
        assert_eq!(selected.len(), records.num_rows());
        selected
    };
    let (yes, no) = (select(sql), select(&format!("NOT ({sql})")));
    let verdict = |row| match (yes.value(row), no.value(row)) {
        (true, false) => 'T',
        (false, true) => 'F',
        (false, false) => 'U',
        (true, true) => panic!("`{sql}` and its negation both pass row {row}"),
    };
    (0..records.num_rows()).map(verdict).collect()
}

/// The table of the fixture's first line.
fn golden_table(line: &str) -> RecordBatch {
    let table: Value = serde_json::from_str(line).unwrap();
    let column = |name: &str| table[name].as_array().unwrap().iter();
    let texts = |name: &str| -> ArrayRef {
        Arc::new(column(name).map(|value| value.as_str()).collect::<StringArray>())
    };
    let integers = |name: &str| -> ArrayRef {
        Arc::new(column(name).map(|value| value.as_i64()).collect::<Int64Array>())
    };
    let number = |value: &Value| match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    };
    let numbers: Float64Array = column("f").map(number).collect();
    let booleans: BooleanArray = column("b").map(Value::as_bool).collect();
    batch(vec![
        ("id", integers("id")),
        ("n", integers("n")),
        ("i", integers("i")),
        ("f", Arc::new(numbers)),
        ("s", texts("s")),
        ("t", texts("t")),
        ("b", Arc::new(booleans)),
        ("a b", integers("a b")),
        ("metadata", texts("metadata")),
    ])
}

fn golden() -> (RecordBatch, Vec<(String, String)>) {
    let mut lines = include_str!("../../../fixtures/source/predicates.jsonl").lines();
    let table = golden_table(lines.next().unwrap());
    let case = |line| {
        let case: Value = serde_json::from_str(line).unwrap();
        (case["where"].as_str().unwrap().into(), case["verdicts"].as_str().unwrap().into())
    };
    (table, lines.map(case).collect())
}

#[test]
fn verdicts_equal_duckdb_s() {
    let (table, cases) = golden();
    assert!(cases.len() > 200);
    let mut wrong = Vec::new();
    for (sql, expected) in &cases {
        let found = verdicts(sql, &table);
        if found != *expected {
            wrong.push(format!("{sql}\n  found    {found}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn a_slice_is_judged_as_in_the_whole() {
    let (table, cases) = golden();
    for (sql, _) in &cases {
        let predicate = parse(sql, &table);
        let whole = predicate.select(&table).unwrap();
        for (start, length) in [(0, 5), (3, 9), (7, 1), (11, 5), (16, 0)] {
            let found = predicate.select(&table.slice(start, length)).unwrap();
            assert_eq!(found, whole.slice(start, length), "{sql} at {start}+{length}");
        }
    }
}

#[test]
fn a_column_of_another_width_or_layout_is_read_as_its_kind() {
    let dictionary: DictionaryArray<Int32Type> =
        vec![Some("en"), None, Some("de"), Some("en")].into_iter().collect();
    let texts = [Some("en"), None, Some("de"), Some("en")];
    let records = batch(vec![
        ("dictionary", Arc::new(dictionary)),
        ("large", Arc::new(LargeStringArray::from_iter(texts))),
        ("view", Arc::new(StringViewArray::from_iter(texts))),
        ("small", Arc::new(Int8Array::from(vec![Some(1), None, Some(-1), Some(3)]))),
        ("float", Arc::new(Float32Array::from(vec![Some(0.5), None, Some(f32::NAN), Some(-0.0)]))),
        ("nothing", Arc::new(NullArray::new(4))),
    ]);
    for name in ["dictionary", "large", "view"] {
        assert_eq!(verdicts(&format!("{name} = 'en'"), &records), "TUFT");
        assert_eq!(verdicts(&format!("{name} LIKE 'e%'"), &records), "TUFT");
    }
    assert_eq!(verdicts("small >= 1", &records), "TUFT");
    assert_eq!(verdicts("float = 0", &records), "FUUT");
    assert_eq!(verdicts("float IS NULL", &records), "FTTF");
    assert_eq!(verdicts("nothing = 3 OR nothing = 'a'", &records), "UUUU");
    assert_eq!(verdicts("nothing IS NULL", &records), "TTTT");
}

#[test]
fn unsigned_integers_are_exact_beyond_int64_and_beyond_what_a_double_tells_apart() {
    let large = u64::MAX - 1;
    let other: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(-1), Some(7), None]));
    let n = Arc::new(UInt64Array::from(vec![Some(1), Some(u64::MAX), Some(large), None]));
    let records = batch(vec![("n", n), ("signed", other)]);
    assert_eq!(verdicts("n > 3", &records), "FTTU");
    assert_eq!(verdicts("n > -3", &records), "TTTU");
    assert_eq!(verdicts(&format!("n = {large}"), &records), "FFTU");
    assert_eq!(verdicts(&format!("n IN (1, {large})"), &records), "TFTU");
    assert_eq!(verdicts(&format!("n BETWEEN {large} AND {}", u64::MAX), &records), "FTTU");
    assert_eq!(verdicts("n % 10 = 5", &records), "FTFU");
    assert_eq!(verdicts("n + 1 > n AND n - 1 < n AND abs(-n) = n", &records), "TTTU");
    assert_eq!(verdicts("n = signed", &records), "TFFU");
    assert_eq!(verdicts("n * 0.5 > 2", &records), "FTTU");
    assert_eq!(verdicts("CAST(n AS varchar) = '18446744073709551615'", &records), "FTFU");
    assert_eq!(verdicts("CAST(n AS bigint) IS NULL", &records), "FTTT");
}

#[test]
fn arithmetic_without_a_value_is_unknown() {
    let records = batch(vec![
        ("n", Arc::new(Int64Array::from(vec![i64::MAX, i64::MIN, 0, 1]))),
        ("f", Arc::new(Float64Array::from(vec![f64::INFINITY, 0.0, 0.0, 1.0]))),
    ]);
    assert_eq!(verdicts("n + 1 > n", &records), "UTTT");
    assert_eq!(verdicts("n - 1 < n", &records), "TUTT");
    assert_eq!(verdicts("n * 2 <> 1", &records), "UUTT");
    assert_eq!(verdicts("n * n >= 0", &records), "UUTT");
    assert_eq!(verdicts("abs(n) >= 0", &records), "TUTT");
    assert_eq!(verdicts("-n <= 0", &records), "TUTT");
    assert_eq!(verdicts("n % -1 = 0", &records), "TTTT");
    assert_eq!(verdicts("1 / n > 0", &records), "TFUT");
    assert_eq!(verdicts("f - f = 0", &records), "UTTT");
    assert_eq!(verdicts("f / f = 1", &records), "UUUT");
    assert_eq!(verdicts("9223372036854775808 > n", &records), "TTTT");
}

#[test]
fn struct_fields_are_null_where_their_struct_is() {
    let score: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), Some(4), None]));
    let fields = vec![Field::new("Score", score.data_type().clone(), true)];
    let meta = StructArray::new(
        fields.into(),
        vec![score],
        Some(NullBuffer::from(vec![true, false, true])),
    );
    let records = batch(vec![("meta", Arc::new(meta))]);
    assert_eq!(verdicts("meta.Score >= 3", &records), "TUU");
    assert_eq!(verdicts("meta.score >= 3", &records), "TUU");
    assert_eq!(verdicts("meta IS NULL", &records), "FTF");
    assert_eq!(parse("meta.score > 1", &records).columns(), ["meta"]);
    refuses("meta.scores > 3", &records, "`meta` has no field `scores`", "it has ");
}

#[test]
fn only_the_columns_that_are_read_are_asked_for_in_the_schema_s_order() {
    let (table, _) = golden();
    let predicate = parse("metadata.url = s AND N > 2 OR n IS NULL", &table);
    assert_eq!(predicate.columns(), ["n", "s", "metadata"]);
    let narrow = table.project(&[8, 4, 1]).unwrap();
    assert_eq!(predicate.select(&narrow).unwrap(), predicate.select(&table).unwrap());
    assert!(parse("TRUE", &table).columns().is_empty());
    let without = table.project(&[1, 4]).unwrap();
    assert!(predicate.select(&without).unwrap_err().to_string().contains("metadata"));
}

#[test]
fn a_name_in_another_case_is_found_where_it_is_the_only_one() {
    let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let two: ArrayRef = Arc::new(Int64Array::from(vec![2]));
    let records = batch(vec![("a", one.clone()), ("A", two.clone()), ("Bb", one), ("a.b", two)]);
    assert_eq!(verdicts("a = 1 AND A = 2 AND BB = 1 AND a.b = 2", &records), "T");
    let bare = batch(vec![("Ab", records.column(0).clone()), ("aB", records.column(0).clone())]);
    refuses(
        "ab = 1",
        &bare,
        "`ab` could be the column `Ab` or `aB`",
        "write its name in its own case",
    );
}

#[test]
fn names_that_are_words_of_sql_are_columns() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["2024-05-01"]));
    let names = ["date", "text", "source", "language", "timestamp", "url", "dump", "file_path"];
    let records = batch(names.iter().map(|name| (*name, text.clone())).collect());
    for name in names {
        assert_eq!(verdicts(&format!("{name} >= '2024'"), &records), "T", "{name}");
        assert_eq!(verdicts(&format!("'2025' < {name}"), &records), "F", "{name}");
    }
}

#[test]
fn dates_and_times_compare_as_text() {
    let records = batch(vec![
        ("day", Arc::new(Date32Array::from(vec![Some(19_844), None]))),
        (
            "time",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1_714_521_600_000_000), None])
                    .with_timezone("UTC"),
            ),
        ),
    ]);
    assert_eq!(verdicts("CAST(day AS varchar) = '2024-05-01'", &records), "TU");
    assert_eq!(verdicts("CAST(time AS varchar) LIKE '2024-05-01T00:00%'", &records), "TU");
    refuses(
        "day > '2024'",
        &records,
        "`day` is Date32, which cannot be compared with a value",
        "CAST(day AS varchar) is text such as '2024-05-01'",
    );
}

#[test]
fn a_column_is_resolved_by_name_for_rules_too() {
    let (table, _) = golden();
    let scores = column(&table, "metadata.score", ValueKind::Number).unwrap();
    let scores: Vec<_> = scores.as_any().downcast_ref::<Float64Array>().unwrap().iter().collect();
    assert_eq!(scores[..5], [Some(3.0), None, None, Some(2.5), None]);
    assert_eq!(scores[9], Some(9.0));
    let numbers = column(&table, "n", ValueKind::Number).unwrap();
    assert_eq!(numbers.null_count(), 2);
    let floats = column(&table.slice(4, 2), "f", ValueKind::Number).unwrap();
    assert_eq!((floats.is_null(0), floats.is_valid(1)), (true, true));
    let urls = column(&table, "metadata.url", ValueKind::Text).unwrap();
    let urls = urls.as_any().downcast_ref::<StringArray>().unwrap();
    assert_eq!(urls.value(13), "aé\n\"q\"");
    let error = check_column(&table.schema(), "s", ValueKind::Number).unwrap_err();
    assert_eq!(error.to_string(), "the column `s` is text, not a number");
    assert!(check_column(&table.schema(), "metdata.url", ValueKind::Text).is_err());
    assert_eq!(
        check_column(&table.schema(), "metadata.x", ValueKind::Text).unwrap().column(),
        "metadata"
    );
}

/// The error's first line, and its hint's beginning.
#[track_caller]
fn refuses(sql: &str, records: &RecordBatch, message: &str, hint: &str) {
    let error = Predicate::parse(sql, &records.schema()).expect_err(sql);
    assert!(matches!(error, Error::Config { .. }), "{sql}: {error:?}");
    assert_eq!(error.to_string().lines().next(), Some(message), "{sql}");
    let found = error.hint().unwrap_or_default();
    assert!(found.starts_with(hint) && hint.is_empty() == found.is_empty(), "{sql}: hint {found}");
}

#[test]
fn what_is_no_condition_says_what_and_where() {
    let (table, _) = golden();
    let supported = "a condition has columns";
    for (sql, message, hint) in [
        ("n >= ", "the condition ends where an expression is due", supported),
        ("n >= 3 AND", "the condition ends where an expression is due", supported),
        ("n >= 3 s = 'en'", "the condition should end before `s`", supported),
        ("(n >= 3", "the condition ends where `)` is due", supported),
        ("n > > 3", "found `>` where an expression is due", supported),
        ("s = 'en", "the condition is no SQL: Unterminated string literal", ""),
        ("", "the condition ends where an expression is due", supported),
        ("nn >= 3", "there is no column `nn`", "did you mean `n`?"),
        (
            "quality > 3",
            "there is no column `quality`",
            "there are id, n, i, f, s, t, b, a b, metad",
        ),
        ("s = \"en\"", "there is no column `en`", "text goes in single quotes; there are"),
        ("s > 3", "`s` is text and `3` is an integer: they cannot be compared", "text goes in"),
        ("n = 'x'", "`n` is an integer and `'x'` is text: they cannot be compared", "text goes in"),
        ("b = 1", "`b` is true or false and `1` is an integer: they cannot be compared", ""),
        ("s + 1 > 2", "`s` is text, where a number is due", ""),
        ("n", "`n` is an integer, not a condition", supported),
        ("n AND b", "`n` is an integer, not a condition", supported),
        ("length(n) > 3", "`n` is an integer, where text is due", ""),
        ("n LIKE '3%'", "`n` is an integer, where text is due", ""),
        ("s LIKE t", "`t` must be a literal text", "write the pattern in single quotes"),
        ("s LIKE 'a!' ESCAPE '!'", "the pattern ends with its escape character `!`", ""),
        ("s LIKE 'a' ESCAPE '!!'", "ESCAPE takes one character", ""),
        ("upper(s) = 'EN'", "there is no function upper", "compare lower(…)"),
        ("sqrt(n) > 2", "`sqrt(n)` is not supported here", supported),
        ("n IN (SELECT 1)", "`n IN (SELECT 1)` is not supported here", supported),
        ("s || 'a' = 'b'", "`s || 'a'` is not supported here", supported),
        ("CAST(n AS date) = '1'", "CAST to DATE is not supported", "cast to double"),
        (
            "metadata.a = metadata.b",
            "nothing says whether `metadata.a` is text or a number",
            "write CAST(metadata.a AS double)",
        ),
        ("s.a = 3", "`s` has no fields: the column is Utf8", "only struct columns"),
        ("n IN ()", "found `)` where an expression is due", supported),
        ("n IN ('a')", "`n` is an integer and `'a'` is text: they cannot be compared", "text goes"),
        ("?", "`?` is not supported here", supported),
    ] {
        refuses(sql, &table, message, hint);
    }
    let error = Predicate::parse("n > 3\n  AND nnn < 2", &table.schema()).unwrap_err();
    assert_eq!(error.to_string(), "there is no column `nnn`\n    AND nnn < 2\n        ^");
    let error = Predicate::parse("é = 'é' AND f > > 2", &table.schema()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "found `>` where an expression is due\n  é = 'é' AND f > > 2\n                  ^"
    );
    assert!(Predicate::parse("regexp_like(s, '(')", &table.schema()).is_err());
}

#[test]
fn a_column_of_lists_has_only_null_or_not() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)]), None]);
    let records = batch(vec![("tags", Arc::new(list))]);
    assert_eq!(verdicts("tags IS NOT NULL", &records), "TF");
    let error = Predicate::parse("tags = 3", &records.schema()).unwrap_err();
    assert!(error.to_string().contains("cannot be compared with a value"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("IS NULL")));
}

#[test]
fn long_conditions_pass_and_deep_ones_are_refused() {
    let (table, _) = golden();
    let long = |join: &str| vec!["n = 3"; 1000].join(join);
    assert_eq!(verdicts(&long(" OR "), &table), verdicts("n = 3", &table));
    assert_eq!(verdicts(&long(" AND "), &table), verdicts("n = 3", &table));
    let list = (0..5000).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
    assert_eq!(verdicts(&format!("n IN ({list})"), &table), verdicts("n >= 0", &table));
    let schema = table.schema();
    let error = Predicate::parse(&format!("n > {}", vec!["1"; 5000].join("+")), &schema);
    assert!(error.unwrap_err().to_string().starts_with("the condition is nested too deeply"));
    let error = Predicate::parse(&format!("{}n > 1{}", "(".repeat(500), ")".repeat(500)), &schema);
    assert!(error.unwrap_err().to_string().starts_with("the condition is nested too deeply"));
    let error = Predicate::parse(&format!("{} OR b OR b", long(" OR ")), &schema).unwrap_err();
    assert!(error.hint().is_some_and(|hint| hint.contains("IN")), "{error}");
    let error = Predicate::parse(&format!("n = 1{}", " BETWEEN 1 AND 2".repeat(1000)), &schema);
    assert!(error.unwrap_err().to_string().starts_with("the condition is nested too deeply"));
    assert!(Predicate::parse(&long(" AND ").repeat(10), &schema).is_err());
}

#[test]
fn an_empty_batch_is_judged() {
    let schema =
        Arc::new(Schema::new(vec![Field::new("n", arrow::datatypes::DataType::Int64, true)]));
    let records = RecordBatch::new_empty(schema);
    assert_eq!(verdicts("n > 3 OR TRUE", &records), "");
}

/// Conditions of one comparison each over the golden table.
fn atom() -> impl Strategy<Value = String> {
    let (_, cases) = golden();
    let cases: Vec<String> = cases.into_iter().map(|(sql, _)| sql).collect();
    proptest::sample::select(cases)
}

/// Conditions of several, with AND, OR, NOT.
fn tree() -> impl Strategy<Value = String> {
    atom().prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) AND ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) OR ({b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_laws_of_three_valued_logic_hold(a in tree(), b in tree(), at in 0usize..16) {
        let (table, _) = golden();
        let same = |one: String, other: String| {
            let (left, right) = (verdicts(&one, &table), verdicts(&other, &table));
            prop_assert_eq!(left, right, "{} / {}", one, other);
            Ok(())
        };
        same(format!("NOT (({a}) AND ({b}))"), format!("NOT ({a}) OR NOT ({b})"))?;
        same(format!("NOT (({a}) OR ({b}))"), format!("NOT ({a}) AND NOT ({b})"))?;
        same(format!("NOT NOT ({a})"), a.clone())?;
        same(format!("({a}) AND ({b})"), format!("({b}) AND ({a})"))?;
        same(format!("({a}) AND (({a}) OR ({b}))"), a.clone())?;
        // Each row is judged alone, whatever the others let be left out.
        let whole = verdicts(&a, &table);
        prop_assert_eq!(verdicts(&a, &table.slice(at, 1)), whole[at..=at].to_owned());
    }

    #[test]
    fn exactly_one_of_below_not_below_and_null_holds(
        values in prop::collection::vec(prop_oneof![
            Just(None), Just(Some(f64::NAN)), Just(Some(-0.0)), any::<f64>().prop_map(Some),
        ], 1..40),
        bound in -2.0f64..2.0,
    ) {
        let records = batch(vec![("x", Arc::new(Float64Array::from(values)))]);
        let select = |sql: &str| parse(sql, &records).select(&records).unwrap();
        let parts = [
            select(&format!("x < {bound:?}")),
            select(&format!("NOT x < {bound:?}")),
            select("x IS NULL"),
        ];
        for row in 0..records.num_rows() {
            prop_assert_eq!(parts.iter().filter(|part| part.value(row)).count(), 1);
        }
    }

    #[test]
    fn like_matches_as_a_naive_matcher(
        text in "[ab%_\\\\é\n]{0,8}", pattern in "[ab%_!é]{0,6}", ignore_case in any::<bool>(),
    ) {
        prop_assume!(!pattern.ends_with('!'));
        let records = batch(vec![("t", Arc::new(StringArray::from(vec![text.clone()])))]);
        let like = if ignore_case { "ILIKE" } else { "LIKE" };
        let found = verdicts(&format!("t {like} '{pattern}' ESCAPE '!'"), &records);
        let mut pieces = Vec::new();
        let mut chars = pattern.chars();
        while let Some(char) = chars.next() {
            let escaped = if char == '!' { chars.next() } else { None };
            pieces.push((escaped.unwrap_or(char), escaped.is_some()));
        }
        let expected = naive(&text.chars().collect::<Vec<_>>(), &pieces);
        prop_assert_eq!(found, if expected { "T" } else { "F" });
    }
}

/// LIKE by its definition; a piece is a character and whether it was escaped.
fn naive(text: &[char], pattern: &[(char, bool)]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [('%', false), rest @ ..] => (0..=text.len()).any(|from| naive(&text[from..], rest)),
        [('_', false), rest @ ..] => !text.is_empty() && naive(&text[1..], rest),
        [(char, _), rest @ ..] => text.first() == Some(char) && naive(&text[1..], rest),
    }
}
