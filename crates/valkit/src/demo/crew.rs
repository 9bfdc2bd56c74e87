//! The consumer processes.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
    time::{Duration, timeout},
};
use valkey_envelope::QueueName;

use super::consumer::Report;
use crate::{context::Context, failure::Failure};

/// All consumers; dropping it kills those that still run.
pub(super) struct Crew {
    members: Vec<Child>,
    struck: bool,
}

// === impl Crew ===

impl Crew {
    /// Starts the processes: this very program, with a verb of its own.
    pub(super) fn hire(
        count: u32,
        queue: &QueueName,
        context: &Context,
        reports: &mpsc::UnboundedSender<Report>,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(|error| Failure::io("finding this program", error))?;
        let mut members = Vec::new();
        for _ in 0..count {
            let mut child = Command::new(&program)
                .args(["demo-consumer", queue.as_str()])
                .envs(context.child_environment())
                .args(context.child_arguments())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                // Ctrl-C is for the demo, which ends them in order.
                .process_group(0)
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| Failure::io(format!("starting {}", program.display()), error))?;
            let stdout =
                child.stdout.take().ok_or_else(|| Failure::Failed("a consumer has no stdout".into()))?;
            let reports = reports.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if let Ok(report) = serde_json::from_str(&line) {
                        // The demo may have ended.
                        let _ = reports.send(report);
                    }
                }
            });
            members.push(child);
        }
        Ok(Self { members, struck: false })
    }

    /// Whether one was killed already.
    pub(super) const fn struck(&self) -> bool {
        self.struck
    }

    /// Kills the first with SIGKILL: it can finish, hand back and say nothing.
    pub(super) async fn strike(&mut self) -> Result<(usize, u32), Failure> {
        self.struck = true;
        let victim = &mut self.members[0];
        let pid = victim.id().unwrap_or(0);
        victim.kill().await.map_err(|error| Failure::io("killing a consumer", error))?;
        Ok((1, pid))
    }

    /// Fails if one ended that was not killed.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        let from = usize::from(self.struck);
        for (i, child) in self.members.iter_mut().enumerate().skip(from) {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(Failure::Failed(format!("consumer {} ended by itself: {status}", i + 1)));
            }
        }
        Ok(())
    }

    /// Lets the others finish: their stdin ends.
    pub(super) async fn dismiss(mut self) {
        for child in &mut self.members {
            drop(child.stdin.take());
        }
        for child in &mut self.members {
            // Who does not go is killed when it is dropped.
            let _ = timeout(Duration::from_secs(10), child.wait()).await;
        }
    }
}
