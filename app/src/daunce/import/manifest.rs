//! Manifest of given losses: the models, the recorded signal, and the files.

use std::path::{Path, PathBuf};

use gstore_core::Remedy;
use gstore_store::{Member, MemberSettings, SubsetNote};
use serde::Deserialize;
use serde_json::{Map, Number, Value};

use crate::daunce::DaunceError;

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Manifest {
    pub ensemble: Option<String>,
    /// Id of theta_0.
    pub base: Option<String>,
    /// In the order of the matrices.
    #[serde(default)]
    pub models: Vec<ModelRecord>,
    pub signal: Option<Signal>,
    /// Each is read over what all of them share.
    #[serde(skip)]
    pub tables: Vec<TableRecord>,
}

/// What was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Signal {
    Loss,
    NegMargin,
    Prob,
    TrueLogit,
}

impl Signal {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::NegMargin => "neg_margin",
            Self::Prob => "prob",
            Self::TrueLogit => "true_logit",
        }
    }
}

/// Which axis of a matrix is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Orientation {
    ModelMajor,
    ExampleMajor,
}

/// A number or a text: ids are written either way.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum TextOrNumber {
    Text(String),
    Number(i64),
}

impl TextOrNumber {
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        }
    }
}

/// A model of a manifest; keys that are not known become provenance.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ModelRecord {
    pub id: TextOrNumber,
    pub seed: Option<u64>,
    pub base: Option<String>,
    pub variant: Option<String>,
    #[serde(flatten)]
    pub settings: MemberSettings,
    pub subset_size: Option<u64>,
    pub subset_digest: Option<String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl ModelRecord {
    /// The member that it is, of an ensemble with this theta_0.
    pub fn member(&self, base: &str) -> Member {
        let group = self.base.clone().unwrap_or_else(|| base.to_owned());
        let subset = self
            .subset_size
            .map(|size| SubsetNote { size, digest: self.subset_digest.clone().unwrap_or_default() });
        Member {
            seed: self.seed,
            variant: self.variant.clone(),
            settings: self.settings,
            subset,
            provenance: self.rest.clone(),
            ..Member::new(self.id.text(), group)
        }
    }
}

/// Losses of one dataset.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TableRecord {
    pub dataset: String,
    /// A matrix (`.npy`, `.safetensors`, raw floats) or a table (JSON lines, CSV, Parquet, Arrow).
    pub losses: PathBuf,
    /// Name of the tensor in a safetensors file.
    pub tensor: Option<String>,
    /// Ids of the rows of a matrix, or a file with them.
    pub rows: Option<RowList>,
    pub orientation: Option<Orientation>,
    /// Precision of the losses, where it is not that of the file.
    pub dtype: Option<String>,
    /// 1 where a cell is valid.
    pub mask: Option<LossesBeside>,
    /// The losses of theta_0.
    pub base_losses: Option<LossesBeside>,
}

/// What comes with the losses of a table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "PathBuf")]
pub(super) struct LossesBeside {
    /// A file, or that of the losses.
    pub file: PathBuf,
    /// Name of the tensor in the file of the losses.
    pub tensor: Option<String>,
}

impl From<PathBuf> for LossesBeside {
    fn from(file: PathBuf) -> Self {
        Self { file, tensor: None }
    }
}

/// Ids, or a file of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum RowList {
    File(PathBuf),
    Ids(Vec<TextOrNumber>),
}

/// Keys of a table, which stand for all tables where they stand outside of one.
const OF_TABLE: [&str; 8] =
    ["dataset", "losses", "tensor", "rows", "orientation", "dtype", "mask", "base_losses"];

/// Keys of a manifest beside these.
const OF_HEAD: [&str; 5] = ["ensemble", "base", "models", "signal", "tables"];

impl Manifest {
    /// Reads a manifest. Files that it names are relative to its folder.
    pub fn read(path: &Path) -> Result<Self, DaunceError> {
        let wrong = |detail: String| DaunceError::file(path, detail);
        let text = fs_err::read(path)?;
        let mut head: Map<String, Value> = serde_json::from_slice(&text).map_err(|e| {
            let options = (Remedy::Option("losses", "FILE"), Remedy::Option("dataset", "NAME"));
            wrong(format!(
                "this is not a manifest ({e}); a manifest is JSON that names the models and samples of the \
                 losses in its files; a table of losses needs none: give it with {} {}",
                options.0, options.1
            ))
        })?;
        let keys = OF_HEAD.into_iter().chain(OF_TABLE);
        if let Some(other) = head.keys().find(|other| !keys.clone().any(|key| key == *other)) {
            let known = keys.map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            return Err(wrong(format!("unknown field `{other}`, expected one of {known}")));
        }
        let mut shared = Map::new();
        for key in OF_TABLE {
            shared.extend(head.remove(key).map(|value| (key.to_owned(), value)));
        }
        let tables = match head.remove("tables") {
            None if shared.is_empty() => Vec::new(),
            None => vec![Value::Object(shared)],
            Some(Value::Array(tables)) => {
                tables.into_iter().map(|table| with_defaults(&shared, table)).collect()
            }
            Some(_) => return Err(wrong("`tables` is a list".to_owned())),
        };
        let models = head.get_mut("models").and_then(Value::as_array_mut);
        models.into_iter().flatten().for_each(read_exponents);
        let mut manifest: Self =
            serde_json::from_value(Value::Object(head)).map_err(|e| wrong(e.to_string()))?;
        for table in tables {
            let mut table: TableRecord =
                serde_json::from_value(table).map_err(|e| wrong(format!("a table: {e}")))?;
            table.move_to(path.parent().unwrap_or(Path::new("")));
            manifest.tables.push(table);
        }
        Ok(manifest)
    }
}

/// Makes numbers of settings of a model that are texts: what reads YAML 1.1 makes a text of `1e-3`.
fn read_exponents(model: &mut Value) {
    for key in ["rho", "gamma", "lr"] {
        let Some(value) = model.get_mut(key) else { continue };
        let number =
            value.as_str().and_then(|text| text.trim().parse::<f64>().ok()).and_then(Number::from_f64);
        if let Some(number) = number {
            *value = Value::Number(number);
        }
    }
}

/// A table over what all tables share.
fn with_defaults(shared: &Map<String, Value>, table: Value) -> Value {
    match table {
        Value::Object(own) => Value::Object(shared.clone().into_iter().chain(own).collect()),
        other => other,
    }
}

impl TableRecord {
    /// A table without a manifest.
    pub fn of_file(dataset: String, losses: PathBuf) -> Self {
        let (tensor, rows, orientation, dtype) = (None, None, None, None);
        Self { dataset, losses, tensor, rows, orientation, dtype, mask: None, base_losses: None }
    }

    /// Makes its files relative to a folder.
    fn move_to(&mut self, folder: &Path) {
        self.losses = folder.join(&self.losses);
        if let Some(RowList::File(file)) = &mut self.rows {
            *file = folder.join(&*file);
        }
        let has_tensors = self.losses.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
        for beside in [&mut self.mask, &mut self.base_losses].into_iter().flatten() {
            let file = folder.join(&beside.file);
            *beside = match has_tensors && !file.is_file() {
                true => {
                    let tensor = Some(beside.file.display().to_string());
                    LossesBeside { file: self.losses.clone(), tensor }
                }
                false => file.into(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Manifest, DaunceError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        fs_err::write(&path, text).unwrap();
        Manifest::read(&path)
    }

    #[test]
    fn what_tables_share_stands_outside_of_them() {
        let manifest = read(
            r#"{"ensemble": "e", "base": "gpt", "signal": "neg_margin", "orientation": "model_major",
                "models": [{"id": 7, "seed": 1, "rho": 1.5, "steps": 3, "subset_size": 9, "host": "b"}],
                "tables": [{"dataset": "pool", "losses": "a.npy", "rows": ["x", 2]},
                           {"dataset": "queries", "losses": "b.npy", "orientation": "example_major"}]}"#,
        )
        .unwrap();
        assert_eq!(manifest.signal, Some(Signal::NegMargin));
        let [pool, queries] = manifest.tables.as_slice() else { panic!("two tables") };
        assert_eq!(pool.orientation, Some(Orientation::ModelMajor));
        assert_eq!(queries.orientation, Some(Orientation::ExampleMajor));
        let Some(RowList::Ids(ids)) = &pool.rows else { panic!("ids") };
        assert_eq!(ids.iter().map(TextOrNumber::text).collect::<Vec<_>>(), ["x", "2"]);
        let member = manifest.models[0].member("gpt");
        assert_eq!((member.id.as_str(), member.group.as_str()), ("7", "gpt"));
        assert_eq!(member.settings.rho, Some(1.5));
        assert_eq!(member.settings.steps, Some(3));
        assert_eq!(member.subset.map(|s| s.size), Some(9));
        assert_eq!(member.provenance.keys().collect::<Vec<_>>(), ["host"]);
    }

    #[test]
    fn names_are_files_of_its_folder_or_tensors() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs_err::write(at("there.npy"), "").unwrap();
        let beside = |losses: &str, name: &str| {
            let content = json!({ "dataset": "d", "losses": losses, "mask": name, "base_losses": name });
            fs_err::write(at("manifest.json"), content.to_string()).unwrap();
            let mut tables = Manifest::read(&at("manifest.json")).unwrap().tables;
            let table = tables.pop().unwrap();
            assert_eq!(table.mask, table.base_losses);
            table.mask.unwrap()
        };
        let tensor = |name: &str| LossesBeside { file: at("a.safetensors"), tensor: Some(name.to_owned()) };
        // The folder that the test runs in has a file of this name.
        let elsewhere = "Cargo.toml";
        assert!(Path::new(elsewhere).is_file());
        assert_eq!(beside("a.safetensors", elsewhere), tensor(elsewhere));
        assert_eq!(beside("a.safetensors", "there.npy"), LossesBeside::from(at("there.npy")));
        for losses in ["a.npy", "a.jsonl"] {
            assert_eq!(beside(losses, elsewhere), LossesBeside::from(at(elsewhere)), "{losses}");
        }
    }

    #[test]
    fn settings_may_be_texts_with_an_exponent() {
        let of = |lr: &str| read(&format!(r#"{{"models": [{{"id": "a", "lr": {lr}, "gamma": "1"}}]}}"#));
        let settings = of(r#""1e-3""#).unwrap().models[0].settings;
        assert_eq!((settings.lr, settings.gamma, settings.rho), (Some(1e-3), Some(1.0), None));
        assert!(of(r#""fast""#).is_err() && of(r#""inf""#).is_err());
    }

    #[test]
    fn a_key_that_is_not_known_is_refused() {
        let error = read(r#"{"ensemble": "e", "modells": []}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `modells`, expected one of `ensemble`, `base`"), "{error}");
        assert!(error.contains("`tables`, `dataset`, ") && error.ends_with("`base_losses`"), "{error}");
        let error = read(r#"{"tables": [{"dataset": "d", "losses": "a", "row": []}]}"#).unwrap_err();
        assert!(error.to_string().contains("`row`"), "{error}");
    }
}
