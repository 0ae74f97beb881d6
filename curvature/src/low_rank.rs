//! Low-rank form of a preconditioned gradient: an exact truncated singular value decomposition.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::{ComputeSvdVectors, svd, svd_scratch};
use faer::{Mat, MatRef, Par};

/// `L R`, the closest matrix of its rank.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// `[out, rank]`: left vectors times singular values.
    pub left: Vec<f64>,
    /// `[rank, input]`: right vectors.
    pub right: Vec<f64>,
    /// The rank.
    pub rank: usize,
}

/// The best approximation of `[out, input]` of rank `rank`; none if that saves nothing, if values are not
/// finite, or if the decomposition does not converge.
pub fn low_rank(matrix: &[f64], (out, input): (usize, usize), rank: usize) -> Option<LowRank> {
    let size = out.min(input);
    let fits = matrix.len() == out * input && matrix.iter().all(|value| value.is_finite());
    if rank == 0 || rank >= size || !fits {
        return None;
    }
    let (mut u, mut s, mut v) = (Mat::zeros(out, size), Diag::zeros(size), Mat::zeros(input, size));
    let thin = ComputeSvdVectors::Thin;
    let scratch = svd_scratch::<f64>(out, input, thin, thin, Par::Seq, Default::default());
    svd(
        MatRef::from_row_major_slice(matrix, out, input),
        s.as_mut(),
        Some(u.as_mut()),
        Some(v.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .ok()?;
    let s = s.column_vector();
    let left = (0..out * rank).map(|at| u[(at / rank, at % rank)] * s[at % rank]).collect();
    let right = (0..rank * input).map(|at| v[(at % input, at / input)]).collect();
    Some(LowRank { left, right, rank })
}
