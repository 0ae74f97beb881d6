//! Tests of layouts.

use serde_json::{Value, json};

use crate::{Content, FieldNames, Layout, Role};

fn read(json: &str, layout: Option<Layout>) -> Result<(String, crate::Record), String> {
    let fields = FieldNames::parse::<&str>(&[]).unwrap().with_layout(layout).unwrap();
    let (text, record) = fields.read(json.as_bytes()).map_err(|error| error.to_string())?;
    Ok((String::from_utf8(text.into_owned()).unwrap(), record))
}

fn turns(content: &Content) -> Vec<(Role, &str)> {
    match content {
        Content::Messages(messages) => messages.iter().map(|m| (m.role, m.content.as_str())).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn layouts_are_found_by_their_keys() {
    let cases = [
        (r#"{"instruction":"Add","input":"1 2","output":"3"}"#, Layout::Alpaca),
        (r#"{"instruction":"Add","context":"","response":"3","category":"qa"}"#, Layout::Alpaca),
        (r#"{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]}"#, Layout::ShareGpt),
        (r#"{"conversations":[{"role":"user","content":"q"}]}"#, Layout::ShareGpt),
        (r#"{"conversation":[{"content":"q","role":"user"}],"model":"m"}"#, Layout::ShareGpt),
        (r#"{"conversation":[{"from":"human","value":"q"}]}"#, Layout::ShareGpt),
        (r#"{"messages":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]}"#, Layout::ShareGpt),
        (
            r#"{"conversation":[{"role":"user","content":"q"}],"instruction":"q","output":"a"}"#,
            Layout::Alpaca,
        ),
        (r#"{"prompt":"q","chosen":"a","rejected":"b"}"#, Layout::Preference),
        (r#"{"inputs":"q","targets":"a","task":"cola"}"#, Layout::Flan),
        (r#"{"prompt":[{"role":"user","content":"q"}],"completion":[]}"#, Layout::Trl),
        (r#"{"messages":" [{\"role\":\"user\",\"content\":\"q\"}]"}"#, Layout::OpenAi),
    ];
    for (json, layout) in cases {
        let (_, record) = read(json, None).unwrap();
        assert_eq!(record.layout, Some(layout), "{json}");
        assert_eq!(read(json, Some(layout)).unwrap().1.content, record.content);
    }
    // What is gstore's own stays so, whatever else it holds.
    let own = r#"{"text":"t","instruction":"Add","output":"3"}"#;
    let (text, record) = read(own, None).unwrap();
    assert!(text == own && record.layout.is_none() && record.content == Content::Text("t".to_owned()));
    let (text, record) = read(own, Some(Layout::Alpaca)).unwrap();
    assert_eq!(turns(&record.content), [(Role::User, "Add"), (Role::Assistant, "3")]);
    assert!(text.starts_with(r#"{"text_":"t","messages":[{"#), "{text}");
}

#[test]
fn text_stands_in_the_place_of_its_keys_and_numbers_keep_their_digits() {
    let json = r#"{ "n" : 123456789012345678901, "instruction":"Add", "input":"1 2", "output":"3", "x": [1.50, 1e3] }"#;
    let (text, record) = read(json, None).unwrap();
    let want = r#"{"n":123456789012345678901,"messages":[{"role":"user","content":"Add\n\n1 2"},{"role":"assistant","content":"3"}],"x":[1.50,1e3]}"#;
    assert_eq!(text, want);
    // What is stored is read again as it is, without a layout.
    let (again, same) = read(&text, None).unwrap();
    assert_eq!((again, same.content, same.metadata), (text, record.content, record.metadata));
}

#[test]
fn numbers_are_the_text_of_their_digits_and_other_values_are_refused() {
    let said = |json: &str| {
        let (_, record) = read(json, None).unwrap();
        let pairs = turns(&record.content).into_iter();
        pairs.map(|(_, text)| text.to_owned()).collect::<Vec<_>>()
    };
    let prime = r#"{"instruction":"Is this number prime?","input":7,"output":"yes"}"#;
    assert_eq!(said(prime), ["Is this number prime?\n\n7", "yes"]);
    assert_eq!(said(r#"{"instruction":"Add","input":"","output": 1.50 }"#), ["Add", "1.50"]);
    assert_eq!(said(r#"{"instruction":"q","input":"","context":"ctx","output":"a"}"#), ["q\n\nctx", "a"]);
    assert_eq!(said(r#"{"instruction":"q","input":null,"context":"","output":"a"}"#), ["q", "a"]);
    let long = read(r#"{"inputs":"n?","targets":123456789012345678901}"#, None).unwrap().1;
    assert!(format!("{:?}", long.content).contains("\"123456789012345678901\""), "{:?}", long.content);
    let list = read(r#"{"instruction":"q","input":[1,2],"output":"a"}"#, None).unwrap_err();
    assert!(list.contains("a text `input` or `context`"), "{list}");
}

#[test]
fn conversations_have_systems_and_tools() {
    let json = r#"{"system":"brief","conversations":[{"from":"human","value":"q"},{"from":"function_call","value":"f()"},
        {"from":"observation","value":"3"},{"from":"gpt","value":"a"}],"id":"c1"}"#;
    let (_, record) = read(json, None).unwrap();
    let want = [
        (Role::System, "brief"),
        (Role::User, "q"),
        (Role::Tool, "f()"),
        (Role::Tool, "3"),
        (Role::Assistant, "a"),
    ];
    assert_eq!(turns(&record.content), want);
    assert!(record.id.as_deref() == Some("c1") && record.metadata.is_empty(), "{record:?}");
    let weighed = r#"{"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a","weight":0}]}"#;
    let Content::Messages(messages) = read(weighed, None).unwrap().1.content else { panic!("no messages") };
    assert!(!messages[1].scored);
    // Messages under another key stay what they are.
    let called = r#"{"conversation":[{"role":"user","content":"q","lang":"en"},{"role":"assistant","content":null,"tool_calls":[{"id":"1"}]}],"model":"m"}"#;
    let (text, record) = read(called, None).unwrap();
    assert_eq!(text, called.replacen("conversation", "messages", 1));
    assert_eq!(turns(&record.content), [(Role::User, "q"), (Role::Tool, r#"[{"id":"1"}]"#)]);
    let other = read(r#"{"conversations":[{"speaker":"user","text":"q"}]}"#, None).unwrap_err();
    assert!(other.contains("field=messages=conversations,role=KEY,content=KEY"), "{other}");
    let unknown = read(r#"{"conversations":[{"from":"alien","value":"q"}]}"#, None).unwrap_err();
    assert!(unknown.contains("turn 0 is by \"alien\""), "{unknown}");
    let none = read(r#"{"conversations":[3]}"#, None).unwrap_err();
    assert!(none.contains("turn 0 is not one"), "{none}");
}

#[test]
fn what_was_chosen_is_trained_on() {
    let message = |role: &str, text: &str| json!({ "role": role, "content": text });
    let lists = json!({
        "prompt": "q", "chosen": [message("user", "q"), message("assistant", "a")],
        "rejected": [message("user", "q"), message("assistant", "b")], "score_chosen": 7.5
    });
    let (_, record) = read(&lists.to_string(), None).unwrap();
    assert_eq!(turns(&record.content), [(Role::User, "q"), (Role::Assistant, "a")]);
    let keys: Vec<&str> = record.metadata.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["rejected", "score_chosen"]);
    let split =
        json!({ "prompt": [message("user", "q")], "chosen": [message("assistant", "a")], "rejected": [] });
    assert_eq!(read(&split.to_string(), None).unwrap().1.content, record.content);
    let dialogue = read(r#"{"chosen":"Human: q Assistant: a","rejected":"b"}"#, None).unwrap().1;
    assert_eq!(dialogue.content, Content::Text("Human: q Assistant: a".to_owned()));
    let odd = read(&json!({ "chosen": true, "rejected": Value::Null }).to_string(), None).unwrap_err();
    assert!(odd.contains("preference records have `chosen`"), "{odd}");
}

#[test]
fn turns_before_an_instruction_are_read() {
    let scored = |record: crate::Record| -> Vec<(String, bool)> {
        let Content::Messages(messages) = record.content else { panic!("no messages") };
        messages.into_iter().map(|message| (message.content, message.scored)).collect()
    };
    let history = json!([["a", "b"], ["c", "d"]]);
    let told = json!({ "system": "s", "instruction": "q", "output": "x", "history": history });
    let (text, record) = read(&told.to_string(), None).unwrap();
    assert!(!text.contains("history"), "{text}");
    let want =
        [("s", false), ("a", false), ("b", true), ("c", false), ("d", true), ("q", false), ("x", true)];
    assert_eq!(scored(record), want.map(|(text, scored)| (text.to_owned(), scored)));
    let packed = json!({ "instruction": "q", "output": "x", "history": "[[\"a\", \"b\"]]" });
    assert_eq!(scored(read(&packed.to_string(), None).unwrap().1).len(), 4);
    // Of two answers the turns before are the prompt.
    let compared = json!({ "instruction": "q", "chosen": "x", "rejected": "y", "history": [["a", "b"]] });
    let compared = scored(read(&compared.to_string(), None).unwrap().1);
    assert_eq!(compared.iter().map(|(_, scored)| *scored).collect::<Vec<_>>(), [false, false, false, true]);
    // What is no list, or has no turns, is a key like others.
    for none in [json!([]), json!("of art"), json!(3)] {
        let record = json!({ "instruction": "q", "output": "x", "history": none });
        let record = read(&record.to_string(), None).unwrap().1;
        assert_eq!((turns(&record.content).len(), record.metadata.len()), (2, 1));
    }
    for odd in [json!(["a", "b"]), json!([["a"]]), json!([["a", 1]]), json!([{ "a": "b" }])] {
        let record = json!({ "instruction": "q", "output": "x", "history": odd }).to_string();
        let error = read(&record, None).unwrap_err();
        assert!(error.contains("`history`, if any, as a list of pairs of texts"), "{error}");
        // As the message says.
        let named = "prompt=instruction,completion=output";
        assert!(error.contains(named), "{error}");
        let fields = FieldNames::parse(&named.split(',').collect::<Vec<_>>()).unwrap();
        let content = Content::PromptCompletion { prompt: "q".to_owned(), completion: "x".to_owned() };
        assert_eq!(fields.read(record.as_bytes()).unwrap().1.content, content);
    }
}

#[test]
fn a_preference_does_not_lose_its_question() {
    let compared = r#"{"instruction":"Add","input":"1 2","system":"s","chosen":"3","rejected":"4"}"#;
    let (text, record) = read(compared, None).unwrap();
    assert_eq!(record.layout, Some(Layout::Alpaca));
    let want = [(Role::System, "s"), (Role::User, "Add\n\n1 2"), (Role::Assistant, "3")];
    assert_eq!(turns(&record.content), want);
    assert!(text.ends_with(r#","rejected":"4"}"#), "{text}");
    // A prompt of its own goes before.
    let (_, own) = read(r#"{"prompt":"p","instruction":"i","chosen":"a","rejected":"b"}"#, None).unwrap();
    assert_eq!(own.layout, Some(Layout::Preference));

    let orca = r#"{"system":"s","question":"q","chosen":"a","rejected":"b"}"#;
    let error = read(orca, None).unwrap_err();
    assert!(error.contains("if `question` is it, without `system`, say so"), "{error}");
    for (named, content) in [
        (
            "prompt=question,completion=chosen",
            Content::PromptCompletion { prompt: "q".to_owned(), completion: "a".to_owned() },
        ),
        ("text=chosen", Content::Text("a".to_owned())),
    ] {
        assert!(error.contains(named), "{error}");
        let fields = FieldNames::parse(&named.split(',').collect::<Vec<_>>()).unwrap();
        assert_eq!(fields.read(orca.as_bytes()).unwrap().1.content, content);
    }
    // What is empty or no text asks nothing.
    let whole = r#"{"input":"","user":7,"query":null,"chosen":"t","rejected":"b"}"#;
    assert_eq!(read(whole, None).unwrap().1.content, Content::Text("t".to_owned()));

    let message = |role: &str, text: &str| json!({ "role": role, "content": text });
    let of = |first: &str| json!({ "question": "q", "chosen": [message(first, "x")], "rejected": [] });
    let error = read(&of("assistant").to_string(), None).unwrap_err();
    assert!(error.contains("if `question` is it, give the key this name"), "{error}");
    assert_eq!(turns(&read(&of("user").to_string(), None).unwrap().1.content), [(Role::User, "x")]);
}

#[test]
fn messages_in_halves_and_in_text_are_one_list() {
    let halves = r#"{"prompt":[{"role":"system","content":"s"},{"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"a"}],"label":true}"#;
    let (text, record) = read(halves, None).unwrap();
    assert_eq!(turns(&record.content), [(Role::System, "s"), (Role::User, "q"), (Role::Assistant, "a")]);
    assert!(
        text.starts_with(r#"{"messages":[{"role":"system""#) && text.ends_with(r#"],"label":true}"#),
        "{text}"
    );
    let mixed = read(r#"{"prompt":"q","completion":[]}"#, None).unwrap_err();
    assert!(mixed.contains("`completion` must be a string, found a list"), "{mixed}");
    let list = json!([{ "role": "user", "content": "q" }, { "role": "assistant", "content": "a" }]);
    let packed = json!({ "id": "x", "messages": list.to_string() });
    let (text, record) = read(&packed.to_string(), None).unwrap();
    assert_eq!(text, json!({ "id": "x", "messages": list }).to_string());
    assert_eq!(turns(&record.content), [(Role::User, "q"), (Role::Assistant, "a")]);
    let shared = json!([{ "from": "human", "value": "q" }, { "from": "gpt", "value": "a" }]);
    for (key, list) in [("conversations", &list), ("conversation", &shared), ("messages", &shared)] {
        let (_, same) = read(&json!({ key: list.to_string() }).to_string(), None).unwrap();
        assert_eq!((same.layout, same.content), (Some(Layout::ShareGpt), record.content.clone()), "{key}");
    }
    // As `datasets` has a `Sequence` of objects.
    let own = json!({ "role": ["user", "assistant"], "content": ["q", "a"], "weight": [null, 1] });
    let shared = json!({ "from": ["human", "gpt"], "value": ["q", "a"] });
    for (key, columns, layout) in [
        ("messages", &own, Layout::OpenAi),
        ("conversations", &own, Layout::ShareGpt),
        ("conversation", &shared, Layout::ShareGpt),
        ("messages", &shared, Layout::ShareGpt),
    ] {
        let (text, same) = read(&json!({ "id": "x", key: columns }).to_string(), None).unwrap();
        assert_eq!((same.layout, &same.content), (Some(layout), &record.content), "{key}");
        assert!(text.starts_with(r#"{"id":"x","messages":[{"role":"user","content":"q"},{"#), "{text}");
    }
    let uneven = json!({ "messages": { "role": ["user", "assistant"], "content": ["q"] } });
    let uneven = read(&uneven.to_string(), None).unwrap_err();
    assert!(uneven.contains("`messages` must be a list of messages, found an object"), "{uneven}");
    let cut = read(r#"{"conversations":"[{"}"#, None).unwrap_err();
    let list = "a list, the JSON text of one, or an object with a list for each key; files of `to_json`";
    assert!(cut.contains(&format!("sharegpt records have `conversations`, {list}")), "{cut}");
    let cut = read(r#"{"messages":"[{"}"#, None).unwrap_err();
    assert!(cut.contains(&format!("openai records have `messages`, {list}")), "{cut}");
    let word = read(r#"{"messages":"hello"}"#, None).unwrap_err();
    assert!(word.contains("`messages` must be a list of messages, found a string"), "{word}");
}

#[test]
fn answers_in_a_prompt_are_context() {
    let message = |role: &str, text: &str| json!({ "role": role, "content": text });
    let weighed =
        |text: &str, weight: Value| json!({ "role": "assistant", "content": text, "weight": weight });
    let prompt = json!([
        message("user", "q"),
        message("assistant", "a"),
        weighed("b", json!(1)),
        weighed("c", json!(0)),
        weighed("d", Value::Null),
        message("user", "r"),
    ]);
    let answer = json!([message("assistant", "e"), message("user", "s"), message("assistant", "f")]);
    for record in [
        json!({ "prompt": prompt, "completion": answer }),
        json!({ "prompt": prompt, "chosen": answer, "rejected": [] }),
    ] {
        let (text, record) = read(&record.to_string(), None).unwrap();
        let stored: Value = serde_json::from_str(&text).unwrap();
        let weights =
            stored["messages"].as_array().unwrap().iter().map(|message| message.get("weight").cloned());
        let want = [None, Some(0), Some(1), Some(0), Some(0), None, None, None, None];
        assert_eq!(
            weights.collect::<Vec<_>>(),
            want.map(|weight| weight.map(|weight: i32| json!(weight))),
            "{text}"
        );
        let Content::Messages(messages) = record.content else { panic!("no messages") };
        let scored = messages.iter().filter(|message| message.scored).map(|message| message.content.as_str());
        assert_eq!(scored.collect::<Vec<_>>(), ["b", "e", "f"]);
        // What is stored is what is read later.
        assert_eq!(read(&text, None).unwrap().1.content, Content::Messages(messages));
    }
}

#[test]
fn the_prompt_of_a_preference_is_there_once_and_is_context() {
    let message = |role: &str, text: &str| json!({ "role": role, "content": text });
    let talk = [
        message("user", "q"),
        message("assistant", "a"),
        message("user", "r"),
        message("assistant", "b"),
        message("user", "s"),
        message("assistant", "c"),
    ];
    let other = |shared: usize| [&talk[..shared], &[message("assistant", "x")][..]].concat();
    // How many messages are stored, and which answers are scored.
    let check = |record: Value, len: usize, scored: &[&str]| {
        let content = read(&record.to_string(), None).unwrap().1.content;
        let Content::Messages(messages) = content else { panic!("no messages") };
        let found = messages.iter().filter(|message| message.scored).map(|message| message.content.as_str());
        assert_eq!((messages.len(), found.collect::<Vec<_>>()), (len, scored.to_vec()), "{record}");
    };
    // The chosen side may begin with the prompt, or not.
    for chosen in [&talk[..], &talk[3..]] {
        check(json!({ "prompt": talk[..3], "chosen": chosen, "rejected": other(3) }), 6, &["b", "c"]);
    }
    // Without a list of messages it is what both sides begin with.
    for prompt in [Value::Null, json!("q"), json!([])] {
        let of = |rejected: Value| json!({ "prompt": prompt, "chosen": talk, "rejected": rejected });
        check(of(json!(other(5))), 6, &["c"]);
        check(of(json!(other(3))), 6, &["b", "c"]);
        // Each side keeps its last message.
        check(of(json!(talk)), 6, &["c"]);
        check(of(json!(talk[..4])), 6, &["b", "c"]);
        for none in [json!([]), json!("x"), Value::Null] {
            check(of(none), 6, &["a", "b", "c"]);
        }
    }
    check(json!({ "prompt": "q", "chosen": talk[1..], "rejected": other(5)[1..] }), 6, &["c"]);
    check(json!({ "chosen": talk, "rejected": other(5) }), 6, &["c"]);
}

#[test]
fn a_record_of_no_layout_is_named_with_its_keys() {
    let error = read(r#"{"question":"q","answer":"a"}"#, None).unwrap_err();
    assert!(error.contains("it has `question`, `answer`"), "{error}");
    let error = read(r#"{"question":"q"}"#, Some(Layout::Flan)).unwrap_err();
    assert!(error.contains("flan records have the texts `inputs` and `targets`"), "{error}");
    assert!("llama".parse::<Layout>().unwrap_err().to_string().contains("openai, sharegpt, alpaca"));
}

#[test]
fn layouts_and_names_of_text_exclude_each_other() {
    let named = FieldNames::parse(&["text=content"]).unwrap();
    assert!(named.clone().with_layout(Some(Layout::Flan)).is_err());
    // An id may have any name.
    let fields = FieldNames::parse(&["id=uuid"]).unwrap().with_layout(Some(Layout::Flan)).unwrap();
    let (text, record) = fields.read(br#"{"uuid":"u1","inputs":"q","targets":"a"}"#).unwrap();
    assert_eq!(record.id.as_deref(), Some("u1"));
    assert_eq!(text.as_ref(), br#"{"id":"u1","prompt":"q","completion":"a"}"#);
}
