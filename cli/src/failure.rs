//! Failures: one message on standard error, and an exit code that a script can act on.

use std::process::ExitCode;

use crate::origin;
use crate::wording::{in_flags, reword_file_errors};
use gstore::daunce::DaunceError;
use gstore::factors::FactorJobError;
use gstore::{AnswerError, FindError};
use gstore_core::{Cancelled, is_of_cancel, is_of_file_limit, is_of_full_disk};
use gstore_evaluate::EvaluateError;
use gstore_generate::GenerateError;
use gstore_ingest::pipeline::IngestError;
use gstore_query::QueryError;
use gstore_sql::{SqlError, SqlErrorKind};
use gstore_store::{ArtifactError, BackupError, is_of_damage};
use gstore_train::TrainError;

use crate::stand_ins::by_their_names;
use crate::streams::{self, say};

/// 1: the command failed.
const FAILED: u8 = 1;
/// 2: the command line was wrong.
pub const USAGE: u8 = 2;
/// 3: the store is damaged.
pub const DAMAGED: u8 = 3;
/// 4: what was asked for was refused with its numbers, since it would save nothing.
pub const REFUSED: u8 = 4;

/// 130: Ctrl-C ended the command, as shells report it, or SIGTERM, which is handled alike.
pub const STOPPED: u8 = 130;

/// A mistake on the command line that only shows when the command runs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Ends a command as wrong usage, with a message as of `format!`.
macro_rules! refuse {
    ($($message:tt)*) => {
        ::anyhow::bail!($crate::failure::UsageError(format!($($message)*)))
    };
}
pub(crate) use refuse;

/// What would save nothing, and its numbers: nothing is wrong with the command or the store.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NothingSaved(pub String);

/// Whether a command was refused with its numbers.
pub fn is_refused(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<NothingSaved>())
}

/// The exit code of a command that succeeds or fails, and has no other.
pub fn done(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

/// A wrong command line: prints it and gives the exit code.
pub fn usage(error: &anyhow::Error) -> ExitCode {
    say!("error: {}", text(error));
    ExitCode::from(USAGE)
}

/// A failed command: prints why and gives the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let (line, code) = ending(error);
    if let Some(line) = line {
        say!("{line}");
    }
    ExitCode::from(code)
}

/// What is printed of a failure, and its exit code.
fn ending(error: &anyhow::Error) -> (Option<String>, u8) {
    // A reader that closed its end of the pipe (`gstore query ... | head`) has what it wants.
    if streams::is_closed() {
        return (None, 0);
    }
    // What the user asked for is no error.
    if is_of_cancel(error.as_ref()) {
        return (Some(text(error)), STOPPED);
    }
    let usage = error.chain().any(|cause| cause.is::<UsageError>())
        || error.downcast_ref::<IngestError>().is_some_and(IngestError::is_usage)
        || error.downcast_ref::<DaunceError>().is_some_and(DaunceError::is_usage)
        || matches!(error.downcast_ref(), Some(BackupError::Exists(_)))
        || matches!(error.downcast_ref(), Some(TrainError::Option(_)))
        || matches!(error.downcast_ref(), Some(TrainError::Samples(error)) if error.is_usage())
        || matches!(error.downcast_ref(), Some(GenerateError::Option(_)))
        || matches!(error.downcast_ref(), Some(GenerateError::Samples(error)) if error.is_usage())
        || error.downcast_ref::<FactorJobError>().is_some_and(FactorJobError::is_usage)
        || error.downcast_ref::<EvaluateError>().is_some_and(EvaluateError::is_usage)
        || matches!(
            error.downcast_ref(),
            Some(
                AnswerError::Usage(_)
                    | AnswerError::Artifact(ArtifactError::Exists(_))
                    | AnswerError::Query(QueryError::Top { .. })
            )
        );
    let code = match usage {
        true => USAGE,
        false if is_damage(error) => DAMAGED,
        false if is_refused(error) => REFUSED,
        false => FAILED,
    };
    (Some(format!("error: {}", origin::note_origins(with_room(error, text(error))))), code)
}

/// What operating systems say about a full disk or quota, in the spelling of macOS too. An error that was already
/// turned into text has no other trace of it.
const FULL: [&str; 3] = ["No space left on device", "Disk quota exceeded", "Disc quota exceeded"];

/// The same about a file that would be larger than it may be.
const BEYOND_LIMIT: &str = "File too large";

/// What to do about a full disk or a limit of the size of files, unless the message says it, or that standard
/// output cannot be written.
fn with_room(error: &anyhow::Error, mut text: String) -> String {
    if (is_of_full_disk(error.as_ref()) || FULL.iter().any(|said| text.contains(said)))
        && !["free some space", "standard output"].iter().any(|told| text.contains(told))
    {
        text.push_str("\n  the disk is full: free some space, and run the same command again");
    }
    if is_of_file_limit(error.as_ref()) || text.contains(BEYOND_LIMIT) {
        text.push_str(
            "\n  the file would be larger than this process or the disk allows: raise the limit (`ulimit -f`) or use another disk, and run the same command again",
        );
    }
    text
}

/// A condition that finds no rows, by the flag that it was given with.
pub fn condition_error(error: FindError) -> anyhow::Error {
    match error {
        FindError::Name(error) => error.into(),
        FindError::Read(error) => error.into(),
        FindError::Condition(error) if error.kind() == SqlErrorKind::Syntax => {
            UsageError(format!("--where: {error}")).into()
        }
        FindError::Condition(error) if error.kind() == SqlErrorKind::Cancelled || error.is_damage() => {
            error.into()
        }
        FindError::Condition(error) => anyhow::Error::from(error).context("--where"),
        error => anyhow::Error::from(error).context("--where"),
    }
}

/// An error and those causes that it does not already repeat. What was stopped says so in words of its own.
pub fn text(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).filter(|cause| !cause.is::<Cancelled>()) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    if error.downcast_ref::<IngestError>().is_some_and(IngestError::may_be_skipped) {
        text.push_str("\n  --skip-bad 1 leaves it out");
    }
    let text = by_their_names(reword_file_errors(&text));
    match error.downcast_ref::<SqlError>() {
        Some(_) => text,
        None => in_flags(&text),
    }
}

/// Whether a damaged file of the store is behind it.
fn is_damage(error: &anyhow::Error) -> bool {
    // Errors of statements have what caused them in words alone.
    let mut of_sql = error.chain().filter_map(|cause| cause.downcast_ref::<SqlError>());
    is_of_damage(error.as_ref()) || of_sql.any(SqlError::is_damage)
}

#[cfg(test)]
mod tests {
    use gstore::PutError;
    use gstore::indexes::SketchError;
    use gstore_data::{CutError, SampleError};
    use gstore_ingest::gradient::EngineError;
    use gstore_ingest::pipeline::SampleEncoderError;
    use gstore_learn::LearnError;
    use gstore_query::matrix::MatrixError;
    use gstore_store::{
        ChangeError, CommitError, Damage, JobError, ReadError, ShardError, StoreError, VerifyError,
    };

    use super::*;

    /// The error of each public type that a stop makes, and those of others that hold it, with what they say.
    fn stopped() -> Vec<(anyhow::Error, &'static str)> {
        fn of<E: From<Cancelled> + Into<anyhow::Error>>() -> anyhow::Error {
            E::from(Cancelled).into()
        }
        let (dataset, system) = ("pool".to_owned(), "m".to_owned());
        vec![
            (of::<Cancelled>(), "stopped"),
            (of::<AnswerError>(), "stopped before it was finished"),
            (of::<BackupError>(), "stopped: run the same command again to continue"),
            (of::<ChangeError>(), "stopped; nothing was changed"),
            (of::<DaunceError>(), "stopped"),
            (of::<EngineError>(), "the computation was cancelled"),
            (of::<EvaluateError>(), "stopped"),
            (of::<FactorJobError>(), "stopped"),
            (of::<GenerateError>(), "stopped"),
            (of::<IngestError>(), "stopped; nothing was added"),
            (of::<JobError>(), "stopped; what is sealed is kept"),
            (of::<LearnError>(), "stopped before it was finished"),
            (of::<MatrixError>(), "stopped before it was finished"),
            (of::<QueryError>(), "stopped before it was finished"),
            (of::<SampleEncoderError>(), "the computation was cancelled"),
            (of::<SampleError>(), "stopped"),
            (of::<TrainError>(), "stopped"),
            (of::<VerifyError>(), "cancelled; nothing was changed"),
            (
                SketchError::Stopped { dataset, source: Cancelled }.into(),
                "stopped; published vectors and finished sketches are kept",
            ),
            (SqlError::from(QueryError::from(Cancelled)).into(), "stopped before it was finished"),
            // Those that hold one of another crate.
            (AnswerError::from(LearnError::from(Cancelled)).into(), "stopped before it was finished"),
            (AnswerError::from(IngestError::from(Cancelled)).into(), "stopped; nothing was added"),
            (AnswerError::from(SampleEncoderError::from(Cancelled)).into(), "the computation was cancelled"),
            (CutError::from(SampleError::from(Cancelled)).into(), "stopped"),
            (DaunceError::from(IngestError::from(Cancelled)).into(), "stopped; nothing was added"),
            (DaunceError::from(JobError::from(Cancelled)).into(), "stopped; what is sealed is kept"),
            (
                QueryError::Encoder(Box::new(IngestError::from(Cancelled))).into(),
                "stopped; nothing was added",
            ),
            (EvaluateError::from(SampleError::from(Cancelled)).into(), "stopped"),
            (EvaluateError::Model { system, source: Cancelled.into() }.into(), "m: stopped"),
            (FactorJobError::from(IngestError::from(Cancelled)).into(), "stopped"),
            (FactorJobError::from(SampleError::from(Cancelled)).into(), "stopped"),
            (GenerateError::from(SampleError::from(Cancelled)).into(), "stopped"),
            (IngestError::from(EngineError::from(Cancelled)).into(), "the computation was cancelled"),
            (IngestError::from(JobError::from(Cancelled)).into(), "stopped; what is sealed is kept"),
            (PutError::from(JobError::from(Cancelled)).into(), "stopped; what is sealed is kept"),
            (
                QueryError::Encoder(Box::new(EngineError::from(Cancelled))).into(),
                "the computation was cancelled",
            ),
            (SampleEncoderError::from(IngestError::from(Cancelled)).into(), "stopped; nothing was added"),
            (ShardError::from(JobError::from(Cancelled)).into(), "stopped; what is sealed is kept"),
            (TrainError::from(SampleError::from(Cancelled)).into(), "stopped"),
        ]
    }

    #[test]
    fn what_was_stopped_is_no_error() {
        let cancelled = || SqlError::new(SqlErrorKind::Cancelled, "the query was cancelled".into());
        let mut errors = stopped();
        errors.extend([
            (cancelled().into(), "the query was cancelled"),
            (AnswerError::Table(cancelled()).into(), "the query was cancelled"),
            (FactorJobError::from(cancelled()).into(), "the query was cancelled"),
            (AnswerError::Condition(FindError::Condition(cancelled())).into(), "the query was cancelled"),
            (
                anyhow::Error::from(QueryError::from(Cancelled)).context("the sketch of pool"),
                "the sketch of pool: stopped before it was finished",
            ),
            (
                anyhow::Error::from(VerifyError::from(Cancelled)).context("s"),
                "s: cancelled; nothing was changed",
            ),
        ]);
        for (error, says) in errors {
            let (line, code) = ending(&error);
            assert_eq!((line.as_deref(), code), (Some(says), STOPPED), "{error:?}");
        }
        let (line, code) = ending(&QueryError::Spec("no".into()).into());
        assert_eq!((line.as_deref(), code), (Some("error: no"), FAILED));
        let (line, code) = ending(&UsageError("which?".into()).into());
        assert_eq!((line.as_deref(), code), (Some("error: which?"), USAGE));
        let (line, code) = ending(&NothingSaved("it would save -3.0 %".into()).into());
        assert_eq!((line.as_deref(), code), (Some("error: it would save -3.0 %"), REFUSED));
    }

    #[test]
    fn damage_has_its_exit_code_wherever_it_is_met_and_is_told_once() {
        let damage = || ReadError::from(Damage::new("samples/1.parquet", "length", "2 bytes", "1 byte"));
        let by_sql = || SqlError::new(SqlErrorKind::Damaged, "samples/1.parquet is damaged: length".into());
        for error in [
            anyhow::Error::from(damage()),
            SampleError::Read(damage()).into(),
            CutError::from(SampleError::Read(damage())).into(),
            TrainError::from(SampleError::Read(damage())).into(),
            GenerateError::from(SampleError::Read(damage())).into(),
            EvaluateError::Samples(SampleError::Read(damage())).into(),
            CommitError::Store(StoreError::Read(damage())).into(),
            AnswerError::Query(QueryError::Read(damage())).into(),
            AnswerError::Table(by_sql()).into(),
            anyhow::Error::from(by_sql()).context("--where"),
            anyhow::Error::from(damage()).context("the sketch of pool"),
        ] {
            let (line, code) = ending(&error);
            let line = line.expect("a line");
            assert_eq!((code, line.matches("is damaged: length").count()), (DAMAGED, 1), "{line}");
        }
        let sound = ReadError::NoRow { dataset: "pool".to_owned(), row: 7 };
        assert_eq!(ending(&SampleError::Read(sound).into()).1, FAILED);
    }

    #[test]
    fn a_full_disk_says_what_to_do_once() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let said = |error: anyhow::Error| ending(&error).0.expect("a line");
        let hint = "the disk is full: free some space, and run the same command again";
        assert_eq!(said(full().into()).matches(hint).count(), 1);
        assert!(said(anyhow::Error::from(full()).context("answers.jsonl")).ends_with(hint));
        let worded = std::io::Error::from_raw_os_error(28).to_string();
        assert!(said(SqlError::new(SqlErrorKind::Failed, worded).into()).ends_with(hint));
        let told = anyhow::Error::from(full()).context("the disk is full; free some space there");
        assert!(!said(told).contains(hint));
        assert!(!said(std::io::Error::from(std::io::ErrorKind::NotFound).into()).contains(hint));
        let of_server = "no space is left in the server's spill folder";
        assert!(!said(SqlError::new(SqlErrorKind::Memory, of_server.to_owned()).into()).contains(hint));
        let beyond = || std::io::Error::from(std::io::ErrorKind::FileTooLarge);
        assert_eq!(said(beyond().into()).matches("`ulimit -f`").count(), 1);
        assert!(said(anyhow::Error::from(beyond()).context("answers.jsonl")).contains("`ulimit -f`"));
        let worded = std::io::Error::from_raw_os_error(27).to_string();
        assert!(said(SqlError::new(SqlErrorKind::Failed, worded).into()).contains("`ulimit -f`"));
    }

    #[test]
    fn options_are_named_as_flags_unless_a_statement_is_at_fault() {
        assert_eq!(text(&QueryError::Spec("`partial => true`".into()).into()), "`--partial`");
        let statement = SqlError::new(SqlErrorKind::Failed, "partial => true".into());
        assert_eq!(text(&statement.into()), "partial => true");
    }
}
