//! The receipt of a shard as bytes from outside.

use super::support::*;
use crate::common::*;
use gstore_store::*;

#[test]
fn any_bytes_are_a_receipt_or_an_error() {
    let (dir, _, store) = placed(empty_store);
    let out = dir.path().join("o");
    let receipt = shard(&store, "2/3", &out);
    let good = fs_err::read(out.join("receipt.json")).unwrap();
    assert_eq!(Receipt::parse(&good).unwrap(), receipt);
    for len in 0..good.len() {
        assert!(Receipt::parse(&good[..len]).is_err(), "cut to {len}");
    }
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Receipt::parse(&bad).is_err(), "bit {bit}");
    }
    // With a digest that fits, what it says is looked at.
    let text = String::from_utf8(good).unwrap();
    let changed = |from: &str, to: &str| {
        let (body, _) = text.rsplit_once(",\n  \"digest\": \"").unwrap();
        let body = format!("{},\n  \"digest\": \"", body.replacen(from, to, 1));
        Receipt::parse(format!("{body}{}\"\n}}\n", xxh3_hex(body.as_bytes())).as_bytes())
    };
    assert!(
        changed("\"command\": \"ingest\"", "\"command\": \"x\", \"later\": 1")
            .unwrap()
            .extra
            .contains_key("later")
    );
    for (from, to, says) in [
        ("\"version\": 1", "\"version\": 2", "newer"),
        ("\"requires\": []", "\"requires\": [\"wings\"]", "newer"),
        ("\"name\": \"f0-", "\"name\": \"../f0-", "should be called"),
        ("\"index\": 2", "\"index\": 4", "numbered from 1"),
        ("\"count\": 3", "\"count\": 100000", "parts of the split"),
        ("\"dataset\": \"pool\"", "\"dataset\": \"../x\"", ""),
        ("\"feature\": 0", "\"feature\": 18446744073709551615", "should be called"),
        ("\"end_row\": 4096", "\"end_row\": 4095", "do not fit"),
        ("\"tail_len\": ", "\"tail_len\": 99", "a tail of"),
        ("\"next_row\": 11588", "\"next_row\": 4100", "not in the shard's part"),
    ] {
        let error = changed(from, to).unwrap_err().to_string();
        assert!(error.contains(says), "{from} -> {to}: {error}");
    }
}
