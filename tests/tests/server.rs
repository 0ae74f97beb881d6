//! Promise: `gstore query --remote` prints and exits as `gstore query` does, and a server is started, guarded
//! and stopped as its help says.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::served::{Served, place, token};
use gstore_ingest::pipeline::Kind;
use gstore_store::Store;
use gstore_tests::place::Place;
use gstore_tests::{binary, world};

/// The same statement here and there.
struct Both<'a> {
    place: &'a Place,
    server: &'a Served,
    token: &'a str,
}

impl Both<'_> {
    fn run(&self, args: &[&str]) -> [binary::Finished; 2] {
        let mut here = vec!["query"];
        here.extend(args);
        let mut there = here.clone();
        there.extend(["--remote", &self.server.address, "--token", self.token]);
        [self.place.run(&here), self.place.run(&there)]
    }
}

#[test]
fn a_remote_query_prints_and_ends_as_a_local_one() {
    let place = place();
    let token = token(&place, "laptop");
    let server = Served::start(&place, &[]);
    let both = Both { place: &place, server: &server, token: &token };
    let ranking = "SELECT id, score FROM influence('pool', 'target') ORDER BY score DESC LIMIT 7";
    for format in ["table", "csv", "tsv", "json", "markdown", "html"] {
        for sql in [
            ranking,
            "SELECT * FROM pool ORDER BY row",
            "SELECT source, count(*) AS n, avg(score) FROM influence('pool', 'target') GROUP BY source ORDER BY source",
            "SELECT row, vector FROM vectors('target', 'grad-sgd@checkpoint-26') ORDER BY row LIMIT 2",
            "SELECT label, dim FROM gstore.features ORDER BY number",
            "SELECT row FROM pool WHERE row > 1000",
            "DESCRIBE pool",
            "SELECT nothing FROM pool",
            "SELEC 1",
            "DELETE FROM pool",
            "SELECT * FROM influence('pol', 'target')",
        ] {
            let [here, there] = both.run(&["--format", format, sql]);
            assert_eq!((there.code, &there.stdout), (here.code, &here.stdout), "{sql}\n{}", there.stderr);
            // A server does not know where its store is for those who ask.
            assert_eq!(there.stderr, here.stderr.replace(&place.at_store(), ""), "{sql}");
        }
    }
    let sql = "SELECT id FROM influence($pool, ?, k => 3)".replace('?', "$target");
    let [here, there] =
        both.run(&[&sql, "--param", "pool=pool", "--param", "target=target", "--format", "csv"]);
    assert_eq!((here.code, there.code), (0, 0), "{}{}", here.stderr, there.stderr);
    assert_eq!((here.stdout.lines().count(), &here.stdout), (4, &there.stdout));
    let sql = "SELECT ? AS a, ? AS b, ? AS c, ? AS d";
    let given = ["--param", "1=1.5", "--param", "2=text", "--param", "3=[1,2]", "--param", "4=null"];
    let mut args = vec![sql, "--format", "json"];
    args.extend(given);
    let [here, there] = both.run(&args);
    assert_eq!(here.stdout, "{\"a\":1.5,\"b\":\"text\",\"c\":[1,2],\"d\":null}\n", "{}", here.stderr);
    assert_eq!(there.stdout, here.stdout, "{}", there.stderr);
    for (bad, code) in [("x", 2), ("=1", 2), ("a b=1", 2), ("z=1", 1)] {
        let [here, there] = both.run(&["SELECT $1", "--param", bad]);
        assert_eq!((here.code, &here.stderr), (code, &there.stderr), "{bad}");
        assert_eq!(there.code, code);
    }
    // A result in a file has the same bytes.
    for (name, remote) in [("here.arrow", false), ("there.arrow", true)] {
        let mut args = vec!["query", ranking, "-o", name];
        if remote {
            args.extend(["--remote", &server.address, "--token", &token]);
        }
        place.ok(&args);
    }
    let read = |name: &str| fs_err::read(place.path(name)).expect("written");
    assert_eq!(read("here.arrow"), read("there.arrow"));

    let refused = place.run(&["query", "SELECT 1", "--remote", &server.address, "--token", "gst_wrong"]);
    refused.says(1, &["the token is not known"]);
    let bare = place.run(&["query", "SELECT 1", "--remote", &server.address]);
    let says = "a token is needed; `gstore token create` on the server makes one; a token is given with --token or GSTORE_TOKEN";
    bare.says(1, &[says]);
    let none = place.run(&["query", "SELECT 1", "--remote", "grpc://127.0.0.1:1", "--token", &token]);
    none.says(1, &["no connection"]);
    for script in [".schema pool", "SELECT 1;\n.mode json\nSELECT 2", "\\d"] {
        let [_, there] = both.run(&[script]);
        there.says(2, &["dot commands are for a store on this machine", "SHOW TABLES", "--format"]);
    }
    let finished = server.stop();
    assert_eq!(finished.code, 0, "{}", fs_err::read_to_string(place.path("serve.log")).unwrap_or_default());
}

#[test]
fn options_that_do_not_fit_an_address_are_refused_before_anything_is_sent() {
    let place = Place::with_store();
    let ask = ["query", "SELECT 1", "--remote", "grpc://127.0.0.1:1"];
    let with_store = binary::run(binary::gstore(&place.path("store")).args(ask));
    with_store.says(2, &["--store is a store on this machine"]);
    // What is there for all commands is no contradiction.
    binary::run(place.bare(&ask).env("GSTORE_STORE", "store")).says(1, &["no connection"]);
    for options in [&["--tls-ca", "ca.pem"][..], &["--tls-cert", "c.pem", "--tls-key", "c.key"]] {
        place
            .run(&[&ask[..], options].concat())
            .says(2, &["--tls-ca and --tls-cert", "grpc+tls://host:port"]);
    }
    for address in ["grpc://localhost", "http://localhost:8815"] {
        place.run(&["query", "SELECT 1", "--remote", address]).says(2, &["grpc://host:port", address]);
    }
    for address in ["grpc://me:gst_secret@127.0.0.1:1", "gst_secret@127.0.0.1:1"] {
        let refused = place.run(&["query", "SELECT 1", "--remote", address]);
        refused.says(2, &["grpc://host:port", "a token is given with --token or GSTORE_TOKEN"]);
        assert!(!refused.stderr.contains("gst_secret"), "{}", refused.stderr);
    }
}

#[test]
fn an_answer_that_breaks_off_says_that_the_server_may_have_stopped() {
    let place = place();
    let token = token(&place, "laptop");
    let server = Served::start(&place, &[]);
    let sql = "SELECT a.id AS a, b.id AS b, c.id AS c FROM pool a CROSS JOIN pool b CROSS JOIN pool c";
    let args = ["query", sql, "--remote", &server.address, "--token", &token, "--format", "csv"];
    let mut query = place.gstore(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    query.stdout.as_mut().expect("piped").read_exact(&mut [0]).expect("rows");
    // It is killed, and does not end its answers.
    drop(server);
    let finished = binary::Finished::from(query.wait_with_output().expect("ends"));
    finished.says(1, &["the connection to the server broke; the server may have stopped: ask again ("]);
}

#[test]
fn a_server_that_cannot_listen_says_only_why() {
    let place = place();
    token(&place, "laptop");
    let server = Served::start(&place, &[]);
    let address = server.address.trim_start_matches("grpc://");
    let second = place.run(&["serve", "--listen", address]);
    second.says(1, &["cannot listen on"]);
    assert!(!second.stderr.contains("stopped"), "{}", second.stderr);
}

#[test]
fn rows_are_purged_beside_a_server_that_has_answered() {
    let place = place();
    let token = token(&place, "laptop");
    let server = Served::start(&place, &[]);
    let both = Both { place: &place, server: &server, token: &token };
    let count = ["SELECT count(*) AS n FROM pool", "--format", "csv"];
    let counted = |rows: &str| {
        let [_, there] = both.run(&count);
        assert_eq!((there.code, there.stdout.as_str()), (0, rows), "{}", there.stderr);
    };
    counted("n\n120\n");
    // The server lets go of the snapshot an instant after its answer.
    let begun = Instant::now();
    let purged = loop {
        let purged = place.run(&["delete", "--dataset", "pool", "--id", "s3", "--purge", "--yes"]);
        if purged.code == 0 || begun.elapsed() > Duration::from_secs(30) {
            break purged;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    purged.says(0, &[]);
    counted("n\n119\n");
}

#[test]
fn a_remote_selection_writes_what_a_local_one_does() {
    let place = place();
    let token = token(&place, "laptop");
    let server = Served::start(&place, &[]);
    let both = Both { place: &place, server: &server, token: &token };
    let files = ["rows.jsonl", "rows.jsonl.scores.csv"];
    for (rules, asked) in [
        (false, &["--top", "7"][..]),
        (false, &["--top", "5%"]),
        (false, &["--top", "50%", "--of", "target"]),
        (false, &["--top", "7", "--of", "target"]),
        (false, &["--top", "9", "--worst"]),
        (false, &["--top", "9", "--with-scores"]),
        (false, &["--top", "9", "--within", "max", "--sim", "dot", "--checkpoints", "checkpoint-26"]),
        (false, &["--top", "4", "--scores-of", "all"]),
        (false, &["--top", "500"]),
        (true, &["--top", "20", "--quota", "*=3"]),
        (true, &["--top", "12", "--distinct", "0.99", "--round-robin", "sample"]),
        (true, &["--top", "12", "--round-robin", "sample", "--within", "mean", "--fold", "none"]),
        (true, &["--top", "12", "--quota", "*=3", "--worst"]),
        (false, &["--top", "7", "--explain"]),
        (false, &["--top", "4", "--scores-of", "all", "--explain", "--worst"]),
        (true, &["--top", "9", "--quota", "*=2", "--explain"]),
        (false, &["--top", "0%"]),
        (false, &["--top", "5", "--checkpoints", "nothing"]),
        (false, &["--top", "5", "--where", "source = 'a' -- and no other"]),
    ] {
        let [here, there] = selected(&both, &[&["--pool", "pool"][..], asked].concat(), files);
        assert_eq!((there.0.code, &there.0.stdout), (here.0.code, &here.0.stdout), "{}", there.0.stderr);
        assert_eq!(there.1, here.1, "{asked:?}");
        // What rules passed over is told here only; what is wrong with a question, there in the words of SQL.
        let alike = rules || here.0.code == 1 || there.0.stderr == here.0.stderr;
        assert!(alike, "{asked:?}\n{}\n{}", there.0.stderr, here.0.stderr);
        there.0.lacks(&["(line "]);
    }
    // Users do not see the SQL that is sent to the server, so no message refers to it.
    let itself = ["select", "--pool", "pool", "--target", "pool", "--top", "3", "-o", "rows.jsonl"];
    let missing = ["select", "--pool", "pol", "--target", "target", "--top", "5%", "-o", "rows.jsonl"];
    for (here, says) in [(itself, "rank by `--kind embed-mean`"), (missing, "there is no dataset")] {
        let mut there = here.to_vec();
        there.extend(["--remote", &server.address, "--token", &token]);
        for args in [here.as_slice(), there.as_slice()] {
            place.run(args).says(1, &[says]).lacks(&["=>"]);
        }
    }
    let table = ["select", "--pool", "pool", "--target", "target", "--top", "3", "-o", "rows.csv"];
    let mut remote = table.to_vec();
    remote.extend(["--remote", &server.address, "--token", &token]);
    place.run(&remote).says(2, &[".jsonl"]);
}

/// How a selection ends here and there, and what it writes.
fn selected(
    both: &Both<'_>,
    asked: &[&str],
    files: [&str; 2],
) -> [(binary::Finished, [Option<Vec<u8>>; 2]); 2] {
    let mut here = vec!["select", "--target", "target", "-o", files[0]];
    here.extend(asked);
    let mut there = here.clone();
    there.extend(["--remote", &both.server.address, "--token", both.token]);
    [here, there].map(|args| {
        let finished = both.place.run(&args);
        let written = files.map(|name| fs_err::read(both.place.path(name)).ok());
        files.iter().for_each(|name| drop(fs_err::remove_file(both.place.path(name))));
        (finished, written)
    })
}

/// The relation of the scores has a `subtask` and a `score` of its own, which are not the pool's.
#[test]
fn a_remote_condition_is_about_the_columns_of_the_pool() {
    let place = place();
    let store = Store::open(place.path("store")).expect("opens");
    let line = |i: usize| {
        let (subtask, score) = (["easy", "hard"][i % 2], i % 5);
        let line = serde_json::json!({
            "id": format!("g{i}"), "text": format!("{i} is {score}"), "source": (["a", "b", "c"][i % 3]),
            "subtask": subtask, "score": score, "pool": format!("p{}", i % 4),
        });
        format!("{line}\n")
    };
    place.write("graded.jsonl", (0..24).map(line).collect::<String>());
    for dataset in ["graded", "again"] {
        world::register(&store, dataset, &place.path("graded.jsonl")).expect("registered");
        world::run(&store, world::request(dataset, &[Kind::GradAdam])).expect("ingested");
    }
    drop(store);
    let token = token(&place, "laptop");
    let server = Served::start(&place, &[]);
    let both = Both { place: &place, server: &server, token: &token };
    for (pools, condition, explain) in [
        (&["graded"][..], "subtask = 'hard'", false),
        (&["graded"], "score_ >= 3 AND pool <> 'p1'", true),
        (&["graded"], "graded.subtask = 'easy' AND text LIKE '%4%'", false),
        (&["graded"], "id IN (SELECT id FROM graded WHERE score_ = 2)", false),
        (&["graded", "again"], "subtask = 'hard'", false),
        // Each pool has columns of its own, and losses of its newest checkpoint.
        (&["graded", "pool"], "source = 'b'", false),
        (&["pool"], "loss >= 0 -- all", false),
        // What the pool's own table lacks is no column here either.
        (&["pool"], "score > -1", false),
    ] {
        let mut asked = vec!["--top", "6", "--where", condition, "--pool"];
        asked.extend(pools);
        asked.extend(explain.then_some("--explain"));
        let [here, there] = selected(&both, &asked, ["rows.jsonl", "rows.jsonl.scores.csv"]);
        assert_eq!((there.0.code, &there.0.stdout), (here.0.code, &here.0.stdout), "{}", there.0.stderr);
        assert_eq!(there.1, here.1, "{condition}\n{}{}", here.0.stderr, there.0.stderr);
        assert_eq!(here.0.code, i32::from(condition.contains("-1")), "{condition}\n{}", here.0.stderr);
    }
    // All rows that occur in the target, and no row.
    for (condition, code, says) in [
        ("row < 3", 0, "6 rows occur in the target and were left out"),
        ("row < 0", 1, "--where: the condition is true for none of 120 rows"),
    ] {
        let asked = ["--pool", "pool", "--top", "2", "--exclude-target", "--where", condition];
        let [here, there] = selected(&both, &asked, ["rows.jsonl", "rows.jsonl.scores.csv"]);
        here.0.says(code, &[says]);
        there.0.says(code, &[says]);
        assert_eq!(there.1, here.1, "{condition}");
    }
    let ruled = ["--pool", "graded", "--top", "4", "--where", "score_ < 3", "--quota", "*=2"];
    let [here, there] = selected(&both, &ruled, ["rows.jsonl", "rows.jsonl.scores.csv"]);
    assert_eq!((here.0.code, there.0.code), (0, 0), "{}{}", here.0.stderr, there.0.stderr);
    assert_eq!(there.1, here.1);
    for (condition, code, why) in [
        ("", 2, "--where: the condition is empty"),
        ("(source = 'a'", 2, "--where: syntax error at the end: expected )"),
        ("source = 'a') OR (source = 'b'", 2, "--where: syntax error at ): the condition ends before it"),
        ("source = 'a';", 2, "--where: syntax error at ;: the condition ends before it"),
        ("source = 'a' 7", 2, "--where: syntax error at 7"),
        ("source = 'a'\nAND sorce = 'b'", 1, "--where: there is no column `sorce`"),
    ] {
        let asked = ["--pool", "pool", "--top", "2", "--where", condition];
        for finished in selected(&both, &asked, ["rows.jsonl", "rows.jsonl.scores.csv"]) {
            let place = if condition.contains("sorce") { "line 2, column 5" } else { "" };
            finished.0.says(code, &[why, place]);
        }
    }
}

#[test]
fn damage_ends_a_remote_query_as_a_local_one() {
    let place = place();
    let token = token(&place, "laptop");
    let folder = place.path("store/samples/1");
    let file = fs_err::read_dir(folder).expect("samples").next().expect("one").expect("one").path();
    let mut bytes = fs_err::read(&file).expect("read");
    bytes[40] ^= 1;
    fs_err::write(&file, bytes).expect("written");
    let server = Served::start(&place, &[]);
    let both = Both { place: &place, server: &server, token: &token };
    let [here, there] = both.run(&["SELECT id FROM pool"]);
    assert_eq!((here.code, there.code), (3, 3), "{}{}", here.stderr, there.stderr);
    there.lacks(&["parquet"]);
    // The server goes on.
    let [_, there] = both.run(&["SELECT 1"]);
    there.says(0, &[]);
}

#[test]
fn tokens_are_made_listed_and_ended() {
    let place = Place::with_store();
    let secret = token(&place, "laptop");
    assert!(secret.starts_with("gst_") && !secret.contains(char::is_whitespace), "{secret}");
    place.ok(&["token", "create", "partner", "--scope", "write", "--expires", "30d"]);
    let listed = place.ok(&["token", "list", "--format", "csv"]);
    assert!(listed.contains("laptop,read,all,") && listed.contains("partner,write,all,"), "{listed}");
    assert!(!listed.contains(&secret));
    let again = place.run(&["token", "create", "laptop", "--scope", "read"]);
    again.says(1, &[&format!("already; `gstore token revoke laptop{}` ends it", place.at_store())]);
    place.run(&["token", "create", "x", "--scope", "read", "--datasets", "nothing"]).says(1, &["nothing"]);
    place.run(&["token", "revoke"]).says(2, &["name of one: laptop, partner"]);
    place.ok(&["token", "revoke", "laptop"]);
    assert!(!place.ok(&["token", "list", "--format", "csv"]).contains("laptop"));
    assert_eq!(place.run(&["token", "revoke", "laptop"]).code, 1);
    // Neither a backup nor a collection touches them.
    place.ok(&["backup", "--to", "copy"]);
    assert!(!place.path("copy/server").exists());
    place.ok(&["gc", "--keep-within", "0s", "--keep", "1"]);
    assert!(place.ok(&["token", "list", "--format", "csv"]).contains("partner"));
    assert_eq!(place.run(&["verify"]).code, 0);
}

#[test]
fn a_server_that_others_reach_has_a_certificate_or_is_told_not_to() {
    let place = Place::with_store();
    place.run(&["serve", "--listen", "0.0.0.0:0"]).says(2, &["--plain-text"]);
    let open = place.run(&["serve", "--listen", "0.0.0.0:0", "--without-tokens", "--plain-text"]);
    open.says(2, &["this machine only"]);
    place.write("file", "");
    for (args, says) in [
        (["serve", "--statements-each", "99"], "part of --statements"),
        (["serve", "--memory-each", "3GB"], "part of --memory"),
        (["serve", "--listen", "localhost:8815"], "127.0.0.1:8815"),
        (["serve", "--time", "0s"], "a time above 0"),
        (["serve", "--log-level", "inof"], "error, warn, info, debug, trace"),
        (["serve", "--spill", "file"], "cannot be used"),
    ] {
        place.run(&args).says(2, &[says]);
    }
    let server = Served::start(&place, &["--without-tokens"]);
    assert_eq!(place.run(&["query", "SELECT 1", "--remote", &server.address]).code, 0);
    let page = server.address.replace("grpc://", "http://");
    place.run(&["query", "SELECT 1", "--remote", &page]).says(2, &["grpc://host:port"]);
}

#[test]
fn no_statement_makes_a_line_of_the_log_or_drives_a_terminal() {
    let place = Place::with_store();
    let token = token(&place, "laptop");
    let server = Served::start(&place, &["--audit-log", "audit.jsonl"]);
    let sql = "SELECT 1 AS a,\nforged FROM (SELECT '\u{1b}[31m' AS forged)";
    assert_eq!(place.run(&["query", sql, "--remote", &server.address, "--token", &token]).code, 0);
    assert_eq!(server.stop().code, 0);
    let log = place.read("serve.log");
    assert!(log.contains("what=SELECT 1 AS a,\\nforged FROM (SELECT '\\u{1b}[31m' AS forged)\n"), "{log}");
    assert!(!log.contains("\nforged") && !log.contains('\u{1b}'), "{log}");
    let audit = place.read("audit.jsonl");
    let mut lines = audit.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    assert!(lines.any(|line| line["what"] == sql), "{audit}");
}

#[test]
fn a_log_of_json_has_nothing_else() {
    let place = Place::with_store();
    let server = Served::start(&place, &["--log", "json"]);
    assert_eq!(server.stop().code, 0);
    let log = place.read("serve.log");
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {log}"))).collect();
    for said in ["there is no token yet", "stopping; a second signal", "stopped"] {
        let is_said =
            |line: &serde_json::Value| line["message"].as_str().is_some_and(|m| m.starts_with(said));
        assert!(lines.iter().any(is_said), "{said}: {log}");
    }
}

/// A file of options that is handed out: every line of it is understood, and it serves.
#[test]
fn options_stand_in_a_file() {
    let place = Place::with_store();
    let handed_out = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/server.toml");
    let text = fs_err::read_to_string(handed_out).expect("read");
    let kept =
        |line: &&str| !["store =", "listen =", "tls-", "drain ="].iter().any(|start| line.starts_with(start));
    let text = text.lines().filter(kept).collect::<Vec<_>>().join("\n");
    let text = text.replace("/var/tmp/gstore", "spill").replace("/var/log/gstore/audit.jsonl", "audit.jsonl");
    fs_err::create_dir(place.path("spill")).expect("made");
    place.write("server.toml", format!("{text}\nwithout-tokens = true\nconnections = 7\n"));
    let server = Served::start(&place, &["--config", "server.toml"]);
    assert_eq!(place.run(&["query", "SELECT 1", "--remote", &server.address]).code, 0);
    assert_eq!(server.stop().code, 0);
    let log = place.read("serve.log");
    assert!(log.lines().any(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{log}");
    let audit = place.read("audit.jsonl");
    assert!(audit.contains("SELECT 1"), "{audit}");
    place.write("server.toml", "[serve]\nconections = 7\n");
    place.run(&["serve", "--config", "server.toml"]).says(2, &["conections"]);
}
