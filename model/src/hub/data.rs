//! Datasets of the Hub: their names, and which files of a repository hold a split.
//!
//! The repository's own description is not read: a split is found by the names of folders and files, as the
//! tools of the Hub do where there is no description, and else in the tables that the Hub makes of most
//! datasets (the branch `refs/convert/parquet`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use gstore_core::Progress;

use super::files::{FileSelection, RepositoryKind};
use super::{HubConfig, HubError, HubOrigin, HubRef, ResolvedFolder, download};

/// What stands before the name of a dataset of the Hub.
pub const DATA_PREFIX: &str = "hf://";

/// Where the Hub keeps the tables that it makes of a dataset.
const TABLES: &str = "refs/convert/parquet";

/// Endings of files with samples.
const ENDINGS: [&str; 8] = ["parquet", "jsonl", "json", "ndjson", "csv", "tsv", "arrow", "feather"];

/// Words for a split in names of files and folders; the first is the split's own name.
const SPLITS: [&[&str]; 3] = [
    &["train", "training"],
    &["validation", "valid", "val", "dev"],
    &["test", "testing", "eval", "evaluation"],
];

/// A split of a dataset of the Hub: `hf://org/name/configuration@revision#split`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataRef {
    repo: HubRef,
    configuration: Option<String>,
    split: Option<String>,
}

impl DataRef {
    /// Reads a name; `None` if the text cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix(DATA_PREFIX)?;
        let text = text.strip_prefix("datasets/").unwrap_or(text);
        let (text, split) = match text.split_once('#') {
            Some((text, split)) => (text, Some(split)),
            None => (text, None),
        };
        let (path, revision) = match text.split_once('@') {
            Some((path, revision)) => (path, format!("@{revision}")),
            None => (text, String::new()),
        };
        let mut parts = path.splitn(3, '/');
        let (org, name, configuration) = (parts.next()?, parts.next()?, parts.next());
        let repo = HubRef::parse(&format!("{org}/{name}{revision}"))?;
        let sound = |part: &str| !part.is_empty() && part.chars().all(is_url_safe);
        let [configuration, split] =
            [configuration, split].map(|part| part.map(|part| sound(part).then(|| part.to_owned())));
        Some(Self {
            repo,
            configuration: configuration.map_or(Some(None), |part| part.map(Some))?,
            split: split.map_or(Some(None), |part| part.map(Some))?,
        })
    }

    /// The split's words; that of training unless one is named.
    fn words(&self) -> Vec<&str> {
        let split = self.split.as_deref().unwrap_or("train");
        match SPLITS.iter().find(|words| words[0] == split) {
            Some(words) => words.to_vec(),
            None => vec![split],
        }
    }

    /// The files of the split among those of a repository.
    fn choose<'n>(&self, names: &[&'n str]) -> Result<Vec<&'n str>, String> {
        let mut data: Vec<&str> = names.iter().copied().filter(|name| is_data(name)).collect();
        if let Some(wanted) = &self.configuration {
            data.retain(|name| name.split('/').any(|part| part == wanted));
        }
        if data.is_empty() {
            let what = self.configuration.as_ref().map_or(String::new(), |wanted| format!(" in {wanted}"));
            return Err(format!("no file of samples{what}; supported are {}", ENDINGS.join(", ")));
        }
        let words = self.words();
        let mut chosen: Vec<&str> = data.iter().copied().filter(|name| has_word(name, &words)).collect();
        if chosen.is_empty() {
            let there: Vec<&str> = splits(&data);
            match (there.is_empty(), &self.split) {
                (true, None) => chosen = data,
                (true, Some(split)) => return Err(format!("no file named after a split {split}")),
                (false, _) => {
                    let split = self.split.as_deref().unwrap_or("train");
                    return Err(format!("no split {split}; there are {}", there.join(", ")));
                }
            }
        }
        let configurations: BTreeSet<&str> = chosen.iter().map(|name| configuration(name)).collect();
        if configurations.len() > 1 && self.configuration.is_none() {
            let first = configurations.iter().find(|name| !name.is_empty()).copied().unwrap_or_default();
            let all: Vec<&str> = configurations.iter().copied().filter(|name| !name.is_empty()).collect();
            return Err(format!(
                "several configurations: {}; name one, for example {DATA_PREFIX}{}/{first}",
                all.join(", "),
                self.repo.repo()
            ));
        }
        chosen.sort_unstable();
        Ok(chosen)
    }
}

impl fmt::Display for DataRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DATA_PREFIX}{}", self.repo.repo())?;
        self.configuration.as_ref().map_or(Ok(()), |name| write!(f, "/{name}"))?;
        if self.repo.revision() != "main" {
            write!(f, "@{}", self.repo.revision())?;
        }
        self.split.as_ref().map_or(Ok(()), |split| write!(f, "#{split}"))
    }
}

impl FileSelection for DataRef {
    fn kind(&self) -> RepositoryKind {
        RepositoryKind::Dataset
    }

    fn select(&self, names: &[&str]) -> Result<Vec<usize>, String> {
        let chosen = self.choose(names)?;
        Ok((0..names.len()).filter(|at| chosen.contains(&names[*at])).collect())
    }

    fn missing_file(&self, folder: &Path) -> Option<String> {
        let mut names = Vec::new();
        collect_file_names(folder, "", &mut names);
        match self.choose(&names.iter().map(String::as_str).collect::<Vec<_>>()) {
            Ok(chosen) => missing_part(&chosen),
            Err(why) => Some(why),
        }
    }
}

/// A split on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedData {
    /// Its files, in order.
    pub files: Vec<PathBuf>,
    /// Where they come from.
    pub origin: Option<HubOrigin>,
}

/// Finds the files of a split, and fetches those that the cache lacks.
///
/// # Errors
/// An invalid name; a repository that cannot be reached, or has no such split.
pub fn resolve_data(
    text: &str,
    config: &HubConfig,
    progress: &mut dyn Progress,
) -> Result<ResolvedData, HubError> {
    let wanted = DataRef::parse(text).ok_or_else(|| HubError::DataName { text: text.to_owned() })?;
    let found = match download(&wanted.repo, &wanted, config, progress) {
        Err(first @ (HubError::Data { .. } | HubError::Offline { .. }))
            if wanted.repo.revision() == "main" =>
        {
            let tables = HubRef::parse(&format!("{}@{TABLES}", wanted.repo.repo()));
            match tables.map(|tables| download(&tables, &wanted, config, progress)) {
                Some(Ok(found)) => Ok(found),
                _ => Err(first),
            }
        }
        found => found,
    };
    let ResolvedFolder { folder, origin } = found.map_err(|error| dataset_error(error, &wanted))?;
    let mut names = Vec::new();
    collect_file_names(&folder, "", &mut names);
    let chosen = wanted.choose(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let chosen = chosen.map_err(|message| HubError::Data { reference: wanted.to_string(), message })?;
    Ok(ResolvedData { files: chosen.into_iter().map(|name| folder.join(name)).collect(), origin })
}

/// The same error without a word of the folder that a model or an adapter could be.
fn dataset_error(error: HubError, wanted: &DataRef) -> HubError {
    let reference = wanted.to_string();
    match error {
        HubError::Failed { message, .. } => HubError::DataFailed { reference, message },
        HubError::Refused { message, .. } => {
            let message = format!(
                "it has no such dataset or revision, or does not show it to you: {message}\n  \
                 check the name; for a private or gated one ask for access on its page and set HF_TOKEN"
            );
            HubError::DataFailed { reference, message }
        }
        other => other,
    }
}

/// Names of the files below a folder, with `/` between their parts.
fn collect_file_names(folder: &Path, before: &str, names: &mut Vec<String>) {
    // Deep enough for any configuration and split, and no way into a loop of links.
    if before.matches('/').count() > 8 {
        return;
    }
    for entry in fs_err::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{before}{}", entry.file_name().to_string_lossy());
        match entry.path().is_dir() {
            true => collect_file_names(&entry.path(), &format!("{name}/"), names),
            false => names.push(name),
        }
    }
    names.sort_unstable();
}

/// A part of a file in several parts (`-00003-of-00012`) that is not among them.
fn missing_part(names: &[&str]) -> Option<String> {
    let mut parts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for name in names {
        let Some((start, rest)) = name.rsplit_once("-of-") else { continue };
        let Some((stem, _)) = start.rsplit_once('-') else { continue };
        let count = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        *parts.entry((stem.to_owned(), count)).or_default() += 1;
    }
    let lacking =
        parts.into_iter().find(|((_, count), there)| count.parse().is_ok_and(|n: usize| *there < n));
    lacking.map(|((stem, count), there)| format!("{} of {count} parts of {stem}", there))
}

/// Characters that have no meaning in an address.
fn is_url_safe(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn is_data(name: &str) -> bool {
    const DESCRIPTIONS: [&str; 4] =
        ["dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"];
    let plain = name
        .split('/')
        .all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(is_url_safe));
    let file = name.rsplit('/').next().unwrap_or(name);
    let stem = [".gz", ".zst"].iter().find_map(|end| file.strip_suffix(end)).unwrap_or(file);
    let ending = stem.rsplit_once('.').map_or("", |(_, ending)| ending);
    plain && ENDINGS.contains(&ending) && !DESCRIPTIONS.contains(&file)
}

/// Whether a name has one of these words as a part of its own.
fn has_word(name: &str, words: &[&str]) -> bool {
    words.iter().any(|word| {
        name.match_indices(word).any(|(at, _)| {
            let apart = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphabetic());
            apart(name[..at].chars().next_back()) && apart(name[at + word.len()..].chars().next())
        })
    })
}

/// The splits that files are named after.
fn splits(names: &[&str]) -> Vec<&'static str> {
    let named = |words: &&&[&str]| names.iter().any(|name| has_word(name, words));
    SPLITS.iter().filter(named).map(|words| words[0]).collect()
}

/// The folder that a file's configuration is called after, if it has one.
fn configuration(name: &str) -> &str {
    match name.split_once('/') {
        Some((first, _)) if first != "data" && SPLITS.iter().all(|words| !has_word(first, words)) => first,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(text: &str, names: &[&str]) -> Result<Vec<String>, String> {
        let chosen = DataRef::parse(text).unwrap().choose(names)?;
        Ok(chosen.into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn names_of_datasets() {
        for (text, shown) in [
            ("hf://org/name", "hf://org/name"),
            ("hf://datasets/org/name#test", "hf://org/name#test"),
            ("hf://org/name/main@v1#train", "hf://org/name/main@v1#train"),
        ] {
            assert_eq!(DataRef::parse(text).unwrap().to_string(), shown);
        }
        for bad in [
            "org/name",
            "hf://name",
            "hf://org/name#",
            "hf://org/name/",
            "hf://org/name#a b",
            "hf://org/na me",
        ] {
            assert_eq!(DataRef::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_split_is_found_by_names_of_files_and_folders() {
        let plain = ["README.md", "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"];
        assert_eq!(choose("hf://o/n", &plain).unwrap(), [plain[1]]);
        assert_eq!(choose("hf://o/n#test", &plain).unwrap(), [plain[2]]);
        assert!(choose("hf://o/n#validation", &plain).unwrap_err().contains("there are train, test"));
        let folders = ["dev/0.jsonl", "train/1.jsonl.gz", "train/0.jsonl.gz", "train/notes.txt"];
        assert_eq!(choose("hf://o/n", &folders).unwrap(), [folders[2], folders[1]]);
        assert_eq!(choose("hf://o/n#validation", &folders).unwrap(), [folders[0]]);
        // Without any split all of it is what there is; a word inside of another is none.
        assert_eq!(choose("hf://o/n", &["alpaca.json", "constrained.csv"]).unwrap().len(), 2);
        assert!(choose("hf://o/n#train", &["alpaca.json"]).is_err());
        assert!(
            choose("hf://o/n", &["README.md", "dataset_infos.json"])
                .unwrap_err()
                .contains("no file of samples")
        );
    }

    #[test]
    fn configurations_are_told_apart() {
        let names = ["main/train-0.parquet", "socratic/train-0.parquet", "socratic/test-0.parquet"];
        let error = choose("hf://o/n", &names).unwrap_err();
        assert!(error.contains("main, socratic") && error.contains("hf://o/n/main"), "{error}");
        assert_eq!(choose("hf://o/n/main", &names).unwrap(), [names[0]]);
        assert_eq!(choose("hf://o/n#test", &names).unwrap(), [names[2]]);
    }

    #[test]
    fn parts_that_are_missing_are_noticed() {
        assert_eq!(missing_part(&["a-00000-of-00002.parquet", "a-00001-of-00002.parquet", "b.csv"]), None);
        let found = missing_part(&["d/a-00000-of-00002.parquet"]).unwrap();
        assert_eq!(found, "1 of 00002 parts of d/a");
    }
}
