//! Provenance of a prefilter's labels: everything that their scores depend on, except the rows.

use gstore_query::influence::{InfluenceSpec, Missing, Mode, Prepared};
use serde_json::{Map, Value, json};

/// How the rows were scored: what names and defaults of the question stood for, and under `options` what it
/// says that is not as usual.
pub(super) fn scoring_options(prepared: &Prepared) -> Map<String, Value> {
    // Which rows are scored, and how they are found, says nothing of a score.
    let asked = InfluenceSpec {
        pools: Vec::new(),
        targets: Vec::new(),
        exclude_target: false,
        run: None,
        checkpoints: None,
        weights: None,
        pool_kind: None,
        target_kind: None,
        features: Vec::new(),
        missing: Missing::default_for(false),
        partial: false,
        stale: false,
        mode: Mode::Exact,
        ..prepared.spec().clone()
    };
    let plan = prepared.plan();
    let (mut names, mut ids, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    for at in plan.checkpoints() {
        names.push(json!(at.name));
        ids.push(json!(at.id));
        weights.push(json!(at.weight));
    }
    let first = prepared.pools().first();
    let space = first.and_then(|side| side.features.first()).map(|feature| &feature.desc.space);
    serde_json::from_value(json!({
        "run": plan.run(),
        "checkpoints": names,
        "checkpoint_ids": ids,
        "weights": weights,
        "kind": first.map(|side| &side.kind),
        "target_kind": prepared.target_kind(),
        "projection": space.map(|space| &space.projection),
        "dim": space.map(|space| space.dim),
        "loss": space.map(|space| &space.loss),
        "reduction": space.map(|space| &space.reduction),
        "options": asked,
    }))
    .unwrap_or_default()
}

/// What of a score differs from what it was, in words; nothing of what one of both does not tell.
pub(super) fn difference(before: &Map<String, Value>, now: &Map<String, Value>) -> Option<String> {
    // Two runs may have the same weights, and two weights the same name.
    let is_other = values_differ(before.get("checkpoint_ids"), now.get("checkpoint_ids"));
    let is_name = |key: &str| ["run", "checkpoints"].contains(&key);
    for (key, was) in before.iter().filter(|(key, _)| *key != "options" && (is_other || !is_name(key))) {
        if let Some(is) = now.get(key).filter(|is| values_differ(Some(was), Some(is))) {
            return Some(differ(key, Some(is), Some(was)));
        }
    }
    let options = |of: &Map<String, Value>| of.get("options").and_then(Value::as_object).cloned();
    let (was, is) = options(before).zip(options(now))?;
    let key = was.keys().chain(is.keys()).find(|key| values_differ(was.get(*key), is.get(*key)))?;
    Some(differ(key, is.get(key), was.get(key)))
}

fn differ(key: &str, is: Option<&Value>, was: Option<&Value>) -> String {
    let show = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "not given".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    format!("`{key}` is {}, and was {}", show(is), show(was))
}

/// Whether two values differ; a number is the same however it is written.
fn values_differ(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() != b.len() || a.iter().zip(b).any(|(a, b)| values_differ(Some(a), Some(b)))
        }
        (Some(Value::Number(a)), Some(Value::Number(b))) => a.as_f64() != b.as_f64(),
        _ => a != b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_difference_is_named() {
        let of = |run: &str, id: &str, weight: f64, options: Value| {
            map(json!({
                "run": run, "checkpoints": ["c"], "checkpoint_ids": [id], "weights": [weight], "options": options
            }))
        };
        let before = of("warm", "1", 1.0, json!({}));
        for (now, says) in [
            (before.clone(), None),
            (map(json!({"weights": [1], "checkpoint_ids": ["1"], "dim": 8})), None),
            (of("other", "1", 1.0, json!({})), None),
            (of("other", "2", 1.0, json!({})), Some("`run` is other, and was warm")),
            (of("warm", "2", 1.0, json!({})), Some("`checkpoint_ids` is [\"2\"], and was [\"1\"]")),
            (of("warm", "1", 0.5, json!({})), Some("`weights` is [0.5], and was [1.0]")),
            (of("warm", "1", 1.0, json!({"sim": "dot"})), Some("`sim` is dot, and was not given")),
        ] {
            assert_eq!(difference(&before, &now).as_deref(), says);
        }
        // What is not known of an older prefilter is not compared.
        assert_eq!(difference(&Map::new(), &before), None);
    }
}
