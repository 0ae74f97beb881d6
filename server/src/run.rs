//! Starting and stopping.
//!
//! Connections have threads of their own, so that statements that keep all workers busy do not keep others
//! from being answered, or this one from being stopped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use gstore_core::Cancel;
use gstore_store::Store;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic_health::ServingStatus;

use crate::access::{Access, Tokens, signing_key};
use crate::admission::Admission;
use crate::audit::Audit;
use crate::core::Core;
use crate::handle::Signer;
use crate::options::{ServeOptions, Tls};
use crate::running::Running;
use crate::service::Service;
use crate::sessions::Sessions;

/// Operators recurse over the expressions that the planner accepted.
const WORKER_STACK: usize = 16 << 20;
/// How long a raised flag may go unnoticed.
const GLANCE: Duration = Duration::from_millis(50);
/// How long connections have to close once their statements were stopped.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often a silent connection is asked whether it is still there, and how long it has to answer. Load
/// balancers cut connections that are silent for minutes.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(20);
/// Requests of one connection at a time.
const STREAMS: u32 = 256;

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// It would be open to others without encryption.
    #[error(
        "{0} can be reached from other machines, and there is no certificate: tokens and data would be sent in plain text; give a \
         certificate and its key, or ask for plain text by name"
    )]
    PlainText(SocketAddr),
    /// It would be open to others without tokens.
    #[error("{0} can be reached from other machines; without tokens a server listens on this machine only")]
    WithoutTokens(SocketAddr),
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("the certificate {certificate} or its key cannot be used: {why}")]
    Tls {
        /// The certificate.
        certificate: PathBuf,
        /// Why.
        why: String,
    },
    /// A file cannot be read or written.
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

/// Answers requests until `stop` is raised. `started` hears the address once connections are taken.
///
/// # Errors
/// Options that are not safe, and an address that cannot be used.
pub fn serve(
    store: Store,
    options: ServeOptions,
    stop: &Cancel,
    started: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    check(&options)?;
    let workers = runtime("gstore-work", options.sql.threads)?;
    let connections = runtime("gstore-net", 2)?;
    let core = Arc::new(core(store, &options, &workers)?);
    let ended = connections.block_on(answer(&core, &options, stop, started));
    tracing::info!("stopped");
    // An operator stops between batches only; nobody reads them any more.
    connections.shutdown_background();
    workers.shutdown_background();
    ended
}

fn check(options: &ServeOptions) -> Result<(), ServeError> {
    let here = options.listen.ip().is_loopback();
    if options.without_tokens && !here {
        return Err(ServeError::WithoutTokens(options.listen));
    }
    if options.tls.is_none() && !here && !options.plain_text {
        return Err(ServeError::PlainText(options.listen));
    }
    Ok(())
}

fn runtime(name: &str, threads: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .thread_name(name)
        .thread_stack_size(WORKER_STACK)
        .enable_all()
        .build()
}

fn core(store: Store, options: &ServeOptions, workers: &Runtime) -> Result<Core, ServeError> {
    let access = match options.without_tokens {
        true => Access::Open,
        false => Access::Tokens(Tokens::of(&store)),
    };
    let key = signing_key(&store.server_folder());
    let signer = Signer::new(&key).map_err(|e| ServeError::Failed(e.message().to_owned()))?;
    Ok(Core {
        access,
        sessions: Sessions::new(store, options.sql.clone()),
        admission: Admission::new(&options.limits),
        running: Arc::new(Running::default()),
        signer,
        limits: options.limits.clone(),
        audit: Arc::new(Audit::new(options.audit.as_deref())?),
        workers: workers.handle().clone(),
    })
}

async fn answer(
    core: &Arc<Core>,
    options: &ServeOptions,
    stop: &Cancel,
    started: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let unusable = |source| ServeError::Listen { address: options.listen, source };
    let listener = TcpListener::bind(options.listen).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<FlightServiceServer<Service>>().await;
    let flight = FlightServiceServer::new(Service(Arc::clone(core)))
        .max_decoding_message_size(options.limits.message_bytes)
        .max_encoding_message_size(usize::MAX);
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .max_concurrent_streams(Some(STREAMS));
    if let Some(tls) = &options.tls {
        let wrong = |why| ServeError::Tls { certificate: tls.certificate.clone(), why };
        server = server.tls_config(tls_config(tls)?).map_err(|e| wrong(cause(&e)))?;
    }
    let told = async {
        while !stop.is_raised() {
            tokio::time::sleep(GLANCE).await;
            core.sessions.give_up_idle();
        }
        tracing::info!(running = core.running.count(), "stopping");
        core.running.close();
        health.set_service_status("", ServingStatus::NotServing).await;
        health.set_not_serving::<FlightServiceServer<Service>>().await;
    };
    let (drained, draining) = tokio::sync::oneshot::channel::<()>();
    let told = async {
        told.await;
        let _ = drained.send(());
    };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let tls = options.tls.is_some();
    tracing::info!(%address, tls, tokens = !options.without_tokens, "serving");
    started(address);
    let serving =
        server.add_service(health_service).add_service(flight).serve_with_incoming_shutdown(incoming, told);
    tokio::select! {
        ended = serving => ended.map_err(|e| ServeError::Failed(cause(&e))),
        () = deadline(core, draining, options.drain) => Ok(()),
    }
}

/// Stops what still runs when the time to drain is over, and comes back when connections had time to close.
async fn deadline(core: &Core, draining: tokio::sync::oneshot::Receiver<()>, drain: Duration) {
    if draining.await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(drain).await;
    tracing::warn!(running = core.running.count(), "the time to drain is over; the rest is stopped");
    core.running.stop();
    tokio::time::sleep(LAST_WORDS).await;
}

fn tls_config(tls: &Tls) -> Result<ServerTlsConfig, ServeError> {
    let read = |path: &Path| fs_err::read(path);
    let identity = Identity::from_pem(read(&tls.certificate)?, read(&tls.key)?);
    let config = ServerTlsConfig::new().identity(identity);
    Ok(match &tls.client_ca {
        Some(ca) => config.client_ca_root(Certificate::from_pem(read(ca)?)),
        None => config,
    })
}

/// An error and what is behind it: that of tonic alone says only that there is one.
fn cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
