//! Parts: manifest files that are read with their pages, and checked.

use super::file::{Link, ManifestFiles, json_text, parse};
use super::page::{LostPage, PageReader, PageWriter};
use crate::error::{Damage, StorageError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A kind of manifest file.
pub(crate) trait Part: Serialize + DeserializeOwned + Clone {
    /// The start of the file's name, for example `feature-3`.
    fn stem(&self) -> String;
    /// Says what is inconsistent, if anything is: (which part, what is expected, what is there).
    fn problem(&self) -> Option<(String, String, String)>;
    /// The other manifest files that it refers to: they are needed for as long as it is.
    fn pages(&self) -> Vec<&Link> {
        Vec::new()
    }
    /// Completes lists whose older entries are in pages. Pages that `like` has are shared.
    fn unfold(&mut self, _like: Option<&Self>, _reader: &mut PageReader<'_>) -> Result<(), StorageError> {
        Ok(())
    }
    /// Moves older entries into pages. What is left is what the file holds.
    fn fold(&mut self, _writer: &mut PageWriter<'_>) -> Result<(), StorageError> {
        Ok(())
    }
}

impl ManifestFiles {
    /// Reads the file of a link with its pages and checks lengths, digests, versions and consistency.
    pub(crate) fn read<T: Part>(&self, link: &Link) -> Result<T, StorageError> {
        self.read_like(link, None)
    }

    /// The same; pages that another state of the part has are shared.
    pub(crate) fn read_like<T: Part>(&self, link: &Link, like: Option<&T>) -> Result<T, StorageError> {
        let (name, mut part) = self.read_json::<T>(link)?;
        part.unfold(like, &mut PageReader::new(self))?;
        checked(name, part)
    }

    /// The same, but pages that cannot be read are passed over and given with the part,
    /// which is then not checked.
    pub(crate) fn read_rest<T: Part>(
        &self,
        link: &Link,
        like: Option<&T>,
    ) -> Result<(T, Vec<LostPage>), StorageError> {
        let (name, mut part) = self.read_json::<T>(link)?;
        let mut reader = PageReader::lenient(self);
        part.unfold(like, &mut reader)?;
        let lost = reader.lost;
        if lost.is_empty() { Ok((checked(name, part)?, lost)) } else { Ok((part, lost)) }
    }

    /// Writes a part, and pages that it needs, and flushes them. The folder is flushed by the
    /// caller, once for all parts.
    ///
    /// Gives the part as a reader would load it from these bytes.
    pub(crate) fn write<T: Part>(&self, mut part: T) -> Result<(Link, T), StorageError> {
        let stem = part.stem();
        part.fold(&mut PageWriter::new(self, &stem))?;
        let text = json_text("a manifest", &part)?;
        let mut loaded: T = parse(&stem, text.as_bytes())?;
        loaded.unfold(Some(&part), &mut PageReader::new(self))?;
        let loaded = checked(stem.clone(), loaded)?;
        Ok((self.write_text(&stem, &text)?, loaded))
    }
}

/// What is inconsistent: which part, what is expected, what is there.
pub(super) fn mismatch(
    what: impl Into<String>,
    expected: impl Into<String>,
    found: impl ToString,
) -> Option<(String, String, String)> {
    Some((what.into(), expected.into(), found.to_string()))
}

fn checked<T: Part>(name: String, part: T) -> Result<T, StorageError> {
    match part.problem() {
        None => Ok(part),
        Some((what, expected, found)) => Err(Damage::new(name, what, expected, found).into()),
    }
}
