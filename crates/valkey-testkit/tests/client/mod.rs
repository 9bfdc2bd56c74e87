//! The smallest client there can be: raw bytes over TCP.

// Not every test file needs all of it.
#![allow(dead_code)]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    pub(crate) async fn connect(address: &str) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap() }
    }

    /// Says `arguments` as one command.
    pub(crate) async fn say(&mut self, arguments: &[&str]) -> std::io::Result<()> {
        self.stream.write_all(&command(arguments)).await
    }

    /// Whatever comes next, at most 64 KiB; empty when the connection is over, by whatever end.
    pub(crate) async fn hear(&mut self) -> Vec<u8> {
        let mut heard = vec![0; 65536];
        let count = self.stream.read(&mut heard).await.unwrap_or(0);
        heard.truncate(count);
        heard
    }

    /// Everything until the connection is over.
    pub(crate) async fn hear_all(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let heard = self.hear().await;
            if heard.is_empty() {
                return all;
            }
            all.extend(heard);
        }
    }

    /// The next `count` bytes, in however many pieces they come.
    pub(crate) async fn hear_exactly(&mut self, count: usize) -> Vec<u8> {
        let mut heard = vec![0; count];
        self.stream.read_exact(&mut heard).await.unwrap();
        heard
    }

    pub(crate) async fn ask(&mut self, arguments: &[&str]) -> String {
        self.say(arguments).await.unwrap();
        String::from_utf8(self.hear().await).unwrap()
    }

    /// Whether nothing comes for a while.
    pub(crate) async fn hears_nothing(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(300), self.hear()).await.is_err()
    }
}

pub(crate) fn command(arguments: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend(format!("${}\r\n{argument}\r\n", argument.len()).into_bytes());
    }
    bytes
}
