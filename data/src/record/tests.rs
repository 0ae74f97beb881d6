//! Promise: a line is read as what it says, or refused with the reason and the place.

use gstore_core::content::{Message, Role};

use super::*;

fn parse(line: &str) -> Record {
    parse_record(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refusal(line: &str) -> String {
    parse_record(line.as_bytes()).expect_err(line).to_string()
}

/// Asserts that each line is refused with a message that has this text.
fn assert_refused(cases: &[(&str, &str)]) {
    for (line, want) in cases {
        let message = refusal(line);
        assert!(message.contains(want), "{line}: {message}");
    }
}

fn with_message(message: &str) -> String {
    format!(r#"{{"messages": [{{"role": "user", "content": "q"}}, {message}]}}"#)
}

#[test]
fn less_layout() {
    let record = parse(
        r#"{"dataset": "dolly", "id": "dolly_0", "messages": [{"role": "system", "content": " s "},
           {"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 1}], "level": 3,
           "share": 0.5, "ok": true, "none": null, "tags": ["x", {"b": 1, "a": 2.0}], "hash": 18446744073709551615}"#,
    );
    assert_eq!(record.id.as_deref(), Some("dolly_0"));
    let message = Message::new;
    let messages =
        vec![message(Role::System, " s "), message(Role::User, "q"), message(Role::Assistant, "a")];
    assert_eq!(record.content, Content::Messages(messages));
    let want = [
        ("dataset", MetaValue::Text("dolly".into())),
        ("level", MetaValue::Int(3)),
        ("share", MetaValue::Float(0.5)),
        ("ok", MetaValue::Bool(true)),
        ("none", MetaValue::Null),
        ("tags", MetaValue::Text(r#"["x",{"b":1,"a":2.0}]"#.into())),
        ("hash", MetaValue::Text("18446744073709551615".into())),
    ];
    assert_eq!(record.metadata, want.map(|(key, value)| (key.to_owned(), value)));
}

/// As floats, hashes and ids of 128 bits that differ would be equal.
#[test]
fn integers_of_any_length_keep_their_digits() {
    let long = "340282366920938463463374607431768211455";
    let record = parse(&format!(
        r#" {{"id": -{long}, "text": "t", "hash": {long}, "prompt": 18446744073709551616, "low": -9223372036854775809,
            "in": {{"h" : [{long}, 1e5, "\u00e9,]"], "n": -0}}, "float": 1.8446744073709551616e19, "zero": -0, "e": 1E30}} "#
    ));
    assert_eq!(record.id, Some(format!("-{long}")));
    let want = [
        ("hash", MetaValue::Text(long.into())),
        ("prompt", MetaValue::Text("18446744073709551616".into())),
        ("low", MetaValue::Text("-9223372036854775809".into())),
        ("in", MetaValue::Text(format!("{{\"h\":[{long},100000.0,\"\u{e9},]\"],\"n\":-0.0}}"))),
        ("float", MetaValue::Float(18_446_744_073_709_551_616.0)),
        ("zero", MetaValue::Float(-0.0)),
        ("e", MetaValue::Float(1e30)),
    ];
    assert_eq!(record.metadata, want.map(|(key, value)| (key.to_owned(), value)));
    assert!(refusal(&format!("{{\"text\": {long}}}")).contains("`text` must be a string, found a number"));
    assert!(refusal(&format!("{{\"text\": \"t\", \"id\": [{long}]}}")).contains("found a list"));
    assert!(refusal(r#"{"text": "t", "id": 1e30}"#).contains("found a number with a fraction or exponent"));
    assert!(refusal(r#"{"text": "t", "id": -0}"#).contains("found a zero with a sign, fraction or exponent"));
}

#[test]
fn other_shapes() {
    let record = parse("{\"id\": 7, \"prompt\": \"p\", \"completion\": \"c\"}\r");
    assert_eq!(record.id.as_deref(), Some("7"));
    assert_eq!(record.content, Content::PromptCompletion { prompt: "p".into(), completion: "c".into() });
    let record = parse(r#"{"text": "t", "prompt": "only metadata here"}"#);
    assert_eq!((record.id, record.content), (None, Content::Text("t".into())));
    assert_eq!(record.metadata, [("prompt".to_owned(), MetaValue::Text("only metadata here".into()))]);
    let record = parse(r#"{"messages": [{"role": "user", "content": "no answer"}], "id": -3}"#);
    assert_eq!(record.id.as_deref(), Some("-3"));
}

#[test]
fn refusals_of_json_say_where_it_is_wrong() {
    assert_refused(&[
        (r#"{"text": "a"#, "malformed JSON at column 11: EOF while parsing a string"),
        (r#"{"text": "a"} x"#, "malformed JSON at column 15: trailing characters"),
        ("{", "malformed JSON at column 1: an object over several lines; `jq -c .` puts each on one"),
        (
            r#"{"version": 1, "data": [{"text": "a"}], "ids": [1]}"#,
            r#"the list under "data": `jq -c '.["data"][]'` puts each on its own line"#,
        ),
        ("{\"data\": [", "an object over several lines"),
        ("{\"data\": [\"a", "malformed JSON at column 12: EOF"),
        (r#"{"text": "a", "text": "b"}"#, "malformed JSON at column 20: the key \"text\" appears twice"),
        (r#"{"text": "a", "m": [{"k": 1, "k": 1}]}"#, "the key \"k\" appears twice"),
        ("[1]", "expected a JSON object, found a list"),
        ("null", "expected a JSON object, found null"),
        (r#"{"text": "a", "x": 1e999}"#, "number out of range"),
        (
            r#"{"text": "a\ud800"}"#,
            "malformed JSON at column 18: an escape `\\u` that is half of a surrogate pair",
        ),
        (r#"{"text": "a\udc00"}"#, "half of a surrogate pair, without the other half"),
        (r#"{"text": "a\ud800\u0041"}"#, "half of a surrogate pair, without the other half"),
        (r#"{"text": "a", "x": NaN}"#, "malformed JSON at column 20: NaN is not valid JSON; write null"),
        (r#"{"text": "a", "x": [-Infinity]}"#, "Infinity is not valid JSON; write null"),
        (r#"{"text": "a", "x": None}"#, "malformed JSON at column 20: expected value"),
    ]);
}

#[test]
fn refusals_of_unknown_layouts_say_which_fields_to_name() {
    assert_refused(&[
        (r#"{"id": "c", "n": 1}"#, "it has `id`, `n`;"),
        (r#"{"id": "c", "n": 1}"#, "as in field=prompt=KEY field=completion=KEY, or field=text=KEY"),
        (
            r#"{"uid": 1, "question": "q", "cat": "c", "Answer": "a"}"#,
            "field=prompt=question field=completion=Answer",
        ),
        (
            r#"{"uid": "c", "question": "q", "topic": "t", "answer": "a"}"#,
            "for example field=prompt=question field=completion=answer",
        ),
        (r#"{"url": "u", "content": "c"}"#, "for example field=text=content"),
        (
            r#"{"url": "u"}"#,
            "as in field=prompt=KEY field=completion=KEY field=id=KEY, or field=text=KEY field=id=KEY",
        ),
        (r#"{"row": 1, "source": "s", "record": "{}"}"#, "texts in `record`: write that column alone"),
        (r#"{"train": [{"text": "a"}], "test": [{"text": "b"}]}"#, "it has `train`, `test`;"),
        (r#"{"turns": [{"speaker": "a", "said": "b"}]}"#, "it has `turns`;"),
        (
            r#"{"id": 1, "talk": [{"speaker": "user", "text": "q"}]}"#,
            "it has `id`, `talk`; if it has a conversation, say so: field=messages=talk,role=speaker,content=text",
        ),
        (r#"{"dialog": [{"role": "user", "content": "q"}]}"#, "say so: field=messages=dialog"),
        (r#"{"id": 1, "answers": [{"n": "a"}]}"#, "it has `id`, `answers`;"),
        (r#"{"q": "c", "a b": 1, "a": 2}"#, "for example field=prompt=q field=completion=a"),
        ("{}", "this record has no text"),
        (r#"{"prompt": "p"}"#, "`prompt` without `completion`"),
        (r#"{"completion": "p"}"#, "`completion` without `prompt`"),
        (
            r#"{"prompt": "p", "response": "r"}"#,
            "needs both; if `response` is its completion, say so: field=completion=response",
        ),
        (r#"{"Question": "p", "completion": "r"}"#, "say so: field=prompt=Question"),
        (r#"{"id": null, "n": 1}"#, "it has `id`, `n`;"),
    ]);
}

#[test]
fn refusals_of_values_say_which_key_has_them() {
    assert_refused(&[
        (r#"{"text": "t", "messages": []}"#, "both `messages` and `text`"),
        (r#"{"messages": []}"#, "the conversation is empty"),
        (r#"{"messages": {}}"#, "`messages` must be a list of messages, found an object"),
        (r#"{"messages": ["hi"]}"#, "`messages[0]` must be an object"),
        (r#"{"prompt": 1, "completion": "c"}"#, "`prompt` must be a string, found a number"),
        (r#"{"text": null}"#, "`text` must be a string, found null"),
        (r#"{"id": "", "text": "t"}"#, "`id` is empty"),
        (r#"{"id": 1.5, "text": "t"}"#, "`id` must be a string or an integer, found a number with"),
        (r#"{"id": true, "text": "t"}"#, "`id` must be a string or an integer, found a boolean"),
        (r#"{"id": [1], "text": "t"}"#, "`id` must be a string or an integer, found a list"),
    ]);
}

#[test]
fn refusals_of_messages_say_which_message() {
    for (message, want) in [
        (
            r#"{"role": "robot", "content": "x"}"#,
            "message 1 has the role \"robot\"; known roles are system, user, assistant and tool",
        ),
        (r#"{"role": "user", "content": null}"#, "`messages[1].content` must be a string, found null"),
        (
            r#"{"role": "user", "content": [{"type": "text"}]}"#,
            "`messages[1].content[0].text` must be a string, found null",
        ),
        (
            r#"{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {}}]}"#,
            "`messages[1].content[1]` is a part of type \"image_url\": only parts of text are read",
        ),
        (r#"{"role": 1, "content": "x"}"#, "`messages[1].role` must be a string, found a number"),
        (
            r#"{"role": "user"}"#,
            "message 1 has no `content`; if it has another name, give it with field=content=KEY",
        ),
        (
            r#"{"content": "x"}"#,
            "message 1 has no `role`; if it has another name, give it with field=role=KEY",
        ),
    ] {
        let got = refusal(&with_message(message));
        assert!(got.contains(want), "{message}: {got}");
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    let line =
        |lists: usize| format!("{{\"text\": \"t\", \"m\": {}{}}}", "[".repeat(lists), "]".repeat(lists));
    assert!(parse_record(line(126).as_bytes()).is_ok());
    for lists in [127, 100_000] {
        let got = refusal(&line(lists));
        assert_eq!(got, "lists and objects nested deeper than 127 levels, at column 146");
    }
}

#[test]
fn invalid_utf8_in_a_string_is_an_error() {
    assert!(parse_record(b"{\"text\": \"\xFF\"}").is_err());
}
