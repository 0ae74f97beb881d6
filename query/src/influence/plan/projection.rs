//! Options of an ingest, by the description of a projection.

use gstore_core::Remedy;

/// The options of an ingest that projects by what is described like this: `sjlt, 8192, seed 0`; `fact_sjlt,
/// 1024 a module, seed 0`; `none`. `None` for what takes more than these.
pub(super) fn projection_options(text: &str) -> Option<Vec<String>> {
    if text == "none" {
        return Some(vec![Remedy::Option("projection", text).to_string()]);
    }
    let mut parts = text.split(", ");
    let (kind, dim, seed) = (parts.next()?, parts.next()?, parts.next()?.strip_prefix("seed ")?);
    let dim = match dim.strip_suffix(" a module") {
        Some(dim) => Remedy::Option("module_dim", dim),
        None => Remedy::Option("dim", dim),
    };
    let options = [Remedy::Option("projection", kind), dim, Remedy::Option("seed", seed)];
    parts.next().is_none().then(|| options.map(|option| option.to_string()).to_vec())
}
