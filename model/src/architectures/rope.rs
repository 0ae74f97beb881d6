//! Settings of rotary positions, in the spelling of transformers 5 and of earlier versions.
//!
//! The first has `rope_parameters`, the others `rope_theta`, `rope_scaling` and a share of the head.

use super::decoder::{PositionEncoding, RopeScaling};
use super::options::positive;
use crate::files::ModelError;
use crate::files::json::JsonObject;

/// What of a family's rotary positions can be set.
pub(super) struct RopeSettings {
    /// Names of the scalings that the family understands.
    pub kinds: &'static [&'static str],
    /// Setting of the base outside `rope_parameters`.
    pub theta_key: &'static str,
    /// Setting of the turning share of a head outside `rope_parameters`, and its default;
    /// none: all of a head turns.
    pub share: Option<(&'static str, f64)>,
}

impl RopeSettings {
    /// All of a head turns, by any of the implemented scalings.
    pub const WHOLE: RopeSettings =
        RopeSettings { kinds: &["default", "linear", "llama3"], theta_key: "rope_theta", share: None };
}

/// Everything that may stand in `rope_parameters`. None of the implemented types reads `attention_factor`.
const KEYS: [&str; 9] = [
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "attention_factor",
];

/// Reads the positions of heads of width `head_dim`.
pub(super) fn read(
    config: JsonObject<'_>,
    rope: &RopeSettings,
    head_dim: usize,
    max_positions: usize,
) -> Result<PositionEncoding, ModelError> {
    let new = config.object("rope_parameters")?.filter(|o| !is_empty(*o));
    let old = config.object("rope_scaling")?.filter(|o| !is_empty(*o));
    let parameters = match (new, old) {
        (Some(new), Some(old)) if new.value != old.value => {
            return Err(config.error("rope_parameters and rope_scaling are both set and differ"));
        }
        (new, old) => new.or(old),
    };
    let inside = |key| parameters.map(|p| positive(p, key)).transpose().map(Option::flatten);
    let theta = match inside("rope_theta")? {
        Some(theta) => theta,
        None => positive(config, rope.theta_key)?.unwrap_or(10_000.0),
    };
    let share = match (inside("partial_rotary_factor")?, rope.share) {
        (Some(share), _) => share,
        (None, Some((key, default))) => positive(config, key)?.unwrap_or(default),
        (None, None) => 1.0,
    };
    agree(config, rope.theta_key, "rope_theta", theta)?;
    if let Some((key, _)) = rope.share {
        agree(config, key, "partial_rotary_factor", share)?;
    }
    let dims = turning_coordinates(config, rope, head_dim, share)?;
    let scaling =
        parameters.map_or(Ok(RopeScaling::Default), |p| read_scaling(p, config, rope, max_positions))?;
    Ok(PositionEncoding::Rotary { theta, scaling, dims })
}

/// Some versions write a value under two names; only the family's counts, so the other
/// must not contradict it.
fn agree(config: JsonObject<'_>, key: &str, other: &str, value: f64) -> Result<(), ModelError> {
    match positive(config, other)? {
        Some(found) if key != other && found != value => {
            Err(config.error(format!("{other} {found} contradicts {key}, which is {value} here")))
        }
        _ => Ok(()),
    }
}

fn is_empty(object: JsonObject<'_>) -> bool {
    object.value.as_object().is_none_or(|o| o.values().all(|v| v.is_null()))
}

fn turning_coordinates(
    config: JsonObject<'_>,
    rope: &RopeSettings,
    head_dim: usize,
    share: f64,
) -> Result<usize, ModelError> {
    if share != 1.0 && rope.share.is_none() || share > 1.0 {
        return Err(ModelError::UnsupportedOption {
            path: config.path.to_owned(),
            setting: format!("partial_rotary_factor {share}"),
            supported: match rope.share {
                None => "here all of a head turns".into(),
                Some(_) => "shares of at most 1 are".into(),
            },
        });
    }
    let dims = (head_dim as f64 * share) as usize;
    if dims == 0 {
        return Err(config.error(format!("a share of {share} of head_dim {head_dim} leaves nothing to turn")));
    }
    if dims == head_dim && !dims.is_multiple_of(2) {
        return Err(
            config.error(format!("head_dim {head_dim} is odd; rotary positions pair its coordinates"))
        );
    }
    Ok(dims)
}

fn read_scaling(
    parameters: JsonObject<'_>,
    config: JsonObject<'_>,
    rope: &RopeSettings,
    max_positions: usize,
) -> Result<RopeScaling, ModelError> {
    let refuse = |setting: String, supported: String| ModelError::UnsupportedOption {
        path: parameters.path.to_owned(),
        setting,
        supported,
    };
    let refuse_kind = |kind: &str| {
        refuse(format!("rope scaling {kind:?}"), format!("rope types {} are", quoted(rope.kinds)))
    };
    let kind = match parameters.string("rope_type")? {
        Some(kind) => kind,
        None => parameters.string("type")?.unwrap_or("default"),
    };
    if !rope.kinds.contains(&kind) {
        return Err(refuse_kind(kind));
    }
    for (key, value) in parameters.value.as_object().into_iter().flatten() {
        if !KEYS.contains(&key.as_str()) && !value.is_null() {
            let supported = format!("{} are", KEYS.join(", "));
            return Err(refuse(format!("{key} {value} of the rope parameters"), supported));
        }
    }
    let required = |key: &str| -> Result<f64, ModelError> {
        positive(parameters, key)?
            .ok_or_else(|| parameters.error(format!("{key} of the {kind} rope scaling is missing")))
    };
    match kind {
        "default" => Ok(RopeScaling::Default),
        "linear" => Ok(RopeScaling::Linear { factor: required("factor")? }),
        "llama3" => {
            let low_freq_factor = required("low_freq_factor")?;
            let high_freq_factor = required("high_freq_factor")?;
            if high_freq_factor <= low_freq_factor {
                return Err(parameters.error("high_freq_factor must be above low_freq_factor"));
            }
            // As in transformers, a length of the configuration itself goes before that of its rope parameters.
            let original = "original_max_position_embeddings";
            let original = positive(config, original)?.or(positive(parameters, original)?);
            Ok(RopeScaling::Llama3 {
                factor: required("factor")?,
                low_freq_factor,
                high_freq_factor,
                original: original.unwrap_or(max_positions as f64),
            })
        }
        other => Err(refuse_kind(other)),
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}
