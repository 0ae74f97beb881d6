//! Dropout by counters: which values are dropped depends on a row's key, the place and the column alone.
//!
//! A pass that runs again, in its backward or after a stop, therefore drops the same values, whatever it is
//! batched with.

use crate::backend::{Backend, BackendError, drop_values, mixed};

/// Dropout of a forward pass and its backward.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dropout {
    /// Share of the inputs of LoRA factors that are dropped, in [0, 1).
    pub lora: f32,
    /// Share of the values that the residual stream begins with, in [0, 1).
    pub embedding: f32,
    /// Share of the values that attention and MLP add to it, in [0, 1).
    pub hidden: f32,
    /// Share of attention's weights, in [0, 1).
    pub attention: f32,
    /// A key for each row of the layout.
    pub keys: Vec<u64>,
}

#[derive(Clone, Copy)]
pub(super) struct RowDropout<'a> {
    pub rates: &'a Dropout,
    pub keys: &'a [u64],
    pub layer: usize,
}

#[derive(Clone, Copy)]
pub(super) enum DropoutSite {
    /// Before the factor A of the module of this number.
    Lora(usize),
    Embedding,
    Attention,
    Mlp,
    /// Among the weights of attention.
    Weights,
}

impl DropoutSite {
    /// Tells places apart in the stream of a row.
    fn salt(self, layer: usize) -> u64 {
        let (kind, number) = match self {
            DropoutSite::Lora(module) => (0, module),
            DropoutSite::Embedding => (1, 0),
            DropoutSite::Weights => (1, layer + 1),
            DropoutSite::Attention => (2, layer),
            DropoutSite::Mlp => (3, layer),
        };
        mixed((number as u64) << 2 | kind)
    }
}

impl Dropout {
    /// The dropout of all rows, or of those whose keys are given, in a layer.
    pub(super) fn of<'a>(&'a self, keys: &'a [u64], layer: usize) -> RowDropout<'a> {
        RowDropout { rates: self, keys, layer }
    }
}

impl RowDropout<'_> {
    fn rate(&self, place: DropoutSite) -> f32 {
        match place {
            DropoutSite::Lora(_) => self.rates.lora,
            DropoutSite::Embedding => self.rates.embedding,
            DropoutSite::Attention | DropoutSite::Mlp => self.rates.hidden,
            DropoutSite::Weights => self.rates.attention,
        }
    }
}

/// Share of attention's weights that are dropped, and a key for each row; none where all are kept.
pub(super) fn of_weights(dropout: Option<RowDropout<'_>>) -> Option<(f32, Vec<u64>)> {
    let dropout = dropout.filter(|_| drops(dropout, DropoutSite::Weights))?;
    let salt = DropoutSite::Weights.salt(dropout.layer);
    let keys = dropout.keys.iter().map(|key| mixed(key ^ salt));
    Some((dropout.rate(DropoutSite::Weights), keys.collect()))
}

/// Whether values are dropped there.
pub(super) fn drops(dropout: Option<RowDropout<'_>>, place: DropoutSite) -> bool {
    dropout.is_some_and(|dropout| dropout.rate(place) > 0.0)
}

/// `x` with values dropped and the others scaled up, or as it is. The backward is the same of the gradient.
pub(super) fn dropped<B: Backend>(
    backend: &B,
    dropout: Option<RowDropout<'_>>,
    place: DropoutSite,
    x: B::Tensor,
) -> Result<B::Tensor, BackendError> {
    let Some(dropout) = dropout.filter(|dropout| dropout.rate(place) > 0.0) else { return Ok(x) };
    let (rows, cols) = backend.size(&x);
    if dropout.keys.len() != rows {
        return Err(BackendError::new(format!("{} keys of dropout for {rows} rows", dropout.keys.len())));
    }
    let salt = place.salt(dropout.layer);
    let mut values = backend.to_host(&x)?;
    for (row, key) in values.chunks_exact_mut(cols.max(1)).zip(dropout.keys) {
        drop_values(row, dropout.rate(place), mixed(key ^ salt));
    }
    backend.tensor(values, rows, cols)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ComputePrecision;
    use crate::cpu::Cpu;

    #[test]
    fn a_share_is_dropped_and_the_mean_stays() {
        let (rows, cols, backend) = (64, 200, Cpu::new(ComputePrecision::F32));
        let keys: Vec<u64> = (0..rows as u64).collect();
        let dropout = Dropout { lora: 0.25, embedding: 0.5, keys: keys.clone(), ..Dropout::default() };
        let ones = backend.tensor(vec![1.0; rows * cols], rows, cols).unwrap();
        let at = |keys: &[u64], place| {
            let x = backend.gather(&ones, &(0..keys.len() as u32).collect::<Vec<_>>()).unwrap();
            let out = dropped(&backend, Some(dropout.of(keys, 3)), place, x).unwrap();
            backend.to_host(&out).unwrap()
        };
        let all = at(&keys, DropoutSite::Lora(1));
        let zeros = all.iter().filter(|v| **v == 0.0).count() as f64 / all.len() as f64;
        assert!((zeros - 0.25).abs() < 0.02, "{zeros}");
        assert!(all.iter().all(|v| *v == 0.0 || (*v - 4.0 / 3.0).abs() < 1e-6));
        // A row has its values wherever it stands.
        assert_eq!(at(&keys[7..9], DropoutSite::Lora(1)), all[7 * cols..9 * cols]);
        assert_ne!(at(&keys, DropoutSite::Lora(2)), all);
        assert!(at(&keys, DropoutSite::Mlp).iter().all(|v| *v == 1.0));
        assert!(at(&keys, DropoutSite::Embedding).contains(&2.0));
    }
}
