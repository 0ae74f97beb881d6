//! Files that may be missing.

use std::io;

/// What was found; `None` where there is no such file or folder.
///
/// # Errors
/// Any other error.
pub fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_none() {
        let of = |kind: io::ErrorKind| if_there::<u8>(Err(kind.into())).map_err(|error| error.kind());
        assert_eq!(of(io::ErrorKind::NotFound), Ok(None));
        assert_eq!(of(io::ErrorKind::PermissionDenied), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(if_there(Ok(5)).ok(), Some(Some(5)));
    }
}
