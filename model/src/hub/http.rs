//! Requests to the Hub.

use std::sync::Arc;
use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Error};

/// Time for a connection, and for a server to send something more.
const PATIENCE: Duration = Duration::from_secs(30);

/// Milliseconds before each further try.
const PAUSES: [u64; 4] = [100, 300, 900, 2700];

/// Why a file could not be fetched.
pub(super) enum FetchError {
    /// Not there, or not for this user.
    Refused(String),
    /// May be over the next time.
    Passing(String),
    Damaged {
        file: String,
        message: String,
    },
    Disk(std::io::Error),
    /// The repository is there and has other files than are wanted.
    Unfit(String),
    Other(String),
}

impl From<std::io::Error> for FetchError {
    fn from(error: std::io::Error) -> Self {
        Self::Disk(error)
    }
}

/// An address, and who asks there.
pub(super) struct HubClient {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

impl HubClient {
    pub(super) fn new(endpoint: &str, token: Option<String>) -> Self {
        let system = rustls_native_certs::load_native_certs().certs;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::from(system.iter().map(|root| Certificate::from_der(root).to_owned())))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = Agent::config_builder()
            .user_agent(concat!("gstore/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .tls_config(tls.build());
        Self { agent: config.build().into(), endpoint: endpoint.trim_end_matches('/').to_owned(), token }
    }

    /// The path of the page after one with this header `Link`.
    pub(super) fn next_page(&self, link: &str) -> Option<String> {
        next_page(link, &self.endpoint)
    }

    /// What the Hub has at a path, without its first bytes if the server can leave them out.
    pub(super) fn get(&self, path: &str, from: u64) -> Result<Response<Body>, FetchError> {
        // As it is, so that lengths are those of the file.
        let request = self.agent.get(format!("{}/{path}", self.endpoint));
        let mut request = request.header(header::ACCEPT_ENCODING, "identity");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let response = request.call().map_err(|error| match error {
            Error::BadUri(_) | Error::Http(_) | Error::Rustls(_) => FetchError::Other(error.to_string()),
            _ => FetchError::Passing(error.to_string()),
        })?;
        let status = response.status();
        let told = response.headers().get("x-error-message").and_then(|text| text.to_str().ok());
        let message = told.map_or_else(|| status.to_string(), |told| format!("{status}: {told}"));
        match status.as_u16() {
            200..=299 => Ok(response),
            416 if from > 0 => self.get(path, 0),
            401 | 403 | 404 => Err(FetchError::Refused(message)),
            408 | 429 | 500..=599 => Err(FetchError::Passing(message)),
            _ => Err(FetchError::Other(message)),
        }
    }
}

/// The path of the next page that a header names. Another host's is not asked, which is to see no token.
fn next_page(link: &str, endpoint: &str) -> Option<String> {
    let (before, _) = link.split_once(">; rel=\"next\"")?;
    let (_, address) = before.rsplit_once('<')?;
    let path =
        address.strip_prefix(endpoint).or_else(|| Some(address.split_once("://")?.1.split_once('/')?.1))?;
    Some(path.trim_start_matches('/').to_owned())
}

/// Tries again what may be over the next time.
pub(super) fn retry_transient<T>(mut work: impl FnMut() -> Result<T, FetchError>) -> Result<T, FetchError> {
    for pause in PAUSES {
        match work() {
            Err(FetchError::Passing(_)) => std::thread::sleep(Duration::from_millis(pause)),
            result => return result,
        }
    }
    work()
}

#[cfg(test)]
mod tests {
    use super::next_page;

    #[test]
    fn the_next_page_is_asked_of_the_same_host() {
        let link =
            "<https://hub.co/api/tree/a?cursor=x,y%3D>; rel=\"next\", <https://hub.co/b>; rel=\"last\"";
        for endpoint in ["https://hub.co", "https://mirror.co"] {
            assert_eq!(next_page(link, endpoint).unwrap(), "api/tree/a?cursor=x,y%3D");
        }
        let below = "<https://mirror.co/hf/api/b?c=1>; rel=\"next\"";
        assert_eq!(next_page(below, "https://mirror.co/hf").unwrap(), "api/b?c=1");
        assert_eq!(next_page("<https://hub.co/b>; rel=\"last\"", "https://hub.co"), None);
    }
}
