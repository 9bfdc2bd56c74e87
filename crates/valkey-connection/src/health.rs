//! What an operator wants to know about the connection, and the counters it is made of.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::breaker::BreakerState;
use crate::error::{Error, ErrorKind};

/// The verdict in one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// All connections are up and the breaker is closed.
    Healthy,
    /// It works, but with a part missing: a connection is being replaced, or the breaker is not closed.
    Degraded,
    /// Nothing is connected.
    Unhealthy,
}

/// The state of the connections, in one word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// At least one connection is up.
    Connected,
    /// None is up; they are being made again all the time.
    Reconnecting,
    /// Closed by its owner.
    Closed,
}

/// The last failure, without anything secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LastError {
    /// When it happened.
    pub at: SystemTime,
    /// Its class.
    pub kind: ErrorKind,
    /// Its text.
    pub message: String,
}

/// The pool of multiplexed connections in the terms of an exclusive pool.
///
/// A multiplexed connection is never checked out, so the words are mapped to what they are looked at for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PoolHealth {
    /// Connections the pool should have (`pool_size`).
    pub total: usize,
    /// Connected ones with no command in flight.
    pub idle: usize,
    /// Ones that are not connected: dead, being replaced or not made yet.
    pub stale: usize,
    /// Calls that found a connection at once.
    pub hits: u64,
    /// Calls that had to wait for one.
    pub misses: u64,
    /// Calls that waited in vain.
    pub timeouts: u64,
}

/// A snapshot of the connection's health. Making one sends nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Health {
    /// The verdict.
    pub status: Status,
    /// State of the connections.
    pub connection: ConnectionState,
    /// State of the circuit breaker.
    pub breaker: BreakerState,
    /// When the server last answered a command; `None` before the first answer.
    pub last_success: Option<SystemTime>,
    /// The last failure of the store (refusals of a command are not counted).
    pub last_error: Option<LastError>,
    /// How many there were.
    pub error_count: u64,
    /// Since the connection was made.
    pub uptime: Duration,
    /// The pool.
    pub pool: PoolHealth,
}

impl Status {
    /// `healthy`, `degraded` or `unhealthy`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl ConnectionState {
    /// `connected`, `reconnecting` or `closed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Closed => "closed",
        }
    }
}

/// The verdict from its parts.
pub(crate) fn status(pool: &PoolHealth, connection: ConnectionState, breaker: BreakerState) -> Status {
    if connection != ConnectionState::Connected {
        Status::Unhealthy
    } else if pool.stale > 0 || breaker != BreakerState::Closed {
        Status::Degraded
    } else {
        Status::Healthy
    }
}

/// Counters written on every call.
#[derive(Debug)]
pub(crate) struct Stats {
    started: Instant,
    started_at: SystemTime,
    /// Microseconds after `started`, plus one; 0 is never.
    last_success: AtomicU64,
    errors: AtomicU64,
    last_error: Mutex<Option<LastError>>,
    hits: AtomicU64,
    misses: AtomicU64,
    timeouts: AtomicU64,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
            last_success: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            last_error: Mutex::new(None),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
        }
    }

    pub(crate) fn answered(&self, now: Instant) {
        let micros = now.saturating_duration_since(self.started).as_micros() as u64 + 1;
        self.last_success.store(micros, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, error: &Error) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let last = LastError { at: SystemTime::now(), kind: error.kind(), message: error.to_string() };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    pub(crate) fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn missed(&self, in_vain: bool) {
        self.misses.fetch_add(1, Ordering::Relaxed);
        if in_vain {
            self.timeouts.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds what the counters know to the counts of connections.
    pub(crate) fn fill(&self, pool: PoolHealth) -> PoolHealth {
        PoolHealth {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            timeouts: self.timeouts.load(Ordering::Relaxed),
            ..pool
        }
    }

    pub(crate) fn health(
        &self,
        pool: PoolHealth,
        connection: ConnectionState,
        breaker: BreakerState,
    ) -> Health {
        let last_success = match self.last_success.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(self.started_at + Duration::from_micros(micros - 1)),
        };
        Health {
            status: status(&pool, connection, breaker),
            connection,
            breaker,
            last_success,
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            error_count: self.errors.load(Ordering::Relaxed),
            uptime: self.started.elapsed(),
            pool,
        }
    }
}

/// Whether the server answered, be it with a refusal.
pub(crate) fn is_answer<T>(result: &Result<T, Error>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => error.is_answer(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::Progress;

    #[test]
    fn the_verdict_follows_from_the_parts() {
        let whole = PoolHealth { total: 2, idle: 2, ..PoolHealth::default() };
        let part = PoolHealth { stale: 1, ..whole };
        let connected = ConnectionState::Connected;
        assert_eq!(status(&whole, connected, BreakerState::Closed), Status::Healthy);
        assert_eq!(status(&part, connected, BreakerState::Closed), Status::Degraded);
        assert_eq!(status(&whole, connected, BreakerState::HalfOpen), Status::Degraded);
        assert_eq!(status(&part, ConnectionState::Reconnecting, BreakerState::Closed), Status::Unhealthy);
    }

    #[test]
    fn counters_come_out_as_they_went_in() {
        let stats = Stats::new();
        assert_eq!(
            stats
                .health(PoolHealth::default(), ConnectionState::Connected, BreakerState::Closed)
                .last_success,
            None
        );
        stats.answered(Instant::now());
        stats.failed(&Error::new(ErrorKind::Timeout, Progress::Unknown, "no reply"));
        stats.hit();
        stats.missed(true);
        let pool = stats.fill(PoolHealth { total: 3, ..PoolHealth::default() });
        assert_eq!((pool.total, pool.hits, pool.misses, pool.timeouts), (3, 1, 1, 1));
        let health = stats.health(pool, ConnectionState::Connected, BreakerState::Closed);
        assert!(health.last_success.is_some());
        assert_eq!(health.error_count, 1);
        assert_eq!(health.last_error.unwrap().kind, ErrorKind::Timeout);
    }
}
