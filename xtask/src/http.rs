//! Plain HTTP of our own programs and doubles: small requests, whole answers.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const PATIENCE: Duration = Duration::from_secs(5);

/// The body of a page; a status other than 200 is an error.
pub(crate) fn get(server: SocketAddr, path: &str) -> Result<String> {
    ask(server, "GET", path, "")
}

/// The answer to JSON; a status other than 200 is an error.
pub(crate) fn post(server: SocketAddr, path: &str, json: &str) -> Result<String> {
    ask(server, "POST", path, json)
}

/// The whole answer, head and body, whatever its status.
pub(crate) fn ask_whatever(server: SocketAddr, path: &str) -> Result<String> {
    exchange(server, "GET", path, "")
}

fn ask(server: SocketAddr, method: &str, path: &str, body: &str) -> Result<String> {
    let answer = exchange(server, method, path, body)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        bail!("{path} answers {status}: {}", body.trim());
    }
    Ok(body.to_owned())
}

fn exchange(server: SocketAddr, method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = format!("{method} {path} HTTP/1.0\r\nHost: {server}\r\nConnection: close\r\n");
    if method == "POST" {
        let length = body.len();
        let _ = write!(request, "Content-Type: application/json\r\nContent-Length: {length}\r\n");
    }
    stream.write_all(format!("{request}\r\n{body}").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::TcpListener;

    use super::*;

    /// Answers one request with `reply`, and gives what was asked.
    fn serving(reply: &'static str) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = String::new();
            let mut buffer = [0; 1024];
            while !asked.contains("\r\n\r\n") || asked.starts_with("POST") && !asked.ends_with('}') {
                let length = stream.read(&mut buffer).unwrap();
                asked += &String::from_utf8_lossy(&buffer[..length]);
            }
            stream.write_all(reply.as_bytes()).unwrap();
            asked
        });
        (address, server)
    }

    #[test]
    fn what_is_posted_arrives_and_the_answer_is_the_body() {
        let (address, server) = serving("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        assert_eq!(post(address, "/freeipa/do", r#"{"a":1}"#).unwrap(), "{}");
        let asked = server.join().unwrap();
        assert!(
            asked.starts_with("POST /freeipa/do HTTP/1.0\r\n") && asked.ends_with("\r\n\r\n{\"a\":1}"),
            "{asked}"
        );
    }

    #[test]
    fn another_status_is_an_error_that_shows_the_answer() {
        let (address, _server) = serving("HTTP/1.1 400 Bad Request\r\n\r\n{\"error\":\"no such member\"}");
        let error = get(address, "/x").unwrap_err().to_string();
        assert!(error.contains("/x") && error.contains("400") && error.contains("no such member"), "{error}");
    }
}
