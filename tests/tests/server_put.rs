//! Promise: an upload is stored completely and once, whatever happens to the server: killed half-way, or with
//! a full disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::served::Served;
use arrow_array::builder::{FixedSizeListBuilder, Float32Builder};
use arrow_array::{Array, RecordBatch, StringArray, UInt64Array};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use futures::{StreamExt, TryStreamExt};
use gstore_tests::disk::SmallDisk;
use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

/// Rows of an upload.
const ROWS: u64 = 4000;
/// Rows of a batch.
const BATCH: u64 = 100;

/// An upload, all of whose messages are at hand.
struct Upload {
    messages: Vec<FlightData>,
}

impl Upload {
    fn new(runtime: &Runtime, what: &Value, batches: Vec<RecordBatch>) -> Self {
        let mut what = what.clone();
        what["rows"] = json!(batches.iter().map(RecordBatch::num_rows).sum::<usize>());
        let command = json!({ "put": what }).to_string().into_bytes();
        let encoder = FlightDataEncoderBuilder::new()
            .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command)))
            .build(futures::stream::iter(batches.into_iter().map(Ok)));
        Self { messages: runtime.block_on(encoder.try_collect()).expect("encoded") }
    }

    fn samples(runtime: &Runtime, key: &str) -> Self {
        let batches = (0..ROWS / BATCH).map(|i| {
            let of = |word: &str| {
                StringArray::from_iter_values((i * BATCH..(i + 1) * BATCH).map(|row| format!("{word}{row}")))
            };
            let columns: Vec<(&str, Arc<dyn Array>)> =
                vec![("id", Arc::new(of("u"))), ("text", Arc::new(of("a text of this number: ")))];
            RecordBatch::try_from_iter(columns).expect("a batch")
        });
        let what = json!({"samples": {"dataset": "sent"}, "key": key});
        Self::new(runtime, &what, batches.collect())
    }

    fn vectors(runtime: &Runtime, key: &str, rows: u64) -> Self {
        let batches = (0..rows / BATCH).map(|i| {
            let rows: Vec<u64> = (i * BATCH..(i + 1) * BATCH).collect();
            let mut list = FixedSizeListBuilder::new(Float32Builder::new(), 64);
            for row in &rows {
                list.values().append_slice(&[*row as f32; 64]);
                list.append(true);
            }
            let columns: Vec<(&str, Arc<dyn Array>)> =
                vec![("row", Arc::new(UInt64Array::from(rows))), ("vector", Arc::new(list.finish()))];
            RecordBatch::try_from_iter(columns).expect("a batch")
        });
        let what = json!({"vectors": {"dataset": "pool", "kind": "embed-sent"}, "key": key});
        Self::new(runtime, &what, batches.collect())
    }

    /// Sends the first `count` messages and then nothing, or all of it and the end.
    async fn send(&self, server: &str, token: &str, count: Option<usize>) -> Result<Value, Status> {
        let address = server.replace("grpc://", "http://");
        let refused = |error: tonic::transport::Error| Status::unavailable(error.to_string());
        let channel = Endpoint::from_shared(address).map_err(refused)?.connect().await.map_err(refused)?;
        let mut client = FlightServiceClient::new(channel);
        let messages = self.messages.iter().take(count.unwrap_or(usize::MAX)).cloned().collect::<Vec<_>>();
        let stream = match count {
            Some(_) => futures::stream::iter(messages).chain(futures::stream::pending()).boxed(),
            None => futures::stream::iter(messages).boxed(),
        };
        let mut request = Request::new(stream);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
        let result = client.do_put(request).await?.into_inner().message().await?;
        let result = result.ok_or_else(|| Status::internal("no result"))?;
        serde_json::from_slice(&result.app_metadata).map_err(|e| Status::internal(e.to_string()))
    }
}

/// A store with a pool that vectors can be of, and a token that writes.
fn place(rows: usize) -> (Place, String) {
    let place = Place::new();
    let store = gstore_store::Store::create(place.path("store")).expect("created");
    let data = place.path("data.jsonl");
    world::write_samples(&data, rows);
    world::register(&store, "pool", &data).expect("registered");
    let token = place.ok(&["token", "create", "writer", "--scope", "write"]).trim().to_owned();
    (place, token)
}

fn newest(place: &Place) -> u64 {
    place.snapshot().number()
}

/// Files of an upload under way.
fn under_way(place: &Place) -> usize {
    let count = |folder: &str, keep: fn(&str) -> bool| {
        let entries = fs_err::read_dir(place.path("store").join(folder)).map(Iterator::collect::<Vec<_>>);
        let entries = entries.unwrap_or_default().into_iter().flatten();
        entries.filter(|entry| keep(&entry.file_name().to_string_lossy())).count()
    };
    count("tmp", |name| name.starts_with("job-")) + count("server/uploads", |name| name.ends_with(".arrow"))
}

/// Kills the server in the middle of an upload and after `delays` of a whole one; the same upload
/// succeeds once afterwards.
fn killed(place: &Place, token: &str, upload: impl Fn(&Runtime, &str) -> Upload, count: &str, each: u64) {
    let runtime = Runtime::new().expect("a runtime");
    let cut = upload(&runtime, "cut");
    let server = Served::start(place, &[]);
    let before = newest(place);
    let sending = async {
        tokio::select! {
            ended = cut.send(&server.address, token, Some(20)) => panic!("{ended:?}"),
            () = async {
                let begun = Instant::now();
                while under_way(place) == 0 && begun.elapsed() < Duration::from_secs(20) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            } => {}
        }
    };
    runtime.block_on(sending);
    // SIGKILL.
    drop(server);
    assert_eq!(newest(place), before);
    assert!(place.ok(&["verify"]).contains(" 0 problems"));
    let server = Served::start(place, &[]);
    let send = || runtime.block_on(cut.send(&server.address, token, None));
    let told = send().expect("sent");
    assert_eq!(told["repeated"], json!(false), "{told}");
    assert_eq!(send().expect("sent again")["repeated"], json!(true));
    assert_eq!(place.value(count), each.to_string());
    assert_eq!(under_way(place), 0);
    assert_eq!(server.stop().code, 0);
}

#[test]
fn a_server_killed_in_the_middle_of_samples_has_none_of_them_and_takes_them_once() {
    let (place, token) = place(10);
    killed(&place, &token, Upload::samples, "SELECT count(*) FROM sent", ROWS);
}

#[test]
fn a_server_killed_in_the_middle_of_vectors_has_none_of_them_and_takes_them_once() {
    let (place, token) = place(usize::try_from(ROWS).expect("few"));
    let count = "SELECT count(*) FROM vectors('pool', 'embed-sent')";
    killed(&place, &token, |runtime, key| Upload::vectors(runtime, key, ROWS), count, ROWS);
}

#[test]
fn a_server_killed_at_any_moment_of_an_upload_has_all_of_it_or_nothing() {
    let (place, token) = place(10);
    let runtime = Runtime::new().expect("a runtime");
    let upload = Upload::samples(&runtime, "whole");
    for delay in [0, 2, 5, 10, 20, 40, 80] {
        let server = Served::start(&place, &[]);
        let sending = upload.send(&server.address, &token, None);
        let limit = Duration::from_millis(delay);
        let _ = runtime.block_on(async { tokio::time::timeout(limit, sending).await });
        drop(server);
        let there = place.run(&["query", "--format", "csv", "SELECT count(*) FROM sent"]);
        let rows = there.stdout.lines().nth(1).map(str::to_owned);
        assert!(there.code != 0 || rows == Some(ROWS.to_string()), "{} {}", there.stdout, there.stderr);
    }
    let server = Served::start(&place, &[]);
    runtime.block_on(upload.send(&server.address, &token, None)).expect("sent");
    assert_eq!(place.value("SELECT count(*) FROM sent"), ROWS.to_string());
    assert!(place.ok(&["verify"]).contains(" 0 problems"));
}

#[test]
fn a_full_disk_refuses_an_upload_and_disturbs_no_reader() {
    let Some(disk) = SmallDisk::mount(1200) else { return };
    let place = Place::new();
    let store = disk.path("store");
    gstore_store::Store::create(&store).expect("created");
    std::os::unix::fs::symlink(&store, place.path("store")).expect("linked");
    let secret = place.ok(&["token", "create", "writer", "--scope", "write"]);
    let server = Served::start(&place, &[]);
    let runtime = Runtime::new().expect("a runtime");
    let small = json!({"samples": {"dataset": "small"}, "key": "s"});
    let batch = |rows: u64, length: usize| {
        let texts = (0..rows).map(|row| format!("{row} {}", "x".repeat(length)));
        let column: Arc<dyn Array> = Arc::new(StringArray::from_iter_values(texts));
        RecordBatch::try_from_iter([("text", column)]).expect("a batch")
    };
    let sent = |upload: &Upload| runtime.block_on(upload.send(&server.address, secret.trim(), None));
    sent(&Upload::new(&runtime, &small, vec![batch(20, 10)])).expect("there is room");
    let large = json!({"samples": {"dataset": "large"}, "key": "l"});
    let large = Upload::new(&runtime, &large, (0..40).map(|_| batch(100, 1000)).collect());
    for _ in 0..2 {
        let full = sent(&large).expect_err("there is no room");
        assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
        assert!(full.message().contains("no space is left"), "{full}");
        let ask =
            ["query", "SELECT count(*) FROM small", "--remote", &server.address, "--token", secret.trim()];
        let asked = place.run(&ask);
        assert!(asked.code == 0 && asked.stdout.contains("20"), "{}", asked.stderr);
    }
    assert!(binary::ok(binary::gstore(&store).arg("verify")).contains(" 0 problems"));
    disk.resize(64 << 10);
    let told = sent(&large).expect("there is room now");
    assert_eq!(told["repeated"], json!(false), "{told}");
}
