//! Progress of downloads, from the threads of the download to whoever started it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hf_hub::progress::{DownloadEvent, ProgressEvent, ProgressHandler};

use gstore_core::{Progress, Unit};

/// Time between two looks at the counters.
const EVERY: Duration = Duration::from_millis(100);

/// What is known of a download.
#[derive(Debug, Default)]
struct State {
    total: u64,
    files: HashMap<String, u64>,
    batch: u64,
}

/// Counts the events of a download.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Mutex<State>>);

impl Watch {
    /// Bytes done and bytes in all.
    fn bytes(&self) -> (u64, u64) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (state.files.values().sum::<u64>() + state.batch, state.total)
    }
}

impl ProgressHandler for Watch {
    fn on_progress(&self, event: &ProgressEvent) {
        let ProgressEvent::Download(event) = event else { return };
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            // The first tells of all files; each file then tells of itself again.
            DownloadEvent::Start { total_bytes, .. } => state.total = state.total.max(*total_bytes),
            DownloadEvent::Progress { files } => {
                for file in files {
                    state.files.insert(file.filename.clone(), file.bytes_completed);
                }
            }
            DownloadEvent::AggregateProgress { bytes_completed, .. } => {
                state.batch = state.batch.max(*bytes_completed);
            }
            DownloadEvent::Complete => {}
        }
    }
}

/// Runs a download on another thread and shows its progress on this one.
pub(super) fn watched<T: Send>(
    stage: &str,
    progress: &mut dyn Progress,
    work: impl FnOnce(Watch) -> T + Send,
) -> T {
    let watch = Watch::default();
    std::thread::scope(|scope| {
        let seen = watch.clone();
        let worker = scope.spawn(move || work(watch));
        let (mut begun, mut shown) = (false, 0);
        loop {
            let ended = worker.is_finished();
            let (done, total) = seen.bytes();
            if total > 0 && !begun {
                progress.start(stage, total, Unit::Bytes);
                begun = true;
            }
            let done = done.min(total);
            if begun && done > shown {
                progress.advance(done - shown);
                shown = done;
            }
            if ended {
                break;
            }
            std::thread::sleep(EVERY);
        }
        if begun {
            progress.finish();
        }
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
