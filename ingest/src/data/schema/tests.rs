//! Promise: columns have one type each, every value keeps its meaning, and a conflict names both lines and the way out.

use super::super::record::parse_record;
use super::*;

fn record(fields: &str) -> Record {
    parse_record(format!("{{\"text\": \"t\", {fields}}}").as_bytes()).unwrap()
}

fn build(builder: SchemaBuilder, lines: &[&str]) -> Result<Schema, SchemaError> {
    let mut builder = builder;
    for (number, fields) in (1..).zip(lines) {
        builder.observe(number, &record(fields))?;
    }
    builder.finish()
}

fn overrides(texts: &[&str]) -> SchemaBuilder {
    SchemaBuilder::new(texts.iter().map(|t| t.parse().unwrap()).collect())
}

fn shape(schema: &Schema) -> Vec<(&str, &str, ColumnType)> {
    schema.columns().iter().map(|c| (c.name.as_str(), c.key.as_str(), c.ty)).collect()
}

#[test]
fn types_and_order_of_first_appearance() {
    let schema = build(
        SchemaBuilder::default(),
        &[r#""b": 1, "a": null, "n": null"#, r#""c": true, "a": "x", "b": 2.5"#, r#""b": 3, "d": [1]"#],
    )
    .unwrap();
    use ColumnType::*;
    assert_eq!(shape(&schema), [("b", "b", Float), ("a", "a", Text), ("c", "c", Bool), ("d", "d", Text)]);
    let row = schema.row(1, &record(r#""d": {"k": 1}, "b": 1, "n": null"#)).unwrap();
    let want =
        [MetaValue::Float(1.0), MetaValue::Null, MetaValue::Null, MetaValue::Text("{\"k\":1}".into())];
    assert_eq!(row, want);
}

#[test]
fn mixtures_are_refused_with_both_lines() {
    let error = build(SchemaBuilder::default(), &[r#""x": 1"#, r#""y": 1"#, r#""x": "one""#]).unwrap_err();
    let want = "column \"x\" holds int in line 1 and utf8 in line 3; say what it is, for example --column x:utf8";
    assert_eq!(error.to_string(), want);
    assert!(build(SchemaBuilder::default(), &[r#""x": true"#, r#""x": 1"#]).is_err());
    assert!(build(SchemaBuilder::default(), &[r#""x": 1"#, r#""x": 18446744073709551615"#]).is_err());
}

#[test]
fn overrides_decide() {
    let lines = [r#""x": 1"#, r#""x": "one""#, r#""x": 1.5"#, r#""x": true"#, r#""x": 18446744073709551615"#];
    let schema = build(overrides(&["x:utf8"]), &lines).unwrap();
    let texts = ["1", "one", "1.5", "true", "18446744073709551615"];
    for (fields, text) in lines.iter().zip(texts) {
        assert_eq!(schema.row(1, &record(fields)).unwrap(), [MetaValue::Text(text.into())]);
    }
    let schema = build(overrides(&["x:float"]), &[r#""x": 1"#, r#""x": null"#]).unwrap();
    assert_eq!(schema.row(1, &record(r#""x": 1"#)).unwrap(), [MetaValue::Float(1.0)]);
    let error = build(overrides(&["x:int"]), &[r#""x": 1.5"#]).unwrap_err().to_string();
    assert!(error.contains("column \"x\" is int as asked, but line 1 holds float"), "{error}");
    let schema = build(overrides(&["x:int"]), &[r#""x": null"#]).unwrap();
    assert_eq!(shape(&schema), [("x", "x", ColumnType::Int)]);
    assert!(build(overrides(&["z:int"]), &[r#""x": 1"#]).unwrap_err().to_string().contains("no record has a key \"z\""));
    for bad in ["x", "x:text", ":int", "x:"] {
        assert!(bad.parse::<ColumnOverride>().is_err(), "{bad}");
    }
    assert_eq!("a:b:int".parse::<ColumnOverride>().unwrap().name, "a:b");
}

#[test]
fn taken_names_get_a_suffix() {
    let lines = [r#""row": 1, "row_": 2, "score": 0.5, "tokens": 3, "record": "r", "subtask": "s""#];
    let schema = build(overrides(&["score_:utf8"]), &lines).unwrap();
    let names: Vec<_> = schema.columns().iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["row__", "row_", "score_", "tokens_", "record_", "subtask"]);
    assert_eq!(schema.columns()[2].ty, ColumnType::Text);
}

#[test]
fn an_existing_dataset_keeps_its_columns() {
    let column = |key: &str, ty| Column { name: table_name(key), key: key.into(), ty };
    let existing = vec![column("x", ColumnType::Float), column("score", ColumnType::Int)];
    let builder = || SchemaBuilder::default().with_existing(existing.clone());
    let schema = build(builder(), &[r#""new": 1, "x": 1"#]).unwrap();
    let names: Vec<_> = schema.columns().iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["x", "score_", "new"]);
    let row = schema.row(1, &record(r#""new": 1, "x": 1"#)).unwrap();
    assert_eq!(row, [MetaValue::Float(1.0), MetaValue::Null, MetaValue::Int(1)]);
    let error = build(builder(), &[r#""x": "one""#]).unwrap_err().to_string();
    assert!(error.contains("is float in the dataset, but line 1 holds utf8"), "{error}");
}

#[test]
fn a_file_that_changes_between_the_passes_is_noticed() {
    let schema = build(SchemaBuilder::default(), &[r#""x": 1"#]).unwrap();
    let message = schema.row(4, &record(r#""y": 1"#)).unwrap_err().to_string();
    assert!(message.contains("line 4 has a column \"y\""), "{message}");
    assert!(schema.row(4, &record(r#""x": "t""#)).is_err());
}
