//! Layout of a packed batch: samples one after the other, without padding.

use std::ops::Range;

use super::dropout::Dropout;
use crate::backend::{AttentionPlan, AttentionSpan};

/// One tokenised sample: the tokens, and which of them are scored (predicted by the position before them).
#[derive(Debug, Clone, Copy)]
pub struct PackedSample<'a> {
    /// Token ids.
    pub ids: &'a [u32],
    /// One flag per token; the first is never scored, whatever its flag says.
    pub scored: &'a [bool],
    /// The position of a scored token whose part of the sample's loss stands for the whole: its loss, with
    /// the weight that the reduction gives to each of the sample's tokens. None: all of them.
    pub part: Option<usize>,
}

impl<'a> PackedSample<'a> {
    /// A whole sample.
    pub fn new(ids: &'a [u32], scored: &'a [bool]) -> Self {
        PackedSample { ids, scored, part: None }
    }

    /// Positions of scored tokens, whether or not one of them stands for all.
    pub fn labels(&self) -> impl Iterator<Item = usize> + 'a {
        self.scored.iter().enumerate().skip(1).filter(|(_, scored)| **scored).map(|(i, _)| i)
    }

    /// Positions of the tokens whose losses count.
    fn counted(&self) -> impl Iterator<Item = usize> + 'a {
        let part = self.part;
        self.labels().filter(move |label| part.is_none_or(|part| part == *label))
    }

    /// Number of scored tokens.
    pub fn scored_tokens(&self) -> usize {
        self.labels().count()
    }
}

/// How the losses of a sample's scored tokens become its loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

// Names in the store and on the command line.
gstore_core::named!(Reduction { Mean = "mean", Sum = "sum" });

impl Reduction {
    /// The weight of each of `tokens` losses.
    pub fn weight(self, tokens: usize) -> f32 {
        match self {
            Reduction::Mean => 1.0 / tokens.max(1) as f32,
            Reduction::Sum => 1.0,
        }
    }
}

/// The rows of a packed batch.
///
/// A row is one position of one sample. A sample's rows are consecutive, and so are its scored rows
/// among all scored rows.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// Token of each row.
    pub ids: Vec<u32>,
    /// Position of each row in its sample.
    pub positions: Vec<u32>,
    /// Rows of each sample.
    pub spans: Vec<Range<usize>>,
    /// Tokens of each sample, those behind its last row as well: rotary positions may depend on their number.
    pub lengths: Vec<usize>,
    /// Rows that predict a scored token, ascending.
    pub scored_rows: Vec<u32>,
    /// The token that each scored row predicts.
    pub targets: Vec<u32>,
    /// Weight of each scored row's loss in that of its sample.
    pub weights: Vec<f32>,
    /// Each sample's range of `scored_rows`.
    pub scored_spans: Vec<Range<usize>>,
    /// Dropout, with a key for each row; none but in training.
    pub dropout: Option<Dropout>,
}

impl Layout {
    /// Packs samples. Without `whole`, positions after the last one that predicts a scored token are left
    /// out: nothing depends on them.
    pub fn new(samples: &[PackedSample<'_>], whole: bool, reduction: Reduction) -> Layout {
        let mut layout = Layout::default();
        for sample in samples {
            let start = layout.ids.len();
            let last = sample.counted().last();
            let len = if whole { sample.ids.len() } else { last.unwrap_or(0) };
            layout.ids.extend_from_slice(&sample.ids[..len]);
            layout.positions.extend(0..len as u32);
            layout.spans.push(start..start + len);
            layout.lengths.push(sample.ids.len());

            let scored_start = layout.scored_rows.len();
            for label in sample.counted() {
                layout.scored_rows.push((start + label - 1) as u32);
                layout.targets.push(sample.ids[label]);
            }
            let scored_end = layout.scored_rows.len();
            let weight = reduction.weight(sample.scored_tokens());
            layout.weights.resize(scored_end, weight);
            layout.scored_spans.push(scored_start..scored_end);
        }
        layout
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn full_plan(&self) -> AttentionPlan {
        let spans =
            self.spans.iter().map(|s| AttentionSpan { keys: s.clone(), queries: s.clone() }).collect();
        AttentionPlan { spans, positions: self.positions.clone() }
    }

    pub(crate) fn scored_plan(&self) -> AttentionPlan {
        let spans = self.spans.iter().zip(&self.scored_spans);
        AttentionPlan {
            spans: spans.map(|(k, q)| AttentionSpan { keys: k.clone(), queries: q.clone() }).collect(),
            positions: self.scored_rows.iter().map(|row| self.positions[*row as usize]).collect(),
        }
    }
}
