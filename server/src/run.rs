//! Start and stop of a server.
//!
//! Connections have threads of their own, so that statements that keep all workers busy do not keep others
//! from being answered, or this one from being stopped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use gstore_core::{Cancel, causes, try_threads};
use gstore_store::Store;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Server;
use tonic_health::ServingStatus;

use crate::access::{Access, Tokens, signing_key};
use crate::admission::Admission;
use crate::audit::Audit;
use crate::core::Core;
use crate::handle::Signer;
use crate::http;
use crate::listen::{self, Certificates, Protocol};
use crate::options::{ServeOptions, Tls};
use crate::running::RunningStatements;
use crate::service::{DirectService, Service};
use crate::sessions::Sessions;

/// Operators recurse over the expressions that the planner accepted.
const WORKER_STACK: usize = 16 << 20;
/// How long a raised flag may go unnoticed.
const GLANCE: Duration = Duration::from_millis(50);
/// How long connections have to close once their statements were stopped.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it is still there, and how long it has to answer. Load
/// balancers cut connections that are silent for minutes.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);
/// Requests of one connection at a time.
const STREAMS: u32 = 256;

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Flight SQL and Flight.
    pub flight: SocketAddr,
    /// The page, metrics and liveness.
    pub http: Option<SocketAddr>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum ServeError {
    #[error(
        "{0} can be reached from other machines, and there is no certificate: tokens and data would be sent in plain text"
    )]
    PlainText(SocketAddr),
    #[error("{0} can be reached from other machines; without tokens a server listens on this machine only")]
    WithoutTokens(SocketAddr),
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    /// A certificate or a key cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Serving failed.
    #[error("the server failed: {0}")]
    Failed(String),
}

impl ServeError {
    /// Whether the options are to blame.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::PlainText(_) | Self::WithoutTokens(_))
    }
}

/// Answers requests until `stop` is raised. `started` hears the addresses once connections are taken.
///
/// # Errors
/// Options that are not safe, and an address that cannot be used.
pub fn serve(
    store: Store,
    options: ServeOptions,
    stop: &Cancel,
    started: impl FnOnce(Addresses),
) -> Result<(), ServeError> {
    check(&options)?;
    let workers = runtime("gstore-work", options.sql.threads)?;
    let connections = runtime("gstore-net", 2)?;
    let core = Arc::new(core(store, &options, &workers)?);
    let ended = connections.block_on(answer(&core, &options, stop, started));
    // An operator stops between batches only, and no client reads them any more.
    connections.shutdown_background();
    workers.shutdown_background();
    core.audit.finish();
    ended
}

fn check(options: &ServeOptions) -> Result<(), ServeError> {
    for address in [Some(options.listen), options.http].into_iter().flatten() {
        let here = address.ip().is_loopback();
        if options.without_tokens && !here {
            return Err(ServeError::WithoutTokens(address));
        }
        if options.tls.is_none() && !here && !options.plain_text {
            return Err(ServeError::PlainText(address));
        }
    }
    Ok(())
}

fn runtime(name: &str, threads: usize) -> std::io::Result<Runtime> {
    let threads = threads.max(1);
    try_threads(threads, WORKER_STACK)?;
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .thread_stack_size(WORKER_STACK)
        .enable_all()
        .build()
}

fn core(store: Store, options: &ServeOptions, workers: &Runtime) -> Result<Core, ServeError> {
    let access = match options.without_tokens {
        true => Access::Open,
        false => Access::with(Tokens::of(&store)),
    };
    let audit = Arc::new(Audit::new(options.audit.as_deref())?);
    let key = signing_key(&store.server_folder());
    let signer = Signer::new(&key).map_err(|e| ServeError::Failed(e.message().to_owned()))?;
    let sessions = Sessions::new(store, options.sql.clone(), vec![Arc::clone(&audit.statements) as _]);
    Ok(Core {
        access,
        sessions: sessions.map_err(|e| ServeError::Failed(e.to_string()))?,
        admission: Admission::new(&options.limits),
        running: Arc::new(RunningStatements::default()),
        signer,
        limits: options.limits.clone(),
        audit,
        workers: workers.handle().clone(),
    })
}

async fn answer(
    core: &Arc<Core>,
    options: &ServeOptions,
    stop: &Cancel,
    started: impl FnOnce(Addresses),
) -> Result<(), ServeError> {
    let own = options.tls.as_ref().map(certificates).transpose()?;
    let (listener, address) = bind(options.listen).await?;
    let (pages, http) = match options.http {
        Some(address) => Some(bind(address).await?).unzip(),
        None => (None, None),
    };
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<FlightServiceServer<Service>>().await;
    let flight = DirectService::new(Service(Arc::clone(core)), options.limits.message_bytes);
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .max_concurrent_streams(Some(STREAMS));
    let told = async {
        while !stop.is_raised() {
            tokio::time::sleep(GLANCE).await;
            let own = Arc::clone(core);
            let _ = tokio::task::spawn_blocking(move || own.sessions.give_up_idle()).await;
            core.audit.tell_left_out();
        }
        tracing::info!(running = core.running.count(), "stopping; a second signal stops at once");
        core.running.close();
        health.set_service_status("", ServingStatus::NotServing).await;
        health.set_not_serving::<FlightServiceServer<Service>>().await;
    };
    let (drained, draining) = tokio::sync::oneshot::channel::<()>();
    let (closed, closing) = tokio::sync::oneshot::channel::<()>();
    let told = async {
        told.await;
        let _ = (drained.send(()), closed.send(()));
    };
    let pages = async {
        let Some(listener) = pages else { return Ok(()) };
        let certificates = options.tls.as_ref().map(certificates).transpose()?;
        // Ends as well when the other side is gone.
        let closing = async { drop(closing.await) };
        let served = http::serve(Arc::clone(core), listener, certificates, closing).await;
        served.map_err(|e| ServeError::Failed(cause(&e)))
    };
    let limits = &options.limits.connections;
    let incoming = listen::incoming(listener, Protocol::Flight, own, limits, &core.audit.metrics.flights);
    let tls = options.tls.is_some();
    tracing::info!(%address, http = http.map(tracing::field::display), tls, tokens = !options.without_tokens, "serving");
    started(Addresses { flight: address, http });
    let serving =
        server.add_service(health_service).add_service(flight).serve_with_incoming_shutdown(incoming, told);
    let serving = async { serving.await.map_err(|e| ServeError::Failed(cause(&e))) };
    let ended = tokio::select! {
        ended = async { tokio::try_join!(serving, pages) } => ended.map(|_| ()),
        () = deadline(core, draining, options.drain) => Ok(()),
    };
    tracing::info!("stopped");
    ended
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let unusable = |source| ServeError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let bound = listener.local_addr().map_err(unusable)?;
    Ok((listener, bound))
}

/// Stops what still runs when the time to drain is over, and comes back when connections had time to close.
async fn deadline(core: &Core, draining: tokio::sync::oneshot::Receiver<()>, drain: Duration) {
    if draining.await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(drain).await;
    tracing::warn!(running = core.running.count(), "the time to drain is over; the rest is stopped");
    core.audit.stopped.store(true, Ordering::Relaxed);
    core.running.stop();
    tokio::time::sleep(LAST_WORDS).await;
}

fn certificates(tls: &Tls) -> Result<Certificates, ServeError> {
    Certificates::read(tls.clone()).map_err(ServeError::Tls)
}

/// An error and what is behind it: that of tonic alone says only that there is one.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).map(|cause| cause.to_string()).collect::<Vec<_>>().join(": ")
}
