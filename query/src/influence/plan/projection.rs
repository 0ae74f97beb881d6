//! Options of an ingest, by the description of a feature or of a projection.

use gstore_core::{Remedy, Space};
use gstore_store::{DatasetPart, Family, FeaturePart};
use serde_json::{Map, Value};

/// The options of an ingest that computes at other checkpoints what a feature of a dataset is at its own.
/// `None` for what takes more than these.
pub(super) fn ingest_options(dataset: &DatasetPart, feature: &FeaturePart) -> Option<Vec<String>> {
    let (desc, space) = (&feature.desc, &feature.desc.space);
    let stated = |key: &str| feature.attrs.provenance.get(key).and_then(Value::as_str);
    let text = &dataset.encoding(&desc.encoding)?.spec;
    let has_more = stated("modules").is_some()
        || feature.attrs.unit
        || space.layer.as_deref().is_some_and(|layer| layer != "final_norm")
        || !["", "cross_entropy"].contains(&space.loss.as_str())
        || space.projection.starts_with(Space::EXTERNAL)
        || text.template_source.is_some();
    if has_more {
        return None;
    }
    let mut options = Vec::new();
    if space.family == Family::Gradient {
        options.extend(projection_options(stated("projection")?)?);
        if space.reduction != "mean" {
            options.push(Remedy::Option("reduction", &space.reduction).to_string());
        }
        options.extend(adam_options(&desc.kind.params));
    }
    options.push(Remedy::Option("dtype", desc.dtype.name()).to_string());
    options.extend(text.options());
    // The defaults are the model's own tokenizer, the CPU and f32 there.
    let backend = stated("backend").map(|name| ("backend", name));
    let compute = (backend.is_some() || desc.compute != "f32").then_some(("compute", desc.compute.as_str()));
    let further = [stated("tokenizer").map(|folder| ("tokenizer", folder)), backend, compute];
    options
        .extend(further.into_iter().flatten().map(|(name, value)| Remedy::Option(name, value).to_string()));
    Some(options)
}

/// The options of an ingest that uses these constants of Adam, where they are not the usual ones.
fn adam_options(params: &Map<String, Value>) -> Vec<String> {
    let numbers = [("b1", "adam_beta1", 0.9), ("b2", "adam_beta2", 0.999), ("eps", "adam_epsilon", 1e-8)];
    let unusual = |(key, name, usual): (&str, &'static str, f64)| {
        let value = params.get(key)?.as_f64().filter(|value| *value != usual)?;
        Some(Remedy::Option(name, &format!("{value:?}")).to_string())
    };
    let is_outside = params.get("eps_placement").and_then(Value::as_str) == Some("outside");
    let outside = is_outside.then(|| Remedy::Option("adam_epsilon_outside", "").to_string());
    numbers.into_iter().filter_map(unusual).chain(outside).collect()
}

/// How the description of a projection ends that is another one for each checkpoint.
const EACH: &str = ", another matrix for each checkpoint";

/// The options of an ingest that projects by what is described like this: `sjlt, 8192, seed 0`; `fact_sjlt,
/// 1024 a module, seed 0`, either with [`EACH`] behind it; `none`. `None` for what takes more than these.
pub(super) fn projection_options(text: &str) -> Option<Vec<String>> {
    if text == "none" {
        return Some(vec![Remedy::Option("projection", text).to_string()]);
    }
    let (text, each) = match text.strip_suffix(EACH) {
        Some(rest) => (rest, Some(Remedy::Option("projection_per_checkpoint", ""))),
        None => (text, None),
    };
    let mut parts = text.split(", ");
    let (kind, dim, seed) = (parts.next()?, parts.next()?, parts.next()?.strip_prefix("seed ")?);
    let dim = match dim.strip_suffix(" a module") {
        Some(dim) => Remedy::Option("module_dim", dim),
        None => Remedy::Option("dim", dim),
    };
    let options = [Remedy::Option("projection", kind), dim, Remedy::Option("seed", seed)];
    let options = options.into_iter().chain(each).map(|option| option.to_string());
    parts.next().is_none().then(|| options.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn constants_of_adam_that_are_not_the_usual_ones_are_options() {
        let options = |params: Value| adam_options(params.as_object().unwrap());
        let usual = json!({ "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_placement": "inside" });
        assert_eq!(options(usual), [""; 0]);
        let other = json!({ "b1": 0.9, "b2": 0.95, "eps": 1e-6, "eps_placement": "outside" });
        assert_eq!(options(other), ["adam_beta2=0.95", "adam_epsilon=1e-6", "adam_epsilon_outside"]);
        assert_eq!(options(json!({ "eps": 1e-7, "moments": "a" })), ["adam_epsilon=1e-7"]);
    }
}
