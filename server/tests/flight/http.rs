//! The HTTP side: who gets in, what a browser is told, formats of rows, limits, and ends of statements.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use gstore_server::{ConnectionLimits, RequestLimits, Scope, ServeOptions};
use serde_json::{Value, json};

use crate::client::ENDLESS;
use crate::put::{put, texts, writable};
use crate::{Server, options, token, token_for};

/// An answer.
struct Answer {
    code: u16,
    headers: String,
    body: Vec<u8>,
    /// Whether the body came to its end.
    whole: bool,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    fn error(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    fn has(&self, header: &str) -> bool {
        self.headers.to_ascii_lowercase().contains(&header.to_ascii_lowercase())
    }
}

fn started(options: ServeOptions) -> Server {
    Server::start(ServeOptions { http: Some("127.0.0.1:0".parse().unwrap()), ..options })
}

fn open(address: SocketAddr, head: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut request = format!("{head} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "host") {
        request += "host: localhost\r\n";
    }
    headers.iter().for_each(|(name, value)| request += &format!("{name}: {value}\r\n"));
    socket.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    // A server that refuses what is too long may close before it has read all.
    let _ = socket.write_all(body);
    socket
}

fn send(address: SocketAddr, head: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut all = Vec::new();
    let _ = open(address, head, headers, body).read_to_end(&mut all);
    let at = all.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let headers = String::from_utf8_lossy(&all[..at]).into_owned();
    let code = headers.split(' ').nth(1).unwrap().parse().unwrap();
    let rest = &all[at + 4..];
    let chunked = headers.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let (body, whole) = if chunked { unchunked(rest) } else { (rest.to_vec(), true) };
    Answer { code, headers, body, whole }
}

/// A body that was sent in pieces, and whether its last piece came.
fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(at) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..at]).unwrap().trim(), 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        let end = (at + 2 + size).min(rest.len());
        body.extend(&rest[at + 2..end]);
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    (body, false)
}

fn get(server: &Server, path: &str) -> Answer {
    send(server.http.unwrap(), &format!("GET {path}"), &[], b"")
}

fn ask_as(server: &Server, token: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    send(server.http.unwrap(), "POST /sql", &headers, body.to_string().as_bytes())
}

fn ask(server: &Server, body: &Value) -> Answer {
    ask_as(server, &server.token, body)
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn until_none_runs(server: &Server) {
    let begun = Instant::now();
    let metric = "gstore_statements_running 0\n";
    while !get(server, "/metrics").text().contains(metric) {
        assert!(begun.elapsed() < Duration::from_secs(20), "a statement goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn only_a_token_that_works_asks_and_no_other_site() {
    let server = started(options());
    let one = json!({"sql": "SELECT 1 AS one"});
    for bad in ["", "gst_x", &server.token[..40]] {
        let answer = ask_as(&server, bad, &one);
        assert_eq!((answer.code, answer.error().as_str()), (401, "unauthenticated"), "{bad}");
        assert!(!answer.has("www-authenticate"), "a browser would ask by itself");
    }
    let (address, body) = (server.http.unwrap(), one.to_string());
    assert_eq!(send(address, "GET /api/session", &[], b"").code, 401);
    let bearer = format!("Bearer {}", server.token);
    let authorized = ("authorization", bearer.as_str());
    let json = ("content-type", "application/json");
    let form = ("content-type", "text/plain");
    assert_eq!(send(address, "POST /sql", &[authorized, form], body.as_bytes()).code, 400);
    assert_eq!(send(address, "POST /sql", &[authorized], body.as_bytes()).code, 400);
    let cross = ("sec-fetch-site", "cross-site");
    assert_eq!(send(address, "POST /sql", &[authorized, json, cross], body.as_bytes()).code, 403);
    assert_eq!(send(address, "GET /sql", &[authorized], b"").code, 405);
    assert_eq!(send(address, "POST /sql", &[authorized, json], body.as_bytes()).code, 200);
    let loud = ("content-type", "APPLICATION/JSON; charset=utf-8");
    assert_eq!(send(address, "POST /sql", &[authorized, loud], body.as_bytes()).code, 200);
    let session = send(address, "GET /api/session", &[authorized], b"").json();
    assert_eq!((session["token"].as_str(), session["scope"].as_str()), (Some("all"), Some("read")));
    let narrow = token(&server.store, "narrow", Some(&["pool"]));
    assert_eq!(ask_as(&server, &narrow, &json!({"sql": "SELECT * FROM other"})).code, 400);
    assert_eq!(ask_as(&server, &narrow, &json!({"sql": "SELECT * FROM pool"})).code, 200);
}

#[test]
fn without_tokens_only_this_machine_by_its_address_is_answered() {
    let server = started(ServeOptions { without_tokens: true, ..options() });
    let body = json!({"sql": "SELECT 1"}).to_string();
    let json = ("content-type", "application/json");
    let from = |host| send(server.http.unwrap(), "POST /sql", &[json, ("host", host)], body.as_bytes()).code;
    assert_eq!((from("127.0.0.1:8816"), from("evil.example")), (200, 403));
}

#[test]
fn a_browser_is_told_to_load_nothing_from_elsewhere() {
    let server = started(options());
    for path in
        ["/", "/app.js", "/style.css", "/vendor/uPlot.iife.min.js", "/healthz", "/nothing", "/api/session"]
    {
        let answer = get(&server, path);
        assert!(answer.has("content-security-policy: default-src 'self'"), "{path}: {}", answer.headers);
        assert!(answer.has("x-content-type-options: nosniff"), "{path}");
        assert!(answer.has("referrer-policy: no-referrer"), "{path}");
        assert!(!answer.has("access-control-allow"), "{path}");
    }
    let page = get(&server, "/");
    assert!(page.code == 200 && page.has("content-type: text/html"), "{}", page.headers);
    assert!(get(&server, "/app.js").has("content-type: text/javascript"));
    for path in ["/nothing", "/../Cargo.toml", "/vendor/", "/page/index.html"] {
        assert_eq!(get(&server, path).code, 404, "{path}");
    }
}

#[test]
fn rows_come_in_the_formats_of_the_command() {
    let server = started(options());
    let sql = "SELECT row, id FROM pool ORDER BY row LIMIT 2";
    let in_format = |format: &str| ask(&server, &json!({"sql": sql, "format": format}));
    assert_eq!(in_format("csv").text(), "row,id\n0,p0\n1,p1\n");
    assert_eq!(in_format("tsv").text(), "row\tid\n0\tp0\n1\tp1\n");
    assert_eq!(in_format("json").text(), "{\"row\":0,\"id\":\"p0\"}\n{\"row\":1,\"id\":\"p1\"}\n");
    let (parquet, arrow) = (in_format("parquet"), in_format("arrow"));
    assert!(parquet.body.starts_with(b"PAR1") && parquet.body.ends_with(b"PAR1"));
    assert!(arrow.body.starts_with(b"ARROW1") && arrow.body.ends_with(b"ARROW1"));
    assert!(parquet.has("application/vnd.apache.parquet") && parquet.has("gstore-statement: "));
    assert_eq!((in_format("exe").code, in_format("table").code), (400, 400));
    let page = lines(&in_format("page"));
    assert_eq!(page[0]["columns"][0], json!({"name": "row", "type": "UInt64"}));
    assert_eq!((page.len(), &page[3]["rows"], &page[2]["id"]), (4, &json!(2), &json!("p1")));

    let sql = "SELECT 9007199254740993 AS n, CAST('NaN' AS DOUBLE) AS f, 2 AS two";
    let exact = json!({"n": {"$number": "9007199254740993"}, "f": {"$number": "NaN"}, "two": 2});
    assert_eq!(lines(&ask(&server, &json!({"sql": sql, "format": "page"})))[1], exact);
    let ranked = json!({
        "sql": "SELECT 9007199254740993 + generate_series AS n FROM generate_series(-9007199254740990, 0, 9007199254740990)",
        "format": "page", "order": [{"column": 0, "descending": true}],
    });
    let ranked = lines(&ask(&server, &ranked));
    assert_eq!((&ranked[1]["n"]["$number"], &ranked[2]["n"]), (&json!("9007199254740993"), &json!(3)));

    let given = json!({"sql": "SELECT $1 + 1 AS n", "parameters": [41]});
    assert_eq!(ask(&server, &given).text(), "{\"n\":42}\n");
    let older = server.store.snapshot().unwrap().history().unwrap();
    let counts = "SELECT count(*) AS n FROM gstore.datasets";
    let at = |snapshot: u64| ask(&server, &json!({"sql": counts, "snapshot": snapshot}));
    assert_eq!(at(older[0].number).text(), ask(&server, &json!({"sql": counts})).text());
    assert_eq!(at(older.last().unwrap().number).text(), "{\"n\":0}\n");
    assert_eq!(at(999_999).code, 404);
    let tagged = ask(&server, &json!({"sql": counts, "snapshot": "nosuch"}));
    assert_eq!((tagged.code, tagged.error().as_str()), (404, "not_found"));
    assert!(tagged.text().contains("nosuch"), "{}", tagged.text());
    for name in [json!(true), json!(-1), json!(1.5), json!([1])] {
        let wrong = ask(&server, &json!({"sql": counts, "snapshot": name}));
        assert_eq!(wrong.code, 400, "{name}");
        assert!(wrong.text().contains("a number or a tag"), "{}", wrong.text());
    }
    for (body, why) in [
        (json!(["SELECT 1 AS x", [], null, "csv", [], 0, 5]), "list, expected an object"),
        (json!("SELECT 1"), "expected an object"),
        (json!({"sql": counts, "limit": -1}), "expected a whole number, 0 or more"),
        (json!({"sql": counts, "order": [3]}), "expected an object"),
        (json!({"sql": counts, "order": [[0, true]]}), "expected an object"),
    ] {
        let wrong = ask(&server, &body);
        assert_eq!((wrong.code, wrong.error().as_str()), (400, "invalid_argument"), "{body}");
        assert!(wrong.text().contains(why), "{}", wrong.text());
    }
    let wrong = ask(&server, &json!({"sql": "SELECT nothing FROM pool"}));
    assert_eq!((wrong.code, wrong.error().as_str()), (400, "invalid_argument"));
    assert!(wrong.text().contains("line 1, column 8"), "{}", wrong.text());
    for format in ["json", "csv", "parquet"] {
        for sql in
            ["SELECT 1 % 0 AS x", "SELECT 1 // (row - row) AS x FROM pool", "SELECT chr(-1 - row) FROM pool"]
        {
            let failed = ask(&server, &json!({"sql": sql, "format": format}));
            assert_eq!((failed.code, failed.error().as_str()), (400, "invalid_argument"), "{sql} {format}");
        }
    }
    // What only the writer of a format refuses, at once or with the first rows.
    let beyond = "SELECT arrow_cast(2147483647, 'Date32') AS d";
    for (sql, format, why) in [
        ("SELECT INTERVAL '1 day' AS i", "parquet", "Parquet has no type for the intervals"),
        (beyond, "json", "is beyond the calendar"),
        (beyond, "csv", "is beyond the calendar"),
        (beyond, "html", "is beyond the calendar"),
    ] {
        let failed = ask(&server, &json!({"sql": sql, "format": format}));
        assert_eq!((failed.code, failed.error().as_str()), (400, "invalid_argument"), "{sql} {format}");
        assert!(failed.text().contains(why), "{}", failed.text());
    }
    let running = json!({"sql": "SELECT count(*) AS n FROM gstore.statements WHERE state <> 'ended'"});
    assert_eq!(ask(&server, &running).text(), "{\"n\":1}\n", "the one that asks");
    let map = json!({"sql": "SELECT MAP([1], [2]) AS m"});
    assert_eq!(ask(&server, &map).text(), "{\"m\":{\"1\":2}}\n");
    for (format, empty) in [("csv", "row\n"), ("json", "")] {
        let none = ask(&server, &json!({"sql": "SELECT row FROM pool LIMIT 0", "format": format}));
        assert_eq!((none.code, none.text().as_str()), (200, empty));
    }
    for changed in ["DELETE FROM pool", "COPY pool TO '/tmp/x'", "SET a = 1"] {
        assert_eq!(ask(&server, &json!({"sql": changed})).code, 400, "{changed}");
    }
}

#[test]
fn a_part_of_the_rows_is_that_of_the_whole_result() {
    let server = started(options());
    let ids = |body: Value| {
        let answer = ask(&server, &body);
        assert_eq!(answer.code, 200, "{}", answer.text());
        lines(&answer).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let sql = "SELECT id, score FROM influence('pool', 'target') ORDER BY score DESC";
    let all = ids(json!({"sql": sql}));
    assert_eq!(ids(json!({"sql": sql, "skip": 2, "limit": 3})), all[2..5], "its own order holds");
    assert_eq!(ids(json!({"sql": sql, "skip": 2, "limit": u64::MAX})), all[2..], "a limit beyond all rows");
    assert!(ids(json!({"sql": sql, "skip": u64::MAX})).is_empty());
    let by_id = ids(json!({"sql": sql, "order": [{"column": 0, "descending": true}], "limit": 4}));
    let mut sorted = all.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    assert_eq!(by_id, sorted[..4]);
    let twice =
        json!({"sql": "SELECT a.id, b.id FROM pool a JOIN pool b USING (row) ORDER BY a.row", "limit": 1});
    assert_eq!(ask(&server, &twice).text(), "{\"id\":\"p0\",\"id_2\":\"p0\"}\n");
    assert_eq!(ask(&server, &json!({"sql": sql, "order": [{"column": 2}]})).code, 400);
    for other in ["EXPLAIN SELECT 1", "SHOW TABLES", "DESCRIBE pool", "FROM pool", "SELECT 1 ; "] {
        assert_eq!(ask(&server, &json!({"sql": other, "limit": 5})).code, 200, "{other}");
    }
}

#[test]
fn limits_hold_and_a_result_that_breaks_off_is_no_shorter_one() {
    let limits = RequestLimits { result_bytes: 1 << 20, message_bytes: 4096, ..RequestLimits::default() };
    let server = started(ServeOptions { limits, ..options() });
    let long = json!({"sql": format!("SELECT '{}'", "x".repeat(8192))});
    assert_eq!(ask(&server, &long).code, 413);
    let cut = ask(&server, &json!({"sql": ENDLESS, "format": "csv"}));
    assert!(cut.code == 200 && !cut.whole && cut.body.len() <= 2 << 20);
    // A row, and then at once an error.
    let late = "SELECT 1 AS x UNION ALL SELECT CASE WHEN i > 1 THEN 'x' ELSE '1' END::INT \
                FROM (SELECT unnest(range(1, 3)) AS i)";
    for _ in 0..20 {
        let answer = ask(&server, &json!({"sql": late, "format": "json"}));
        assert!(answer.code == 400 || answer.code == 200 && !answer.whole, "{}", answer.code);
    }
    let told = lines(&ask(&server, &json!({"sql": ENDLESS, "format": "page"})));
    assert_eq!(told.last().unwrap()["error"]["code"], "resource_exhausted");
    until_none_runs(&server);
    let limits = RequestLimits { statements: 1, statements_each: 1, waiting: 0, ..RequestLimits::default() };
    let server = started(ServeOptions { limits, ..options() });
    let bearer = format!("Bearer {}", server.token);
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    let body = json!({"sql": ENDLESS}).to_string();
    let mut held = open(server.http.unwrap(), "POST /sql", &headers, body.as_bytes());
    held.read_exact(&mut [0; 64]).unwrap();
    assert_eq!(ask(&server, &json!({"sql": "SELECT 1"})).code, 429);
    // A browser that stops a request closes its stream.
    drop(held);
    until_none_runs(&server);
    assert_eq!(ask(&server, &json!({"sql": "SELECT 1"})).code, 200);
}

/// Larger than all that waits on the way to a client: as much as one batch, and several row groups of
/// Parquet.
const UNREAD: [(&str, &str); 2] = [
    ("json", "SELECT range AS n, repeat('x', 8000) AS x FROM range(8000)"),
    ("parquet", "SELECT random() AS x FROM range(6000000)"),
];

#[test]
fn an_answer_keeps_its_turn_until_its_body_is_taken() {
    let limits = RequestLimits { statements: 1, statements_each: 1, waiting: 0, ..RequestLimits::default() };
    let server = started(ServeOptions { limits, ..options() });
    let bearer = format!("Bearer {}", server.token);
    let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
    for (format, sql) in UNREAD {
        let body = json!({"sql": sql, "format": format}).to_string();
        let mut unread = open(server.http.unwrap(), "POST /sql", &headers, body.as_bytes());
        // More than the head and the first bytes of a file.
        unread.read_exact(&mut vec![0; 1 << 20]).unwrap();
        let metrics = get(&server, "/metrics").text();
        assert!(metrics.contains("gstore_statements_running 1\n"), "{format}: {metrics}");
        assert_eq!(ask(&server, &json!({"sql": "SELECT 1"})).code, 429, "{format}");
        drop(unread);
        until_none_runs(&server);
    }
    let sql = "SELECT outcome FROM gstore.statements WHERE rows > 0 ORDER BY id";
    assert_eq!(ask(&server, &json!({"sql": sql, "format": "csv"})).text(), "outcome\ndropped\ndropped\n");
    // Who has read an answer finds its turn free.
    for format in ["json", "page", "parquet", "arrow"].repeat(5) {
        let answer = ask(&server, &json!({"sql": "SELECT row FROM pool", "format": format}));
        assert!(answer.code == 200 && answer.whole, "{format}: {}", answer.code);
    }
}

#[test]
fn what_waits_after_the_last_row_has_the_limits_of_time() {
    let connections = ConnectionLimits { reader: Duration::from_millis(300), ..ConnectionLimits::default() };
    let unread = RequestLimits { connections, ..RequestLimits::default() };
    let late = RequestLimits { time: Duration::from_secs(6), ..RequestLimits::default() };
    for limits in [unread, late] {
        let server = started(ServeOptions { limits, ..options() });
        let bearer = format!("Bearer {}", server.token);
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        let body = json!({"sql": UNREAD[0].1}).to_string();
        let held = open(server.http.unwrap(), "POST /sql", &headers, body.as_bytes());
        let sql = "SELECT outcome FROM gstore.statements WHERE rows > 0 ORDER BY id LIMIT 1";
        let begun = Instant::now();
        while ask(&server, &json!({"sql": sql, "format": "csv"})).text() != "outcome\ndeadline_exceeded\n" {
            assert!(begun.elapsed() < Duration::from_secs(60), "it waits for its reader");
            std::thread::sleep(Duration::from_millis(20));
        }
        until_none_runs(&server);
        drop(held);
    }
}

#[test]
fn a_request_whose_body_does_not_come_is_given_up() {
    let connections = ConnectionLimits { reader: Duration::from_millis(200), ..ConnectionLimits::default() };
    let limits = RequestLimits { connections, ..RequestLimits::default() };
    let server = started(ServeOptions { limits, ..options() });
    let told = told_of_a_beginning(&server, &server.token, 100);
    assert!(told.starts_with("HTTP/1.1 504"), "{told}");
}

#[test]
fn a_request_that_says_that_it_is_too_large_is_refused_before_it_is_read() {
    let server = started(options());
    let length = RequestLimits::default().message_bytes + 1;
    let told = told_of_a_beginning(&server, &server.token, length);
    assert!(told.starts_with("HTTP/1.1 413") && told.contains("out_of_range"), "{told}");
    // A client without a valid token is not told the limit.
    let told = told_of_a_beginning(&server, "wrong", length);
    assert!(told.starts_with("HTTP/1.1 401") && !told.contains("bytes"), "{told}");
}

#[test]
fn a_body_that_does_not_come_whole_is_not_called_too_large() {
    let limits = RequestLimits { message_bytes: 4096, ..RequestLimits::default() };
    let server = started(ServeOptions { limits, ..options() });
    let long = format!("1001\r\n{}\r\n", "x".repeat(4097));
    for (length, body, says) in [
        ("transfer-encoding: chunked", "zz\r\n", ["HTTP/1.1 400", "invalid_argument", "broke off"]),
        ("content-length: 100", "{\"sql\": \"S", ["HTTP/1.1 400", "invalid_argument", "broke off"]),
        ("transfer-encoding: chunked", long.as_str(), ["HTTP/1.1 413", "out_of_range", "at most 4096 bytes"]),
    ] {
        let socket = begin(&server, &server.token, length, body);
        // It may have been answered already.
        let _ = socket.shutdown(Shutdown::Write);
        let told = told(socket);
        assert!(says.iter().all(|says| told.contains(says)), "{length}: {told}");
    }
}

/// The answer to a statement of which a single byte is sent, and this length announced.
fn told_of_a_beginning(server: &Server, token: &str, length: usize) -> String {
    told(begin(server, token, &format!("content-length: {length}"), "{"))
}

/// Sends some of a statement, with a header that says how long it is.
fn begin(server: &Server, token: &str, length: &str, body: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.http.unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let begins = format!(
        "POST /sql HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         authorization: Bearer {token}\r\n{length}\r\n\r\n{body}"
    );
    socket.write_all(begins.as_bytes()).unwrap();
    socket
}

fn told(mut socket: TcpStream) -> String {
    let mut told = Vec::new();
    let _ = socket.read_to_end(&mut told);
    String::from_utf8_lossy(&told).into_owned()
}

#[test]
fn one_connection_too_many_is_told_so() {
    let connections = ConnectionLimits { most: 1, ..ConnectionLimits::default() };
    let limits = RequestLimits { connections, ..RequestLimits::default() };
    let server = started(ServeOptions { limits, ..options() });
    let held = TcpStream::connect(server.http.unwrap()).unwrap();
    let refused = get(&server, "/healthz");
    assert!(refused.code == 503 && refused.has("content-type: text/plain"), "{}", refused.headers);
    assert!(refused.text().contains("too many connections"), "{}", refused.text());
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_came_in_are_none_of_results() {
    let http = Some("127.0.0.1:0".parse().unwrap());
    let (server, client) = writable(ServeOptions { http, ..options() }).await;
    put(&client, json!({"samples": {"dataset": "fresh"}}), vec![texts(0..10)]).await.unwrap();
    let text = get(&server, "/metrics").text();
    assert!(text.contains("gstore_rows_total 0\n"), "{text}");
}

#[test]
fn statements_and_metrics_say_what_was_asked() {
    let server = started(options());
    let writer = token_for(Scope::Write, &server.store, "writer", None);
    let other = token(&server.store, "other", None);
    assert_eq!(ask(&server, &json!({"sql": "SELECT row FROM pool"})).code, 200);
    assert_eq!(ask(&server, &json!({"sql": "SELECT nothing FROM pool"})).code, 400);
    let sql = "SELECT token, statement, state, rows, outcome, first_batch >= queued AS after FROM gstore.statements ORDER BY id";
    let of = |token: &str| lines(&ask_as(&server, token, &json!({"sql": sql})));
    let own = of(&server.token);
    assert_eq!(own.len(), 3, "{own:?}");
    assert_eq!(
        (&own[0]["state"], &own[0]["outcome"], &own[0]["rows"]),
        (&json!("ended"), &json!("ok"), &json!(12))
    );
    assert_eq!(own[0]["after"], json!(true));
    assert_eq!(own[1]["outcome"], json!("invalid_argument"));
    assert_eq!(
        (&own[2]["state"], &own[2]["outcome"]),
        (&json!("running"), &Value::Null),
        "the one that asks"
    );
    assert_eq!(of(&other).len(), 1, "the requests of others are not shown");
    assert_eq!(of(&writer).len(), 5, "who may write sees those of all");

    let metrics = || {
        let metrics = get(&server, "/metrics");
        assert!(metrics.code == 200 && metrics.has("content-type: text/plain; version=0.0.4"));
        metrics.text()
    };
    let mut text = metrics();
    // A connection that was closed here may still be one there.
    for _ in 0..1000 {
        if text.contains("gstore_connections{for=\"http\"} 1\n") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
        text = metrics();
    }
    for line in [
        "gstore_requests_total{kind=\"statement\",outcome=\"invalid_argument\"} 1",
        "gstore_request_seconds_count 5",
        "gstore_request_seconds_bucket{le=\"+Inf\"} 5",
        "gstore_connections{for=\"http\"} 1",
        "gstore_statements_waiting 0",
        "# TYPE gstore_request_seconds histogram",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    for named in ["pool", "writer", "SELECT"] {
        assert!(!text.contains(named), "{named}\n{text}");
    }
    assert_eq!(
        (get(&server, "/healthz").text(), get(&server, "/readyz").text()),
        ("ok\n".into(), "ready\n".into())
    );
}
