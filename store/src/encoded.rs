//! Vectors of samples that are in no dataset: requests and results. Queries ask, ingest computes.

use crate::manifest::FeaturePart;

/// The feature that the samples need at one checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct EncodeFeature<'a> {
    /// Name of the checkpoint.
    pub checkpoint: &'a str,
    /// The run that it belongs to, if it does.
    pub run: Option<&'a str>,
    /// The feature that the vectors will be compared with: the same space, encoding and precision are wanted.
    pub pool: &'a FeaturePart,
    /// Kind of the vectors.
    pub kind: &'a str,
}

/// The vectors of given samples.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedSamples {
    /// By checkpoint, then by sample.
    pub vectors: Vec<Vec<Vec<f32>>>,
    /// For each sample, tokens and scored tokens.
    pub tokens: Vec<(u32, u32)>,
}
