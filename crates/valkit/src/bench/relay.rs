//! Distance: a relay in front of the server that lets every byte wait.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use valkey_config::{CsvList, ServerUrl};
use valkey_connection::{ConnectionSettings, Mode};

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

    /// Where the server is that these settings lead to, as [`start`](Self::start) takes it.
    pub(crate) fn server(settings: &ConnectionSettings) -> Result<String, Failure> {
        match settings.address.first() {
            Some(url) if url.host().is_some() && settings.mode == Mode::Standalone => Ok(url.address()),
            _ => Err(Failure::usage(
                "distance is measured through a relay, which stands before one server",
                "give the host and the port of a standalone server; a Unix socket has none, and the addresses that a \
                 cluster or Sentinels name lead past the relay",
            )),
        }
    }

    /// The way through the relay to the server that these settings lead to: as the same user, to the same database, with
    /// the same encryption.
    pub(crate) fn through(&self, settings: &ConnectionSettings) -> Result<ConnectionSettings, Failure> {
        let (host, port) = (self.address.ip().to_string(), self.address.port());
        let mut near =
            ServerUrl::new(&host, port).map_err(|error| Failure::Failed(format!("the relay: {error}")))?;
        let mut settings = settings.clone();
        if let Some(far) = settings.address.first() {
            if let Some(username) = far.username() {
                near = near.with_username(username);
            }
            if let Some(password) = far.password() {
                near = near.with_password(password.clone());
            }
            if let Some(database) = far.database() {
                near = near.with_database(database);
            }
            if far.is_tls() {
                near = near.with_tls();
            }
            // The certificate carries the server's name, not the relay's.
            if settings.tls_server_name.is_none() && settings.uses_tls() {
                settings.tls_server_name = far.host().map(str::to_owned);
            }
        }
        Ok(settings.address(CsvList(vec![near])))
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

    use valkey_connection::{Command, Connection};
    use valkey_testkit::TestServer;

    use super::*;

    #[tokio::test]
    async fn the_way_through_leads_to_the_same_user_and_database_with_the_same_encryption() {
        for tls in [false, true] {
            let server = TestServer::builder().acl_user("app", "s3cret", "~* &* +@all");
            let server = if tls { server.tls() } else { server }.start().await.unwrap();
            let settings = ConnectionSettings::from_url(&format!("{}/3", server.url())).unwrap();
            let settings = settings.tls_ca_file(server.tls_ca_path().map(Into::into));
            let relay = Relay::start(Relay::server(&settings).unwrap(), Duration::ZERO).unwrap();
            let through = Connection::connect(&relay.through(&settings).unwrap()).await.unwrap();
            assert_eq!(through.settings().uses_tls(), tls);
            through.execute(Command::new("SET").key("k").arg("v")).await.unwrap();
            assert_eq!(server.cli(&["-n", "3", "GET", "k"]).await.unwrap(), "v");
            let user = through.execute(Command::new("ACL").arg("WHOAMI")).await.unwrap();
            assert_eq!(user.into_string().unwrap(), "app");
        }
    }

    #[test]
    fn the_server_keeps_its_name_behind_the_relay() {
        let relay = Relay { address: (Ipv4Addr::LOCALHOST, 1).into() };
        let name = |settings: ConnectionSettings| relay.through(&settings).unwrap().tls_server_name;
        let settings = |url| ConnectionSettings::from_url(url).unwrap();
        assert_eq!(name(settings("valkeys://db.example.org")).as_deref(), Some("db.example.org"));
        assert_eq!(name(settings("db.example.org").tls_enabled(true)).as_deref(), Some("db.example.org"));
        let named = settings("valkeys://db.example.org").tls_server_name(Some("other".into()));
        assert_eq!(name(named).as_deref(), Some("other"));
        assert_eq!(name(settings("valkey://db.example.org")), None);
    }

    #[test]
    fn a_relay_stands_before_one_server_only() {
        let settings = |url| ConnectionSettings::from_url(url).unwrap();
        assert_eq!(Relay::server(&settings("valkeys://u:p@[::1]:7/2")).unwrap(), "[::1]:7");
        for elsewhere in [settings("unix:///run/valkey.sock"), settings("h").mode(Mode::Cluster)] {
            assert!(matches!(Relay::server(&elsewhere), Err(Failure::Usage { .. })));
        }
    }

    #[test]
    fn what_goes_through_arrives_whole_and_late() {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = echo.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut socket, _) = echo.accept().unwrap();
            std::io::copy(&mut socket.try_clone().unwrap(), &mut socket).unwrap();
        });
        let relay = Relay::start(address, Duration::from_millis(20)).unwrap_or_else(|_| unreachable!());
        let mut client = TcpStream::connect(relay.address).unwrap();
        let sent: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        let started = Instant::now();
        client.write_all(&sent).unwrap();
        let mut came = vec![0; sent.len()];
        client.read_exact(&mut came).unwrap();
        assert!(came == sent);
        assert!(started.elapsed() >= Duration::from_millis(20));
    }
}
