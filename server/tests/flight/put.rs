//! Uploads: what is sent is there as it was sent, once, all of it or nothing.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::builder::{ListBuilder, StringBuilder, StructBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type, Int32Type, UInt8Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, FixedSizeListArray, Float32Array, Float64Array, Int32Array, Int64Array,
    PrimitiveArray, RecordBatch, StringArray, UInt8Array, UInt64Array,
};
use arrow_flight::{FlightData, FlightDescriptor};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::IpcWriteOptions;
use arrow_schema::{DataType, Field, Fields};
use gstore_server::{RequestLimits, Scope, ServeOptions};
use gstore_store::Store;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::client::{Client, messages, text};
use crate::{Server, options, served, token_for};

/// A client that may write.
async fn writer(server: &Server, name: &str, datasets: Option<&[&str]>) -> Client {
    Client::with(server, &token_for(Scope::Write, &server.store, name, datasets)).await
}

/// A server, and a client that may write.
pub(crate) async fn writable(options: ServeOptions) -> (Server, Client) {
    let server = Server::start(options);
    let client = writer(&server, "writer", None).await;
    (server, client)
}

async fn put_as(
    client: &Client,
    what: &Value,
    batches: Vec<RecordBatch>,
    options: IpcWriteOptions,
) -> Result<Value, Status> {
    sent(client, encoded(what, batches, options).await).await
}

pub(crate) fn asked(what: &Value) -> FlightDescriptor {
    FlightDescriptor::new_cmd(what.to_string().into_bytes())
}

pub(crate) async fn encoded(
    what: &Value,
    batches: Vec<RecordBatch>,
    options: IpcWriteOptions,
) -> Vec<FlightData> {
    messages(asked(&json!({ "put": what })), batches, options).await
}

pub(crate) async fn sent(client: &Client, messages: Vec<FlightData>) -> Result<Value, Status> {
    let put = client.inner.clone().do_put(client.request(futures::stream::iter(messages))).await?;
    let result = put.into_inner().message().await?.expect("a result");
    Ok(serde_json::from_slice(&result.app_metadata).unwrap())
}

pub(crate) async fn put(client: &Client, what: Value, batches: Vec<RecordBatch>) -> Result<Value, Status> {
    put_as(client, &what, batches, IpcWriteOptions::default()).await
}

async fn refused(client: &Client, what: Value, batch: RecordBatch) -> Code {
    let error = put(client, what.clone(), vec![batch]).await.expect_err(&what.to_string());
    assert!(!error.message().contains('/'), "{}", error.message());
    error.code()
}

pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

pub(crate) fn texts(range: std::ops::Range<usize>) -> RecordBatch {
    let ids = StringArray::from_iter_values(range.clone().map(|i| format!("n{i}")));
    let texts = StringArray::from_iter_values(range.clone().map(|i| format!("text {i}")));
    let stars = Int64Array::from_iter_values(range.map(|i| i as i64));
    batch(vec![("id", Arc::new(ids)), ("text", Arc::new(texts)), ("stars", Arc::new(stars))])
}

fn list<T: arrow_array::ArrowPrimitiveType>(values: Vec<T::Native>, dim: i32) -> ArrayRef {
    let item = Arc::new(Field::new("item", T::DATA_TYPE, false));
    let values = PrimitiveArray::<T>::new(values.into(), None);
    Arc::new(FixedSizeListArray::try_new(item, dim, Arc::new(values), None).unwrap())
}

pub(crate) fn vectors(rows: &[u64], dim: i32) -> RecordBatch {
    let values = rows.iter().flat_map(|row| (0..dim).map(move |j| *row as f32 + j as f32 / 8.0)).collect();
    batch(vec![
        ("row", Arc::new(UInt64Array::from(rows.to_vec()))),
        ("vector", list::<Float32Type>(values, dim)),
    ])
}

pub(crate) async fn value(client: &Client, sql: &str) -> String {
    let (_, rows) = client.sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    arrow_cast::display::array_value_to_string(rows[0].column(0), 0).unwrap()
}

async fn rows(client: &Client, sql: &str) -> Vec<u64> {
    let (_, rows) = client.sql(sql).await.unwrap();
    rows.iter().flat_map(|b| b.column(0).as_primitive::<UInt64Type>().values().to_vec()).collect()
}

/// What uploads leave in the store in addition to what they publish.
pub(crate) fn leftovers(store: &Store) -> Vec<String> {
    let names = |folder: &str| -> Vec<String> {
        let Ok(entries) = fs_err::read_dir(store.path().join(folder)) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    let mut all = names("tmp");
    all.extend(names("server/uploads"));
    all.retain(|name| {
        ["job-", "append-"].iter().any(|start| name.starts_with(start)) || name.ends_with(".arrow")
    });
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_become_a_dataset_once_for_each_key() {
    let (server, client) = writable(options()).await;
    let what = json!({"samples": {"dataset": "fresh"}, "key": "first"});
    let told = put(&client, what.clone(), vec![texts(0..3), texts(3..10)]).await.unwrap();
    assert_eq!((&told["added"], &told["repeated"]), (&json!(10), &json!(false)), "{told}");
    assert_eq!(
        value(&client, "SELECT count(*) FROM fresh WHERE stars = row AND id = 'n' || row").await,
        "10"
    );
    // The same once more, cut otherwise: nothing happens, and the client hears what it heard before.
    let before = server.store.snapshot().unwrap().number();
    let again = put(&client, what.clone(), vec![texts(0..10)]).await.unwrap();
    assert_eq!((&again["added"], &again["repeated"]), (&json!(10), &json!(true)), "{again}");
    let fields = |told: &serde_json::Value| -> Vec<String> {
        let mut names: Vec<String> = told.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(fields(&again), fields(&told));
    assert_eq!(again["snapshot"], told["snapshot"]);
    assert_eq!(refused(&client, what, texts(0..9)).await, Code::AlreadyExists);
    assert_eq!(server.store.snapshot().unwrap().number(), before);
    // Without a key, what is there is left as it is; with another, a version of the dataset is made.
    let without = put(&client, json!({"samples": {"dataset": "fresh"}}), vec![texts(0..10)]).await.unwrap();
    assert_eq!((&without["added"], &without["unchanged"]), (&json!(0), &json!(10)), "{without}");
    let more = json!({"samples": {"dataset": "fresh"}, "key": "second"});
    let told = put(&client, more, vec![texts(8..12)]).await.unwrap();
    assert_eq!((&told["added"], &told["unchanged"]), (&json!(2), &json!(2)), "{told}");
    // One that adds nothing is known by its key all the same.
    let nothing = json!({"samples": {"dataset": "fresh"}, "key": "third"});
    put(&client, nothing.clone(), vec![texts(0..2)]).await.unwrap();
    let again = put(&client, nothing.clone(), vec![texts(0..2)]).await.unwrap();
    assert_eq!(again["repeated"], json!(true), "{again}");
    assert_eq!(refused(&client, nothing, texts(20..21)).await, Code::AlreadyExists);
    assert_eq!(value(&client, "SELECT count(*) FROM fresh").await, "12");
    assert_eq!(leftovers(&server.store), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_come_in_all_forms_of_data_files() {
    let (_server, client) = writable(options()).await;
    let column = |texts: &[&str]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
    let pairs = batch(vec![("prompt", column(&["1+1", "2+2"])), ("completion", column(&["2", "4"]))]);
    let told = put(&client, json!({"samples": {"dataset": "pairs"}}), vec![pairs]).await.unwrap();
    assert_eq!(told["added"], json!(2), "{told}");
    let fields = Fields::from(vec![
        Field::new("role", DataType::Utf8, true),
        Field::new("content", DataType::Utf8, true),
    ]);
    let mut chats = ListBuilder::new(StructBuilder::from_fields(fields, 4));
    for (role, content) in [("user", "hello"), ("assistant", "hi")] {
        let message = chats.values();
        for (i, text) in [role, content].into_iter().enumerate() {
            message.field_builder::<StringBuilder>(i).unwrap().append_value(text);
        }
        message.append(true);
    }
    chats.append(true);
    let chat = batch(vec![("messages", Arc::new(chats.finish()) as ArrayRef)]);
    let told = put(&client, json!({"samples": {"dataset": "chats"}}), vec![chat]).await.unwrap();
    assert_eq!(told["added"], json!(1), "{told}");
    let renamed = batch(vec![("body", column(&["a text"])), ("tag", column(&["7"]))]);
    let what =
        json!({"samples": {"dataset": "renamed", "fields": {"text": "body"}, "columns": {"tag": "utf8"}}});
    put(&client, what, vec![renamed]).await.unwrap();
    assert_eq!(value(&client, "SELECT tag FROM renamed").await, "7");
    let hashes = || {
        let big = UInt64Array::from(vec![1, u64::MAX]);
        vec![batch(vec![("text", column(&["a", "b"])), ("big", Arc::new(big))])]
    };
    let error = put(&client, json!({"samples": {"dataset": "hashes"}}), hashes()).await.unwrap_err();
    let way = error.message().split("for example ").nth(1).unwrap_or_else(|| panic!("{error}"));
    let mut form: Value = serde_json::from_str(&format!("{{{way}}}")).unwrap();
    form["dataset"] = json!("hashes");
    put(&client, json!({ "samples": form }), hashes()).await.unwrap();
    // A changed sample is refused unless something else is asked for.
    let changed = || batch(vec![("id", column(&["b0"])), ("text", column(&["new"]))]);
    assert_eq!(
        refused(&client, json!({"samples": {"dataset": "bare"}}), changed()).await,
        Code::AlreadyExists
    );
    let keep = json!({"samples": {"dataset": "bare", "if_changed": "keep"}});
    assert_eq!(put(&client, keep, vec![changed()]).await.unwrap()["kept"], json!(1));
    let replace = json!({"samples": {"dataset": "bare", "if_changed": "replace"}});
    assert_eq!(put(&client, replace, vec![changed()]).await.unwrap()["replaced"], json!(1));
    // What a message proposes is an option of the upload.
    let twice = || vec![batch(vec![("id", column(&["a", "a"])), ("text", column(&["one", "two"]))])];
    let error = put(&client, json!({"samples": {"dataset": "twice"}}), twice()).await.unwrap_err();
    assert!(error.message().contains(r#"("duplicates":"first" keeps the first of each)"#), "{error}");
    let first = json!({"samples": {"dataset": "twice", "duplicates": "first"}});
    let told = put(&client, first, twice()).await.unwrap();
    assert_eq!((&told["added"], &told["duplicates"]), (&json!(1), &json!(1)), "{told}");
    assert_eq!(value(&client, "SELECT text FROM twice").await, "one");
    let gap: ArrayRef = Arc::new(StringArray::from(vec![Some("one"), None]));
    let gap = || vec![batch(vec![("id", column(&["a", "b"])), ("text", Arc::clone(&gap))])];
    let error = put(&client, json!({"samples": {"dataset": "gap"}}), gap()).await.unwrap_err();
    assert!(error.message().ends_with("leave the row out\n  \"skip_bad\":1 leaves it out"), "{error}");
    let skip = json!({"samples": {"dataset": "gap", "skip_bad": 1}});
    assert_eq!(put(&client, skip, gap()).await.unwrap()["added"], json!(1));
    for (what, code) in [
        (json!({"samples": {"dataset": "No Name"}}), Code::InvalidArgument),
        (json!({"samples": {"dataset": "x", "fields": {"text": "nothing"}}}), Code::InvalidArgument),
        (json!({"samples": {"dataset": "x", "fields": {"text": 1}}}), Code::InvalidArgument),
    ] {
        assert_eq!(refused(&client, what, texts(0..2)).await, code);
    }
    let numbers = batch(vec![("text", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    assert_eq!(refused(&client, json!({"samples": {"dataset": "x"}}), numbers).await, Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_become_a_feature_bit_for_bit() {
    let (server, client) = writable(options()).await;
    let what = |key: &str| json!({"vectors": {"dataset": "pool", "kind": "embed-mine"}, "key": key});
    let told = put(&client, what("a"), vec![vectors(&[0, 1, 2], 3), vectors(&[5, 4, 3], 3)]).await.unwrap();
    assert_eq!((&told["rows"], &told["feature"]), (&json!(6), &json!("embed-mine")), "{told}");
    assert!(told["space"].as_str().unwrap().starts_with("external:"), "{told}");
    let state = "SELECT state FROM gstore.features WHERE label = 'embed-mine'";
    assert_eq!(value(&client, state).await, "building");
    let again = put(&client, what("a"), vec![vectors(&[0, 1, 2, 5, 4, 3], 3)]).await.unwrap();
    assert_eq!((&again["repeated"], &again["snapshot"]), (&json!(true), &told["snapshot"]), "{again}");
    assert_eq!(refused(&client, what("a"), vectors(&[0, 1, 2], 3)).await, Code::AlreadyExists);
    // The rest by their ids as a dictionary, in any order, out of two bytes each.
    let live = rows(&client, "SELECT row FROM pool WHERE row > 5 ORDER BY row DESC").await;
    let names = live.iter().map(|row| format!("p{row}")).collect::<Vec<String>>();
    let names = names.iter().map(String::as_str).collect::<DictionaryArray<Int32Type>>();
    let ids: ArrayRef = Arc::new(names);
    let half =
        live.iter().flat_map(|row| (0..3).map(move |j| half::f16::from_f32(*row as f32 + j as f32 / 8.0)));
    let rest = batch(vec![("id", ids), ("vector", list::<Float16Type>(half.collect(), 3))]);
    put(&client, what("b"), vec![rest]).await.unwrap();
    assert_eq!(value(&client, state).await, "complete");
    let sql =
        "SELECT count(*) FROM vectors('pool', 'embed-mine') WHERE vector[1] = row AND vector[3] = row + 0.25";
    assert_eq!(value(&client, sql).await, (6 + live.len()).to_string());
    for (batch, code) in [
        (vectors(&[0], 3), Code::AlreadyExists),
        (vectors(&[0], 4), Code::InvalidArgument),
        (vectors(&[77], 3), Code::NotFound),
    ] {
        assert_eq!(refused(&client, what("c"), batch).await, code);
    }
    let other = json!({"vectors": {"dataset": "pool", "kind": "embed-other"}});
    assert_eq!(refused(&client, other.clone(), vectors(&[1, 1], 2)).await, Code::InvalidArgument);
    let ids = |ids: &[&str]| -> ArrayRef { Arc::new(StringArray::from(ids.to_vec())) };
    let named = |names: &[&str]| {
        let values = vec![0.5; names.len()];
        batch(vec![("id", ids(names)), ("vector", list::<Float32Type>(values, 1))])
    };
    assert_eq!(refused(&client, other.clone(), named(&["p1", "nobody"])).await, Code::NotFound);
    // A null may be among the values of a dictionary, too.
    let keys = Int32Array::from(vec![0, 1]);
    let values = Arc::new(StringArray::from(vec![Some("p1"), None]));
    let gap: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(keys, values));
    let gap = batch(vec![("id", gap), ("vector", list::<Float32Type>(vec![0.5; 2], 1))]);
    let error = put(&client, other.clone(), vec![gap]).await.unwrap_err();
    assert!(error.message().contains("column `id` has nulls"), "{}", error.message());
    let wide = batch(vec![("id", ids(&["p1"])), ("vector", list::<Float64Type>(vec![0.5], 1))]);
    let error = put(&client, other.clone(), vec![wide]).await.unwrap_err();
    assert!(error.message().contains("not Float64; cast them before they are sent"), "{}", error.message());
    assert_eq!(refused(&client, other.clone(), named(&["p1", "p1"])).await, Code::InvalidArgument);
    let row: ArrayRef = Arc::new(UInt64Array::from(vec![0]));
    let flags: ArrayRef = Arc::new(UInt8Array::from(vec![0]));
    let columns = [("row", row), ("vector", list::<Float32Type>(vec![0.5], 1)), ("flags", flags)];
    for twice in &columns {
        let sent = batch(columns.iter().chain([twice]).cloned().collect());
        let error = put(&client, other.clone(), vec![sent]).await.unwrap_err();
        let why = format!("two columns are called {:?}", twice.0);
        assert!(error.code() == Code::InvalidArgument && error.message().contains(&why), "{error}");
    }
    // A key is free again once its vectors were dropped.
    let snapshot = server.store.snapshot().unwrap();
    server.store.drop_feature(snapshot.feature("pool/embed-mine").unwrap(), "drop").unwrap();
    let again = put(&client, what("a"), vec![vectors(&[0, 1, 2, 5, 4, 3], 3)]).await.unwrap();
    assert_eq!((&again["rows"], &again["repeated"]), (&json!(6), &json!(false)), "{again}");
    assert_eq!(leftovers(&server.store), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_that_are_not_finite_are_flagged_and_scored_by_nothing() {
    let (_server, client) = writable(options()).await;
    // The length of the last is beyond the largest f32.
    let values = vec![1.0, 0.0, f32::NAN, 1.0, f32::INFINITY, 0.0, 3e38, 3e38];
    let rows: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 2, 3]));
    let sent = batch(vec![("row", rows), ("vector", list::<Float32Type>(values, 2))]);
    let told = put(&client, json!({"vectors": {"dataset": "target", "kind": "embed-nan"}}), vec![sent]).await;
    assert_eq!(told.unwrap()["not_finite"], json!(3));
    let wanted = FlightDescriptor::new_path(vec!["vectors".into(), "target".into(), "embed-nan".into()]);
    let (_, rows) = client.rows(wanted).await.unwrap();
    let flags = rows[0].column_by_name("flags").unwrap().as_primitive::<UInt8Type>().values().to_vec();
    assert_eq!(flags, [0, 2, 2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_stored_as_signs_where_that_is_asked_for() {
    let (_server, client) = writable(options()).await;
    let rows: ArrayRef = Arc::new(Int64Array::from(vec![0, 1]));
    let sent = batch(vec![("row", rows), ("vector", list::<Float32Type>(vec![1.0, -3.0, 0.0, 0.0], 2))]);
    let what = json!({"vectors": {"dataset": "target", "kind": "embed-signs", "dtype": "i1"}});
    put(&client, what, vec![sent]).await.unwrap();
    let wanted = FlightDescriptor::new_path(vec!["vectors".into(), "target".into(), "embed-signs".into()]);
    let (_, rows) = client.rows(wanted).await.unwrap();
    let items = |name: &str| Arc::clone(rows[0].column_by_name(name).unwrap().as_fixed_size_list().values());
    let words = items("vector");
    assert_eq!(words.as_primitive::<UInt64Type>().values().to_vec(), [2, 0]);
    // Flipped, added and subtracted, scaled, three times: 2 sqrt(2) and -sqrt(2).
    let scales = items("scale").as_primitive::<Float32Type>().values().to_vec();
    assert!((scales[0] - 1.5 * 2f32.sqrt()).abs() < 1e-5 && scales[1] == 0.0, "{scales:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gradients_of_one_space_and_checkpoint_are_compared() {
    let (_server, client) = writable(options()).await;
    let of = |dataset: &str, space: Option<&Value>| json!({"vectors": {"dataset": dataset, "kind": "grad-mine", "run": "theirs", "checkpoint": "last", "weight": 1.0, "space": space}});
    let all = rows(&client, "SELECT row FROM pool ORDER BY row").await;
    let told = put(&client, of("pool", None), vec![vectors(&all, 4)]).await.unwrap();
    assert_eq!(told["feature"], json!("grad-mine@last"), "{told}");
    put(&client, of("target", Some(&told["space"])), vec![vectors(&[0, 1, 2, 3], 4)]).await.unwrap();
    let sql = "SELECT count(*) FROM influence('pool', 'target', run => 'theirs', kind => 'grad-mine', target_kind => 'grad-mine')";
    assert_eq!(value(&client, sql).await, all.len().to_string());
    // Each in a space of its own.
    let apart = |dataset: &str| json!({"vectors": {"dataset": dataset, "kind": "embed-z"}});
    let of_pool = put(&client, apart("pool"), vec![vectors(&all, 4)]).await.unwrap();
    let of_target = put(&client, apart("target"), vec![vectors(&[0, 1, 2, 3], 4)]).await.unwrap();
    let why = client.sql("SELECT count(*) FROM influence('pool', 'target', kind => 'embed-z')").await;
    let why = why.unwrap_err().message().to_owned();
    let spaces = [of_pool, of_target].map(|told| told["space"].as_str().unwrap().to_owned());
    assert!(spaces.iter().all(|space| why.contains(space)) && !why.contains("ingest"), "{why}");
    let wrong = json!({"vectors": {"dataset": "pool", "kind": "grad-x", "space": "external:x"}});
    assert_eq!(refused(&client, wrong, vectors(&[1], 2)).await, Code::InvalidArgument);
    let half = json!({"vectors": {"dataset": "pool", "kind": "grad-x", "run": "theirs"}});
    assert_eq!(refused(&client, half, vectors(&[1], 2)).await, Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn step_and_weight_of_a_checkpoint_are_given_once() {
    let (server, client) = writable(options()).await;
    let with = |kind: &str, step: Value, weight: Value| json!({"vectors": {"dataset": "pool", "kind": kind, "run": "theirs", "checkpoint": "c9", "step": step, "weight": weight}});
    let stored = || {
        let snapshot = server.store.snapshot().unwrap();
        let checkpoint = snapshot.run("theirs").unwrap().checkpoint("c9").unwrap();
        (checkpoint.step, checkpoint.weight)
    };
    put(&client, with("embed-a", Value::Null, Value::Null), vec![vectors(&[0], 2)]).await.unwrap();
    assert_eq!(stored(), (None, None));
    let narrow = writer(&server, "narrow", Some(&["pool"])).await;
    let five = || with("embed-b", json!(5), Value::Null);
    assert_eq!(refused(&narrow, five(), vectors(&[0], 2)).await, Code::PermissionDenied, "runs are of all");
    // What is missing is filled in, by a new feature and by one that is there.
    put(&client, five(), vec![vectors(&[0], 2)]).await.unwrap();
    assert_eq!(stored(), (Some(5), None));
    put(&client, with("embed-a", json!(5), json!(0.5)), vec![vectors(&[1], 2)]).await.unwrap();
    assert_eq!(stored(), (Some(5), Some(0.5)));
    put(&narrow, with("embed-a", json!(5), json!(0.5)), vec![vectors(&[2], 2)]).await.unwrap();
    for (kind, step, weight, both) in [
        ("embed-a", json!(9), Value::Null, ["`step` is 9", "is 5"]),
        ("embed-c", Value::Null, json!(0.9), ["`weight` is 0.9", "is 0.5"]),
    ] {
        let error = put(&client, with(kind, step, weight), vec![vectors(&[3], 2)]).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(both.iter().all(|value| error.message().contains(value)), "{error}");
    }
    assert_eq!(stored(), (Some(5), Some(0.5)));
    let alone = json!({"vectors": {"dataset": "pool", "kind": "embed-d", "step": 3}});
    assert_eq!(refused(&client, alone, vectors(&[0], 2)).await, Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn losses_from_elsewhere_are_losses_of_the_store() {
    let (_server, client) = writable(options()).await;
    let rows: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 2, 3]));
    let losses: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5, 0.25]));
    let sent = batch(vec![("row", rows), ("loss", losses)]);
    let what = json!({"losses": {"dataset": "target", "run": "theirs", "checkpoint": "c9"}, "key": "l"});
    let told = put(&client, what.clone(), vec![sent.clone()]).await.unwrap();
    assert_eq!((&told["feature"], &told["rows"]), (&json!("loss@c9"), &json!(4)), "{told}");
    assert_eq!(put(&client, what, vec![sent]).await.unwrap()["repeated"], json!(true));
    let sql = "SELECT sum(vector[1]) FROM vectors('target', 'loss@c9')";
    assert_eq!(value(&client, sql).await, "4.75");
    assert_eq!(value(&client, "SELECT kind FROM gstore.features WHERE label = 'loss@c9'").await, "loss");
    // A checkpoint of the same name in another run is another one, and its losses are no part of these.
    let sent = |row: i64| {
        let rows: ArrayRef = Arc::new(Int64Array::from(vec![row]));
        batch(vec![("row", rows), ("loss", Arc::new(Float64Array::from(vec![1.0])))])
    };
    let of = |run: &str| json!({"losses": {"dataset": "pool", "run": run, "checkpoint": "c9"}});
    put(&client, of("theirs"), vec![sent(0)]).await.unwrap();
    assert_eq!(refused(&client, of("ours"), sent(1)).await, Code::InvalidArgument);
    put(&client, of("theirs"), vec![sent(1)]).await.unwrap();
    let own = json!({"losses": {"dataset": "pool", "run": "ours", "checkpoint": "c9", "feature": "ours"}});
    put(&client, own, vec![sent(1)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_may_write_add_something_and_only_what_can_be() {
    let limits = RequestLimits { put_rows: 50, message_bytes: 1 << 20, ..RequestLimits::default() };
    let (server, reader) = served(ServeOptions { limits, ..options() }).await;
    let before = server.store.snapshot().unwrap().number();
    let what = json!({"samples": {"dataset": "fresh"}});
    assert_eq!(refused(&reader, what.clone(), texts(0..2)).await, Code::PermissionDenied);
    let narrow = writer(&server, "narrow", Some(&["pool", "mine"])).await;
    assert_eq!(refused(&narrow, what.clone(), texts(0..2)).await, Code::PermissionDenied);
    let there = json!({"vectors": {"dataset": "target", "kind": "embed-x"}});
    assert_eq!(refused(&narrow, there, vectors(&[0], 2)).await, Code::PermissionDenied);
    let run = |weight: f64| json!({"vectors": {"dataset": "pool", "kind": "embed-x", "run": "fresh", "checkpoint": "c", "weight": weight}});
    assert_eq!(refused(&narrow, run(1.0), vectors(&[0], 2)).await, Code::PermissionDenied, "runs are of all");
    let client = writer(&server, "writer", None).await;
    let nowhere = json!({"vectors": {"dataset": "nowhere", "kind": "embed-x"}});
    assert_eq!(refused(&client, nowhere, vectors(&[0], 2)).await, Code::NotFound);
    assert_eq!(refused(&client, run(-1.0), vectors(&[0], 2)).await, Code::InvalidArgument);
    let vector = json!({"vectors": {"dataset": "pool", "kind": "embed-x"}});
    let floats: ArrayRef = Arc::new(Float32Array::from(vec![1.0]));
    let row: ArrayRef = Arc::new(Int64Array::from(vec![0]));
    let minus: ArrayRef = Arc::new(Int64Array::from(vec![-1]));
    let null: ArrayRef = Arc::new(Int64Array::from(vec![None]));
    let one = || list::<Float32Type>(vec![1.0], 1);
    for malformed in [
        batch(vec![("row", Arc::clone(&row))]),
        batch(vec![("vector", one())]),
        batch(vec![("row", Arc::clone(&row)), ("vector", Arc::clone(&floats))]),
        batch(vec![("row", floats), ("vector", one())]),
        batch(vec![("row", Arc::clone(&minus)), ("vector", one())]),
        batch(vec![("row", null), ("vector", one())]),
        batch(vec![("row", Arc::clone(&row)), ("vector", one()), ("what", Arc::clone(&row))]),
    ] {
        assert_eq!(refused(&client, vector.clone(), malformed).await, Code::InvalidArgument);
    }
    let minus = vec![batch(vec![("row", minus), ("vector", one())])];
    let error = put(&client, vector.clone(), minus).await.unwrap_err();
    assert!(error.message().contains("rows count from 0"), "{error}");
    let loss = json!({"vectors": {"dataset": "pool", "kind": "loss"}});
    assert_eq!(refused(&client, loss, vectors(&[0], 2)).await, Code::InvalidArgument);
    let long = format!("grad-{}", "x".repeat(60));
    for (kind, why) in [
        ("mine", "begins with embed or grad"),
        ("embed.mine", "letters a to z"),
        ("Grad-mine", "letters a to z"),
        (long.as_str(), "up to 64 of"),
    ] {
        let strange = json!({"vectors": {"dataset": "pool", "kind": kind}});
        let error = put(&client, strange, vec![vectors(&[0], 2)]).await.unwrap_err();
        assert!(error.code() == Code::InvalidArgument && error.message().contains(why), "{kind}: {error}");
    }
    assert_eq!(refused(&client, what.clone(), texts(0..51)).await, Code::ResourceExhausted);
    let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(2 << 20)]));
    let error = put(&client, what.clone(), vec![batch(vec![("text", long)])]).await.unwrap_err();
    assert!(error.message().contains("more than 1048576 bytes"), "{error}");
    let recorded = "SELECT outcome || ': ' || message FROM gstore.statements WHERE kind = 'put' \
                    ORDER BY id DESC LIMIT 1";
    assert_eq!(value(&client, recorded).await, format!("resource_exhausted: {}", error.message()));
    let packed = IpcWriteOptions::default().try_with_compression(Some(CompressionType::ZSTD));
    if let Ok(packed) = packed {
        let repeated: ArrayRef = Arc::new(StringArray::from(vec!["text text text text".repeat(100)]));
        let sent = put_as(&client, &what, vec![batch(vec![("text", repeated)])], packed).await;
        assert_eq!(sent.unwrap_err().code(), Code::InvalidArgument);
    }
    let empty = put(&client, what, vec![texts(0..0)]).await;
    assert_eq!(empty.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(server.store.snapshot().unwrap().number(), before);
    assert_eq!(leftovers(&server.store), Vec::<String>::new());
    let own = json!({"samples": {"dataset": "mine"}});
    assert_eq!(put(&narrow, own.clone(), vec![texts(0..2)]).await.unwrap()["added"], json!(2));
    let (_server, anybody) = served(ServeOptions { without_tokens: true, ..options() }).await;
    let error = put(&anybody, own, vec![texts(0..2)]).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert!(error.message().contains("a server without tokens is read-only"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matrix_has_the_scores_of_single_questions() {
    let (_server, client) = served(options()).await;
    let ask = |target: &str| asked(&json!({"matrix": {"pool": "pool", "target": target}}));
    let (schema, rows) = client.rows(ask("target:b")).await.unwrap();
    let targets: Value = serde_json::from_str(&schema.metadata()["gstore.targets"]).unwrap();
    assert_eq!(
        (targets.as_array().unwrap().len(), &targets[0]["dataset"]),
        (1, &json!("target")),
        "{targets}"
    );
    let (_, wanted) =
        client.sql("SELECT row, score FROM influence('pool', 'target:b') ORDER BY row").await.unwrap();
    let scores = |batch: &RecordBatch, name: &str| -> Vec<u32> {
        let column = batch.column_by_name(name).unwrap();
        let values = match column.data_type() {
            DataType::FixedSizeList(..) => Arc::clone(column.as_fixed_size_list().values()),
            _ => Arc::clone(column),
        };
        values.as_primitive::<Float32Type>().values().iter().map(|v| v.to_bits()).collect()
    };
    let found: Vec<u32> = rows.iter().flat_map(|b| scores(b, "scores")).collect();
    let single: Vec<u32> = wanted.iter().flat_map(|b| scores(b, "score")).collect();
    assert!(!found.is_empty());
    assert_eq!(found, single, "{}\n{}", text(&rows), text(&wanted));
    let (_, all) = client.rows(ask("target")).await.unwrap();
    assert_eq!(all[0].column_by_name("scores").unwrap().as_fixed_size_list().value_length(), 4);
    let status = client.rows(ask("nothing")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_made_and_removed_by_those_who_may_write_all() {
    let (server, client) = writable(options()).await;
    let act = async |client: &Client, kind: &str, body: Value| -> Result<Value, Code> {
        let results = client.action(kind, body.to_string().into_bytes()).await.map_err(|e| e.code())?;
        Ok(serde_json::from_slice(&results[0]).unwrap())
    };
    let number = server.store.snapshot().unwrap().number();
    let made = act(&client, "create_tag", json!({"name": "before"})).await.unwrap();
    assert_eq!(made, json!({"name": "before", "snapshot": number}));
    let again = act(&client, "create_tag", json!({"name": "again"})).await.unwrap();
    assert_eq!(again["snapshot"], json!(number), "a tag is no change");
    act(&client, "delete_tag", json!({"name": "again"})).await.unwrap();
    let listed = act(&client, "tags", json!({})).await.unwrap();
    assert_eq!(listed[0]["name"], json!("before"));
    let earlier = json!({"name": "before", "snapshot": number - 1});
    assert_eq!(act(&client, "create_tag", earlier).await, Err(Code::AlreadyExists));
    let moved = json!({"name": "before", "snapshot": number - 1, "move": true});
    assert_eq!(act(&client, "create_tag", moved).await.unwrap()["snapshot"], json!(number - 1));
    for (kind, body, code) in [
        ("create_tag", json!({"name": "a b"}), Code::InvalidArgument),
        ("create_tag", json!({"name": "list"}), Code::InvalidArgument),
        ("create_tag", json!({"name": "x", "snapshot": 999_999}), Code::NotFound),
        ("delete_tag", json!({"name": "nothing"}), Code::NotFound),
        ("delete_tag", json!({"what": 1}), Code::InvalidArgument),
    ] {
        assert_eq!(act(&client, kind, body.clone()).await, Err(code), "{body}");
    }
    let reader = Client::of(&server).await;
    let narrow = writer(&server, "narrow", Some(&["pool"])).await;
    for other in [&reader, &narrow] {
        let denied = act(other, "delete_tag", json!({"name": "before"})).await;
        assert_eq!(denied, Err(Code::PermissionDenied));
    }
    act(&client, "delete_tag", json!({"name": "before"})).await.unwrap();
    assert_eq!(act(&client, "tags", json!({})).await.unwrap(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_first_uploads_of_a_label_make_one_feature() {
    let (server, client) = writable(options()).await;
    let what = |key: &str| json!({"vectors": {"dataset": "pool", "kind": "embed-both"}, "key": key});
    let (send, open) = futures::channel::mpsc::unbounded();
    for message in encoded(&what("a"), vec![vectors(&[0, 1], 2)], IpcWriteOptions::default()).await {
        send.unbounded_send(message).unwrap();
    }
    let (mut inner, request) = (client.inner.clone(), client.request(open));
    let first = tokio::spawn(async move { inner.do_put(request).await?.into_inner().message().await });
    while leftovers(&server.store).is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    put(&client, what("b"), vec![vectors(&[2, 3], 2)]).await.unwrap();
    drop(send);
    let refused = first.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "{refused}");
    // The same once more finds the feature.
    let told = put(&client, what("a"), vec![vectors(&[0, 1], 2)]).await.unwrap();
    assert_eq!((&told["rows"], &told["repeated"]), (&json!(2), &json!(false)), "{told}");
    let label = "SELECT count(*) FROM gstore.features WHERE label = 'embed-both'";
    assert_eq!(value(&client, label).await, "1");
    assert_eq!(value(&client, "SELECT count(*) FROM vectors('pool', 'embed-both')").await, "4");
    assert_eq!(leftovers(&server.store), Vec::<String>::new());
}
