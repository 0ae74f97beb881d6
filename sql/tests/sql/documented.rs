//! Promise: each function that the documentation names is there, and is listed.

use std::collections::HashSet;
use std::path::Path;

use regex::Regex;

use super::{session, slt};

/// Rows of the table whose words in code are functions, also without their brackets.
const OF_FUNCTIONS: [&str; 2] = ["| aggregates |", "| functions |"];

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_the_documentation_are_listed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sql.md");
    let docs = fs_err::read_to_string(path).unwrap();
    let (_, section) = docs.split_once("## For DuckDB's users").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let (_store, session) = session(1);
    let (_, rows) = slt::run(&session, "SHOW FUNCTIONS").await.unwrap();
    let listed: HashSet<&str> = rows.iter().filter_map(|row| row.split(" | ").next()).collect();

    let call = Regex::new(r"\b([a-z][a-z0-9_]*)\(").unwrap();
    let name = Regex::new("^[a-z][a-z0-9_]*$").unwrap();
    let mut named = HashSet::new();
    for line in section.lines().filter(|line| !line.starts_with("| not there |")) {
        for code in line.split('`').skip(1).step_by(2) {
            named.extend(
                call.captures_iter(code).filter_map(|found| found.get(1)).map(|found| found.as_str()),
            );
            if OF_FUNCTIONS.iter().any(|row| line.starts_with(row)) && name.is_match(code) {
                named.insert(code);
            }
        }
    }
    assert!(named.len() > 60, "{named:?}");
    let mut missing: Vec<&&str> = named.difference(&listed).collect();
    missing.sort_unstable();
    assert!(missing.is_empty(), "{missing:?}");
}
