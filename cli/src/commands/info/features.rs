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

/// Columns that a terminal without room for all does without, in this order.
const SPARED: [&str; 4] = ["type", "dimension", "bytes", "run"];

/// A table of features that fits a width, without columns in which all have the usual value.
pub(super) fn lines(features: &[Value], width: Option<usize>) -> Vec<String> {
    let mut keys: Vec<&str> = KEYS.into_iter().filter(|key| says_something(features, key)).collect();
    let mut left_out = Vec::new();
    let mut spared = SPARED.into_iter().filter(|key| *key != "run" || all_have_one(features, key));
    loop {
        let columns = keys.iter().map(|key| {
            let cells = features.iter().map(|feature| cell(feature, key));
            std::iter::once(heading(key).to_owned()).chain(cells).collect::<Vec<String>>()
        });
        let mut lines = aligned(&columns.collect::<Vec<_>>());
        let fits = |line: &String| width.is_none_or(|width| line.chars().count() <= width);
        match spared.find(|key| !lines.iter().all(fits) && keys.contains(key)) {
            Some(key) => {
                keys.retain(|known| *known != key);
                left_out.push(heading(key));
            }
            None => {
                if !left_out.is_empty() {
                    lines.push(format!("  left out for room: {}; --json has all", left_out.join(", ")));
                }
                return lines;
            }
        }
    }
}

fn all_have_one(features: &[Value], key: &str) -> bool {
    features.windows(2).all(|two| two[0][key] == two[1][key])
}

fn says_something(features: &[Value], key: &str) -> bool {
    let is_other = |usual: Value| features.iter().any(|feature| feature[key] != usual);
    match key {
        "feature" => features.iter().any(|feature| {
            let usual = format!("{}@{}", text(&feature["kind"]), text(&feature["checkpoint"]));
            text(&feature[key]) != usual
        }),
        "dataset" => !all_have_one(features, key),
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
            lines(&features, None),
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
        let told = lines(&features, None);
        assert!(told[0].starts_with("  number  feature       dataset  run "), "{told:?}");
        assert!(told[2].contains("loss@c-7:own") && told[2].contains("behind"), "{told:?}");
    }

    #[test]
    fn a_narrow_table_keeps_what_says_whether_a_feature_is_complete() {
        let mut features = vec![feature(1, "loss@c-7"), feature(12, "loss@c-7")];
        (features[1]["state"], features[1]["missing"]) = (json!("building"), json!(2));
        let told = lines(&features, Some(63));
        assert_eq!(told[0], "  number  run     checkpoint  kind  state     rows  missing");
        assert_eq!(told[3], "  left out for room: type, dim, size; --json has all");
        assert!(told.iter().all(|line| line.chars().count() <= 63), "{told:?}");
        assert!(lines(&features, Some(40))[3].ends_with("size, run; --json has all"));
        features[1]["run"] = json!("other");
        assert!(lines(&features, Some(40))[0].contains("run"));
    }
}
