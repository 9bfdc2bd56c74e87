//! A process that ends when we do, however we end.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::run;

/// How long it may take to end when told to.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Runs the program until standard input ends, and then ends as it does; the first argument is where its process id goes.
const TETHER: &str = r#"pid=$1; shift; "$@" & echo $! >"$pid.new"; mv "$pid.new" "$pid"; cat >/dev/null; kill $! 2>/dev/null; wait $!"#;

/// Dropped, it is told to end, and waited for.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    tether: Child,
    pid: PathBuf,
}

impl Process {
    /// Starts it; what it writes goes to `NAME.log` in the directory.
    pub(crate) fn start(dir: &Path, name: &str, command: &mut Command) -> Result<Self> {
        let log = File::options().create(true).append(true).open(dir.join(format!("{name}.log")))?;
        let pid = dir.join(format!("{name}.pid"));
        let _ = std::fs::remove_file(&pid);
        let mut tether = Command::new("sh");
        tether.args(["-c", TETHER, "tether"]).arg(&pid).arg(command.get_program()).args(command.get_args());
        for (variable, value) in command.get_envs() {
            tether.env(variable, value.unwrap_or_default());
        }
        if let Some(dir) = command.get_current_dir() {
            tether.current_dir(dir);
        }
        let tether = tether
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C is for us, and we take it down in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start `{}`", run::shown(command)))?;
        Ok(Self { name: name.to_owned(), tether, pid })
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(self) -> Result<()> {
        let pid = self.pid()?;
        run::output(Command::new("kill").args(["-9", &pid])).map(drop)
    }

    /// Tells it to end, and does not wait.
    pub(crate) fn tell_to_end(&mut self) {
        drop(self.tether.stdin.take());
    }

    /// Tells it to end, and gives how it did.
    pub(crate) fn stop(mut self) -> Result<ExitStatus> {
        self.tell_to_end();
        let told = Instant::now();
        while told.elapsed() < STOP_LIMIT {
            if let Some(status) = self.tether.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} does not end within {} s", self.name, STOP_LIMIT.as_secs())
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_running(&self) -> bool {
        let pid = self.pid();
        pid.is_ok_and(|pid| run::output(Command::new("kill").args(["-0", &pid])).is_ok())
    }

    /// Its process id, which is there a moment after the start.
    fn pid(&self) -> Result<String> {
        let started = Instant::now();
        loop {
            match std::fs::read_to_string(&self.pid) {
                Ok(pid) => return Ok(pid.trim().to_owned()),
                Err(_) if started.elapsed() < STOP_LIMIT => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => bail!("{} did not start: {error}", self.name),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.tell_to_end();
        let told = Instant::now();
        while told.elapsed() < STOP_LIMIT {
            if !matches!(self.tether.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{} does not end within {} s: it is killed", self.name, STOP_LIMIT.as_secs());
        if let Ok(pid) = std::fs::read_to_string(&self.pid) {
            let _ = run::output(Command::new("kill").args(["-9", pid.trim()]));
        }
        let _ = self.tether.kill();
        let _ = self.tether.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn it_ends_with_its_holder_and_by_a_kill() {
        let dir = std::env::temp_dir().join(format!("xtask-process-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let alive = |pid: &str| Path::new("/proc").join(pid.trim()).exists();
        for kill in [false, true] {
            let process = Process::start(&dir, "sleeper", Command::new("sleep").arg("600")).unwrap();
            let started = Instant::now();
            let pid = loop {
                match std::fs::read_to_string(&process.pid) {
                    Ok(pid) => break pid,
                    Err(_) => assert!(started.elapsed() < STOP_LIMIT, "no process id"),
                }
            };
            assert!(alive(&pid));
            if kill {
                process.kill().unwrap();
            } else {
                drop(process);
            }
            assert!(!alive(&pid), "ended, killed: {kill}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
