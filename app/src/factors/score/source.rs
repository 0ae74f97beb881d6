//! Passes over a pool at the checkpoints of all segments of training, or for some layers after others, whose
//! scores are added row by row.
//!
//! The sums so far lie in a temporary file without a name, in the order of the rows: memory does not grow
//! with them.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use gstore_store::vfs;

use super::pass::{Multiplier, RowScores, pass};
use super::plan::ScorePlan;
use super::request::ScoreForm;
use crate::factors::engine;
use crate::factors::error::FactorJobError;
use crate::work::JobContext;

/// Refuses a folder whose disk has no room for temporary files.
pub(super) fn check_room(folder: &Path, needed: u64) -> Result<(), FactorJobError> {
    vfs::check_room(folder, needed).map_err(|no_room| {
        FactorJobError::Refused(format!(
            "temporary files of the sums between passes: {no_room}, score fewer rows or queries, or write to a file on another disk"
        ))
    })
}

/// Sums of rows that wait for later passes.
pub(super) type WaitingSums = Option<BufReader<File>>;

/// Hands the scores of the pool's rows to `take`, in their order: sums over segments, of means over the
/// checkpoints of each. Those that are summed over the pool come once for each checkpoint, as parts of the
/// sum. `against`: what rows are multiplied with in each segment. Where these are not all modules, sums go on
/// from those `before`, and wait for the next pass unless it `is_last`.
///
/// Disk: as the plan says.
pub(super) fn passes(
    plan: &ScorePlan,
    (against, form): (&[Multiplier<'_>], ScoreForm),
    (mut before, is_last): (WaitingSums, bool),
    work: &mut JobContext<'_>,
    take: &mut dyn FnMut(Vec<RowScores>) -> Result<(), FactorJobError>,
) -> Result<WaitingSums, FactorJobError> {
    let of_segments = plan.segments.iter().zip(against);
    let visits: Vec<_> = of_segments
        .flat_map(|(segment, against)| {
            let part = 1.0 / segment.checkpoints.len() as f64;
            segment.checkpoints.iter().map(move |place| (place, against, part))
        })
        .collect();
    let last = visits.len().saturating_sub(1);
    let named = |error| in_folder(&plan.scratch, error);
    let mut sums: WaitingSums = None;
    for (number, (place, against, part)) in visits.into_iter().enumerate() {
        let known = (&place.id, plan.engine.modules());
        let load = |at| engine::load_at(at, &plan.selection, known);
        let moved = place.at.as_ref().map(load).transpose()?;
        let engines = moved.as_ref().unwrap_or(&plan.engine);
        let is_carried = if number < last { !form.summed } else { !is_last };
        let file = is_carried.then(|| tempfile::tempfile_in(&plan.scratch)).transpose().map_err(named)?;
        let mut next = file.map(BufWriter::new);
        let mut add = |mut rows: Vec<RowScores>| -> Result<(), FactorJobError> {
            for row in &mut rows {
                row.values.iter_mut().for_each(|value| *value *= part);
                if let Some(sums) = &mut sums {
                    add_to(&mut row.values, sums).map_err(named)?;
                }
            }
            match &mut next {
                Some(next) => {
                    Ok(rows.iter().try_for_each(|row| write_floats(next, &row.values)).map_err(named)?)
                }
                None => take(rows),
            }
        };
        pass((plan, engines), (against, form.per), before.as_mut(), work, &mut add)?;
        sums = next.map(reopen).transpose().map_err(named)?;
        before = None;
    }
    Ok(sums)
}

/// An error of a temporary file, which has no name, with its folder.
pub(super) fn in_folder(folder: &Path, error: std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("temporary file in {}: {error}", folder.display()))
}

/// Adds the next numbers of a file.
fn add_to(values: &mut [f64], from: &mut impl Read) -> std::io::Result<()> {
    let mut more = vec![0.0; values.len()];
    read_floats(from, &mut more)?;
    values.iter_mut().zip(more).for_each(|(sum, value)| *sum += value);
    Ok(())
}

/// Takes the next numbers of a file.
pub(super) fn read_floats(from: &mut impl Read, to: &mut [f64]) -> std::io::Result<()> {
    let mut bytes = [0; size_of::<f64>()];
    for value in to {
        from.read_exact(&mut bytes)?;
        *value = f64::from_le_bytes(bytes);
    }
    Ok(())
}

fn write_floats(to: &mut impl Write, values: &[f64]) -> std::io::Result<()> {
    values.iter().try_for_each(|value| to.write_all(&value.to_le_bytes()))
}

/// A file that was written, from its beginning.
fn reopen(written: BufWriter<File>) -> std::io::Result<BufReader<File>> {
    let mut file = written.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(BufReader::new(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_come_back_in_their_order() {
        let mut written = BufWriter::new(tempfile::tempfile().unwrap());
        for row in [&[1.5, -2.0][..], &[], &[0.25]] {
            write_floats(&mut written, row).unwrap();
        }
        let mut sums = reopen(written).unwrap();
        let (mut first, mut second) = ([1.0, 1.0], [0.5]);
        add_to(&mut first, &mut sums).unwrap();
        add_to(&mut second, &mut sums).unwrap();
        assert_eq!((first, second), ([2.5, -1.0], [0.75]));
        assert!(add_to(&mut second, &mut sums).is_err());
    }

    #[test]
    fn a_disk_without_room_is_named() {
        let folder = tempfile::tempdir().unwrap();
        check_room(folder.path(), 1).unwrap();
        let error = check_room(folder.path(), u64::MAX).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
        let torn = in_folder(folder.path(), std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert!(torn.to_string().contains(&folder.path().display().to_string()), "{torn}");
    }
}
