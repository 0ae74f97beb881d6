//! File discovery: from paths and patterns to files, in a predictable order.
//!
//! Paths are read in the order of the arguments. A folder gives every data file below it, a pattern every
//! file that it matches, both sorted by path, byte by byte; hidden files and files of no known ending are
//! left out of folders, as are stores; a pattern takes hidden ones where it writes their dot, as in a shell.
//! A folder that `save_to_disk` wrote gives its files in the order that it lists.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use gstore_store::vfs::parent;
use serde_json::Value;

use super::format::is_data_name;
use super::{DataError, DataFile};

/// Folders nested deeper than this are a loop of links.
const DEPTH: usize = 32;

/// The files behind paths, folders and patterns.
///
/// # Errors
/// A path or pattern that names nothing, a folder without data, a file of unknown format, a saved
/// dataset of several splits or without rows, a pipe or a device, as a file is opened more than once.
pub fn find(paths: &[PathBuf]) -> Result<Vec<DataFile>, DataError> {
    let mut found = Vec::new();
    for path in paths {
        for path in named(path)? {
            if path.is_dir() {
                let before = found.len();
                folder(&path, 0, &mut found)?;
                if found.len() == before {
                    return Err(match saved(&path)? {
                        Some(_) => DataError::NoRows(path),
                        None => DataError::EmptyFolder(path),
                    });
                }
            } else {
                found.push(path);
            }
        }
    }
    let mut seen = HashSet::new();
    for path in &found {
        if path.exists() && !path.is_file() {
            return Err(DataError::NoFile(path.clone()));
        }
        if !seen.insert(place(path)?) {
            return Err(DataError::Twice(path.clone()));
        }
    }
    found.iter().map(|path| DataFile::detect(path)).collect()
}

/// What tells a file from others: where it really is. In the cache of the Hub, where parts of equal content
/// are links to one of its `blobs`, it is the place of the link.
fn place(path: &Path) -> std::io::Result<PathBuf> {
    let target = fs_err::canonicalize(path).ok();
    match target.filter(|target| parent(target).file_name().is_none_or(|folder| folder != "blobs")) {
        Some(target) => Ok(target),
        None => Ok(fs_err::canonicalize(parent(path))?.join(path.file_name().unwrap_or_default())),
    }
}

/// What is there goes before what a pattern matches: a file may have `[` in its name.
fn named(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let pattern = path.display().to_string();
    let glob = pattern.contains(['*', '?', '[']);
    if !glob {
        return Err(DataError::Missing { pattern, glob });
    }
    let matches = glob::glob(&pattern)
        .map_err(|error| DataError::Pattern { pattern: pattern.clone(), message: error.to_string() })?;
    let mut found = matches.collect::<Result<Vec<_>, _>>().map_err(std::io::Error::from)?;
    // The hidden names that the pattern writes are in each path, so wildcards matched any further ones. The
    // library's own option for these panics at names that are not UTF-8.
    found.retain(|found| hidden_parts(found) == hidden_parts(path) && steps(found) <= steps(path));
    found.sort_unstable();
    if found.is_empty() { Err(DataError::Missing { pattern, glob }) } else { Ok(found) }
}

/// How many names in a path begin with a dot.
fn hidden_parts(path: &Path) -> usize {
    let parts = path.components();
    parts.filter(|part| matches!(part, Component::Normal(name) if is_hidden(name))).count()
}

/// How often a path names its own folder or the one above, which `.*` matches too.
fn steps(path: &Path) -> usize {
    let parts = path.as_os_str().as_encoded_bytes().split(|byte| *byte == b'/');
    parts.filter(|part| [&b"."[..], b".."].contains(part)).count()
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn folder(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), DataError> {
    if depth > DEPTH {
        let message =
            format!("folders are nested more than {DEPTH} deep; is there a link to a folder above?");
        return Err(DataError::damaged(path, None, message));
    }
    if is_store(path) {
        return Ok(());
    }
    if let Some(splits) = splits(path)? {
        return Err(DataError::Splits { path: path.to_owned(), splits });
    }
    if let Some(files) = saved(path)? {
        found.extend(files);
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in fs_err::read_dir(path)? {
        let entry = entry?;
        if !is_hidden(&entry.file_name()) {
            entries.push(entry.path());
        }
    }
    entries.sort_unstable();
    for entry in entries {
        if entry.is_dir() {
            folder(&entry, depth + 1, found)?;
        } else if is_data_name(&entry) {
            found.push(entry);
        }
    }
    Ok(())
}

/// Whether a folder is a store: its files are no samples.
fn is_store(folder: &Path) -> bool {
    folder.join("CURRENT").is_file() && folder.join("manifests").is_dir()
}

/// The splits of a saved `DatasetDict`.
fn splits(folder: &Path) -> Result<Option<Vec<String>>, DataError> {
    let path = folder.join("dataset_dict.json");
    let Some(value) = description(&path)? else { return Ok(None) };
    let list = value.get("splits").and_then(Value::as_array);
    let splits: Option<Vec<String>> =
        list.and_then(|list| list.iter().map(|name| Some(name.as_str()?.to_owned())).collect());
    splits.map(Some).ok_or_else(|| DataError::Saved { path, message: "it lists no splits".to_owned() })
}

/// The files of a saved `Dataset`, in its order.
fn saved(folder: &Path) -> Result<Option<Vec<PathBuf>>, DataError> {
    let path = folder.join("state.json");
    if !folder.join("dataset_info.json").exists() {
        return Ok(None);
    }
    let Some(value) = description(&path)? else { return Ok(None) };
    let bad = |message: &str| DataError::Saved { path: path.clone(), message: message.to_owned() };
    let list =
        value.get("_data_files").and_then(Value::as_array).ok_or_else(|| bad("it lists no data files"))?;
    let mut files = Vec::with_capacity(list.len());
    for file in list {
        let name =
            file.get("filename").and_then(Value::as_str).ok_or_else(|| bad("a data file has no name"))?;
        let file = folder.join(name);
        if !file.is_file() {
            return Err(bad(&format!("it lists {name}, which is not there; copy or save the dataset again")));
        }
        files.push(file);
    }
    Ok(Some(files))
}

fn description(path: &Path) -> Result<Option<Value>, DataError> {
    if !path.exists() {
        return Ok(None);
    }
    serde_json::from_slice(&fs_err::read(path)?)
        .map(Some)
        .map_err(|error| DataError::Saved { path: path.to_owned(), message: error.to_string() })
}
