//! Digests of the files of finished factors: the stamp next to them says nothing of files changed after it.

use std::collections::BTreeMap;
use std::path::Path;

use gstore_core::{Cancel, Digest};
use serde::{Deserialize, Serialize};

use super::error::FactorJobError;
use super::folder::write_document;
use super::stamp::{FactorStamp, STAMP};

/// The file of the stamp, once the factors are finished.
#[derive(Serialize)]
struct StampFile<'a> {
    #[serde(flatten)]
    stamp: &'a FactorStamp,
    #[serde(flatten)]
    files: FileDigests,
}

/// What it has besides the stamp.
#[derive(Serialize, Deserialize)]
struct FileDigests {
    /// Digests of the other files, by their names.
    #[serde(default)]
    files: BTreeMap<String, Digest>,
}

/// Writes the stamp of a folder of finished factors, with the digests of its files.
pub(super) fn seal(folder: &Path, stamp: &FactorStamp, cancel: &Cancel) -> Result<(), FactorJobError> {
    let sealed = StampFile { stamp, files: FileDigests { files: digests(folder, cancel)? } };
    Ok(write_document(&folder.join(STAMP), &sealed)?)
}

/// Refuses a folder whose files are not those of its stamp.
pub(super) fn check_seal(folder: &Path, cancel: &Cancel) -> Result<(), FactorJobError> {
    let path = folder.join(STAMP);
    let refuse = |what: String| {
        FactorJobError::Refused(format!(
            "{}: {what}; take the folder as it was written, or remove {STAMP} and name the model that the factors are of",
            folder.display()
        ))
    };
    let FileDigests { files } = serde_json::from_slice(&fs_err::read(&path)?)
        .map_err(|error| FactorJobError::Refused(format!("{}: {error}", path.display())))?;
    if files.is_empty() {
        return Err(refuse(format!(
            "{STAMP} does not list the files of its factors: their fit is not finished"
        )));
    }
    let found = digests(folder, cancel)?;
    let names = files.keys().chain(found.keys().filter(|name| !files.contains_key(*name)));
    let other: Vec<&str> =
        names.filter(|name| files.get(*name) != found.get(*name)).map(String::as_str).collect();
    match other.is_empty() {
        true => Ok(()),
        false => Err(refuse(format!(
            "since {STAMP} was written, these files were changed, added or removed: {}",
            other.join(", ")
        ))),
    }
}

/// Names of the files of finished factors, in order.
pub(super) fn finished_files(folder: &Path) -> Result<Vec<String>, FactorJobError> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let known = name.ends_with(".safetensors") || name.ends_with(".json");
        if known && !name.contains("_partition") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Digests of the files of finished factors, by their names, but for that of the stamp.
fn digests(folder: &Path, cancel: &Cancel) -> Result<BTreeMap<String, Digest>, FactorJobError> {
    let mut digests = BTreeMap::new();
    for name in finished_files(folder)?.into_iter().filter(|name| name != STAMP) {
        cancel.check()?;
        let digest = Digest::of_read(fs_err::File::open(folder.join(&name))?)?;
        digests.insert(name, digest);
    }
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::super::stamp::tests::stamp;
    use super::*;

    #[test]
    fn files_that_are_not_those_of_the_stamp_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, text) in [("lambda_matrix.safetensors", "ab"), ("factor_arguments.json", "{}")] {
            fs_err::write(path(name), text).unwrap();
        }
        stamp().settle(&path("begun")).unwrap();
        let go_on = Cancel::new();
        let refused = |folder: &Path| check_seal(folder, &go_on).unwrap_err().to_string();
        assert!(refused(&path("begun")).contains("their fit is not finished"));
        seal(folder.path(), &stamp(), &go_on).unwrap();
        assert_eq!(FactorStamp::read(folder.path()).unwrap(), Some(stamp()));
        stamp().settle(folder.path()).unwrap();
        check_seal(folder.path(), &go_on).unwrap();

        fs_err::write(path("lambda_matrix.safetensors"), "ac").unwrap();
        assert!(refused(folder.path()).contains("or removed: lambda_matrix.safetensors"));
        fs_err::write(path("lambda_matrix.safetensors"), "ab").unwrap();
        fs_err::write(path("more.json"), "{}").unwrap();
        fs_err::remove_file(path("factor_arguments.json")).unwrap();
        assert!(refused(folder.path()).contains("added or removed: factor_arguments.json, more.json"));
    }
}
