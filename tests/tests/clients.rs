//! Promise: clients of other makers read a server unchanged, and get what the local command writes, bit for
//! bit.

mod served;

use std::path::Path;
use std::process::Command;

use gstore_tests::binary;
use served::{Served, place, token};

/// An interpreter with the clients, or `None` after saying that the test is skipped.
fn python() -> Option<String> {
    let python = std::env::var("GSTORE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let wanted = "import pyarrow.flight, adbc_driver_flightsql.dbapi, pandas, polars";
    if Command::new(&python).args(["-c", wanted]).output().is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let missing = format!("{python} cannot {wanted}; docs/python-requirements.txt lists what it takes");
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    eprintln!("skipped: {missing}");
    None
}

#[test]
fn clients_of_other_makers_read_what_the_command_writes() {
    let Some(python) = python() else { return };
    let place = place();
    let token = token(&place, "clients");
    let server = Served::start(&place, &[]);
    for script in ["pyarrow_flight.py", "adbc_flightsql.py"] {
        let output = Command::new(&python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script))
            .args([&server.address, &token])
            .arg(binary::path())
            .arg(place.path("store"))
            .current_dir(place.path(""))
            .output()
            .expect("python runs");
        let log = fs_err::read_to_string(place.path("serve.log")).unwrap_or_default();
        let (printed, said) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success() && printed.contains("all checked"),
            "{script}\n{printed}\n{said}\n{log}"
        );
    }
    assert_eq!(server.stop().code, 0);
}
