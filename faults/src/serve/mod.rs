//! A server with clients that upload and read, killed cycle after cycle on the same store, also on a failing
//! disk.
//!
//! - an acknowledged upload is stored once, as it was sent; any other is absent or complete, and sending it
//!   again with its key makes it complete, once
//! - every answer is from one snapshot, which has everything acknowledged before the request
//! - a full disk disturbs no reader, and a failing one no later upload
//! - features with one label are one feature, even if two clients create it at once

mod check;
mod client;
mod clients;
mod model;
mod readers;
mod server;

pub use server::server_main;

use crate::check::{guarded, sound};
use crate::process::{Fault, remove};
use crate::{Failure, Random, Report, Stop};
use clients::{Disk, Life};
use gstore_server::{NewToken, Scope, Tokens};
use gstore_store::Store;
use model::Model;
use server::Server;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// How much is tried.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Number of lives of servers.
    pub cycles: u64,
    /// Pieces that clients send to a store: samples, their vectors and their losses.
    pub pieces: u64,
    /// Clients that upload, and as many that read.
    pub clients: u64,
    /// The `faults` program, for the servers.
    pub program: PathBuf,
    /// Where bad stores are kept.
    pub keep: Option<PathBuf>,
}

/// How long clients have to notice that their server is gone.
const NOTICE: Duration = Duration::from_secs(30);
/// The longest life of a server that does not kill itself, in milliseconds.
const LIFE: u64 = 700;
/// How long the last server of a store has for the remaining work.
const END: Duration = Duration::from_secs(180);

/// A store, and what its clients know.
struct Bench {
    path: PathBuf,
    token: String,
    model: Arc<Model>,
}

/// The lives.
pub fn run(seed: u64, options: &ServerOptions, stop: &Stop) -> Report {
    let mut report = Report::new("serve");
    if let Err(e) = lives(seed, options, stop, &mut report) {
        report.anomaly(format!("it cannot be done here: {e}"));
    }
    report.finish()
}

fn lives(seed: u64, options: &ServerOptions, stop: &Stop, report: &mut Report) -> Result<(), Failure> {
    let folder = crate::kill::temporary()?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut random = Random::of(&[seed, 11]);
    let (mut stores, mut bench) = (seed, None);
    // The last one has no fault, and ends when everything is stored.
    for cycle in 0..=options.cycles {
        if stop.now() {
            break;
        }
        let last = cycle == options.cycles;
        let now = match bench.take() {
            Some(bench) => bench,
            None if last => break,
            None => {
                stores += 1;
                Bench::new(folder.path(), stores, options.pieces)?
            }
        };
        let fate = if last { Fate { fault: None, time: END } } else { Fate::new(&mut random) };
        let lived = guarded(|| now.live(fate, options, &runtime, &mut random, report));
        match lived {
            Ok(true) => {
                report.count("stores finished", 1);
                remove(&now.path, None);
            }
            Ok(false) if !last => bench = Some(now),
            other => {
                let why =
                    other.err().map_or_else(|| "uploads are left at the end".to_owned(), |e| e.to_string());
                report.anomaly(format!("cycle {cycle} ({fate:?}), store of seed {stores}: {why}"));
                remove(&now.path, options.keep.as_deref());
            }
        }
    }
    Ok(())
}

/// What happens to a server, which is killed in the end in any case.
#[derive(Debug, Clone, Copy)]
struct Fate {
    fault: Option<Fault>,
    /// Its longest life.
    time: Duration,
}

impl Fate {
    fn new(random: &mut Random) -> Self {
        let (fault, time) = match random.below(5) {
            0 | 1 => (Some(Fault::Die { at: 3 + random.below(300), after: random.chance(50) }), LIFE),
            2 | 3 => {
                let (at, changes) = (3 + random.below(150), 1 + random.below(60));
                let fault = Fault::Fail { at, changes, full: random.chance(50) };
                (Some(fault), LIFE / 2 + random.below(LIFE / 2))
            }
            _ => (None, random.below(LIFE)),
        };
        Fate { fault, time: Duration::from_millis(time) }
    }
}

impl Bench {
    fn new(folder: &Path, seed: u64, pieces: u64) -> Result<Self, Failure> {
        let path = folder.join(format!("served-{seed}"));
        let store = Store::create(&path)?;
        let new = NewToken { name: "writer".into(), scope: Scope::Write, expires: None, datasets: None };
        let token = Tokens::of(&store).create(new)?;
        Ok(Bench { path, token, model: Arc::new(Model::new(seed, pieces)) })
    }

    /// One life of a server, and a check of what is left. Returns whether all work is done.
    fn live(
        &self,
        fate: Fate,
        options: &ServerOptions,
        runtime: &Runtime,
        random: &mut Random,
        report: &mut Report,
    ) -> Result<bool, Failure> {
        let mut server = Server::start(&options.program, &self.path, fate.fault)?;
        let disk = match fate.fault {
            Some(Fault::Fail { full: true, .. }) => Disk::Full,
            Some(Fault::Fail { full: false, .. }) => Disk::Failing,
            _ => Disk::Sound,
        };
        let life = Arc::new(Life::new(server.address.clone(), self.token.clone(), disk));
        let mut tasks = Vec::new();
        for client in 0..options.clients {
            let (seed, clients) = (random.next(), options.clients);
            let (own, model) = (Arc::clone(&life), Arc::clone(&self.model));
            tasks.push(runtime.spawn(async move { clients::write(&own, &model, client, clients).await }));
            let (own, model) = (Arc::clone(&life), Arc::clone(&self.model));
            tasks.push(runtime.spawn(async move { readers::read(&own, &model, seed).await }));
        }
        let end = Instant::now() + fate.time;
        let mut died = false;
        while !died && Instant::now() < end && life.wrong().is_empty() && !self.model.is_complete() {
            std::thread::sleep(Duration::from_millis(1));
            died = server.has_ended()?;
        }
        // Killed before the clients notice: connections may break from here on.
        life.gone.store(true, Ordering::SeqCst);
        let said = server.kill()?;
        let joined =
            runtime.block_on(async { tokio::time::timeout(NOTICE, futures::future::join_all(tasks)).await });
        report.count("servers", 1);
        report.count(if died { "died at a change" } else { "killed" }, 1);
        life.counts().into_iter().for_each(|(what, n)| report.count(what, n));
        if let Some(wrong) = life.wrong().first() {
            return Err(format!("{wrong}; the server said: {said}").into());
        }
        if said.contains("panicked") || (died && !matches!(fate.fault, Some(Fault::Die { .. }))) {
            return Err(format!("the server failed: {said}").into());
        }
        let ended = joined.map_err(|_| "clients hang after their server is gone")?;
        if let Some(Err(e)) = ended.into_iter().find(Result::is_err) {
            return Err(format!("a client failed: {e}").into());
        }
        self.examine(random)
    }

    /// Checks what is left, from outside.
    fn examine(&self, random: &mut Random) -> Result<bool, Failure> {
        let store = Store::open(&self.path)?;
        check::look(&self.model, &store)?;
        let done = self.model.is_complete();
        if done || random.chance(25) {
            sound(&store)?;
        }
        Ok(done)
    }
}
