//! Helpers of the tests: small models made on the spot, and those of the zoo.

pub mod archive;
pub mod embedding;
pub mod optimizer;
#[path = "../../../data/tests/support/mod.rs"]
pub mod support;
#[allow(dead_code, reason = "what the tests of ingestion use alone")]
pub mod tiny;
pub mod zoo;

/// Asserts that an error message mentions all `parts`.
#[track_caller]
pub fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not mention {part:?}");
    }
}
