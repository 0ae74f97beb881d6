//! Invariants that hold after any fault.
//!
//! - the store opens, and its content is exactly that of the last acknowledged step, or of the step in flight
//! - older snapshots have the content of earlier steps, in their order
//! - `verify` finds nothing wrong
//! - the interrupted step can be repeated, and the remaining steps done after it
//! - at the end no unneeded file is left

use crate::Failure;
use crate::work::{Context, Plan, State, Step};
use gstore_store::vfs::Vfs;
use gstore_store::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The current content, and `verify`.
    Current,
    /// Every snapshot of the history, too.
    History,
}

/// Checks a store of which `acknowledged` steps are known to be done, and the next one may be. Returns how
/// many are done.
pub fn look(
    plan: &Plan,
    vfs: &Arc<dyn Vfs>,
    path: &Path,
    acknowledged: usize,
    depth: Depth,
) -> Result<usize, Failure> {
    let store = match Store::open_on(Arc::clone(vfs), path) {
        Ok(store) => store,
        // There is no store before the first step.
        Err(OpenError::NotFound(_) | OpenError::NotAStore(_)) if acknowledged == 0 => return Ok(0),
        Err(e) => return Err(format!("the store does not open: {e}").into()),
    };
    let snapshot = store.snapshot()?;
    let found = State::read(&snapshot).map_err(|e| format!("the store cannot be read: {e}"))?;
    let done = position(plan, acknowledged, &found)?;
    if depth == Depth::History {
        history(plan, &store, &found, done)?;
    }
    sound(&store)?;
    Ok(done)
}

fn position(plan: &Plan, acknowledged: usize, found: &State) -> Result<usize, Failure> {
    let before = plan.state(acknowledged).ok_or("no such step")?;
    // An open store has at least been created.
    let Some(difference) = before.difference(found) else { return Ok(acknowledged.max(1)) };
    match plan.state(acknowledged + 1).map(|after| after.difference(found)) {
        Some(None) => Ok(acknowledged + 1),
        Some(Some(after)) => Err(format!(
            "the content is neither that before step {acknowledged} ({difference}) nor that after it ({after})"
        )
        .into()),
        None => Err(format!("the content is not that after all steps: {difference}").into()),
    }
}

/// Checks that snapshots, oldest first, are states of the plan in ascending order.
fn history(plan: &Plan, store: &Store, newest: &State, done: usize) -> Result<(), Failure> {
    let mut numbers: Vec<u64> = store.history()?.iter().map(|h| h.number).collect();
    numbers.reverse();
    let mut at = 1;
    for number in numbers {
        let found = State::read(&*store.snapshot_at(number)?)
            .map_err(|e| format!("snapshot {number} cannot be read: {e}"))?;
        let next = (at..=done).find(|i| plan.state(*i).is_some_and(|s| s.same_content(&found)));
        at = next.ok_or_else(|| format!("snapshot {number} has the content of no step from {at} on"))?;
    }
    for tag in store.snapshot()?.tags() {
        let name = SnapshotName::Tag(tag.name.to_string().parse().map_err(|_| "a tag with a bad name")?);
        let found = State::read(&*store.snapshot_named(&name)?)
            .map_err(|e| format!("tagged snapshot {name} cannot be read: {e}"))?;
        if !(1..=done).any(|i| plan.state(i).is_some_and(|s| s.same_content(&found))) {
            return Err(format!("tagged snapshot {name} has the content of no step").into());
        }
    }
    match plan.state(at) {
        Some(state) if state.same_content(newest) => Ok(()),
        _ => Err("the history does not end in the current content".into()),
    }
}

/// Checks that `verify` finds nothing wrong in any snapshot.
pub fn sound(store: &Store) -> Result<VerifyReport, Failure> {
    let report =
        store.verify(VerifyOptions { all_snapshots: true, ..VerifyOptions::default() }, &mut |_| {})?;
    match report.problems.first() {
        None => Ok(report),
        Some(p) => Err(format!("verify: {} problems, first: {p:?}", report.problems.len()).into()),
    }
}

/// Does the steps from `from` on, and checks the result.
pub fn finish(plan: &Plan, vfs: &Arc<dyn Vfs>, path: &Path, from: usize) -> Result<(), Failure> {
    let mut context = Context::new(Arc::clone(vfs), path);
    for (i, step) in plan.steps.iter().enumerate().skip(from) {
        step.run(&mut context).map_err(|e| in_step(i, step, &e))?;
    }
    let end = plan.steps.len();
    let done = look(plan, vfs, path, end, Depth::History)?;
    if done != end {
        return Err(format!("{done} of {end} steps are done").into());
    }
    tidy(vfs, context.store()?)
}

/// After a collection only locks are left in the work folder, and every file is needed by some snapshot.
fn tidy(vfs: &Arc<dyn Vfs>, store: &Store) -> Result<(), Failure> {
    let before = State::read(&*store.snapshot()?)?;
    let report = store.collect(GcOptions {
        command: "gc".into(),
        keep: 1,
        drop_jobs: true,
        ..GcOptions::default()
    })?;
    if let Some(stranger) = report.swept.strangers.first() {
        return Err(format!("gc takes {stranger} for somebody else's").into());
    }
    if let Some(difference) = before.difference(&State::read(&*store.snapshot()?)?) {
        return Err(format!("gc changed the content: {difference}").into());
    }
    let report = sound(store)?;
    if !report.unreferenced.is_empty() {
        return Err(format!("gc leaves {:?}", report.unreferenced).into());
    }
    for folder in ["tmp", "leases"] {
        let names = match vfs.list(&store.path().join(folder)) {
            Ok(names) => names,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e.into()),
        };
        if let Some(name) = names.iter().find(|n| !n.ends_with(".lock")) {
            return Err(format!("gc leaves {folder}/{name}").into());
        }
    }
    Ok(())
}

/// An error of a step, with the step's number and name.
pub fn in_step(i: usize, step: &Step, e: &Failure) -> Failure {
    format!("step {i} ({}): {e}", step.name()).into()
}

/// Turns a panic into a failure.
pub fn guarded<T>(f: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_default();
        Err(format!("PANIC: {text}").into())
    })
}
