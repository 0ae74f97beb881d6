//! Settings of rotary positions, in the spelling of transformers 5 and of earlier versions.
//!
//! The first has `rope_parameters`, the others `rope_theta`, `rope_scaling` and a share of the head.

use serde_json::Value;

use super::decoder::{PositionEncoding, RopeScaling};
use super::options::positive;
use crate::files::ModelError;
use crate::files::json::JsonObject;

/// What of a family's rotary positions can be set.
pub(super) struct RopeSettings {
    /// Names of the scalings that the family understands.
    pub kinds: &'static [&'static str],
    /// What old configurations of the family call `longrope`.
    pub names_of_longrope: &'static [&'static str],
    /// Context length before stretching, where the configuration itself has none.
    pub original: Option<f64>,
    /// Setting of the base outside `rope_parameters`.
    pub theta_key: &'static str,
    /// Setting of the turning share of a head outside `rope_parameters`, and its default;
    /// none: all of a head turns.
    pub share: Option<(&'static str, f64)>,
}

impl RopeSettings {
    /// All of a head turns, by any of the implemented scalings.
    pub const WHOLE: RopeSettings = RopeSettings {
        kinds: &["default", "linear", "llama3", "dynamic", "yarn", "longrope"],
        names_of_longrope: &[],
        original: None,
        theta_key: "rope_theta",
        share: None,
    };
}

/// Everything that may stand in `rope_parameters`; like transformers, a type passes over what others read.
/// `finetuned` stands in the first models with YaRN, and says nothing of what they compute.
const KEYS: [&str; 17] = [
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "finetuned",
    "short_factor",
    "long_factor",
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
    let scaling = match parameters {
        None => RopeScaling::Default,
        Some(parameters) => {
            let kind = kind(parameters, rope)?;
            ScalingSource { parameters, config, rope, kind, theta, dims, max_positions }.read()?
        }
    };
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

/// The name of the scaling.
fn kind<'a>(parameters: JsonObject<'a>, rope: &RopeSettings) -> Result<&'a str, ModelError> {
    let name = match parameters.string("rope_type")? {
        Some(name) => name,
        None => parameters.string("type")?.unwrap_or("default"),
    };
    Ok(if rope.names_of_longrope.contains(&name) { "longrope" } else { name })
}

struct ScalingSource<'a> {
    parameters: JsonObject<'a>,
    config: JsonObject<'a>,
    rope: &'a RopeSettings,
    kind: &'a str,
    theta: f64,
    /// Coordinates of a head that turn.
    dims: usize,
    max_positions: usize,
}

impl ScalingSource<'_> {
    fn read(&self) -> Result<RopeScaling, ModelError> {
        let ScalingSource { parameters, kind, .. } = *self;
        let refuse = |setting: String, supported: String| ModelError::UnsupportedOption {
            path: parameters.path.to_owned(),
            setting,
            supported,
        };
        let refuse_kind = || {
            let supported = format!("rope types {} are", quoted(self.rope.kinds));
            refuse(format!("rope scaling {kind:?}"), supported)
        };
        if !self.rope.kinds.contains(&kind) {
            return Err(refuse_kind());
        }
        for (key, value) in parameters.value.as_object().into_iter().flatten() {
            if !KEYS.contains(&key.as_str()) && !value.is_null() {
                let supported = format!("{} are", KEYS.join(", "));
                return Err(refuse(format!("{key} {value} of the rope parameters"), supported));
            }
        }
        match kind {
            "default" => Ok(RopeScaling::Default),
            "linear" => Ok(RopeScaling::Linear { factor: self.required("factor")? }),
            "llama3" => self.llama3(),
            "dynamic" => self.dynamic(),
            "yarn" => self.yarn(),
            "longrope" => self.longrope(),
            _ => Err(refuse_kind()),
        }
    }

    fn error(&self, message: &str) -> ModelError {
        self.parameters.error(format!("the {} rope scaling {message}", self.kind))
    }

    fn required(&self, key: &str) -> Result<f64, ModelError> {
        let missing = || self.parameters.error(format!("{key} of the {} rope scaling is missing", self.kind));
        positive(self.parameters, key)?.ok_or_else(missing)
    }

    /// A positive number; zero counts as absent, as it does in transformers.
    fn unless_zero(&self, key: &str) -> Result<Option<f64>, ModelError> {
        match self.parameters.number(key)? {
            Some(0.0) => Ok(None),
            _ => positive(self.parameters, key),
        }
    }

    /// Context length before stretching. As in transformers, one of the configuration itself goes before that
    /// of its rope parameters, and so does the default of a family that has one.
    fn original(&self) -> Result<f64, ModelError> {
        let key = "original_max_position_embeddings";
        let outside = positive(self.config, key)?.or(self.rope.original);
        Ok(outside.or(positive(self.parameters, key)?).unwrap_or(self.max_positions as f64))
    }

    fn llama3(&self) -> Result<RopeScaling, ModelError> {
        let low_freq_factor = self.required("low_freq_factor")?;
        let high_freq_factor = self.required("high_freq_factor")?;
        if high_freq_factor <= low_freq_factor {
            return Err(self.parameters.error("high_freq_factor must be above low_freq_factor"));
        }
        let (factor, original) = (self.required("factor")?, self.original()?);
        Ok(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original })
    }

    /// Transformers looks at no other length than that of the configuration.
    fn dynamic(&self) -> Result<RopeScaling, ModelError> {
        if self.dims <= 2 {
            return Err(self.error(&format!("needs more than 2 turning coordinates, not {}", self.dims)));
        }
        Ok(RopeScaling::Dynamic { factor: self.required("factor")?, original: self.max_positions as f64 })
    }

    fn yarn(&self) -> Result<RopeScaling, ModelError> {
        self.check_pairs()?;
        if self.theta <= 1.0 {
            return Err(self.error(&format!("needs a base above 1, not {}", self.theta)));
        }
        let factor = self.required("factor")?;
        let scale = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
        let scales = (self.unless_zero("mscale")?, self.unless_zero("mscale_all_dim")?);
        let attention_factor = match (positive(self.parameters, "attention_factor")?, scales) {
            (Some(own), _) => own,
            (None, (Some(above), Some(below))) => scale(above) / scale(below),
            (None, _) => scale(1.0),
        };
        let truncate = self.parameters.value.get("truncate").is_none() || self.parameters.bool("truncate")?;
        Ok(RopeScaling::Yarn {
            factor,
            attention_factor,
            beta_fast: self.unless_zero("beta_fast")?.unwrap_or(32.0),
            beta_slow: self.unless_zero("beta_slow")?.unwrap_or(1.0),
            original: self.original()?,
            truncate,
        })
    }

    fn longrope(&self) -> Result<RopeScaling, ModelError> {
        self.check_pairs()?;
        let original = self.original()?;
        let factor = positive(self.parameters, "factor")?.unwrap_or(self.max_positions as f64 / original);
        let attention_factor = match positive(self.parameters, "attention_factor")? {
            Some(own) => own,
            None if factor <= 1.0 => 1.0,
            None if original <= 1.0 => {
                return Err(self.error(&format!("needs an original length above 1, not {original}")));
            }
            None => (1.0 + factor.ln() / original.ln()).sqrt(),
        };
        let (short, long) = (self.divisors("short_factor")?, self.divisors("long_factor")?);
        Ok(RopeScaling::LongRope { attention_factor, original, short, long })
    }

    /// A positive number for each frequency.
    fn divisors(&self, key: &str) -> Result<Vec<f64>, ModelError> {
        let Some(value) = self.parameters.get(key) else {
            return Err(self.error(&format!("needs {key}, which is missing")));
        };
        let pairs = self.dims / 2;
        let error = |found: String| {
            let message =
                format!("needs {pairs} positive numbers as {key}, one for each pair of the {} ", self.dims);
            self.error(&format!("{message}turning coordinates, not {found}"))
        };
        let list = value.as_array().ok_or_else(|| error(value.to_string()))?;
        if list.len() != pairs {
            return Err(error(list.len().to_string()));
        }
        let number = |value: &Value| {
            let number = value.as_f64().filter(|number| number.is_finite() && *number > 0.0);
            number.ok_or_else(|| error(format!("with {value} among them")))
        };
        list.iter().map(number).collect()
    }

    /// Transformers has no frequency for the last of an odd number of coordinates here.
    fn check_pairs(&self) -> Result<(), ModelError> {
        match self.dims.is_multiple_of(2) {
            true => Ok(()),
            false => {
                Err(self.error(&format!("needs an even number of turning coordinates, not {}", self.dims)))
            }
        }
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}
