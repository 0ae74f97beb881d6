//! Flags of the server commands: serve, token, and the address of remote queries.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use gstore_server::Scope;
use gstore_server::logs::LogFormat;

use super::life::{age, some_time};
use super::size::size;
use super::words::{Word, one_of};
use super::{ListOutputArgs, ModelArgs};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore token create laptop --store s --scope read\n  \
    gstore serve --store s\n  \
    gstore serve --store s --http\n  \
    gstore serve --store s --listen 0.0.0.0:8815 --tls-cert server.pem --tls-key server.key\n\n\
    Speaks Arrow Flight SQL and Arrow Flight on one port; ADBC, JDBC, pyarrow, pandas, polars and `gstore query --remote` connect to it. The address\n\
    is printed once the server accepts connections; with --http also that of a page to look at the store in a browser. SQL is read-only. What other processes publish is seen by the next request.\n\n\
    Ctrl-C or SIGTERM stops it: running statements have --drain to finish.\n\n\
    Clients, security and operations: docs/server.md, docs/clients.md\n\n\
    Memory: --memory for sorts, joins, groupings and the matrices of questions, --memory-each of it for one token; for each running statement one block of rows, and four messages that wait to be sent.")]
pub struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8815", value_parser = address)]
    pub listen: SocketAddr,
    /// Also serve a page for browsers, Prometheus metrics and liveness over HTTP here; without an address at
    /// 127.0.0.1:8816 [default: not at all]
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, default_missing_value = "127.0.0.1:8816", value_parser = address)]
    pub http: Option<SocketAddr>,
    /// The server's certificate chain, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The key of the certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// CA that signs the certificates that clients must have, as PEM [default: clients need none]
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub client_ca: Option<PathBuf>,
    /// Accept other machines without encryption: tokens and data are sent in plain text
    #[arg(long, conflicts_with = "tls_cert")]
    pub plain_text: bool,
    /// Let everybody on this machine read, without a token
    #[arg(long)]
    pub without_tokens: bool,
    /// Refuse questions that come with their own texts, which run a model here
    #[arg(long, conflicts_with = "backend")]
    pub no_encoder: bool,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// How long running statements have to finish once the server is stopped
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = grace)]
    pub drain: Duration,
    /// Form of the log, which goes to standard error
    #[arg(long, value_parser = one_of(LOG_FORMATS), default_value = "text")]
    pub log: LogFormat,
    /// What is logged: off, error, warn, info, debug or trace, or a filter such as gstore_server=debug,warn
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// File to which every request is added as a line of JSON: who, when, what, rows, bytes, outcome
    #[arg(long, value_name = "FILE")]
    pub audit_log: Option<PathBuf>,
    #[command(flatten)]
    pub models: ModelArgs,
}

/// How much an answer may take.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Statements that run at once; others wait
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = super::at_least::<usize>(1))]
    pub statements: usize,
    /// Statements of one token that run at once, of --statements [default: 8, or all of fewer]
    #[arg(long, value_name = "N", value_parser = super::at_least::<usize>(1))]
    pub statements_each: Option<usize>,
    /// Statements that may wait; more are refused
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = super::at_least::<usize>(0))]
    pub waiting: usize,
    /// How long a statement may run, until its last row is sent
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = some_time)]
    pub time: Duration,
    /// Bytes that sorts, joins and groupings may hold in memory
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = size)]
    pub memory: u64,
    /// Bytes of them that the statements of one token may hold [default: half of --memory]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory_each: Option<u64>,
    /// Folder for what does not fit into the memory [default: such statements fail]
    #[arg(long, value_name = "DIR")]
    pub spill: Option<PathBuf>,
    /// Bytes of one result
    #[arg(long, value_name = "SIZE", default_value = "1TiB", value_parser = size)]
    pub result_size: u64,
    /// Maximum bytes of one incoming message
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = size)]
    pub message_size: u64,
    /// Rows of one upload
    #[arg(long, value_name = "N", default_value_t = 100_000_000)]
    pub put_rows: u64,
    /// Bytes of one upload
    #[arg(long, value_name = "SIZE", default_value = "64GiB", value_parser = size)]
    pub put_size: u64,
    /// Approximate bytes of one outgoing message
    #[arg(long, value_name = "SIZE", default_value = "2MiB", value_parser = size)]
    pub batch_size: u64,
    #[command(flatten)]
    pub connections: ConnectionArgs,
}

/// How many connections there may be, and for how long.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Limits")]
pub struct ConnectionArgs {
    /// Connections at once, N of Flight and N of HTTP; one more replaces a connection without a request for
    /// half a minute, or is refused
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = super::at_least::<usize>(1))]
    pub connections: usize,
    /// How long an idle connection stays open
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = some_time)]
    pub idle: Duration,
    /// How long rows wait for a client that does not read them
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = some_time)]
    pub unread: Duration,
}

/// Time that running statements have, which may be none.
fn grace(text: &str) -> Result<Duration, String> {
    age(text).map_err(|_| "expected a time such as 30s, 15m or 0s".to_owned())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let wanted = || "expected an IP address and a port, such as 127.0.0.1:8815 or [::1]:8815".to_owned();
    text.parse().map_err(|_| wanted())
}

const LOG_FORMATS: &[Word<LogFormat>] =
    &[("text", "For reading", LogFormat::Text), ("json", "One object a line", LogFormat::Json)];

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    gstore token create laptop --store s --scope read --expires 90d\n  \
    gstore token create partner --store s --scope read --datasets pool,gsm8k\n  \
    gstore token revoke laptop --store s\n\n\
    A token is shown once, when it is made, alone on standard output; the store keeps its digest, in a file that is not part of snapshots or backups. A running server knows of a\n\
    new or revoked token at the next request.")]
pub struct TokenArgs {
    #[command(subcommand)]
    pub what: TokenWhat,
}

/// What to do with tokens.
#[derive(Subcommand, Debug)]
pub enum TokenWhat {
    /// Make a token and print it
    Create {
        /// Its name: letters, digits, `.`, `_` and `-`
        name: String,
        /// What it allows
        #[arg(long, value_parser = one_of(SCOPES))]
        scope: Scope,
        /// How long it is valid, such as 90d or 12h [default: until it is revoked]
        #[arg(long, value_name = "TIME", value_parser = some_time)]
        expires: Option<Duration>,
        /// The datasets that it may see, with their features [default: all]
        #[arg(long, value_name = "NAME", value_delimiter = ',', num_args = 1..)]
        datasets: Vec<String>,
        /// Print its name and the token as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the tokens, without their secrets
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        output: ListOutputArgs,
    },
    /// Revoke a token
    #[command(aliases = ["delete", "drop", "remove", "rm"])]
    Revoke {
        /// Its name, as `gstore token list` shows it
        name: Option<String>,
        /// Print its name as JSON
        #[arg(long)]
        json: bool,
    },
}

const SCOPES: &[Word<Scope>] = &[
    ("read", "Asking", Scope::Read),
    ("write", "Asking, and adding to the store: samples, vectors, losses and tags", Scope::Write),
];

/// Where a statement is sent to.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Server")]
pub struct RemoteArgs {
    /// Ask the server at this address instead of a store here: grpc://host:port or grpc+tls://host:port
    #[arg(long, value_name = "URI", conflicts_with = "checks")]
    pub remote: Option<String>,
    /// The token for the server
    #[arg(long, value_name = "TOKEN", env = "GSTORE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// CA that must have signed the server's certificate, as PEM [default: those that the system trusts]
    #[arg(long, value_name = "FILE", requires = "remote")]
    pub tls_ca: Option<PathBuf>,
    /// Certificate of this client, as PEM
    #[arg(long, value_name = "FILE", requires_all = ["remote", "tls_key"])]
    pub tls_cert: Option<PathBuf>,
    /// The key of the certificate, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}
