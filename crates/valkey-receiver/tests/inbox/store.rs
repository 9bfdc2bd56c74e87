//! A store with transactions that is a file: the mark and the effects of a transaction are one write to it, and a lock
//! makes transactions wait for each other, as rows do in a database.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use valkey_envelope::QueueName;
use valkey_receiver::inbox::{Begun, Inbox};

/// How long a transaction waits for the end of another.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);

#[derive(Clone, Debug)]
pub(crate) struct FileStore {
    path: PathBuf,
}

/// What is to be written. The lock ends with the file, and so with the process.
#[derive(Debug)]
pub(crate) struct FileTx {
    file: File,
    mark: String,
    effects: Vec<u32>,
}

impl FileStore {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The effects there are, in the order they came.
    pub(crate) fn effects(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        text.lines()
            .filter_map(|line| line.strip_prefix("effect "))
            .map(|number| number.parse().unwrap())
            .collect()
    }
}

impl FileTx {
    pub(crate) fn put(&mut self, number: u32) {
        self.effects.push(number);
    }
}

impl Inbox for FileStore {
    type Tx = FileTx;
    type Error = std::io::Error;

    async fn begin(&self, queue: &QueueName, key: &str) -> Result<Begun<FileTx>, std::io::Error> {
        let (path, mark) = (self.path.clone(), format!("mark {queue} {key}"));
        let begin = tokio::task::spawn_blocking(move || {
            let mut file = File::options().create(true).append(true).read(true).open(path)?;
            if !lock(&file)? {
                return Ok(Begun::Busy);
            }
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(if text.lines().any(|line| line == mark) {
                Begun::Done
            } else {
                Begun::First(FileTx { file, mark, effects: Vec::new() })
            })
        });
        begin.await.unwrap()
    }

    async fn commit(&self, mut tx: FileTx) -> Result<(), std::io::Error> {
        let effects = tx.effects.iter().map(|number| format!("effect {number}"));
        let lines: Vec<String> = std::iter::once(tx.mark).chain(effects).collect();
        tx.file.write_all((lines.join("\n") + "\n").as_bytes())
    }
}

/// Whether it is ours within the time limit.
fn lock(file: &File) -> std::io::Result<bool> {
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if started.elapsed() > LOCK_TIMEOUT => return Ok(false),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
