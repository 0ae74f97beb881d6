//! Key-value cache, as tensors that are made longer.

use candle_core::Tensor;

use super::{Candle, Result, size};
use crate::backend::{Attention, AttentionPlan, AttentionSpan, CachedAttention};

/// Keys and values of one layer, by slot.
#[derive(Default)]
pub struct CandleCache {
    sequences: Vec<Option<(Tensor, Tensor)>>,
}

impl CandleCache {
    pub(super) fn forget(&mut self, slot: usize) {
        if let Some(sequence) = self.sequences.get_mut(slot) {
            *sequence = None;
        }
    }
}

impl Candle {
    pub(super) fn attend_cached(
        &self,
        of: &CachedAttention<'_, Tensor>,
        cache: &mut CandleCache,
    ) -> Result<(Tensor, Tensor)> {
        of.check(size)?;
        let CachedAttention { q, k, v, form, spans } = *of;
        let (rows, width) = size(q);
        let (outputs, log_sums) = (self.zeros(rows, width)?, self.zeros(rows, form.heads.query)?);
        for span in spans {
            if span.slot >= cache.sequences.len() {
                cache.sequences.resize(span.slot + 1, None);
            }
            let new = |x: &Tensor| x.narrow(0, span.keys.start, span.keys.len());
            let sequence = &mut cache.sequences[span.slot];
            let (k, v) = match sequence.take() {
                Some((keys, values)) => {
                    (Tensor::cat(&[keys, new(k)?], 0)?, Tensor::cat(&[values, new(v)?], 0)?)
                }
                None => (new(k)?.contiguous()?, new(v)?.contiguous()?),
            };
            let (len, count) = (size(&k).0, span.queries.len());
            if count > 0 {
                let q = q.narrow(0, span.queries.start, count)?.contiguous()?;
                let plan = AttentionPlan {
                    spans: vec![AttentionSpan { keys: 0..len, queries: 0..count }],
                    positions: (len - count..len).map(|position| position as u32).collect(),
                };
                let (out, log_sum) =
                    self.attend(&Attention { q: &q, k: &k, v: &v, form, plan: &plan, dropout: None })?;
                outputs.slice_set(&out, 0, span.queries.start)?;
                log_sums.slice_set(&log_sum, 0, span.queries.start)?;
            }
            *sequence = Some((k, v));
        }
        Ok((outputs, log_sums))
    }
}
