//! Errors of a full disk, and of a file that would be larger than it may be.

use std::error::Error;
use std::io::{self, ErrorKind};

use crate::causes::causes;

/// Whether an error of the operating system says that no space is left, on the disk or to its user.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Whether that is the cause of an error.
pub fn is_of_full_disk(error: &(dyn Error + 'static)) -> bool {
    is_caused(error, is_full)
}

/// Whether the cause of an error is that a file would be larger than it may be.
pub fn is_of_file_limit(error: &(dyn Error + 'static)) -> bool {
    is_caused(error, |error| error.kind() == ErrorKind::FileTooLarge)
}

fn is_caused(error: &(dyn Error + 'static), by: impl Fn(&io::Error) -> bool) -> bool {
    causes(error).any(|error| error.downcast_ref::<io::Error>().is_some_and(&by))
}

/// Makes a write beyond the size that files of this process may have (`ulimit -f`) fail with an error, for a
/// program: the signal of the system would end it without a word. Programs that it starts get the error too.
pub fn survive_file_limit() {
    #[cfg(unix)]
    {
        // SAFETY: a signal that is ignored runs no code of this process, and its memory is not touched.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        }
    }
}
