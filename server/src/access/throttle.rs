//! Rate limit of refused tokens by address: one that shows many of them waits.
//!
//! Invariants
//! - an address has a bucket; each refusal takes a drop out of it, and it fills with time
//! - from an address whose bucket is empty, only tokens that were good a moment ago are looked at: they are
//!   clients that share it, behind a proxy or a router
//! - memory is bounded: more addresses than are kept share one bucket

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use gstore_core::{locked, sha256_hex};
use tonic::Status;

/// Refusals that an address may have at once.
const BUCKET: f64 = 20.0;
/// Refusals that it may have each second, in the long run.
const RATE: f64 = 0.5;
/// Addresses, and good tokens, that are kept.
const MOST: usize = 4096;
/// How long a good token counts as one.
const GOOD: Duration = Duration::from_secs(600);

/// Counts refusals.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<ThrottleState>);

#[derive(Debug, Default)]
struct ThrottleState {
    /// Buckets that are not full; the key `None` is that of all others.
    buckets: HashMap<Option<IpAddr>, Bucket>,
    /// Digests of tokens, and when they were good.
    good: HashMap<String, Instant>,
}

#[derive(Debug)]
struct Bucket {
    drops: f64,
    at: Instant,
}

impl Bucket {
    fn level(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.drops + since * RATE).min(BUCKET)
    }
}

impl Throttle {
    /// Whether a token from this address is to be looked at.
    pub(super) fn check(&self, peer: Option<SocketAddr>, secret: &str, now: Instant) -> Result<(), Status> {
        let state = locked(&self.0);
        let key = state.key(peer);
        let Some(bucket) = state.buckets.get(&key) else { return Ok(()) };
        let level = bucket.level(now);
        let known = || {
            let last = state.good.get(&sha256_hex(secret.as_bytes()));
            last.is_some_and(|last| now.saturating_duration_since(*last) < GOOD)
        };
        if level >= 1.0 || known() {
            return Ok(());
        }
        let wait = ((1.0 - level) / RATE).ceil();
        Err(Status::resource_exhausted(format!(
            "many tokens from this address were refused; try again in {wait} s"
        )))
    }

    /// Notes that a token was refused.
    pub(super) fn refused(&self, peer: Option<SocketAddr>, now: Instant) {
        let mut state = locked(&self.0);
        if state.buckets.len() >= MOST {
            state.buckets.retain(|_, bucket| bucket.level(now) < BUCKET);
        }
        let key = state.key(peer);
        let level = state.buckets.get(&key).map_or(BUCKET, |bucket| bucket.level(now));
        state.buckets.insert(key, Bucket { drops: (level - 1.0).max(0.0), at: now });
    }

    /// Notes that a token was good.
    pub(super) fn accepted(&self, secret: &str, now: Instant) {
        let mut state = locked(&self.0);
        if state.good.len() >= MOST {
            state.good.retain(|_, at| now.saturating_duration_since(*at) < GOOD);
        }
        if state.good.len() < MOST {
            state.good.insert(sha256_hex(secret.as_bytes()), now);
        }
    }
}

impl ThrottleState {
    /// The bucket of an address: its own, or that of all others where there are too many.
    fn key(&self, peer: Option<SocketAddr>) -> Option<IpAddr> {
        let key = peer.map(|peer| network(peer.ip()));
        match self.buckets.contains_key(&key) || self.buckets.len() < MOST {
            true => key,
            false => None,
        }
    }
}

/// The part of an address that one owner has: of IPv6 the first half.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_refusals_make_an_address_wait_and_no_other() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let peer = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        let (one, other) = (peer("192.0.2.1:99"), peer("192.0.2.2:99"));
        throttle.accepted("good", now);
        for _ in 0..20 {
            assert!(throttle.check(one, "bad", now).is_ok());
            throttle.refused(one, now);
        }
        let refused = throttle.check(peer("192.0.2.1:7"), "bad", now).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(refused.message().ends_with("in 2 s"), "{}", refused.message());
        assert!(throttle.check(other, "bad", now).is_ok());
        assert!(throttle.check(one, "good", now).is_ok(), "a client that shares the address");
        assert!(throttle.check(one, "good", later(600)).is_ok());
        assert!(throttle.check(one, "bad", later(2)).is_ok(), "it fills");
        throttle.refused(one, later(2));
        assert!(throttle.check(one, "bad", later(2)).is_err());
        let near = [peer("[2001:db8::1]:1"), peer("[2001:db8::2]:1")];
        (0..20).for_each(|i| throttle.refused(near[i % 2], now));
        assert!(near.iter().all(|peer| throttle.check(*peer, "bad", now).is_err()));
    }

    #[test]
    fn more_addresses_than_are_kept_share_a_bucket() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let peer = |i: u32| Some(SocketAddr::from((std::net::Ipv4Addr::from_bits(i), 1)));
        (0..5000).for_each(|i| throttle.refused(peer(i), now));
        assert!(locked(&throttle.0).buckets.len() <= MOST + 1);
        assert!(throttle.check(peer(1), "bad", now).is_ok());
        assert!(throttle.check(peer(9999), "bad", now).is_err());
    }
}
