//! Resources of a pipeline: files and folders, a store, and its samples, features, artifacts, runs, tags and
//! views.

use std::path::{Component, Path, PathBuf};

/// Something that a stage reads or writes. Paths are below the pipeline's folder where they can be, so that
/// a folder that is moved keeps its journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// A file, a folder with all in it, or what a pattern of paths finds.
    Path(PathBuf),
    /// All that a store has.
    Store { store: PathBuf },
    /// The live samples of a dataset.
    Samples { store: PathBuf, dataset: String },
    /// The features of a dataset.
    Features {
        store: PathBuf,
        dataset: String,
        /// Only those of this run's checkpoints.
        run: Option<String>,
    },
    /// The runs that have features of a dataset at their checkpoints. They decide which features, with which
    /// weights, a reader takes that names no run.
    Runs { store: PathBuf, dataset: String },
    /// An artifact, such as a prefilter.
    Artifact { store: PathBuf, name: String },
    /// The checkpoints of a run.
    Run { store: PathBuf, run: String },
    /// The name of a snapshot.
    Tag { store: PathBuf, name: String },
    /// A saved statement.
    View { store: PathBuf, name: String },
}

/// What a stage reads and writes.
#[derive(Debug, Clone, Default)]
pub struct StageUses {
    /// What it reads, of the store too.
    pub reads: Vec<Resource>,
    /// What it changes where it is there, and does not make.
    pub changes: Vec<Resource>,
    /// What of its reads only stages above it in the file give it: it may do without.
    pub from_above: Vec<Resource>,
    /// Whether it may do without features of samples that stages below it change first.
    pub may_lack_features: bool,
    /// Folders that it reads, if they are none of the Hub.
    pub may_read: Vec<Resource>,
    pub writes: Vec<Resource>,
}

impl Resource {
    /// A path as a stage names it: relative ones begin at the pipeline's folder.
    pub fn path(base: &Path, text: &str) -> Self {
        Self::Path(relative_to(base, text))
    }

    /// Whether a change of one may be a change of the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Path(a), Self::Path(b)) => may_meet(a, b),
            (
                Self::Features { store: a, dataset: d, run: r },
                Self::Features { store: b, dataset: e, run: s },
            ) => a == b && d == e && (r == s || r.is_none() || s.is_none()),
            (Self::Features { store: a, dataset: d, .. }, Self::Runs { store: b, dataset: e })
            | (Self::Runs { store: a, dataset: d }, Self::Features { store: b, dataset: e, .. }) => {
                a == b && d == e
            }
            (Self::Store { store }, other) | (other, Self::Store { store }) => other.store() == Some(store),
            (a, b) => a == b,
        }
    }

    /// Whether a change of this one may give the other another version: rows that leave the samples leave
    /// their features too, though what reads features waits for no stage that deletes.
    pub fn may_change(&self, other: &Self) -> bool {
        let are_features = matches!(other, Self::Features { .. });
        self.overlaps(other) || are_features && other.samples().as_ref() == Some(self)
    }

    /// The store that it is of.
    pub fn store(&self) -> Option<&PathBuf> {
        match self {
            Self::Path(_) => None,
            Self::Store { store }
            | Self::Samples { store, .. }
            | Self::Features { store, .. }
            | Self::Runs { store, .. }
            | Self::Artifact { store, .. }
            | Self::Run { store, .. }
            | Self::Tag { store, .. }
            | Self::View { store, .. } => Some(store),
        }
    }

    /// What decides which of these features are read, where they are not those of a run.
    pub fn runs(&self) -> Option<Self> {
        match self {
            Self::Features { store, dataset, run: None } => {
                Some(Self::Runs { store: store.clone(), dataset: dataset.clone() })
            }
            _ => None,
        }
    }

    /// The samples that these features, or the features of these runs, are of.
    pub fn samples(&self) -> Option<Self> {
        match self {
            Self::Features { store, dataset, .. } | Self::Runs { store, dataset } => {
                Some(Self::Samples { store: store.clone(), dataset: dataset.clone() })
            }
            _ => None,
        }
    }

    /// The path, if it is one.
    pub fn as_path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            _ => None,
        }
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) if path.as_os_str().is_empty() => f.write_str("."),
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Store { store } => write!(f, "the store {}", store.display()),
            Self::Samples { store, dataset } => write!(f, "samples of {dataset} in {}", store.display()),
            Self::Features { store, dataset, run: None } => {
                write!(f, "features of {dataset} in {}", store.display())
            }
            Self::Features { store, dataset, run: Some(run) } => {
                write!(f, "features of {dataset} for run {run} in {}", store.display())
            }
            Self::Runs { store, dataset } => {
                write!(f, "the list of runs with features of {dataset} in {}", store.display())
            }
            Self::Artifact { store, name } => write!(f, "artifact {name} in {}", store.display()),
            Self::Run { store, run } => write!(f, "run {run} in {}", store.display()),
            Self::Tag { store, name } => write!(f, "tag {name} in {}", store.display()),
            Self::View { store, name } => write!(f, "view {name} in {}", store.display()),
        }
    }
}

/// A path without `.` and `..`, below `base` where it can be.
pub(super) fn relative_to(base: &Path, text: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for part in base.join(text).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                path.pop();
            }
            part => path.push(part),
        }
    }
    path.strip_prefix(base).map(Path::to_owned).unwrap_or(path)
}

pub(super) fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

/// Whether one path may be the other, or lie in it.
fn may_meet(a: &Path, b: &Path) -> bool {
    for (a, b) in a.components().zip(b.components()) {
        let (a, b) = (a.as_os_str().to_string_lossy(), b.as_os_str().to_string_lossy());
        if a == "**" || b == "**" {
            return true;
        }
        let fits = |pattern: &str, name: &str| {
            let pattern = glob::Pattern::new(pattern);
            is_pattern(Path::new(name)) || pattern.map_or(true, |pattern| pattern.matches(name))
        };
        if a != b
            && !(is_pattern(Path::new(&*a)) && fits(&a, &b) || is_pattern(Path::new(&*b)) && fits(&b, &a))
        {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_overlap_where_one_is_in_the_other() {
        let base = Path::new("/home/p");
        let path = |text| Resource::path(base, text);
        assert_eq!(path("/home/p/a/../b"), path("b"));
        assert_eq!(path("../other/x").to_string(), "/home/other/x");
        for (a, b, overlap) in [
            ("out", "out/checkpoint-1", true),
            ("out/checkpoint-*", "out", true),
            ("runs/*/x", "runs/a", true),
            ("output", "out", false),
            ("a/b", "a/c", false),
            ("*.jsonl", "a/c", false),
            ("*.jsonl", "a.jsonl", true),
            ("**/x", "a/c", true),
        ] {
            assert_eq!(path(a).overlaps(&path(b)), overlap, "{a} {b}");
            assert_eq!(path(b).overlaps(&path(a)), overlap, "{b} {a}");
        }
    }

    #[test]
    fn features_of_different_runs_do_not_overlap() {
        let features = |dataset: &str, run: Option<&str>| Resource::Features {
            store: "s".into(),
            dataset: dataset.into(),
            run: run.map(str::to_owned),
        };
        assert!(features("pool", Some("a")).overlaps(&features("pool", None)));
        assert!(!features("pool", Some("a")).overlaps(&features("pool", Some("b"))));
        assert!(!features("pool", None).overlaps(&features("gsm8k", None)));
        // Features of any run may change which runs have some.
        let runs = features("pool", None).runs().expect("of no run");
        assert!(runs.overlaps(&features("pool", Some("a"))) && features("pool", None).overlaps(&runs));
        assert!(!runs.overlaps(&features("gsm8k", None)) && features("pool", Some("a")).runs().is_none());
        let samples = Resource::Samples { store: "s".into(), dataset: "pool".into() };
        assert!(!samples.overlaps(&features("pool", None)) && samples.overlaps(&samples.clone()));
        let whole = |store: &str| Resource::Store { store: store.into() };
        assert!(whole("s").overlaps(&samples) && samples.overlaps(&whole("s")));
        assert!(!whole("t").overlaps(&samples) && !whole("s").overlaps(&Resource::Path("s".into())));
    }
}
