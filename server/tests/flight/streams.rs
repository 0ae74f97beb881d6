//! Streams of uploads that break off, stand still, end early or come twice: what is stored, and what is not.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow_flight::FlightData;
use arrow_flight::sql::CommandPreparedStatementQuery;
use arrow_ipc::writer::IpcWriteOptions;
use futures::StreamExt;
use gstore_server::{ConnectionLimits, RequestLimits, ServeOptions};
use serde_json::{Value, json};
use tonic::Code;

use crate::client::{Client, command, messages};
use crate::options;
use crate::put::{asked, batch, encoded, leftovers, put, sent, texts, value, vectors, writable};

/// Begins an upload and leaves it in the middle.
async fn leave(client: &Client, what: Value, batches: Vec<RecordBatch>) {
    let messages = encoded(&what, batches, IpcWriteOptions::default()).await;
    let open = futures::stream::iter(messages).chain(futures::stream::pending());
    let mut inner = client.inner.clone();
    let call = inner.do_put(client.request(open));
    assert!(tokio::time::timeout(Duration::from_millis(700), call).await.is_err(), "it waits for the rest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_leaves_nothing() {
    let (server, client) = writable(options()).await;
    let before = server.store.snapshot().unwrap().number();
    let samples = json!({"samples": {"dataset": "fresh"}, "key": "k"});
    let own = json!({"vectors": {"dataset": "pool", "kind": "embed-x"}, "key": "k"});
    leave(&client, samples.clone(), vec![texts(0..5), texts(5..9)]).await;
    leave(&client, own.clone(), vec![vectors(&[3, 4], 2), vectors(&[0, 1], 2)]).await;
    for _ in 0..100 {
        if leftovers(&server.store).is_empty() && client.running().await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(leftovers(&server.store), Vec::<String>::new());
    assert_eq!(server.store.snapshot().unwrap().number(), before);
    // What was left is sent once more, and is not there yet.
    let told = put(&client, samples, vec![texts(0..9)]).await.unwrap();
    assert_eq!((&told["added"], &told["repeated"]), (&json!(9), &json!(false)), "{told}");
    let told = put(&client, own, vec![vectors(&[0, 1, 3, 4], 2)]).await.unwrap();
    assert_eq!((&told["rows"], &told["repeated"]), (&json!(4), &json!(false)), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_before_all_announced_rows_leaves_nothing() {
    let (server, client) = writable(options()).await;
    let before = server.store.snapshot().unwrap().number();
    let rows: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 2]));
    let losses: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 1.5, 2.5]));
    let losses = batch(vec![("row", rows), ("loss", losses)]);
    for (mut what, whole) in [
        (json!({"samples": {"dataset": "fresh"}, "key": "s"}), texts(0..3)),
        (json!({"vectors": {"dataset": "pool", "kind": "embed-x"}, "key": "v"}), vectors(&[0, 1, 2], 2)),
        (json!({"losses": {"dataset": "target", "run": "theirs", "checkpoint": "c9"}, "key": "l"}), losses),
    ] {
        let now = server.store.snapshot().unwrap().number();
        for wrong in [0, 2, 4] {
            what["rows"] = json!(wrong);
            let error = put(&client, what.clone(), vec![whole.clone()]).await.expect_err("another number");
            assert_eq!(error.code(), Code::InvalidArgument, "{error}");
            let why = format!("after 3 rows, but `rows` says {wrong}");
            assert!(error.message().contains(&why), "{error}");
        }
        assert_eq!(server.store.snapshot().unwrap().number(), now);
        assert_eq!(leftovers(&server.store), Vec::<String>::new());
        // The key is still free, and `rows` does not count as content.
        what["rows"] = json!(3);
        let told = put(&client, what.clone(), vec![whole.slice(0, 1), whole.slice(1, 2)]).await.unwrap();
        assert_eq!(told["repeated"], json!(false), "{told}");
        what.as_object_mut().unwrap().remove("rows");
        let again = put(&client, what, vec![whole]).await.unwrap();
        assert_eq!(again["repeated"], json!(true), "{again}");
    }
    assert_eq!(server.store.snapshot().unwrap().number(), before + 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_which_nothing_comes_is_given_up() {
    let connections = ConnectionLimits { reader: Duration::from_millis(200), ..ConnectionLimits::default() };
    let limits = RequestLimits { connections, ..RequestLimits::default() };
    let (_server, client) = writable(ServeOptions { limits, ..options() }).await;
    let upload = asked(&json!({"put": {"samples": {"dataset": "fresh"}}}));
    let handle = client.prepare("SELECT $1").await.unwrap().prepared_statement_handle;
    let bind = command(&CommandPreparedStatementQuery { prepared_statement_handle: handle });
    for descriptor in [upload, bind] {
        let messages = messages(descriptor, vec![texts(0..1)], IpcWriteOptions::default()).await;
        let open = futures::stream::iter(messages).chain(futures::stream::pending());
        let status = client.inner.clone().do_put(client.request(open)).await.expect_err("given up");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    }
    let silent = futures::stream::pending::<FlightData>();
    let status = client.inner.clone().do_put(client.request(silent)).await.expect_err("given up");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_at_the_same_time_is_done_once() {
    let (_server, client) = writable(options()).await;
    let one = || put(&client, json!({"samples": {"dataset": "fresh"}, "key": "k"}), vec![texts(0..40)]);
    let all = futures::future::join_all((0..6).map(|_| one())).await;
    let told: Vec<Value> = all.into_iter().map(Result::unwrap).collect();
    assert_eq!(told.iter().filter(|told| told["repeated"] == json!(false)).count(), 1, "{told:?}");
    assert!(told.iter().all(|one| one["snapshot"] == told[0]["snapshot"]), "{told:?}");
    let own = || {
        put(
            &client,
            json!({"vectors": {"dataset": "fresh", "kind": "embed-x"}, "key": "v"}),
            vec![vectors(&[0, 1], 2)],
        )
    };
    let all = futures::future::join_all((0..6).map(|_| own())).await;
    // Those that meet one at work are told so, and try again.
    for result in &all {
        assert!(result.as_ref().map_or_else(|e| e.code() == Code::Aborted, |_| true), "{result:?}");
    }
    assert!(all.iter().any(Result::is_ok));
    assert_eq!(own().await.unwrap()["repeated"], json!(true));
    assert_eq!(value(&client, "SELECT rows FROM gstore.features WHERE label = 'embed-x'").await, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_claim_more_than_was_sent_are_refused() {
    let (_server, client) = writable(options()).await;
    let what = json!({"samples": {"dataset": "fresh"}});
    let mut messages = encoded(&what, vec![texts(0..3)], IpcWriteOptions::default()).await;
    let last = messages.last_mut().unwrap();
    last.data_body = last.data_body.slice(..8);
    let refused = sent(&client, messages).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("more bytes than its body"), "{refused}");
    put(&client, what, vec![texts(0..3)]).await.unwrap();
}
