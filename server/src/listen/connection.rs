//! One connection: bytes of a socket, with TLS or without, and what is known of its use.
//!
//! Invariants
//! - a connection is busy while a request of it is answered, and then not idle, however long that takes
//! - one that is cut ends for its reader as if the client had closed it

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use super::table::ConnectionSlot;
use super::usage::{BusyGuard, ConnectionUse};

/// More bytes at once than the frames with which two sides keep a connection alive.
const TRAFFIC: usize = 128;

/// The other side of a connection, as requests know it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    usage: Arc<ConnectionUse>,
}

impl Peer {
    /// Marks a request that is being answered.
    pub(crate) fn busy(&self) -> BusyGuard {
        self.usage.busy()
    }
}

/// The bytes of both sides, with TLS or without.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

pub(crate) struct Connection {
    bytes: Box<dyn ByteStream>,
    peer: Peer,
    _place: ConnectionSlot,
}

impl Connection {
    pub(super) fn new(bytes: impl ByteStream + 'static, address: SocketAddr, place: ConnectionSlot) -> Self {
        let peer = Peer { address, usage: Arc::clone(&place.usage) };
        Self { bytes: Box::new(bytes), peer, _place: place }
    }

    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written
            && bytes > TRAFFIC
        {
            self.peer.usage.touch();
        }
        written
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Before the flag is looked at: one that is raised meanwhile wakes this task.
        self.peer.usage.wakes(cx.waker());
        if self.peer.usage.is_cut() {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.bytes).poll_read(cx, buf);
        if buf.filled().len() - before > TRAFFIC {
            self.peer.usage.touch();
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.bytes).poll_write(cx, buf);
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.bytes).poll_write_vectored(cx, bufs);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.bytes.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(cx)
    }
}
