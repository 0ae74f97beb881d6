//! The catalog: `CURRENT`, roots and parts as JSON; values of the ledger; bitmaps of deleted rows.
//!
//! In a store these are read only if their digests match. Here they are read as if the digests matched.

use super::{KIB, MIB};
use crate::Target;
use gstore_store::fuzzing::{self, Catalog};

/// `CURRENT`, roots and parts; the first byte selects which.
pub const CATALOG: Target = Target {
    name: "catalog",
    run: catalog,
    // Unknown fields are kept as JSON values, of which the smallest take two bytes of text.
    per_byte: 300,
    constant: 32 * KIB,
    words: &[
        b"\"version\": 1",
        b"\"requires\": []",
        b"\"first_row\": ",
        b"\"end_row\": 18446744073709551615",
        b"\"tombstones\": [",
        b"\"oldest\": ",
        b"\"tags\": [",
        b"\"files_pages\": [",
        b"\"files\": [",
        b"1e300",
        b"-1",
        b"0.30000000000000004",
    ],
};

fn catalog(data: &[u8]) {
    let Some((kind, text)) = data.split_first() else { return };
    let kind = match kind % 7 {
        0 => Catalog::Current,
        1 => Catalog::Root,
        2 => Catalog::Dataset,
        3 => Catalog::Run,
        4 => Catalog::Feature,
        5 => Catalog::Ensemble,
        _ => Catalog::Artifact,
    };
    if let Ok(text) = fuzzing::catalog(kind, text) {
        let again = fuzzing::catalog(kind, text.as_bytes());
        assert_eq!(again.as_ref(), Ok(&text), "what is written is read back the same");
    }
}

/// A value of the ledger: length of the key, the key, the payload.
pub const LEDGER: Target = Target {
    name: "ledger",
    run: ledger,
    per_byte: 8,
    constant: 16 * KIB,
    words: &[b"\xfb", b"\xfc", b"\xfd", b"\xfe"],
};

fn ledger(data: &[u8]) {
    let Some((n, rest)) = data.split_first() else { return };
    let (key, payload) = rest.split_at((*n as usize).min(rest.len()));
    // A matching digest by chance is practically impossible, except for no bytes at all.
    assert!(fuzzing::ledger_value(key, payload).is_err());
    let sealed = fuzzing::forged_ledger_value(key, payload);
    if let Ok(value) = fuzzing::ledger_value(key, &sealed) {
        let written = fuzzing::write_ledger_value(key, &value).expect("what was read can be written");
        assert_eq!(fuzzing::ledger_value(key, &written), Ok(value));
        assert!(
            fuzzing::ledger_value(&[key, b"x"].concat(), &written).is_err(),
            "a value belongs to its key"
        );
    }
}

/// A bitmap of deleted rows.
pub const BITMAP: Target = Target {
    name: "bitmap",
    run: bitmap,
    per_byte: 32,
    constant: MIB,
    words: &[b"\x3a\x30\x00\x00", b"\x3b\x30\x00\x00", b"\x01\x00\x00\x00\x00\x00\x00\x00"],
};

fn bitmap(data: &[u8]) {
    let Ok(rows) = fuzzing::bitmap(data) else { return };
    let mut next = 0;
    for range in rows.ranges() {
        assert!(range.start >= next && range.end > range.start, "ranges ascend");
        next = range.end;
    }
}
