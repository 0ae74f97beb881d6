//! The forward pass.

use std::sync::Arc;

use super::dropout::{DropoutSite, dropped};
use super::layer::{Angles, QueryRows, SavedLayer};
use super::layout::Layout;
use super::model::Model;
use crate::backend::{AttentionPlan, Backend, BackendError};

/// Which rows of the last layer are computed beyond attention's keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastRows {
    /// All: for embeddings of the last layer.
    All,
    /// Those that predict scored tokens: enough for losses and gradients.
    Scored,
}

/// What of a layer is kept until its backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SavedActivations {
    /// Everything that it computed.
    #[default]
    All,
    /// Its inputs; the backward runs it again. Same bits, one more forward pass of the layer, a
    /// fraction of the memory.
    Inputs,
}

/// What a forward pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForwardOptions {
    /// Rows of the last layer.
    pub last_rows: LastRows,
    /// First layer whose backward will run.
    pub keep_from: Option<usize>,
    /// What those layers keep.
    pub keep: SavedActivations,
    /// Also hand out the residual stream after this many layers (0: the embedding's outputs), at all rows.
    pub tap: Option<usize>,
}

pub(super) enum LayerActivations<B: Backend> {
    All(Arc<SavedLayer<B>>),
    Inputs(B::Tensor),
}

impl<B: Backend> Clone for LayerActivations<B> {
    fn clone(&self) -> Self {
        match self {
            LayerActivations::All(saved) => LayerActivations::All(Arc::clone(saved)),
            LayerActivations::Inputs(x) => LayerActivations::Inputs(x.clone()),
        }
    }
}

/// A finished forward pass. Cloning shares what it computed.
pub struct Forward<B: Backend> {
    /// The rows that went in.
    pub layout: Layout,
    /// Residual stream after the last layer, at `last_rows`.
    pub(super) x: B::Tensor,
    /// Final norm's outputs, at `last_rows`.
    pub hidden: B::Tensor,
    /// Final norm's statistics, at `last_rows`.
    pub(super) stats: B::Tensor,
    /// Which rows the fields above have.
    pub last_rows: LastRows,
    /// The residual stream that [`ForwardOptions::tap`] asked for.
    pub tapped: Option<B::Tensor>,
    /// Layers from the lowest that is differentiated, bottom first.
    pub(super) kept: Vec<LayerActivations<B>>,
    pub(super) first_kept: usize,
}

impl<B: Backend> Clone for Forward<B> {
    fn clone(&self) -> Self {
        Forward {
            layout: self.layout.clone(),
            x: self.x.clone(),
            hidden: self.hidden.clone(),
            stats: self.stats.clone(),
            last_rows: self.last_rows,
            tapped: self.tapped.clone(),
            kept: self.kept.clone(),
            first_kept: self.first_kept,
        }
    }
}

/// Plans and angles of a batch, for every layer and for the last one.
pub(super) struct RowPlans<B: Backend> {
    plan: AttentionPlan,
    pub angles: Option<Angles<B>>,
    /// Plan and angles of the scored rows, if the last layer runs at them alone.
    scored: Option<(AttentionPlan, Option<Angles<B>>)>,
    /// Keys of dropout of the scored rows.
    scored_keys: Vec<u64>,
}

impl<B: Backend> RowPlans<B> {
    /// `narrow`: the last layer runs at the scored rows.
    pub fn new(model: &Model<B>, layout: &Layout, narrow: bool) -> Result<RowPlans<B>, BackendError> {
        let scored = match narrow {
            false => None,
            true => {
                let plan = layout.scored_plan();
                let spans = layout.scored_spans.iter().cloned();
                let angles = model.angles(&plan.positions, spans, &layout.lengths)?;
                Some((plan, angles))
            }
        };
        let keys = layout.dropout.as_ref().map_or(&[][..], |dropout| dropout.keys.as_slice());
        let scored_keys = layout.scored_rows.iter().filter_map(|row| keys.get(*row as usize)).copied();
        Ok(RowPlans {
            plan: layout.full_plan(),
            angles: model.angles(&layout.positions, layout.spans.iter().cloned(), &layout.lengths)?,
            scored,
            scored_keys: scored_keys.collect(),
        })
    }

    /// The query rows of a layer, which is the last one or not.
    pub(crate) fn of_layer<'a>(
        &'a self,
        (layer, last): (usize, bool),
        layout: &'a Layout,
    ) -> QueryRows<'a, B> {
        let dropout = layout.dropout.as_ref();
        let all = dropout.map(|dropout| dropout.of(&dropout.keys, layer));
        match &self.scored {
            Some((plan, angles)) if last => QueryRows {
                subset: Some(&layout.scored_rows),
                plan,
                angles: angles.as_ref(),
                dropout: [dropout.map(|dropout| dropout.of(&self.scored_keys, layer)), all],
            },
            _ => QueryRows {
                subset: None,
                plan: &self.plan,
                angles: self.angles.as_ref(),
                dropout: [all, all],
            },
        }
    }
}

impl<B: Backend> Model<B> {
    /// Runs the model over a packed batch of at least one row.
    pub fn forward(&self, layout: Layout, pass: ForwardOptions) -> Result<Forward<B>, BackendError> {
        let b = &self.backend;
        let narrow = pass.last_rows == LastRows::Scored;
        let rows = RowPlans::new(self, &layout, narrow)?;
        let first_kept = pass.keep_from.unwrap_or(usize::MAX);
        let (mut kept, mut tapped) = (Vec::new(), None);
        let mut x = self.embedded(&layout)?;
        for index in 0..self.layers.len() {
            if pass.tap == Some(index) {
                tapped = Some(x.clone());
            }
            let query = rows.of_layer((index, index + 1 == self.layers.len()), &layout);
            let (out, saved) = self.layer_forward(index, &x, rows.angles.as_ref(), &query)?;
            if index >= first_kept {
                kept.push(match pass.keep {
                    SavedActivations::All => LayerActivations::All(Arc::new(saved)),
                    SavedActivations::Inputs => LayerActivations::Inputs(x),
                });
            }
            x = out;
        }
        if pass.tap == Some(self.layers.len()) && !narrow {
            tapped = Some(x.clone());
        }
        let (hidden, stats) = b.norm(&x, &self.norm, self.norm_form())?;
        Ok(Forward { layout, x, hidden, stats, last_rows: pass.last_rows, tapped, kept, first_kept })
    }

    /// The residual stream after so many layers, with the bits that [`ForwardOptions::tap`] hands out; the
    /// layers above do not run.
    pub fn residual_stream(&self, layout: &Layout, layers: usize) -> Result<B::Tensor, BackendError> {
        let rows = RowPlans::new(self, layout, false)?;
        let mut x = self.embedded(layout)?;
        for index in 0..layers.min(self.layers.len()) {
            let query = rows.of_layer((index, false), layout);
            let (out, _) = self.layer_forward(index, &x, rows.angles.as_ref(), &query)?;
            x = out;
        }
        Ok(x)
    }

    /// What the residual stream begins with.
    fn embedded(&self, layout: &Layout) -> Result<B::Tensor, BackendError> {
        let b = &self.backend;
        let mut x = b.gather(&self.embedding, &layout.ids)?;
        if let Some(positions) = &self.positions {
            x = b.add(x, &b.gather(positions, &layout.positions)?)?;
        }
        let dropout = layout.dropout.as_ref().map(|dropout| dropout.of(&dropout.keys, 0));
        dropped(b, dropout, DropoutSite::Embedding, x)
    }

    /// Logits of rows of final hidden states, row-major on the host; for tests and short prompts.
    pub fn logits(&self, hidden: &B::Tensor) -> Result<Vec<f32>, BackendError> {
        let mut logits = self.backend.to_host(&self.backend.linear(&self.head, hidden, None)?)?;
        if let Some(cap) = self.decoder.logit_softcap {
            logits.iter_mut().for_each(|z| *z = cap * (*z / cap).tanh());
        }
        Ok(logits)
    }
}
