//! Answers other than rankings: scores in row order, self-influence, covariances, neighbours, tiles of a
//! matrix, Gram matrices.

pub(super) mod agreement;
pub(super) mod daunce;
pub(super) mod gram;
pub(super) mod nearest;
pub(super) mod scores;
pub(super) mod self_influence;
pub(super) mod tiles;
