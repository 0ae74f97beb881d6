//! Intact older snapshots.

use super::Repair;
use super::base::Base;
use super::report::{Loss, LostKind, RepairReport};
use crate::layout::Env;
use crate::manifest::Tag;
use crate::store::{Chain, adds_rows};
use crate::verify::Catalog;
use gstore_core::{RowSet, many};
use std::collections::{BTreeSet, HashSet};
use std::iter::once;

/// The first snapshot of the history from now on, and the tags whose snapshots are complete.
///
/// A snapshot is complete if its manifests and all of its data files are, but for those that stay damaged: `left`,
/// in order. Nothing is given up for what the repaired snapshot has as well. The history ends above the newest one
/// that is not.
pub(super) fn keep(
    base: &Base,
    catalog: &Catalog,
    left: &[String],
    work: &mut Repair<'_>,
) -> (u64, Vec<Tag>) {
    let bad: HashSet<String> =
        work.bad.iter().filter(|file| left.binary_search(file).is_err()).cloned().collect();
    let broken = catalog.touched(&bad);
    let is_broken = |number: u64, tag: Option<&str>| broken.contains(&(number, tag.map(str::to_owned)));
    let mut oldest = base.root.oldest;
    let mut above = base.next;
    // A root that was put together here is no snapshot of the history.
    let made_up = usize::from(!base.certain);
    for v in catalog.visited.iter().skip(made_up).filter(|v| v.tag.is_none()) {
        if is_broken(v.number, None) {
            oldest = above;
            break;
        }
        above = v.number;
    }
    if oldest > base.root.oldest {
        work.report.history_from = Some(oldest);
        work.report.notes.push(format!(
            "a snapshot before {oldest} refers to something that is damaged: the history starts at {oldest} from now on"
        ));
    }
    let mut tags = Vec::new();
    for tag in &base.root.tags {
        let in_history = catalog.visited.iter().any(|v| v.number == tag.snapshot && v.tag.is_none());
        let name = (!in_history).then_some(tag.name.as_str());
        // One that shares its root with another tag was looked at under that one's name.
        let shared = base.root.tags.iter().filter(|t| t.snapshot == tag.snapshot);
        let lost = is_broken(tag.snapshot, name)
            || shared.into_iter().any(|t| is_broken(tag.snapshot, Some(&t.name)));
        if lost {
            let remedy = "restore the snapshot from a backup, or tag the repaired one";
            let of = format!("tag {} (snapshot {})", tag.name, tag.snapshot);
            work.report.lost.push(Loss::new(LostKind::Tag, &of, &RowSet::new(), remedy));
            continue;
        }
        if work.report.history_from.is_some_and(|first| tag.snapshot < first) {
            work.report.tags_before.push(tag.name.clone());
        }
        tags.push(tag.clone());
    }
    (oldest, tags)
}

/// Notes the commands that computed what features lost: after the repair the history may no longer have them.
pub(super) fn add_commands(base: &Base, env: &Env, lost: &mut [Loss]) {
    let mut open: Vec<&mut Loss> = lost.iter_mut().filter(|loss| loss.kind == LostKind::Feature).collect();
    let chain = Chain::before(env, &base.root).map_while(Result::ok).map(|(_, root)| Some(root));
    let mut root = base.root.clone();
    for before in chain.chain(once(None)) {
        open.retain_mut(|loss| {
            let (Some(number), Some(dataset), Some(label)) = (loss.number, &loss.dataset, &loss.label) else {
                return false;
            };
            let adds = adds_rows(&root, before.as_ref(), (number, &format!("{dataset}/{label}")));
            if adds {
                loss.command = Some(root.command.clone()).filter(|command| !command.is_empty());
            }
            !adds
        });
        match before {
            Some(before) if !open.is_empty() => root = before,
            _ => break,
        }
    }
}

/// What the repair did, in words for the history.
pub(super) fn changes(report: &RepairReport) -> Vec<String> {
    const SHOWN: usize = 20;
    let mut out: Vec<String> =
        report.rebuilt.iter().take(SHOWN).map(|r| format!("{} rebuilt from {}", r.what, r.from)).collect();
    let lost = |loss: &Loss| match loss.rows.count {
        0 => format!("{} lost", loss.rows.of),
        count => format!("{}: {} lost", loss.rows.of, many(count, "row")),
    };
    out.extend(report.lost.iter().take(SHOWN).map(lost));
    let commands: BTreeSet<&String> =
        report.lost.iter().take(SHOWN).filter_map(|loss| loss.command.as_ref()).collect();
    out.extend(commands.into_iter().map(|command| format!("what is lost was computed by {command}")));
    if let Some(oldest) = report.history_from {
        out.push(format!("the history starts at snapshot {oldest}"));
    }
    if report.rebuilt.len() > SHOWN || report.lost.len() > SHOWN {
        out.push("and more".into());
    }
    out
}
