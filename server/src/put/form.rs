//! Descriptors of uploads: what an upload is, in JSON.

use gstore::{Duplicates, IfChanged, VectorSpec};
use gstore_core::Remedy;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tonic::Status;

use crate::json::{Object, read_object};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UploadDescriptor {
    put: Object<PutForm>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PutForm {
    samples: Option<Object<SampleForm>>,
    vectors: Option<Object<VectorSpec>>,
    losses: Option<Object<VectorSpec>>,
    key: Option<String>,
    rows: Option<u64>,
}

/// Samples: the options of data files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SampleForm {
    /// The dataset, which is made if there is none of this name.
    pub(crate) dataset: String,
    /// Names of columns in place of gstore's own, by what they are.
    #[serde(default)]
    pub(crate) fields: Map<String, Value>,
    /// Types of metadata columns.
    #[serde(default)]
    pub(crate) columns: Map<String, Value>,
    /// What happens to a sample that differs from the stored one of its id.
    #[serde(default)]
    pub(crate) if_changed: IfChanged,
    /// What happens to a sample whose id an earlier one of the upload has.
    #[serde(default)]
    pub(crate) duplicates: Duplicates,
    /// How many samples that cannot be read are left out; with more of them nothing is added.
    #[serde(default)]
    pub(crate) skip_bad: u64,
    /// Whether samples whose ids were deleted are added again.
    #[serde(default)]
    pub(crate) restore_deleted: bool,
}

#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) what: UploadKind,
    /// What the client calls it.
    pub(crate) key: Option<String>,
    /// How many rows the whole of it has, if the client says so.
    pub(crate) rows: Option<u64>,
}

#[derive(Debug)]
pub(crate) enum UploadKind {
    Samples(SampleForm),
    Vectors { spec: VectorSpec, losses: bool },
}

impl Upload {
    pub(crate) fn read(command: &[u8]) -> Result<Self, Status> {
        let UploadDescriptor { put: Object(put) } = read_object("the upload", command)?;
        let key = put.key;
        if let Some(key) = &key {
            gstore_store::check_key(key).map_err(|e| Status::invalid_argument(e.to_string()))?;
        }
        let what = match (put.samples, put.vectors, put.losses) {
            (Some(Object(samples)), None, None) => UploadKind::Samples(samples),
            (None, Some(Object(spec)), None) => vectors(spec)?,
            (None, None, Some(Object(spec))) => losses(spec)?,
            _ => return Err(Status::invalid_argument("put one of samples, vectors and losses")),
        };
        Ok(Self { what, key, rows: put.rows })
    }

    pub(crate) fn dataset(&self) -> &str {
        match &self.what {
            UploadKind::Samples(form) => &form.dataset,
            UploadKind::Vectors { spec, .. } => &spec.dataset,
        }
    }
}

/// Vectors that are no losses.
fn vectors(spec: VectorSpec) -> Result<UploadKind, Status> {
    if spec.kind.as_deref() == Some(gstore_core::Kind::Loss.name()) {
        return Err(Status::invalid_argument(VectorSpec::KINDS));
    }
    Ok(UploadKind::Vectors { spec, losses: false })
}

/// Losses are vectors of one value.
fn losses(spec: VectorSpec) -> Result<UploadKind, Status> {
    if spec.kind.is_some() || spec.dtype.is_some() || spec.unit.is_some() {
        return Err(Status::invalid_argument("losses take no `kind`, `dtype` or `unit`"));
    }
    let kind = Some(gstore_core::Kind::Loss.name().to_owned());
    Ok(UploadKind::Vectors { spec: VectorSpec { kind, ..spec }, losses: true })
}

/// `name=text` of each entry.
pub(crate) fn pairs(map: &Map<String, Value>, between: char) -> Result<Vec<String>, Status> {
    let pair = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Ok(format!("{name}{between}{text}")),
        _ => Err(Status::invalid_argument(format!("`{}` must be a text", name.escape_debug()))),
    };
    map.iter().map(pair).collect()
}

/// How a client does what a message proposes: an option of samples as it is in the JSON, all else in nouns.
pub(super) fn words(remedy: &Remedy<'_>) -> String {
    let option = |name: &str, pair: &str, between: char| match pair.split_once(between) {
        Some((key, value)) => format!("\"{name}\":{}", json!({ (key): value })),
        None => format!("\"{name}\""),
    };
    match *remedy {
        Remedy::Option("column", pair) => option("columns", pair, ':'),
        Remedy::Option("field", pair) => option("fields", pair, '='),
        Remedy::Option("skip_bad", count) => format!("\"skip_bad\":{count}"),
        Remedy::Option(name @ ("if_changed" | "duplicates"), word) => format!("\"{name}\":\"{word}\""),
        _ => remedy.plain(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proposed_is_an_option_of_the_json() {
        for (remedy, expected) in [
            (Remedy::Option("column", "big:utf8"), r#""columns":{"big":"utf8"}"#),
            (Remedy::Option("field", "text=a \"b\""), r#""fields":{"text":"a \"b\""}"#),
            (Remedy::Option("field", ""), r#""fields""#),
            (Remedy::Option("duplicates", "first"), r#""duplicates":"first""#),
            (Remedy::Option("if_changed", "keep"), r#""if_changed":"keep""#),
            (Remedy::Option("skip_bad", "2"), r#""skip_bad":2"#),
            (Remedy::Verify, "a verification of all snapshots"),
        ] {
            assert_eq!(words(&remedy), expected);
        }
    }

    #[test]
    fn uploads_are_read_strictly() {
        for good in [
            r#"{"put": {"samples": {"dataset": "pool", "fields": {"text": "body"}}, "key": "a"}}"#,
            r#"{"put": {"vectors": {"dataset": "pool", "kind": "embed-mine", "dtype": "f16"}, "rows": 3}}"#,
            r#"{"put": {"losses": {"dataset": "pool", "run": "r", "checkpoint": "c", "weight": 0.5}}}"#,
        ] {
            assert_eq!(Upload::read(good.as_bytes()).unwrap().dataset(), "pool");
        }
        for bad in [
            "{",
            r#"{"put": {}}"#,
            r#"{"put": [{"dataset": "a"}, null, null, null, null]}"#,
            r#"{"put": {"losses": ["a", null, null, null, null, null, null, null, null, null]}}"#,
            r#"{"put": {"samples": {"dataset": "a"}, "losses": {"dataset": "a"}}}"#,
            r#"{"put": {"samples": {"dataset": "a", "data": "/etc/passwd"}}}"#,
            r#"{"put": {"losses": {"dataset": "a", "kind": "grad-sgd"}}}"#,
            r#"{"put": {"vectors": {"kind": "grad-sgd"}}}"#,
            r#"{"put": {"vectors": {"dataset": "a"}, "key": ""}}"#,
            r#"{"put": {"vectors": {"dataset": "a"}, "rows": -1}}"#,
        ] {
            let refused = Upload::read(bad.as_bytes()).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{bad}");
        }
        let loss = br#"{"put": {"vectors": {"dataset": "a", "kind": "loss"}}}"#;
        let refused = Upload::read(loss).unwrap_err();
        assert!(refused.message().contains("embed or grad; losses have an upload of their own, put.losses"));
    }

    #[test]
    fn a_space_is_a_text_or_an_object() {
        let read = |space: Value| {
            let upload = json!({"put": {"vectors": {"dataset": "pool", "kind": "grad-sgd", "space": space}}});
            Upload::read(upload.to_string().as_bytes())
        };
        let mut whole =
            json!({"family": "gradient", "modules": "", "projection": "none", "loss": "", "dim": 2});
        let error = read(whole.clone()).unwrap_err();
        assert!(error.message().contains("missing field `reduction`"), "{error}");
        whole["reduction"] = json!("");
        for good in [json!(null), json!("external:x"), whole] {
            assert_eq!(read(good).unwrap().dataset(), "pool");
        }
        let error = read(json!(["gradient", null, "", "none", null, "", "", 2])).unwrap_err();
        assert!(error.message().contains("invalid type: list, expected a space as a text or an object"));
    }
}
