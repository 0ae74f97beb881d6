//! A gstore over the network: Arrow Flight SQL and Arrow Flight on one port, a page and metrics on another,
//! and the client of it.
//!
//! - [`serve`]: answers until it is told to stop; [`ServeOptions`] says how
//! - [`Tokens`]: who may ask
//! - [`Remote`]: statements to a server, answered as by a session of one's own
//! - [`logs`]: what the server tells its owner
//!
//! Invariants
//! - only uploads change a store (`put`), and only for tokens of the scope `write`; what else is written is
//!   in the folder `server` in it, which no snapshot has
//! - no other request leaves a state behind: handles carry what they stand for
//! - no result is held whole; a client that does not read holds only its own statement up

#![forbid(unsafe_code)]

mod access;
mod admission;
mod answer;
mod audit;
mod audit_file;
mod client;
mod core;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handle;
mod http;
mod json;
mod listen;
pub mod logs;
mod metrics;
mod options;
mod pem;
mod put;
mod rare;
mod run;
mod running;
mod service;
mod sessions;
mod statements;
mod status;
mod values;
mod wire;

pub use access::{NewToken, Scope, TokenError, TokenInfo, Tokens};
pub use client::{Remote, RemoteOptions, RemoteRows};
pub use options::{ConnectionLimits, RequestLimits, ServeOptions, Tls};
pub use run::{Addresses, ServeError, serve};
