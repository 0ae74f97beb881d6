//! The tests of this crate's public interface in one program: linked once, run by name.

#[path = "../../model/tests/backends/mod.rs"]
mod backends;
mod device;
mod emulated;
mod features;
mod ingested;
mod models;
#[path = "../../model/tests/oracle/mod.rs"]
mod oracle;
mod parts;
mod speed;
#[path = "../../model/tests/common/tiny.rs"]
mod tiny;
