//! Receipts of shards, which come from other machines.

use super::KIB;
use crate::Target;
use gstore_store::{Receipt, xxh3_hex};

/// `receipt.json` without its digest.
pub const RECEIPT: Target = Target {
    name: "receipt",
    run,
    // Twice the text, and its values; unknown fields are kept as JSON values.
    per_byte: 400,
    constant: 64 * KIB,
    words: &[
        b"\"version\": 1",
        b"\"requires\": []",
        b"\"split\": [[0, 4096]",
        b"\"rows\": [[",
        b"\"files\": [",
        b"\"name\": \"../",
        b"18446744073709551615",
        b"\"run\": null",
    ],
};

/// The text with a matching digest.
fn sealed(fields: &[u8]) -> Vec<u8> {
    let body = [fields, b",\n  \"digest\": \""].concat();
    let digest = xxh3_hex(&body);
    [&body, digest.as_bytes(), b"\"\n}\n"].concat()
}

fn run(data: &[u8]) {
    assert!(Receipt::parse(data).is_err(), "bytes without a digest are no receipt");
    let Ok(receipt) = Receipt::parse(&sealed(data)) else { return };
    let text = serde_json::to_string_pretty(&receipt).expect("a receipt can be written");
    let again = Receipt::parse(&sealed(text.strip_suffix("\n}").expect("an object").as_bytes()));
    let mut again = again.expect("what is written is read back");
    again.digest.clone_from(&receipt.digest);
    assert_eq!(again, receipt);
    assert!(receipt.row_set().ranges().iter().all(|r| r.start < r.end));
}
