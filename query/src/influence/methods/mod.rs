//! Answers other than rankings: scores in row order, self-influence, neighbours, tiles of a matrix.

pub(super) mod nearest;
pub(super) mod scores;
pub(super) mod self_influence;
pub(super) mod tiles;
