//! Factors of curvature: files that Kronfluence reads and writes, what their spectra look like, and reports
//! of the scores that they give.

mod eigenbasis;
mod folder;
mod gram;

pub use eigenbasis::EigenProjection;
pub use folder::{
    ALL_MODULES, DatasetNote, FactorArguments, FactorError, FactorFolder, FactorStage, NamedCovariances,
    NamedEigen, Partition, ScoreArguments, ScoreFolder, ScoreSide, ScoreTable,
};
pub use gram::{GramAt, GramReport, GramRequest, fit_gram};
