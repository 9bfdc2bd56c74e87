//! Three nodes with a balancer in front and one Valkey, wherever they run.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::mail::Session;
use crate::http;
use crate::interrupt::interrupted;

/// How many nodes there are.
pub(crate) const NODES: usize = 3;

/// How long anything may take to come up.
const START_LIMIT: Duration = Duration::from_mins(1);

/// The nodes; dropped, all of it is gone. People reach them at the same ports, whatever they run on.
pub(crate) trait Fleet {
    /// What it runs on, for people.
    fn name(&self) -> &'static str;

    /// Where clients reach the balancer.
    fn balancer(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 25250))
    }

    /// Where the balancer tells the state of its servers.
    fn balancer_page(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 8404))
    }

    /// Where clients reach the gate of a node.
    fn node(&self, node: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 2525 + node as u16))
    }

    /// Where a node tells its metrics.
    fn metrics(&self, node: usize) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 8080 + node as u16))
    }

    /// Where the load generator reaches the gate of a node, with nothing in between.
    fn gate(&self, node: usize) -> SocketAddr;

    /// Where it reaches what else listens on a node, by the port that the shipped files have.
    fn inner(&self, node: usize, port: u16) -> SocketAddr;

    /// The address from which a client connects, as the gates see it: a network for `trusted_proxies`.
    fn clients(&self) -> &'static str;

    /// Starts the guards anew with these settings, without waiting for them.
    fn restart_guards(&mut self, settings: &str) -> Result<()>;

    /// Ends a guard as a crash would.
    fn kill_guard(&mut self, node: usize) -> Result<()>;

    /// Starts a guard that was killed.
    fn start_guard(&mut self, node: usize) -> Result<()>;

    /// Ends Valkey as a crash would.
    fn kill_valkey(&mut self) -> Result<()>;

    /// Starts Valkey again, at the same place.
    fn start_valkey(&mut self) -> Result<()>;

    /// Where Valkey is, as the guards reach it.
    fn valkey_address(&self) -> Result<SocketAddr>;

    /// What Valkey answers to a command, as `valkey-cli` shows it.
    fn valkey(&self, command: &[&str]) -> Result<String>;

    /// The lines of all messages in the mailbox of a node that begin with `header`.
    fn mailbox(&self, node: usize, header: &str) -> Result<String>;

    /// Starts a program of Postfix's on a node, such as `smtp-sink`; it runs until the fleet is gone.
    fn start_on(&mut self, node: usize, program: &[&str]) -> Result<()>;

    /// The last lines that each part wrote, to find out what went wrong.
    fn logs(&self) -> String;
}

/// Waits until mail gets through each node: a mail server takes longer to start than its guard.
pub(crate) fn up(fleet: &dyn Fleet) -> Result<()> {
    for node in 0..NODES {
        until(START_LIMIT, || {
            let session = Session::open(fleet.node(node), b"")?;
            if !session.admitted() {
                bail!("{}", session.text);
            }
            session.quit();
            Ok(())
        })
        .with_context(|| format!("no mail gets through node {}", node + 1))?;
    }
    Ok(())
}

/// Restarts the guards with these settings, on an empty Valkey, and waits until all are ready.
pub(crate) fn begin(fleet: &mut dyn Fleet, settings: &str) -> Result<()> {
    fleet.valkey(&["flushall"])?;
    fleet.restart_guards(settings)?;
    for node in 0..NODES {
        ready(fleet, node)?;
    }
    Ok(())
}

/// Waits until a guard listens, and reaches Valkey.
pub(crate) fn ready(fleet: &dyn Fleet, node: usize) -> Result<()> {
    until(START_LIMIT, || match http::get(fleet.metrics(node), "/readyz") {
        Ok(state) if state.contains("\"degraded\":false") => Ok(()),
        Ok(state) => Err(anyhow::anyhow!("{}", state.trim())),
        Err(error) => Err(error),
    })
    .with_context(|| format!("the guard of node {} is not ready", node + 1))
}

/// Waits until Valkey answers.
pub(crate) fn valkey_answers(fleet: &dyn Fleet) -> Result<()> {
    until(START_LIMIT, || match fleet.valkey(&["ping"])?.trim() {
        "PONG" => Ok(()),
        other => Err(anyhow::anyhow!("{other}")),
    })
    .context("Valkey does not answer")
}

/// Tries until it succeeds, and gives the last error when it does not in time.
pub(crate) fn until<T>(limit: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        if interrupted() {
            bail!("interrupted");
        }
        match attempt() {
            Ok(done) => return Ok(done),
            Err(error) if started.elapsed() > limit => {
                return Err(error).with_context(|| format!("not within {} s", limit.as_secs()));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
