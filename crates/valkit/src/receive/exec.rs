//! A program for each message.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, Signal, kill_process_group},
};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use valkey_receiver::{Delivery, Outcome};

use super::{Verdict, pen::Pen, tee::Tee};
use crate::failure::Failure;

/// `EX_DATAERR`: the message is wrong and always will be.
const DEAD: i32 = 65;
/// What a shell ends with if it may not run a program, or finds none.
const NOT_RUN: [i32; 2] = [126, 127];

/// How long a killed program may take to be gone; one that hangs in the system does not hold up the end.
const KILLED: Duration = Duration::from_secs(1);

/// Runs the command; the payload is on its stdin, its end is the outcome.
pub(super) async fn exec(
    delivery: &Delivery,
    command: &str,
    stderr: &Pen,
    now: &CancellationToken,
) -> Verdict {
    let envelope = delivery.envelope();
    let headers = serde_json::to_string(envelope.headers()).unwrap_or_else(|_| "{}".to_owned());
    let spawned = Command::new("sh")
        .arg("-c")
        .arg(command)
        .env("VALKIT_QUEUE", delivery.queue().as_str())
        .env("VALKIT_ID", without_nul(envelope.id().as_str()))
        .env("VALKIT_KIND", without_nul(envelope.kind().unwrap_or("")))
        .env("VALKIT_LANE", delivery.lane().as_str())
        .env("VALKIT_ATTEMPT", delivery.attempt().to_string())
        .env("VALKIT_CRASHES", delivery.crashes().to_string())
        .env(
            "VALKIT_TIMESTAMP",
            envelope.timestamp().map(|timestamp| timestamp.to_string()).unwrap_or_default(),
        )
        .env("VALKIT_HEADERS", headers)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: Ctrl-C at a terminal ends us in peace, it does not hit what is to be finished.
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return not_started(error),
    };
    let group = Group::of(&child);
    let mut tee = match child.stderr.take().map(|theirs| Tee::of(theirs, stderr.clone())) {
        Some(Ok(tee)) => tee,
        Some(Err(error)) => return not_started(error),
        None => return Outcome::nack("the program has no stderr").into(),
    };
    let payload = payload(delivery);
    let mut stdin = child.stdin.take();
    let run = async {
        // A program that ends, or closes its stdin, without reading all of it is within its rights.
        if let Some(mut stdin) = stdin.take() {
            let _ = stdin.write_all(&payload).await;
            let _ = stdin.shutdown().await;
        }
        child.wait().await
    };
    let ended = tokio::select! {
        ended = run => ended,
        never = tee.pass_on() => match never {},
        () = delivery.lease_lost().cancelled() => return Outcome::nack("the lease was lost").into(),
        () = now.cancelled() => {
            drop(group);
            // It goes back for others to begin on: not beside what is left of this one.
            let _ = timeout(KILLED, child.wait()).await;
            return Verdict::Back(None);
        }
    };
    match ended {
        Ok(status) => {
            // What the program left running in the background is its own affair.
            group.spare();
            let said = tee.finish(now).await;
            match status.code() {
                Some(code) if NOT_RUN.contains(&code) => {
                    let said = said.map_or_else(String::new, |said| format!(": {said}"));
                    Verdict::Back(Some(not_run(command, &format!("exit code {code}{said}"))))
                }
                _ => match outcome(status, said.as_deref()) {
                    // Whatever it says: it writes where we do, and all the others would fail alike.
                    Outcome::Nack { .. } if nobody_reads() => Verdict::Back(Some(Failure::io(
                        "passing on output",
                        io::ErrorKind::BrokenPipe.into(),
                    ))),
                    outcome => outcome.into(),
                },
            }
        }
        Err(error) => Outcome::nack(format!("waiting for the program: {error}")).into(),
    }
}

/// Whose fault it is that there is no program: only what a message says of itself can be too long.
fn not_started(error: io::Error) -> Verdict {
    match Errno::from_io_error(&error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::AGAIN | Errno::NOMEM) => Verdict::NoRoom(error),
        Some(Errno::TOOBIG) => {
            let why = "its id, kind or headers are more than the environment of a program holds";
            Outcome::nack(format!("{why}: {error}")).into()
        }
        Some(Errno::NOENT | Errno::ACCESS | Errno::PERM) => {
            Verdict::Back(Some(not_run("sh", &error.to_string())))
        }
        _ => Verdict::Back(Some(Failure::Failed(format!(
            "no program could be started ({error}); nothing was counted as an attempt, and all messages held go back"
        )))),
    }
}

/// What may be done when there is no room for another program.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => "give it a higher `ulimit -n`, or a lower --concurrency",
        Some(Errno::NFILE) => {
            "the whole system has too many open files (sysctl fs.file-max); a lower --concurrency helps"
        }
        Some(Errno::AGAIN) => "give its user a higher `ulimit -u`, or it a lower --concurrency",
        _ => "give it more memory, or a lower --concurrency",
    }
}

/// Whether the reader of our output has gone.
fn nobody_reads() -> bool {
    let stdout = io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // These two are told without being asked for.
    poll(&mut polled, Some(&at_once)).is_ok()
        && polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// A mistake of the command line, for which no message is to pay.
fn not_run(command: &str, why: &str) -> Failure {
    Failure::usage(
        format!(
            "`{command}` could not be run ({why}); nothing was counted as an attempt, and all messages held go back"
        ),
        "is its path right, and may it be executed? A program that itself ends with exit code 126 or 127 looks the same",
    )
}

/// The processes of a program, killed together unless it came to its end: `sh` alone would leave orphans at work.
struct Group(Option<Pid>);

// === impl Group ===

impl Group {
    fn of(leader: &Child) -> Self {
        Self(leader.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn spare(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// What a program gets: the JSON of the payload, to the last digit.
fn payload(delivery: &Delivery) -> Vec<u8> {
    delivery.envelope().payload().get().as_bytes().to_vec()
}

/// `said`: the program's last words on stderr.
fn outcome(status: ExitStatus, said: Option<&str>) -> Outcome {
    let said = said.map_or_else(String::new, |said| format!(": {said}"));
    match status.code() {
        Some(0) => Outcome::ack(),
        Some(DEAD) => Outcome::dead_letter(format!("the program ended with exit code 65{said}")),
        Some(code) => Outcome::nack(format!("the program ended with exit code {code}{said}")),
        None => Outcome::nack(format!("the program was killed by a signal{said}")),
    }
}

/// Variables cannot hold a NUL, ids of foreign producers can.
fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn exit_codes_become_outcomes() {
        let ended = |code: i32| outcome(ExitStatus::from_raw(code << 8), None).name();
        assert_eq!([ended(0), ended(65), ended(75), ended(1)], ["ack", "dead_letter", "nack", "nack"]);
        assert_eq!(outcome(ExitStatus::from_raw(9), None).name(), "nack");
    }

    #[test]
    fn a_message_answers_for_no_error_but_its_own() {
        let said = |errno: Errno| match not_started(errno.into()) {
            Verdict::Settled(outcome) => outcome.name().to_owned(),
            Verdict::NoRoom(_) => "no room".to_owned(),
            Verdict::Back(failure) => failure.map_or(0, |failure| failure.exit().code()).to_string(),
        };
        for errno in [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM] {
            assert_eq!(said(errno), "no room");
        }
        assert_eq!([Errno::NOENT, Errno::ACCESS, Errno::IO].map(said), ["2", "2", "1"]);
        assert_eq!(said(Errno::TOOBIG), "nack");
    }
}
