//! Features as a table: a line each.

use indicatif::HumanBytes;
use serde_json::Value;

use super::{aligned, text};

/// The columns, by the keys of a feature.
const KEYS: [&str; 13] = [
    "number",
    "feature",
    "dataset",
    "run",
    "checkpoint",
    "kind",
    "granularity",
    "state",
    "rows",
    "missing",
    "dimension",
    "type",
    "bytes",
];

/// A table of features, without columns in which all have the usual value.
pub(super) fn lines(features: &[Value]) -> Vec<String> {
    let columns = KEYS.into_iter().filter(|key| says_something(features, key)).map(|key| {
        let cells = features.iter().map(|feature| cell(feature, key));
        std::iter::once(heading(key).to_owned()).chain(cells).collect::<Vec<String>>()
    });
    aligned(&columns.collect::<Vec<_>>())
}

fn says_something(features: &[Value], key: &str) -> bool {
    let is_other = |usual: Value| features.iter().any(|feature| feature[key] != usual);
    match key {
        "feature" => features.iter().any(|feature| {
            let usual = format!("{}@{}", text(&feature["kind"]), text(&feature["checkpoint"]));
            text(&feature[key]) != usual
        }),
        "dataset" => features.windows(2).any(|two| two[0][key] != two[1][key]),
        "run" | "checkpoint" => is_other(Value::Null),
        "granularity" => is_other(Value::from("sample")),
        "state" => is_other(Value::from("complete")),
        "missing" => is_other(Value::from(0)),
        _ => true,
    }
}

fn heading(key: &str) -> &str {
    match key {
        "dimension" => "dim",
        "bytes" => "size",
        key => key,
    }
}

fn cell(feature: &Value, key: &str) -> String {
    match feature[key].as_u64() {
        Some(bytes) if key == "bytes" => HumanBytes(bytes).to_string(),
        _ => text(&feature[key]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn feature(number: u64, label: &str) -> Value {
        json!({
            "feature": label, "number": number, "dataset": "pool", "run": "warmup", "checkpoint": "c-7",
            "kind": "loss", "granularity": "sample", "dimension": 1, "type": "f32", "state": "complete",
            "rows": 40, "missing": 0, "vectors": 40, "bytes": 2048,
        })
    }

    #[test]
    fn features_take_a_line_each_and_what_is_usual_goes_without_saying() {
        let mut features = vec![feature(1, "loss@c-7"), feature(12, "loss@c-7")];
        assert_eq!(
            lines(&features),
            [
                "  number  run     checkpoint  kind  rows  dim  type  size",
                "  1       warmup  c-7         loss  40    1    f32   2.00 KiB",
                "  12      warmup  c-7         loss  40    1    f32   2.00 KiB",
            ]
        );
        features[1]["state"] = json!("behind");
        features[1]["missing"] = json!(2);
        features[1]["feature"] = json!("loss@c-7:own");
        features[1]["dataset"] = json!("target");
        let told = lines(&features);
        assert!(told[0].starts_with("  number  feature       dataset  run "), "{told:?}");
        assert!(told[2].contains("loss@c-7:own") && told[2].contains("behind"), "{told:?}");
    }
}
