//! One decoder layer forward: its outputs, and the activations saved for the backward.
//!
//! A layer's keys and values are computed at all rows; the rest, its *tail*, at the query rows, which in the
//! last layer may be the scored rows only.

use std::ops::Range;

use super::dropout::{DropoutSite, RowDropout, dropped, drops, of_weights};
use super::model::{Layer, Model};
use crate::architectures::{LinearKind, Mlp, NormPlace, Residual};
use crate::backend::{Attention, AttentionDropout, AttentionPlan, Backend, BackendError};

pub(super) struct SavedNorm<B: Backend> {
    pub x: B::Tensor,
    pub stats: B::Tensor,
}

impl<B: Backend> SavedNorm<B> {
    fn gather(&self, backend: &B, rows: &[u32]) -> Result<SavedNorm<B>, BackendError> {
        Ok(SavedNorm { x: backend.gather(&self.x, rows)?, stats: backend.gather(&self.stats, rows)? })
    }
}

/// Keys and values of a layer, and what they were computed from, at all rows.
pub(super) struct SavedKeys<B: Backend> {
    /// Norm of attention's inputs.
    pub before: Option<SavedNorm<B>>,
    /// Inputs of q, k and v.
    pub inputs: B::Tensor,
    pub key_norm: Option<SavedNorm<B>>,
    /// Keys with positions.
    pub k: B::Tensor,
    /// Values.
    pub v: B::Tensor,
}

/// What one layer keeps. Row counts differ only in the last layer.
pub(super) struct SavedLayer<B: Backend> {
    /// At all rows.
    pub keys: SavedKeys<B>,
    /// At the query rows.
    pub tail: SavedQueries<B>,
}

/// What a layer keeps of its query rows.
pub(super) struct SavedQueries<B: Backend> {
    /// Inputs of q.
    pub inputs: B::Tensor,
    /// Norm of the queries.
    pub query_norm: Option<SavedNorm<B>>,
    /// Queries with positions.
    pub q: B::Tensor,
    /// Attention's outputs.
    pub attention: B::Tensor,
    /// Log-sum-exp of attention's scores.
    pub log_sum: B::Tensor,
    /// Norm of the output projection's results.
    pub after_attention: Option<SavedNorm<B>>,
    pub mlp: SavedMlp<B>,
}

pub(super) struct SavedMlp<B: Backend> {
    /// Norm of its inputs.
    pub before: Option<SavedNorm<B>>,
    /// Inputs of gate and up.
    pub inputs: B::Tensor,
    /// Gate before its activation, where there is one.
    pub gate: Option<B::Tensor>,
    /// Up projection.
    pub up: B::Tensor,
    /// Inputs of the down projection.
    pub product: B::Tensor,
    /// Norm of the down projection's results.
    pub after: Option<SavedNorm<B>>,
}

impl<B: Backend> SavedQueries<B> {
    /// The same at fewer rows.
    pub fn gather(&self, backend: &B, rows: &[u32]) -> Result<SavedQueries<B>, BackendError> {
        let at = |x: &B::Tensor| backend.gather(x, rows);
        let norm = |n: &Option<SavedNorm<B>>| n.as_ref().map(|n| n.gather(backend, rows)).transpose();
        let mlp = &self.mlp;
        Ok(SavedQueries {
            inputs: at(&self.inputs)?,
            query_norm: norm(&self.query_norm)?,
            q: at(&self.q)?,
            attention: at(&self.attention)?,
            log_sum: at(&self.log_sum)?,
            after_attention: norm(&self.after_attention)?,
            mlp: SavedMlp {
                before: norm(&mlp.before)?,
                inputs: at(&mlp.inputs)?,
                gate: mlp.gate.as_ref().map(at).transpose()?,
                up: at(&mlp.up)?,
                product: at(&mlp.product)?,
                after: norm(&mlp.after)?,
            },
        })
    }
}

/// Rotary angles of some rows.
pub(super) struct Angles<B: Backend> {
    pub cos: B::Tensor,
    pub sin: B::Tensor,
}

/// The query rows of a layer: their own row numbers if they are a subset of all, and
/// attention's plan for them.
pub(super) struct QueryRows<'a, B: Backend> {
    pub subset: Option<&'a [u32]>,
    pub plan: &'a AttentionPlan,
    pub angles: Option<&'a Angles<B>>,
    /// Dropout of these rows, and of all rows.
    pub dropout: [Option<RowDropout<'a>>; 2],
}

impl<B: Backend> Model<B> {
    /// Rotary angles of each position, in sequences that are the `spans` and have `lengths` tokens; none with
    /// learned positions.
    pub(super) fn angles(
        &self,
        positions: &[u32],
        spans: impl Iterator<Item = Range<usize>>,
        lengths: &[usize],
    ) -> Result<Option<Angles<B>>, BackendError> {
        let Some(rope) = &self.rope else { return Ok(None) };
        let table = rope.rows(positions, spans, lengths);
        Ok(Some(Angles {
            cos: self.backend.tensor(table.cos, positions.len(), rope.width())?,
            sin: self.backend.tensor(table.sin, positions.len(), rope.width())?,
        }))
    }

    /// Turns queries or keys by their angles; `inverse` is the backward.
    pub(super) fn turn(
        &self,
        x: B::Tensor,
        angles: Option<&Angles<B>>,
        inverse: bool,
    ) -> Result<B::Tensor, BackendError> {
        match angles {
            Some(Angles { cos, sin }) => self.backend.rope(x, cos, sin, self.decoder.heads.dim, inverse),
            None => Ok(x),
        }
    }

    /// Applies a norm of the layer if it has it.
    fn normed(
        &self,
        layer: &Layer<B>,
        place: NormPlace,
        x: B::Tensor,
    ) -> Result<(B::Tensor, Option<SavedNorm<B>>), BackendError> {
        let Some(weights) = layer.norms.get(&place) else { return Ok((x, None)) };
        let (out, stats) = self.backend.norm(&x, weights, self.norm_form())?;
        Ok((out, Some(SavedNorm { x, stats })))
    }

    /// Runs a layer: its outputs at the query rows, and what its backward needs. `angles`
    /// are those of all rows.
    pub(super) fn layer_forward(
        &self,
        index: usize,
        x: &B::Tensor,
        angles: Option<&Angles<B>>,
        rows: &QueryRows<'_, B>,
    ) -> Result<(B::Tensor, SavedLayer<B>), BackendError> {
        let (b, layer) = (&self.backend, &self.layers[index]);
        let [own, all] = rows.dropout;
        let keys = self.keys_forward(layer, x, angles, all)?;
        let weights = of_weights(own);
        let dropout = weights.as_ref().map(|(rate, keys)| AttentionDropout { rate: *rate, keys });
        let attend = |q: &B::Tensor| {
            let (k, v, form, plan) = (&keys.k, &keys.v, layer.attention, rows.plan);
            b.attention(&Attention { q, k, v, form, plan, dropout })
        };
        let inputs = (x, &keys.inputs);
        let (out, tail) = self.tail_forward(layer, inputs, rows.subset, (rows.angles, own), attend)?;
        Ok((out, SavedLayer { keys, tail }))
    }

    /// Queries or keys before they are turned, and what their norm keeps, if they have one.
    fn headed(
        &self,
        layer: &Layer<B>,
        (kind, place): (LinearKind, NormPlace),
        inputs: &B::Tensor,
        dropout: Option<RowDropout<'_>>,
    ) -> Result<(B::Tensor, Option<SavedNorm<B>>), BackendError> {
        let (b, map) = (&self.backend, layer.map(kind)?);
        match layer.norms.contains_key(&place) {
            true => self.normed(layer, place, map.forward(b, inputs, None, dropout)?),
            false => Ok((map.forward_inside(b, inputs, dropout)?, None)),
        }
    }

    /// The part of a layer that runs at all rows: keys and values.
    pub(super) fn keys_forward(
        &self,
        layer: &Layer<B>,
        x: &B::Tensor,
        angles: Option<&Angles<B>>,
        dropout: Option<RowDropout<'_>>,
    ) -> Result<SavedKeys<B>, BackendError> {
        let b = &self.backend;
        let (inputs, before) = self.normed(layer, NormPlace::BeforeAttention, x.clone())?;
        let (k, key_norm) = self.headed(layer, (LinearKind::K, NormPlace::Key), &inputs, dropout)?;
        let k = self.turn(k, angles, false)?;
        let v = layer.map(LinearKind::V)?.forward_inside(b, &inputs, dropout)?;
        Ok(SavedKeys { before, inputs, key_norm, k, v })
    }

    /// The part of a layer that runs at the query rows: queries, attention, output projection and MLP.
    /// First the residual stream and the inputs of q at all rows; `attend` gives attention's outputs and
    /// log-sum-exps for the queries.
    pub(super) fn tail_forward(
        &self,
        layer: &Layer<B>,
        (x, inputs): (&B::Tensor, &B::Tensor),
        subset: Option<&[u32]>,
        (angles, dropout): (Option<&Angles<B>>, Option<RowDropout<'_>>),
        attend: impl FnOnce(&B::Tensor) -> Result<(B::Tensor, B::Tensor), BackendError>,
    ) -> Result<(B::Tensor, SavedQueries<B>), BackendError> {
        let b = &self.backend;
        let (x, inputs) = match subset {
            Some(rows) => (b.gather(x, rows)?, b.gather(inputs, rows)?),
            None => (x.clone(), inputs.clone()),
        };
        let (q, query_norm) = self.headed(layer, (LinearKind::Q, NormPlace::Query), &inputs, dropout)?;
        let q = self.turn(q, angles, false)?;
        let (attention, log_sum) = attend(&q)?;
        let of = (layer, dropout);
        let (x2, after_attention) = self.joined(of, NormPlace::AfterAttention, &attention, &x)?;
        let source = match self.decoder.residual {
            Residual::Sequential => x2.clone(),
            Residual::Parallel => x,
        };
        let (out, mlp) = self.mlp_forward(of, source, &x2)?;
        Ok((out, SavedQueries { inputs, query_norm, q, attention, log_sum, after_attention, mlp }))
    }

    /// The MLP of `x`, added to the residual stream.
    fn mlp_forward(
        &self,
        of: (&Layer<B>, Option<RowDropout<'_>>),
        x: B::Tensor,
        residual: &B::Tensor,
    ) -> Result<(B::Tensor, SavedMlp<B>), BackendError> {
        let (b, (layer, dropout)) = (&self.backend, of);
        let (inputs, before) = self.normed(layer, NormPlace::BeforeMlp, x)?;
        let up = layer.map(LinearKind::Up)?.forward_inside(b, &inputs, dropout)?;
        let gate = layer.maps.get(&LinearKind::Gate);
        let gate = gate.map(|gate| gate.forward_inside(b, &inputs, dropout)).transpose()?;
        let product = match (self.decoder.mlp, &gate) {
            (Mlp::Gated(act), Some(gate)) => b.gated(act, gate, &up)?,
            (Mlp::Gated(act) | Mlp::Plain(act), _) => b.activate(act, &up)?,
        };
        let (out, after) = self.joined(of, NormPlace::AfterMlp, &product, residual)?;
        Ok((out, SavedMlp { before, inputs, gate, up, product, after }))
    }

    /// A linear map's results, normed if the layer does that, added to the residual stream.
    fn joined(
        &self,
        (layer, dropout): (&Layer<B>, Option<RowDropout<'_>>),
        place: NormPlace,
        x: &B::Tensor,
        residual: &B::Tensor,
    ) -> Result<(B::Tensor, Option<SavedNorm<B>>), BackendError> {
        let b = &self.backend;
        let (kind, branch) = match place {
            NormPlace::AfterMlp => (LinearKind::Down, DropoutSite::Mlp),
            _ => (LinearKind::O, DropoutSite::Attention),
        };
        let map = layer.map(kind)?;
        if !layer.norms.contains_key(&place) && !drops(dropout, branch) {
            return Ok((map.forward(b, x, Some(residual), dropout)?, None));
        }
        let (out, norm) = self.normed(layer, place, map.forward(b, x, None, dropout)?)?;
        let out = dropped(b, dropout, branch, out)?;
        Ok((b.add(out, residual)?, norm))
    }
}
