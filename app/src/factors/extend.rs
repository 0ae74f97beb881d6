//! Earlier factors that a fit extends with the sums of more rows.

use gstore_core::{Cancel, Digest, Remedy, RowSet, many};
use gstore_store::{ArtifactPart, Snapshot};
use xxhash_rust::xxh3::Xxh3;

use super::cut::same_blocks;
use super::error::FactorJobError;
use super::folder::FactorParts;
use super::publish::read_content;
use super::request::FitRequest;
use super::stamp::{ExtendedSums, FactorStamp};

/// What the factors that a request extends are of, and their sums. Refuses those without sums, and those that
/// do not say of which rows and tokens their sums are, as those of other programs: which rows they lack is not
/// known then, and `ekfac` measures its eigenvalues over all of them again.
pub(super) fn extended(
    snapshot: &Snapshot,
    request: &FitRequest,
) -> Result<Option<(FactorStamp, ExtendedSums)>, FactorJobError> {
    let Some(name) = &request.extend else { return Ok(None) };
    let part = snapshot.artifact(name)?;
    let stamp = read_content(&part)?.stamp;
    let has = |file: &String| part.files.iter().any(|there| there.name == *file);
    let same = stamp.strategy == request.strategy.name();
    if same && !FactorParts::sums_of(request.strategy).files().iter().all(has) {
        return Err(FactorJobError::Refused(format!(
            "factors `{name}` have no sums that rows can be added to: they were imported without their \
             covariances. Import them with their covariances, or fit their rows together with the new ones, without {}",
            Remedy::Option("extend", "")
        )));
    }
    if stamp.dataset.is_some() && stamp.encoding.is_some() {
        let sums = ExtendedSums { rows: stamp.rows.clone(), digest: sums_digest(&part, &stamp)? };
        return Ok(Some((stamp, sums)));
    }
    Err(FactorJobError::Refused(format!(
        "factors `{name}` were fitted by another program and do not say on which rows, nor which tokens these became: which \
         rows they lack is not known, and ekfac measures its eigenvalues over all rows again. Import them with {} (the \
         rows that they were fitted on), or fit those rows together with the new ones, without {}",
        Remedy::Option("dataset", ""),
        Remedy::Option("extend", "")
    )))
}

/// Digest of the files with the sums of factors. Factors that were fitted again as they were have the same.
fn sums_digest(part: &ArtifactPart, stamp: &FactorStamp) -> Result<Digest, FactorJobError> {
    let names = FactorParts::sums_of(stamp.approximation()?).files();
    let mut hash = Xxh3::new();
    for file in part.files.iter().filter(|file| names.contains(&file.name)) {
        hash.update(&file.digest.number().to_le_bytes());
    }
    Ok(Digest::of_hashed(&hash))
}

/// The rows of now that factors which are to be extended lack. Theirs have to be among them, and of the same
/// model.
pub(super) fn lacking(
    snapshot: &Snapshot,
    (name, before): (&str, &FactorStamp),
    now: &FactorStamp,
    cancel: &Cancel,
) -> Result<RowSet, FactorJobError> {
    let same = FactorStamp {
        rows: now.rows.clone(),
        rows_digest: now.rows_digest.clone(),
        partitions: now.partitions,
        batch_tokens: now.batch_tokens,
        backend: now.backend.clone(),
        extends: now.extends.clone(),
        extended: now.extended.clone(),
        // Those of other programs do not say how their labels were drawn.
        seed: before.seed.or(now.seed),
        max_block: match same_blocks(&now.modules, before.max_block, now.max_block) {
            true => now.max_block,
            false => before.max_block,
        },
        ..before.clone()
    };
    let mut differences = now.differences(&same);
    if same.max_block != now.max_block {
        differences
            .push(format!("without {} the blocks are those of the factors", Remedy::Option("max_block", "")));
    }
    if !differences.is_empty() {
        return Err(FactorJobError::Refused(format!(
            "the sums of factors `{name}` were made with different arguments: {}; extend them with the same ones",
            differences.join("; ")
        )));
    }
    let rows = before.row_set();
    let name_of = before.dataset.clone().unwrap_or_default();
    let dataset = snapshot.dataset(&name_of)?;
    if !before.has_rows(&snapshot.samples(dataset)?, cancel)? {
        return Err(FactorJobError::Refused(format!(
            "factors `{name}` were fitted on rows of `{name_of}` that were changed or deleted since: their sums cannot be extended"
        )));
    }
    // They are there, so that only a limit leaves some out.
    if !rows.difference(&now.row_set()).is_empty() {
        return Err(FactorJobError::Option(format!(
            "factors `{name}` have {} of `{name_of}`, of which {} leaves out some: it counts their rows too; name more, or leave it out",
            many(rows.len(), "row"),
            Remedy::Option("limit", "")
        )));
    }
    let new = now.row_set().difference(&rows);
    match new.is_empty() {
        true => Err(FactorJobError::Refused(format!(
            "factors `{name}` have these rows of `{name_of}` already: there is nothing to extend"
        ))),
        false => Ok(new),
    }
}
