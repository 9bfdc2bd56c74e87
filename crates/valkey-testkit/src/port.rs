//! Ports of this machine that nobody uses.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::TestkitError;

/// Below the range that Linux hands out for outgoing connections: while a server or a proxy is away for a moment, no
/// client socket can take its port, and it comes back under the same address.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A free port of the loopback address. Another process may still take it first: then the start is to be repeated.
pub(crate) fn free() -> Result<u16, TestkitError> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that start together begin their search at different places.
    let start = (std::process::id() as u16).wrapping_mul(47);
    for _ in 0..PORTS.len() {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + start.wrapping_add(step) % (PORTS.len() as u16);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(TestkitError::Invalid(format!("no free port between {} and {}", PORTS.start, PORTS.end)))
}
