//! Byte ranges of sketches that estimates read and that are not in memory.

use gstore_store::SpanRequests;

use super::codes::{CodeEstimates, sections};
use super::{PickedRows, WindowOffsets};
use crate::influence::scan::Scan;
use crate::influence::scan::windows::Window;
use crate::sketch::Section;

/// Adds what estimates of windows read, checkpoint by checkpoint, so that codes of neighbours are
/// read together.
pub(super) fn want<'a>(
    scan: &Scan<'a>,
    reading: CodeEstimates<'a>,
    (windows, picked): (&[&Window], Option<&[PickedRows]>),
    wants: &mut SpanRequests<'a>,
) {
    let (_, codes, factors) = sections(reading.plane);
    let mut vectors = Vec::new();
    for section in [codes, Section::Rows, factors] {
        scan.each_block(windows, |(at, pool, c), _, (block, rows)| {
            let Some(side) = reading.sides.get(pool).and_then(|sides| sides.get(c)) else { return };
            let first = block.range().start;
            vectors.clear();
            match (picked, scan.filter.and_then(|filter| filter.pool(pool))) {
                // Where rows may be missing, the vectors of rows are known once their records are.
                _ if section != codes || !block.is_dense() => {
                    return side.sketch.want(block, section, section == codes, wants);
                }
                (None, None) => return side.sketch.want(block, section, true, wants),
                (Some(picked), _) => {
                    let start = windows[at].rows.start;
                    let rows = WindowOffsets { pool: pool as u32, start, offsets: &picked[at].1 };
                    let own = &rows.offsets[rows.within(block.range())];
                    vectors.extend(own.iter().map(|offset| (start + u64::from(*offset) - first) as u32));
                }
                (None, Some(mask)) => {
                    let live = &scan.pools[pool].live;
                    let rows = mask.rows_in(rows).filter(|row| live.contains(*row));
                    vectors.extend(rows.map(|row| (row - first) as u32));
                }
            }
            side.sketch.want_some(block, section, &vectors, wants);
        });
    }
}
