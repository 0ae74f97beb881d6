//! HTTP side of the server: the page, the questions that it asks, and what operators watch.
//!
//! Invariants
//! - a question goes the way of one by Flight: the same tokens, turns, limits, snapshots and records
//! - no other site can ask: a question needs a content type and a header that a browser does not send for one
//! - what is answered without a token names neither data nor tokens

mod encode;
mod page;
mod reply;
mod sql;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::json;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::transport::Server;

use crate::access::{Access, Caller};
use crate::core::Core;
use crate::listen::{self, BusyGuard, Certificates, Peer, Protocol};

/// Nothing but what this server sends is loaded or run, and no other page has this one inside.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'";

/// Answers over HTTP until `stop` ends.
pub(crate) async fn serve(
    core: Arc<Core>,
    listener: TcpListener,
    certificates: Option<Certificates>,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let count = &core.audit.metrics.pages;
    let limits = &core.limits.connections;
    let incoming = listen::incoming(listener, Protocol::Http, certificates, limits, count);
    let routes = Routes::from(router(core));
    let mut server = Server::builder().accept_http1(true);
    server.add_routes(routes).serve_with_incoming_shutdown(incoming, stop).await
}

fn router(core: Arc<Core>) -> Router {
    let mut router = Router::new()
        .route("/sql", post(sql::answer))
        .route("/api/session", get(session))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || reply::text(StatusCode::OK, "ok\n")))
        .route("/readyz", get(ready));
    for file in page::FILES {
        router = router.route(file.path, get(async || file.response()));
    }
    router
        .fallback(async || reply::text(StatusCode::NOT_FOUND, "there is nothing here\n"))
        .layer(map_response(with_headers))
        .with_state(core)
}

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Who sent a request, and what keeps its connection from being idle while it is answered.
fn caller(core: &Core, request: &Request) -> Result<(Caller, Option<BusyGuard>), Status> {
    let headers = request.headers();
    same_site(headers)?;
    if matches!(core.access, Access::Open) {
        named_by_address(request)?;
    }
    let peer = request.extensions().get::<Peer>();
    let credentials = MetadataMap::from_headers(headers.clone());
    let address = peer.map(|peer| peer.address);
    let caller = core.access.caller(&credentials, address);
    let caller = caller.inspect_err(|status| core.audit.refused(address, status))?;
    Ok((caller, peer.map(Peer::busy)))
}

/// Refuses what a browser sends for the page of another site.
fn same_site(headers: &HeaderMap) -> Result<(), Status> {
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(Status::permission_denied("requests from another site are refused")),
    }
}

/// Refuses names of hosts other than `localhost` where no token is needed: a site whose name was made to lead
/// to this machine would be one of them.
fn named_by_address(request: &Request) -> Result<(), Status> {
    let header = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let host = request.uri().authority().map(|authority| authority.as_str()).or(header).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    match name == "localhost" || bare.parse::<std::net::IpAddr>().is_ok() {
        true => Ok(()),
        false => Err(Status::permission_denied("ask by the address of this machine or by localhost")),
    }
}

/// What a token allows, and which server this is: what SQL does not know.
async fn session(State(core): State<Arc<Core>>, request: Request) -> Response {
    let (caller, _busy) = match caller(&core, &request) {
        Ok(known) => known,
        Err(status) => return reply::error(&status),
    };
    let open = matches!(core.access, Access::Open);
    let body = json!({
        "token": caller.name, "scope": caller.scope.name(), "datasets": caller.datasets, "without_tokens": open,
        "version": env!("CARGO_PKG_VERSION"),
    });
    reply::json(StatusCode::OK, &body)
}

async fn metrics(State(core): State<Arc<Core>>) -> Response {
    let page = core.audit.metrics.page(&core.admission, &core.running, core.newest().await.ok());
    reply::body_of_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page.into())
}

/// Whether statements can be answered: the store can be opened, and the server is not stopping.
async fn ready(State(core): State<Arc<Core>>) -> Response {
    if core.running.is_closed() {
        return reply::text(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n");
    }
    match core.newest().await {
        Ok(_) => reply::text(StatusCode::OK, "ready\n"),
        Err(_) => reply::text(StatusCode::SERVICE_UNAVAILABLE, "the store cannot be opened\n"),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn without_tokens_this_machine_is_named_by_its_address() {
        let request = |host: &str| Request::builder().header("host", host).body(Body::empty()).unwrap();
        for good in ["localhost", "localhost:8816", "127.0.0.1:8816", "[::1]:8816", "[::1]"] {
            assert!(named_by_address(&request(good)).is_ok(), "{good}");
        }
        for bad in ["", "evil.example", "evil.example:8816", "127.0.0.1.evil.example", "localhost.evil:1"] {
            assert!(named_by_address(&request(bad)).is_err(), "{bad}");
        }
    }
}
