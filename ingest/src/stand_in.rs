//! Stand-ins for types of gstore-store until its branch is merged.
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use meta::*;
mod meta {
    /// A metadata value.
    #[derive(Clone, Debug, PartialEq)]
    pub enum MetaValue {
        /// Absent.
        Null,
        /// Boolean.
        Bool(bool),
        /// Integer.
        Int(i64),
        /// Float.
        Float(f64),
        /// Text.
        Text(String),
    }
    /// Type of a metadata column.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum ColumnType {
        /// Boolean.
        Bool,
        /// Integer.
        Int,
        /// Float.
        Float,
        /// Text.
        Text,
    }
    /// Encoding.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct EncodingSpec {
        /// sha256 of tokenizer.json
        pub tokenizer: String,
        /// tulu|chat|plain
        pub template: String,
        /// digest
        pub template_digest: Option<String>,
        /// maximum tokens
        pub max_length: u32,
    }
    /// Module group.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ModuleGroup {
        /// Name.
        pub name: String,
        /// First coordinate.
        pub start: u32,
        /// Length.
        pub len: u32,
    }
}

/// Canonical JSON.
pub fn canonical_json(v: &Value) -> String {
    match v {
        Value::Object(map) => {
            let mut e: Vec<_> = map.iter().collect();
            e.sort_by(|a, b| a.0.cmp(b.0));
            let e: Vec<_> = e.iter().map(|(k, v)| format!("{}:{}", Value::from(k.as_str()), canonical_json(v))).collect();
            format!("{{{}}}", e.join(","))
        }
        other => other.to_string(),
    }
}
/// SHA-256.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
/// Nearest.
pub fn nearest<'a>(_: &str, _: impl IntoIterator<Item = &'a str>) -> Option<&'a str> { None }
