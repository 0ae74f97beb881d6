//! Files of certificates and keys, as PEM. What is wrong with one is said with its name.

use std::path::Path;

use tokio_rustls::rustls::Error;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

/// The certificates of a file, of which there is one at least.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = fs_err::read(path).map_err(|e| e.to_string())?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|e| format!("{}: {e}", path.display()))?;
    match certificates.is_empty() {
        true => Err(format!("{} has no certificate", path.display())),
        false => Ok(certificates),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = fs_err::read(path).map_err(|e| e.to_string())?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        pem::Error::NoItemsFound => format!("{} has no private key that is not encrypted", path.display()),
        error => format!("{}: {error}", path.display()),
    })
}

/// A certificate with those above it, and its key.
pub(crate) fn certified_key(certificate: &Path, key: &Path) -> Result<CertifiedKey, String> {
    let (chain, secret) = (certificates(certificate)?, private_key(key)?);
    let certified = CertifiedKey::from_der(chain, secret, &ring::default_provider());
    certified.map_err(|error| {
        let (certificate, key) = (certificate.display(), key.display());
        match error {
            // Here there is no other side whose certificate it could be, as the error has it.
            Error::InvalidCertificate(why) if format!("{why:?}").contains("UnsupportedCertVersion") => {
                format!("{certificate} is not of version 3, as one with extensions (subjectAltName) is")
            }
            Error::InvalidCertificate(why) => format!("{certificate}: {why}"),
            Error::InconsistentKeys(_) => format!("{key} is not the key of {certificate}"),
            error => format!("{key}: {error}"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_lacks_is_said_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs_err::write(&path, text).unwrap();
            path
        };
        let (empty, missing) = (file("empty.pem", ""), folder.path().join("missing.pem"));
        let one = file("one.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n");
        assert!(certificates(&missing).unwrap_err().contains("missing.pem"));
        assert!(certificates(&empty).unwrap_err().ends_with("empty.pem has no certificate"));
        let refused = |certificate, key| certified_key(certificate, key).map(drop).unwrap_err();
        assert!(refused(&empty, &empty).ends_with("empty.pem has no certificate"));
        assert!(refused(&one, &empty).contains("empty.pem has no private key"));
    }
}
