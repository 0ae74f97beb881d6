//! Datasets that a command adds to: the one that is named, or one for each file, called after it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use gstore_data::find;
use gstore_model::hub::DATA_PREFIX;

use crate::failure::UsageError;

/// A dataset and the data that goes into it.
pub type DatasetData = (String, Vec<PathBuf>);

/// The datasets of a command line, in the order of its data.
///
/// # Errors
/// Neither a dataset nor data that has a name; two files with one name; a pattern that matches nothing.
pub fn each(dataset: Option<&str>, data: &[PathBuf]) -> Result<Vec<DatasetData>> {
    if let Some(name) = dataset {
        return Ok(vec![(name.to_owned(), data.to_vec())]);
    }
    if data.is_empty() {
        bail!(UsageError("which dataset? give --dataset NAME".to_owned()));
    }
    let mut found: Vec<DatasetData> = Vec::new();
    for path in data {
        for path in parts(path)? {
            let name = name_of(&path)?;
            if let Some((_, other)) = found.iter().find(|(known, _)| *known == name) {
                let other = other.first().map_or_else(String::new, |path| path.display().to_string());
                bail!(UsageError(format!(
                    "{other} and {} would both be dataset {name}; give --dataset NAME for one of all files",
                    path.display()
                )));
            }
            found.push((name, vec![path]));
        }
    }
    Ok(found)
}

/// What a path is, or what a pattern matches.
fn parts(path: &Path) -> Result<Vec<PathBuf>> {
    if is_of_hub(path) || path.exists() || path == Path::new("-") {
        return Ok(vec![path.to_owned()]);
    }
    Ok(find(&[path.to_owned()])?.iter().map(|file| file.path().to_owned()).collect())
}

fn is_of_hub(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(DATA_PREFIX))
}

/// The name of a dataset after that of a file, a folder or a repository.
fn name_of(path: &Path) -> Result<String> {
    let shown = if path == Path::new("-") { Path::new("standard input") } else { path };
    let refused = || UsageError(format!("{} gives a dataset no name: give --dataset NAME", shown.display()));
    let text = match path.to_str().and_then(|text| text.strip_prefix(DATA_PREFIX)) {
        Some(text) => {
            let text = text.split(['#', '@']).next().unwrap_or(text);
            text.strip_prefix("datasets/").unwrap_or(text).split('/').nth(1).unwrap_or_default().to_owned()
        }
        None if path.is_file() || path.is_dir() => {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.split('.').find(|part| !part.is_empty()).unwrap_or_default().to_owned()
        }
        None => String::new(),
    };
    let name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    let name = name.trim_matches('_').to_owned();
    if name.is_empty() { Err(refused().into()) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_give_datasets_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = dir.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, "{}").unwrap();
            path
        };
        let files = [put("BBH-Dates.v2.jsonl.gz"), put("gsm8k.jsonl")];
        let names = |data: &[PathBuf]| -> Vec<String> {
            each(None, data).unwrap().into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(&files), ["bbh_dates", "gsm8k"]);
        assert_eq!(names(&[dir.path().join("*.jsonl*")]), ["bbh_dates", "gsm8k"]);
        let hub = [PathBuf::from("hf://openai/gsm8k/main#test"), PathBuf::from("hf://datasets/a/My-Data@v1")];
        assert_eq!(names(&hub), ["gsm8k", "my_data"]);
        assert_eq!(each(Some("all"), &files).unwrap(), [("all".to_owned(), files.to_vec())]);
        let twice = [files[1].clone(), put("more/gsm8k.csv")];
        assert!(each(None, &twice).unwrap_err().to_string().contains("would both be dataset gsm8k"));
        assert!(each(None, &[]).unwrap_err().to_string().contains("which dataset?"));
        assert!(each(None, &[PathBuf::from("-")]).unwrap_err().to_string().contains("give --dataset"));
    }
}
