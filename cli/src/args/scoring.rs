//! Flags that say what is compared with what, and how.

use clap::Args;

/// How to score.
#[derive(Args, Debug, Clone)]
pub struct ScoringArgs {
    /// What is compared
    #[command(flatten)]
    pub pairs: PairArgs,
    /// How the samples of a subtask combine: mean, max, min or sum
    #[arg(long, value_name = "HOW", default_value = "mean")]
    pub within: String,
    /// How subtasks combine: max, mean, sum or min
    #[arg(long, value_name = "HOW", default_value = "max")]
    pub across: String,
    /// Whether a subtask is first replaced by one vector: none, mean or unit_mean
    #[arg(long, value_name = "HOW", default_value = "none")]
    pub fold: String,
    /// What a subtask is: the column `subtask` of the target, or each dataset as a whole
    #[arg(long, value_name = "WHAT", default_value = "column")]
    pub by: String,
    /// Whether every row is read, or the sketches of `gstore index --sketch` first: exact or sketch. What the answer promises is printed
    #[arg(long, value_name = "MODE", default_value = "exact")]
    pub mode: String,
    /// With --mode sketch: the probability that any of the rows wanted is missing [default: 1e-6]
    #[arg(long, value_name = "P")]
    pub miss: Option<f64>,
    /// With --mode sketch: accept that rows are missing that score at most this much better than the last one shown [default: 0]
    #[arg(long, value_name = "X")]
    pub tolerance: Option<f64>,
    /// With --mode sketch: read only codes whose bounds are certain, so that the answer is the exact one; not with --miss
    #[arg(long)]
    pub certified: bool,
}

/// Which vectors are compared, and how.
#[derive(Args, Debug, Clone)]
pub struct PairArgs {
    /// Checkpoints to use, by name or step [default: all that both sides have]
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    pub checkpoints: Vec<String>,
    /// The training run whose checkpoints are meant, if there are several
    #[arg(long, value_name = "NAME")]
    pub run: Option<String>,
    /// Weights of the checkpoints [default: those of the run]
    #[arg(long, value_name = "W", value_delimiter = ',', num_args = 1..)]
    pub weights: Vec<f64>,
    /// Similarity of two vectors: cosine or dot
    #[arg(long, value_name = "HOW", default_value = "cosine")]
    pub sim: String,
    /// Rows that lack a checkpoint: error, exclude or renormalise [default: error; with --partial exclude]
    #[arg(long, value_name = "HOW")]
    pub missing: Option<String>,
    /// Feature of the pool, such as embed-mean [default: grad-adam, else grad-sgd]; the target takes the same embedding, or grad-sgd
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// The same as --kind
    #[arg(long, value_name = "KIND", conflicts_with = "kind")]
    pub pool_kind: Option<String>,
    /// Feature of the target, if it is to be another
    #[arg(long, value_name = "KIND")]
    pub target_kind: Option<String>,
    /// Labels or numbers of the features to use where several fit, such as those of one projection
    #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
    pub features: Vec<String>,
    /// Modules that count, as globs with weights: '*.mlp.*', '*.mlp.*=1,*.self_attn.*=0.5' [default: all, equally]
    #[arg(long, value_name = "GLOBS")]
    pub modules: Option<String>,
    /// Accept features that are still building
    #[arg(long)]
    pub partial: bool,
    /// Leave out rows whose text is that of a target sample
    #[arg(long)]
    pub exclude_target: bool,
}
