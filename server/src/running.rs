//! Running statements, so that they can be stopped: by their client, by the end of their time, by the end of
//! the server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use gstore_core::locked;
use tokio::sync::watch;
use tonic::Status;

use crate::admission::{Admission, Permit};

/// Why a statement is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopReason {
    Not,
    Cancelled,
    Stopping,
}

/// A statement by the id of its token and its ticket.
type StatementKey = (String, Vec<u8>);

struct RunningEntry {
    serial: u64,
    end: watch::Sender<StopReason>,
}

impl RunningEntry {
    fn end(&self, end: StopReason) {
        self.end.send_replace(end);
    }
}

#[derive(Default)]
pub(crate) struct RunningStatements {
    entries: Mutex<(u64, HashMap<StatementKey, Vec<RunningEntry>>)>,
    closed: AtomicBool,
    /// Those whose turn has come.
    begun: AtomicUsize,
}

/// One statement among those that run; dropping it takes it out.
pub(crate) struct RegisteredStatement {
    running: Arc<RunningStatements>,
    key: StatementKey,
    serial: u64,
    end: watch::Receiver<StopReason>,
    has_begun: bool,
}

impl RunningStatements {
    pub(crate) fn enter(self: &Arc<Self>, token: &str, ticket: &[u8]) -> Result<RegisteredStatement, Status> {
        let key = (token.to_owned(), ticket.to_vec());
        let (send, end) = watch::channel(StopReason::Not);
        let serial = {
            let mut entries = locked(&self.entries);
            // Looked at under the lock: a statement is refused, or told when the rest are.
            if self.closed.load(Ordering::Relaxed) {
                return Err(stopping());
            }
            entries.0 += 1;
            let serial = entries.0;
            entries.1.entry(key.clone()).or_default().push(RunningEntry { serial, end: send });
            serial
        };
        Ok(RegisteredStatement { running: Arc::clone(self), key, serial, end, has_begun: false })
    }

    /// Stops the statements of a ticket, those of this token only. Whether there were any.
    pub(crate) fn cancel(&self, token: &str, ticket: &[u8]) -> bool {
        let entries = locked(&self.entries);
        let Some(found) = entries.1.get(&(token.to_owned(), ticket.to_vec())) else { return false };
        found.iter().for_each(|entry| entry.end(StopReason::Cancelled));
        true
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether no statement is let in any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.close();
        let entries = locked(&self.entries);
        entries.1.values().flatten().for_each(|entry| entry.end(StopReason::Stopping));
    }

    /// How many have had their turn and have not ended.
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// How many there are, with those that wait for their turn.
    pub(crate) fn count(&self) -> usize {
        locked(&self.entries).1.values().map(Vec::len).sum()
    }
}

impl RegisteredStatement {
    /// Waits for the statement's turn, or until it is to end.
    pub(crate) async fn turn(&mut self, admission: &Admission) -> Result<Permit, Status> {
        let token = self.key.0.clone();
        let permit = tokio::select! {
            permit = admission.enter(&token) => permit,
            why = self.ended() => Err(why),
        }?;
        if !std::mem::replace(&mut self.has_begun, true) {
            self.running.begun.fetch_add(1, Ordering::Relaxed);
        }
        Ok(permit)
    }

    /// Waits until the statement is to end, and says why.
    pub(crate) async fn ended(&mut self) -> Status {
        match self.end.wait_for(|end| *end != StopReason::Not).await.map(|end| *end) {
            Ok(StopReason::Cancelled) => Status::cancelled("the query was cancelled"),
            _ => stopping(),
        }
    }
}

impl Drop for RegisteredStatement {
    fn drop(&mut self) {
        if self.has_begun {
            self.running.begun.fetch_sub(1, Ordering::Relaxed);
        }
        let mut entries = locked(&self.running.entries);
        if let Some(found) = entries.1.get_mut(&self.key) {
            found.retain(|entry| entry.serial != self.serial);
            if found.is_empty() {
                entries.1.remove(&self.key);
            }
        }
    }
}

fn stopping() -> Status {
    Status::unavailable("the server is stopping")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_statement_is_stopped_by_its_own_token_only() {
        let running = Arc::new(RunningStatements::default());
        let mut one = running.enter("a", b"t").unwrap();
        let mut two = running.enter("a", b"u").unwrap();
        assert!(!running.cancel("b", b"t") && !running.cancel("a", b"v"));
        assert!(running.cancel("a", b"t"));
        assert_eq!(one.ended().await.code(), tonic::Code::Cancelled);
        drop(one);
        assert!(!running.cancel("a", b"t"));
        running.stop();
        assert_eq!(two.ended().await.code(), tonic::Code::Unavailable);
        assert!(running.enter("a", b"t").is_err());
        drop(two);
        assert_eq!(running.count(), 0);
    }

    #[tokio::test]
    async fn a_statement_that_waits_for_its_turn_is_stopped_too() {
        let limits =
            crate::options::RequestLimits { statements: 1, ..crate::options::RequestLimits::default() };
        let admission = Admission::new(&limits);
        let running = Arc::new(RunningStatements::default());
        let mut one = running.enter("a", b"t").unwrap();
        let _permit = one.turn(&admission).await.unwrap();
        let mut two = running.enter("b", b"t").unwrap();
        assert_eq!((running.begun(), running.count()), (1, 2));
        assert!(running.cancel("b", b"t"));
        assert_eq!(two.turn(&admission).await.err().map(|why| why.code()), Some(tonic::Code::Cancelled));
        assert_eq!(admission.waiting(), 0);
        drop(one);
        assert_eq!((running.begun(), running.count()), (0, 1));
    }
}
