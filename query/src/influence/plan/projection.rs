//! Options of an ingest, by the description of a feature or of a projection.

use gstore_core::{Remedy, Space};
use gstore_store::{DatasetPart, Family, FeaturePart};
use serde_json::Value;

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
