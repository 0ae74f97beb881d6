//! A PEFT LoRA adapter folder, checked against its configuration and against the base model.
//!
//! Invariants
//! - every module has both factors, A `[rank, in]` and B `[out, rank]`, with the rank that the
//!   configuration gives it
//! - everything in `adapter_config.json` that would change the mathematics is either implemented or refused
//! - a fused weight is one module: its factors are those of all maps in it

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::finite::check_finite;
use super::folder::{ModelFolder, checkpoint_hint};
use super::lora_config::LoraConfig;
use super::trained_on::trained_on_other;
use crate::architectures::Param;
use crate::files::ModelError;
use crate::files::TensorSet;
use crate::files::json::{self, JsonObject};
use crate::files::names;
use crate::params::TensorSpec;

/// The LoRA factors of one linear module.
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

/// A weight of a base model and its factors.
#[derive(Debug, Clone, Copy)]
pub struct AdaptedWeight<'a> {
    /// The weight.
    pub param: &'a Param,
    /// Its factors; A is `[rank, input]` and B `[out, rank]` of the weight's canonical sizes.
    pub lora: &'a LoraModule,
}

/// A LoRA adapter.
#[derive(Debug, Clone)]
pub struct Adapter {
    path: PathBuf,
    config: LoraConfig,
    tensors: TensorSet,
    modules: BTreeMap<String, LoraModule>,
}

impl Adapter {
    /// Opens `adapter_config.json` and `adapter_model.safetensors`; reads no weights yet. Whether it fits a
    /// model shows in [`Adapter::fit`].
    pub fn open(path: &Path) -> Result<Adapter, ModelError> {
        let config_path = path.join("adapter_config.json");
        if !config_path.exists() {
            let hint = checkpoint_hint(path).unwrap_or_else(|| {
                "; a checkpoint is a folder with a LoRA adapter, or with a whole model (config.json)".into()
            });
            return Err(ModelError::MissingFile {
                folder: path.to_owned(),
                file: "adapter_config.json".into(),
                hint,
            });
        }
        let value = json::read(&config_path)?;
        let config = LoraConfig::parse(JsonObject { path: &config_path, value: &value })?;
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

    /// The values of a factor, by its name in the file.
    ///
    /// # Errors
    /// A factor that cannot be read, or has a value which is not finite.
    pub fn factor(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let values = self.tensors.read_f32(name)?;
        check_finite(&self.path, name, &values)?;
        Ok(values)
    }

    /// The adapted modules by canonical name, sorted by bytes; [`Adapter::fit`] has them
    /// in the order of a model.
    pub fn modules(&self) -> &BTreeMap<String, LoraModule> {
        &self.modules
    }

    /// The adapted weights in `named_parameters()` order. Fails if the adapter does not fit `base`.
    pub fn fit<'a>(&'a self, base: &'a ModelFolder) -> Result<Vec<AdaptedWeight<'a>>, ModelError> {
        let maps = || base.decoder().params.iter().filter(|param| param.is_map_of_layer());
        let adapted = |param: &'a Param| {
            let lora = self.modules.get(param.module())?;
            Some(AdaptedWeight { param, lora })
        };
        let fitted: Vec<AdaptedWeight<'a>> = maps().filter_map(adapted).collect();
        if fitted.len() < self.modules.len() {
            return Err(self.unknown_module_error(base));
        }
        for AdaptedWeight { param, lora } in &fitted {
            let &[out, input] = &param.shape[..] else { continue };
            for (name, shape) in [(&lora.a, [lora.rank, input]), (&lora.b, [out, lora.rank])] {
                let entry = self.tensors.require(name)?;
                if entry.shape != shape {
                    let message = format!(
                        "{} has shape {:?}, the model needs {shape:?}",
                        names::canonical(name),
                        entry.shape
                    );
                    return Err(self.mismatch(base, message));
                }
            }
        }
        // After the rest: an adapter for another model may lack factors, too.
        let is_missing = |module: &&str| !self.modules.contains_key(*module) && self.config.targets(module);
        match maps().map(Param::module).find(is_missing) {
            Some(module) => Err(self.incomplete_error(base, module)),
            None => Ok(fitted),
        }
    }

    /// The trainable tensors in `named_parameters()` order: per module A, then B. Fails if the
    /// adapter does not fit `base`.
    pub fn params(&self, base: &ModelFolder) -> Result<Vec<TensorSpec>, ModelError> {
        let mut specs = Vec::with_capacity(2 * self.modules.len());
        for AdaptedWeight { lora, .. } in self.fit(base)? {
            for name in [&lora.a, &lora.b] {
                let shape = self.tensors.require(name)?.shape.clone();
                specs.push(TensorSpec { name: names::canonical(name), shape });
            }
        }
        Ok(specs)
    }

    fn mismatch(&self, base: &ModelFolder, message: String) -> ModelError {
        let (adapter, base) = (self.path.clone(), base.path().to_owned());
        match trained_on_other(&adapter, &base) {
            Ok(trained) => ModelError::AdapterMismatch { adapter, base, message, trained },
            Err(error) => error,
        }
    }

    fn incomplete_error(&self, base: &ModelFolder, module: &str) -> ModelError {
        let (adapter, base) = (self.path.clone(), base.path().to_owned());
        match trained_on_other(&adapter, &base) {
            Ok(trained) => {
                ModelError::IncompleteAdapter { adapter, base, module: module.to_owned(), trained }
            }
            Err(error) => error,
        }
    }

    /// The error of a module that is no linear map of the base's layers.
    fn unknown_module_error(&self, base: &ModelFolder) -> ModelError {
        let decoder = base.decoder();
        let known = |module: &str| {
            let names = |param: &Param| {
                std::iter::once(&param.name)
                    .chain(&param.aliases)
                    .any(|name| name.rsplit_once('.').is_some_and(|(stem, _)| stem == module))
            };
            decoder.params.iter().find(|param| names(param))
        };
        let is_stranger = |module: &&String| known(module).is_none_or(|param| !param.is_map_of_layer());
        let module = self.modules.keys().find(is_stranger).map_or("", String::as_str);
        match known(module) {
            Some(_) => {
                unsupported_setting(&self.path.join("adapter_config.json"), format!("an adapter of {module}"))
            }
            None => {
                let message = format!(
                    "it adapts {module}, the model with its {} layers has no such module",
                    decoder.layers
                );
                self.mismatch(base, message)
            }
        }
    }
}

/// What is implemented, and the way out where an adapter has more.
const SUPPORTED: &str = "LoRA factors of the linear maps of decoder layers are\n  \
                         merge it into its model with PEFT, and give the merged model";

fn unsupported_setting(path: &Path, setting: String) -> ModelError {
    ModelError::UnsupportedOption { path: path.to_owned(), setting, supported: SUPPORTED.to_owned() }
}

/// What an adapter is that has a tensor which is no factor. PEFT saves embeddings and heads as a whole if
/// they are trained or have more tokens than before: as `base_layer` where they have factors too.
fn setting_of(tensor: &str) -> String {
    match tensor.strip_suffix(".weight").filter(|module| !module.contains(".lora_")) {
        Some(module) => match module.strip_suffix(".base_layer") {
            Some(module) => format!("an adapter of {module} with its weights"),
            None => format!("an adapter that also replaces the weights of {module}"),
        },
        None => format!("tensor {tensor}"),
    }
}

fn collect_modules(
    config_path: &Path,
    config: &LoraConfig,
    tensors: &TensorSet,
) -> Result<BTreeMap<String, LoraModule>, ModelError> {
    let mut factors: BTreeMap<String, [Option<String>; 2]> = BTreeMap::new();
    let unsupported = |name: &str, setting: String| {
        tensors.require(name).map(|entry| unsupported_setting(tensors.file_of(entry), setting))
    };
    for name in tensors.names() {
        let canonical = names::canonical(name);
        let (module, slot) =
            match (canonical.strip_suffix(".lora_A.weight"), canonical.strip_suffix(".lora_B.weight")) {
                (Some(module), _) => (module, 0),
                (_, Some(module)) => (module, 1),
                _ => return Err(unsupported(name, setting_of(&canonical))?),
            };
        if !config.targets(module) {
            return Err(ModelError::Config {
                path: config_path.to_owned(),
                message: format!("target_modules does not cover {module}, which the weights adapt"),
            });
        }
        if factors.entry(module.to_owned()).or_default()[slot].replace(name.to_owned()).is_some() {
            return Err(unsupported(name, format!("a second tensor {canonical}"))?);
        }
    }
    if factors.is_empty() {
        return Err(ModelError::MissingTensor {
            folder: tensors.folder().to_owned(),
            name: "*.lora_A.weight".into(),
        });
    }
    let mut modules = BTreeMap::new();
    for (module, pair) in factors {
        let [Some(a), Some(b)] = pair.clone() else {
            let missing = if pair[0].is_none() { "lora_A" } else { "lora_B" };
            return Err(ModelError::MissingTensor {
                folder: tensors.folder().to_owned(),
                name: format!("{module}.{missing}.weight"),
            });
        };
        let (rank, scaling) = config.rank_and_scaling(&module);
        check_rank(tensors, &a, rank, 0)?;
        check_rank(tensors, &b, rank, 1)?;
        modules.insert(module, LoraModule { rank, scaling, a, b });
    }
    Ok(modules)
}

/// A factor is a matrix with `rank` entries along `axis`.
fn check_rank(tensors: &TensorSet, name: &str, rank: usize, axis: usize) -> Result<(), ModelError> {
    let entry = tensors.require(name)?;
    let mut expected = entry.shape.clone();
    if expected.len() != 2 {
        return Err(ModelError::WrongShape {
            path: tensors.file_of(entry).to_owned(),
            name: names::canonical(name),
            expected: vec![rank, 0],
            found: expected,
        });
    }
    expected[axis] = rank;
    tensors.check(name, &expected).map(drop)
}
