//! `adapter_config.json` of a PEFT LoRA adapter.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::files::ModelError;
use crate::files::json::JsonObject;

/// Which modules `target_modules` or `exclude_modules` means.
#[derive(Debug, Clone)]
enum ModuleMatch {
    AllLinear,
    Names(Vec<String>),
    Pattern(Regex),
}

impl ModuleMatch {
    fn parse(config: JsonObject<'_>, key: &str) -> Result<Option<ModuleMatch>, ModelError> {
        let wrong = || config.error(format!("{key} must be a list of names or a pattern"));
        Ok(Some(match config.get(key) {
            None => return Ok(None),
            Some(Value::String(s)) if s == "all-linear" => ModuleMatch::AllLinear,
            Some(Value::String(s)) => ModuleMatch::Pattern(compile(config, key, &format!("^(?:{s})$"))?),
            Some(Value::Array(list)) => ModuleMatch::Names(
                list.iter()
                    .map(|v| v.as_str().map(str::to_owned).ok_or_else(wrong))
                    .collect::<Result<_, _>>()?,
            ),
            Some(_) => return Err(wrong()),
        }))
    }

    fn matches(&self, module: &str) -> bool {
        match self {
            // Of a model's weights only those of decoder layers are asked for.
            ModuleMatch::AllLinear => true,
            ModuleMatch::Names(names) => names
                .iter()
                .any(|n| module == n || module.strip_suffix(n.as_str()).is_some_and(|m| m.ends_with('.'))),
            ModuleMatch::Pattern(pattern) => pattern.is_match(module),
        }
    }

    fn names_in_full(&self, module: &str) -> bool {
        matches!(self, ModuleMatch::Names(names) if names.iter().any(|name| name == module))
    }
}

/// What an adapter's configuration says of its modules.
#[derive(Debug, Clone)]
pub(super) struct LoraConfig {
    rank: usize,
    alpha: f64,
    rank_pattern: Vec<(Regex, f64)>,
    alpha_pattern: Vec<(Regex, f64)>,
    rslora: bool,
    target: ModuleMatch,
    exclude: Option<ModuleMatch>,
    /// The layers of `layers_to_transform`, of modules that are not named in full; empty: all.
    layers: Vec<u64>,
    /// `layers_pattern`: where the number of a layer stands in a module's name; empty: it is the first one.
    layer_patterns: Vec<Regex>,
}

impl LoraConfig {
    pub fn parse(config: JsonObject<'_>) -> Result<LoraConfig, ModelError> {
        refuse_unsupported(config)?;
        let target = ModuleMatch::parse(config, "target_modules")?
            .ok_or_else(|| {
                config.error(
                    "target_modules is missing or null, which means a default that differs between versions of PEFT; name the adapted modules",
                )
            })?;
        Ok(LoraConfig {
            rank: config.required_size("r")?,
            alpha: finite(config, "lora_alpha")?.unwrap_or(8.0),
            rank_pattern: pattern(config, "rank_pattern")?,
            alpha_pattern: pattern(config, "alpha_pattern")?,
            rslora: config.bool("use_rslora")?,
            target,
            exclude: ModuleMatch::parse(config, "exclude_modules")?,
            layers: layers(config)?,
            layer_patterns: layer_patterns(config)?,
        })
    }

    pub fn targets(&self, module: &str) -> bool {
        // As in PEFT, layers limit what the end of a name means, not a module that is named in full.
        let in_layers = self.layers.is_empty()
            || self.target.names_in_full(module)
            || self.layer(module).is_some_and(|layer| self.layers.contains(&layer));
        in_layers && self.target.matches(module) && !self.exclude.as_ref().is_some_and(|e| e.matches(module))
    }

    /// The layer that a module is in, as far as its name says it.
    fn layer(&self, module: &str) -> Option<u64> {
        if self.layer_patterns.is_empty() {
            return module.split('.').find_map(|part| part.parse().ok());
        }
        let found = self.layer_patterns.iter().find_map(|pattern| pattern.captures(module))?;
        found.name("layer")?.as_str().parse().ok()
    }

    pub(crate) fn rank_and_scaling(&self, module: &str) -> (usize, f64) {
        let lookup =
            |patterns: &[(Regex, f64)]| patterns.iter().find(|(p, _)| p.is_match(module)).map(|(_, v)| *v);
        let rank = lookup(&self.rank_pattern).map_or(self.rank, |r| r as usize);
        let alpha = lookup(&self.alpha_pattern).unwrap_or(self.alpha);
        let divisor = if self.rslora { (rank as f64).sqrt() } else { rank as f64 };
        (rank, alpha / divisor)
    }
}

/// Settings that change the adapter's mathematics and are not implemented. `fan_in_fan_out` is not among
/// them: PEFT makes it follow from whether the base stores a weight as `[input, out]`, and the factors
/// are the same either way.
fn refuse_unsupported(config: JsonObject<'_>) -> Result<(), ModelError> {
    let refuse = |key: &str, value: &Value, supported: &str| ModelError::UnsupportedOption {
        path: config.path.to_owned(),
        setting: format!("{key} {value}"),
        supported: supported.to_owned(),
    };
    let Some(object) = config.value.as_object() else { return Err(config.error("not a JSON object")) };
    let peft_type = config.string("peft_type")?.unwrap_or("(missing)");
    if peft_type != "LORA" {
        return Err(refuse("peft_type", &peft_type.into(), "only \"LORA\" is"));
    }
    if let Some(bias) = config.get("bias").filter(|b| b.as_str() != Some("none")) {
        return Err(refuse("bias", bias, "only \"none\" is"));
    }
    // Others take the factors out of the base's weights, so that the adapter belongs to weights that the base
    // does not have, or train one factor only.
    const INITIAL: [&str; 5] = ["gaussian", "eva", "orthogonal", "true", "false"];
    if let Some(initial) =
        config.get("init_lora_weights").filter(|v| !INITIAL.contains(&v.as_str().unwrap_or("true")))
    {
        let supported =
            "it may have changed the base's weights; convert the adapter to plain LoRA when saving it";
        return Err(refuse("init_lora_weights", initial, supported));
    }
    const KEYS: [&str; 11] = [
        "modules_to_save",
        "layer_replication",
        "target_parameters",
        "trainable_token_indices",
        "lora_bias",
        "arrow_config",
        "alora_invocation_tokens",
        "megatron_config",
        "kasa_config",
        "monteclora_config",
        "velora_config",
    ];
    for (key, value) in object {
        let variant = key.starts_with("use_") && key != "use_rslora";
        // PEFT makes a variant with its defaults of an empty object, but takes that of Megatron for none.
        let has_defaults = variant || (key.ends_with("_config") && key != "megatron_config");
        let set = match value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(a) => !a.is_empty(),
            Value::Object(o) => has_defaults || !o.is_empty(),
            _ => true,
        };
        if set && (variant || KEYS.contains(&key.as_str())) {
            return Err(refuse(key, value, "plain LoRA and rsLoRA are"));
        }
    }
    Ok(())
}

/// `rank_pattern` and `alpha_pattern`: module-name patterns, matched like PEFT does, to whole numbers from
/// 1 of the first, and any finite ones of the second.
fn pattern(config: JsonObject<'_>, key: &str) -> Result<Vec<(Regex, f64)>, ModelError> {
    let Some(object) = config.object(key)? else { return Ok(Vec::new()) };
    let entries = object.value.as_object().into_iter().flatten();
    let (of_ranks, wanted) = match key {
        "rank_pattern" => (true, "a whole number from 1"),
        _ => (false, "a finite number"),
    };
    entries
        .map(|(name, value)| {
            let number = value
                .as_f64()
                .filter(|v| v.is_finite() && (!of_ranks || (v.fract() == 0.0 && (1.0..1e9).contains(v))))
                .ok_or_else(|| config.error(format!("{key}.{name} must be {wanted}, not {value}")))?;
            Ok((compile(config, key, &format!(r"^(?:.*\.)?(?:{name})$"))?, number))
        })
        .collect()
}

/// Memory that a compiled pattern may take; patterns of module names take a few KiB.
const PATTERN_BYTES: usize = 1 << 20;

fn compile(config: JsonObject<'_>, key: &str, pattern: &str) -> Result<Regex, ModelError> {
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build().map_err(|e| {
        let instead = match key {
            "target_modules" => "replace it in adapter_config.json by the list of the adapted modules",
            "exclude_modules" => "replace it in adapter_config.json by the list of the modules to leave out",
            _ if ["look-around", "backreference"].iter().any(|what| e.to_string().contains(what)) => {
                "write it without look-around and references to groups"
            }
            _ => "correct it",
        };
        config.error(format!("{key} is not a pattern that gstore understands: {e}; {instead}"))
    })
}

fn finite(config: JsonObject<'_>, key: &str) -> Result<Option<f64>, ModelError> {
    match config.number(key)? {
        Some(v) if !v.is_finite() => Err(config.error(format!("{key} is not finite"))),
        other => Ok(other),
    }
}

/// `layers_to_transform`: the number of a layer, or a list of them; only modules of these layers are adapted,
/// and those that are named in full.
fn layers(config: JsonObject<'_>) -> Result<Vec<u64>, ModelError> {
    let wrong = || config.error("layers_to_transform must be the number of a layer or a list of them");
    match config.get("layers_to_transform") {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(|v| v.as_u64().ok_or_else(wrong)).collect(),
        Some(value) => Ok(vec![value.as_u64().ok_or_else(wrong)?]),
    }
}

/// `layers_pattern`: the name before the number of a layer, or a list of them, as patterns. An empty one
/// means any, as in PEFT.
fn layer_patterns(config: JsonObject<'_>) -> Result<Vec<Regex>, ModelError> {
    const KEY: &str = "layers_pattern";
    let wrong = || config.error(format!("{KEY} must be a pattern or a list of them"));
    let patterns: Vec<&str> = match config.get(KEY) {
        None => Vec::new(),
        Some(Value::String(pattern)) => {
            Some(pattern.as_str()).filter(|p| !p.is_empty()).into_iter().collect()
        }
        Some(Value::Array(list)) => {
            list.iter().map(|v| v.as_str().ok_or_else(wrong)).collect::<Result<_, _>>()?
        }
        Some(_) => return Err(wrong()),
    };
    let compiled =
        |pattern: &str| compile(config, KEY, &format!(r"^(?:(?:|.*?\.){pattern}\.(?P<layer>\d+)\.)"));
    patterns.into_iter().map(compiled).collect()
}
