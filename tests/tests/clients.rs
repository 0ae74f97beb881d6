//! Promise: third-party clients read from an unmodified server, and get what the local command writes, bit
//! for bit; the examples on the page about them work as written.

use std::path::Path;
use std::process::Command;

use crate::served::{Served, place, token};
use gstore_tests::binary;
use gstore_tests::place::Place;

/// Each of them a script.
const CLIENTS: &[&str] =
    &["pyarrow_flight.py", "adbc_flightsql.py", "polars_adbc.py", "duckdb_arrow.py", "jdbc_calls.py"];

/// What the clients import; docs/python-requirements.txt lists what it takes.
const IMPORT: &str = "import pyarrow.flight, adbc_driver_flightsql.dbapi, duckdb, pandas, polars";

/// What a command printed; fails with the server's log where it did not end well.
fn finished(place: &Place, what: &str, command: &mut Command) -> String {
    let output = command.current_dir(place.path("")).output().expect("it runs");
    let log = fs_err::read_to_string(place.path("serve.log")).unwrap_or_default();
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}\n{printed}\n{said}\n{log}");
    printed.into_owned()
}

#[test]
fn clients_of_other_makers_read_what_the_command_writes() {
    let Some(python) = binary::python(IMPORT) else { return };
    let place = place();
    let token = token(&place, "clients");
    let server = Served::start(&place, &[]);
    for script in CLIENTS {
        let mut command = Command::new(&python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script));
        command.args([&server.address, &token]).arg(binary::path()).arg(place.path("store"));
        let printed = finished(&place, script, &mut command);
        assert!(printed.contains("all checked"), "{script}\n{printed}");
    }
    assert_eq!(server.stop().code, 0);
}

#[test]
fn random_statements_have_the_rows_that_duckdb_finds() {
    let Some(python) = binary::python(IMPORT) else { return };
    let place = place();
    let token = token(&place, "statements");
    let server = Served::start(&place, &[]);
    // `just statements` sets them; a sample otherwise.
    let chosen = std::env::var("GSTORE_STATEMENTS").unwrap_or_else(|_| "1 40".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/random_statements.py");
    let mut command = Command::new(&python);
    command.arg(script).args([&server.address, &token]).args(chosen.split_whitespace());
    let printed = finished(&place, "statements", &mut command);
    assert!(printed.contains("all checked"), "{printed}");
    println!("{printed}");
}

/// The code blocks of a page: in which language, and what.
fn samples(page: &str) -> Vec<(String, String)> {
    let mut samples = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let code: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            samples.push((language.to_owned(), code.join("\n")));
        }
    }
    samples
}

#[test]
fn the_samples_of_the_page_run_as_they_stand_there() {
    let Some(python) = binary::python(IMPORT) else { return };
    let place = place();
    let token = place.ok(&["token", "create", "page", "--scope", "write"]).trim().to_owned();
    let server = Served::start(&place, &[]);
    let address = server.address.trim_start_matches("grpc://");
    let page = fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/clients.md"));
    let mut ran = (0, 0);
    for (language, code) in samples(&page.expect("the page")) {
        // The page names a real target and checkpoint; those of the test are small.
        let code = code.replace("127.0.0.1:8815", address);
        let code = code.replace("gsm8k", "target").replace("checkpoint-112", "checkpoint-26");
        let mut command = match language.as_str() {
            "python" => {
                ran.0 += 1;
                let mut command = Command::new(&python);
                command.args(["-c", &code]);
                command
            }
            "" => {
                ran.1 += 1;
                let folder = binary::path().parent().expect("a folder");
                let path = std::env::var("PATH").unwrap_or_default();
                let mut command = Command::new("sh");
                command.args(["-e", "-c", &code]).env("PATH", format!("{}:{path}", folder.display()));
                command
            }
            other => panic!("no way to run {other}"),
        };
        finished(&place, &code, command.env("GSTORE_TOKEN", &token));
    }
    assert!(ran.0 >= 4 && ran.1 >= 2, "{ran:?}");
    assert!(place.path("selected.jsonl").exists());
}
