//! Opening many segments at once.

use crate::error::StorageError;
use crate::manifest::SegmentEntry;
use crate::segment::SegmentFile;
use std::sync::Arc;
use std::thread;

/// With fewer segments than this for each thread, starting threads takes longer than it saves.
const FEW: usize = 128;

/// More threads than this wait for the file system, not for a core.
const THREADS: usize = 16;

/// Opens segments, in their order. An error is that of the first one that cannot be opened.
pub(crate) fn open_all(
    entries: &[SegmentEntry],
    open: &(dyn Fn(&SegmentEntry) -> Result<Arc<SegmentFile>, StorageError> + Sync),
) -> Result<Vec<Arc<SegmentFile>>, StorageError> {
    let cores = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let threads = cores.min(entries.len() / FEW).max(1);
    let each = entries.len().div_ceil(threads).max(1);
    let (first, others) = entries.split_at(each.min(entries.len()));
    let open_some = |some: &[SegmentEntry]| some.iter().map(open).collect::<Result<Vec<_>, _>>();
    thread::scope(|scope| {
        let started: Vec<_> = others
            .chunks(each)
            .map(|some| (some, thread::Builder::new().spawn_scoped(scope, || open_some(some))))
            .collect();
        let mut segments = open_some(first)?;
        segments.reserve_exact(others.len());
        for (some, handle) in started {
            // Where the system gives no thread, this one does the work.
            let more = match handle {
                Ok(handle) => handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                Err(_) => open_some(some),
            };
            segments.extend(more?);
        }
        Ok(segments)
    })
}
