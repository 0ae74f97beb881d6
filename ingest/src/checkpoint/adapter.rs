//! A PEFT LoRA adapter folder, checked against its configuration and against the base model.
//!
//! Invariants
//! - every module has both factors, A `[rank, in]` and B `[out, rank]`, with the rank that the configuration gives it
//! - everything in `adapter_config.json` that would change the mathematics is either implemented or refused

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::error::ModelError;
use super::folder::ModelFolder;
use super::json::{self, Object};
use super::names::{self, LinearId, LinearKind};
use super::tensors::TensorSet;
use crate::params::TensorSpec;

/// The LoRA factors of one linear layer.
#[derive(Debug, Clone)]
pub struct LoraModule {
    /// Rows of A, columns of B.
    pub rank: usize,
    /// The update is `scaling * B A`.
    pub scaling: f64,
    /// Name of A in the file.
    pub a: String,
    /// Name of B in the file.
    pub b: String,
}

/// A LoRA adapter.
#[derive(Debug, Clone)]
pub struct Adapter {
    path: PathBuf,
    config: LoraConfig,
    tensors: TensorSet,
    modules: BTreeMap<LinearId, LoraModule>,
}

impl Adapter {
    /// Opens `adapter_config.json` and `adapter_model.safetensors`; reads no weights yet.
    pub fn open(path: &Path) -> Result<Adapter, ModelError> {
        let config_path = path.join("adapter_config.json");
        if !config_path.exists() {
            return Err(ModelError::MissingFile {
                folder: path.to_owned(),
                file: "adapter_config.json".into(),
                hint: "; a checkpoint is a PEFT LoRA folder".into(),
            });
        }
        let value = json::read(&config_path)?;
        let config = LoraConfig::parse(Object { path: &config_path, value: &value })?;
        let tensors = TensorSet::open(path, "adapter_model")?;
        let modules = collect_modules(&config_path, &config, &tensors)?;
        Ok(Adapter { path: path.to_owned(), config, tensors, modules })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The factors.
    pub fn tensors(&self) -> &TensorSet {
        &self.tensors
    }

    /// The adapted layers in `named_parameters()` order.
    pub fn modules(&self) -> &BTreeMap<LinearId, LoraModule> {
        &self.modules
    }

    /// The trainable tensors in `named_parameters()` order: per module A, then B. Fails if the adapter does not fit `base`.
    pub fn params(&self, base: &ModelFolder) -> Result<Vec<TensorSpec>, ModelError> {
        let mismatch = |message: String| ModelError::AdapterMismatch {
            adapter: self.path.clone(),
            base: base.path().to_owned(),
            message,
        };
        let config = base.config();
        if let Some(module) = self.first_missing_target(config.layers) {
            return Err(mismatch(format!(
                "target_modules covers {module}, the adapter has no factors for it"
            )));
        }
        let mut specs = Vec::with_capacity(2 * self.modules.len());
        for (id, module) in &self.modules {
            let LinearId::Layer { layer, kind } = *id else { continue };
            if layer >= config.layers {
                return Err(mismatch(format!(
                    "it adapts layer {layer}, the model has {} layers",
                    config.layers
                )));
            }
            let [out, input] = kind.shape(config);
            for (file_name, shape) in [(&module.a, [module.rank, input]), (&module.b, [out, module.rank])] {
                let entry = self.tensors.require(file_name)?;
                if entry.shape != shape {
                    return Err(mismatch(format!(
                        "{} has shape {:?}, the model needs {shape:?}",
                        names::canonical(file_name),
                        entry.shape
                    )));
                }
                specs.push(TensorSpec { name: names::canonical(file_name), shape: shape.to_vec() });
            }
        }
        Ok(specs)
    }

    /// A layer that `target_modules` covers must have factors, unless the adapter was restricted to some layers.
    fn first_missing_target(&self, layers: usize) -> Option<String> {
        if self.config.some_layers_only {
            return None;
        }
        (0..layers)
            .flat_map(|layer| LinearKind::ALL.map(|kind| LinearId::Layer { layer, kind }))
            .filter(|id| !self.modules.contains_key(id))
            .map(LinearId::module)
            .find(|module| self.config.targets(module))
    }
}

fn collect_modules(
    config_path: &Path,
    config: &LoraConfig,
    tensors: &TensorSet,
) -> Result<BTreeMap<LinearId, LoraModule>, ModelError> {
    let mut factors: BTreeMap<LinearId, [Option<String>; 2]> = BTreeMap::new();
    let refuse = |setting: String| ModelError::UnsupportedOption {
        path: config_path.to_owned(),
        setting,
        supported: "LoRA factors of the q, k, v, o, gate, up and down projections are".into(),
    };
    for name in tensors.names() {
        let canonical = names::canonical(name);
        let (module, slot) =
            match (canonical.strip_suffix(".lora_A.weight"), canonical.strip_suffix(".lora_B.weight")) {
                (Some(module), _) => (module, 0),
                (_, Some(module)) => (module, 1),
                _ => return Err(refuse(format!("tensor {canonical}"))),
            };
        let id = match LinearId::parse(module) {
            Some(id @ LinearId::Layer { .. }) => id,
            _ => return Err(refuse(format!("an adapter of {module}"))),
        };
        if !config.targets(module) {
            return Err(ModelError::Config {
                path: config_path.to_owned(),
                message: format!("target_modules does not cover {module}, which the weights adapt"),
            });
        }
        let pair = factors.entry(id).or_default();
        if let Some(slot) = pair.get_mut(slot) {
            *slot = Some(name.to_owned());
        }
    }
    if factors.is_empty() {
        return Err(ModelError::MissingTensor {
            folder: tensors.folder().to_owned(),
            name: "*.lora_A.weight".into(),
        });
    }
    let mut modules = BTreeMap::new();
    for (id, pair) in factors {
        let module = id.module();
        let [Some(a), Some(b)] = pair.clone() else {
            let missing = if pair[0].is_none() { "lora_A" } else { "lora_B" };
            return Err(ModelError::MissingTensor {
                folder: tensors.folder().to_owned(),
                name: format!("{module}.{missing}.weight"),
            });
        };
        let (rank, scaling) = config.rank_and_scaling(&module);
        for (name, axis) in [(&a, 0), (&b, 1)] {
            let entry = tensors.require(name)?;
            let mut shape = entry.shape.clone();
            if shape.len() == 2 {
                shape[axis] = rank;
            }
            tensors.check(name, &shape)?;
            if shape.len() != 2 {
                return Err(ModelError::WrongShape {
                    path: tensors.file_of(entry).to_owned(),
                    name: names::canonical(name),
                    expected: vec![rank, 0],
                    found: shape,
                });
            }
        }
        modules.insert(id, LoraModule { rank, scaling, a, b });
    }
    Ok(modules)
}

/// Which modules `target_modules` or `exclude_modules` means.
#[derive(Debug, Clone)]
enum ModuleMatch {
    AllLinear,
    Names(Vec<String>),
    Pattern(Regex),
}

impl ModuleMatch {
    fn parse(config: Object<'_>, key: &str) -> Result<Option<ModuleMatch>, ModelError> {
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
            ModuleMatch::AllLinear => module != "lm_head",
            ModuleMatch::Names(names) => names
                .iter()
                .any(|n| module == n || module.strip_suffix(n.as_str()).is_some_and(|m| m.ends_with('.'))),
            ModuleMatch::Pattern(pattern) => pattern.is_match(module),
        }
    }
}

#[derive(Debug, Clone)]
struct LoraConfig {
    rank: usize,
    alpha: f64,
    rank_pattern: Vec<(Regex, f64)>,
    alpha_pattern: Vec<(Regex, f64)>,
    rslora: bool,
    target: ModuleMatch,
    exclude: Option<ModuleMatch>,
    some_layers_only: bool,
}

impl LoraConfig {
    fn parse(config: Object<'_>) -> Result<LoraConfig, ModelError> {
        refuse_unsupported(config)?;
        let target = ModuleMatch::parse(config, "target_modules")?
            .ok_or_else(|| config.error("target_modules is missing"))?;
        Ok(LoraConfig {
            rank: config.required_size("r")?,
            alpha: finite(config, "lora_alpha")?.unwrap_or(8.0),
            rank_pattern: pattern(config, "rank_pattern")?,
            alpha_pattern: pattern(config, "alpha_pattern")?,
            rslora: config.bool("use_rslora")?,
            target,
            exclude: ModuleMatch::parse(config, "exclude_modules")?,
            some_layers_only: config.get("layers_to_transform").is_some(),
        })
    }

    fn targets(&self, module: &str) -> bool {
        self.target.matches(module) && !self.exclude.as_ref().is_some_and(|e| e.matches(module))
    }

    fn rank_and_scaling(&self, module: &str) -> (usize, f64) {
        let lookup =
            |patterns: &[(Regex, f64)]| patterns.iter().find(|(p, _)| p.is_match(module)).map(|(_, v)| *v);
        let rank = lookup(&self.rank_pattern).map_or(self.rank, |r| r as usize);
        let alpha = lookup(&self.alpha_pattern).unwrap_or(self.alpha);
        let divisor = if self.rslora { (rank as f64).sqrt() } else { rank as f64 };
        (rank, alpha / divisor)
    }
}

/// Settings that change the adapter's mathematics and are not implemented. `fan_in_fan_out` is not among them: PEFT switches it off for
/// linear layers, and a Llama has no others.
fn refuse_unsupported(config: Object<'_>) -> Result<(), ModelError> {
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
    const KEYS: [&str; 8] = [
        "modules_to_save",
        "layer_replication",
        "target_parameters",
        "trainable_token_indices",
        "lora_bias",
        "arrow_config",
        "alora_invocation_tokens",
        "megatron_config",
    ];
    for (key, value) in object {
        let set = match value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(a) => !a.is_empty(),
            Value::Object(o) => !o.is_empty(),
            _ => true,
        };
        let variant = key.starts_with("use_") && key != "use_rslora";
        if set && (variant || KEYS.contains(&key.as_str())) {
            return Err(refuse(key, value, "plain LoRA and rsLoRA are"));
        }
    }
    Ok(())
}

/// `rank_pattern` and `alpha_pattern`: module-name patterns, matched like PEFT does, to positive numbers.
fn pattern(config: Object<'_>, key: &str) -> Result<Vec<(Regex, f64)>, ModelError> {
    let Some(object) = config.object(key)? else { return Ok(Vec::new()) };
    let entries = object.value.as_object().into_iter().flatten();
    entries
        .map(|(name, value)| {
            let number = value
                .as_f64()
                .filter(|v| {
                    v.is_finite() && (key != "rank_pattern" || (v.fract() == 0.0 && (1.0..1e9).contains(v)))
                })
                .ok_or_else(|| {
                    config.error(format!("{key}.{name} must be a positive number, not {value}"))
                })?;
            Ok((compile(config, key, &format!(r"^(?:.*\.)?(?:{name})$"))?, number))
        })
        .collect()
}

/// Memory that a compiled pattern may take; patterns of module names take a few KiB.
const PATTERN_BYTES: usize = 1 << 20;

fn compile(config: Object<'_>, key: &str, pattern: &str) -> Result<Regex, ModelError> {
    RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES)
        .dfa_size_limit(PATTERN_BYTES)
        .build()
        .map_err(|e| config.error(format!("{key} is not a pattern that gstore understands: {e}")))
}

fn finite(config: Object<'_>, key: &str) -> Result<Option<f64>, ModelError> {
    match config.number(key)? {
        Some(v) if !v.is_finite() => Err(config.error(format!("{key} is not finite"))),
        other => Ok(other),
    }
}
