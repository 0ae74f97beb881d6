//! Passes over a pool at the checkpoints of all segments of training, whose scores are added row by row.
//!
//! The sums so far lie in a temporary file without a name, in the order of the rows: memory does not grow
//! with them.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};

use super::pass::{Against, RowScores, pass};
use super::plan::ScorePlan;
use super::request::ScorePer;
use crate::factors::engine;
use crate::factors::error::FactorJobError;
use crate::work::Work;

/// Hands the scores of the pool's rows to `take`, in their order: sums over segments, of means over the
/// checkpoints of each. `against`: what rows are multiplied with in each segment.
///
/// Disk: 8 bytes for each score, twice, where there are several checkpoints.
pub(super) fn passes(
    plan: &ScorePlan,
    against: &[Against<'_>],
    per: ScorePer,
    work: &mut Work<'_>,
    take: &mut dyn FnMut(Vec<RowScores>) -> Result<(), FactorJobError>,
) -> Result<(), FactorJobError> {
    let of_segments = plan.segments.iter().zip(against);
    let visits: Vec<_> = of_segments
        .flat_map(|(segment, against)| {
            let part = 1.0 / segment.checkpoints.len() as f64;
            segment.checkpoints.iter().map(move |place| (place, against, part))
        })
        .collect();
    let last = visits.len().saturating_sub(1);
    let mut sums: Option<BufReader<File>> = None;
    for (number, (place, against, part)) in visits.into_iter().enumerate() {
        let moved = place.as_ref().map(|place| engine::load(place, &plan.selection)).transpose()?;
        let engine = moved.as_ref().unwrap_or(&plan.engine);
        if engine.modules() != plan.engine.modules() {
            return Err(FactorJobError::Refused(format!(
                "checkpoint {} has other modules than {}: both have to be of one model",
                engine.checkpoint_id().short(),
                plan.engine.checkpoint_id().short()
            )));
        }
        let mut next = (number < last).then(tempfile::tempfile).transpose()?.map(BufWriter::new);
        let mut add = |mut rows: Vec<RowScores>| -> Result<(), FactorJobError> {
            for row in &mut rows {
                row.values.iter_mut().for_each(|value| *value *= part);
                if let Some(sums) = &mut sums {
                    add_to(&mut row.values, sums)?;
                }
            }
            match &mut next {
                Some(next) => Ok(rows.iter().try_for_each(|row| put(next, &row.values))?),
                None => take(rows),
            }
        };
        pass((plan, engine), against, per, work, &mut add)?;
        sums = next.map(rewound).transpose()?;
    }
    Ok(())
}

/// Adds the next numbers of a file.
fn add_to(values: &mut [f64], from: &mut impl Read) -> std::io::Result<()> {
    let mut bytes = [0; size_of::<f64>()];
    for value in values {
        from.read_exact(&mut bytes)?;
        *value += f64::from_le_bytes(bytes);
    }
    Ok(())
}

fn put(to: &mut impl Write, values: &[f64]) -> std::io::Result<()> {
    values.iter().try_for_each(|value| to.write_all(&value.to_le_bytes()))
}

/// A file that was written, from its beginning.
fn rewound(written: BufWriter<File>) -> std::io::Result<BufReader<File>> {
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
            put(&mut written, row).unwrap();
        }
        let mut sums = rewound(written).unwrap();
        let (mut first, mut second) = ([1.0, 1.0], [0.5]);
        add_to(&mut first, &mut sums).unwrap();
        add_to(&mut second, &mut sums).unwrap();
        assert_eq!((first, second), ([2.5, -1.0], [0.75]));
        assert!(add_to(&mut second, &mut sums).is_err());
    }
}
