//! Access control: tokens, the credentials of a request, and what who asks may see.
//!
//! Invariants
//! - every request starts with [`Access::caller`], by its headers alone, without which there is no [`Caller`]
//!   to ask anything for
//! - the file of tokens is read for each request: what is revoked or expired does not work any more, without
//!   a restart
//! - an address that shows many wrong tokens is refused for a while, before the file is read

mod file;
mod folder;
mod owner;
mod throttle;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use tonic::Status;
use tonic::metadata::MetadataMap;

pub(crate) use file::since_1970;
pub use file::{NewToken, TokenError, TokenInfo, Tokens};
pub(crate) use folder::{create_private, signing_key, with_lock};
use throttle::Throttle;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Asking.
    Read,
    /// Asking, and adding to the store.
    Write,
}

gstore_core::named!(Scope { Read = "read", Write = "write" });

/// Who sent a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) name: String,
    /// Its id; empty without a token.
    pub(crate) id: String,
    pub(crate) scope: Scope,
    /// The datasets it may see; all where there is no list.
    pub(crate) datasets: Option<BTreeSet<String>>,
    pub(crate) peer: Option<SocketAddr>,
}

impl Caller {
    /// Whose limits the request counts against: the token's, or without tokens those of the address.
    pub(crate) fn client(&self) -> String {
        match self.peer {
            Some(peer) if self.id.is_empty() => peer.ip().to_string(),
            _ => self.id.clone(),
        }
    }

    /// Whose requests the tables of the server show to this caller.
    pub(crate) fn asker(&self) -> gstore_sql::Requester {
        let sees_all = self.scope == Scope::Write && self.datasets.is_none();
        gstore_sql::Requester { id: self.id.clone(), sees_all }
    }
}

/// How requests are told apart.
#[derive(Debug)]
pub(crate) enum Access {
    /// Every client that connects may read.
    Open,
    Tokens(TokenGuard),
}

/// Tokens, and what keeps others from trying them out.
#[derive(Debug)]
pub(crate) struct TokenGuard {
    tokens: Tokens,
    throttle: Throttle,
}

impl Access {
    pub(crate) fn with(tokens: Tokens) -> Self {
        Self::Tokens(TokenGuard { tokens, throttle: Throttle::default() })
    }

    /// Who sent a request with these headers.
    pub(crate) fn caller(&self, headers: &MetadataMap, peer: Option<SocketAddr>) -> Result<Caller, Status> {
        let Self::Tokens(TokenGuard { tokens, throttle }) = self else {
            return Ok(Caller {
                name: "anonymous".to_owned(),
                id: String::new(),
                scope: Scope::Read,
                datasets: None,
                peer,
            });
        };
        let now = Instant::now();
        // A client that shows no token tries none out.
        let secret = credentials(headers)?;
        throttle.check(peer, &secret, now)?;
        match tokens.find(&secret) {
            Ok(Some(token)) => {
                throttle.accepted(&secret, now);
                let (name, id, scope) = (token.name, token.id, token.scope);
                Ok(Caller { name, id, scope, datasets: token.datasets, peer })
            }
            Ok(None) => {
                throttle.refused(peer, now);
                Err(Status::unauthenticated("the token is not known, has expired or was revoked"))
            }
            Err(error) => {
                tracing::error!(%error, "the tokens cannot be read");
                Err(Status::unavailable("tokens cannot be checked; the log of the server says why"))
            }
        }
    }

    /// The credentials of a request that may be used once more, as a bearer token; `None` where none are
    /// needed.
    pub(crate) fn bearer(&self, headers: &MetadataMap) -> Result<Option<String>, Status> {
        match self {
            Self::Open => Ok(None),
            Self::Tokens(_) => credentials(headers).map(Some),
        }
    }
}

/// Clients in Go leave out the padding, others have it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The token of a request: `Bearer TOKEN`, or `Basic` with the token as the password and any user name.
pub(crate) fn credentials(headers: &MetadataMap) -> Result<String, Status> {
    let missing =
        || Status::unauthenticated("a token is needed; `gstore token create` on the server makes one");
    let given = headers.get("authorization").ok_or_else(missing)?;
    let wrong =
        || Status::unauthenticated("the header `authorization` is neither `Bearer TOKEN` nor `Basic ..`");
    let (kind, value) = given.to_str().ok().and_then(|text| text.trim().split_once(' ')).ok_or_else(wrong)?;
    let value = value.trim();
    if kind.eq_ignore_ascii_case("bearer") {
        return Ok(value.to_owned());
    }
    if !kind.eq_ignore_ascii_case("basic") {
        return Err(wrong());
    }
    let decoded =
        BASE64.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)?;
    let (user, password) = decoded.split_once(':').ok_or_else(wrong)?;
    Ok(if password.is_empty() { user } else { password }.to_owned())
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn headers(value: &str) -> MetadataMap {
        let mut headers = MetadataMap::new();
        headers.insert("authorization", value.parse().unwrap());
        headers
    }

    #[test]
    fn credentials_come_in_two_forms() {
        let basic = |text: &str| format!("Basic {}", BASE64.encode(text));
        for (value, token) in [
            ("Bearer abc".to_owned(), "abc"),
            ("bearer  abc ".to_owned(), "abc"),
            (basic("me:abc"), "abc"),
            (basic("me:a:bc"), "a:bc"),
            (basic("me:abcd").trim_end_matches('=').to_owned(), "abcd"),
            (basic("abc:"), "abc"),
        ] {
            assert_eq!(credentials(&headers(&value)).unwrap(), token, "{value}");
        }
        for value in ["abc", "Digest abc", "Basic !!", &basic("abc")] {
            assert_eq!(credentials(&headers(value)).unwrap_err().code(), Code::Unauthenticated, "{value}");
        }
        assert_eq!(credentials(&MetadataMap::new()).unwrap_err().code(), Code::Unauthenticated);
    }
}
