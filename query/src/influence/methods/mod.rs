//! Answers other than rankings by influence: scores in row order, self-influence, neighbours of a
//! vector, tiles of a matrix.

pub(super) mod nearest;
pub(super) mod scores;
pub(super) mod self_influence;
pub(super) mod tiles;
