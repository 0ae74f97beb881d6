//! The text of a receipt and its digest over itself.
//!
//! The file is JSON whose last field is `digest`. The digest is over the bytes before it, so it can be
//! compared before anything is parsed.

use super::Receipt;
use crate::error::{ReceiptError, StorageError};
use crate::manifest::parse;
use gstore_core::xxh3_hex;

/// What stands before the digest, and after it.
const BEFORE: &str = ",\n  \"digest\": \"";
const AFTER: &str = "\"\n}\n";
/// What the text of the other fields ends with.
const END: &str = "\n}";
const DIGITS: usize = 32;

/// The file's text and its digest.
pub(super) fn write(receipt: &Receipt) -> Result<(Vec<u8>, String), ReceiptError> {
    let bad = |e: &str| ReceiptError::Bad(format!("it cannot be written as JSON: {e}"));
    let json = serde_json::to_string_pretty(receipt).map_err(|e| bad(&e.to_string()))?;
    let fields = json.strip_suffix(END).ok_or_else(|| bad("no object"))?;
    let mut text = format!("{fields}{BEFORE}");
    let digest = xxh3_hex(text.as_bytes());
    text.push_str(&digest);
    text.push_str(AFTER);
    Ok((text.into_bytes(), digest))
}

/// A receipt whose digest and version agree. What it says is not checked yet.
pub(super) fn read(bytes: &[u8]) -> Result<Receipt, ReceiptError> {
    let damaged = || ReceiptError::Bad("it is damaged, or cut short: it does not end in a digest".to_owned());
    let rest = bytes.strip_suffix(AFTER.as_bytes()).ok_or_else(damaged)?;
    let (body, digits) = rest.split_at_checked(rest.len().saturating_sub(DIGITS)).ok_or_else(damaged)?;
    if !body.ends_with(BEFORE.as_bytes()) {
        return Err(damaged());
    }
    let found = xxh3_hex(body);
    if digits != found.as_bytes() {
        let expected = String::from_utf8_lossy(digits);
        return Err(ReceiptError::Bad(format!("it is damaged: its digest is {found}, it says {expected}")));
    }
    let mut receipt: Receipt = parse("receipt.json", bytes).map_err(|e| match e {
        StorageError::Newer { detail, .. } => ReceiptError::Newer(detail),
        StorageError::Damaged(d) => ReceiptError::Bad(format!("{}: {}", d.what, d.found)),
        other => ReceiptError::Bad(other.to_string()),
    })?;
    receipt.extra.remove("digest");
    receipt.digest = found;
    Ok(receipt)
}
