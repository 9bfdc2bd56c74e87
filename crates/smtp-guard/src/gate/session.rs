//! One connection, from its first byte to the place that is given back.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tracing::debug;

use super::{Context, copy};
use crate::limits::{Admission, Pass};
use crate::proxy::{self, Header};
use crate::reply;
use crate::telemetry::{self, Refusal};

/// How long a client that is sent away may take to read why.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How much of what it says meanwhile is listened to.
const LISTEN: usize = 16 * 1_024;

/// A connection that goes on to the mail server.
struct Passed {
    client: TcpStream,
    backend: TcpStream,
    from: SocketAddr,
    pass: Pass,
}

/// Who connects.
struct Caller {
    /// What the mail server is told.
    header: Header,
    /// What the client said before it was asked.
    early: Vec<u8>,
}

/// Runs it to its end.
pub(super) async fn run(context: &Context, client: TcpStream, peer: SocketAddr, is_draining: bool) {
    let begun = Instant::now();
    // Apart, for it needs far more memory than what follows, which lasts.
    let passed = tokio::select! {
        passed = Box::pin(receive(context, client, peer, is_draining)) => passed,
        () = context.cut.cancelled() => None,
    };
    let was_passed = passed.is_some();
    if let Some(Passed { mut client, mut backend, from, pass }) = passed {
        let ending = copy::run(&mut client, &mut backend, context.patience, &context.cut).await;
        debug!(client = %from, ?ending, lasted = ?begun.elapsed(), unchecked = pass.unchecked, "closed");
    }
    telemetry::connection_closed(begun.elapsed(), was_passed);
}

/// Finds out who it is and whether it may pass, and connects it; whoever may not is told so.
async fn receive(
    context: &Context,
    mut client: TcpStream,
    peer: SocketAddr,
    is_draining: bool,
) -> Option<Passed> {
    // A dialogue of short lines: each waits for the other.
    let _ = client.set_nodelay(true);
    if is_draining {
        let line = reply::unavailable(&context.hostname, Refusal::Draining);
        refuse(context, &mut client, peer, Refusal::Draining, None, &line).await;
        return None;
    }
    let caller = match caller(context, &mut client, peer).await {
        Ok(caller) => caller,
        Err(error) => {
            debug!(%error, balancer = %peer, "no PROXY header");
            context.refusals.note(Refusal::Header, peer.ip(), None);
            return None;
        }
    };
    // What a balancer does on its own account, such as to see whether the mail server is there, is limited by nobody.
    let (from, pass) = match caller.header {
        Header::Local => (peer, Pass::default()),
        Header::Proxied { client: from, .. } => match context.limits.admit(from.ip()).await {
            Admission::Admitted(pass) => (from, pass),
            Admission::Refused(refused) => {
                let line = reply::refused(&context.hostname, from.ip().to_canonical(), &refused);
                refuse(context, &mut client, from, refused.reason, refused.retry_after, &line).await;
                return None;
            }
        },
    };
    match timeout(context.connection_timeout, connect(context, &caller)).await {
        Ok(Ok(backend)) => Some(Passed { client, backend, from, pass }),
        failed => {
            let error = failed.map_or_else(
                |_| io::ErrorKind::TimedOut.into(),
                |failed| failed.err().unwrap_or_else(|| io::ErrorKind::Other.into()),
            );
            let reason = if is_ours(&error) {
                context.refusals.no_descriptor(&error);
                Refusal::Descriptors
            } else {
                context.refusals.backend_failed(&context.backend, &error);
                Refusal::Backend
            };
            drop(pass);
            let line = reply::unavailable(&context.hostname, reason);
            refuse(context, &mut client, from, reason, None, &line).await;
            None
        }
    }
}

/// The client: who connects, or whom a trusted balancer names.
async fn caller(
    context: &Context,
    client: &mut TcpStream,
    peer: SocketAddr,
) -> Result<Caller, proxy::ReadError> {
    if !context.trusted.iter().any(|network| network.contains(peer.ip())) {
        let header = Header::Proxied { client: peer, server: client.local_addr()? };
        return Ok(Caller { header, early: Vec::new() });
    }
    let (header, early) = timeout(context.header_timeout, proxy::read(client))
        .await
        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))?;
    Ok(Caller { header, early })
}

/// The mail server, which has been told who comes.
async fn connect(context: &Context, caller: &Caller) -> io::Result<TcpStream> {
    let mut backend = TcpStream::connect(&context.backend).await?;
    backend.set_nodelay(true)?;
    let mut first = if context.backend_proxy { caller.header.to_bytes() } else { Vec::new() };
    first.extend(&caller.early);
    backend.write_all(&first).await?;
    Ok(backend)
}

/// Whether a connection could not be made for want of something here, and the mail server is not to blame.
fn is_ours(error: &io::Error) -> bool {
    let wants = |error: &io::Error| {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
    };
    // Whoever looks up a name without a descriptor is told that there is no such name: then a socket is tried.
    let is_of_the_system = error.raw_os_error().is_some() || error.kind() == io::ErrorKind::TimedOut;
    wants(error) || (!is_of_the_system && TcpSocket::new_v4().is_err_and(|error| wants(&error)))
}

/// Says why, and closes so that it is heard: a socket that is closed with unread bytes in it takes back what was said last.
async fn refuse(
    context: &Context,
    client: &mut TcpStream,
    from: SocketAddr,
    reason: Refusal,
    retry_after: Option<Duration>,
    line: &str,
) {
    context.refusals.note(reason, from.ip().to_canonical(), retry_after);
    let say = async {
        client.write_all(line.as_bytes()).await?;
        client.shutdown().await?;
        let mut heard = 0;
        while heard < LISTEN {
            client.readable().await?;
            let mut ignored = [0; 1_024];
            match client.try_read(&mut ignored) {
                Ok(0) => break,
                Ok(read) => heard += read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        io::Result::Ok(())
    };
    // Whether it was heard is the client's business.
    let _ = timeout(LAST_WORDS, say).await;
}
