//! Errors of reading a model folder or an adapter.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use std::path::PathBuf;

use gstore_core::Remedy;

/// Why a model folder or an adapter could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file system refused; the message names the path.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error(
        "{}: {}; a model is a folder with config.json and model.safetensors", path.display(),
        if path.exists() { "it is a file" } else { "there is no such folder" }
    )]
    NoFolder { path: PathBuf },
    #[error("{folder} has no {file}{hint}")]
    MissingFile {
        folder: PathBuf,
        /// The file, or the alternatives, that were expected.
        file: String,
        /// What to do about it; empty or starting with `; `.
        hint: String,
    },
    #[error("{path} is not valid JSON: {source}")]
    Json { path: PathBuf, source: serde_json::Error },
    /// A setting is missing, of the wrong type or out of range.
    #[error("{path}: {message}")]
    Config {
        path: PathBuf,
        /// What is wrong with which key.
        message: String,
    },
    #[error(
        "{path}: architecture {found} is not supported yet (what is missing: {missing}); supported: {supported}"
    )]
    UnsupportedArchitecture { path: PathBuf, found: String, missing: String, supported: String },
    /// A setting that would change the mathematics has a value that is not implemented.
    #[error("{path}: {setting} is not supported; {supported}")]
    UnsupportedOption { path: PathBuf, setting: String, supported: String },
    #[error("{path}: {what} is quantised; gradients need the original f32, f16 or bf16 weights")]
    Quantised {
        path: PathBuf,
        /// The tensor or setting that says so.
        what: String,
    },
    #[error(
        "{path} is not a valid safetensors file: {message}\n  it is damaged or was cut off: put it back from a copy"
    )]
    Safetensors { path: PathBuf, message: String },
    #[error("{folder}: tensor {name} is missing")]
    MissingTensor {
        /// The model or adapter folder, or the file where it is one.
        folder: PathBuf,
        name: String,
    },
    #[error("{path}: tensor {name} has shape {found:?}, expected {expected:?}")]
    WrongShape { path: PathBuf, name: String, expected: Vec<usize>, found: Vec<usize> },
    #[error(
        "{adapter} is an adapter for another model than {base}: {message}{}",
        of_other(trained.as_deref())
    )]
    AdapterMismatch {
        adapter: PathBuf,
        base: PathBuf,
        message: String,
        /// The model that it was trained on, if its folder names another one.
        trained: Option<String>,
    },
    #[error(
        "{adapter} is incomplete for {base}: target_modules covers {module}, the adapter has no factors for it\n  \
         put adapter_model.safetensors back from a copy{}",
        of_other(trained.as_deref())
    )]
    IncompleteAdapter {
        adapter: PathBuf,
        base: PathBuf,
        module: String,
        /// The model that it was trained on, if its folder names another one.
        trained: Option<String>,
    },
    /// A weight is no number: no rate and no step is at fault for it.
    #[error(
        "{folder}: the weights are not finite: {tensor} has the value {value}\n  give a checkpoint before it, or one that \
         was trained again"
    )]
    NotFinite {
        /// The model or adapter folder.
        folder: PathBuf,
        tensor: String,
        value: f32,
    },
    #[error(
        "{folder}: {file}\n  {edited}put the file back from a copy, or move the folder away and train again; where another \
         program trained on in this folder, remove gstore_state.json from it: then the files are taken as they are"
    )]
    Damaged {
        folder: PathBuf,
        /// Which file, and its digests.
        file: String,
        /// What to try first, with the word that joins it to the rest; empty for most files.
        edited: &'static str,
    },
    #[error(
        "{checkpoint} was trained on {trained}, but the weights of {base} are different (their digest begins with {found})\n  \
         give the model that it was trained on: {}",
        Remedy::Option("model", "")
    )]
    OtherBase {
        checkpoint: PathBuf,
        /// The model that it was trained on: its name and the first digits of its digest.
        trained: String,
        base: PathBuf,
        /// The first digits of its digest.
        found: String,
    },
}

/// The way out where an adapter says what it was trained on.
fn of_other(trained: Option<&str>) -> String {
    let way = |trained: &str| {
        format!("\n  it was trained on {trained}: give that with {}", Remedy::Option("model", ""))
    };
    trained.map_or_else(String::new, way)
}
