//! Promise: readers see each snapshot as it was published, whatever other processes do meanwhile.
//!
//! A program of its own: until a child that another test forks runs its own program, it holds this one's
//! locks, and a job that is started in that moment is refused.

use gstore_faults::suite::Suite;
use gstore_faults::{Stop, soak};

#[test]
fn readers_and_writers_at_once() {
    let suite = Suite::short(1, env!("CARGO_BIN_EXE_faults").into(), None);
    let report = soak::run(1, &suite.soak, &Stop::after(None));
    println!("{}", report.line());
    assert!(report.is_good(), "{:#?}", report.anomalies);
}
