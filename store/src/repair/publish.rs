//! The repaired snapshot: one commit, like every other.
//!
//! Order: data files are in place and flushed; parts, then the root are written and flushed; the root is
//! loaded as a reader would; a damaged `CURRENT` is kept under another name; `CURRENT` is replaced. A crash
//! before that leaves the damage as it was.

use super::base::Base;
use super::take::Taken;
use crate::error::{CommitError, StorageError, VerifyError};
use crate::layout::names::DAMAGED;
use crate::layout::{Env, now};
use crate::manifest::{
    Current, DatasetPart, EnsemblePart, FeaturePart, PartLink, Root, RunPart, Tag, VERSION, write_replacing,
};
use crate::store::{Numbered, commit, load_snapshot, write_part};
use std::sync::Arc;

/// What the repaired snapshot consists of. Parts that did not change keep their links.
pub(super) struct RepairedSnapshot {
    pub datasets: Taken<DatasetPart>,
    pub runs: Taken<RunPart>,
    pub ensembles: Taken<EnsemblePart>,
    pub features: Taken<FeaturePart>,
    pub artifacts: Vec<PartLink>,
    pub tags: Vec<Tag>,
    pub oldest: u64,
    pub command: String,
    pub changes: Vec<String>,
}

/// Publishes it. Any error but [`VerifyError::Commit`] means that `CURRENT` does not name it.
pub(super) fn publish(env: &Arc<Env>, base: &Base, outcome: RepairedSnapshot) -> Result<(), VerifyError> {
    env.create_folder("manifests")?;
    let mut next_rows = base.root.next_rows.clone();
    next_rows.extend(outcome.datasets.iter().map(|(part, _)| (part.number, part.next_row)));
    let mut root = Root {
        version: VERSION,
        snapshot: base.next,
        created: now(),
        command: outcome.command,
        changes: outcome.changes,
        parent: base.link.clone(),
        oldest: outcome.oldest,
        tags: outcome.tags,
        next_rows,
        datasets: links(env, outcome.datasets)?,
        runs: links(env, outcome.runs)?,
        ensembles: links(env, outcome.ensembles)?,
        features: links(env, outcome.features)?,
        artifacts: outcome.artifacts,
        ..base.root.clone()
    };
    let next = &mut root.next;
    for (limit, links) in [
        (&mut next.dataset, &root.datasets),
        (&mut next.run, &root.runs),
        (&mut next.ensemble, &root.ensembles),
        (&mut next.feature, &root.features),
    ] {
        *limit = (*limit).max(links.last().map_or(1, |l| l.number + 1));
    }
    next.encoding = next.encoding.max(1);
    let (snapshot, link) = (root.snapshot, write_part(env, root)?.0);
    env.manifests().sync()?;
    load_snapshot(env, &link, None)?;
    if let Some(bytes) = &base.damaged_current {
        write_replacing(env.vfs(), &env.at(DAMAGED), DAMAGED, bytes)?;
    }
    match commit(env, snapshot, &link) {
        Ok(_) => Ok(()),
        // `CURRENT` does not name it.
        Err(CommitError::Store(e)) => Err(VerifyError::Store(e)),
        Err(CommitError::Unclear { source, .. }) if is_as_it_was(env, base) => Err(source.into()),
        Err(e) => Err(VerifyError::Commit(Box::new(e))),
    }
}

/// Whether `CURRENT` still has the damaged content that it had.
fn is_as_it_was(env: &Env, base: &Base) -> bool {
    let now = Current::read_bytes(env.vfs(), env.path()).ok();
    now.is_some() && now == base.damaged_current
}

fn links<T: Numbered>(env: &Env, parts: Taken<T>) -> Result<Vec<PartLink>, StorageError> {
    let mut out = Vec::with_capacity(parts.len());
    for (part, link) in parts {
        out.push(match link {
            Some(link) => link,
            None => {
                let (number, name) = (part.number(), part.name());
                PartLink::new(number, name, write_part(env, part)?.0)
            }
        });
    }
    out.sort_unstable_by_key(|l| l.number);
    Ok(out)
}
