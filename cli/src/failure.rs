//! How failures end: one message on standard error, and an exit code that a script can act on.

use std::process::ExitCode;

use gstore_ingest::pipeline::IngestError;
use gstore_query::QueryError;
use gstore_query::sql::{SqlError, SqlErrorKind};
use gstore_store::{BackupError, VerifyError};

/// 1: the command failed.
const FAILED: u8 = 1;
/// 2: the command line was wrong.
const USAGE: u8 = 2;
/// 3: the store is damaged.
pub const DAMAGED: u8 = 3;

/// 130: Ctrl-C ended the command, as shells report it.
pub const STOPPED: u8 = 130;

/// A mistake on the command line that only shows when the command runs.
#[derive(Debug)]
pub struct UsageError(pub String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// A wrong command line: prints it and gives the exit code.
pub fn usage(error: &anyhow::Error) -> ExitCode {
    print(error);
    ExitCode::from(USAGE)
}

/// A failed command: prints why and gives the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    // A reader that closed its end of the pipe (`gstore query ... | head`) has what it wants.
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    print(error);
    let usage = error.chain().any(|cause| cause.is::<UsageError>())
        || error.downcast_ref::<IngestError>().is_some_and(IngestError::is_usage);
    if usage {
        ExitCode::from(USAGE)
    } else if is_stopped(error) {
        ExitCode::from(STOPPED)
    } else if is_damage(error) {
        ExitCode::from(DAMAGED)
    } else {
        ExitCode::from(FAILED)
    }
}

/// Prints an error and those causes that it does not already repeat.
fn print(error: &anyhow::Error) {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    eprintln!("error: {text}");
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let by_sql = error.downcast_ref::<SqlError>().is_some_and(gstore_query::sql::output::is_broken_pipe);
    by_sql
        || error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .any(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

fn is_stopped(error: &anyhow::Error) -> bool {
    let by_sql = error.downcast_ref::<SqlError>().is_some_and(|e| e.kind() == SqlErrorKind::Cancelled);
    by_sql
        || matches!(error.downcast_ref(), Some(IngestError::Stopped))
        || matches!(error.downcast_ref(), Some(QueryError::Cancelled))
        || matches!(error.downcast_ref(), Some(VerifyError::Cancelled))
        || matches!(error.downcast_ref(), Some(BackupError::Cancelled))
}

/// Whether a damaged file of the store is behind it.
fn is_damage(error: &anyhow::Error) -> bool {
    macro_rules! any_of {
        ($($kind:ty),+ $(,)?) => { false $(|| error.downcast_ref::<$kind>().is_some_and(<$kind>::is_damage))+ };
    }
    any_of!(
        gstore_store::AttachError,
        gstore_store::BackupError,
        gstore_store::ChangeError,
        gstore_store::CompactError,
        gstore_store::GcError,
        gstore_store::TagError,
        gstore_store::CreateError,
        gstore_store::OpenError,
        gstore_store::ReadError,
        gstore_store::VerifyError,
        IngestError,
        QueryError,
        SqlError,
    )
}
