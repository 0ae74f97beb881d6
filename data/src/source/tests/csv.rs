//! Comma separated text.

use std::collections::HashMap;

use super::*;
use crate::ExpectedType;

#[test]
fn columns_get_their_types() {
    let dir = Dir::new();
    let file = "id,prompt,completion,n,share,ok,zip,note\n\
                007,\"a \"\"b\"\"\nc\",42,1,0.5,True,012,\n\
                8,,yes,2,2,false,99,\"x, y\"\n";
    let path = dir.put("a.csv", file);
    let want = [
        ("line 2", r#"{"id":"007","prompt":"a \"b\"\nc","completion":"42","n":1,"share":0.5,"ok":true,"zip":"012"}"#),
        ("line 4", r#"{"id":"8","prompt":"","completion":"yes","n":2,"share":2.0,"ok":false,"zip":"99","note":"x, y"}"#),
    ]
    .map(|(place, text)| (place.to_owned(), text.to_owned()));
    assert_eq!(read(&path, &[]).unwrap(), want);
    let named = texts(&dir.put("b.tsv", "\tq\ta\n0\t1\t2\n"), &["prompt=q", "completion=a"]);
    assert_eq!(named, [r#"{"column_1":0,"q":"1","a":"2"}"#]);
    let marked = texts(&dir.put("c.csv", "\u{feff}text,x\r\nt,1\r\n"), &[]);
    assert_eq!(marked, [r#"{"text":"t","x":1}"#]);
}

/// What JSON writes in the same way is a number or bool in the record, as earlier versions stored it.
#[test]
fn a_column_that_is_said_to_be_text_keeps_the_texts_of_its_fields() {
    let dir = Dir::new();
    let of = |text: &str, named: &[&str], key: &str| -> Vec<String> {
        let expected = HashMap::from([(key.to_owned(), ExpectedType::Text)]);
        let fields = FieldNames::parse(named).unwrap().with_expected(expected);
        let records = read_with(&dir.put("a.csv", text), &fields).unwrap();
        records.into_iter().map(|(_, text)| text).collect()
    };
    let numbers = of("text,v,n\na,1.10,1.10\nb,.5,.5\nc,2,2\nd,2.5,2.5\ne,,\n", &[], "v");
    let want = [
        r#"{"text":"a","v":"1.10","n":1.1}"#,
        r#"{"text":"b","v":".5","n":0.5}"#,
        r#"{"text":"c","v":2,"n":2.0}"#,
        r#"{"text":"d","v":2.5,"n":2.5}"#,
        r#"{"text":"e"}"#,
    ];
    assert_eq!(numbers, want);
    let bools = of("text,v\na,True\nb,false\n", &[], "v");
    assert_eq!(bools, [r#"{"text":"a","v":"True"}"#, r#"{"text":"b","v":false}"#]);
    let words = of("text,v\na,1\nb,+5\n", &[], "v");
    assert_eq!(words, [r#"{"text":"a","v":"1"}"#, r#"{"text":"b","v":"+5"}"#]);
    // One whose name a field has is stored under another.
    let displaced = of("id,uid,text\n1.10,x,a\n", &["id=uid"], "id_");
    assert_eq!(displaced, [r#"{"id":"1.10","uid":"x","text":"a"}"#]);
    // Parts of messages are no fields of a record.
    assert_eq!(FieldNames::default().metadata_of("role"), Some("role"));
    for named in [&[] as &[&str], &["role=from"]] {
        let role = of("text,role\na,1.10\n", named, "role");
        assert_eq!(role, [r#"{"text":"a","role":"1.10"}"#]);
    }
}

/// Spreadsheets of many countries write `;`, others tabs whatever the ending.
#[test]
fn columns_are_separated_as_the_header_line_has_it() {
    let dir = Dir::new();
    let of = |name: &str, text: &str| {
        let path = dir.put(name, text);
        let note = find(std::slice::from_ref(&path)).unwrap()[0].note();
        (
            texts(&path, &["prompt=Q", "completion=A"]),
            note.map(|note| note.replace(&dir.path().display().to_string(), "D")),
        )
    };
    let want = [r#"{"Q":"a, \"b\" c","A":"d"}"#, r#"{"Q":"e\nf","A":"g; h"}"#];
    let quoted = "Q;A\n\"a, \"\"b\"\" c\";\"d\"\n\"e\nf\";\"g; h\"\n";
    for (name, text, called) in [
        ("a.csv", quoted.to_owned(), Some("`;`")),
        ("marked.csv", format!("\u{feff}\"Q\";\"A\"\r{}", &quoted[3..]), Some("`;`")),
        ("b.tsv", quoted.to_owned(), Some("`;`")),
        ("c.csv", "Q\tA\n\"a, \"\"b\"\" c\"\td\n\"e\nf\"\tg; h\n".to_owned(), Some("tabs")),
        ("d.csv", "Q,A\n\"a, \"\"b\"\" c\",d\n\"e\nf\",g; h\n".to_owned(), None),
    ] {
        let (found, note) = of(name, &text);
        assert_eq!(found, want, "{name}");
        let says = called.map(|called| format!("D/{name}: its columns are separated by {called}"));
        assert_eq!(note, says);
    }
    // Names with other characters, in quotes also with those that separate columns.
    for header in ["Q;A;what's it?", "Q;A;\"the \"\"n\"\"\"", "Q;A;\"n, in cm\""] {
        let (found, note) = of("f.csv", &format!("{header}\na, b;c;1\n"));
        assert!(note.is_some_and(|note| note.ends_with("separated by `;`")), "{header}");
        assert!(found[0].starts_with(r#"{"Q":"a, b","A":"c","#), "{found:?}");
    }
    // A header that is a sentence is one column.
    assert_eq!(
        texts(&dir.put("e.csv", "Text (a; b)\nx\n"), &["text=Text (a; b)"]),
        [r#"{"Text (a; b)":"x"}"#]
    );
}

#[test]
fn json_is_no_header() {
    let dir = Dir::new();
    for (name, text) in [
        ("a.csv", "{\"id\":\"a\",\"text\":\"x\"}\n"),
        ("b.tsv", "{\"id\":\"a\",\"text\":\"x\"}\n{\"id\":\"b\",\"text\":\"y\"}\n"),
        ("c.csv", "[{\"text\":\"x\"}]"),
    ] {
        let message = refusal(&dir.put(name, text));
        assert!(
            message.contains("its first line is JSON, not a header line; give it the ending .jsonl"),
            "{message}"
        );
    }
}

/// What a cell of a layout's text says, empty or a number, is what the same text in JSON says.
#[test]
fn columns_of_a_layout_are_text() {
    let dir = Dir::new();
    let alpaca = dir.put("a.csv", "instruction,input,output,n\nq,,,1\nr,2,2.50,\n");
    let want = [
        r#"{"instruction":"q","input":"","output":"","n":1}"#,
        r#"{"instruction":"r","input":"2","output":"2.50"}"#,
    ];
    assert_eq!(texts(&alpaca, &[]), want);
    // Names of text go before.
    let named = texts(&dir.put("b.csv", "instruction,output\nq,\nr,2\n"), &["text=instruction"]);
    assert_eq!(named, [r#"{"instruction":"q"}"#, r#"{"instruction":"r","output":2}"#]);
    let other = texts(&dir.put("c.csv", "text,instruction,output\nt,1,\n"), &[]);
    assert_eq!(other, [r#"{"text":"t","instruction":1}"#]);
}

/// As `select` writes records of several shapes.
#[test]
fn an_empty_field_of_another_shape_is_null() {
    let dir = Dir::new();
    let file = "id,messages,prompt,completion,text,note\n\
                a,,p,c,,\n\
                b,,,c,,\n\
                c,,p,,,\n\
                d,,,,t,x\n\
                e,\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"q\"\"}]\",,,,\n";
    let want = [
        r#"{"id":"a","prompt":"p","completion":"c"}"#,
        r#"{"id":"b","prompt":"","completion":"c"}"#,
        r#"{"id":"c","prompt":"p","completion":""}"#,
        r#"{"id":"d","text":"t","note":"x"}"#,
        r#"{"id":"e","messages":[{"role":"user","content":"q"}]}"#,
    ];
    assert_eq!(texts(&dir.put("a.csv", file), &[]), want);
    // Text of no shape or of two is not cut down to one.
    let open = texts(&dir.put("b.csv", "prompt,completion,text,n\n,,,1\np,,t,1\n"), &[]);
    let want = [
        r#"{"prompt":"","completion":"","text":"","n":1}"#,
        r#"{"prompt":"p","completion":"","text":"t","n":1}"#,
    ];
    assert_eq!(open, want);
    // Half of a pair is metadata, and stands as it did.
    let half = texts(&dir.put("c.csv", "prompt,text\n,t\np,\n"), &[]);
    assert_eq!(half, [r#"{"prompt":"","text":"t"}"#, r#"{"prompt":"p","text":""}"#]);
    let named = texts(&dir.put("d.csv", "q,a,text\n,b,\n"), &["prompt=q", "completion=a"]);
    assert_eq!(named, [r#"{"q":"","a":"b"}"#]);
}

#[test]
fn conversations_are_json() {
    let dir = Dir::new();
    let path = dir.put("a.csv", "messages\n\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"q\"\"}]\"\n");
    assert_eq!(texts(&path, &[]), [r#"{"messages":[{"role":"user","content":"q"}]}"#]);
    let message = refusal(&dir.put("b.csv", "messages\n[{'role': 'user'}]\n"));
    assert!(
        message.contains("b.csv, line 2, column \"messages\": a conversation in CSV must be a list in JSON")
            && message.ends_with("write the file with `to_json` or `to_parquet`"),
        "{message}"
    );
    let twice = "messages\n\"[{\"\"role\"\": \"\"user\"\", \"\"role\"\": \"\"assistant\"\"}]\"\n";
    let message = refusal(&dir.put("c.csv", twice));
    assert!(message.contains("the key \"role\" appears twice in one object"), "{message}");
}

#[test]
fn refusals_name_the_line() {
    let dir = Dir::new();
    let wide = [",".repeat(1 << 16), "\n".to_owned()].concat();
    let cases: [(&[u8], &str); 5] = [
        (wide.as_bytes(), "the header line has 65537 columns, and at most 65536 are read"),
        (b"text,n\na,1\nb\n", "line 3: 1 field, and the header has 2"),
        (b"text,n\na,1,2\n", "line 2: 3 fields, and the header has 2"),
        (b"text,text\na,b\n", "two columns are called \"text\""),
        (
            b"text,n\nok,1\n\xff,1\n",
            "line 3, column \"text\": not UTF-8 from byte 1; if the file is in Latin-1",
        ),
    ];
    for (bytes, want) in cases {
        let message = refusal(&dir.put("a.csv", bytes));
        assert!(message.contains("a.csv") && message.contains(want), "{message}");
    }
    let mut endless = b"text\n\"".to_vec();
    endless.resize(crate::jsonl::LINE_LIMIT + (2 << 20), b'x');
    let message = refusal(&dir.put("b.csv", endless));
    assert!(message.contains("b.csv, line 2: the quote that opens here is not closed within"), "{message}");
}

/// The lines that an editor shows, whatever they end with.
#[test]
fn lines_end_as_they_like() {
    let dir = Dir::new();
    for end in ["\n", "\r\n"] {
        let text = "text,n|\"a|b\",1|||\"c\",2|d,\"3\"|".replace('|', end);
        for text in [text.as_str(), text.trim_end()] {
            let records = read(&dir.put("a.csv", text), &[]).unwrap();
            let places: Vec<String> = records.into_iter().map(|(place, _)| place).collect();
            assert_eq!(places, ["line 2", "line 6", "line 7"], "{text:?}");
        }
        for (more, want) in [
            ("e", "line 8: 1 field, and the header has 2"),
            ("|\"e|f\"", "line 9: 1 field, and the header has 2"),
            ("\"e|f\",1|\"g", "line 10: the quote that opens here is never closed"),
        ] {
            let message = refusal(&dir.put("b.csv", text.clone() + &more.replace('|', end)));
            assert!(message.contains(want), "{message}");
        }
        let message = refusal(&dir.put("c.csv", [text.as_bytes(), b"\xff,1"].concat()));
        assert!(message.contains("line 8, column \"text\": not UTF-8"), "{message}");
    }
}

/// A quote that is not closed takes the rows after it for its text, and the file still
/// reads without an error.
#[test]
fn quotes_that_are_not_closed_are_refused_with_their_line() {
    let dir = Dir::new();
    let rows = |delimiter: char, bad: &[usize]| -> String {
        let quote = |i| if bad.contains(&i) { "\"" } else { "" };
        let row = |i| format!("{i}{delimiter}{}line {i}\n", quote(i));
        std::iter::once(format!("id{delimiter}text\n")).chain((0..1000).map(row)).collect()
    };
    let never = "line 502: the quote that opens here is never closed";
    let within = "line 502: the quote that opens here closes within a field of line 702";
    let cut = "id,text\n1,\"a\nb\"\n2,\"d e";
    for (name, bytes, want) in [
        ("a.csv", rows(',', &[500]).into_bytes(), never),
        ("a.tsv", rows('\t', &[500]).into_bytes(), never),
        ("a.csv.gz", gzip(rows(',', &[500]).as_bytes()), never),
        ("a.tsv.zst", zstandard(rows('\t', &[500]).as_bytes()), never),
        ("b.csv", rows(',', &[500, 700]).into_bytes(), within),
        ("c.csv", cut.as_bytes().to_vec(), "line 4: the quote that opens here is never closed"),
        ("d.csv", b"text,\"n\na,1\n".to_vec(), "line 1: the quote that opens here is never closed"),
    ] {
        let message = refusal(&dir.put(name, bytes));
        assert!(message.contains(&format!("{name}, {want}")), "{message}");
    }
    let closed = "id,text\n1,\"a\n\"\"b\"\"\n\n\"\n2,\"c\"\n3,5\"\n4,\"\"\n";
    let texts = texts(&dir.put("e.csv", closed), &[]);
    let want = [
        r#"{"id":"1","text":"a\n\"b\"\n\n"}"#,
        r#"{"id":"2","text":"c"}"#,
        r#"{"id":"3","text":"5\""}"#,
        r#"{"id":"4","text":""}"#,
    ];
    assert_eq!(texts, want);
}
