//! Connection of a client to a server, by its address.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gstore_core::{Remedy, causes};
use gstore_sql::{SqlError, SqlErrorKind};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::TrustAnchor;
use tonic::Status;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Identity};

use crate::pem::{self, PemFile};

/// How long a server has to answer at first.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may send nothing before it is asked whether it is still there, and then has as long as
/// at first. A long statement sends nothing meanwhile, and nor does a machine that went away.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes that may be on their way without an answer of ours.
const WINDOW: u32 = 8 << 20;

/// Where a server is, and how to ask it.
#[derive(Debug, Clone, Default)]
pub struct RemoteOptions {
    /// `grpc://host:port`, or `grpc+tls://host:port`.
    pub address: String,
    /// The token.
    pub token: Option<String>,
    /// Who must have signed the server's certificate, as PEM; those that the system trusts without one.
    pub ca: Option<PathBuf>,
    /// Certificate and key of this client, as PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The snapshot to read: a number or a tag.
    pub snapshot: Option<String>,
}

/// The address as the transport wants it, and whether it is one with TLS.
fn address(text: &str) -> Option<(String, bool)> {
    let (scheme, rest) = text.split_once("://")?;
    let tls = match scheme {
        "grpc" | "grpc+tcp" => false,
        "grpc+tls" | "grpcs" => true,
        _ => return None,
    };
    let rest = rest.trim_end_matches('/');
    // Those with TLS have one that is usual.
    let port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let valid = !rest.is_empty() && !rest.contains('/') && (tls || port);
    valid.then(|| (format!("{}://{rest}", if tls { "https" } else { "http" }), tls))
}

/// A connection, and whether it is one with TLS.
pub(super) async fn channel(options: &RemoteOptions) -> Result<(Channel, bool), SqlError> {
    let failed = |why: String| SqlError::new(SqlErrorKind::Failed, why);
    let wrong = |why: String| SqlError::new(SqlErrorKind::Invalid, why);
    let shown = &options.address;
    if shown.contains('@') {
        // It is not shown: what stands there is a secret.
        return Err(wrong(format!(
            "the address of a server is grpc://host:port or grpc+tls://host:port, without a user; a token is given with {} or GSTORE_TOKEN",
            Remedy::Option("token", "")
        )));
    }
    let (uri, tls) = address(shown).ok_or_else(|| {
        wrong(format!("the address of a server is grpc://host:port or grpc+tls://host:port, not `{shown}`"))
    })?;
    if !tls && (options.ca.is_some() || options.identity.is_some()) {
        let [ca, certificate] = ["tls_ca", "tls_cert"].map(|name| Remedy::Option(name, ""));
        return Err(wrong(format!(
            "{ca} and {certificate} are for a server with TLS, whose address is grpc+tls://host:port, not `{shown}`"
        )));
    }
    let refused = |error: tonic::transport::Error| {
        let cause = cause(&error);
        let hint = if tls { tls_hint(&cause) } else { String::new() };
        failed(format!("no connection to {shown}: {cause}{hint}"))
    };
    let mut endpoint = Endpoint::from_shared(uri)
        .map_err(refused)?
        .connect_timeout(PATIENCE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(SILENCE)
        .keep_alive_timeout(PATIENCE)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW);
    if tls {
        let mut config = match &options.ca {
            Some(ca) => ClientTlsConfig::new().trust_anchors(authorities(ca).map_err(failed)?),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some((certificate, key)) = &options.identity {
            let certificate = PemFile::read(certificate).map_err(failed)?;
            let key = PemFile::read(key).map_err(failed)?;
            pem::certified_key(&certificate, &key).map_err(failed)?;
            config = config.identity(Identity::from_pem(certificate.pem, key.pem));
        }
        endpoint = endpoint.tls_config(config).map_err(refused)?;
    }
    Ok((endpoint.connect().await.map_err(refused)?, tls))
}

/// Those of a file that can have signed a certificate. A collection may have some that none can read.
fn authorities(path: &Path) -> Result<Vec<TrustAnchor<'static>>, String> {
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(PemFile::read(path)?.certificates()?) {
        (0, _) => Err(format!("{} has no certificate that can be read", path.display())),
        _ => Ok(roots.roots),
    }
}

/// The hint that goes with the cause of a failed connection with TLS.
fn tls_hint(cause: &str) -> String {
    // Of other faults (a name, a date, a revocation) no authority helps.
    let untrusted = ["UnknownIssuer", "BadSignature"].iter().any(|why| cause.contains(why));
    if cause.contains("InvalidContentType") {
        "; what answers there has no TLS, and its address is grpc://host:port".to_owned()
    } else if cause.contains("CaUsedAsEndEntity") {
        "; the certificate of the server is that of an authority: make one with basicConstraints=CA:FALSE"
            .to_owned()
    } else if is_of_own_certificate(cause) {
        format!("; {WANTS_CERTIFICATE}")
    } else if cause.contains("handshake eof") {
        format!("; the server may have too many connections{OR_CERTIFICATE}")
    } else if untrusted {
        let ca = Remedy::Option("tls_ca", "FILE");
        format!("; the certificate of its signer (of a self-signed one, its own) is given with {ca}")
    } else {
        String::new()
    }
}

/// What is said where a page for browsers answers.
pub(super) const OF_A_PAGE: &str = "a page for browsers (HTTP) answers at this address; statements go to the other \
     address that a server prints when it starts, grpc://host:port or grpc+tls://host:port";

/// Whether a message is about an answer in another protocol than Flight, such as a page for browsers.
pub(super) fn is_of_a_page(message: &str) -> bool {
    message.contains("invalid compression flag")
        || message.contains("while receiving response with status: 4")
}

/// Whether an error is of the connection: one that the server sent has no cause here.
pub(super) fn is_of_the_connection(status: &Status) -> bool {
    status.source().is_some()
}

fn is_of_http2(message: &str) -> bool {
    message.starts_with("h2 protocol error")
}

/// What is said where a connection broke, by what was behind it.
pub(super) fn broken_connection(message: &str, cause: &str, tls: bool) -> String {
    // Alerts of TLS 1.3 about a client's certificate come with its first request, if they arrive.
    let or_certificate = if tls { OR_CERTIFICATE } else { "" };
    if is_of_own_certificate(cause) {
        format!("{WANTS_CERTIFICATE} ({cause})")
    } else if let Some(reason) = reason(cause) {
        format!("the server ended the connection: {reason}")
    } else if cause.contains("frame with invalid size") {
        // A server with TLS answers by an alert, which looks like such a frame.
        format!("what answers there does not speak HTTP/2; {OF_TLS}")
    } else if is_of_http2(message) {
        format!("the connection to the server broke; the server may have stopped: ask again ({message})")
    } else if cause.contains("Connection re") {
        // Refused or reset.
        format!("the connection to the server broke ({cause}); the server may have stopped{or_certificate}")
    } else {
        let hint = if tls { or_certificate.to_owned() } else { format!("; {OF_TLS}") };
        format!(
            "the connection broke ({cause}); the server may have stopped or have too many connections{hint}"
        )
    }
}

/// Whether the other side's alert is about the certificate of this one.
fn is_of_own_certificate(cause: &str) -> bool {
    let certificate = ["Certificate", "UnknownCA", "AccessDenied", "DecryptError"];
    let alert = cause.split_once("fatal alert: ").map_or("", |(_, alert)| alert);
    certificate.iter().any(|of| alert.contains(of))
}

const WANTS_CERTIFICATE: &str = "the server wants the certificate of a client that it trusts";

/// What else a server with TLS may have ended a connection for.
const OR_CERTIFICATE: &str = ", or want the certificate of a client that it trusts";

/// The hint about an address without TLS.
const OF_TLS: &str = "the address of a server with TLS is grpc+tls://host:port";

/// The reason that the other side gave in its last frame (GOAWAY), as the error of HTTP/2 shows it.
fn reason(cause: &str) -> Option<&str> {
    let (_, reason) = cause.strip_prefix("connection error received: ")?.split_once("(b\"")?;
    reason.strip_suffix("\")")
}

pub(super) fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().unwrap_or(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_page_is_known() {
        let said = "protocol error: received message with invalid compression flag: 116 (valid flags are 0 and 1) \
                    while receiving response with status: 404 Not Found";
        assert!(is_of_a_page(said));
        assert!(!is_of_a_page("there is no table `pol`"));
    }

    #[test]
    fn errors_of_the_connection_are_known() {
        let refused = || std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "Connection refused");
        // Of a reconnect, and of a connection that was open.
        let again = Status::from_error(Box::new(tonic::ConnectError(Box::new(refused()))));
        for status in [&again, &Status::from_error(Box::new(refused()))] {
            assert!(is_of_the_connection(status), "{status:?}");
            assert_eq!(cause(status), "Connection refused");
        }
        assert!(!is_of_the_connection(&Status::not_found("there is no table `pol`")));
        assert!(!is_of_the_connection(&Status::unavailable("the server is stopping")));
    }

    #[test]
    fn a_broken_connection_is_more_than_a_transport_error() {
        let h2 = "h2 protocol error: http2 error";
        for alert in ["CertificateRequired", "UnsupportedCertificate", "UnknownCA", "CertificateExpired"] {
            let said = broken_connection("transport error", &format!("received fatal alert: {alert}"), true);
            assert!(said.starts_with("the server wants the certificate"), "{said}");
        }
        let full = "connection error received: detected excessive load generating behavior (b\"too many\")";
        assert_eq!(broken_connection(h2, full, false), "the server ended the connection: too many");
        let no_frame = "connection error detected: frame with invalid size";
        assert!(
            broken_connection(h2, no_frame, false)
                .ends_with("; the address of a server with TLS is grpc+tls://host:port")
        );
        let stopped = "connection error received: not a result of an error";
        assert!(broken_connection(h2, stopped, false).contains("ask again (h2 protocol error: http2 error)"));
        let closed = |tls| broken_connection("transport error", "stream closed", tls);
        assert!(closed(false).contains(
            "(stream closed); the server may have stopped or have too many connections; the address"
        ));
        assert!(closed(true).ends_with(OR_CERTIFICATE));
        let reset = |tls| broken_connection("transport error", "Connection reset by peer", tls);
        assert!(reset(false).ends_with("may have stopped") && reset(true).ends_with(OR_CERTIFICATE));
    }

    #[test]
    fn connections_that_did_not_come_about_are_explained() {
        assert!(tls_hint("received corrupt message of type InvalidContentType").contains("grpc://host:port"));
        assert!(
            tls_hint("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))").contains("CA:FALSE")
        );
        assert!(tls_hint("tls handshake eof").contains("too many connections, or want the certificate"));
        assert!(tls_hint("received fatal alert: BadCertificate").ends_with(WANTS_CERTIFICATE));
        for untrusted in ["UnknownIssuer", "BadSignature"] {
            let hint = tls_hint(&format!("invalid peer certificate: {untrusted}"));
            assert!(hint.contains("is given with tls_ca=FILE"), "{hint}");
        }
        let other_name = "invalid peer certificate: certificate not valid for name \"127.0.0.1\"";
        assert_eq!((tls_hint(other_name).as_str(), tls_hint("refused").as_str()), ("", ""));
    }

    #[test]
    fn addresses() {
        for (given, uri, tls) in [
            ("grpc://localhost:8815", "http://localhost:8815", false),
            ("grpc+tls://a.example:443/", "https://a.example:443", true),
            ("grpc+tls://a.example", "https://a.example", true),
            ("grpc://[::1]:8815", "http://[::1]:8815", false),
        ] {
            assert_eq!(address(given), Some((uri.to_owned(), tls)));
        }
        for bad in [
            "localhost:8815",
            "ftp://a:1",
            "http://a:1",
            "grpc://",
            "grpc://a",
            "grpc://[::1]",
            "grpc://a:1/x",
        ] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }
}
