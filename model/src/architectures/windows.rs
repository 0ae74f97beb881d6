//! Sliding windows: which layers have one.

use super::family::Family;
use super::options::unsupported;
use crate::files::ModelError;
use crate::files::json::JsonObject;

/// The window of each layer: what `layer_types` says, else `window` where `slides` says so.
pub(super) fn read(
    config: JsonObject<'_>,
    layers: usize,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>, ModelError> {
    let sliding = match layer_types(config, layers)? {
        Some(types) => types,
        None => (0..layers).map(slides).collect(),
    };
    if window.is_none() && sliding.contains(&true) {
        return Err(config.error("layers of type \"sliding_attention\" need a sliding_window"));
    }
    Ok(sliding.into_iter().map(|slides| window.filter(|_| slides)).collect())
}

/// Which layers slide, if the configuration lists their types.
fn layer_types(config: JsonObject<'_>, layers: usize) -> Result<Option<Vec<bool>>, ModelError> {
    let Some(value) = config.get("layer_types") else { return Ok(None) };
    let list = value.as_array().ok_or_else(|| config.error("layer_types must be a list"))?;
    if list.len() != layers {
        return Err(config.error(format!("layer_types lists {} layers of {layers}", list.len())));
    }
    let sliding = list.iter().map(|kind| match kind.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => Err(ModelError::UnsupportedOption {
            path: config.path.to_owned(),
            setting: format!("layer_types {kind}"),
            supported: "\"full_attention\" and \"sliding_attention\" are".into(),
        }),
    });
    sliding.collect::<Result<_, _>>().map(Some)
}

/// A family that does not look at `layer_types` must not be contradicted by it.
pub(super) fn check(
    config: JsonObject<'_>,
    family: &Family,
    windows: &[Option<usize>],
) -> Result<(), ModelError> {
    match layer_types(config, windows.len())? {
        Some(types) if types.iter().zip(windows).any(|(slides, window)| *slides != window.is_some()) => {
            let supported = format!("{} has the same attention in every layer", family.architecture);
            Err(unsupported(config, "layer_types", &supported))
        }
        _ => Ok(()),
    }
}
