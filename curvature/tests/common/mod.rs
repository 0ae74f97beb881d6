//! Helpers of the tests: what other programs computed.

#[path = "../../../data/tests/support/mod.rs"]
pub mod support;
