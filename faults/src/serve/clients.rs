//! Clients that upload to a server that is about to be killed, and check its answers.

use super::client::Client;
use super::model::{Model, What};
use gstore_core::locked;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tonic::{Code, Status};

/// How often an upload is sent again after a conflict with another one.
const ATTEMPTS: u32 = 400;
/// How long a server may take to end after a request to it failed.
const GONE: Duration = Duration::from_secs(10);

/// What happens to the disk of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    Sound,
    /// It is full for a while.
    Full,
    /// Changes fail for a while.
    Failing,
}

/// One life of a server, as its clients see it.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) address: String,
    pub(super) token: String,
    pub(super) disk: Disk,
    /// The server was killed, or is about to be.
    pub(super) gone: AtomicBool,
    wrong: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

/// Why a client stops.
pub(super) enum Stopped {
    /// The server is gone.
    Gone,
    /// An anomaly.
    Wrong(String),
}

impl From<String> for Stopped {
    fn from(why: String) -> Self {
        Stopped::Wrong(why)
    }
}

impl Life {
    pub(super) fn new(address: String, token: String, disk: Disk) -> Self {
        let (gone, wrong, counts) = (AtomicBool::new(false), Mutex::default(), Mutex::default());
        Life { address, token, disk, gone, wrong, counts }
    }

    pub(super) fn count(&self, what: &'static str) {
        *locked(&self.counts).entry(what).or_default() += 1;
    }

    /// The counts.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        locked(&self.counts).clone()
    }

    /// The anomalies.
    pub(super) fn wrong(&self) -> Vec<String> {
        locked(&self.wrong).clone()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    pub(super) fn ended(&self, who: &str, ended: Result<(), Stopped>) {
        if let Err(Stopped::Wrong(why)) = ended {
            locked(&self.wrong).push(format!("{who}: {why}"));
        }
    }

    /// A request that must not fail did: either the server is gone, or that is an anomaly.
    pub(super) async fn broken(&self, what: &str, status: &Status) -> Stopped {
        // Errors that a server reports have no cause on this side, and a killed server reports none.
        let said = status.source().is_none() && !status.message().contains("EOF");
        let own = said && [Code::Internal, Code::Aborted].contains(&status.code());
        let lost = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal, Code::Aborted];
        if !own && lost.contains(&status.code()) {
            let end = Instant::now() + GONE;
            while Instant::now() < end {
                if self.is_gone() {
                    return Stopped::Gone;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Stopped::Wrong(format!("{what}: {status}"))
    }

    pub(super) async fn connect(&self) -> Result<Client, Stopped> {
        match Client::connect(&self.address, &self.token).await {
            Ok(client) => Ok(client),
            Err(status) => Err(self.broken("connecting", &status).await),
        }
    }
}

/// Sends the pieces of one writer, one after the other, until all are stored.
pub(super) async fn write(life: &Life, model: &Model, writer: u64, writers: u64) {
    let work = async {
        let client = life.connect().await?;
        for piece in (writer..model.pieces).step_by(writers.max(1) as usize) {
            for what in What::ALL {
                if !model.is_there(what, piece) {
                    put(life, model, &client, what, piece).await?;
                }
            }
        }
        Ok::<(), Stopped>(())
    };
    life.ended("writer", work.await);
}

/// Sends an upload until it is acknowledged.
async fn put(life: &Life, model: &Model, client: &Client, what: What, piece: u64) -> Result<(), Stopped> {
    let command = model.command(what, piece);
    for _ in 0..ATTEMPTS {
        if life.is_gone() {
            return Err(Stopped::Gone);
        }
        let batches = model.batches(what, piece).map_err(|e| e.to_string())?;
        let before = model.begin(what, piece);
        match client.put(&command, batches).await {
            Ok(told) => {
                said(model, what, piece, before, &told)?;
                model.end(what, piece);
                life.count(if told["repeated"] == json!(true) {
                    "uploads that were there already"
                } else {
                    "uploads"
                });
                return Ok(());
            }
            // Another upload is writing the feature, or has just created it.
            Err(status) if status.code() == Code::Aborted => life.count("uploads in the way of another"),
            Err(status) if life.disk != Disk::Sound && status.code() == Code::ResourceExhausted => {
                life.count("uploads refused by a full disk");
            }
            Err(status) if life.disk != Disk::Sound && status.code() == Code::Internal => {
                life.count("uploads refused by a failing disk");
            }
            Err(status) => return Err(life.broken(&format!("{what:?} of piece {piece}"), &status).await),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(Stopped::Wrong(format!("{what:?} of piece {piece} were refused {ATTEMPTS} times")))
}

/// An upload's description of itself.
fn said(model: &Model, what: What, piece: u64, before: bool, told: &Value) -> Result<(), String> {
    let rows = if what == What::Samples { &told["added"] } else { &told["rows"] };
    if told["repeated"] == json!(true) && !before {
        return Err(format!("{what:?} of piece {piece} were there before they were sent"));
    }
    if *rows != json!(model.rows(piece)) {
        return Err(format!("{what:?} of piece {piece}, {} rows: {told}", model.rows(piece)));
    }
    Ok(())
}
