//! The few commands that are asked of Valkey, and nothing of ours in between: what is looked at is what is there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
#[derive(Debug)]
pub(crate) struct Resp {
    stream: BufReader<TcpStream>,
}

/// What Valkey answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Nothing,
    Number(i64),
    Bytes(Vec<u8>),
    Array(Vec<Reply>),
}

impl Resp {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks one command; an error of Valkey's is one.
    pub(crate) fn ask(&mut self, command: &[&[u8]]) -> Result<Reply> {
        let mut request = format!("*{}\r\n", command.len()).into_bytes();
        for word in command {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&request)?;
        self.read()
    }

    /// How many there are.
    pub(crate) fn count(&mut self, command: &[&[u8]]) -> Result<u64> {
        match self.ask(command)? {
            Reply::Number(number) => u64::try_from(number).context("a count is not negative"),
            other => bail!("expected a number, found {other:?}"),
        }
    }

    /// Names of the keys that match.
    pub(crate) fn keys(&mut self, pattern: &str) -> Result<Vec<Vec<u8>>> {
        let mut keys = Vec::new();
        let mut cursor = b"0".to_vec();
        loop {
            let reply = self.ask(&[b"SCAN", &cursor, b"MATCH", pattern.as_bytes(), b"COUNT", b"1000"])?;
            let Reply::Array(parts) = reply else { bail!("SCAN answers {reply:?}") };
            let [Reply::Bytes(next), Reply::Array(found)] = &parts[..] else {
                bail!("SCAN answers {parts:?}")
            };
            keys.extend(found.iter().filter_map(Reply::bytes).map(<[u8]>::to_vec));
            cursor.clone_from(next);
            if cursor == b"0" {
                keys.sort();
                keys.dedup();
                return Ok(keys);
            }
        }
    }

    /// All that a key holds, whatever its type.
    pub(crate) fn content(&mut self, key: &[u8]) -> Result<Vec<Vec<u8>>> {
        let kind = self.ask(&[b"TYPE", key])?;
        let reply = match kind.bytes() {
            Some(b"string") => self.ask(&[b"GET", key])?,
            Some(b"list") => self.ask(&[b"LRANGE", key, b"0", b"-1"])?,
            Some(b"hash") => self.ask(&[b"HGETALL", key])?,
            Some(b"set") => self.ask(&[b"SMEMBERS", key])?,
            Some(b"zset") => self.ask(&[b"ZRANGE", key, b"0", b"-1"])?,
            // It is gone: keys expire.
            Some(b"none") => Reply::Nothing,
            other => bail!("{} is of a type nobody looks into: {other:?}", String::from_utf8_lossy(key)),
        };
        Ok(match reply {
            Reply::Array(parts) => parts.into_iter().filter_map(Reply::into_bytes).collect(),
            single => single.into_bytes().into_iter().collect(),
        })
    }

    fn read(&mut self) -> Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).context("Valkey answers nothing")?;
        Ok(match kind {
            "+" => Reply::Bytes(rest.as_bytes().to_vec()),
            "-" => bail!("Valkey says {rest}"),
            ":" => Reply::Number(rest.parse()?),
            "$" => match rest.parse::<i64>()? {
                -1 => Reply::Nothing,
                length => {
                    let mut bytes = vec![0; usize::try_from(length)? + 2];
                    self.stream.read_exact(&mut bytes)?;
                    bytes.truncate(bytes.len() - 2);
                    Reply::Bytes(bytes)
                }
            },
            "*" => match rest.parse::<i64>()? {
                -1 => Reply::Nothing,
                length => Reply::Array((0..length).map(|_| self.read()).collect::<Result<_>>()?),
            },
            _ => bail!("Valkey answers {line:?}"),
        })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        let line = line.strip_suffix(b"\r\n").context("Valkey hung up")?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }
}

impl Reply {
    fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    fn into_bytes(self) -> Option<Vec<u8>> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::TcpListener;

    use super::*;

    #[test]
    fn all_forms_of_answers_are_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 64];
            let length = stream.read(&mut asked).unwrap();
            stream.write_all(b"*4\r\n:7\r\n$3\r\na\r\n\r\n$-1\r\n*0\r\n-ERR no\r\n").unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        let mut resp = Resp::connect(address).unwrap();
        let reply = resp.ask(&[b"LPUSH", b"q"]).unwrap();
        let bytes = Reply::Bytes(b"a\r\n".to_vec());
        assert_eq!(reply, Reply::Array(vec![Reply::Number(7), bytes, Reply::Nothing, Reply::Array(vec![])]));
        assert_eq!(server.join().unwrap(), "*2\r\n$5\r\nLPUSH\r\n$1\r\nq\r\n");
        assert!(resp.read().unwrap_err().to_string().contains("ERR no"));
    }
}
