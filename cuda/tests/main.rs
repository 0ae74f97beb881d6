//! The tests of this crate's public interface in one program: linked once, run by name.

mod attention;
#[path = "../../model/tests/backends/mod.rs"]
mod backends;
mod check;
#[path = "../../query/tests/common/mod.rs"]
#[allow(dead_code)] // each test of that crate uses part of it
mod common;
mod device;
mod emulated;
mod features;
mod ingested;
mod less;
mod models;
#[path = "../../model/tests/oracle/mod.rs"]
mod oracle;
mod parts;
mod profile;
mod scan;
mod scan_speed;
mod speed;
mod sums;
#[path = "../../model/tests/common/tiny.rs"]
mod tiny;
