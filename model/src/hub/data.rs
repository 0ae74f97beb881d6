//! Datasets of the Hub: their names, and which files of a repository hold a split.
//!
//! The repository's own description is not read: a split is found by the names of folders and files, as the
//! tools of the Hub do where there is no description, and else in the tables that the Hub makes of most
//! datasets (the branch `refs/convert/parquet`).
//!
//! - in a name such as `SPLIT-00000-of-00003.parquet`, and in the folders of these tables, a split has its
//!   own name and no other; only where no file is called after a split so, a word in the names tells it
//! - files of two words for a split are two splits: no sample is to come twice, none from another split

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use gstore_core::Progress;

use super::files::{FileSelection, RepositoryKind, is_url_safe};
use super::{HubConfig, HubError, HubOrigin, HubRef, ResolvedFolder, download};

/// What stands before the name of a dataset of the Hub.
pub const DATA_PREFIX: &str = "hf://";

/// Where the Hub keeps the tables that it makes of a dataset.
const TABLES: &str = "refs/convert/parquet";

/// What stands before the name of a split in these, where they have only its beginning.
const PART: &str = "partial-";

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

    /// The split's name; that of training unless one is given.
    fn split(&self) -> &str {
        self.split.as_deref().unwrap_or("train")
    }

    /// The same of the tables that the Hub makes of the dataset.
    fn in_tables(&self) -> Option<Self> {
        let repo = HubRef::parse(&format!("{}@{TABLES}", self.repo.repo()))?;
        Some(Self { repo, ..self.clone() })
    }

    /// The split that a file's name states, if it has such a name.
    fn stated_split<'n>(&self, name: &'n str) -> Option<&'n str> {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        if self.repo.revision() == TABLES {
            return folder.rsplit('/').next().filter(|split| !split.is_empty());
        }
        // `train/part-00000-of-00002` says it by the folder.
        stem(file).filter(|stem| !is_of_split(folder) || is_of_split(stem))
    }

    /// The files of the split among those that are named by a word of it.
    fn with_word<'n>(&self, data: Vec<&'n str>) -> Result<Vec<&'n str>, String> {
        let split = self.split();
        let own = [split];
        let words = SPLITS.iter().copied().find(|words| words[0] == split).unwrap_or(&own);
        let with = |word: &str| -> Vec<&'n str> {
            data.iter().copied().filter(|name| has_word(name, word)).collect()
        };
        let found = words.iter().map(|word| (*word, with(word)));
        let found: Vec<(&str, Vec<&str>)> = found.filter(|(_, files)| !files.is_empty()).collect();
        if let Some(((word, files), others)) = found.split_first() {
            if *word == split || others.iter().all(|(_, other)| other == files) {
                return Ok(files.clone());
            }
            let one = Self { split: Some((*word).to_owned()), ..self.clone() };
            let all: Vec<&str> = found.iter().map(|(word, _)| *word).collect();
            return Err(format!(
                "no split {split}, but several that may be it: {}; name one, for example {one}",
                all.join(", ")
            ));
        }
        let is_there =
            |words: &&&[&str]| words.iter().any(|word| data.iter().any(|name| has_word(name, word)));
        let there: Vec<&str> = SPLITS.iter().filter(is_there).map(|words| words[0]).collect();
        match (there.is_empty(), split) {
            (true, "train") => Ok(data),
            (true, _) => Err(format!("no file named after a split {split}")),
            (false, _) => Err(no_split(split, there)),
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
        let stated = data.iter().filter_map(|name| Some((self.stated_split(name)?, *name)));
        let mut stated: Vec<(&str, &str)> = stated.collect();
        let is_split = |of: &str| of == self.split() || is_of_split(of);
        if self.repo.revision() != TABLES && !stated.iter().any(|(of, _)| is_split(of)) {
            // `data-00000-of-00002.arrow` numbers parts, and names no split.
            stated.clear();
        }
        let mut chosen = match stated.is_empty() {
            true => self.with_word(data)?,
            false => with_name(&stated, self.split())?,
        };
        let configuration = |name: &&'n str| match name.split_once('/') {
            Some((first, _)) if first != "data" && (!stated.is_empty() || !is_of_split(first)) => first,
            _ => "",
        };
        let configurations: BTreeSet<&str> = chosen.iter().map(configuration).collect();
        if configurations.len() > 1 && self.configuration.is_none() {
            let first = configurations.iter().find(|name| !name.is_empty()).copied().unwrap_or_default();
            let all: Vec<&str> = configurations.iter().copied().filter(|name| !name.is_empty()).collect();
            return Err(format!(
                "several configurations: {}; name one, for example {DATA_PREFIX}{}/{first}",
                all.join(", "),
                self.repo.repo()
            ));
        }
        if !self.split().starts_with(PART) && chosen.iter().any(|name| is_part(name)) {
            let part = Self { split: Some(format!("{PART}{}", self.split())), ..self.clone() };
            return Err(format!(
                "no more than the first part of the split {} as tables of the Hub, which makes no others of \
                 a large dataset; to take that part, name it: {part}",
                self.split()
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

    fn select(&self, _: &Path, names: &[&str]) -> Result<Vec<usize>, String> {
        let chosen: BTreeSet<&str> = self.choose(names)?.into_iter().collect();
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
    let mut wanted = DataRef::parse(text).ok_or_else(|| HubError::DataName { text: text.to_owned() })?;
    let name = wanted.to_string();
    let mut found = download(&wanted.repo, &name, &wanted, config, progress);
    if let Err(error @ (HubError::Data { .. } | HubError::Offline { .. } | HubError::Failed { .. })) = &found
        && wanted.repo.revision() == "main"
        && let Some(tables) = wanted.in_tables()
    {
        let failed = if let HubError::Failed { message, .. } = error { Some(message.clone()) } else { None };
        // Tables are of a dataset without files of its own. Where the Hub does not say that it has none, or
        // does not give those that it has, tables in the cache do, which were fetched when it said so.
        let config = HubConfig { offline: config.offline || failed.is_some(), ..config.clone() };
        match download(&tables.repo, &name, &tables, &config, progress) {
            Ok(folder) => {
                if let Some(message) = failed {
                    progress.note(&format!(
                        "{name}: no files of its own can be had ({message}); taking its tables in the cache"
                    ));
                }
                (wanted, found) = (tables, Ok(folder));
            }
            // There are no tables, or none that can be had: it is as the dataset itself says.
            Err(HubError::Offline { .. } | HubError::Refused { .. }) => {}
            // The splits of the tables are those that the dataset has, and what hinders them is to be mended.
            Err(error) => found = Err(error),
        }
    }
    let ResolvedFolder { folder, origin } = found?;
    let mut names = Vec::new();
    collect_file_names(&folder, "", &mut names);
    let chosen = wanted.choose(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let chosen = chosen.map_err(|message| HubError::Data { reference: wanted.to_string(), message })?;
    Ok(ResolvedData { files: chosen.into_iter().map(|name| folder.join(name)).collect(), origin })
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

/// Whether a name has a word as a part of its own.
fn has_word(name: &str, word: &str) -> bool {
    name.match_indices(word).any(|(at, _)| {
        let apart = |c: Option<char>| c.is_none_or(|c| !c.is_ascii_alphabetic());
        apart(name[..at].chars().next_back()) && apart(name[at + word.len()..].chars().next())
    })
}

/// Whether a name has a word for some split.
fn is_of_split(name: &str) -> bool {
    SPLITS.iter().copied().flatten().any(|word| has_word(name, word))
}

/// Whether a file is of the first part of a split, in the tables that the Hub makes of a large dataset.
fn is_part(name: &str) -> bool {
    let Some((folder, file)) = name.rsplit_once('/') else { return false };
    let is_of_part = folder.rsplit('/').next().is_some_and(|folder| folder.starts_with(PART));
    is_of_part && file.strip_suffix(".parquet").is_some_and(|number| is_number(number, 4))
}

/// What stands before the number of a file in parts, such as `-00003-of-00012`; a digest may follow that.
fn stem(file: &str) -> Option<&str> {
    let (start, rest) = file.rsplit_once("-of-")?;
    let (stem, number) = start.rsplit_once('-')?;
    (!stem.is_empty() && is_number(number, 5) && is_number(rest.get(..5)?, 5)).then_some(stem)
}

fn is_number(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())
}

/// The files of a split, whole or its first part, among those that state theirs.
fn with_name<'n>(stated: &[(&'n str, &'n str)], split: &str) -> Result<Vec<&'n str>, String> {
    let is_it = |of: &str| of == split || of.strip_prefix(PART) == Some(split);
    let chosen: Vec<&str> = stated.iter().filter(|(of, _)| is_it(of)).map(|(_, name)| *name).collect();
    if chosen.is_empty() {
        let there: BTreeSet<&str> = stated.iter().map(|(of, _)| *of).collect();
        return Err(no_split(split, there));
    }
    Ok(chosen)
}

fn no_split<'n>(split: &str, there: impl IntoIterator<Item = &'n str>) -> String {
    let there: Vec<&str> = there.into_iter().collect();
    format!("no split {split}; there are {}", there.join(", "))
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
        assert!(choose("hf://o/n#validation", &plain).unwrap_err().contains("there are test, train"));
        let folders = ["dev/0.jsonl", "train/1.jsonl.gz", "train/0.jsonl.gz", "train/notes.txt"];
        assert_eq!(choose("hf://o/n", &folders).unwrap(), [folders[2], folders[1]]);
        assert_eq!(choose("hf://o/n#validation", &folders).unwrap(), [folders[0]]);
        // Without any split all of it is what there is; a word inside of another is none.
        assert_eq!(choose("hf://o/n", &["alpaca.json", "constrained.csv"]).unwrap().len(), 2);
        assert_eq!(choose("hf://o/n#train", &["alpaca.json"]).unwrap(), ["alpaca.json"]);
        assert!(choose("hf://o/n#test", &["alpaca.json"]).unwrap_err().contains("no file named after"));
        assert!(
            choose("hf://o/n", &["README.md", "dataset_infos.json"])
                .unwrap_err()
                .contains("no file of samples")
        );
    }

    #[test]
    fn a_file_in_parts_is_of_the_split_that_it_is_named_after_and_of_no_other() {
        let kinds = ["data/train_gen-00000-of-00001.parquet", "data/train_sft-00000-of-00001-0a1b2c.parquet"];
        let error = choose("hf://o/n", &kinds).unwrap_err();
        assert_eq!(error, "no split train; there are train_gen, train_sft");
        assert_eq!(choose("hf://o/n#train_sft", &kinds).unwrap(), [kinds[1]]);
        let all = [
            "all/auxiliary_train-00000-of-00001.parquet",
            "all/dev-00000-of-00001.parquet",
            "all/validation-00000-of-00001.parquet",
            "auxiliary_train/train-00000-of-00001.parquet",
        ];
        assert_eq!(choose("hf://o/n/all#validation", &all).unwrap(), [all[2]]);
        assert!(choose("hf://o/n/all#train", &all).unwrap_err().starts_with("no split train; there are aux"));
        assert_eq!(choose("hf://o/n", &all).unwrap(), [all[3]]);
        // A folder that has a split's name is a configuration like any other.
        let two = ["test_a/train-00000-of-00001.parquet", "test_b/train-00000-of-00001.parquet"];
        assert!(choose("hf://o/n", &two).unwrap_err().contains("several configurations: test_a, test_b"));
        // Parts that are called after no split are of the one that is there.
        let saved = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow", "state.json"];
        assert_eq!(choose("hf://o/n", &saved).unwrap(), saved[..2]);
        assert!(choose("hf://o/n#test", &saved).unwrap_err().contains("no file named after a split test"));
        let own = ["data/en-00000-of-00001.parquet", "data/fr-00000-of-00001.parquet"];
        assert_eq!(choose("hf://o/n#fr", &own).unwrap(), [own[1]]);
        // Files of other names are none of the split's, and no part of one says it where its folder does.
        let beside = ["data/train-00000-of-00001.parquet", "train.jsonl"];
        assert_eq!(choose("hf://o/n", &beside).unwrap(), [beside[0]]);
        let folders = ["test/part-00000-of-00001.parquet", "train/part-00000-of-00001.parquet"];
        assert_eq!(choose("hf://o/n", &folders).unwrap(), [folders[1]]);
        assert_eq!(choose("hf://o/n", &["c4-train.00000-of-00002.json.gz"]).unwrap().len(), 1);
    }

    #[test]
    fn two_words_for_a_split_are_two_splits() {
        let both = ["dev.jsonl", "train.jsonl", "validation.jsonl"];
        assert_eq!(choose("hf://o/n#validation", &both).unwrap(), [both[2]]);
        assert_eq!(choose("hf://o/n#dev", &both).unwrap(), [both[0]]);
        let error = choose("hf://o/n#validation", &["dev.jsonl", "val.jsonl"]).unwrap_err();
        assert!(
            error.contains("several that may be it: val, dev; name one, for example hf://o/n#val"),
            "{error}"
        );
        assert_eq!(choose("hf://o/n#test", &["eval/testing.jsonl"]).unwrap().len(), 1);
    }

    #[test]
    fn a_table_of_the_hub_is_of_the_split_of_its_folder() {
        let kinds = ["default/train_gen/0000.parquet", "default/train_sft/0000.parquet"];
        let error = choose("hf://o/n@refs/convert/parquet", &kinds).unwrap_err();
        assert_eq!(error, "no split train; there are train_gen, train_sft");
    }

    #[test]
    fn the_first_part_of_a_split_is_not_the_split() {
        let tables = ["default/partial-train/0000.parquet", "default/test/0000.parquet"];
        for revision in ["refs/convert/parquet", "0123456789abcdef0123456789abcdef01234567"] {
            let named = |split: &str| choose(&format!("hf://o/n@{revision}{split}"), &tables);
            let error = named("").unwrap_err();
            assert!(error.ends_with(&format!("name it: hf://o/n@{revision}#partial-train")), "{error}");
            assert_eq!(named("#partial-train").unwrap(), [tables[0]]);
            assert_eq!(named("#test").unwrap(), [tables[1]]);
        }
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
