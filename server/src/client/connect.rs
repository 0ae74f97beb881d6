//! Connection of a client to a server, by its address.

use std::path::PathBuf;
use std::time::Duration;

use gstore_core::Remedy;
use gstore_sql::{SqlError, SqlErrorKind};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// How long a server has to answer at first.
const PATIENCE: Duration = Duration::from_secs(10);
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
    let valid = !rest.is_empty() && !rest.contains('/');
    valid.then(|| (format!("{}://{rest}", if tls { "https" } else { "http" }), tls))
}

pub(super) async fn channel(options: &RemoteOptions) -> Result<Channel, SqlError> {
    let failed = |why: String| SqlError::new(SqlErrorKind::Failed, why);
    let shown = &options.address;
    let (uri, tls) = address(shown).ok_or_else(|| {
        failed(format!("the address of a server is grpc://host:port or grpc+tls://host:port, not `{shown}`"))
    })?;
    let refused = |error: tonic::transport::Error| {
        let cause = cause(&error);
        let hint = if tls { tls_hint(&cause) } else { plain_hint(&cause).to_owned() };
        failed(format!("no connection to {shown}: {cause}{hint}"))
    };
    let mut endpoint = Endpoint::from_shared(uri)
        .map_err(refused)?
        .connect_timeout(PATIENCE)
        .tcp_nodelay(true)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(2 * WINDOW);
    if tls {
        let read = |path: &PathBuf| fs_err::read(path).map_err(|e| failed(e.to_string()));
        let mut config = match &options.ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        if let Some((certificate, key)) = &options.identity {
            config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        endpoint = endpoint.tls_config(config).map_err(refused)?;
    }
    endpoint.connect().await.map_err(refused)
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
    } else if untrusted {
        let ca = Remedy::Option("tls_ca", "FILE");
        format!("; the certificate of its signer (of a self-signed one, its own) is given with {ca}")
    } else {
        String::new()
    }
}

/// The same without TLS: a server with TLS answers by an alert, which is no message of HTTP/2.
fn plain_hint(cause: &str) -> &'static str {
    match cause.contains("http2 error") {
        true => "; the address of a server with TLS is grpc+tls://host:port",
        false => "",
    }
}

/// What is said where a page for browsers answers.
pub(super) const OF_A_PAGE: &str = "a page for browsers (HTTP) answers at this address; statements go to the other \
     address that a server prints when it starts, grpc://host:port or grpc+tls://host:port";

/// Whether a message is about an answer that is none of Flight, as a page for browsers gives.
pub(super) fn is_of_a_page(message: &str) -> bool {
    message.contains("invalid compression flag")
        || message.contains("while receiving response with status: 4")
}

/// Whether a message is that of a connection which broke in the middle of an answer.
pub(super) fn is_cut_off(message: &str) -> bool {
    message.starts_with("h2 protocol error")
}

/// What is said where a connection broke, by what was behind it.
pub(super) fn broken_connection(cause: &str) -> String {
    // Alerts of TLS 1.3 about a client's certificate come with its first request.
    let certificate = ["CertificateRequired", "BadCertificate", "UnknownCA", "CertificateExpired"];
    match certificate.iter().any(|alert| cause.contains(alert)) {
        true => format!("the server wants the certificate of a client that it trusts ({cause})"),
        false => {
            format!(
                "the connection broke ({cause}); the address of a server with TLS is grpc+tls://host:port"
            )
        }
    }
}

pub(super) fn cause(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
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
    fn an_answer_that_breaks_off_is_known() {
        assert!(is_cut_off("h2 protocol error: error reading a body from connection"));
        assert!(!is_cut_off("transport error") && !is_cut_off("there is no table `pol`"));
    }

    #[test]
    fn a_broken_connection_is_more_than_a_transport_error() {
        assert!(
            broken_connection("received fatal alert: CertificateRequired")
                .starts_with("the server wants the certificate")
        );
        assert!(
            broken_connection("stream closed").contains("(stream closed); the address of a server with TLS")
        );
    }

    #[test]
    fn connections_that_did_not_come_about_are_explained() {
        assert!(tls_hint("received corrupt message of type InvalidContentType").contains("grpc://host:port"));
        assert!(
            tls_hint("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))").contains("CA:FALSE")
        );
        assert!(plain_hint("http2 error").contains("grpc+tls://host:port"));
        for untrusted in ["UnknownIssuer", "BadSignature"] {
            let hint = tls_hint(&format!("invalid peer certificate: {untrusted}"));
            assert!(hint.contains("is given with tls_ca=FILE"), "{hint}");
        }
        let other_name = "invalid peer certificate: certificate not valid for name \"127.0.0.1\"";
        assert_eq!((tls_hint(other_name).as_str(), tls_hint("refused").as_str()), ("", ""));
        assert_eq!(plain_hint("refused"), "");
    }

    #[test]
    fn addresses() {
        for (given, uri, tls) in [
            ("grpc://localhost:8815", "http://localhost:8815", false),
            ("grpc+tls://a.example:443/", "https://a.example:443", true),
            ("grpc://[::1]:8815", "http://[::1]:8815", false),
        ] {
            assert_eq!(address(given), Some((uri.to_owned(), tls)));
        }
        for bad in ["localhost:8815", "ftp://a:1", "http://a:1", "grpc://", "grpc://a:1/x"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }
}
