//! Errors: one enum for each family of operations, so that a caller matches only what that call can produce.
//!
//! Invariants
//! - damage names the file, the place, what was expected and what was found; `is_damage` is true for it and for nothing else
//! - a file's name is relative to the store's folder, so a message reads the same wherever the store lies

mod catalog;
mod change;
mod damage;
mod data;
mod index;
mod keep;
mod life;
mod shard;

pub use catalog::{CreateError, LookupError, OpenError, VerifyError};
pub use change::{AppendError, CommitError, JobError};
pub use damage::{Damage, StorageError};
pub use data::{ReadError, WriteError};
pub use index::IndexError;
pub use keep::{BackupError, Collected, GcError, TagError};
pub use life::{ChangeError, Changed, CompactError};

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

from_damage!(OpenError, ReadError, WriteError, AppendError, CommitError, JobError);

macro_rules! is_damage {
    ($($name:ident => |$e:ident| $($variant:pat => $result:expr),+;)*) => {$(
        impl $name {
            /// Whether the cause is a damaged file of the store.
            pub fn is_damage(&self) -> bool {
                match self {
                    $($variant => $result,)+
                    #[allow(unreachable_patterns)]
                    _ => false,
                }
            }
        }
    )*};
}

is_damage! {
    CreateError => |e| CreateError::Open(e) => e.is_damage(), CreateError::Storage(e) => e.is_damage();
    OpenError => |e| OpenError::Storage(e) => e.is_damage();
    ReadError => |e| ReadError::Storage(e) => e.is_damage();
    WriteError => |e| WriteError::Storage(e) => e.is_damage();
    AppendError => |e| AppendError::Open(e) => e.is_damage(), AppendError::Read(e) => e.is_damage(), AppendError::Storage(e) => e.is_damage();
    CommitError => |e| CommitError::Append(e) => e.is_damage(), CommitError::Write(e) => e.is_damage(), CommitError::Open(e) => e.is_damage(),
        CommitError::Read(e) => e.is_damage(), CommitError::Storage(e) => e.is_damage(), CommitError::Unclear { source, .. } => source.is_damage();
    JobError => |e| JobError::Open(e) => e.is_damage(), JobError::Storage(e) => e.is_damage();
    VerifyError => |e| VerifyError::Open(e) => e.is_damage(), VerifyError::Storage(e) => e.is_damage(), VerifyError::Commit(e) => e.is_damage();
    ShardError => |e| ShardError::Job(e) => e.is_damage(), ShardError::Open(e) => e.is_damage(), ShardError::Read(e) => e.is_damage(),
        ShardError::Storage(e) => e.is_damage();
    AttachError => |e| AttachError::Job(e) => e.is_damage(), AttachError::Commit(e) => e.is_damage(), AttachError::Open(e) => e.is_damage(),
        AttachError::Read(e) => e.is_damage(), AttachError::Write(e) => e.is_damage(), AttachError::Storage(e) => e.is_damage();
    ChangeError => |e| ChangeError::Commit(e) => e.is_damage(), ChangeError::Open(e) => e.is_damage(), ChangeError::Read(e) => e.is_damage(),
        ChangeError::Storage(e) => e.is_damage(), ChangeError::Unreadable { source, .. } => source.is_damage();
    CompactError => |e| CompactError::Commit(e) => e.is_damage(), CompactError::Open(e) => e.is_damage(), CompactError::Read(e) => e.is_damage(),
        CompactError::Write(e) => e.is_damage(), CompactError::Storage(e) => e.is_damage();
    TagError => |e| TagError::Open(e) => e.is_damage(), TagError::Commit(e) => e.is_damage(), TagError::Storage(e) => e.is_damage();
    GcError => |e| GcError::Unknown { source, .. } => source.is_damage(), GcError::Open(e) => e.is_damage(), GcError::Commit(e) => e.is_damage(),
        GcError::Storage(e) => e.is_damage();
    BackupError => |e| BackupError::Open(e) => e.is_damage(), BackupError::Storage(e) => e.is_damage();
    IndexError => |e| IndexError::Storage(e) => e.is_damage();
}
