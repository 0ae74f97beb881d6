//! Digests of the files of a fit, each next to its file: a sum with a changed bit is still a number, and
//! nothing else would notice.

use std::path::{Path, PathBuf};

use gstore_core::{Digest, if_there};
use gstore_store::vfs::write_whole;

use super::error::FactorError;

/// Notes the digest of a file that was just written.
pub(super) fn note(path: &Path) -> Result<(), FactorError> {
    let digest = Digest::of_read(fs_err::File::open(path)?)?.to_string();
    Ok(write_whole(&noted(path), digest.as_bytes())?)
}

/// Removes the digest of a file that is about to be replaced.
pub(super) fn forget(path: &Path) -> Result<(), FactorError> {
    Ok(if_there(fs_err::remove_file(noted(path))).map(|_| ())?)
}

/// Refuses a file that is not the one that was written. Earlier versions noted no digests: their files are
/// taken as they are, as is one whose writer was killed before it noted the digest.
pub(super) fn check(path: &Path) -> Result<(), FactorError> {
    let Some(said) = if_there(fs_err::read(noted(path)))? else { return Ok(()) };
    let Some(file) = if_there(fs_err::File::open(path))? else { return Ok(()) };
    let found = Digest::of_read(file)?;
    let said: Option<Digest> = std::str::from_utf8(&said).ok().and_then(|text| text.parse().ok());
    let detail = match said {
        Some(said) if said == found => return Ok(()),
        Some(said) => format!("it is damaged: its digest is {found}, it was written with {said}"),
        None => format!("it cannot be checked: {} has no digest in it", noted(path).display()),
    };
    Err(FactorError::file(path, detail))
}

/// How the names of files with digests end.
const DIGEST: &str = ".digest";

/// The file that has the digest of another.
fn noted(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(DIGEST);
    name.into()
}

/// Name of the file whose digest a file of this name has, or the name itself.
pub(super) fn noted_of(name: &str) -> &str {
    name.strip_suffix(DIGEST).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_digest_is_not_printed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lambda_matrix.safetensors");
        fs_err::write(&path, "sums").unwrap();
        note(&path).unwrap();
        check(&path).unwrap();
        let other = Digest::of(b"others").to_string();
        fs_err::write(noted(&path), &other).unwrap();
        let error = check(&path).unwrap_err().to_string();
        assert!(error.ends_with(&format!("it was written with {other}")), "{error}");
        for damaged in [&b"\x1b[31mred"[..], b"", b"\xff", &other.as_bytes()[1..]] {
            fs_err::write(noted(&path), damaged).unwrap();
            let error = check(&path).unwrap_err().to_string();
            assert!(error.ends_with("lambda_matrix.safetensors.digest has no digest in it"), "{error}");
        }
    }
}
