//! Factors of curvature: fits, files that Kronfluence reads and writes, spectra, and scores with them.

mod begun;
mod blame;
mod cut;
mod eigenbasis;
mod engine;
mod error;
mod extend;
mod fit;
mod folder;
mod forecast;
mod gram;
mod import;
mod inspect;
mod kept;
mod lock;
mod parts;
mod passes;
mod plan;
mod publish;
mod report;
mod request;
mod score;
mod sealed;
mod spectra;
mod stamp;
mod stored;

pub use eigenbasis::EigenProjection;
pub use engine::Fisher;
pub use error::FactorJobError;
pub use fit::{FitReport, FitSeconds, fit_factors, forecast_factors};
pub use folder::{FactorArguments, FactorError, FactorFolder, ScoreFolder, ScoreKind, ScoreSide, ScoreTable};
pub use forecast::FitForecast;
pub use gram::{GramAt, GramReport, GramRequest, GramShare, MixRequest, fit_gram, mix_grams};
pub use gstore_curvature::{Damping, Filter, SolveLimits, Strategy};
pub use gstore_ingest::curvature::Measurement;
pub use import::import_factors;
pub use inspect::{ModuleSpectrum, SpectrumDifference, difference_table, spectrum_files, spectrum_table};
pub use kept::{KeptShare, kept_notes, kept_shares, kept_table};
pub use publish::{FactorContent, FactorNote, export_factors, list_factors};
pub use report::{PromptScores, REPORTED, prompt_and_completion, score_report, whole_text};
pub use request::FitRequest;
pub use score::{
    HeldOutputs, LikeFactors, RotatedSide, ScoreForm, ScoreOutput, ScorePer, ScoreReport, ScoreRequest,
    ScoreSegment, ScoreSolve, ScoreTarget, SolvedQuery, TableOutput, forecast_scores, like_factors,
    like_segment, score_rows,
};
pub use spectra::{SpectraRequest, factor_differences, factor_spectra};
pub use stamp::{ExtendedSums, FactorStamp};
