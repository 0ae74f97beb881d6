//! One plane of the sketches, read for rows of windows.

use gstore_core::parallel;
use std::ops::Range;

use super::Cascade;
use super::bound::{Bounder, Found, Scratch};
use super::chosen::Asked;
use super::reach::Reach;
use crate::error::QueryError;
use crate::influence::scan::windows::Window;
use crate::influence::spec::mode::Plane;
use crate::topk::TopK;

/// A plane, and what its rows are bounded with.
pub(super) struct Pass<'a> {
    pub(super) cascade: &'a Cascade<'a>,
    pub(super) bounder: &'a Bounder<'a>,
    pub(super) windows: &'a [Window],
    pub(super) plane: Plane,
}

/// What a plane says of what it was asked for.
pub(super) struct Passed {
    /// By thread.
    pub(super) found: Vec<Found>,
    /// In the order of what was asked for.
    pub(super) pieces: Vec<Piece>,
    /// The rows that are estimated to rank first: place of the window among those asked for, and offset.
    pub(super) best: TopK,
}

/// What was found of a window.
pub(super) struct Piece {
    /// Its place among those asked for.
    pub(super) at: usize,
    /// Which of those found it,
    found: usize,
    /// the rows that were kept,
    kept: Range<usize>,
    unbounded: Range<usize>,
    /// and the best bound of the others.
    pub(super) dropped: Option<f32>,
}

/// A thread's own.
struct Part {
    scratch: Scratch,
    found: Found,
    pieces: Vec<Piece>,
    best: TopK,
    kept: Reach,
}

impl Pass<'_> {
    /// Bounds rows, and keeps those whose bounds reach `kept`; `best` takes those with the best estimates.
    pub(super) fn read(&self, asked: &Asked, kept: &Reach, best: TopK) -> Result<Passed, QueryError> {
        let Self { cascade, bounder, windows, plane } = self;
        let parts = parallel::unordered::<_, QueryError>(
            asked.len(),
            cascade.threads,
            cascade.scan.cancel,
            || Part {
                scratch: Scratch::default(),
                found: Found::default(),
                pieces: Vec::new(),
                best: best.clone(),
                kept: kept.clone(),
            },
            |Part { scratch, found, pieces, best, kept }, at| {
                let (window, offsets) = asked.get(at);
                let (rows, unbounded) = (found.offsets.len(), found.unbounded.len());
                bounder.window(&windows[window], *plane, offsets, scratch, found)?;
                let offsets = &found.offsets[rows..];
                Reach::new(cascade.order, best.limit()).places(&found.estimates, |i| {
                    best.push(found.estimates[i], (at as u32, u64::from(offsets[i]), 0), 0);
                });
                let dropped = found.keep(rows, kept);
                let (kept, unbounded) = (rows..found.offsets.len(), unbounded..found.unbounded.len());
                pieces.push(Piece { at, found: 0, kept, unbounded, dropped });
                Ok::<_, QueryError>(())
            },
        )?;
        let mut passed = Passed { found: Vec::new(), pieces: Vec::new(), best };
        for (found, part) in parts.into_iter().enumerate() {
            passed.pieces.extend(part.pieces.into_iter().map(|piece| Piece { found, ..piece }));
            passed.found.push(part.found);
            passed.best.merge(part.best);
        }
        // In what order threads found them is not known.
        passed.pieces.sort_unstable_by_key(|piece| piece.at);
        Ok(passed)
    }
}

impl Passed {
    /// Offsets and bounds of the rows of a window that were kept.
    pub(super) fn kept(&self, piece: &Piece) -> (&[u32], &[f32]) {
        let Found { offsets, bounds, .. } = &self.found[piece.found];
        (&offsets[piece.kept.clone()], &bounds[piece.kept.clone()])
    }

    /// Offsets of the rows of a window that nothing is known of.
    pub(super) fn unbounded(&self, piece: &Piece) -> &[u32] {
        &self.found[piece.found].unbounded[piece.unbounded.clone()]
    }
}
