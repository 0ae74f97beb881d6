//! Promise: `gstore query --remote` prints and ends as `gstore query` does, and a server is started, guarded
//! and stopped as its help says.

mod served;

use std::process::Command;

use gstore_tests::binary;
use gstore_tests::place::Place;
use served::{Served, place, token};

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
    for format in ["table", "csv", "tsv", "json"] {
        for sql in [
            ranking,
            "SELECT * FROM pool ORDER BY row",
            "SELECT source, count(*) AS n, avg(score) FROM influence('pool', 'target') GROUP BY source ORDER BY source",
            "SELECT row, vector FROM vectors('target', 'grad-sgd@checkpoint-26') ORDER BY row LIMIT 2",
            "SELECT label, dim FROM gstore.features ORDER BY number",
            "SELECT row FROM pool WHERE row > 1000",
            "SHOW TABLES",
            "SELECT nothing FROM pool",
            "SELEC 1",
            "DELETE FROM pool",
            "SELECT * FROM influence('pol', 'target')",
        ] {
            let [here, there] = both.run(&["--format", format, sql]);
            assert_eq!((there.code, &there.stdout), (here.code, &here.stdout), "{sql}\n{}", there.stderr);
            assert_eq!(there.stderr, here.stderr, "{sql}");
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
    assert!(refused.code == 1 && refused.stderr.contains("the token is not known"), "{}", refused.stderr);
    let none = place.run(&["query", "SELECT 1", "--remote", "grpc://127.0.0.1:1", "--token", &token]);
    assert!(none.code == 1 && none.stderr.contains("no connection"), "{}", none.stderr);
    let finished = server.stop();
    assert_eq!(finished.code, 0, "{}", fs_err::read_to_string(place.path("serve.log")).unwrap_or_default());
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
    assert!(!there.stderr.contains("parquet"), "{}", there.stderr);
    let [_, there] = both.run(&["SELECT 1"]);
    assert_eq!(there.code, 0, "the server goes on: {}", there.stderr);
}

#[test]
fn tokens_are_made_listed_and_ended() {
    let place = Place::new();
    gstore_store::Store::create(place.path("store")).expect("created");
    let secret = token(&place, "laptop");
    assert!(secret.starts_with("gst_") && !secret.contains(char::is_whitespace), "{secret}");
    place.ok(&["token", "create", "partner", "--scope", "write", "--expires", "30d"]);
    let listed = place.ok(&["token", "list", "--format", "csv"]);
    assert!(listed.contains("laptop,read,all,") && listed.contains("partner,write,all,"), "{listed}");
    assert!(!listed.contains(&secret));
    let twice = place.run(&["token", "create", "laptop", "--scope", "read"]);
    assert!(twice.code == 1 && twice.stderr.contains("already"), "{}", twice.stderr);
    let unknown = place.run(&["token", "create", "x", "--scope", "read", "--datasets", "nothing"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("nothing"), "{}", unknown.stderr);
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
    let place = Place::new();
    gstore_store::Store::create(place.path("store")).expect("created");
    let open = place.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(open.code == 2 && open.stderr.contains("--plain-text"), "{}", open.stderr);
    let nobody = place.run(&["serve", "--listen", "0.0.0.0:0", "--without-tokens", "--plain-text"]);
    assert!(nobody.code == 2 && nobody.stderr.contains("this machine only"), "{}", nobody.stderr);
    let server = Served::start(&place, &["--without-tokens"]);
    assert_eq!(place.run(&["query", "SELECT 1", "--remote", &server.address]).code, 0);
}

/// Makes a key and a certificate, signed by `ca` or by itself.
fn certificate(place: &Place, name: &str, ca: Option<&str>) {
    let file = |name: &str, ending: &str| place.path(&format!("{name}.{ending}")).display().to_string();
    let run = |args: &[&str]| {
        let output = Command::new("openssl").args(args).output().expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let (key, pem) = (file(name, "key"), file(name, "pem"));
    let subject = format!("/CN={name}");
    let mut args = vec![
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "30",
        "-subj",
        &subject,
        "-keyout",
        &key,
        "-out",
        &pem,
    ];
    let signer = ca.map(|ca| (file(ca, "pem"), file(ca, "key")));
    if let Some((ca, ca_key)) = &signer {
        args.extend(["-CA", ca, "-CAkey", ca_key, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        args.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    run(&args);
}

#[test]
fn certificates_protect_both_sides() {
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "there is no openssl");
        eprintln!("skipped: there is no openssl to make certificates with");
        return;
    }
    let place = Place::new();
    gstore_store::Store::create(place.path("store")).expect("created");
    let token = token(&place, "laptop");
    certificate(&place, "ca", None);
    for name in ["server", "client"] {
        certificate(&place, name, Some("ca"));
    }
    certificate(&place, "stranger", None);
    let tls = ["--tls-cert", "server.pem", "--tls-key", "server.key"];
    let server = Served::start(&place, &tls);
    assert!(server.address.starts_with("grpc+tls://"), "{}", server.address);
    let ask = |address: &str, more: &[&str]| {
        let mut args = vec!["query", "SELECT 1", "--remote", address, "--token", &token];
        args.extend(more);
        place.run(&args)
    };
    let trusted = ask(&server.address, &["--tls-ca", "ca.pem"]);
    assert_eq!(trusted.code, 0, "{}", trusted.stderr);
    assert_eq!(ask(&server.address, &["--tls-ca", "stranger.pem"]).code, 1);
    assert_eq!(ask(&server.address, &[]).code, 1, "not trusted by the system");
    assert_eq!(
        ask(&server.address.replace("grpc+tls", "grpc"), &[]).code,
        1,
        "plain text to a server with TLS"
    );
    drop(server);
    let mut mutual = tls.to_vec();
    mutual.extend(["--client-ca", "ca.pem"]);
    let server = Served::start(&place, &mutual);
    let with = |name: &str| {
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        ask(&server.address, &["--tls-ca", "ca.pem", "--tls-cert", &cert, "--tls-key", &key])
    };
    let known = with("client");
    assert_eq!(known.code, 0, "{}", known.stderr);
    assert_eq!(with("stranger").code, 1);
    assert_eq!(ask(&server.address, &["--tls-ca", "ca.pem"]).code, 1, "without a certificate");
}
