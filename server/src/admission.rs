//! Admission of statements: how many run, in all and of one token, and how many wait for their turn.
//!
//! Invariants
//! - what came first is let in first, among the requests of a token and among the tokens
//! - a permit is given back when it is dropped, whatever way a statement ends

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use gstore_core::locked;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::options::RequestLimits;

/// How long a statement waits for its turn.
const PATIENCE: Duration = Duration::from_secs(60);

/// The turns of statements: those that are taken, in all and by each token, and how many wait for one.
pub(crate) struct Admission {
    all: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
    each: usize,
    tokens: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// The right to run one statement. It keeps the token's count alive.
pub(crate) struct Permit {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// Counts down when somebody stops to wait, also by going away.
struct WaitingCount<'a>(&'a AtomicUsize);

impl Drop for WaitingCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admission {
    pub(crate) fn new(limits: &RequestLimits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.statements.max(1))),
            waiting: AtomicUsize::new(0),
            most_waiting: limits.waiting,
            each: limits.statements_each.max(1),
            tokens: Mutex::default(),
        }
    }

    /// Waits for the turn of a statement of this token.
    pub(crate) async fn enter(&self, token: &str) -> Result<Permit, Status> {
        let own = self.of_token(token);
        if let (Ok(mine), Ok(all)) =
            (Arc::clone(&own).try_acquire_owned(), Arc::clone(&self.all).try_acquire_owned())
        {
            return Ok(Permit { _own: mine, _all: all });
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = WaitingCount(&self.waiting);
        if before >= self.most_waiting {
            let why = format!("{before} statements are waiting already; try again later");
            return Err(Status::resource_exhausted(why));
        }
        let both = async {
            let mine = own.acquire_owned().await;
            (mine, Arc::clone(&self.all).acquire_owned().await)
        };
        match tokio::time::timeout(PATIENCE, both).await {
            Ok((Ok(mine), Ok(all))) => Ok(Permit { _own: mine, _all: all }),
            Ok(_) => Err(Status::unavailable("the server is stopping")),
            Err(_) => Err(Status::resource_exhausted(
                "other statements took all turns for a minute; try again later",
            )),
        }
    }

    /// How many statements wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn of_token(&self, token: &str) -> Arc<Semaphore> {
        let mut tokens = locked(&self.tokens);
        if let Some(known) = tokens.get(token).and_then(Weak::upgrade) {
            return known;
        }
        tokens.retain(|_, semaphore| semaphore.strong_count() > 0);
        let made = Arc::new(Semaphore::new(self.each));
        tokens.insert(token.to_owned(), Arc::downgrade(&made));
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_are_counted_for_each_and_in_all() {
        let limits =
            RequestLimits { statements: 2, statements_each: 1, waiting: 1, ..RequestLimits::default() };
        let admission = Arc::new(Admission::new(&limits));
        let a = admission.enter("a").await.unwrap();
        let b = admission.enter("b").await.unwrap();
        let other = Arc::clone(&admission);
        let waits = tokio::spawn(async move { other.enter("c").await.map(|_| ()) });
        while admission.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let refused = admission.enter("a").await.err().unwrap();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        drop(b);
        waits.await.unwrap().unwrap();
        drop(a);
        assert!(admission.enter("a").await.is_ok());
        assert_eq!(admission.waiting.load(Ordering::Relaxed), 0);
    }
}
