//! Request for a fit of factors.

use std::path::{Path, PathBuf};

use gstore_core::Remedy;
use gstore_curvature::Strategy;
use gstore_ingest::pipeline::IngestRequest;

use super::engine::Fisher;
use super::error::FactorJobError;

/// Factors that are to be fitted.
#[derive(Debug, Clone)]
pub struct FitRequest {
    /// Name of the factors: of their folder and of the artifact.
    pub name: String,
    /// Dataset, model, its checkpoints (sums are over all of them, and the factors are said to be of the
    /// first), modules, text options, tokens of a batch, limits on rows (the first so many) and memory,
    /// device and precision, as those of an ingest. Threads and command are the work's.
    pub ingest: IngestRequest,
    /// How curvature is approximated.
    pub strategy: Strategy,
    /// Whose labels the loss has.
    pub fisher: Fisher,
    /// Partitions of the data and of the modules, at least one each.
    pub partitions: [usize; 2],
    /// Covariances of more rows than this are cut into blocks of at most so many; none: `MAX_BLOCK`,
    /// or as those of the factors are that these go on from.
    pub max_block: Option<usize>,
    /// Only this partition of the data, from 0.
    pub only: Option<usize>,
    /// Folder in which the folder of the factors is; none: next to the store, until they are published.
    pub folder: Option<PathBuf>,
    /// Factors of the store whose sums these go on from, with the rows that those lack.
    pub extend: Option<String>,
    /// Replace factors of this name; without `folder`, also what an unfinished fit of something else left,
    /// and damaged files of the same. The disk is not checked then.
    pub replace: bool,
}

impl FitRequest {
    /// Rows of the largest block unless told otherwise: 0.5 GB in f64, of which a decomposition holds five.
    pub(crate) const MAX_BLOCK: u32 = 8192;

    /// Whether what is in the folder may be replaced: an unfinished fit left it. What is in a folder that was
    /// named may be wanted.
    pub(super) fn begins_again(&self) -> bool {
        self.replace && self.folder.is_none()
    }

    pub(crate) fn factor_folder(&self, store: &Path) -> PathBuf {
        let name = format!("factors_{}", self.name);
        match &self.folder {
            Some(folder) => folder.join(name),
            None => own_folder(store).join(name),
        }
    }
}

/// The folder next to a store in which factors are fitted.
pub(super) fn own_folder(store: &Path) -> PathBuf {
    // A store that is named as `.` has a name too.
    let store = fs_err::canonicalize(store).unwrap_or_else(|_| store.to_owned());
    let mut name = store.file_name().unwrap_or_default().to_os_string();
    name.push(".factors");
    store.with_file_name(name)
}

pub(super) fn check(request: &FitRequest) -> Result<(), FactorJobError> {
    let refuse = |text: String| Err(FactorJobError::Option(text));
    let [data, modules] = request.partitions;
    if data == 0 || modules == 0 {
        return refuse("at least one partition of the data and one of the modules is needed".to_owned());
    }
    if request.max_block == Some(0) {
        return refuse("a block needs at least one row".to_owned());
    }
    if request.max_block.is_some() && !request.strategy.rotates() {
        return refuse(format!(
            "{} cuts covariances, and the strategy {} has none: leave it out",
            Remedy::Option("max_block", ""),
            request.strategy.name()
        ));
    }
    if request.strategy == Strategy::Identity && (data > 1 || modules > 1) {
        let text =
            "partitions divide the passes over the data, and the strategy identity has none: leave them out";
        return refuse(text.to_owned());
    }
    if request.strategy == Strategy::Identity
        && (request.ingest.checkpoints.len() > 1 || request.extend.is_some())
    {
        let option = if request.extend.is_some() { "extend" } else { "average" };
        return refuse(format!(
            "{} adds up sums, and the strategy identity has none: leave it out",
            Remedy::Option(option, "")
        ));
    }
    if let Some(only) = request.only.filter(|only| *only >= data) {
        return refuse(format!("there is no partition {} of {data}", only + 1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_fitted_next_to_the_store() {
        assert_eq!(own_folder(Path::new("/a/store")), Path::new("/a/store.factors"));
    }
}
