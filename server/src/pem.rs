//! Files of certificates and keys, as PEM. What is wrong with one is said with its name.

use std::path::Path;

use tokio_rustls::rustls::Error;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

/// A file that was read, once: it may be a pipe.
pub(crate) struct PemFile<'a> {
    path: &'a Path,
    pub(crate) pem: Vec<u8>,
}

impl<'a> PemFile<'a> {
    pub(crate) fn read(path: &'a Path) -> Result<Self, String> {
        Ok(Self { path, pem: fs_err::read(path).map_err(|e| e.to_string())? })
    }

    /// Its certificates, of which there is one at least.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let certificates = CertificateDer::pem_slice_iter(&self.pem).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|e| format!("{}: {e}", self.path.display()))?;
        match certificates.is_empty() {
            true => Err(format!("{} has no certificate", self.path.display())),
            false => Ok(certificates),
        }
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        let path = self.path.display();
        PrivateKeyDer::from_pem_slice(&self.pem).map_err(|error| match error {
            pem::Error::NoItemsFound => format!("{path} has no unencrypted private key"),
            error => format!("{path}: {error}"),
        })
    }
}

/// A certificate with those above it, and its key.
pub(crate) fn certified_key(certificate: &PemFile<'_>, key: &PemFile<'_>) -> Result<CertifiedKey, String> {
    let (chain, secret) = (certificate.certificates()?, key.private_key()?);
    let certified = CertifiedKey::from_der(chain, secret, &ring::default_provider());
    certified.map_err(|error| {
        let (certificate, key) = (certificate.path.display(), key.path.display());
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
        assert!(PemFile::read(&missing).map(drop).unwrap_err().contains("missing.pem"));
        let read = |path| PemFile::read(path).unwrap();
        assert!(read(&empty).certificates().unwrap_err().ends_with("empty.pem has no certificate"));
        let refused = |certificate, key| certified_key(&read(certificate), &read(key)).map(drop).unwrap_err();
        assert!(refused(&empty, &empty).ends_with("empty.pem has no certificate"));
        assert!(refused(&one, &empty).contains("empty.pem has no unencrypted private key"));
    }
}
