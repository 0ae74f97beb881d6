//! Promise: any key can be named for any field, and what is stored afterwards needs no names to be read.

use gstore_core::content::Content;

use super::super::record::parse_record;
use super::*;

fn names(texts: &[&str]) -> FieldNames {
    FieldNames::parse(texts).unwrap_or_else(|error| panic!("{texts:?}: {error}"))
}

/// The stored text; what it says without names is what was read.
fn stored(texts: &[&str], json: &str) -> String {
    let (bytes, record) =
        names(texts).read(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"));
    assert_eq!(parse_record(&bytes).unwrap(), record);
    String::from_utf8(bytes.into_owned()).unwrap()
}

#[test]
fn without_names_the_bytes_stay() {
    let json = r#"{ "text" : "a", "id":7 }"#;
    assert_eq!(stored(&[], json), json);
}

#[test]
fn a_table_in_one_object_is_told_from_a_record() {
    let refused = |texts: &[&str], json: &str| names(texts).read(json.as_bytes()).unwrap_err().to_string();
    let says = "`df.to_json(.., orient='records', lines=True)`";
    for json in [
        r#"{"prompt": {"0": "q", "1": "r"}, "completion": {"0": "a", "1": "b"}}"#,
        r#"{"id": {"0": "x"}, "text": {"0": "q"}}"#,
        r#"{"instruction": {"0": "q"}, "output": {"0": "a"}}"#,
        r#"{"question": {"7": "q"}}"#,
        r#"{"0": {"prompt": "q", "completion": "a"}, "1": {"prompt": "r", "completion": "b"}}"#,
        r#"{"columns": ["prompt", "completion"], "index": [0], "data": [["q", "a"]]}"#,
    ] {
        assert!(refused(&[], json).contains(says), "{json}: {}", refused(&[], json));
    }
    assert!(refused(&["text=body"], r#"{"content": {"0": "q"}}"#).contains(says));
    for json in [
        r#"{"prompt": {"text": "q"}, "completion": {"text": "a"}}"#,
        r#"{"prompt": {"0": "q"}, "completion": "a"}"#,
        r#"{"columns": ["a"], "data": [{"text": "q"}]}"#,
        r#"{"text": {}}"#,
        "{}",
    ] {
        assert!(!refused(&[], json).contains("pandas"), "{json}");
    }
}

#[test]
fn keys_are_renamed_in_place() {
    let got = stored(&["text=content", "id=uid"], r#"{"uid": "a", "content": "t", "n": 1.0}"#);
    assert_eq!(got, r#"{"id":"a","text":"t","n":1.0}"#);
    let got = stored(&["prompt=question"], r#"{"question": "q", "completion": "a"}"#);
    assert_eq!(got, r#"{"prompt":"q","completion":"a"}"#);
    let got = stored(&["subtask=topic"], r#"{"text": "t", "topic": "x"}"#);
    assert_eq!(got, r#"{"text":"t","subtask":"x"}"#);
}

#[test]
fn keys_within_objects_are_named_with_dots() {
    let pair = ["prompt=translation.en", "completion=translation.fr"];
    let got = stored(&pair, r#"{"id": 7, "translation": {"en": "a", "fr": "b"}, "n": 1.50}"#);
    assert_eq!(got, r#"{"id":7,"prompt":"a","completion":"b","n":1.50}"#);
    // What else the object has stays in it, with its digits.
    let long = "340282366920938463463374607431768211455";
    let json = format!(
        r#"{{"translation": {{"hash": {long}, "en": "a \"b\" {{", "fr": "b", "in": {{"x": 1e5}}}}, "meta": {{"id": {long}}}}}"#
    );
    let want = format!(
        r#"{{"prompt":"a \"b\" {{","completion":"b","translation":{{"hash":{long},"in":{{"x":1e5}}}},"id":{long}}}"#
    );
    assert_eq!(stored(&[pair[0], pair[1], "id=meta.id"], &json), want);
    assert_eq!(
        stored(&["text=a.b.c"], r#"{"a": {"b": {"c": "t", "d": 1}}}"#),
        r#"{"text":"t","a":{"b":{"d":1}}}"#
    );
    // A key of exactly that name goes first.
    let got = stored(&["text=a.b"], r#"{"a": {"b": "inner"}, "a.b": "t"}"#);
    assert_eq!(got, r#"{"a":{"b":"inner"},"text":"t"}"#);
    // A path of two values is that of the first.
    let got = stored(&["text=a.b.c"], r#"{"a": {"b.c": "t", "b": {"c": "u"}}}"#);
    assert_eq!(got, r#"{"text":"t","a":{"b":{"c":"u"}}}"#);

    let refused = |texts: &[&str], json: &str| names(texts).read(json.as_bytes()).unwrap_err().to_string();
    let json = r#"{"id": "x", "translation": {"en": "a", "fr": "b"}}"#;
    let unknown = refused(&["text=translation.enn"], json);
    let says = "it has `id`, `translation.en`, `translation.fr`; did you mean `translation.en`?";
    assert!(unknown.ends_with(says), "{unknown}");
    let object = refused(&["text=translation"], json);
    assert!(object.contains("is an object; name a key within it: field=text=translation.en, "), "{object}");
}

#[test]
fn numbers_are_stored_as_they_were_written() {
    let long = "340282366920938463463374607431768211455";
    let numbers = format!("{long}, -{long}, 1e5, 1.0, -0, 1.50, 1E-30, 7");
    let json =
        format!(r#"{{"uid": {long}, "body": "a \"b\" {{", "hash": {long}, "in": {{"x": [{numbers}]}}}}"#);
    let want = format!(
        r#"{{"id":{long},"text":"a \"b\" {{","hash":{long},"in":{{"x":[{}]}}}}"#,
        numbers.replace(' ', "")
    );
    assert_eq!(stored(&["text=body", "id=uid"], &json), want);
    let talk = r#"{"conv": [{"from": "human", "weight": 1e2, "value": "q"}, {"from": "gpt", "value": "a"}]}"#;
    let want =
        r#"{"messages":[{"role":"user","weight":1e2,"content":"q"},{"role":"assistant","content":"a"}]}"#;
    assert_eq!(stored(&["messages=conv", "role=from", "content=value"], talk), want);
}

#[test]
fn what_is_in_the_way_gets_an_underscore() {
    let got =
        stored(&["text=body", "id=n"], r#"{"text": "title", "text_": 0, "body": "t", "id": "x", "n": 1}"#);
    assert_eq!(got, r#"{"text__":"title","text_":0,"text":"t","id_":"x","id":1}"#);
    // Two shapes in one record are ambiguous, unless one is named.
    let both =
        r#"{"messages": [{"role": "user", "content": "q"}], "text": "t", "prompt": "p", "completion": "c"}"#;
    assert!(matches!(
        FieldNames::default().read(both.as_bytes()),
        Err(RecordError::Content(ContentError::Ambiguous { .. }))
    ));
    let got = stored(&["text=text"], both);
    assert_eq!(
        got,
        r#"{"messages_":[{"role":"user","content":"q"}],"text":"t","prompt_":"p","completion_":"c"}"#
    );
}

#[test]
fn conversations_of_other_tools() {
    let fields = ["messages=conversations", "role=from", "content=value"];
    let json = r#"{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q", "role": "x"}, {"from": "gpt", "value": "a"}]}"#;
    let want = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q","role_":"x"},{"role":"assistant","content":"a"}]}"#;
    assert_eq!(stored(&fields, json), want);
    let (_, record) = names(&fields).read(json.as_bytes()).unwrap();
    let Content::Messages(messages) = record.content else { panic!("no conversation") };
    assert_eq!(messages.len(), 3);
}

#[test]
fn refusals() {
    let cases = [
        ("text", "\"text\" does not name a field"),
        ("=x", "does not name a field"),
        ("text=", "does not name a field"),
        ("txt=x", "there is no field \"txt\"; did you mean `text`?"),
        ("text=a;text=b", "\"text\" is named twice"),
        ("text=a;id=a", "\"a\" is named twice"),
        ("text=a;messages=b", "text and messages cannot be combined"),
    ];
    for (texts, want) in cases {
        let texts: Vec<&str> = texts.split(';').collect();
        let message = FieldNames::parse(&texts).unwrap_err().to_string();
        assert!(message.contains(want), "{texts:?}: {message}");
    }
    let error = names(&["text=body"]).read(br#"{"text": "t"}"#).unwrap_err();
    assert_eq!(error.to_string(), "no key \"body\", which was named as its text; it has `text`");
    let talk = br#"{"dialog": [{"speaker": "human", "content": "a"}]}"#;
    let error = names(&["messages=dialog", "role=speaker", "content=text"]).read(talk).unwrap_err();
    assert_eq!(
        error.to_string(),
        "message 0 has no \"text\", which was named as its content; give the name that it has with \
         field=content=KEY"
    );
    assert_eq!(FieldNames::parse(&["role=from", "content=from"]), Err(FieldError::Twice("from".to_owned())));
}

#[test]
fn a_prompt_may_stand_alone_where_prompts_are_read() {
    let read = |names: &[&str], json: &str| {
        let names = FieldNames::parse(names).unwrap();
        names.read_prompt(json.as_bytes()).map(|(_, record)| record.content)
    };
    let pair = |prompt: &str, completion: &str| Content::PromptCompletion {
        prompt: prompt.to_owned(),
        completion: completion.to_owned(),
    };
    assert_eq!(read(&[], r#"{"prompt": "a", "n": 1}"#).unwrap(), pair("a", ""));
    assert_eq!(read(&[], r#"{"prompt": "a", "completion": "b"}"#).unwrap(), pair("a", "b"));
    assert_eq!(read(&["prompt=q"], r#"{"q": "a"}"#).unwrap(), pair("a", ""));
    assert_eq!(read(&[], r#"{"prompt": "a", "text": "b"}"#).unwrap(), Content::Text("b".to_owned()));
    assert!(read(&[], r#"{"completion": "b"}"#).is_err());
    assert_eq!(read(&[], r#"{"prompt": {"0": "a", "1": "b"}}"#), Err(RecordError::Frame));
}
