//! One JSON object, and what of it is a document.

use super::*;

/// `text | id | metadata`, or the reject's name.
fn parse(line: &str) -> String {
    parse_paths(line, "text", "id")
}

fn parse_paths(line: &str, text: &str, id: &str) -> String {
    let (text, id, template) = (text.into(), id.into(), Template::default());
    let fields = Fields { text, id, metadata: true, template, answers: false };
    let mut record = Record::default();
    match record.parse(line, &fields) {
        Ok(()) => format!(
            "{} | {} | {}",
            record.text(),
            record.id().unwrap_or("-"),
            record.metadata().unwrap_or("-")
        ),
        Err(reason) => reason.name().to_owned(),
    }
}

#[test]
fn keeps_other_fields_in_their_order_with_their_digits() {
    let (score, big) = ("1.50e+3", "123456789012345678901234567890");
    let rest = format!(r#""score":{score},"big":{big},"m":{{"z":1,"a":[null]}}}}"#);
    let line = format!(r#"{{"url":"u","text":"a\nb","id":"7", {rest}"#);
    let expect = format!(r#"{{"url":"u",{rest}"#);
    assert_eq!(parse(&line), format!("a\nb | 7 | {expect}"));
    assert_eq!(parse(r#"{"a\"b":1,"text":""}"#), r#" | - | {"a\"b":1}"#);
}

#[test]
fn an_id_is_a_string_or_a_number_as_it_stands() {
    assert_eq!(parse(r#"{"id":"a\u00e9","text":"t"}"#), "t | aé | -");
    assert_eq!(parse(r#"{"id":18446744073709551616,"text":"t"}"#), "t | 18446744073709551616 | -");
    assert_eq!(parse(r#"{"id":null,"text":"t"}"#), "t | - | -");
    assert_eq!(parse(r#"{"id":[1],"text":"t"}"#), r#"t | - | {"id":[1]}"#);
}

#[test]
fn names_what_is_wrong() {
    for (line, reason) in [
        (r#"{"text":"half"#, "invalid_json"),
        ("no json", "invalid_json"),
        (r#"{"text":"t"}}"#, "invalid_json"),
        ("{\"text\":\"a\u{0}b\"}", "invalid_json"),
        (r#"{"text":"\ud800"}"#, "lone_surrogate"),
        (r#"{"text":"t",}"#, "invalid_json"),
        (r#"["text"]"#, "not_an_object"),
        ("17", "not_an_object"),
        ("[1", "invalid_json"),
        (r#"{"tex":"t"}"#, "missing_text"),
        (r#"{"text":null}"#, "null_text"),
        (r#"{"text":7}"#, "text_not_a_string"),
        (r#"{"text":["a",{"b":[]}]}"#, "text_not_a_string"),
        (r#"{"text":{"text":"t"}}"#, "text_not_a_string"),
    ] {
        assert_eq!(parse(line), reason, "{line}");
    }
    assert_eq!(parse(r#"{"text":"\ud83d\ude00"}"#), "😀 | - | -");
    assert_eq!(parse(r#"{"text":1,"text":"last"}"#), "last | - | -");
}

#[test]
fn text_and_id_may_lie_in_objects_inside_and_a_key_with_a_dot_wins() {
    let parse = |line: &str| parse_paths(line, "content.text", "metadata.WARC-Record-ID");
    let line = r#"{"a":1,"content":{"lang":"en","text":"t"},"metadata":{"WARC-Record-ID":"u"}}"#;
    assert_eq!(parse(line), r#"t | u | {"a":1,"content":{"lang":"en"}}"#);
    assert_eq!(parse(r#"{"content":{"text":"t"}}"#), "t | - | -");
    for line in [
        r#"{"content.text":"own","content":{"text":"inner"}}"#,
        r#"{"content":{"text":"inner"},"content.text":"own"}"#,
    ] {
        assert!(parse(line).starts_with("own | - | "), "{line}: {}", parse(line));
    }
    assert_eq!(parse(r#"{"content":"flat","metadata":[1]}"#), "missing_text");
    assert_eq!(parse(r#"{"content":{"text":null}}"#), "null_text");
    assert_eq!(parse(r#"{"content":{"text":"\ud800"}}"#), "lone_surrogate");
    assert_eq!(parse(r#"{"content.":{"text":"t"},"content":{}}"#), "missing_text");
    let deep = r#"{"a":{"b.c":{"d":"t","e":[{}]},"f":{}}}"#;
    assert_eq!(parse_paths(deep, "a.b.c.d", "id"), r#"t | - | {"a":{"b.c":{"e":[{}]},"f":{}}}"#);
    let names = fields(br#"{"content":{"text":"t","n":1},"id":7}"#);
    assert_eq!(names, ["content", "id", "content.n", "content.text"]);
}

#[test]
fn a_list_of_messages_is_a_text() {
    let chat = r#"{"text":[{"role":"user","content":"Why?","weight":0},
        {"role":"assistant","content":null,"tool_calls":[]},
        {"role":"assistant","content":[{"type":"text","text":"Be"},{"text":"cause."}]}]}"#;
    assert_eq!(parse(chat), "user: Why?\n\nassistant: Because. | - | -");
    let shared = r#"{"text":[{"from":"human","value":"a\u00e9"},{"from":"gpt","value":"b\n"}]}"#;
    assert_eq!(parse(shared), "human: aé\n\ngpt: b | - | -");
    for other in
        ["[]", "[1]", r#"[{"x":1}]"#, r#"[{"role":"user"},"x"]"#, r#"[{"content":{}}]"#, "[[]]"]
    {
        let line = format!(r#"{{"text":{other}}}"#);
        assert_eq!(parse(&line), "text_not_a_string", "{line}");
    }
}

#[test]
fn answers_are_told_from_what_they_answer_where_they_are_asked_for() {
    let answers = |line: &str| {
        let (text, id, template) = ("text".into(), "id".into(), Template::default());
        let fields = Fields { text, id, metadata: true, template, answers: true };
        let mut record = Record::default();
        match record.parse(line, &fields) {
            Ok(()) => {
                let metadata = record.metadata().unwrap_or("-");
                format!("{} | {} | {metadata}", record.text(), record.answers().unwrap_or("-"))
            }
            Err(reason) => reason.name().to_owned(),
        }
    };
    let pair = r#"{"prompt":"2+2=","completion":"4","level":1}"#;
    assert_eq!(answers(pair), r#"2+2=4 | 4-5 | {"level":1}"#);
    assert_eq!(parse(pair), "missing_text");
    let chat = r#"{"messages":[{"role":"user","content":"Hi"},
        {"role":"assistant","content":"Yes"},{"role":"user","content":"So?"},
        {"role":"assistant","content":"No "}]}"#;
    let text = "user: Hi\n\nassistant: Yes\n\nuser: So?\n\nassistant: No";
    assert_eq!(answers(chat), format!("{text} | 21-26,48-50 | -"));
    assert_eq!(answers(&chat.replace("assistant", "human")).split(" | ").nth(1), Some("42-42"));
    assert_eq!(answers(r#"{"text":"plain"}"#), "plain | - | -");
    assert_eq!(answers(r#"{"prompt":"a"}"#), "missing_text");
    assert_eq!(answers(r#"{"prompt":"a","completion":7}"#), "missing_text");
    assert_eq!(answers(r#"{"prompt":"a","text":"t","completion":"b"}"#), "t | - | -");
}

#[test]
fn deep_nesting_beside_the_text_is_no_danger() {
    let deep = format!(r#"{{"text":"t","a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(&deep).starts_with("t | -"));
}
