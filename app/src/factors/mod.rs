//! Factors of curvature: files that Kronfluence reads and writes, what their spectra look like, and reports
//! of the scores that they give.

mod folder;
mod gram;
mod inspect;
mod report;

pub use folder::{
    ALL_MODULES, DatasetNote, FactorArguments, FactorError, FactorFolder, FactorStage, NamedCovariances,
    NamedEigen, Partition, ScoreArguments, ScoreFolder, ScoreSide, ScoreTable,
};
pub use gram::{GramAt, GramReport, GramRequest, fit_gram};
pub use inspect::{ModuleSpectrum, spectra, spectrum_files, spectrum_table};
pub use report::{PromptScores, score_report};
