//! Promise: the same records give the same samples, whatever file they come in.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{DataType, Field, Fields, Schema};
use gstore_data::{Content, parse_record};
use gstore_ingest::pipeline::{AddRequest, IngestError, Silent, add};
use gstore_store::Store;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

const ROWS: usize = 200;

fn records() -> Vec<Value> {
    (0..ROWS)
        .map(|i| {
            let mut record = json!({
                "id": format!("row-{i:03}"),
                "messages": [
                    { "role": "user", "content": format!("What is {i} + \"1\"?\nSay it, gr\u{fc}ndlich.") },
                    { "role": "assistant", "content": (i + 1).to_string() },
                ],
                "source": (if i % 2 == 0 { "maths" } else { "chat" }),
                "level": (i as i64 - 3),
                "share": (i as f64 / 8.0),
                "ok": (i % 3 == 0),
                "zip": format!("{i:05}"),
                "tags": ["a", format!("t{}", i % 7)],
            });
            if i % 5 == 0 {
                record.as_object_mut().unwrap().shift_remove("level");
            }
            record
        })
        .collect()
}

fn jsonl(records: &[Value]) -> Vec<u8> {
    records.iter().flat_map(|record| format!("{record}\n").into_bytes()).collect()
}

fn batches(records: &[Value]) -> Vec<RecordBatch> {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let list = |item: DataType| DataType::List(Arc::new(Field::new("item", item, true)));
    let message = DataType::Struct(Fields::from(vec![text("role"), text("content")]));
    let schema = Schema::new(vec![
        text("id"),
        Field::new("messages", list(message), true),
        text("source"),
        Field::new("level", DataType::Int64, true),
        Field::new("share", DataType::Float64, true),
        Field::new("ok", DataType::Boolean, true),
        text("zip"),
        Field::new("tags", list(DataType::Utf8), true),
    ]);
    let bytes = jsonl(records);
    let reader =
        arrow_json::ReaderBuilder::new(Arc::new(schema)).with_batch_size(64).build(&bytes[..]).unwrap();
    reader.collect::<Result<_, _>>().unwrap()
}

fn csv(records: &[Value], delimiter: u8) -> Vec<u8> {
    let keys = ["id", "messages", "source", "level", "share", "ok", "zip", "tags"];
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    writer.write_record(keys).unwrap();
    for record in records {
        let field = |key: &&str| match &record[*key] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        writer.write_record(keys.iter().map(field)).unwrap();
    }
    writer.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A file of every format, each also packed.
fn files(folder: &Path, records: &[Value]) -> Vec<PathBuf> {
    let batches = batches(records);
    let schema = batches[0].schema();
    let mut stream = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    let mut file = FileWriter::try_new(Vec::new(), &schema).unwrap();
    let mut parquet = ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
    for batch in &batches {
        stream.write(batch).unwrap();
        file.write(batch).unwrap();
        parquet.write(batch).unwrap();
    }
    let formats = [
        ("jsonl", jsonl(records)),
        ("arrow", stream.into_inner().unwrap()),
        ("feather", file.into_inner().unwrap()),
        ("parquet", parquet.into_inner().unwrap()),
        ("csv", csv(records, b',')),
        ("tsv", csv(records, b'\t')),
    ];
    let mut paths = Vec::new();
    for (ending, bytes) in formats {
        let packed =
            [("", bytes.clone()), (".gz", gzip(&bytes)), (".zst", zstd::encode_all(&bytes[..], 1).unwrap())];
        for (more, bytes) in packed {
            let path = folder.join(format!("data.{ending}{more}"));
            fs_err::write(&path, bytes).unwrap();
            paths.push(path);
        }
    }
    paths
}

#[test]
fn a_column_that_is_null_is_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let columns = ["content", "text", "prompt", "completion"];
    let fields = columns.map(|name| Field::new(name, DataType::Utf8, true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let refusal = |lines: &str, fields: &[&str]| {
        let mut reader = arrow_json::ReaderBuilder::new(Arc::clone(&schema)).build(lines.as_bytes()).unwrap();
        let mut parquet = ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), None).unwrap();
        parquet.write(&reader.next().unwrap().unwrap()).unwrap();
        let path = folder.path().join("data.parquet");
        fs_err::write(&path, parquet.into_inner().unwrap()).unwrap();
        let store = folder.path().join("store");
        let store = Store::open_or_create(store).unwrap();
        add(&store, &request(&[path], fields), &mut Silent).unwrap_err().to_string()
    };
    let says = |error: &str, parts: &[&str]| {
        for part in parts {
            assert!(error.contains(part), "{part} is not in {error}");
        }
    };
    says(
        &refusal(r#"{"text": "a"}{"text": null}"#, &[]),
        &["data.parquet", "row 1", "column \"text\" is null"],
    );
    says(&refusal(r#"{"prompt": "a"}"#, &[]), &["row 0", "column \"completion\" is null"]);
    says(&refusal(r#"{"prompt": "a"}"#, &["text=content"]), &["row 0", "column \"content\" is null"]);
}

fn request(data: &[PathBuf], fields: &[&str]) -> AddRequest {
    AddRequest {
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        ..AddRequest::new("pool", data.to_vec())
    }
}

fn register(folder: &Path, data: &[PathBuf], fields: &[&str]) -> Result<Store, IngestError> {
    let store = Store::create(tempfile::tempdir_in(folder).unwrap().keep().join("store")).unwrap();
    add(&store, &request(data, fields), &mut Silent)?;
    Ok(store)
}

/// Contents, and the other columns as they are stored, by their names: their order is that of the header, and
/// in JSON that of the first values.
fn samples(store: &Store) -> (Vec<Content>, Vec<RecordBatch>) {
    let snapshot = store.snapshot().unwrap();
    let part = snapshot.dataset("pool").unwrap();
    let reader = snapshot.samples(part).unwrap();
    let mut columns: Vec<&str> = part.columns.iter().map(|column| column.name.as_str()).collect();
    columns.sort_unstable();
    let wanted = [&["row", "id"], &columns[..]].concat();
    let stored = reader.scan(&wanted, None).map(Result::unwrap).collect();
    let mut contents = Vec::new();
    for batch in reader.scan(&["record"], None) {
        let batch = batch.unwrap();
        let records = batch.column(0).as_binary::<i32>();
        contents.extend((0..records.len()).map(|i| parse_record(records.value(i)).unwrap().content));
    }
    (contents, stored)
}

#[test]
fn every_format_and_compression_gives_the_same_samples() {
    let dir = tempfile::tempdir().unwrap();
    let records = records();
    let files = files(dir.path(), &records);
    let want = samples(&register(dir.path(), &files[..1], &[]).unwrap());
    assert_eq!(want.0.len(), ROWS);
    assert_eq!(want.1[0].num_columns(), 8);
    for path in &files[1..] {
        let got = samples(&register(dir.path(), std::slice::from_ref(path), &[]).unwrap());
        assert_eq!(got.0, want.0, "{}", path.display());
        assert_eq!(got.1, want.1, "{}", path.display());
    }
}

#[test]
fn parts_in_several_formats_make_one_dataset() {
    let dir = tempfile::tempdir().unwrap();
    let records = records();
    let want = samples(&register(dir.path(), &files(dir.path(), &records)[..1], &[]).unwrap());
    let parts = dir.path().join("parts");
    for (i, ending) in ["csv.gz", "parquet", "arrow.zst", "jsonl"].iter().enumerate() {
        let folder = dir.path().join(format!("part-{i}"));
        fs_err::create_dir_all(&folder).unwrap();
        files(&folder, &records[i * 50..(i + 1) * 50]);
        fs_err::create_dir_all(&parts).unwrap();
        fs_err::copy(folder.join(format!("data.{ending}")), parts.join(format!("{i}.{ending}"))).unwrap();
    }
    let store = register(dir.path(), std::slice::from_ref(&parts), &[]).unwrap();
    assert_eq!(samples(&store), want);
    let snapshot = store.snapshot().unwrap();
    let sources = &snapshot.dataset("pool").unwrap().sources;
    assert_eq!(sources[0].source.as_deref(), Some("0.csv.gz and 3 more"));
}

#[test]
fn fields_of_other_names() {
    let dir = tempfile::tempdir().unwrap();
    let records = records();
    let want = samples(&register(dir.path(), &files(dir.path(), &records)[..1], &[]).unwrap());
    let renamed: Vec<Value> = records
        .iter()
        .map(|record| {
            let mut record = record.as_object().unwrap().clone();
            let turn = |m: &Value| {
                let from = if m["role"] == "user" { "human" } else { "gpt" };
                json!({ "from": from, "value": m["content"] })
            };
            let turns: Vec<Value> = record["messages"].as_array().unwrap().iter().map(turn).collect();
            record.insert("messages".to_owned(), json!(turns));
            let rename = |key: &str| match key {
                "id" => "uid".to_owned(),
                "messages" => "conversations".to_owned(),
                other => other.to_owned(),
            };
            Value::Object(record.into_iter().map(|(key, value)| (rename(&key), value)).collect())
        })
        .collect();
    let path = dir.path().join("share.jsonl");
    fs_err::write(&path, jsonl(&renamed)).unwrap();
    let fields = ["messages=conversations", "role=from", "content=value", "id=uid"];
    assert_eq!(samples(&register(dir.path(), std::slice::from_ref(&path), &fields).unwrap()), want);
    let error =
        register(dir.path(), std::slice::from_ref(&path), &["messages=talk"]).unwrap_err().to_string();
    assert!(error.contains("share.jsonl, line 1: no key \"talk\""), "{error}");
    let error = register(
        dir.path(),
        std::slice::from_ref(&path),
        &["messages=conversations", "role=from", "content=value", "subtask=topic"],
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("no record has a key \"topic\", which was named as the subtask"), "{error}");
}

#[test]
fn errors_name_the_file_of_each_part() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.jsonl"), dir.path().join("b.csv"));
    fs_err::write(&a, "{\"text\": \"t\", \"x\": 1}\n").unwrap();
    fs_err::write(&b, "text,x\nt,one\n").unwrap();
    let error = register(dir.path(), &[a.clone(), b], &[]).unwrap_err().to_string();
    let want = format!("b.csv: column \"x\" holds int in line 1 of {} and utf8 in line 2", a.display());
    assert!(error.contains(&want), "{error}");
    let c = dir.path().join("c.jsonl");
    fs_err::write(&c, "{\"text\": \"t\", \"id\": \"k\"}\n{\"text\": \"u\", \"id\": \"k\"}\n").unwrap();
    let error = register(dir.path(), &[c], &[]).unwrap_err().to_string();
    assert!(error.contains("c.jsonl, line 2"), "{error}");
}
