//! Promise: a server gives clients the rows that the store's own session gives, to those who may have them,
//! and survives all others.

#[path = "flight/access.rs"]
mod access;
#[path = "flight/client.rs"]
mod client;
#[path = "../../sql/tests/sql/fixture.rs"]
#[allow(dead_code)]
mod fixture;
#[path = "flight/hostile.rs"]
mod hostile;
#[path = "flight/http.rs"]
mod http;
#[path = "flight/limits.rs"]
mod limits;
#[path = "flight/plain.rs"]
mod plain;
#[path = "flight/put.rs"]
mod put;
#[path = "flight/sql.rs"]
mod sql;
#[path = "flight/streams.rs"]
mod streams;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use client::Client;
use gstore_core::Cancel;
use gstore_server::{Addresses, NewToken, RequestLimits, Scope, ServeError, ServeOptions, Tokens, serve};
use gstore_sql::SqlOptions;
use gstore_store::Store;

/// A server on the small store of the SQL tests, with a token for everything.
struct Server {
    address: SocketAddr,
    http: Option<SocketAddr>,
    store: Store,
    token: String,
    audit: PathBuf,
    stop: Arc<Cancel>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
    _folder: tempfile::TempDir,
}

/// A server, and a client that may read.
async fn served(options: ServeOptions) -> (Server, Client) {
    let server = Server::start(options);
    let client = Client::of(&server).await;
    (server, client)
}

/// Options of a server on a free port of this machine.
fn options() -> ServeOptions {
    ServeOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        http: None,
        tls: None,
        plain_text: false,
        without_tokens: false,
        limits: RequestLimits::default(),
        sql: SqlOptions { threads: 2, ..SqlOptions::default() },
        drain: Duration::from_millis(200),
        audit: None,
    }
}

impl Server {
    fn start(options: ServeOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        fixture::store(&path);
        let store = Store::open(&path).unwrap();
        let token = token(&store, "all", None);
        Self::on(store, token, folder, options)
    }

    /// Another server on the same store.
    fn again(&self) -> Self {
        Self::on(self.store.clone(), self.token.clone(), tempfile::tempdir().unwrap(), options())
    }

    fn on(store: Store, token: String, folder: tempfile::TempDir, options: ServeOptions) -> Self {
        let audit = folder.path().join("audit.jsonl");
        let stop = Arc::new(Cancel::new());
        let (send, receive) = std::sync::mpsc::channel();
        let options = ServeOptions { audit: Some(audit.clone()), ..options };
        let (served, raised) = (store.clone(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            serve(served, options, &raised, |addresses| send.send(addresses).unwrap())
        });
        let Addresses { flight: address, http } = receive.recv().expect("the server starts");
        Self { address, http, store, token, audit, stop, thread: Some(thread), _folder: folder }
    }

    /// Stops the server and waits until it has.
    fn stop(&mut self) {
        self.stop.raise();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }

    /// Tells the server to stop, and does not wait.
    fn tell_to_stop(&self) {
        self.stop.raise();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A token that reads.
fn token(store: &Store, name: &str, datasets: Option<&[&str]>) -> String {
    token_for(Scope::Read, store, name, datasets)
}

fn token_for(scope: Scope, store: &Store, name: &str, datasets: Option<&[&str]>) -> String {
    let datasets = datasets.map(|names| names.iter().map(|n| (*n).to_owned()).collect());
    let new = NewToken { name: name.to_owned(), scope, expires: None, datasets };
    Tokens::of(store).create(new).unwrap()
}
