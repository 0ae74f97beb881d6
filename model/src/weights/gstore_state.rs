//! `gstore_state.json`: what a training of gstore says of a checkpoint that it wrote.

use std::fmt;
use std::path::{Path, PathBuf};

use gstore_core::{CheckpointId, Digest, canonical_json};
use serde_json::Value;

use crate::files::ModelError;
use crate::files::json;

/// What a training of gstore says of a checkpoint.
#[derive(Debug, Clone)]
pub struct GstoreState {
    folder: PathBuf,
    value: Value,
}

impl GstoreState {
    /// Its name in the folder of a checkpoint.
    pub const FILE: &'static str = "gstore_state.json";

    /// The files that hold the weights of a checkpoint.
    pub const WEIGHTS: [&'static str; 2] = ["adapter_model.safetensors", "model.safetensors"];

    /// The configuration of an adapter, which has what its factors are multiplied with.
    pub const ADAPTER: &'static str = "adapter_config.json";

    /// That of a checkpoint's folder; none of another program's.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(folder: &Path) -> Result<Option<GstoreState>, ModelError> {
        let path = folder.join(Self::FILE);
        if !path.is_file() {
            return Ok(None);
        }
        match json::read(&path) {
            Ok(value) => Ok(Some(Self::new(folder, value))),
            Err(ModelError::Json { source, .. }) => Err(ModelError::Damaged {
                folder: folder.to_owned(),
                file: format!("{} is damaged: {source}", Self::FILE),
                edited: "",
            }),
            Err(error) => Err(error),
        }
    }

    /// That of a checkpoint's folder, which was read.
    pub fn new(folder: &Path, value: Value) -> GstoreState {
        GstoreState { folder: folder.to_owned(), value }
    }

    /// The model that the training began with; none where weights were drawn.
    pub fn base(&self) -> Option<CheckpointId> {
        let asked = self.value.get("asked");
        // An earlier version said it where the training began with a model as it was.
        let text = |key: &str| asked.and_then(|asked| asked.get(key)).and_then(Value::as_str);
        let of_asked = || text("model").filter(|_| matches!(text("method"), Some("lora" | "full")));
        let said = self.value.get("base").and_then(Value::as_str).or_else(of_asked)?;
        CheckpointId::try_from(said).ok()
    }

    /// Mean learning rate of the steps of the epoch that ends at the checkpoint; earlier versions said none.
    pub fn mean_learning_rate(&self) -> Option<f64> {
        self.value.get("mean_learning_rate")?.as_f64().filter(|rate| *rate >= 0.0)
    }

    /// The first of these files which is not the one that was written. An earlier version said no digests:
    /// its files are taken as they are; a file that is gone is told where it is opened.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn damaged(&self, names: &[&'static str]) -> Result<Option<DamagedFile>, ModelError> {
        for &name in names {
            let path = self.folder.join(name);
            if self.digest_of(name).is_none() || !path.is_file() {
                continue;
            }
            let found = Digest::of_read(fs_err::File::open(&path)?)?;
            let damaged = match self.differs(name, found) {
                // An earlier version said that of the bytes.
                Some(_) if name == Self::ADAPTER => match Self::digest(&self.folder, name) {
                    Ok(found) => self.differs(name, found),
                    Err(ModelError::Json { source, .. }) => {
                        Some(DamagedFile { name, what: source.to_string() })
                    }
                    Err(error) => return Err(error),
                },
                damaged => damaged,
            };
            if damaged.is_some() {
                return Ok(damaged);
            }
        }
        Ok(None)
    }

    /// The digest that is said of a file: that of its bytes, and of an adapter's configuration that of what
    /// it says, but for the place of its base, which may move.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn digest(folder: &Path, name: &str) -> Result<Digest, ModelError> {
        let path = folder.join(name);
        if name != Self::ADAPTER {
            return Ok(Digest::of_read(fs_err::File::open(path)?)?);
        }
        let mut config = json::read(&path)?;
        config.as_object_mut().map(|config| config.remove("base_model_name_or_path"));
        Ok(Digest::of(canonical_json(&config).as_bytes()))
    }

    /// What is said of a file that was read and has this digest, if it is not the one that was written.
    pub fn differs(&self, name: &'static str, found: Digest) -> Option<DamagedFile> {
        let (found, said) = (found.to_string(), self.digest_of(name)?);
        let what = || format!("its digest is {found}, gstore_state.json says {said}");
        (found != said).then(|| DamagedFile { name, what: what() })
    }

    fn digest_of(&self, name: &str) -> Option<&str> {
        self.value.get("files")?.get(name)?.as_str()
    }
}

/// An error if the weights in a checkpoint's folder, or the configuration of an adapter, are not those that
/// its training wrote. What another program or an earlier version wrote says no digests, and is taken as it
/// is.
///
/// # Errors
/// Such files; files that cannot be read.
pub fn check_written(folder: &Path) -> Result<(), ModelError> {
    let Some(state) = GstoreState::read(folder)? else { return Ok(()) };
    let [adapter, whole] = GstoreState::WEIGHTS;
    match state.damaged(&[adapter, whole, GstoreState::ADAPTER])? {
        None => Ok(()),
        Some(file) => {
            let (what, edited) = (file.to_string(), file.edited());
            Err(ModelError::Damaged { folder: folder.to_owned(), file: what, edited })
        }
    }
}

/// A file of a checkpoint that is not the one which was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedFile {
    /// Its name.
    pub name: &'static str,
    /// What is wrong with it.
    what: String,
}

impl DamagedFile {
    /// What to try before all else: of a file that is edited by hand to take the edit back.
    pub fn edited(&self) -> &'static str {
        match self.name == GstoreState::ADAPTER {
            true => "put back what was edited there, or ",
            false => "",
        }
    }
}

impl fmt::Display for DamagedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged: {}", self.name, self.what)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_adapter_with_an_edited_configuration_is_not_the_one_that_was_written() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        let write = |name: &str, text: &str| fs_err::write(folder.join(name), text).unwrap();
        let told = || check_written(folder).map_err(|error| error.to_string());
        write(GstoreState::ADAPTER, r#"{"base_model_name_or_path": "a", "lora_alpha": 32}"#);
        let digest = GstoreState::digest(folder, GstoreState::ADAPTER).unwrap().to_string();
        write(GstoreState::FILE, &json!({ "files": { (GstoreState::ADAPTER): digest } }).to_string());
        assert_eq!(told(), Ok(()));
        write(GstoreState::ADAPTER, r#"{"base_model_name_or_path": "b", "lora_alpha": 32}"#);
        assert_eq!(told(), Ok(()));
        write(GstoreState::ADAPTER, r#"{"base_model_name_or_path": "a", "lora_alpha": 96}"#);
        let refused = told().unwrap_err();
        for says in
            ["adapter_config.json is damaged: its digest is", "put back what was edited there, or put"]
        {
            assert!(refused.contains(says), "{refused}");
        }
        // As of another program.
        fs_err::remove_file(folder.join(GstoreState::FILE)).unwrap();
        assert_eq!(told(), Ok(()));
    }

    #[test]
    fn the_configuration_of_an_adapter_may_name_another_place_of_its_base() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        let write = |text: &str| fs_err::write(folder.join(GstoreState::ADAPTER), text).unwrap();
        let written = r#"{"base_model_name_or_path": "models/a", "lora_alpha": 32.0, "r": 8}"#;
        write(written);
        let said = [
            GstoreState::digest(folder, GstoreState::ADAPTER).unwrap(),
            // As an earlier version said it.
            Digest::of(written.as_bytes()),
        ];
        let [now, before] = said.map(|digest| {
            let files = json!({ "files": { (GstoreState::ADAPTER): digest.to_string() } });
            GstoreState::new(folder, files)
        });
        let damage = |state: &GstoreState| {
            state.damaged(&[GstoreState::ADAPTER]).unwrap().map(|file| file.to_string()).unwrap_or_default()
        };
        assert_eq!([damage(&now), damage(&before)], ["", ""]);
        write(r#"{ "r": 8, "lora_alpha": 32, "base_model_name_or_path": "/elsewhere/a" }"#);
        assert_eq!(damage(&now), "");
        assert!(
            damage(&before).contains("adapter_config.json is damaged: its digest is"),
            "{}",
            damage(&before)
        );
        for (text, says) in [
            (r#"{"base_model_name_or_path": "models/a", "lora_alpha": 16, "r": 8}"#, "its digest is"),
            (r#"{"lora_alpha": "#, "EOF"),
        ] {
            write(text);
            let says = format!("adapter_config.json is damaged: {says}");
            assert!(damage(&now).starts_with(&says), "{}", damage(&now));
        }
    }
}
