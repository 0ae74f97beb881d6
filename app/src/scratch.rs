//! Temporary files without a name.

use std::path::Path;

/// An error of a temporary file, which has no name, with its folder.
pub(crate) fn in_folder(folder: &Path, error: std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), format!("temporary file in {}: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_folder() {
        let torn = in_folder(Path::new("some/folder"), std::io::Error::from(std::io::ErrorKind::StorageFull));
        assert!(torn.to_string().starts_with("temporary file in some/folder: "), "{torn}");
        assert_eq!(torn.kind(), std::io::ErrorKind::StorageFull);
    }
}
