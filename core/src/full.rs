//! Errors of a full disk.

use std::error::Error;
use std::io::{self, ErrorKind};

/// Whether an error of the operating system says that no space is left, on the disk or to its user.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Whether that is the cause of an error.
pub fn is_of_full_disk(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.any(|error| error.downcast_ref::<io::Error>().is_some_and(is_full))
}
