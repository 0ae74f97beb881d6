//! Promise: a server demands what its owner configured, and keeps answering others while somebody wastes its
//! connections or guesses tokens.

use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::served::{Served, token};
use gstore_tests::binary;
use gstore_tests::place::Place;

/// Whether certificates can be made; says so where they cannot.
fn has_openssl() -> bool {
    if Command::new("openssl").arg("version").output().is_ok() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "there is no openssl");
    eprintln!("skipped: there is no openssl to make certificates with");
    false
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
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30";
    let mut args: Vec<&str> = request.split(' ').collect();
    args.extend(["-subj", &subject, "-keyout", &key, "-out", &pem]);
    let signer = ca.map(|ca| (file(ca, "pem"), file(ca, "key")));
    if let Some((ca, ca_key)) = &signer {
        args.extend(["-CA", ca, "-CAkey", ca_key, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        args.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    run(&args);
}

#[test]
fn certificates_protect_both_sides() {
    if !has_openssl() {
        return;
    }
    let place = Place::with_store();
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
    // Those that connect and say nothing keep no others out; each has ten seconds.
    let address = server.address.trim_start_matches("grpc+tls://");
    let silent: Vec<_> = (0..100).map(|_| TcpStream::connect(address).expect("taken")).collect();
    let began = Instant::now();
    ask(&server.address, &["--tls-ca", "ca.pem"]).says(0, &[]);
    assert!(began.elapsed() < Duration::from_secs(9), "it waited for the silent ones");
    drop(silent);
    assert_eq!(ask(&server.address, &["--tls-ca", "stranger.pem"]).code, 1);
    // The system does not trust it.
    let untrusted =
        "the certificate of its signer (of a self-signed one, its own) is given with --tls-ca FILE";
    ask(&server.address, &[]).says(1, &["invalid peer certificate", untrusted]);
    // Plain text to a server with TLS.
    ask(&server.address.replace("grpc+tls", "grpc"), &[]).says(1, &["TLS is grpc+tls://host:port"]);
    drop(server);
    let mut mutual = tls.to_vec();
    mutual.extend(["--client-ca", "ca.pem"]);
    let server = Served::start(&place, &mutual);
    let with = |name: &str| {
        let (cert, key) = (format!("{name}.pem"), format!("{name}.key"));
        ask(&server.address, &["--tls-ca", "ca.pem", "--tls-cert", &cert, "--tls-key", &key])
    };
    with("client").says(0, &[]);
    // A pipe, as a shell makes of <(command), is read once.
    binary::ok(Command::new("mkfifo").arg(place.path("pipe.key")));
    let (key, pipe) = (place.read("client.key"), place.path("pipe.key"));
    std::thread::spawn(move || fs_err::write(pipe, key));
    let piped = ["--tls-ca", "ca.pem", "--tls-cert", "client.pem", "--tls-key", "pipe.key"];
    ask(&server.address, &piped).says(0, &[]);
    assert_eq!(with("stranger").code, 1);
    assert_eq!(ask(&server.address, &["--tls-ca", "ca.pem"]).code, 1, "without a certificate");
    let log = place.read("serve.log");
    assert!(log.contains("the certificate of a client was refused"), "{log}");
}

/// Whether a second connection goes on with the TLS session of the first.
fn is_resumed(place: &Place, address: &str, version: &str) -> bool {
    let connect = |session: &str| {
        // What a session is resumed with comes after the handshake.
        let line = format!(
            "sleep 0.5 | openssl s_client -connect {address} -{version} -alpn h2 -CAfile ca.pem -cert client.pem \
             -key client.key {session} of_{version}"
        );
        let output = Command::new("sh").args(["-c", &line]).current_dir(place.path("")).output();
        String::from_utf8_lossy(&output.expect("a shell").stdout).into_owned()
    };
    let first = connect("-sess_out");
    assert!(first.contains("New, TLSv1"), "{first}");
    connect("-sess_in").contains("Reused, TLSv1")
}

#[test]
fn each_connection_has_the_certificate_of_its_client_verified() {
    if !has_openssl() {
        return;
    }
    let place = Place::with_store();
    token(&place, "laptop");
    certificate(&place, "ca", None);
    for name in ["server", "client"] {
        certificate(&place, name, Some("ca"));
    }
    let tls = ["--tls-cert", "server.pem", "--tls-key", "server.key"];
    let mutual = ["--client-ca", "ca.pem"];
    for (more, resumed) in [(&mutual[..0], true), (&mutual[..], false)] {
        let server = Served::start(&place, &[&tls[..], more].concat());
        let address = server.address.trim_start_matches("grpc+tls://");
        for version in ["tls1_2", "tls1_3"] {
            assert_eq!(is_resumed(&place, address, version), resumed, "{version} {more:?}");
        }
    }
}

#[test]
fn a_file_of_tls_that_cannot_be_used_is_named() {
    if !has_openssl() {
        return;
    }
    let place = Place::with_store();
    certificate(&place, "one", None);
    certificate(&place, "two", None);
    place.write("empty", "");
    let mut cases = vec![
        ("empty", "one.key", "one.pem", "empty has no certificate"),
        ("one.pem", "empty", "one.pem", "empty has no unencrypted private key"),
        ("one.pem", "one.key", "empty", "empty has no certificate"),
        ("one.key", "one.pem", "one.pem", "one.key has no certificate"),
        ("one.pem", "two.key", "one.pem", "two.key is not the key of one.pem"),
    ];
    let openssl = |line: &str| {
        let mut command = Command::new("openssl");
        command.args(line.split(' ')).current_dir(place.path(""));
        binary::ok(&mut command)
    };
    openssl("req -new -key one.key -subj /CN=old -out old.csr");
    openssl("x509 -req -in old.csr -signkey one.key -out old.pem");
    // Some give each certificate extensions.
    if openssl("x509 -in old.pem -noout -text").contains("Version: 1 ") {
        cases.push(("old.pem", "one.key", "one.pem", "old.pem is not of version 3"));
    }
    for (certificate, key, ca, says) in cases {
        let own = ["--tls-cert", certificate, "--tls-key", key];
        let of_server = ["serve", "--listen", "127.0.0.1:0", "--client-ca", ca];
        place.run(&[&of_server[..], &own].concat()).says(1, &["TLS cannot be set up", says]);
        let of_client = ["query", "SELECT 1", "--remote", "grpc+tls://127.0.0.1:1", "--tls-ca", ca];
        place.run(&[&of_client[..], &own].concat()).says(1, &[says]);
    }
}

#[test]
fn certificates_change_without_a_restart() {
    if !has_openssl() {
        return;
    }
    let place = Place::with_store();
    let token = token(&place, "laptop");
    for ca in ["old", "new"] {
        certificate(&place, ca, None);
    }
    certificate(&place, "server", Some("old"));
    let server = Served::start(&place, &["--tls-cert", "server.pem", "--tls-key", "server.key"]);
    let ask = |ca: &str| {
        let args = ["query", "SELECT 1", "--remote", &server.address, "--token", &token, "--tls-ca", ca];
        place.run(&args).code
    };
    let soon = |wanted: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !wanted() {
            assert!(began.elapsed() < Duration::from_secs(20), "not in time");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    assert_eq!((ask("old.pem"), ask("new.pem")), (0, 1));
    // What cannot be used changes nothing.
    let log = || fs_err::read_to_string(place.path("serve.log")).unwrap_or_default();
    let good = fs_err::read(place.path("server.pem")).expect("read");
    place.write("server.pem", b"no certificate");
    soon(&|| ask("old.pem") == 0 && log().contains("the ones before stay in use"));
    assert_eq!(ask("old.pem"), 0);
    place.write("server.pem", good);
    certificate(&place, "server", Some("new"));
    soon(&|| ask("new.pem") == 0);
    assert_eq!(ask("old.pem"), 1);
    assert_eq!(server.stop().code, 0);
}

#[test]
fn whoever_tries_out_tokens_has_to_wait_and_others_have_not() {
    let place = Place::with_store();
    let token = token(&place, "laptop");
    let server = Served::start(&place, &[]);
    let ask = |token: &str| place.run(&["query", "SELECT 1", "--remote", &server.address, "--token", token]);
    assert_eq!(ask(&token).code, 0);
    let refused = (0..60).map(|i| ask(&format!("gst_{i}"))).find(|refused| {
        refused.says(1, &[]);
        refused.stderr.contains("try again in")
    });
    assert!(refused.is_some(), "sixty wrong tokens are taken");
    // The same address, with a token that was good before.
    assert_eq!(ask(&token).code, 0);
}

#[test]
fn one_connection_too_many_says_so() {
    let place = Place::with_store();
    let token = token(&place, "laptop");
    let server = Served::start(&place, &["--connections", "1"]);
    let held = TcpStream::connect(server.address.trim_start_matches("grpc://")).expect("taken");
    let refused = place.run(&["query", "SELECT 1", "--remote", &server.address, "--token", &token]);
    refused.says(1, &["too many connections"]);
    drop(held);
}

#[test]
fn connections_that_do_nothing_make_room_or_are_too_many() {
    let place = Place::with_store();
    let token = token(&place, "laptop");
    let server = Served::start(&place, &["--connections", "4", "--idle", "1s"]);
    let address = server.address.trim_start_matches("grpc://").to_owned();
    let ask = || place.run(&["query", "SELECT 1", "--remote", &server.address, "--token", &token]);
    let mut idle: Vec<TcpStream> =
        (0..12).map(|_| TcpStream::connect(&address).expect("taken, if only to be sent away")).collect();
    let mut told = Vec::new();
    idle.last_mut().expect("one").read_to_end(&mut told).expect("closed in order");
    assert_eq!(told.get(3), Some(&4), "SETTINGS, and no more to one that does not speak HTTP/2: {told:?}");
    // The first four end after a second without a request.
    for stream in &mut idle[..4] {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("closed");
    }
    assert_eq!(ask().code, 0);
    // Half a handshake is no connection for long either; many dropped ones leave nothing behind.
    for _ in 0..100 {
        drop(TcpStream::connect(&address));
    }
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(ask().code, 0);
    assert_eq!(server.stop().code, 0);
}
