//! Reading and writing the JSON files of `manifests/`.

use super::entry::Key;
use crate::error::{Damage, StorageError};
use crate::layout::Env;
use crate::vfs::{Vfs, if_there};
use gstore_core::Digest;
use serde::de::{DeserializeOwned, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The version of every JSON file and segment footer written here.
pub(crate) const VERSION: u32 = 1;

/// Requirement of a dataset part that has deleted rows: a reader that does not know it would show them.
pub(crate) const TOMBSTONES: &str = "tombstones";

/// Requirement of a part with pages: a reader that does not know them would take the rest
/// of a list for all of it.
pub(super) const PAGES: &str = "pages";

/// Requirement of a feature whose rows have a vector for each token: a reader that does not know it would
/// take the first for the row's.
pub(crate) const TOKENS: &str = "tokens";

/// Requirement of a feature that is stored as signs: a reader that does not know the type would call its name
/// damage.
pub(crate) const SIGN_ROWS: &str = "signs";

/// Requirement of a feature whose vectors were rotated before their signs were taken: a reader that does not
/// know it would take the signs for those of the coordinates.
pub(crate) const ROTATED_SIGNS: &str = "rotated_signs";

/// Requirement of a root that has ensembles, or had some: a reader that does not know them would drop them,
/// take losses of some members for vectors of samples, and give out the same numbers again.
pub(crate) const ENSEMBLES: &str = "ensembles";

/// Requirement of an artifact that has files, and of a root that names it: a program that does not know
/// them would take the files for leftovers.
pub(crate) const ARTIFACT_FILES: &str = "artifact_files";

/// What a manifest or a segment may require of this version.
const KNOWN: [&str; 7] = [TOMBSTONES, PAGES, TOKENS, SIGN_ROWS, ROTATED_SIGNS, ENSEMBLES, ARTIFACT_FILES];

/// Sets or removes a requirement.
pub(crate) fn require(requires: &mut Vec<String>, what: &str, needed: bool) {
    requires.retain(|r| r != what);
    if needed {
        requires.push(what.to_owned());
    }
}

/// No manifest is longer: a length read from a damaged file cannot make us allocate more.
const LIMIT: u64 = 1 << 30;

/// A reference to a manifest file, with what it must contain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Link {
    /// Name inside `manifests/`.
    pub file: String,
    /// XXH3-128 of its bytes.
    pub digest: Digest,
    /// Its length.
    pub len: u64,
}

/// What every manifest starts with.
#[derive(Debug, Default)]
struct Envelope {
    version: Option<u32>,
    requires: Option<Vec<String>>,
}

impl<'de> Visitor<'de> for &mut Envelope {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `version` and `requires`")
    }

    /// Stops, with an error, as soon as both are found: the rest is parsed once only, as what it is.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Key<'de>>()? {
            match &*key.0 {
                "version" => self.version = Some(map.next_value()?),
                "requires" => self.requires = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            if self.version.is_some() && self.requires.is_some() {
                return Err(A::Error::custom("found"));
            }
        }
        Ok(())
    }
}

impl Env {
    /// The folder `manifests/`.
    pub(crate) fn manifests(&self) -> ManifestFiles {
        ManifestFiles::new(self.shared_vfs(), self.path())
    }
}

/// The folder `manifests/` of a store.
#[derive(Debug, Clone)]
pub(crate) struct ManifestFiles {
    vfs: Arc<dyn Vfs>,
    folder: PathBuf,
}

impl ManifestFiles {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, store: &Path) -> Self {
        ManifestFiles { vfs, folder: store.join("manifests") }
    }

    /// The name and the content of the file of a link.
    pub(super) fn read_json<T: DeserializeOwned>(&self, link: &Link) -> Result<(String, T), StorageError> {
        let (name, bytes) = self.read_bytes(link)?;
        let content = parse(&name, &bytes)?;
        Ok((name, content))
    }

    /// Name and bytes of the file of a link, with its length and digest checked.
    pub(crate) fn read_bytes(&self, link: &Link) -> Result<(String, Vec<u8>), StorageError> {
        let name = format!("manifests/{}", link.file);
        if !plain_name(&link.file) {
            return Err(Damage::new(
                name,
                "name of a manifest",
                "a plain file name",
                format!("{:?}", link.file),
            )
            .into());
        }
        let bytes = self.vfs.read(&self.folder.join(&link.file), LIMIT);
        let bytes = bytes.map_err(|e| StorageError::of_file(&name, link.len, e))?;
        if bytes.len() as u64 != link.len {
            return Err(Damage::new(name, "length", link.len, bytes.len()).into());
        }
        let digest = Digest::of(&bytes);
        if digest != link.digest {
            return Err(Damage::new(name, "digest", link.digest, digest).into());
        }
        Ok((name, bytes))
    }

    /// Writes a file under its own digest and flushes it.
    pub(super) fn write_text(&self, stem: &str, text: &str) -> Result<Link, StorageError> {
        let digest = Digest::of(text.as_bytes());
        let file = format!("{stem}-{digest}.json");
        let link = Link { file: file.clone(), digest, len: text.len() as u64 };
        write_replacing(&*self.vfs, &self.folder.join(&file), &format!("manifests/{file}"), text.as_bytes())?;
        Ok(link)
    }

    /// Flushes the folder's names.
    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.vfs.sync_dir(&self.folder).map_err(|e| StorageError::io("flush the folder manifests", e))
    }
}

/// The text of a JSON file that a person can read. `name` is what errors call it.
pub(crate) fn json_text<T: Serialize>(name: &str, value: &T) -> Result<String, StorageError> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => Ok(text + "\n"),
        Err(e) => Err(StorageError::io(format!("write {name}"), std::io::Error::other(e))),
    }
}

/// Writes a small file under a temporary name, flushes it and renames it into place.
///
/// A leftover of an earlier attempt is removed first, never written to again: after a failed flush the old
/// file's pages may count as clean without having reached the medium.
pub(crate) fn write_replacing(
    vfs: &dyn Vfs,
    path: &Path,
    name: &str,
    bytes: &[u8],
) -> Result<(), StorageError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    if_there(vfs.remove(&temporary)).map_err(Env::io("replace", name))?;
    write_new(vfs, &temporary, name, bytes)?;
    vfs.rename(&temporary, path).map_err(Env::io("rename", name))
}

/// Makes a file and flushes its bytes; the caller flushes the folder.
pub(crate) fn write_new(vfs: &dyn Vfs, path: &Path, name: &str, bytes: &[u8]) -> Result<(), StorageError> {
    let mut file = vfs.create(path).map_err(Env::io("create", name))?;
    let written = file.write_all(bytes).and_then(|()| file.flush()).and_then(|()| file.sync());
    drop(file);
    written.map_err(|e| {
        // Nothing refers to the file, and what it holds is unknown: it must not stay to be taken for a good
        // one.
        let _ = vfs.remove(path);
        Env::io("write", name)(e)
    })
}

/// Reads JSON after checking its version and requirements.
pub(crate) fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, StorageError> {
    check_envelope(name, bytes)?;
    serde_json::from_slice(bytes).map_err(|e| bad_json(name, e))
}

fn check_envelope(name: &str, bytes: &[u8]) -> Result<(), StorageError> {
    let mut envelope = Envelope::default();
    let peeked = serde_json::Deserializer::from_slice(bytes).deserialize_map(&mut envelope);
    match (envelope.version, envelope.requires) {
        (Some(version), Some(requires)) => check_version(name, version, &requires),
        (version, _) => {
            let field = if version.is_some() { "requires" } else { "version" };
            Err(bad_json(name, peeked.err().unwrap_or_else(|| serde_json::Error::missing_field(field))))
        }
    }
}

fn bad_json(name: &str, e: serde_json::Error) -> StorageError {
    Damage::new(name, "JSON", "valid JSON of this format", e).into()
}

/// Refuses what a newer gstore wrote in a way that this one does not understand.
pub(crate) fn check_version(name: &str, version: u32, requires: &[String]) -> Result<(), StorageError> {
    let newer = |detail: String| Err(StorageError::Newer { file: name.to_owned(), detail });
    if version > VERSION {
        return newer(format!("format version {version}, this gstore reads up to {VERSION}"));
    }
    if version == 0 {
        return Err(Damage::new(name, "version", format!("1 to {VERSION}"), version).into());
    }
    match requires.iter().find(|r| !KNOWN.contains(&r.as_str())) {
        Some(what) => newer(format!("it requires {what:?}, which this gstore does not know")),
        None => Ok(()),
    }
}

/// Whether a name from a manifest is safe to join to a folder.
pub(crate) fn plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 200
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_requirements() {
        assert!(check_version("x", 1, &[]).is_ok());
        assert!(check_version("x", 1, &["tombstones".into()]).is_ok());
        assert!(matches!(check_version("x", 2, &[]), Err(StorageError::Newer { .. })));
        assert!(matches!(
            check_version("x", 1, &["tombstones".into(), "of a later version".into()]),
            Err(StorageError::Newer { .. })
        ));
        assert!(check_version("x", 0, &[]).unwrap_err().is_damage());
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        assert!(plain_name("root-1-ab.json"));
        for bad in ["", "../x", "a/b", ".hidden", "a\0b"] {
            assert!(!plain_name(bad), "{bad:?}");
        }
    }
}
