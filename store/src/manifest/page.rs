//! Pages: older entries of long lists in separate files, so that a publish writes only the changes.
//!
//! Invariants
//! - a page file is never changed; the part holds its digest, so the tree of digests stays complete
//! - an entry of a list is either in one page or in the part itself
//! - in memory a list is complete; its pages only say which entries are written already

use super::entry::Entry;
use super::file::{Link, ManifestFiles, PAGES, VERSION, require};
use crate::error::{Damage, StorageError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Entries of a page.
const PAGE: usize = 64;

/// A list that is no longer than this is in the part as a whole.
const TAIL: usize = 128;

/// A reference to a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageLink {
    #[serde(flatten)]
    pub link: Link,
    /// How many entries it has.
    pub entries: u64,
    /// The first row that its entries are about.
    pub first_row: u64,
    /// One past the last one.
    pub end_row: u64,
}

#[derive(Debug, Clone)]
struct Page<T> {
    link: PageLink,
    entries: Arc<Vec<T>>,
}

/// The pages of one list. In JSON they are their links.
#[derive(Debug, Clone)]
pub(crate) struct Pages<T>(Vec<Page<T>>);

/// What the order of a list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// By first row, whenever an entry came: any page can stay while its entries do.
    Rows,
    /// That of arrival: pages are the start of the list.
    Arrival,
}

/// A page that could not be read, and what is not known because of it.
#[derive(Debug)]
pub(crate) struct LostPage {
    pub page: PageLink,
    /// What its entries are about, for example `feature pool/grad`.
    pub of: String,
    pub error: StorageError,
}

#[derive(Deserialize)]
struct PageFile<T> {
    entries: Vec<T>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Pages(Vec::new())
    }
}

impl<T> PartialEq for Pages<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|p| &p.link).eq(other.0.iter().map(|p| &p.link))
    }
}

impl<T> Serialize for Pages<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.iter().map(|p| &p.link))
    }
}

impl<'de, T> Deserialize<'de> for Pages<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let links = Vec::<PageLink>::deserialize(d)?;
        Ok(Pages(links.into_iter().map(|link| Page { link, entries: Arc::default() }).collect()))
    }
}

impl<T> Pages<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The files.
    pub(super) fn links(&self) -> impl Iterator<Item = &Link> {
        self.0.iter().map(|p| &p.link.link)
    }
}

/// Completes the lists of a part that was read.
pub(crate) struct PageReader<'a> {
    files: &'a ManifestFiles,
    /// Whether a page that cannot be read is passed over.
    lenient: bool,
    pub lost: Vec<LostPage>,
}

impl<'a> PageReader<'a> {
    pub(super) fn new(files: &'a ManifestFiles) -> Self {
        PageReader { files, lenient: false, lost: Vec::new() }
    }

    /// One that passes over pages that cannot be read.
    pub(super) fn lenient(files: &'a ManifestFiles) -> Self {
        PageReader { lenient: true, ..Self::new(files) }
    }

    /// Puts the entries of the pages before those that are in the part. Pages that `like`
    /// has are not read again.
    pub(super) fn complete<T: Entry>(
        &mut self,
        of: &str,
        order: Order,
        list: &mut Vec<T>,
        pages: &mut Pages<T>,
        like: Option<&Pages<T>>,
    ) -> Result<(), StorageError> {
        if pages.is_empty() {
            return Ok(());
        }
        let known: HashMap<&Link, &Page<T>> =
            like.iter().flat_map(|l| &l.0).map(|p| (&p.link.link, p)).collect();
        let mut names = HashSet::new();
        for page in &mut pages.0 {
            if !names.insert(page.link.link.file.clone()) {
                let file = format!("manifests/{}", page.link.link.file);
                return Err(Damage::new(file, format!("place in {of}"), "one", "two").into());
            }
            if let Some(shared) = known.get(&page.link.link).filter(|p| p.link == page.link) {
                page.entries = Arc::clone(&shared.entries);
                continue;
            }
            match self.read(of, &page.link) {
                Ok(entries) => page.entries = Arc::new(entries),
                Err(error) if self.lenient && !matches!(error, StorageError::Newer { .. }) => {
                    self.lost.push(LostPage { page: page.link.clone(), of: of.to_owned(), error });
                }
                Err(error) => return Err(error),
            }
        }
        let tail = std::mem::take(list);
        list.reserve_exact(pages.0.iter().map(|p| p.entries.len()).sum::<usize>() + tail.len());
        list.extend(pages.0.iter().flat_map(|p| p.entries.iter().cloned()));
        list.extend(tail);
        if order == Order::Rows {
            list.sort_by_key(|e| e.rows().start);
        }
        Ok(())
    }

    fn read<T: Entry>(&self, of: &str, page: &PageLink) -> Result<Vec<T>, StorageError> {
        let affected = |e| match e {
            StorageError::Damaged(d) => {
                let text = format!(
                    "what is stored of rows {}..{} of {of} is not known without it; the rest is intact",
                    page.first_row, page.end_row
                );
                StorageError::Damaged(Box::new(d.affecting(text)))
            }
            other => other,
        };
        let (name, file) = self.files.read_json::<PageFile<T>>(&page.link).map_err(affected)?;
        let found = describe(&file.entries);
        let expected = (page.entries, page.first_row, page.end_row);
        if found != expected {
            let words = |(n, first, end): (u64, u64, u64)| format!("{n} entries of rows {first}..{end}");
            return Err(affected(Damage::new(name, "entries", words(expected), words(found)).into()));
        }
        Ok(file.entries)
    }
}

/// Number of entries, first row and end.
fn describe<T: Entry>(entries: &[T]) -> (u64, u64, u64) {
    let first = entries.iter().map(|e| e.rows().start).min().unwrap_or(0);
    let end = entries.iter().map(|e| e.rows().end).max().unwrap_or(0);
    (entries.len() as u64, first, end)
}

/// Moves older entries of a part that is about to be written into pages.
pub(crate) struct PageWriter<'a> {
    files: &'a ManifestFiles,
    stem: String,
    any: bool,
}

impl<'a> PageWriter<'a> {
    pub(super) fn new(files: &'a ManifestFiles, stem: &str) -> Self {
        PageWriter { files, stem: format!("{stem}-page"), any: false }
    }

    /// Keeps the pages whose entries are all in the list, unchanged, writes others where many entries are
    /// without one, and leaves in the list what stays in the part.
    pub(super) fn split<T: Entry>(
        &mut self,
        order: Order,
        list: &mut Vec<T>,
        pages: &mut Pages<T>,
    ) -> Result<(), StorageError> {
        let mut paged = vec![false; list.len()];
        match order {
            Order::Rows => pages.0.retain(|p| claim(&p.entries, list, &mut paged)),
            Order::Arrival => keep_start(&mut pages.0, list, &mut paged),
        }
        let mut is_paged = paged.into_iter();
        list.retain(|_| !is_paged.next().unwrap_or(false));
        let excess = list.len().saturating_sub(TAIL).div_ceil(PAGE) * PAGE;
        let mut rest = std::mem::take(list).into_iter();
        for _ in 0..excess / PAGE {
            pages.0.push(self.write(rest.by_ref().take(PAGE).collect())?);
        }
        *list = rest.collect();
        self.any |= !pages.is_empty();
        Ok(())
    }

    /// Says in the part whether it has pages.
    pub(super) fn note(&self, requires: &mut Vec<String>) {
        require(requires, PAGES, self.any);
    }

    fn write<T: Entry>(&self, entries: Vec<T>) -> Result<Page<T>, StorageError> {
        let text = page_text(&entries)
            .map_err(|e| StorageError::io("write a manifest", std::io::Error::other(e)))?;
        let link = self.files.write_text(&self.stem, &text)?;
        let (n, first_row, end_row) = describe(&entries);
        Ok(Page { link: PageLink { link, entries: n, first_row, end_row }, entries: Arc::new(entries) })
    }
}

/// The file of a page: one line per entry.
fn page_text<T: Entry>(entries: &[T]) -> Result<String, serde_json::Error> {
    let mut text = format!("{{\n  \"version\": {VERSION},\n  \"requires\": [],\n  \"entries\": [");
    for (i, entry) in entries.iter().enumerate() {
        text.push_str(if i == 0 { "\n    " } else { ",\n    " });
        text.push_str(&serde_json::to_string(entry)?);
    }
    text.push_str("\n  ]\n}\n");
    Ok(text)
}

/// Marks the entries of a page in a list by rows, if all of them are there and no other page has them.
fn claim<T: Entry>(page: &[T], list: &[T], paged: &mut [bool]) -> bool {
    let mut found = Vec::with_capacity(page.len());
    let mut next = 0;
    for entry in page {
        if list.get(next) != Some(entry) {
            match list.binary_search_by_key(&entry.rows().start, |e| e.rows().start) {
                Ok(i) if list.get(i) == Some(entry) => next = i,
                _ => return false,
            }
        }
        if paged.get(next) != Some(&false) {
            return false;
        }
        found.push(next);
        next += 1;
    }
    for i in &found {
        if let Some(slot) = paged.get_mut(*i) {
            *slot = true;
        }
    }
    !found.is_empty()
}

/// Keeps the pages that are the start of a list in the order of arrival.
fn keep_start<T: Entry>(pages: &mut Vec<Page<T>>, list: &[T], paged: &mut [bool]) {
    let mut end = 0;
    let mut kept = 0;
    for page in pages.iter() {
        let n = page.entries.len();
        if n == 0 || list.get(end..end + n) != Some(page.entries.as_slice()) {
            break;
        }
        end += n;
        kept += 1;
    }
    pages.truncate(kept);
    paged.iter_mut().take(end).for_each(|p| *p = true);
}

#[cfg(test)]
mod tests;
