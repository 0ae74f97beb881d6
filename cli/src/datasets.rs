//! Datasets that a command adds to: the one that is named, or one for each file, called after it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use gstore_core::many;
use gstore_data::find;
use gstore_model::hub::DATA_PREFIX;

use crate::context::Context;
use crate::failure::{UsageError, refuse};
use crate::streams::is_standard_input;
use crate::wording::shell_word;

/// A dataset and the data that goes into it.
pub type DatasetData = (String, Vec<PathBuf>);

/// The datasets of a command line, in the order of its data. Says of which folders all files become one.
///
/// # Errors
/// Neither a dataset nor data that has a name; two files with one name; a pattern that matches nothing; a
/// folder without data.
pub fn given_datasets(
    context: &Context,
    dataset: Option<&str>,
    data: &[PathBuf],
) -> Result<Vec<DatasetData>> {
    let found = name_datasets(dataset, data)?;
    for (name, paths) in found.iter().filter(|_| dataset.is_none()) {
        for folder in paths.iter().filter(|path| path.is_dir()) {
            if let Some(note) = joined_note(name, folder)? {
                context.say(&note);
            }
        }
    }
    Ok(found)
}

/// What is said of a folder of several files that become one dataset; `None` where they are numbered parts of
/// one.
fn joined_note(name: &str, folder: &Path) -> Result<Option<String>> {
    let files = find(&[folder.to_owned()])?;
    // As `datasets` and the Hub name them: train-00000-of-00002.parquet.
    let is_part = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("-of-"));
    let Some(first) = files.first().filter(|_| files.len() > 1 && !files.iter().all(|f| is_part(f.path())))
    else {
        return Ok(None);
    };
    let ending = first.path().extension();
    let is_like = |path: &Path| path.parent() == Some(folder) && path.extension() == ending;
    let way = match ending.filter(|_| files.iter().all(|file| is_like(file.path()))) {
        Some(ending) => {
            let pattern = folder.join(format!("*.{}", ending.to_string_lossy()));
            format!("{} makes a dataset of each", shell_word(&pattern))
        }
        None => "name the files one by one for a dataset of each".to_owned(),
    };
    let (count, folder) = (many(files.len() as u64, "file"), folder.display());
    Ok(Some(format!("note: {count} of {folder} are one dataset `{name}`; {way}")))
}

/// The same without a word.
fn name_datasets(dataset: Option<&str>, data: &[PathBuf]) -> Result<Vec<DatasetData>> {
    if let Some(name) = dataset {
        return Ok(vec![(name.to_owned(), data.to_vec())]);
    }
    if data.is_empty() {
        refuse!("which dataset? give --dataset NAME");
    }
    let mut found: Vec<DatasetData> = Vec::new();
    for path in data {
        for path in parts(path)? {
            let name = name_of(&path)?;
            if let Some((_, other)) = found.iter().find(|(known, _)| *known == name) {
                let other = other.first().map_or_else(String::new, |path| path.display().to_string());
                refuse!(
                    "{other} and {} would both be dataset {name}; give --dataset NAME for one of all files",
                    path.display()
                );
            }
            found.push((name, vec![path]));
        }
    }
    Ok(found)
}

/// What a path is, or what a pattern matches.
fn parts(path: &Path) -> Result<Vec<PathBuf>> {
    if is_of_hub(path) || is_standard_input(path) || path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    Ok(find(&[path.to_owned()])?.iter().map(|file| file.path().to_owned()).collect())
}

fn is_of_hub(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(DATA_PREFIX))
}

/// The name of a dataset after that of a file, a folder or a repository.
fn name_of(path: &Path) -> Result<String> {
    let shown = if is_standard_input(path) { Path::new("standard input") } else { path };
    let refused = || {
        UsageError(format!("{} has no part that can name a dataset: give --dataset NAME", shown.display()))
    };
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
            name_datasets(None, data).unwrap().into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(&files), ["bbh_dates", "gsm8k"]);
        assert_eq!(names(&[dir.path().join("*.jsonl*")]), ["bbh_dates", "gsm8k"]);
        let hub = [PathBuf::from("hf://openai/gsm8k/main#test"), PathBuf::from("hf://datasets/a/My-Data@v1")];
        assert_eq!(names(&hub), ["gsm8k", "my_data"]);
        assert_eq!(name_datasets(Some("all"), &files).unwrap(), [("all".to_owned(), files.to_vec())]);
        let twice = [files[1].clone(), put("more/gsm8k.csv")];
        assert!(name_datasets(None, &twice).unwrap_err().to_string().contains("would both be dataset gsm8k"));
        assert!(name_datasets(None, &[]).unwrap_err().to_string().contains("which dataset?"));
        assert!(
            name_datasets(None, &[PathBuf::from("-")]).unwrap_err().to_string().contains("give --dataset")
        );
    }

    #[test]
    fn a_folder_of_several_files_is_said_to_be_one_dataset() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("targets");
        fs_err::create_dir_all(&folder).unwrap();
        let put = |name: &str| fs_err::write(folder.join(name), "{\"text\": \"a\"}\n").unwrap();
        put("a.jsonl");
        assert_eq!(joined_note("targets", &folder).unwrap(), None);
        put("b.jsonl");
        let said = joined_note("targets", &folder).unwrap().unwrap();
        let shown = folder.display();
        assert_eq!(
            said,
            format!(
                "note: 2 files of {shown} are one dataset `targets`; '{shown}/*.jsonl' makes a dataset of each"
            )
        );
        put("c.csv");
        let said = joined_note("targets", &folder).unwrap().unwrap();
        assert!(
            said.starts_with("note: 3 files")
                && said.ends_with("; name the files one by one for a dataset of each"),
            "{said}"
        );
        for name in ["a.jsonl", "b.jsonl", "c.csv"] {
            fs_err::remove_file(folder.join(name)).unwrap();
        }
        put("train-00000-of-00002.jsonl");
        put("train-00001-of-00002.jsonl");
        assert_eq!(joined_note("targets", &folder).unwrap(), None);
    }
}
