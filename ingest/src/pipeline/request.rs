//! Ingest requests, as plain values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gstore_core::{GradientForm, Kind, KindSource};
use gstore_store::{DType, Granularity, RowSet};

use crate::gradient::{AdamParams, GradForm, LossForm, ModuleSelection};
use crate::projection::{DEFAULT_MODULE_DIM, ProjectionKind, ProjectionSpec};
use gstore_data::TextOptions;
use gstore_model::{ComputePrecision, Device, Reduction};

/// One ingest: the features of one dataset at some checkpoints.
#[derive(Debug, Clone)]
pub struct IngestRequest {
    /// Dataset whose registered samples are used.
    pub dataset: String,
    /// Folder of the base model.
    pub model: PathBuf,
    /// Checkpoints, in the order of the training run.
    pub checkpoints: Vec<CheckpointArg>,
    /// What to compute, each kind once; several kinds of a checkpoint come from one pass.
    pub kinds: Vec<Kind>,
    /// Which of a model's own weights are differentiated, where there is no adapter.
    pub modules: ModuleSelection,
    /// What the loss of a token is.
    pub loss: LossForm,
    /// How a sample's losses become one.
    pub reduction: Reduction,
    /// Whether a sample has one vector, or one for each scored token: that token's part of the loss, or the
    /// gradient of that part.
    pub granularity: Granularity,
    /// The hidden states that embeddings are taken from.
    pub embedding: EmbeddingForm,
    /// Projection of the gradient kinds.
    pub projection: ProjectionChoice,
    /// What computes, and where.
    pub device: Device,
    /// More devices of the same sort, each with the model in its memory, which take batches as the first
    /// does. They change no bit, and are of jobs that compute features.
    pub beside: Vec<Device>,
    /// Precision of the factors of matrix products.
    pub compute: ComputePrecision,
    /// Bytes of memory to stay below where that is possible without changing a result.
    pub max_memory: Option<u64>,
    /// Type of the stored vectors; losses are always f32.
    pub dtype: DType,
    /// How records become tokens.
    pub text: TextOptions,
    /// Constants of `grad-adam`.
    pub adam: AdamParams,
    /// Tokens in one batch.
    pub batch_tokens: usize,
    /// Worker threads, which are divided among the devices: at least one for each.
    pub threads: usize,
    /// Only the first rows, if given; the features then stay `building`.
    pub limit: Option<u64>,
    /// Only these rows, if given; batches are then cut over them alone, and features stay as they are,
    /// `building` or complete.
    pub rows: Option<RowSet>,
    /// Name of the run.
    pub run: String,
    /// Weights of the checkpoints in order; empty: from their `trainer_state.json`.
    pub weights: Vec<f64>,
    /// Whether vectors that do not fit on the disk are refused before they are computed.
    pub check_room: bool,
    /// How long what is computed of a window may wait to be sealed: so much work is lost by a crash.
    pub seal_after: Duration,
    /// Where the folders above come from, if that is not the folder itself: `org/name@revision(commit)`.
    pub origins: BTreeMap<PathBuf, String>,
    /// The command as the history shows it.
    pub command: String,
}

impl IngestRequest {
    /// Type of the stored vectors unless another is asked for.
    pub const DTYPE: DType = DType::F16;

    /// Tokens in one batch unless others are asked for.
    pub const BATCH_TOKENS: u32 = 512;

    /// How long what is computed waits to be sealed unless told otherwise.
    pub const SEAL_AFTER: Duration = Duration::from_secs(300);

    /// A request with everything as the command line has it by default: the base model, one
    /// thread, and no kind yet.
    pub fn new(dataset: impl Into<String>, model: impl Into<PathBuf>) -> Self {
        Self {
            dataset: dataset.into(),
            model: model.into(),
            checkpoints: vec![CheckpointArg::base()],
            kinds: Vec::new(),
            modules: ModuleSelection::default(),
            loss: LossForm::default(),
            reduction: Reduction::default(),
            granularity: Granularity::default(),
            embedding: EmbeddingForm::default(),
            projection: ProjectionChoice::default(),
            device: Device::default(),
            beside: Vec::new(),
            compute: ComputePrecision::default(),
            max_memory: None,
            dtype: Self::DTYPE,
            text: TextOptions::default(),
            adam: AdamParams::default(),
            batch_tokens: Self::BATCH_TOKENS as usize,
            threads: 1,
            limit: None,
            rows: None,
            run: "run".to_owned(),
            weights: Vec::new(),
            check_room: true,
            seal_after: Self::SEAL_AFTER,
            origins: BTreeMap::new(),
            command: String::new(),
        }
    }

    /// What a pass of the model is for: a token's gradient takes one of its own, the losses of a sample's
    /// tokens come from one together.
    pub fn pass(&self) -> Granularity {
        if self.kinds.iter().any(|kind| kind.takes_gradient()) {
            self.granularity
        } else {
            Granularity::Sample
        }
    }

    /// How the vectors of a kind are stored.
    pub(super) fn dtype_of(&self, kind: Kind) -> DType {
        if kind.is_full() { DType::F32 } else { self.dtype }
    }

    /// How many devices compute.
    pub fn devices(&self) -> usize {
        1 + self.beside.len()
    }

    /// Whether it asks for a part of the rows.
    pub(crate) fn is_partial(&self) -> bool {
        self.limit.is_some() || self.rows.is_some()
    }

    /// The forms of the gradient that its kinds are made from, in their order; the plain one comes last where
    /// only what a projection leaves out is of it.
    pub fn forms(&self) -> Vec<GradForm> {
        let mut forms: Vec<GradForm> = self.kinds.iter().filter_map(|kind| form(*kind, self.adam)).collect();
        if self.kinds.contains(&Kind::Residual) && !forms.contains(&GradForm::Plain) {
            forms.push(GradForm::Plain);
        }
        forms
    }
}

/// The form of the gradient, of a kind that is made from one.
fn form(kind: Kind, adam: AdamParams) -> Option<GradForm> {
    let KindSource::Gradient(form) = kind.source() else { return None };
    Some(match form {
        GradientForm::Plain => GradForm::Plain,
        GradientForm::Adam => GradForm::Adam(adam),
        GradientForm::Sign => GradForm::Sign,
        GradientForm::Normalised => GradForm::Normalised { eps: adam.eps },
    })
}

/// Which projection gradients get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProjectionChoice {
    /// The one that suits: flat `sjlt` for adapters, `fact_sjlt` for a model's own weights.
    Suitable {
        /// Coordinates of the flat kind.
        dim: u32,
        /// Coordinates of each module of the factored kind.
        module_dim: u32,
        /// Seed.
        seed: u64,
        /// Whether each checkpoint has its own matrix.
        per_checkpoint: bool,
    },
    /// This one.
    Spec(ProjectionSpec),
}

impl Default for ProjectionChoice {
    fn default() -> Self {
        let ProjectionSpec { dim, seed, per_checkpoint, .. } = ProjectionSpec::default();
        Self::Suitable { dim, module_dim: DEFAULT_MODULE_DIM, seed, per_checkpoint }
    }
}

impl ProjectionChoice {
    /// The projection of a checkpoint, with or without an adapter.
    pub fn spec(&self, adapter: bool) -> ProjectionSpec {
        match *self {
            Self::Spec(ref spec) => spec.clone(),
            Self::Suitable { dim, module_dim, seed, per_checkpoint } => {
                let sized = match adapter {
                    true => ProjectionSpec { dim, ..ProjectionSpec::default() },
                    false => {
                        ProjectionSpec::sized(ProjectionKind::FactSjlt { k_out: 0, k_in: 0 }, module_dim)
                    }
                };
                ProjectionSpec { seed, per_checkpoint, ..sized }
            }
        }
    }
}

impl From<ProjectionSpec> for ProjectionChoice {
    fn from(spec: ProjectionSpec) -> Self {
        Self::Spec(spec)
    }
}

/// The hidden states that embeddings are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EmbeddingForm {
    /// The residual stream after this many layers (0: the token embeddings); none: the final norm's outputs.
    pub layer: Option<usize>,
    /// Divided by their L2 norm.
    pub unit: bool,
}

/// A checkpoint as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointArg {
    /// Its name in the run.
    pub name: String,
    /// Its weights.
    pub weights: CheckpointWeights,
}

/// Where a checkpoint's weights are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointWeights {
    /// In the model's own folder.
    Base,
    /// In a folder with a LoRA adapter for the model.
    Adapter(PathBuf),
    /// In a folder with a whole model: a full fine-tune.
    Model(PathBuf),
}

impl CheckpointArg {
    /// A checkpoint of the folder: of an adapter, unless it holds a whole model.
    pub fn of_folder(name: impl Into<String>, folder: PathBuf) -> Self {
        let whole = folder.join("config.json").exists() && !folder.join("adapter_config.json").exists();
        let weights =
            if whole { CheckpointWeights::Model(folder) } else { CheckpointWeights::Adapter(folder) };
        Self { name: name.into(), weights }
    }

    /// The model as it was before training.
    pub fn base() -> Self {
        Self { name: "base".to_owned(), weights: CheckpointWeights::Base }
    }

    /// Its own folder; none for the base.
    pub fn folder(&self) -> Option<&Path> {
        match &self.weights {
            CheckpointWeights::Base => None,
            CheckpointWeights::Adapter(folder) | CheckpointWeights::Model(folder) => Some(folder),
        }
    }

    /// The folder of its adapter.
    pub fn adapter(&self) -> Option<&Path> {
        match &self.weights {
            CheckpointWeights::Adapter(folder) => Some(folder),
            _ => None,
        }
    }

    /// The folder of the model that computes it.
    pub fn model<'a>(&'a self, base: &'a Path) -> &'a Path {
        match &self.weights {
            CheckpointWeights::Model(folder) => folder,
            _ => base,
        }
    }
}
