//! Hostile clients: each request is refused with its code, and the server goes on.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::CommandPreparedStatementQuery;
use arrow_flight::{FlightDescriptor, Ticket};
use arrow_ipc::writer::IpcWriteOptions;
use gstore_server::{ConnectionLimits, RequestLimits, ServeOptions};
use serde_json::json;
use tonic::Code;

use crate::client::{Client, ENDLESS, basic, broken_off, channel, command, messages};
use crate::{options, served};

/// The code of a refusal that says nothing of the disk.
async fn refused(client: &Client, sql: &str) -> Code {
    let status = client.sql(sql).await.expect_err(sql);
    for inside in ["/tmp/", "root:", "panicked", ".rs:"] {
        assert!(!status.message().contains(inside), "{sql}: {status}");
    }
    status.code()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_reads_a_file_of_the_server() {
    let (server, client) = served(options()).await;
    let secret = server.audit.with_file_name("secret.csv");
    fs_err::write(&secret, "a\nsecret\n").unwrap();
    let (path, folder) = (secret.display().to_string(), secret.parent().unwrap().display().to_string());
    for sql in [
        format!("SELECT * FROM '{path}'"),
        format!("SELECT * FROM \"{path}\""),
        format!("SELECT * FROM 'file://{path}'"),
        format!("SELECT * FROM read_csv('{path}')"),
        format!("SELECT * FROM read_parquet('{path}')"),
        format!("SELECT * FROM glob('{folder}/*')"),
        format!("SELECT read_text('{path}')"),
        format!("COPY (SELECT 1) TO '{folder}/out.csv'"),
        format!("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{path}'"),
        format!("EXPLAIN ANALYZE SELECT * FROM '{path}'"),
        format!("SELECT * FROM influence('{path}', 'target')"),
        format!("SELECT * FROM vectors('../{path}', 'x')"),
        format!("LOAD '{path}'"),
        format!("ATTACH '{path}' AS x"),
    ] {
        let status = client.sql(&sql).await.expect_err(&sql);
        assert_eq!(status.code(), Code::InvalidArgument, "{sql}: {status}");
        assert!(!status.message().contains("secret\n"), "{sql}: {status}");
    }
    assert!(!secret.with_file_name("out.csv").exists());
    assert!(client.sql("SELECT 1").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_paths_lead_nowhere() {
    let (_server, client) = served(options()).await;
    for name in ["..", "../../etc/passwd", "/etc/passwd", "pool/../../x", "pool\0", "C:\\x", "%2e%2e%2f", ""]
    {
        for path in
            [vec!["dataset", name], vec!["vectors", "pool", name], vec!["vectors", name, "1"], vec![name]]
        {
            let descriptor = FlightDescriptor::new_path(path.into_iter().map(str::to_owned).collect());
            let code = client.info(descriptor).await.expect_err(name).code();
            assert!(matches!(code, Code::NotFound | Code::InvalidArgument), "{name:?}: {code:?}");
        }
        for asked in [
            json!({"dataset": name}),
            json!({"vectors": {"dataset": name, "feature": name}}),
            json!({"influence": {"pool": name, "target": name}}),
            json!({"matrix": {"pool": name, "target": name}}),
        ] {
            let ticket = Ticket::new(asked.to_string().into_bytes());
            let code = client.get(ticket).await.expect_err(name).code();
            assert!(matches!(code, Code::NotFound | Code::InvalidArgument), "{asked}: {code:?}");
        }
    }
    for header in ["../../etc/passwd", "..", "a/b", "18446744073709551616", "-1"] {
        let mut other = client.clone();
        other.headers.push(("gstore-snapshot", header.to_owned()));
        let code = other.sql("SELECT 1").await.expect_err(header).code();
        assert!(matches!(code, Code::NotFound | Code::InvalidArgument), "{header}: {code:?}");
    }
    assert!(client.sql("SELECT 1").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_terms_are_refused() {
    let (_server, client) = served(options()).await;
    let many = |term: &str, between: &str, times: usize| vec![term; times].join(between);
    for sql in [
        format!("SELECT row FROM pool WHERE {}", many("row = 1", " OR ", 5000)),
        format!("SELECT row FROM pool WHERE {}", many("id LIKE '%x%'", " AND ", 5000)),
        many("SELECT 1", " UNION ALL ", 5000),
        format!("SELECT 1 FROM {}", many("pool", ", ", 5000)),
        format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000)),
        format!("SELECT {}1{}", "abs(".repeat(5000), ")".repeat(5000)),
        format!("SELECT {}", many("?", ", ", 5000)),
        format!("SELECT '{}'", "x".repeat(2 << 20)),
    ] {
        assert_eq!(refused(&client, &sql).await, Code::InvalidArgument, "{}", &sql[..60]);
    }
    assert!(client.sql("SELECT 1").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn short_statements_do_not_take_the_memory() {
    let (_server, client) = served(options()).await;
    for sql in [
        "SELECT repeat('x', 2000000000)",
        "SELECT repeat(id, 2000000000) FROM pool",
        "SELECT array_repeat(1, 2000000000)",
        "SELECT range(0, 20000000000)",
        "SELECT lpad(id, 2000000000) FROM pool",
    ] {
        assert_eq!(refused(&client, sql).await, Code::InvalidArgument, "{sql}");
    }
    assert!(client.sql("SELECT repeat(id, 3) FROM pool").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn wide_values_are_not_repeated_for_many_rows() {
    let (_server, client) = served(options()).await;
    let many = "range(200000)";
    for sql in [
        format!(
            "SELECT a.v, range FROM (SELECT repeat(id, 3000000) AS v FROM pool LIMIT 1) a CROSS JOIN {many}"
        ),
        format!(
            "SELECT a.v, b.range FROM (SELECT max(repeat(id, 3000000)) AS v FROM pool) a JOIN {many} b ON true"
        ),
        format!("SELECT (SELECT max(repeat(id, 3000000)) FROM pool) AS v, range FROM {many}"),
        "SELECT unnest(range(1, 1000000)) AS n, repeat(id, 1000) AS v FROM pool".to_owned(),
        format!("SELECT first_value(repeat('x', range % 2 + 30000)) OVER () AS v FROM {many}"),
    ] {
        let code = refused(&client, &sql).await;
        assert!(matches!(code, Code::InvalidArgument | Code::ResourceExhausted), "{sql}: {code:?}");
    }
    let rows = "SELECT a.id, b.row, unnest([1, 2]) FROM pool a JOIN pool b ON a.row = b.row";
    assert!(client.sql(rows).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_never_reads_loses_its_statement() {
    let connections = ConnectionLimits { reader: Duration::from_millis(300), ..ConnectionLimits::default() };
    let limits = RequestLimits { connections, batch_bytes: 10_000, ..RequestLimits::default() };
    let (server, client) = served(ServeOptions { limits, ..options() }).await;
    let mut unread = Vec::new();
    for _ in 0..3 {
        unread.push(client.begun(ENDLESS).await);
    }
    let other = Client::of(&server).await;
    other.until_none_runs().await;
    for mut stream in unread {
        let told = broken_off(&mut stream).await;
        assert_eq!(told.code(), Code::DeadlineExceeded, "{told}");
    }
    assert!(other.sql("SELECT 1").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_handshakes_has_to_wait_and_others_have_not() {
    let (server, known) = served(options()).await;
    assert!(known.sql("SELECT 1").await.is_ok());
    let mut flood = tokio::task::JoinSet::new();
    let channel = channel(&server).await;
    for i in 0..200 {
        let mut client = FlightServiceClient::new(channel.clone());
        flood.spawn(async move {
            let request = basic(&format!("gst_{i}"));
            client.handshake(request).await.err().map(|status| status.code())
        });
    }
    let codes = flood.join_all().await;
    let count = |code| codes.iter().filter(|found| **found == Some(code)).count();
    let (wrong, later) = (count(Code::Unauthenticated), count(Code::ResourceExhausted));
    assert_eq!(wrong + later, codes.len(), "{codes:?}");
    assert!(wrong < 60 && later > 100, "{wrong} were looked at, {later} had to wait");
    assert!(known.sql("SELECT 1").await.is_ok(), "a token that was good before");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_values_of_a_statement_are_bounded_together() {
    let (_server, client) = served(options()).await;
    let handle = client.prepare("SELECT length($1)").await.unwrap().prepared_statement_handle;
    let descriptor = command(&CommandPreparedStatementQuery { prepared_statement_handle: handle });
    let value: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(9 << 20)]));
    let row = RecordBatch::try_from_iter([("1", value)]).unwrap();
    let rows = vec![row.slice(0, 0), row.clone(), row];
    let messages = messages(descriptor, rows, IpcWriteOptions::default()).await;
    let mut inner = client.inner.clone();
    let put = inner.do_put(client.request(futures::stream::iter(messages))).await;
    let status = put.expect_err("too large");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("16 MiB"), "{status}");
}
