//! Errors: one enum for each family of operations (opening, adding, changing, ...), not one for each call.
//!
//! Invariants
//! - damage names the file, the place, what was expected and what was found; `is_damage` is true for it and
//!   for nothing else
//! - damage is a source of every error that it causes, which `is_of_damage` finds in errors of other crates
//!   too
//! - a file's name is relative to the store's folder, so a message reads the same wherever the store lies

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

mod catalog;
mod change;
mod damage;
mod data;
mod index;
mod keep;
mod life;
mod loss;
mod shard;

pub use catalog::{CreateError, LookupError, OpenError, VerifyError};
pub use change::{AppendError, CommitError, JobError, KeyError, RecordDifference};
pub use damage::{Damage, StorageError, is_of_damage};
pub(crate) use damage::{if_sound, is_medium, is_unreadable};
pub use data::{ReadError, StoreError, WriteError};
pub use index::IndexError;
pub(crate) use keep::SnapshotCollected;
pub use keep::{ArtifactError, BackupError, GcError};
pub use life::{ChangeError, ConcurrentChange};

pub use loss::LossError;

pub(crate) use life::RewriteError;
pub use shard::{AttachError, ReceiptError, ShardError};

macro_rules! from_damage {
    ($($name:ident),*) => {$(
        impl From<Damage> for $name {
            fn from(damage: Damage) -> Self {
                $name::Storage(damage.into())
            }
        }
    )*};
}

from_damage!(OpenError, ReadError, WriteError, StoreError);

/// `?` takes whatever any operation can fail with into the errors of one.
macro_rules! through_store {
    ($($name:ident),*) => {$(
        impl<E> From<E> for $name
        where
            StoreError: From<E>,
        {
            fn from(e: E) -> Self {
                $name::Store(e.into())
            }
        }
    )*};
}

through_store!(
    CreateError,
    VerifyError,
    AppendError,
    CommitError,
    JobError,
    ArtifactError,
    GcError,
    BackupError,
    ChangeError,
    ShardError,
    AttachError
);

macro_rules! damage {
    ($($name:ident($($cause:ident),*) {$($with_source:ident),*})*) => {$(
        impl $name {
            /// The damage of a file of the store, if that is the cause.
            pub fn damage(&self) -> Option<&Damage> {
                match self {
                    $($name::$cause(e) => e.damage(),)*
                    $($name::$with_source { source, .. } => source.damage(),)*
                    #[allow(unreachable_patterns)]
                    _ => None,
                }
            }

            /// Whether the cause is a damaged file of the store.
            pub fn is_damage(&self) -> bool {
                self.damage().is_some()
            }
        }
    )*};
}

damage! {
    OpenError(Storage) {}
    ReadError(Storage) {}
    WriteError(Storage) {}
    IndexError(Storage) {}
    LossError(Read) {}
    StoreError(Open, Read, Write, Storage) {}
    CreateError(Store) {}
    VerifyError(Store, Commit) {}
    AppendError(Store) {}
    CommitError(Store, Append) {Unclear}
    JobError(Store) {}
    ShardError(Store, Job) {}
    AttachError(Store, Job, Commit) {}
    ChangeError(Store, Commit) {Unreadable}
    ArtifactError(Store, Commit) {}
    GcError(Store, Commit) {Unknown}
    BackupError(Store) {}
}
