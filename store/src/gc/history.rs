//! Retention of snapshots in the history.

use super::options::GcOptions;
use crate::error::OpenError;
use crate::layout::Env;
use crate::manifest::{Link, Root};
use crate::store::{Chain, Snapshot};

/// The part of the history that stays.
pub(super) struct KeptHistory {
    /// Its first snapshot.
    pub oldest: u64,
    /// The roots, newest first.
    pub roots: Vec<(u64, Link)>,
}

/// The newest `keep` states and what is younger than `keep_within`: from the current snapshot back to the
/// first one that is neither.
///
/// A snapshot with the same content as the one before it (made by `gc`, or by tagging) does not count as a
/// separate state: otherwise every `gc` would push one out.
pub(super) fn kept_history(
    env: &Env,
    current: &Snapshot,
    options: &GcOptions,
    now: u64,
) -> Result<KeptHistory, OpenError> {
    let keep = options.keep.max(1);
    let since =
        options.keep_within.map(|d| now.saturating_sub(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)));
    let is_young = |root: &Root| since.is_some_and(|s| root.created >= s);
    let mut newer = current.root().clone();
    let mut states = 1;
    let mut kept =
        KeptHistory { oldest: newer.snapshot, roots: vec![(newer.snapshot, current.link().clone())] };
    for item in Chain::new(env, current) {
        let (link, root) = match item {
            Ok(found) => found,
            // It would go, so that it cannot be read does not matter.
            Err(e) if e.is_damage() && states >= keep && !is_young(&newer) => break,
            Err(e) => return Err(e),
        };
        states += u64::from(!same_content(&newer, &root));
        if states > keep && !is_young(&root) {
            break;
        }
        kept.oldest = root.snapshot;
        kept.roots.push((root.snapshot, link));
        newer = root;
    }
    Ok(kept)
}

fn same_content(a: &Root, b: &Root) -> bool {
    a.parts().eq(b.parts())
}
