//! Limits, and the ends of statements: by their client, by time, by size, by the end of the server.

use std::time::{Duration, Instant};

use arrow_flight::CancelFlightInfoRequest;
use arrow_flight::CancelFlightInfoResult;
use arrow_flight::FlightDescriptor;
use gstore_server::{ConnectionLimits, RequestLimits, ServeOptions};
use gstore_sql::SqlOptions;
use prost::Message;
use tonic::Code;

use crate::client::{Client, ENDLESS, broken_off, statement};
use crate::{options, served};

fn limited(limits: RequestLimits) -> ServeOptions {
    ServeOptions { limits, ..options() }
}

#[tokio::test(flavor = "multi_thread")]
async fn results_have_a_limit_of_bytes_and_of_time() {
    let limits = RequestLimits { result_bytes: 1 << 20, ..RequestLimits::default() };
    let (_server, client) = served(limited(limits)).await;
    let status = client.sql(ENDLESS).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(client.sql("SELECT row FROM pool").await.is_ok());
    client.until_none_runs().await;

    let time = Duration::from_millis(300);
    let limits = RequestLimits { time, statements_each: 1, ..RequestLimits::default() };
    let (_server, client) = served(limited(limits)).await;
    let info = client.info(statement(&format!("SELECT count(*) FROM ({ENDLESS})"))).await.unwrap();
    let rows = || client.get(info.endpoint[0].ticket.clone().unwrap());
    let asked = Instant::now();
    let (one, other) = tokio::join!(rows(), rows());
    for ended in [one, other] {
        assert_eq!(ended.unwrap_err().code(), Code::DeadlineExceeded);
    }
    assert!(asked.elapsed() >= 2 * time, "the time of the second begins with its turn");
    // One who never reads holds nothing up for longer than that.
    let unread = client.begun(ENDLESS).await;
    client.until_none_runs().await;
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_ends_when_its_reader_goes_or_says_so() {
    let (server, client) = served(options()).await;
    for _ in 0..20 {
        let mut stream = client.begun(ENDLESS).await;
        assert!(stream.message().await.unwrap().is_some());
    }
    client.until_none_runs().await;

    let info = client.info(statement(ENDLESS)).await.unwrap();
    let mut stream = client.stream(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    stream.message().await.unwrap();
    let request = || CancelFlightInfoRequest::new(info.clone()).encode_to_vec();
    let status = |bytes: bytes::Bytes| CancelFlightInfoResult::decode(bytes).unwrap().status;
    let other = Client::with(&server, &crate::token(&server.store, "other", None)).await;
    assert_eq!(status(other.action("CancelFlightInfo", request()).await.unwrap()[0].clone()), 3, "another's");
    assert_eq!(status(client.action("CancelFlightInfo", request()).await.unwrap()[0].clone()), 1);
    assert_eq!(broken_off(&mut stream).await.code(), Code::Cancelled);
    client.until_none_runs().await;
    assert_eq!(status(client.action("CancelFlightInfo", request()).await.unwrap()[0].clone()), 3);
}

/// Compares for minutes, and gives no batch before.
const COMPARING: &str =
    "SELECT max(levenshtein(repeat('ab', 1000) || range, repeat('ba', 1000) || range)) FROM range(8192)";

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_do_not_yield_end_and_hold_up_no_other() {
    let (server, client) = served(options()).await;
    let mut unread = Vec::new();
    // More than there are workers.
    for _ in 0..3 {
        unread.push(client.begun(COMPARING).await);
    }
    let other = Client::with(&server, &crate::token(&server.store, "other", None)).await;
    let answer = tokio::time::timeout(Duration::from_secs(60), other.sql("SELECT 1")).await;
    assert!(answer.expect("a worker has time").is_ok());
    assert!(other.running().await >= 3, "they still compare");
    drop(unread);
    client.until_none_runs().await;

    let limits = RequestLimits { time: Duration::from_secs(5), ..RequestLimits::default() };
    let (_server, client) = served(limited(limits)).await;
    let ended = client.sql(COMPARING).await.unwrap_err();
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended}");
    client.until_none_runs().await;
}

/// A step on one value is not stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_that_the_time_is_over_while_its_statement_still_computes() {
    let limits = RequestLimits { time: Duration::from_secs(1), ..RequestLimits::default() };
    let (_server, client) = served(limited(limits)).await;
    let sql =
        "SELECT max(length(regexp_replace(repeat('a', 80000) || range, '.*b|a', 'c', 'g'))) FROM range(1)";
    let ended = client.sql(sql).await.unwrap_err();
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended}");
    assert_eq!(client.running().await, 1);
    client.until_none_runs().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_take_turns() {
    let limits = RequestLimits { statements: 2, statements_each: 1, waiting: 0, ..RequestLimits::default() };
    let (server, client) = served(limited(limits)).await;
    let stream = client.begun(ENDLESS).await;
    let refused = client.sql("SELECT 1").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let other = Client::with(&server, &crate::token(&server.store, "other", None)).await;
    assert!(other.sql("SELECT 1").await.is_ok());
    drop(stream);
    client.until_none_runs().await;
    assert!(client.sql("SELECT 1").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_answered_by_a_status() {
    let connections = ConnectionLimits { most: 1, ..ConnectionLimits::default() };
    let limits = RequestLimits { connections, ..RequestLimits::default() };
    let (server, client) = served(limited(limits)).await;
    assert!(client.sql("SELECT 1").await.is_ok());
    // The server does not wait long for a call: on a busy machine it may come too late for an answer.
    let mut refused = Client::of(&server).await.sql("SELECT 1").await.unwrap_err();
    for _ in 0..20 {
        if refused.code() != Code::Unknown {
            break;
        }
        refused = Client::of(&server).await.sql("SELECT 1").await.unwrap_err();
    }
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("too many connections"), "{refused}");
    assert!(client.sql("SELECT 1").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_and_more_memory_than_one_token_has_are_refused() {
    let sql = SqlOptions { memory_each: Some(1 << 20), ..options().sql };
    let limits = RequestLimits { message_bytes: 1 << 20, ..RequestLimits::default() };
    let (server, client) = served(ServeOptions { sql, ..limited(limits) }).await;
    let long = format!("SELECT '{}'", "x".repeat(2 << 20));
    let refused = client.sql(&long).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("more than 1048576 bytes"), "{refused}");
    let sort = "SELECT * FROM range(3000000) ORDER BY range % 1000, range";
    let refused = client.sql(sort).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("one client may hold"), "{refused}");
    let unknown = Client::with(&server, "gst_x").await;
    let code = unknown.sql(&long).await.unwrap_err().code();
    assert_eq!(code, Code::Unauthenticated, "nothing is read without a token");
    assert!(client.sql("SELECT 1").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matrix_counts_to_the_memory_of_its_token() {
    let refused = async |each: usize| {
        let sql = SqlOptions { memory_each: Some(each), ..options().sql };
        let (_server, client) = served(ServeOptions { sql, ..options() }).await;
        let asked = serde_json::json!({"matrix": {"pool": "pool", "target": "target"}}).to_string();
        let answer = client.rows(FlightDescriptor::new_cmd(asked.into_bytes())).await;
        // What it held is free again.
        assert!(answer.is_err() || client.sql("SELECT count(*) FROM pool").await.is_ok());
        answer.err()
    };
    let error = refused(8).await.unwrap();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
    assert!(error.message().contains("one client may hold at a time, 8 bytes"), "{error}");
    assert!(refused(64 << 20).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_cut_into_messages_by_bytes() {
    let limits = RequestLimits { batch_bytes: 10_000, ..RequestLimits::default() };
    let (_server, client) = served(limited(limits)).await;
    let sql = "SELECT range, repeat('x', 100) AS x FROM range(20000)";
    let (_, batches) = client.sql(sql).await.unwrap();
    assert_eq!(batches.iter().map(arrow_array::RecordBatch::num_rows).sum::<usize>(), 20_000);
    assert!(batches.len() > 100, "{}", batches.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_waits_a_while_and_then_tells_who_is_left() {
    let (mut server, client) = served(ServeOptions { drain: Duration::from_secs(2), ..options() }).await;
    let mut endless = client.begun(ENDLESS).await;
    let sql = "SELECT range, repeat('x', 100) AS x FROM range(200000)";
    let mut ending = client.begun(sql).await;
    ending.message().await.unwrap();
    server.tell_to_stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut messages = 0;
    while ending.message().await.expect("what runs may end").is_some() {
        messages += 1;
    }
    assert!(messages > 1);
    let told = broken_off(&mut endless).await;
    assert_eq!(told.code(), Code::Unavailable, "{told}");
    server.stop();
}
