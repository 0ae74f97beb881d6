//! Certificates of the server, read again when their files change.
//!
//! Invariants
//! - a new connection has the newest certificate that could be used; a file that cannot be used leaves the
//!   one before in place, and the log says so once
//! - connections that there are keep theirs

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use gstore_core::locked;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{Error, RootCertStore, ServerConfig};

use crate::options::Tls;
use crate::pem::{self, PemFile};

/// How often the files are looked at, at most.
const LOOK: Duration = Duration::from_secs(1);
/// The protocols above TLS, the first that a client knows: all have HTTP/2 but simple clients of the page.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What tells two states of a file apart without reading it.
#[derive(Debug, PartialEq, Eq)]
struct FileStamp {
    changed: Option<SystemTime>,
    len: u64,
    /// A file that was renamed into place may be as long and as old as the one before.
    file: u64,
}

struct LoadedCertificates {
    config: Arc<ServerConfig>,
    stamps: Vec<Option<FileStamp>>,
    looked: Instant,
}

pub(crate) struct Certificates {
    files: Tls,
    current: Mutex<LoadedCertificates>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// Files that cannot be read, and what they say cannot be used.
    pub(crate) fn read(files: Tls) -> Result<Self, String> {
        let stamps = stamps(&files);
        let config = config(&files)?;
        let current = LoadedCertificates { config, stamps, looked: Instant::now() };
        Ok(Self { files, current: Mutex::new(current) })
    }

    /// What makes a connection one with TLS, by the newest files.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor_at(Instant::now())
    }

    fn acceptor_at(&self, now: Instant) -> TlsAcceptor {
        let mut current = locked(&self.current);
        if now.saturating_duration_since(current.looked) >= LOOK {
            current.looked = now;
            // Before the files are read: what changes meanwhile is seen the next time.
            let stamps = stamps(&self.files);
            if stamps != current.stamps {
                current.stamps = stamps;
                match config(&self.files) {
                    Ok(config) => {
                        current.config = config;
                        tracing::info!("the certificates were read again");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the new certificates cannot be used; the ones before stay in use");
                    }
                }
            }
        }
        TlsAcceptor::from(Arc::clone(&current.config))
    }
}

fn stamps(files: &Tls) -> Vec<Option<FileStamp>> {
    let paths = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
    paths.into_iter().flatten().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Option<FileStamp> {
    let metadata = fs_err::metadata(path).ok()?;
    #[cfg(unix)]
    let file = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let file = 0;
    Some(FileStamp { changed: metadata.modified().ok(), len: metadata.len(), file })
}

/// Whether a handshake failed because of the client's certificate, or because it has none.
pub(super) fn is_about_certificate(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    matches!(cause, Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented))
}

fn config(files: &Tls) -> Result<Arc<ServerConfig>, String> {
    let wrong = |error: &dyn std::fmt::Display| error.to_string();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(&e))?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for certificate in PemFile::read(ca)?.certificates()? {
                roots.add(certificate).map_err(|e| format!("{}: {e}", ca.display()))?;
            }
            let provider = Arc::new(ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|e| wrong(&e))?)
        }
    };
    let (certificate, key) = (PemFile::read(&files.certificate)?, PemFile::read(&files.key)?);
    let key = SingleCertAndKey::from(pem::certified_key(&certificate, &key)?);
    let mut config = builder.with_cert_resolver(Arc::new(key));
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    if files.client_ca.is_some() {
        // A session that goes on keeps the certificate of its client, which is not verified again, though it
        // may have expired.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}
