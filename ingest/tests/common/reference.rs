//! The folder of reference results, read by its own listings and manifests, so that another folder of the
//! same layout is tested the same way.

use std::ops::Range;
use std::path::{Path, PathBuf};

use gstore_data::{TemplateKind, TextOptions, parse_record};
use gstore_ingest::pipeline::positions;
use gstore_model::weights::TensorSet;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::{Sample, support};

/// The reference folder.
pub struct Shared {
    root: PathBuf,
}

pub fn shared() -> Shared {
    Shared { root: support::shared() }
}

/// A model with its warm-up checkpoints.
pub struct WarmUp {
    pub model: PathBuf,
    /// Step and folder, by step.
    pub checkpoints: Vec<(u64, PathBuf)>,
}

impl Shared {
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    pub fn json(&self, relative: &str) -> Value {
        support::json(&self.path(relative))
    }

    /// Folders of `models/zoo` that hold a model.
    pub fn zoo(&self) -> Vec<PathBuf> {
        model_folders(&self.path("models/zoo"))
    }

    /// The model with the checkpoints of the reference results of LESS.
    pub fn warm_up(&self) -> WarmUp {
        let manifest = self.json("golden/less/manifest.json");
        let steps: Vec<u64> = serde_json::from_value(manifest["checkpoints"].clone()).unwrap();
        for model in model_folders(&self.path("models")) {
            let mut runs = model.clone().into_os_string();
            runs.push("-warmup");
            let checkpoints = checkpoint_folders(Path::new(&runs));
            let has = |step: &u64| checkpoints.iter().any(|(own, _)| own == step);
            if steps.iter().all(has) {
                return WarmUp { model, checkpoints };
            }
        }
        panic!("no model with warm-up checkpoints in {}", self.root.display());
    }

    /// Rows of a data file as tokens of a model: at most those of the default, or those that it has positions
    /// for. The template of LESS is written here once more; with others they are those of our encoder.
    pub fn rows(
        &self,
        file: &str,
        wanted: Range<usize>,
        model: &Path,
        template: &TemplateKind,
    ) -> Vec<Sample> {
        let text = fs_err::read_to_string(self.path("data").join(file)).unwrap();
        let lines = text.lines().skip(wanted.start).take(wanted.len());
        let own = positions(model).unwrap();
        let most = own.map_or(TextOptions::MAX_LENGTH, |own| own.min(TextOptions::MAX_LENGTH));
        let rows: Vec<Sample> = if *template == TemplateKind::Tulu {
            let tokenizer = Tokenizer::from_file(model.join("tokenizer.json")).unwrap();
            let config = support::json(&model.join("tokenizer_config.json"));
            let eos = &config["eos_token"];
            let eos = eos.as_str().or(eos["content"].as_str()).unwrap();
            let cut = |line: &str| {
                let mut row = tokenise(&serde_json::from_str(line).unwrap(), &tokenizer, eos);
                row.ids.truncate(most as usize);
                row.scored.truncate(most as usize);
                row
            };
            lines.map(cut).collect()
        } else {
            let encoder = TextOptions::new(template.clone(), most).encoder(model).unwrap();
            let encoded = |line: &str| {
                let record = parse_record(line.as_bytes()).unwrap();
                let encoded = encoder.encode(&record.content).unwrap();
                Sample { ids: encoded.ids, scored: encoded.scored }
            };
            lines.map(encoded).collect()
        };
        assert_eq!(rows.len(), wanted.len(), "{file} has fewer rows than the manifest says");
        rows
    }
}

/// Opens `{stem}.safetensors` of a folder.
pub fn tensors(folder: &Path, stem: &str) -> TensorSet {
    TensorSet::open(folder, stem).unwrap()
}

fn model_folders(parent: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<_> = fs_err::read_dir(parent)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("config.json").exists())
        .collect();
    folders.sort();
    folders
}

fn checkpoint_folders(parent: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = fs_err::read_dir(parent) else { return Vec::new() };
    let mut folders: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            Some((path.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse().ok()?, path))
        })
        .collect();
    folders.sort();
    folders
}

/// The template of LESS: a tag line per turn; what assistants say, its end and the newline after it are
/// scored. Masks end where the tokenised prefix of the text ends.
fn tokenise(record: &Value, tokenizer: &Tokenizer, eos: &str) -> Sample {
    let encode = |text: &str| tokenizer.encode(text, true).unwrap().get_ids().to_vec();
    let messages = record["messages"].as_array().unwrap();
    let turn = |message: &Value| {
        let role = message["role"].as_str().unwrap();
        let content = message["content"].as_str().unwrap().trim();
        let end = if role == "assistant" { eos } else { "" };
        format!("<|{role}|>\n{content}{end}\n")
    };
    let ids = encode(&messages.iter().map(turn).collect::<String>());
    let mut scored = vec![true; ids.len()];
    let mut prefix = String::new();
    for (i, message) in messages.iter().enumerate() {
        let start = if i == 0 { 0 } else { encode(&prefix).len() };
        prefix.push_str(&turn(message));
        if message["role"] != "assistant" {
            let opens_answer = messages.get(i + 1).is_some_and(|next| next["role"] == "assistant");
            let end =
                if opens_answer { encode(&format!("{prefix}<|assistant|>\n")) } else { encode(&prefix) };
            scored[start..end.len()].fill(false);
        }
    }
    scored[0] = false;
    Sample { ids, scored }
}
