//! Options of a server: where it listens, who may ask, and how much an answer may take.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use gstore_sql::SqlOptions;

/// How a server runs.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the page, metrics and liveness are; nowhere without it.
    pub http: Option<SocketAddr>,
    /// Certificate and key; without it, plain text.
    pub tls: Option<Tls>,
    /// Plain text also where others than this machine can connect.
    pub plain_text: bool,
    /// Every client that connects may read, without a token. Only on this machine.
    pub without_tokens: bool,
    /// How much an answer may take.
    pub limits: RequestLimits,
    /// Threads, memory and models of the statements.
    pub sql: SqlOptions,
    /// How long running answers may go on after the server was told to stop.
    pub drain: Duration,
    /// A file to which every request is added as a line of JSON.
    pub audit: Option<PathBuf>,
}

/// Files of a TLS server.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Its certificate and those above it, as PEM.
    pub certificate: PathBuf,
    /// The key of the certificate, as PEM.
    pub key: PathBuf,
    /// Who signs the certificates that clients must have; without it, none are asked for.
    pub client_ca: Option<PathBuf>,
}

/// What requests may take. A client that asks for more is told so, with the limit.
#[derive(Debug, Clone)]
pub struct RequestLimits {
    /// Statements that run at once.
    pub statements: usize,
    /// Statements that one token runs at once.
    pub statements_each: usize,
    /// Statements that wait for others to end.
    pub waiting: usize,
    /// How long a statement may run, until its last row is sent.
    pub time: Duration,
    /// Bytes of one result.
    pub result_bytes: u64,
    /// Bytes of one message that comes in.
    pub message_bytes: usize,
    /// Rows of one upload.
    pub put_rows: u64,
    /// Bytes of one upload.
    pub put_bytes: u64,
    /// Bytes of one message that goes out, about; a row that has more is sent all the same.
    pub batch_bytes: usize,
    /// Connections, and how long they may be of no use.
    pub connections: ConnectionLimits,
}

/// How many connections there may be, and for how long.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections at once; more are refused.
    pub most: usize,
    /// How long one stays open over which nothing is asked.
    pub idle: Duration,
    /// How long rows wait for a client that does not read them, and a request that has begun for its rest.
    pub reader: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { most: 1024, idle: Duration::from_secs(1800), reader: Duration::from_secs(600) }
    }
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            statements: 16,
            statements_each: 8,
            waiting: 256,
            time: Duration::from_secs(3600),
            result_bytes: 1 << 40,
            message_bytes: 16 << 20,
            put_rows: 100_000_000,
            put_bytes: 64 << 30,
            batch_bytes: 2 << 20,
            connections: ConnectionLimits::default(),
        }
    }
}
