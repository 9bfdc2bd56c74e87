//! A client: real mail with lettre, and bare sessions that are only held.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lettre::address::Envelope;
use lettre::transport::smtp::SmtpTransport;
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Transport};

/// How long a server may take for any reply.
const PATIENCE: Duration = Duration::from_secs(20);

/// The domain that the nodes take mail for.
const DOMAIN: &str = "books.test";

/// The header that names a message in the books.
pub(crate) const HEADER: &str = "X-Book: ";

/// What became of a message, by the word of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The server has taken it over.
    Taken,
    /// The server has refused it, in these words.
    Refused(String),
    /// No reply, or none that makes sense.
    Failed(String),
}

/// Sends one message in a session of its own.
pub(crate) fn send(server: SocketAddr, id: &str) -> Verdict {
    match try_send(server, id) {
        Ok(verdict) => verdict,
        Err(error) => Verdict::Failed(format!("{error:#}")),
    }
}

fn try_send(server: SocketAddr, id: &str) -> Result<Verdict> {
    let from: Address = format!("client@{DOMAIN}").parse()?;
    let to: Address = format!("someone@{DOMAIN}").parse()?;
    let envelope = Envelope::new(Some(from), vec![to])?;
    let text = format!("Subject: {id}\r\n{HEADER}{id}\r\n\r\nOne line.\r\n");
    let transport = SmtpTransport::builder_dangerous(server.ip().to_string())
        .port(server.port())
        .hello_name(ClientId::Domain("client.test".to_owned()))
        .timeout(Some(PATIENCE))
        .build();
    match transport.send_raw(&envelope, text.as_bytes()) {
        Ok(_) => Ok(Verdict::Taken),
        Err(error) => match error.status() {
            Some(code) => {
                // "transient error (421): 4.7.0 ..."
                let words = error.to_string();
                let words = words.split_once("): ").map_or(&*words, |(_, words)| words);
                Ok(Verdict::Refused(format!("{code} {words}")))
            }
            None => Err(error.into()),
        },
    }
}

/// Sends them all at the same moment, each from a thread of its own; verdicts in the order of the messages.
pub(crate) fn send_at_once(letters: Vec<(SocketAddr, String)>) -> Vec<(String, Verdict)> {
    let gate = Arc::new(Barrier::new(letters.len()));
    let senders: Vec<_> = letters
        .into_iter()
        .map(|(server, id)| {
            let gate = Arc::clone(&gate);
            std::thread::spawn(move || {
                gate.wait();
                let verdict = send(server, &id);
                (id, verdict)
            })
        })
        .collect();
    senders
        .into_iter()
        .map(|sender| {
            sender.join().unwrap_or_else(|_| (String::new(), Verdict::Failed("a sender panicked".to_owned())))
        })
        .collect()
}

/// A connection that was opened, and what the server said first.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) code: u16,
    pub(crate) text: String,
    /// From the first packet to the last byte of the greeting.
    pub(crate) took: Duration,
    stream: TcpStream,
}

impl Session {
    /// Connects, says `header` first (a PROXY header, or nothing) and reads the greeting.
    pub(crate) fn open(server: SocketAddr, header: &[u8]) -> Result<Self> {
        let started = Instant::now();
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        if !header.is_empty() {
            stream.write_all(header)?;
        }
        let mut line = Vec::new();
        BufReader::with_capacity(512, &mut stream).take(2048).read_until(b'\n', &mut line)?;
        let took = started.elapsed();
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let code = text.get(..3).and_then(|code| code.parse().ok());
        let Some(code) = code else { bail!("no greeting but {text:?}") };
        Ok(Self { code, text, took, stream })
    }

    /// Whether the client may go on.
    pub(crate) fn admitted(&self) -> bool {
        self.code == 220
    }

    /// Ends it as a client should: so it is the server that closes.
    pub(crate) fn quit(mut self) {
        // Refused sessions are closed already.
        if self.admitted() && self.stream.write_all(b"QUIT\r\n").is_ok() {
            let mut rest = [0; 256];
            while self.stream.read(&mut rest).is_ok_and(|read| read > 0) {}
        }
    }
}
