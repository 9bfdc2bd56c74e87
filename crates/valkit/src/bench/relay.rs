//! Distance: a relay in front of the server that lets every byte wait.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use crate::failure::Failure;

/// Threads that sleep, not tasks: the timers of the runtime are good to a millisecond, and that is the distance.
pub(crate) struct Relay {
    address: SocketAddr,
}

// === impl Relay ===

impl Relay {
    /// Starts a relay to `server` (`host:port`) that adds `round_trip` to every round trip. It ends with the process.
    pub(crate) fn start(server: String, round_trip: Duration) -> Result<Self, Failure> {
        let failed = |error| Failure::io("starting the relay", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that finds nobody behind the relay is told by its socket, which ends here.
                if let Ok(upstream) = TcpStream::connect(&server) {
                    let _ = join(&client, &upstream, round_trip / 2);
                }
            }
        });
        Ok(Self { address })
    }

    /// `host:port` of the relay.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }
}

fn join(client: &TcpStream, server: &TcpStream, delay: Duration) -> std::io::Result<()> {
    for (from, to) in [(client, server), (server, client)] {
        from.set_nodelay(true)?;
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        let (late, due) = channel();
        std::thread::spawn(move || {
            let mut from = from;
            let mut chunk = vec![0; 256 * 1024];
            while let Ok(length @ 1..) = from.read(&mut chunk) {
                if late.send((Instant::now() + delay, chunk[..length].to_vec())).is_err() {
                    break;
                }
            }
        });
        std::thread::spawn(move || deliver(&due, &to));
    }
    Ok(())
}

/// Passes on what has waited long enough; when the source ends, so does the other side.
fn deliver(due: &Receiver<(Instant, Vec<u8>)>, mut to: &TcpStream) {
    while let Ok((at, bytes)) = due.recv() {
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_goes_through_arrives_whole_and_late() {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = echo.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut socket, _) = echo.accept().unwrap();
            std::io::copy(&mut socket.try_clone().unwrap(), &mut socket).unwrap();
        });
        let relay = Relay::start(address, Duration::from_millis(20)).unwrap_or_else(|_| unreachable!());
        let mut client = TcpStream::connect(relay.address()).unwrap();
        let sent: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        let started = Instant::now();
        client.write_all(&sent).unwrap();
        let mut came = vec![0; sent.len()];
        client.read_exact(&mut came).unwrap();
        assert!(came == sent);
        assert!(started.elapsed() >= Duration::from_millis(20));
    }
}
