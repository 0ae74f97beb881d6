//! Uploads: samples, vectors and losses that clients add to the store, a stream at a time.
//!
//! Invariants
//! - only tokens of the scope `write` add something, and only to the datasets that they see; runs are of the
//!   whole store, so tokens for some datasets add none
//! - nothing is visible before a stream has ended well, with as many rows as were announced; one that breaks
//!   off leaves nothing behind
//! - a stream with a key is done once, however often it is sent
//! - memory: two batches that wait, one that is worked on, and the dictionaries of the stream, 64 MiB at most

mod decode;
mod error;
mod form;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod incoming;
mod samples;
mod spool;
mod vectors;

use std::sync::Arc;

use arrow_flight::{FlightData, PutResult};
use futures::StreamExt;
use futures::stream::BoxStream;
use gstore_core::{Cancel, CancelOnDrop, Remedy};
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;
use uuid::Uuid;

use crate::access::{Caller, Scope};
use crate::audit::AuditRecord;
use crate::core::Core;
use crate::status;

pub(crate) use decode::Batches;
pub(crate) use error::disk_status;
pub(crate) use form::{Upload, UploadKind};
use incoming::UploadEvents;

/// Refuses what only writers may do.
pub(crate) fn may_write(caller: &Caller) -> Result<(), Status> {
    match caller.scope {
        Scope::Write => Ok(()),
        Scope::Read if caller.id.is_empty() => Err(Status::permission_denied(
            "a server without tokens is read-only; start it without `--without-tokens` to accept tokens of the scope `write`",
        )),
        Scope::Read => {
            Err(Status::permission_denied("the token is read-only; ask for one of the scope `write`"))
        }
    }
}

/// Takes a stream of an upload in.
pub(crate) async fn take(
    core: &Arc<Core>,
    caller: &Caller,
    command: &[u8],
    messages: BoxStream<'static, Result<FlightData, Status>>,
) -> Result<PutResult, Status> {
    let shown = String::from_utf8_lossy(command);
    let mut record = AuditRecord::begin(&core.audit, "put", &shown, caller);
    let done = run(core, caller, command, messages, &mut record).await;
    record.ended(done.as_ref().map(|_| ()));
    let told = serde_json::to_vec(&done?).map_err(|e| status::internal("the result cannot be sent", &e))?;
    Ok(PutResult { app_metadata: told.into() })
}

async fn run(
    core: &Arc<Core>,
    caller: &Caller,
    command: &[u8],
    messages: BoxStream<'static, Result<FlightData, Status>>,
    record: &mut AuditRecord,
) -> Result<Map<String, Value>, Status> {
    may_write(caller)?;
    let upload = Upload::read(command)?;
    if caller.datasets.as_ref().is_some_and(|names| !names.contains(upload.dataset())) {
        return Err(Status::permission_denied("the token is not for this dataset"));
    }
    let mut entered = core.running.enter(&caller.id, Uuid::new_v4().as_bytes())?;
    let permit = entered.turn(&core.admission).await?;
    record.started();
    let cancel = Arc::new(Cancel::new());
    let _raises = CancelOnDrop(Arc::clone(&cancel));
    let (send, events) = mpsc::channel(2);
    let deadline = Instant::now() + core.limits.time;
    let expected = upload.rows;
    let (shared, who) = (Arc::clone(core), caller.clone());
    let work = core.workers.spawn_blocking(move || {
        let _permit = permit;
        let incoming = UploadEvents::new(events, cancel);
        Remedy::worded(form::words, || match &upload.what {
            UploadKind::Samples(form) => {
                samples::add(&shared, form, upload.key.as_deref(), &who.name, incoming)
            }
            UploadKind::Vectors { spec, losses } => {
                vectors::store_vectors(&shared, spec, *losses, upload.key.as_deref(), &who, incoming)
            }
        })
    });
    // tonic shows a stream that its client has cancelled as one that has ended well. The connection drops
    // this future for that, but only when it waits; so it waits once before the end is believed.
    let pause = futures::stream::once(tokio::task::yield_now()).filter_map(|()| std::future::ready(None));
    let messages = messages.chain(pause).boxed();
    let both = async {
        let fed = incoming::send_batches(core, messages, expected, &send, record).await;
        // Without the mark of its end, the stream is over for the worker.
        drop(send);
        let ended = work.await;
        fed?;
        ended.unwrap_or_else(|error| Err(status::internal("the upload failed", &error)))
    };
    tokio::select! {
        ended = both => ended,
        why = entered.ended() => Err(why),
        () = tokio::time::sleep_until(deadline) => {
            let seconds = core.limits.time.as_secs_f64();
            Err(Status::deadline_exceeded(format!("the upload took {seconds} s, the longest allowed")))
        }
    }
}
