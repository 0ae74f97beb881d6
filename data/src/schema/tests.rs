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
fn mixtures_are_refused_with_both_lines() {
    let error = build(overrides(&[]), &[r#""x": 1"#, r#""y": 1"#, r#""x": "one""#]).unwrap_err();
    let want =
        "column \"x\" holds int in line 1 and utf8 in line 3; say what it is, for example column=x:utf8";
    assert_eq!(error.to_string(), want);
    assert!(build(overrides(&[]), &[r#""x": true"#, r#""x": 1"#]).is_err());
    assert!(build(overrides(&[]), &[r#""x": 1"#, r#""x": 18446744073709551615"#]).is_err());
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
    assert!(error.contains("column \"x\" is int as asked, but line 1 holds float"), "{error}");
    let error = build(overrides(&["sorce:int"]), &[r#""source": 1"#]).unwrap_err().to_string();
    assert_eq!(error, "no record has a key \"sorce\" to give a type to; did you mean \"source\"?");
    for bad in ["x", "x:text", ":int", "x:"] {
        assert!(bad.parse::<ColumnOverride>().is_err(), "{bad}");
    }
    assert_eq!("a:b:int".parse::<ColumnOverride>().unwrap().key, "a:b");
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
fn a_file_that_changes_between_the_passes_is_noticed() {
    let schema = build(overrides(&[]), &[r#""x": 1"#]).unwrap();
    let message = schema.row(4u64, record(r#""y": 1"#).metadata).unwrap_err().to_string();
    assert!(message.contains("line 4 has a value of \"y\""), "{message}");
    assert!(schema.row(4u64, record(r#""x": "t""#).metadata).is_err());
}
