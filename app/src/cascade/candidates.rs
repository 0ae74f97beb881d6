//! Candidates of a cascade: rows that may be selected, as far as token counts tell.

use gstore_core::many;
use gstore_store::{DatasetPart, EncodingEntry, RowSet, Snapshot};

use super::source::CascadeSource;
use super::stages::Stage;
use crate::answer::AnswerError;

/// Refuses a stage of token counts alone where it could not have them: the pool has counts of several
/// encodings, or not yet of all rows, and no stage before computes anything.
pub(super) fn check_counts(
    part: &DatasetPart,
    source: &CascadeSource,
    stages: &[Stage],
    rows: &RowSet,
) -> Result<(), AnswerError> {
    let refuse = |stage: &Stage, why: String| {
        let name = &stage.name;
        Err(AnswerError::Refused(format!(
            "cascade stage `{name}`: {why}; take the counts with a forward pass, as `loss,{name}`"
        )))
    };
    let mut is_computed = false;
    for stage in stages {
        let is_alone = stage.kinds.is_empty() && stage.has_counts();
        is_computed |= stage.computes();
        if is_alone && part.encodings.iter().any(|known| known.key != source.encoding) {
            let why = format!(
                "`{}` has token counts of several encodings, which it does not tell apart",
                part.name
            );
            return refuse(stage, why);
        }
        let counted = part.encoding(&source.encoding).map_or_else(RowSet::new, EncodingEntry::rows);
        let lacking = rows.difference(&counted).len();
        if is_alone && !is_computed && lacking > 0 {
            let rows = many(lacking, "row");
            return refuse(stage, format!("the tokens of {rows} of `{}` were not counted yet", part.name));
        }
    }
    Ok(())
}

/// Those of some rows that have no scored token, of those that are counted.
pub(super) fn unscored_rows(
    snapshot: &Snapshot,
    source: &CascadeSource,
    rows: &RowSet,
) -> Result<RowSet, AnswerError> {
    let part = snapshot.dataset(source.pool())?;
    let Some(encoding) = part.encoding(&source.encoding) else { return Ok(RowSet::new()) };
    let counts = snapshot.encoding(encoding)?;
    let mut found = Vec::new();
    for own in rows.by_cell() {
        let (Some(first), Some(last)) = (own.first(), own.last()) else { continue };
        let none = counts.counts(*first..last + 1)?.into_iter().filter(|count| count.scored == 0);
        found.extend(none.map(|count| count.row).filter(|row| own.binary_search(row).is_ok()));
    }
    Ok(RowSet::from_rows(found))
}
