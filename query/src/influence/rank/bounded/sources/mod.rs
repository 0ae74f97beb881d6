//! Sources of estimates: each estimates a row's values, with a bound of the error, before they are computed.
//!
//! Each fills [`Estimates`] for some rows of a window: from the rows themselves, by the processor in bf16 or
//! bytes or by a device that keeps them, or from one plane of a sketch's codes.

#[cfg(test)]
mod agreement;
mod bounds;
#[cfg(test)]
mod calibration;
mod codes;
mod device;
mod estimates;
mod found;
mod rounded;
mod sums;
mod wants;

use std::ops::Range;
use std::sync::Arc;

use gstore_store::{BlockRef, CELL_ROWS, FeatureReader, ReadAhead, SpanRequests};

pub(super) use self::codes::{CodeEstimates, sections};
pub(super) use self::estimates::Estimates;
use crate::error::QueryError;
use crate::influence::scan::Scan;
use crate::influence::scan::windows::Window;
use crate::influence::sides::RoundedSides;
use crate::influence::spec::mode::Plane;
use crate::kernel::{Filter, RowProducts};

#[derive(Clone, Copy)]
pub(super) enum EstimateSource<'a> {
    /// The rows in bf16 or bytes: bounds are certain.
    Rounded(Filter, &'a RoundedSides),
    /// The rows on a device: bounds are certain, and of whole scores.
    Device(&'a dyn RowProducts),
    /// Codes of sketches.
    Codes(CodeEstimates<'a>),
}

/// A thread's memory.
#[derive(Default)]
pub(super) struct SourceBuffers {
    rounded: rounded::RoundedBuffers,
    device: device::DeviceBuffers,
    codes: codes::CodeBuffers,
}

impl SourceBuffers {
    /// What blocks and codes are taken from before they are read.
    pub(super) fn see(&mut self, ahead: Option<&Arc<ReadAhead>>) {
        self.rounded.see(ahead);
        self.codes.see(ahead);
    }
}

impl<'a> EstimateSource<'a> {
    /// The plane of a sketch that is read.
    pub(super) fn plane(&self) -> Option<Plane> {
        match self {
            Self::Rounded(..) | Self::Device(_) => None,
            Self::Codes(reading) => Some(reading.plane),
        }
    }

    /// Whether it has one estimate for each row, of the score of the whole question, and not of each value.
    pub(super) fn is_of_scores(&self) -> bool {
        matches!(self, Self::Device(_))
    }

    /// Whether a bound holds in any case.
    pub(super) fn is_certain(&self) -> bool {
        self.plane().is_none_or(|plane| plane == Plane::Certified)
    }

    /// Adds what estimates of windows read: of their rows that are picked, or of all that count.
    pub(super) fn want(
        &self,
        scan: &Scan<'a>,
        (windows, picked): (&[&Window], Option<&[PickedRows]>),
        wants: &mut SpanRequests<'a>,
    ) {
        match self {
            Self::Rounded(..) | Self::Device(_) => scan.want(windows, wants),
            Self::Codes(reading) => wants::want(scan, *reading, (windows, picked), wants),
        }
    }

    /// Estimates the values of rows, for which `estimates` was started; returns the bytes read.
    pub(super) fn estimate(
        &self,
        scan: &Scan<'_>,
        rows: WindowOffsets<'_>,
        estimates: &mut Estimates,
        memory: &mut SourceBuffers,
    ) -> Result<u64, QueryError> {
        match self {
            Self::Rounded(filter, sides) => {
                rounded::estimate((scan, *filter, sides), rows, estimates, &mut memory.rounded)
            }
            Self::Device(device) => device::estimate((scan, *device), rows, estimates, &mut memory.device),
            Self::Codes(reading) => codes::estimate((scan, *reading), rows, estimates, &mut memory.codes),
        }
    }
}

/// Rows of one window, counted from its first; both ascend in a list of them.
pub(super) type PickedRows = (u32, Vec<u32>);

/// Rows of a window.
#[derive(Clone, Copy)]
pub(super) struct WindowOffsets<'a> {
    pub(super) pool: u32,
    /// First row of the window.
    pub(super) start: u64,
    /// The rows, counted from it, ascending.
    pub(super) offsets: &'a [u32],
}

impl WindowOffsets<'_> {
    /// A reader's blocks in whose ranges some of them lie, by first row.
    fn blocks(&self, reader: &FeatureReader) -> impl Iterator<Item = BlockRef> {
        let cell = |offset: &u32| (self.start + u64::from(*offset)) / CELL_ROWS;
        let (first, last) = (self.offsets.first().map(cell), self.offsets.last().map(cell));
        let cells = first.zip(last).map(|(first, last)| first..=last);
        let blocks = cells.into_iter().flatten().flat_map(move |cell| reader.blocks_in(cell));
        blocks.filter(move |block| !self.within(block.range()).is_empty())
    }

    /// The places of those that lie in a range.
    pub(super) fn within(&self, rows: Range<u64>) -> Range<usize> {
        let before = |row: u64| self.offsets.partition_point(|offset| self.start + u64::from(*offset) < row);
        let start = before(rows.start);
        start..before(rows.end).max(start)
    }
}
