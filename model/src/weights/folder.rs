//! A Hugging Face model folder: configuration and weights, checked against each other.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use gstore_core::{first_of, if_there, many};

use crate::architectures::{Decoder, Param, TensorRole};
use crate::cpu;
use crate::files::ModelError;
use crate::files::TensorSet;

/// Whether a folder is a model or an adapter itself, as its configuration says.
pub fn has_config(folder: &Path) -> bool {
    ["config.json", "adapter_config.json"].iter().any(|name| folder.join(name).exists())
}

/// The folders `checkpoint-N` in the output folder of a training, by N; none of a folder that is a model or
/// an adapter itself.
pub fn checkpoints_in(folder: &Path) -> Vec<PathBuf> {
    if has_config(folder) {
        return Vec::new();
    }
    let found = numbered_checkpoints(folder).unwrap_or_default();
    found.into_iter().map(|(_, path)| path).filter(|path| path.is_dir()).collect()
}

/// What is called `checkpoint-N` in the output folder of a training, whatever it is, with N and by it;
/// nothing where there is no such folder.
///
/// # Errors
/// A folder that cannot be listed.
pub fn numbered_checkpoints(output: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let Some(entries) = if_there(fs_err::read_dir(output))? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let step: Option<u64> = name.and_then(|name| name.strip_prefix("checkpoint-")?.parse().ok());
        found.extend(step.map(|step| (step, path)));
    }
    found.sort();
    Ok(found)
}

/// What to do about a folder that is not what it was named as, if it has checkpoints or else adapters in it.
pub(super) fn checkpoint_hint(folder: &Path) -> Option<String> {
    let (mut what, mut found) = ("checkpoints", checkpoints_in(folder));
    if found.is_empty() {
        (what, found) = ("adapters", adapters_in(folder));
    }
    let names = found.iter().filter_map(|path| path.file_name()?.to_str());
    let (names, last) = (first_of(names, 4), found.last()?.display());
    Some(format!("; it has {what} in it ({names}): name one, such as {last}"))
}

/// The subfolders that are adapters, by name: PEFT puts an adapter that has a name of its own into one.
fn adapters_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.map(|entry| entry.path());
    let mut found: Vec<PathBuf> = folders.filter(|path| path.join("adapter_config.json").is_file()).collect();
    found.sort();
    found
}

/// The folder around that of an adapter, and whether what a trainer wrote there is of this adapter: PEFT makes
/// a subfolder for an adapter with a name of its own. There must be nothing else there that it may be of:
/// weights, other adapters, or the checkpoints of a training.
pub(super) fn around_adapter(adapter: &Path) -> Option<(PathBuf, bool)> {
    adapter.file_name()?;
    let above = adapter.parent()?;
    let above = if above.as_os_str().is_empty() { PathBuf::from(".") } else { above.to_owned() };
    let is_alone = !has_config(&above) && checkpoints_in(&above).is_empty() && adapters_in(&above).len() == 1;
    Some((above, is_alone))
}

/// Ends of the names of tensors that files of older versions of transformers have, and that follow from the
/// configuration.
const BUFFERS: [&str; 8] = [
    ".attention.bias",
    ".attention.masked_bias",
    ".attn.bias",
    ".attn.masked_bias",
    "rotary_emb.inv_freq",
    "rotary_emb.cos_cached",
    "rotary_emb.sin_cached",
    "position_ids",
];

/// A model folder whose tensors all exist with the right shapes and element types.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    path: PathBuf,
    decoder: Decoder,
    tensors: TensorSet,
}

impl ModelFolder {
    /// Opens `config.json` and `model.safetensors` (or its shards) and checks every tensor. Weights are read
    /// only of a tensor that is there under two names, such as a tied head, to see that it is one.
    pub fn open(path: &Path) -> Result<ModelFolder, ModelError> {
        if !path.is_dir() {
            return Err(ModelError::NoFolder { path: path.to_owned() });
        }
        let config_path = path.join("config.json");
        if !config_path.exists() {
            return Err(ModelError::MissingFile {
                folder: path.to_owned(),
                file: "config.json".into(),
                hint: if path.join("adapter_config.json").exists() {
                    "; it is an adapter: give it as a checkpoint and its base as the model".into()
                } else {
                    checkpoint_hint(path).unwrap_or_default()
                },
            });
        }
        let decoder = Decoder::read(&config_path)?;
        let tensors = TensorSet::open(path, "model")?;
        let folder = ModelFolder { path: path.to_owned(), decoder, tensors };
        for param in &folder.decoder.params {
            folder.tensors.check(folder.file_name(param), &param.file_shape())?;
        }
        folder.check_layers()?;
        folder.check_copies()?;
        Ok(folder)
    }

    /// Refuses weights of layers that `config.json` does not count.
    fn check_layers(&self) -> Result<(), ModelError> {
        let layers = self.decoder.layers;
        let of_layer = |name: &str| -> Option<usize> { name.split('.').find_map(|part| part.parse().ok()) };
        // A tensor of a layer is one whose name with another layer's number is the model's.
        let is_of_model = |name: &str, layer: usize| {
            let first = name.replacen(&format!(".{layer}."), ".0.", 1);
            self.decoder.params.iter().any(|param| self.file_name(param) == first)
        };
        for name in self.tensors.names() {
            if let Some(layer) = of_layer(name).filter(|layer| *layer >= layers && is_of_model(name, *layer))
            {
                return Err(ModelError::Config {
                    path: self.path.join("config.json"),
                    message: format!("it counts {layers} layers, the weights have {name}, of layer {layer}"),
                });
            }
        }
        Ok(())
    }

    /// Weights that the model has no place for, as [`unused_note`] names them. As in transformers it computes
    /// without them: the configuration may lack what they belong to, such as `attention_bias`. An adapter in
    /// the folder, which PEFT would load, is among them.
    pub fn unused_weights(&self) -> Option<String> {
        let params = self.decoder.params.iter();
        let used = params.flat_map(|param| std::iter::once(&param.name).chain(&param.aliases));
        let used: HashSet<&str> = used.map(String::as_str).collect();
        let is_buffer = |name: &str| BUFFERS.iter().any(|end| name.ends_with(end));
        let unused = self.tensors.names().filter(|name| !used.contains(name) && !is_buffer(name));
        let unused: Vec<&str> = unused.collect();
        let tensors = (!unused.is_empty()).then(|| {
            let tensors = many(unused.len() as u64, "tensor");
            format!("{tensors} of the weights, left out: {}", first_of(&unused, 4))
        });
        let adapter = self.path.join("adapter_config.json").is_file();
        let adapter =
            adapter.then(|| "the adapter in its folder, which counts as a checkpoint only".to_owned());
        tensors.into_iter().chain(adapter).reduce(|tensors, adapter| format!("{tensors}, and {adapter}"))
    }

    /// What is to be said of these weights.
    pub fn unused_note(&self) -> Option<String> {
        self.unused_weights().map(|weights| unused_note(&weights, &self.path, 0))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the model computes and which tensors it has.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The weights, under their names in the files.
    pub fn tensors(&self) -> &TensorSet {
        &self.tensors
    }

    /// The name under which the files have a tensor: its own, else the first alias that they have.
    pub fn file_name<'a>(&self, param: &'a Param) -> &'a str {
        std::iter::once(&param.name)
            .chain(&param.aliases)
            .find(|name| self.tensors.get(name).is_some())
            .unwrap_or(&param.name)
    }

    /// Canonical name to name in the files of every tensor that the model uses.
    pub(super) fn file_names(&self) -> BTreeMap<&str, &str> {
        self.decoder.params.iter().map(|param| (param.name.as_str(), self.file_name(param))).collect()
    }

    /// Reads a tensor as f32, row-major in the sizes of `param.shape`: a linear weight as `[out, input]`,
    /// whatever the file's order.
    pub fn read(&self, param: &Param) -> Result<Vec<f32>, ModelError> {
        let values = self.tensors.read_f32(self.file_name(param))?;
        Ok(match param.shape[..] {
            [out, input] if param.transposed => transpose(&values, input, out),
            _ => values,
        })
    }

    /// Refuses a tensor that the files have under two names with different values. With a head that differs
    /// from the embedding transformers unties them: the configuration then says something else than the weights.
    fn check_copies(&self) -> Result<(), ModelError> {
        for param in &self.decoder.params {
            let own = self.file_name(param);
            let others = std::iter::once(&param.name).chain(&param.aliases).filter(|name| *name != own);
            for copy in others.filter(|name| self.tensors.get(name).is_some()) {
                self.tensors.check(copy, &param.file_shape())?;
                if self.digest(copy)? == self.digest(own)? {
                    continue;
                }
                let is_tied = param.role == TensorRole::Embedding && is_head(copy);
                return Err(match is_tied {
                    true => ModelError::UnsupportedOption {
                        path: self.path.join("config.json"),
                        setting: format!("tie_word_embeddings true with a {copy} that differs from {own}"),
                        supported: "set it to false if the head has weights of its own".into(),
                    },
                    false => ModelError::Config {
                        path: self.path.clone(),
                        message: format!(
                            "{copy} and {own} are names of one tensor, and their values differ: leave out the one that \
                             is not the model's"
                        ),
                    },
                });
            }
        }
        Ok(())
    }

    fn digest(&self, name: &str) -> Result<blake3::Hash, ModelError> {
        let mut hasher = blake3::Hasher::new();
        self.tensors.stream(name, &mut |bytes| {
            hasher.update(bytes);
        })?;
        Ok(hasher.finalize())
    }
}

/// What is to be said of weights that the models of a folder and of so many others have no place for.
pub fn unused_note(weights: &str, folder: &Path, others: usize) -> String {
    let config = folder.join("config.json");
    match others {
        0 => format!("{}: the model that it describes has no place for {weights}", config.display()),
        _ => format!(
            "{} and {}: the models that they describe have no place for {weights}",
            config.display(),
            many(others as u64, "other folder")
        ),
    }
}

/// Among the aliases of an embedding, those that name the head.
fn is_head(alias: &str) -> bool {
    matches!(alias, "lm_head.weight" | "embed_out.weight")
}

pub(super) fn transpose(values: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    cpu::transpose(values, cols, [rows, cols], &mut out, rows);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_in_the_order_of_their_steps_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out");
        assert!(numbered_checkpoints(&output).unwrap().is_empty());
        for name in ["checkpoint-12", "checkpoint-3", "checkpoint-best", "other-4"] {
            fs_err::create_dir_all(output.join(name)).unwrap();
        }
        fs_err::write(output.join("checkpoint-5"), b"").unwrap();
        let named = numbered_checkpoints(&output).unwrap();
        assert_eq!(named.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [3, 5, 12]);
        let folders = ["checkpoint-3", "checkpoint-12"].map(|name| output.join(name));
        assert_eq!(checkpoints_in(&output), folders);
        // What is a model itself has none.
        fs_err::write(output.join("config.json"), b"{}").unwrap();
        assert!(checkpoints_in(&output).is_empty());
    }

    #[test]
    fn a_hint_names_checkpoints_or_else_adapters_in_subfolders() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        assert_eq!(checkpoint_hint(&run.join("nowhere")), None);
        let make = |name: &str| fs_err::create_dir(run.join(name)).unwrap();
        make("logs");
        assert_eq!(checkpoint_hint(run), None);
        for name in ["reference", "adapter"] {
            make(name);
            fs_err::write(run.join(name).join("adapter_config.json"), b"{}").unwrap();
        }
        let last = run.join("reference");
        let says =
            format!("; it has adapters in it (adapter, reference): name one, such as {}", last.display());
        assert_eq!(checkpoint_hint(run), Some(says));
        make("checkpoint-3");
        let last = run.join("checkpoint-3");
        let says = format!("; it has checkpoints in it (checkpoint-3): name one, such as {}", last.display());
        assert_eq!(checkpoint_hint(run), Some(says));
    }
}
