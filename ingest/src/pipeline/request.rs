//! What the user asks an ingest to do, as plain values.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gstore_store::DType;

use super::IngestError;
use crate::data::TemplateKind;
use crate::gradient::AdamParams;
use crate::projection::ProjectionSpec;

/// One ingest: the features of one dataset at some checkpoints.
#[derive(Debug, Clone)]
pub struct IngestRequest {
    /// Dataset whose registered samples are used.
    pub dataset: String,
    /// Folder of the base model.
    pub model: PathBuf,
    /// Checkpoints, in the order of the training run.
    pub checkpoints: Vec<CheckpointArg>,
    /// What to compute; several kinds of a checkpoint come from one pass.
    pub kinds: Vec<Kind>,
    /// Projection of the gradient kinds.
    pub projection: ProjectionSpec,
    /// Type of the stored vectors; losses are always f32.
    pub dtype: DType,
    /// Template of the encoding.
    pub template: TemplateKind,
    /// Maximum length of the encoding, in tokens.
    pub max_length: u32,
    /// Constants of `grad-adam`.
    pub adam: AdamParams,
    /// Tokens in one batch.
    pub batch_tokens: usize,
    /// Worker threads.
    pub threads: usize,
    /// Only the first rows, if given; the features then stay `building`.
    pub limit: Option<u64>,
    /// Name of the run.
    pub run: String,
    /// Weights of the checkpoints in order; empty: from their `trainer_state.json`.
    pub weights: Vec<f64>,
    /// Where the folders above come from, if that is not the folder itself: `org/name@revision(commit)`.
    pub origins: BTreeMap<PathBuf, String>,
    /// The command as the history shows it.
    pub command: String,
}

/// A checkpoint as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointArg {
    /// Its name in the run.
    pub name: String,
    /// Folder of the LoRA adapter; none for the base model itself.
    pub adapter: Option<PathBuf>,
}

/// Feature kinds that the engine computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The gradient.
    GradSgd,
    /// The step that Adam would take (LESS).
    GradAdam,
    /// Signs of the gradient.
    GradSign,
    /// Mean over the tokens of the final hidden state.
    EmbedMean,
    /// Final hidden state of the last token.
    EmbedLast,
    /// Mean cross-entropy over the scored tokens.
    Loss,
}

impl Kind {
    /// All kinds, in the order of the help.
    pub const ALL: [Self; 6] =
        [Self::GradAdam, Self::GradSgd, Self::GradSign, Self::EmbedMean, Self::EmbedLast, Self::Loss];

    /// The name on the command line and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::GradSgd => "grad-sgd",
            Self::GradAdam => "grad-adam",
            Self::GradSign => "grad-sign",
            Self::EmbedMean => "embed-mean",
            Self::EmbedLast => "embed-last",
            Self::Loss => "loss",
        }
    }

    /// Whether it is made from a gradient.
    pub fn is_gradient(self) -> bool {
        matches!(self, Self::GradSgd | Self::GradAdam | Self::GradSign)
    }

    /// Reads a name.
    ///
    /// # Errors
    /// An unknown name, with the list of those there are.
    pub fn parse(name: &str) -> Result<Self, IngestError> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| IngestError::UnknownKind {
            name: name.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}
