//! Errors of uploads as status codes.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::Path;

use gstore::{IngestError, PutError};
use gstore_core::{Remedy, causes, is_full, is_of_cancel};
use gstore_store::{AppendError, CommitError, JobError, KeyError, StoreError, is_of_damage};
use tonic::{Code, Status};

use crate::status;

/// Samples that could not be registered. `spool` is the copy that they were read from.
pub(super) fn ingest_status(error: &IngestError, spool: &Path, root: &Path) -> Status {
    let code = match error {
        error if is_of_damage(error) => return status::damaged(),
        error if is_of_cancel(error) => Code::Cancelled,
        IngestError::File(error) => return io_status(error),
        IngestError::Append { source: AppendError::Changed { .. }, .. } => Code::AlreadyExists,
        IngestError::Commit(error) => commit_code(error),
        IngestError::Changed(_) => Code::Aborted,
        error if io_in(error).is_some() => Code::Internal,
        _ => Code::InvalidArgument,
    };
    let mut message = error.to_string().replace(&*spool.to_string_lossy(), "the stream");
    if error.may_be_skipped() {
        message.push_str(&format!("\n  {} leaves it out", Remedy::Option("skip_bad", "1")));
    }
    visible_status(error, code, &message, root)
}

/// Vectors of a dataset that could not be stored.
pub(super) fn put_status(error: &PutError, dataset: &str, root: &Path) -> Status {
    let code = match error {
        error if is_of_damage(error) => return status::damaged(),
        // Its own message names those that there are, which not everybody sees.
        PutError::Store(StoreError::Lookup(_))
        | PutError::Commit(CommitError::Store(StoreError::Lookup(_))) => {
            return Status::not_found(format!("there is no dataset `{}`", dataset.escape_debug()));
        }
        // Its own message is of processes of this machine, such as the server.
        PutError::Job(JobError::Busy { feature, .. }) => {
            return Status::aborted(format!(
                "feature {} is being written by another upload or command; send this one again when that has \
                 ended",
                feature.escape_debug()
            ));
        }
        PutError::Run => Code::PermissionDenied,
        PutError::NoRow { .. } | PutError::NoId { .. } => Code::NotFound,
        PutError::There { .. } | PutError::Key(KeyError::Used { .. }) => Code::AlreadyExists,
        PutError::Job(JobError::Changed(_)) => Code::Aborted,
        PutError::Commit(error) => commit_code(error),
        error if io_in(error).is_some() => Code::Internal,
        _ => Code::InvalidArgument,
    };
    visible_status(error, code, &error.to_string(), root)
}

fn commit_code(error: &CommitError) -> Code {
    match error {
        CommitError::Key(KeyError::Used { .. }) | CommitError::Overlap { .. } => Code::AlreadyExists,
        CommitError::Key(_) => Code::InvalidArgument,
        CommitError::Store(StoreError::Lookup(_)) => Code::NotFound,
        CommitError::BeyondDataset { .. } | CommitError::Mismatch { .. } | CommitError::LabelTaken { .. } => {
            Code::Aborted
        }
        CommitError::RunConflict { .. }
        | CommitError::CheckpointTwice { .. }
        | CommitError::CheckpointValue { .. } => Code::InvalidArgument,
        _ => Code::Internal,
    }
}

/// A file of the server that cannot be written.
pub(super) fn io_status(error: &io::Error) -> Status {
    disk_status(error).unwrap_or_else(|| status::internal("the stream cannot be kept", error))
}

/// What the client sees. A disk that takes nothing shows as one wherever it was met, and what the client can
/// do nothing about goes to the log.
fn visible_status(error: &(dyn Error + 'static), code: Code, message: &str, root: &Path) -> Status {
    disk_status(error).unwrap_or_else(|| match code {
        Code::Internal => status::internal("the upload failed", &error),
        code => Status::new(code, status::without_paths(message, root, "")),
    })
}

/// The answer where a disk that is full or cannot be written is behind an error.
pub(crate) fn disk_status(error: &(dyn Error + 'static)) -> Option<Status> {
    let io = io_in(error)?;
    match io.kind() {
        _ if is_full(io) => {
            tracing::error!(%error, "no space is left for what a client sent");
            Some(Status::resource_exhausted("no space is left on the server's disk; nothing was stored"))
        }
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            tracing::error!(%error, "the store cannot be written");
            Some(Status::failed_precondition("the store is read-only for this server; nothing was stored"))
        }
        _ => None,
    }
}

/// The error of the operating system behind another one.
fn io_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_that_is_being_written_says_nothing_of_processes_of_the_server() {
        let busy = JobError::Busy { feature: "embed-x".into(), job: "j1".into(), pid: 4711 };
        let seen = put_status(&PutError::Job(busy), "pool", Path::new("s"));
        assert_eq!(seen.code(), Code::Aborted);
        let message = seen.message();
        assert!(message.starts_with("feature embed-x is being written by another upload"), "{message}");
        assert!(!message.contains("4711") && !message.contains("j1"), "{message}");
    }

    #[test]
    fn a_disk_that_takes_nothing_is_told_apart_from_other_failures() {
        let of = |kind: ErrorKind| disk_status(&io::Error::from(kind)).map(|status| status.code());
        assert_eq!(of(ErrorKind::StorageFull), Some(Code::ResourceExhausted));
        assert_eq!(of(ErrorKind::ReadOnlyFilesystem), Some(Code::FailedPrecondition));
        assert_eq!(of(ErrorKind::PermissionDenied), Some(Code::FailedPrecondition));
        assert_eq!(of(ErrorKind::BrokenPipe), None);
        let within = CommitError::Store(StoreError::Storage(gstore_store::StorageError::io(
            "change the store",
            ErrorKind::ReadOnlyFilesystem.into(),
        )));
        let seen = put_status(&PutError::Commit(within), "pool", Path::new("s"));
        assert_eq!(seen.code(), Code::FailedPrecondition, "{seen}");
    }
}
