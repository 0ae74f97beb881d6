//! Incoming connections: counted, encrypted, and closed when they are of no use any more.
//!
//! Invariants
//! - a connection counts from its first byte until both sides have closed it, handshakes included
//! - no client waits for another one's bytes: a handshake has its turn from the client's first message until
//!   the answer is computed, and not while it waits
//! - one that is too many is told so in the protocol, where it can be: without TLS

mod connection;
mod refusal;
mod table;
mod tls;
mod usage;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use futures::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server::Acceptor;
use tokio_rustls::server::TlsStream;

use crate::options::ConnectionLimits;
use crate::rare::RareNotes;
pub(crate) use connection::{Connection, Peer};
use table::ConnectionTable;
pub(crate) use tls::Certificates;
pub(crate) use usage::BusyGuard;

/// How long a client has for the handshake of TLS, the wait for its turn included.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes that compute at once. Each takes some milliseconds of a thread that requests need as well.
const HANDSHAKES: usize = 1;
/// Connections that wait to be served.
const WAITING: usize = 64;
/// How often connections are looked through.
const LOOK: Duration = Duration::from_secs(1);

/// What is waited for after a connection could not be taken: mostly there is no free descriptor.
const BREATH: Duration = Duration::from_millis(100);
/// How many that are refused are told so at once.
const FAREWELLS: usize = 64;

/// What is spoken at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/2 alone.
    Flight,
    /// HTTP/1.1 and HTTP/2.
    Http,
}

/// How connections are taken at an address, and who is refused.
struct ConnectionAcceptor {
    protocol: Protocol,
    certificates: Option<Certificates>,
    table: Arc<ConnectionTable>,
    handshakes: Semaphore,
    farewells: Arc<Semaphore>,
    certificates_refused: RareNotes<1>,
    too_many: RareNotes<1>,
}

impl ConnectionAcceptor {
    /// Logs why there is no connection.
    fn failed(&self, address: SocketAddr, error: &io::Error, now: Instant) {
        let is_refused = tls::is_about_certificate(error);
        match is_refused.then(|| self.certificates_refused.due(now)).flatten() {
            Some(left_out) => {
                tracing::warn!(%address, %error, left_out, "the certificate of a client was refused");
            }
            None => tracing::debug!(%address, %error, "a handshake failed"),
        }
    }
}

/// Takes connections until the stream is dropped; `count` has how many there are.
pub(crate) fn incoming(
    listener: TcpListener,
    protocol: Protocol,
    certificates: Option<Certificates>,
    limits: &ConnectionLimits,
    count: &Arc<AtomicUsize>,
) -> impl Stream<Item = std::io::Result<Connection>> + use<> {
    room_for_files();
    let acceptor = Arc::new(ConnectionAcceptor {
        protocol,
        certificates,
        table: Arc::new(ConnectionTable::new(limits, count)),
        handshakes: Semaphore::new(HANDSHAKES),
        farewells: Arc::new(Semaphore::new(FAREWELLS)),
        certificates_refused: RareNotes::default(),
        too_many: RareNotes::default(),
    });
    let (send, receive) = mpsc::channel(WAITING);
    tokio::spawn(take(listener, acceptor, send));
    futures::stream::unfold(receive, |mut receive| async move {
        let connection = receive.recv().await?;
        Some((Ok(connection), receive))
    })
}

async fn take(listener: TcpListener, acceptor: Arc<ConnectionAcceptor>, to: mpsc::Sender<Connection>) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            taken = listener.accept() => match taken {
                Ok((socket, address)) => enter(&acceptor, socket, address, &to),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be taken");
                    tokio::time::sleep(BREATH).await;
                }
            },
            _ = look.tick() => acceptor.table.give_up_idle(Instant::now()),
            () = to.closed() => return,
        }
    }
}

/// Makes a connection of a socket, without waiting for it.
fn enter(
    acceptor: &Arc<ConnectionAcceptor>,
    socket: TcpStream,
    address: SocketAddr,
    to: &mpsc::Sender<Connection>,
) {
    let _ = socket.set_nodelay(true);
    let now = Instant::now();
    let Some(place) = acceptor.table.enter(now) else {
        if let Some(left_out) = acceptor.too_many.due(now) {
            let most = acceptor.table.most;
            tracing::warn!(%address, most, left_out, "a connection is refused: there are too many");
        }
        let told = Arc::clone(&acceptor.farewells).try_acquire_owned();
        if let (Ok(told), None) = (told, &acceptor.certificates) {
            let protocol = acceptor.protocol;
            tokio::spawn(async move {
                refusal::refuse(socket, protocol).await;
                drop(told);
            });
        }
        return;
    };
    let (acceptor, to) = (Arc::clone(acceptor), to.clone());
    tokio::spawn(async move {
        let connection = match &acceptor.certificates {
            None => Connection::new(socket, address, place),
            Some(certificates) => {
                let shaken = handshake(certificates, &acceptor.handshakes, socket);
                match tokio::time::timeout(HANDSHAKE, shaken).await {
                    Ok(Ok(stream)) => Connection::new(stream, address, place),
                    Ok(Err(error)) => return acceptor.failed(address, &error, Instant::now()),
                    Err(_) => return tracing::debug!(%address, "a handshake took too long"),
                }
            }
        };
        // The server may have stopped meanwhile.
        let _ = to.send(connection).await;
    });
}

/// The handshake of TLS. A client that sends nothing, or stops halfway, keeps no turn from others.
async fn handshake(
    certificates: &Certificates,
    turns: &Semaphore,
    socket: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), socket).await?;
    // Closed only with the acceptor itself.
    let mut turn = Some(turns.acquire().await.map_err(io::Error::other)?);
    let acceptor = certificates.acceptor();
    let mut rest = pin!(hello.into_stream(Arc::clone(acceptor.config())));
    std::future::poll_fn(|context| {
        let polled = rest.as_mut().poll(context);
        // The keys are agreed on and the signature is made in the first step; what follows is little.
        drop(turn.take());
        polled
    })
    .await
}

/// Raises the number of files that may be open to what the system allows: each connection is one.
fn room_for_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        if current != maximum
            && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        {
            tracing::debug!(%error, ?current, "the number of open files cannot be raised");
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tokio::net::TcpStream;
    use tonic::transport::server::Connected;

    use super::*;

    fn limits(most: usize) -> ConnectionLimits {
        ConnectionLimits { most, ..ConnectionLimits::default() }
    }

    async fn read_all(socket: &TcpStream) -> Vec<u8> {
        let (mut all, mut part) = (Vec::new(), [0; 256]);
        loop {
            socket.readable().await.unwrap();
            match socket.try_read(&mut part) {
                Ok(0) => return all,
                Ok(n) => all.extend(&part[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return all,
            }
        }
    }

    #[tokio::test]
    async fn one_too_many_is_sent_away_and_places_come_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut taken =
            std::pin::pin!(incoming(listener, Protocol::Flight, None, &limits(2), &Arc::default()));
        let _clients =
            [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        let held = [taken.next().await.unwrap().unwrap(), taken.next().await.unwrap().unwrap()];
        assert_eq!(held[0].connect_info().address.ip(), address.ip());
        let third = TcpStream::connect(address).await.unwrap();
        let told = read_all(&third).await;
        assert_eq!(told.get(3), Some(&4), "SETTINGS, and no more to one that does not speak HTTP/2");
        drop(held);
        let fourth = TcpStream::connect(address).await.unwrap();
        assert!(taken.next().await.unwrap().is_ok());
        drop(fourth);
    }

    #[tokio::test]
    async fn each_listener_has_as_many_connections_as_allowed() {
        let count = Arc::<AtomicUsize>::default();
        let mut held = Vec::new();
        for protocol in [Protocol::Flight, Protocol::Http] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut taken = Box::pin(incoming(listener, protocol, None, &limits(1), &count));
            let client = TcpStream::connect(address).await.unwrap();
            let connection = tokio::time::timeout(Duration::from_secs(10), taken.next()).await.unwrap();
            held.push((client, connection.unwrap().unwrap(), taken));
        }
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 2, "and the metrics count both");
        drop(held);
    }

    #[tokio::test]
    async fn the_address_is_free_once_the_stream_is_dropped() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(incoming(listener, Protocol::Flight, None, &limits(2), &Arc::default()));
        let gone = async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    }
}
