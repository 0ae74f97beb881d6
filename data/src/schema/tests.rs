//! Promise: columns have one type each, and a conflict names both lines and the way out.

use super::super::record::parse_record;
use super::*;

fn record(fields: &str) -> Record {
    parse_record(format!("{{\"text\": \"t\", {fields}}}").as_bytes()).unwrap()
}

fn build(builder: SchemaBuilder, lines: &[&str]) -> Result<Schema, SchemaError> {
    let mut builder = builder;
    for (number, fields) in (1u64..).zip(lines) {
        builder.observe(number, &record(fields))?;
    }
    builder.finish()
}

fn overrides(texts: &[&str]) -> SchemaBuilder {
    SchemaBuilder::new(texts.iter().map(|t| t.parse().unwrap()).collect(), &[])
}

fn shape(schema: &Schema) -> Vec<(&str, ColumnType, bool)> {
    schema.columns().iter().map(|c| (c.key.as_str(), c.ty, c.declared)).collect()
}

#[test]
fn types_and_order_of_first_appearance() {
    let lines =
        [r#""b": 1, "a": null, "n": null"#, r#""c": true, "a": "x", "b": 2.5"#, r#""b": 3, "d": [1]"#];
    let schema = build(overrides(&[]), &lines).unwrap();
    use ColumnType::*;
    assert_eq!(
        shape(&schema),
        [("b", Float, false), ("a", Text, false), ("c", Bool, false), ("d", Text, false)]
    );
    let row = schema.row(1u64, record(r#""d": {"k": 1}, "b": 1, "n": null"#).metadata).unwrap();
    let want = [MetaValue::Int(1), MetaValue::Null, MetaValue::Null, MetaValue::Text("{\"k\":1}".into())];
    assert_eq!(row, want);
}

#[test]
fn columns_are_put_into_the_order_of_a_header() {
    let mut builder = overrides(&[]);
    builder.observe(1u64, &record(r#""z": 1, "b": 1, "c": true"#)).unwrap();
    builder.observe(2u64, &record(r#""a": "x", "c": false"#)).unwrap();
    builder.arrange(&["a", "b", "a", "no", "c"].map(str::to_owned));
    // What follows finds its column.
    builder.observe(3u64, &record(r#""b": 0.5, "d": 1"#)).unwrap();
    let schema = builder.finish().unwrap();
    let keys: Vec<&str> = schema.columns().iter().map(|column| column.key.as_str()).collect();
    assert_eq!(keys, ["a", "b", "c", "z", "d"]);
    assert_eq!(schema.columns()[1].ty, ColumnType::Float);
}

#[test]
fn mixtures_are_refused_with_both_lines() {
    let error = build(overrides(&[]), &[r#""x": 1"#, r#""y": 1"#, r#""x": "one""#]).unwrap_err();
    let want =
        "column \"x\" holds int in line 1 and utf8 in line 3; say what it is, for example column=x:utf8";
    assert_eq!(error.to_string(), want);
    assert!(build(overrides(&[]), &[r#""x": true"#, r#""x": 1"#]).is_err());
    let long = "an integer of 20 digits (64 bits with a sign do not hold it, so it is text)";
    let lines = [r#""x": 1"#, r#""x": 18446744073709551615"#];
    let error = build(overrides(&[]), &lines).unwrap_err().to_string();
    assert!(error.contains(&format!("holds int in line 1 and {long} in line 2; say")), "{error}");
    let error = build(overrides(&["x:int"]), &lines).unwrap_err().to_string();
    assert!(error.contains(&format!("is int as asked, but line 2 holds {long}; use")), "{error}");
}

#[test]
fn an_integer_that_a_float_would_round_is_no_float() {
    let (int, float) = (r#""x": 9007199254740993"#, r#""x": 0.5"#);
    let named = "9007199254740993 (a float would round it)";
    let refused = |builder, lines: &[&str]| build(builder, lines).unwrap_err().to_string();
    let error = refused(overrides(&[]), &[r#""x": 1"#, int, r#""x": 2"#, float]);
    assert!(error.contains(&format!("holds {named} in line 2 and float in line 4; say")), "{error}");
    let error = refused(overrides(&[]), &[r#""x": 1"#, float, int]);
    assert!(error.contains(&format!("holds float in line 2 and {named} in line 3; say")), "{error}");
    let error = refused(overrides(&[]), &[int, r#""x": "one""#]);
    assert!(error.contains("holds int in line 1 and utf8 in line 2"), "{error}");
    let existing = [ColumnDef { name: "x".into(), key: "x".into(), ty: ColumnType::Float }];
    let error = refused(SchemaBuilder::new(vec![], &existing), &[r#""x": 1"#, int]);
    assert!(error.contains(&format!("is float in the dataset, but line 2 holds {named}; use")), "{error}");
    // Exact, asked for, or among integers alone.
    for (builder, lines) in [
        (overrides(&[]), [r#""x": 18014398509481984"#, float]),
        (overrides(&["x:float"]), [int, float]),
        (overrides(&["x:utf8"]), [int, float]),
        (overrides(&[]), [int, r#""x": 1"#]),
    ] {
        build(builder, &lines).unwrap();
    }
}

#[test]
fn overrides_decide() {
    let schema = build(overrides(&["x:utf8"]), &[r#""x": 1"#, r#""x": "one""#, r#""x": true"#]).unwrap();
    assert_eq!(shape(&schema), [("x", ColumnType::Text, true)]);
    let schema = build(overrides(&["x:float"]), &[r#""x": 1"#, r#""x": null"#]).unwrap();
    assert_eq!(shape(&schema), [("x", ColumnType::Float, true)]);
    let schema = build(overrides(&["x:int"]), &[r#""x": null"#]).unwrap();
    assert_eq!(shape(&schema), [("x", ColumnType::Int, true)]);
    let error = build(overrides(&["x:int"]), &[r#""x": 1.5"#]).unwrap_err().to_string();
    assert!(
        error.ends_with("column \"x\" is int as asked, but line 1 holds float (1.5); use column=x:float"),
        "{error}"
    );
    let error = build(overrides(&["sorce:int"]), &[r#""source": 1"#]).unwrap_err().to_string();
    assert_eq!(error, "no record has a key \"sorce\" to give a type to; did you mean `source`?");
    for bad in ["x", "x:text", ":int", "x:"] {
        assert!(bad.parse::<ColumnOverride>().is_err(), "{bad}");
    }
    assert_eq!("a:b:int".parse::<ColumnOverride>().unwrap().key, "a:b");
    let all = |texts: [&str; 2]| ColumnOverride::all(&texts.map(str::to_owned)).map(|all| all.len());
    assert_eq!(all(["x:int", "y:utf8"]), Ok(2));
    let error = all(["x:int", "x:utf8"]).unwrap_err().to_string();
    assert_eq!(error, "column \"x\" is given two types, int and utf8: leave one out");
}

#[test]
fn an_existing_dataset_keeps_its_types() {
    let column = |key: &str, ty| ColumnDef { name: format!("{key}_"), key: key.into(), ty };
    let existing = [column("x", ColumnType::Float), column("t", ColumnType::Text)];
    let builder = |overrides| SchemaBuilder::new(overrides, &existing);
    let schema = build(builder(vec![]), &[r#""new": 1, "x": 1, "t": 1"#, r#""t": true"#]).unwrap();
    let want =
        [("new", ColumnType::Int, false), ("x", ColumnType::Float, false), ("t", ColumnType::Text, false)];
    assert_eq!(shape(&schema), want);
    let error = build(builder(vec![]), &[r#""x": "one""#]).unwrap_err().to_string();
    assert!(error.contains("is float in the dataset, but line 1 holds utf8"), "{error}");
    let schema = build(builder(vec!["x:utf8".parse().unwrap()]), &[r#""x": "one""#]).unwrap();
    assert_eq!(shape(&schema), [("x", ColumnType::Text, true)]);
}

#[test]
fn floats_make_floats_of_the_integers_of_a_dataset() {
    let existing = [ColumnDef { name: "x".into(), key: "x".into(), ty: ColumnType::Int }];
    let builder = || SchemaBuilder::new(vec![], &existing);
    let of = |lines: &[&str]| build(builder(), lines).map(|schema| schema.columns()[0].clone());
    for lines in [&[r#""x": 1"#, r#""x": 3.0"#], &[r#""x": 3.0"#, r#""x": 1"#]] {
        assert_eq!(of(lines).unwrap(), ColumnSpec::inferred("x", ColumnType::Float));
    }
    for lines in [[r#""x": 1"#], [r#""x": 9007199254740993"#], [r#""x": null"#]] {
        assert_eq!(of(&lines).unwrap(), ColumnSpec::inferred("x", ColumnType::Int));
    }
    let error = of(&[r#""x": 0.5"#, r#""x": 9007199254740993"#]).unwrap_err().to_string();
    assert!(error.contains("holds float in line 1 and 9007199254740993 (a float would round it)"), "{error}");
    let error = of(&[r#""x": "one""#]).unwrap_err().to_string();
    assert!(
        error.contains("is int in the dataset, but line 1 holds utf8 (\"one\"); use column=x:utf8 if"),
        "{error}"
    );
}

#[test]
fn a_file_that_changes_between_the_passes_is_noticed() {
    let schema = build(overrides(&[]), &[r#""x": 1"#]).unwrap();
    let message = schema.row(4u64, record(r#""y": 1"#).metadata).unwrap_err().to_string();
    assert!(message.contains("line 4 has a value of \"y\""), "{message}");
    assert!(schema.row(4u64, record(r#""x": "t""#).metadata).is_err());
}
