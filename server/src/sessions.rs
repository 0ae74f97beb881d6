//! Sessions of SQL at hand: one for each snapshot and set of visible datasets that was asked for lately.
//!
//! Invariants
//! - a request sees one snapshot from its first to its last row, held against `gc` by the session's lease
//! - a session that no request runs in has no lease after an instant: it is taken again for the next request,
//!   unless the store does not have the snapshot any more
//! - the newest snapshot is looked for at each request, so that what other processes publish is seen without
//!   a restart
//! - a snapshot is known by the digest of its root: a restored store gives the numbers of later ones again
//! - all sessions share one limit of memory, and the statements of a client one of their own within it
//! - a session that no request asks is given up after a while

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arrow_schema::SchemaRef;
use gstore_core::{Cancel, Digest, locked};
use gstore_sql::{
    HeldMemory, LiveTable, Parameters, PreparedStatement, RowWindow, SqlError, SqlOptions, SqlResources,
    SqlResult, SqlSession, StatementOptions, with_whole_views,
};
use gstore_store::{Lease, OpenError, Snapshot, SnapshotName, Store};
use tonic::Status;

use crate::access::Caller;
use crate::handle::Statement;
use crate::status;
use crate::values::read_values;

/// How many sessions are kept.
const MOST: usize = 8;
/// How long one is kept that no request asks.
const IDLE: Duration = Duration::from_secs(60);
/// How long its lease is: the time that a client takes from the plan of an answer to asking for its rows.
const HELD: Duration = Duration::from_millis(250);
/// Whose leases they are.
const COMMAND: &str = "gstore serve";

/// Statements of a session that are kept prepared.
const KNOWN: usize = 64;
/// Bytes of a statement that is kept.
const SHORT: usize = 8 << 10;

pub(crate) struct OpenSession {
    pub(crate) session: SqlSession,
    /// None as well where nothing can be written.
    lease: Mutex<Option<Lease>>,
    /// Those of all sessions.
    resources: SqlResources,
    /// The last statements, as they were planned: most are asked for twice, before the rows and with them.
    /// Their columns are those of the snapshot, and never change. The memory of a plan is that of its client.
    known: Mutex<VecDeque<PlannedStatement>>,
}

/// A statement of a client, as it was planned.
struct PlannedStatement {
    client: String,
    statement: Statement,
    prepared: Arc<PreparedStatement>,
}

impl OpenSession {
    fn new(session: SqlSession, lease: Option<Lease>, resources: SqlResources) -> Self {
        Self { session, lease: Mutex::new(lease), resources, known: Mutex::default() }
    }

    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        self.session.snapshot()
    }

    /// The columns that a statement of late of this client gives.
    pub(crate) fn known(&self, statement: &Statement, caller: &Caller) -> Option<SchemaRef> {
        self.find(statement, &caller.client()).map(|prepared| Arc::clone(prepared.schema()))
    }

    pub(crate) async fn columns(
        &self,
        statement: &Statement,
        caller: &Caller,
    ) -> Result<Result<SchemaRef, SqlError>, Status> {
        if let Some(schema) = self.known(statement, caller) {
            return Ok(Ok(schema));
        }
        let client = caller.client();
        let (values, memory) = (read_values(statement)?, self.resources.of_client(&client));
        let prepared = match self.session.prepare(&statement.sql, &values, Some(&memory)).await {
            Ok(prepared) => Arc::new(prepared),
            Err(error) => return Ok(Err(error)),
        };
        let schema = Arc::clone(prepared.schema());
        if statement.sql.len() + statement.values.len() <= SHORT {
            let mut all = locked(&self.known);
            all.truncate(KNOWN - 1);
            all.push_front(PlannedStatement { client, statement: statement.clone(), prepared });
        }
        Ok(Ok(schema))
    }

    /// The columns of a view. Its plan is not kept: who lists views does not read each.
    pub(crate) async fn view_columns(&self, view: &str, caller: &Caller) -> Result<SchemaRef, SqlError> {
        let memory = self.resources.of_client(&caller.client());
        let sql = format!("SELECT * FROM \"{view}\"");
        let prepared = self.session.prepare(&sql, &Parameters::default(), Some(&memory)).await?;
        Ok(Arc::clone(prepared.schema()))
    }

    /// Starts a statement, by the plan that was made for its columns where there is one. `cancel` ends it.
    pub(crate) async fn run(
        &self,
        statement: &Statement,
        window: Option<RowWindow>,
        caller: &Caller,
        cancel: Arc<Cancel>,
    ) -> Result<Result<SqlResult, SqlError>, Status> {
        let client = caller.client();
        let memory = self.resources.of_client(&client);
        let prepared = self.find(statement, &client).filter(|_| window.is_none());
        let run = |found: Arc<PreparedStatement>| {
            self.session.run_prepared(&found, Some(&memory), Arc::clone(&cancel))
        };
        if let Some(result) = prepared.and_then(run) {
            return Ok(result);
        }
        let (values, asker) = (read_values(statement)?, Some(caller.asker()));
        let asked = StatementOptions { values, window, asker, memory: Some(memory), cancel };
        Ok(self.session.run_asked(&statement.sql, asked).await)
    }

    /// Takes memory of a client for what is no statement.
    pub(crate) fn hold(
        &self,
        caller: &Caller,
        what: &'static str,
        bytes: u64,
    ) -> Result<HeldMemory, SqlError> {
        self.resources.of_client(&caller.client()).hold(what, bytes)
    }

    fn find(&self, statement: &Statement, client: &str) -> Option<Arc<PreparedStatement>> {
        let all = locked(&self.known);
        let found = all.iter().find(|known| known.statement == *statement && known.client == client);
        found.map(|known| Arc::clone(&known.prepared))
    }
}

struct SessionSlot {
    datasets: Option<BTreeSet<String>>,
    held: Arc<OpenSession>,
    used: Instant,
}

impl SessionSlot {
    fn is_of(&self, digest: Digest, caller: &Caller) -> bool {
        self.held.snapshot().digest() == digest && self.datasets == caller.datasets
    }
}

pub(crate) struct Sessions {
    pub(crate) store: Store,
    options: SqlOptions,
    resources: SqlResources,
    /// Tables of the server in every session.
    live: Vec<Arc<dyn LiveTable>>,
    slots: Mutex<Vec<SessionSlot>>,
}

impl Sessions {
    /// Those of a store, none yet.
    ///
    /// # Errors
    /// Memory or disk for statements that cannot be had.
    pub(crate) fn new(
        store: Store,
        options: SqlOptions,
        live: Vec<Arc<dyn LiveTable>>,
    ) -> Result<Self, SqlError> {
        let resources = SqlResources::new(&options)?;
        Ok(Self { store, options, resources, live, slots: Mutex::default() })
    }

    /// The number of the newest snapshot.
    pub(crate) fn newest(&self) -> Result<u64, Status> {
        Ok(self.current()?.number())
    }

    fn current(&self) -> Result<Arc<Snapshot>, Status> {
        self.store.snapshot().map_err(|e| status::open_status(&e))
    }

    /// A session on the snapshot of this name, the newest for none, as the caller sees it.
    pub(crate) fn open(
        &self,
        name: Option<&SnapshotName>,
        caller: &Caller,
    ) -> Result<Arc<OpenSession>, Status> {
        let known = match name {
            None => self.known(self.current()?.digest(), caller),
            Some(SnapshotName::Number(number)) => self.numbered(*number, caller)?,
            Some(tag) => {
                let tagged = self.store.snapshot_named(tag).map_err(|e| status::open_status(&e))?;
                self.known(tagged.digest(), caller)
            }
        };
        if let Some(held) = known
            && self.holds(&held)?
        {
            return Ok(held);
        }
        let leased = self.store.snapshot_leased(name, COMMAND);
        let (snapshot, lease) = leased.map_err(|e| status::open_status(&e))?;
        let snapshot = match &caller.datasets {
            None => snapshot,
            Some(names) => Arc::new(with_whole_views(snapshot.only(|name| names.contains(name)))),
        };
        let (options, live) = (self.options.clone(), self.live.clone());
        let session = SqlSession::with_tables(snapshot, options, &self.resources, live)
            .map_err(|e| status::sql_status(&e, self.store.path(), None))?;
        let held = Arc::new(OpenSession::new(session, lease, self.resources.clone()));
        Ok(self.keep(caller, held))
    }

    /// Holds the snapshot of a session that is at hand. One that the store does not have any more is given
    /// up.
    fn holds(&self, held: &Arc<OpenSession>) -> Result<bool, Status> {
        let mut lease = locked(&held.lease);
        if lease.is_some() {
            return Ok(true);
        }
        match self.store.lease(held.snapshot(), COMMAND) {
            Ok(taken) => {
                *lease = taken;
                Ok(true)
            }
            Err(OpenError::Storage(e)) if e.is_collected() => {
                drop(lease);
                self.give_up(held);
                Ok(false)
            }
            Err(e) => Err(status::open_status(&e)),
        }
    }

    /// Keeps a session, unless another request has opened one like it meanwhile, which is given then.
    fn keep(&self, caller: &Caller, held: Arc<OpenSession>) -> Arc<OpenSession> {
        let digest = held.snapshot().digest();
        let mut slots = locked(&self.slots);
        let known = slots.iter_mut().find(|slot| slot.is_of(digest, caller)).map(|slot| {
            slot.used = Instant::now();
            Arc::clone(&slot.held)
        });
        if let Some(known) = known {
            drop(slots);
            let mut lease = locked(&known.lease);
            if lease.is_none() {
                *lease = locked(&held.lease).take();
            }
            drop(lease);
            return known;
        }
        let (datasets, used) = (caller.datasets.clone(), Instant::now());
        slots.push(SessionSlot { datasets, held: Arc::clone(&held), used });
        let oldest = slots.iter().enumerate().min_by_key(|(_, slot)| slot.used).map(|(i, _)| i);
        let given_up = oldest.filter(|_| slots.len() > MOST).map(|oldest| slots.swap_remove(oldest));
        // Closes files, for which no other request waits.
        drop(slots);
        drop(given_up);
        held
    }

    /// The session on the snapshot of this number that is at hand. One that the store does not have any more
    /// is given up.
    fn numbered(&self, number: u64, caller: &Caller) -> Result<Option<Arc<OpenSession>>, Status> {
        let is_of =
            |slot: &SessionSlot| slot.held.snapshot().number() == number && slot.datasets == caller.datasets;
        while let Some(held) = self.find(is_of) {
            if self.store.still_has(held.snapshot()).map_err(|e| status::open_status(&e))? {
                return Ok(Some(held));
            }
            self.give_up(&held);
        }
        Ok(None)
    }

    fn give_up(&self, held: &Arc<OpenSession>) {
        locked(&self.slots).retain(|slot| !Arc::ptr_eq(&slot.held, held));
    }

    /// The session on the snapshot with this root that is at hand. Reads nothing.
    fn known(&self, digest: Digest, caller: &Caller) -> Option<Arc<OpenSession>> {
        self.find(|slot| slot.is_of(digest, caller))
    }

    fn find(&self, is_wanted: impl Fn(&SessionSlot) -> bool) -> Option<Arc<OpenSession>> {
        let mut slots = locked(&self.slots);
        let slot = slots.iter_mut().find(|slot| is_wanted(slot))?;
        slot.used = Instant::now();
        Some(Arc::clone(&slot.held))
    }

    /// Gives up what was not asked for a while: leases first, then sessions.
    pub(crate) fn give_up_idle(&self) {
        let mut leases = Vec::new();
        let idle: Vec<SessionSlot> = {
            let mut slots = locked(&self.slots);
            for slot in slots.iter_mut() {
                // A request that runs has the session too, and one that begins gets it from here.
                if Arc::strong_count(&slot.held) > 1 {
                    slot.used = Instant::now();
                } else if slot.used.elapsed() > HELD {
                    leases.extend(locked(&slot.held.lease).take());
                }
            }
            let (idle, kept) =
                std::mem::take(&mut *slots).into_iter().partition(|slot| slot.used.elapsed() > IDLE);
            *slots = kept;
            idle
        };
        drop((leases, idle));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Scope;

    fn caller() -> Caller {
        let name = "a".to_owned();
        Caller { id: name.clone(), name, scope: Scope::Read, datasets: None, peer: None }
    }

    #[test]
    fn a_snapshot_is_held_while_a_request_runs_in_its_session() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let store = Store::create(&path).unwrap();
        let sessions = Sessions::new(store, SqlOptions::default(), Vec::new()).unwrap();
        let leases = || fs_err::read_dir(path.join("leases")).unwrap().count();
        // Some time without a request.
        let rest = || {
            let before = Instant::now().checked_sub(2 * HELD).unwrap();
            locked(&sessions.slots).iter_mut().for_each(|slot| slot.used = before);
            sessions.give_up_idle();
        };
        let running = sessions.open(None, &caller()).unwrap();
        rest();
        assert_eq!(leases(), 1);
        drop(running);
        rest();
        assert_eq!(leases(), 0);
        for name in [None, Some(SnapshotName::Number(sessions.newest().unwrap()))] {
            let running = sessions.open(name.as_ref(), &caller()).unwrap();
            assert_eq!((leases(), locked(&sessions.slots).len()), (1, 1), "{name:?}");
            drop(running);
            rest();
            assert_eq!(leases(), 0);
        }
    }

    #[test]
    fn requests_that_open_a_snapshot_at_once_share_a_session() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path().join("s")).unwrap();
        let sessions = Sessions::new(store, SqlOptions::default(), Vec::new()).unwrap();
        let all = caller();
        let some = Caller { datasets: Some(BTreeSet::new()), ..all.clone() };
        let first = sessions.open(None, &all).unwrap();
        let late = |sessions: &Sessions| {
            let (snapshot, options) = (Arc::clone(first.snapshot()), SqlOptions::default());
            let session = SqlSession::with_tables(snapshot, options, &sessions.resources, Vec::new());
            Arc::new(OpenSession::new(session.unwrap(), None, sessions.resources.clone()))
        };
        assert!(Arc::ptr_eq(&first, &sessions.keep(&all, late(&sessions))));
        assert!(!Arc::ptr_eq(&first, &sessions.keep(&some, late(&sessions))));
        assert_eq!(locked(&sessions.slots).len(), 2);
        for other in 1..20 {
            let datasets = Some(BTreeSet::from([other.to_string()]));
            sessions.keep(&Caller { datasets, ..all.clone() }, late(&sessions));
        }
        assert_eq!(locked(&sessions.slots).len(), MOST);
    }
}
