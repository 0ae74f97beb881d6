//! Execution summary of an answer: rows counted and read, what it guarantees, notes.

use crate::influence::prepare::Prepared;
use crate::influence::prepare::operands::Operands;
use crate::influence::prepare::target_vectors::TargetVectors;
use crate::influence::result::{EXACT, PlaneSummary, ScanSummary};
use crate::influence::scan::{Totals, disk};
use crate::influence::sides::all_have;
use crate::influence::spec::mode::{Mode, Plane, SketchMode};

pub(crate) fn exact(prepared: &Prepared, operands: &Operands, totals: &Totals) -> ScanSummary {
    let disk = operands.disk.finish();
    let summary = counted(prepared, (&operands.target, operands.in_target), totals);
    let notes = prepared.damping_note().into_iter().chain(disk::note(&disk)).collect();
    ScanSummary { notes, disk, ..summary }
}

/// What a scan counted for a target, in which so many rows of the pools occur.
pub(crate) fn counted(
    prepared: &Prepared,
    (target, in_target): (&TargetVectors, u64),
    totals: &Totals,
) -> ScanSummary {
    ScanSummary {
        live: prepared.live(),
        in_target,
        scanned: totals.scanned,
        eligible: totals.eligible,
        excluded: totals.excluded,
        whole_rows: totals.whole_rows,
        bytes_read: totals.bytes_read,
        target_rows: target.rows.len() as u64,
        target_excluded: target.excluded,
        guarantee: EXACT.to_owned(),
        rows_scored: totals.scored,
        ..ScanSummary::default()
    }
}

/// The note that every row was scored, where the question asked for a sketch.
pub(crate) fn every_row(prepared: &Prepared, why: &str) -> Option<String> {
    (prepared.spec().mode != Mode::Exact).then(|| format!("every row was scored: {why}"))
}

/// Of what is always found by scoring every row.
pub(crate) fn of_scan(prepared: &Prepared, operands: &Operands, totals: &Totals) -> ScanSummary {
    let mut summary = exact(prepared, operands, totals);
    summary.notes.extend(every_row(prepared, "only a plain ranking can be found by a sketch"));
    summary
}

/// What a scan for several rankings, or for many values, did, or the codes that took its place, and what of a
/// tolerance they made use of.
pub(super) fn of_lists(
    prepared: &Prepared,
    operands: &Operands,
    totals: &Totals,
    (planes, tolerance): (Vec<PlaneSummary>, f64),
) -> ScanSummary {
    let mut summary = exact(prepared, operands, totals);
    match &prepared.spec().mode {
        Mode::Sketch(mode) if !planes.is_empty() => {
            let probable = planes.iter().any(|plane| plane.plane != Plane::Certified);
            let kept = SketchMode { tolerance, ..mode.clone() };
            ScanSummary { guarantee: kept.guarantee(probable), planes, ..summary }
        }
        Mode::Exact => summary,
        Mode::Sketch(mode) => {
            let why = match operands.sides(prepared) {
                Err(why) => why.to_owned(),
                Ok(sides) => {
                    let planes: &[Plane] =
                        if mode.certified { &[Plane::Int8] } else { &[Plane::Nibble, Plane::Int8] };
                    let words: Vec<String> = planes.iter().map(|plane| format!("`{plane}`")).collect();
                    match planes.iter().any(|plane| all_have(sides, *plane)) {
                        true => "they pay where few rows are wanted and few may rank".to_owned(),
                        false => format!(
                            "several rankings read the plane {}, and not every sketch has it",
                            words.join(" or ")
                        ),
                    }
                }
            };
            let note = format!("the result is exact, as codes of the sketch left no row out: {why}");
            summary.notes.push(note);
            summary
        }
    }
}
